//! Every statement that the planner refuses: one place for ids, messages and hints.

use crate::error::RouterError;

pub fn not_built() -> RouterError {
    RouterError::unsupported("not-built", "this statement is not supported yet")
}

pub fn statement() -> RouterError {
    RouterError::unsupported("statement-kind", "this kind of statement is not supported")
}

pub fn oskol_schema() -> RouterError {
    RouterError::unsupported(
        "oskol-schema",
        "schema \"oskol\" belongs to the cluster's own catalog",
    )
    .hint("Use the functions oskol.shard_table(), oskol.reference_table() and oskol.local_table().")
}
