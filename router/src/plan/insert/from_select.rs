//! INSERT ... SELECT into a reference table.

use super::Job;
use super::target::Target;
use crate::error::RouterError;

/// A query over reference tables gives each shard the same rows, unless it picks among them or they get ids.
pub fn into_reference(job: &Job<'_>, target: &Target) -> Result<(), RouterError> {
    if !target.absent_ids().is_empty() {
        return Err(RouterError::unsupported(
            "insert-select-ids",
            "INSERT ... SELECT cannot fill in ids here",
        )
        .detail("Each shard would number the rows in its own order.")
        .hint("Select the id column's value too, or insert the rows as VALUES."));
    }
    if job.facts.has_limit || job.facts.has_distinct_on_or_window {
        return Err(RouterError::unsupported(
            "reference-write-volatile",
            "this INSERT could give different rows on different shards",
        )
        .detail("LIMIT, DISTINCT and window functions may pick other rows where rows are stored in another order.")
        .hint("Read the rows first and insert them as VALUES."));
    }
    Ok(())
}
