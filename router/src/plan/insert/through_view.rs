//! INSERT into a view that is plain columns and rows of one sharded table. PostgreSQL alone knows how to write through a
//! view, so the shards get the view's name; for the keys and ids of the rows the view is taken for a table that has its
//! columns, with what the table behind it says of them.

use std::sync::Arc;

use schema::{DefaultValue, Placement, Relation, UniqueKey};

use super::target::Target;
use super::{Job, Planned, sharded};
use crate::error::RouterError;
use crate::plan::{PlanContext, scope, sequence, views};

pub(super) fn plan(view: &Arc<Relation>, job: &Job<'_>) -> Planned {
    let (table, columns) = views::columns_behind(view, job.context).ok_or_else(refusal)?;
    let Placement::Sharded { key, key_type } = scope::placement(&table, job.context) else {
        return Err(refusal());
    };
    let key = columns.iter().position(|column| *column == key);
    let key = key.ok_or_else(|| {
        refusal().detail("The view does not have the shard key, so the rows would have none.")
    })?;
    check_hidden(&table, &columns)?;
    // A conflict may be with what the view does not show.
    if table.changes_entries && job.insert.on_conflict_clause.is_some() {
        return Err(refusal().detail("ON CONFLICT would have to look at keys over all shards."));
    }
    let shown = Arc::new(shown(view, &table, &columns, job.context));
    sharded::plan(job, &Target::of(shown, job.insert)?, key, key_type)
}

/// Columns that the view hides are left to the shards' defaults, which give no ids.
fn check_hidden(table: &Relation, columns: &[usize]) -> Result<(), RouterError> {
    let hidden = table.columns.iter().enumerate();
    let mut hidden = hidden.filter(|(index, _)| !columns.contains(index));
    match hidden.find(|(_, column)| sequence::of_default(&column.default).is_some()) {
        Some((_, column)) => Err(refusal().detail(format!(
            "Column \"{}\", which the view does not have, is filled from a sequence.",
            column.name
        ))),
        None => Ok(()),
    }
}

/// The view as a table.
fn shown(
    view: &Relation,
    table: &Relation,
    columns: &[usize],
    context: &PlanContext<'_>,
) -> Relation {
    let own = view.columns.iter().zip(columns).map(|(own, index)| {
        let mut column = table.columns[*index].clone();
        column.name.clone_from(&own.name);
        // ALTER VIEW ... SET DEFAULT
        if own.default != DefaultValue::None {
            column.default = own.default.clone();
        }
        column
    });
    let place = |column: &usize| columns.iter().position(|index| index == column);
    let unique = table.unique_keys.iter().filter_map(|unique| {
        let columns: Option<Vec<usize>> = unique.columns.iter().map(place).collect();
        columns.map(|columns| UniqueKey {
            columns,
            ..unique.clone()
        })
    });
    Relation {
        schema: view.schema.clone(),
        name: view.name.clone(),
        columns: own.collect(),
        unique_keys: unique.collect(),
        placement: scope::placement(table, context),
        watched: None,
        ..table.clone()
    }
}

pub(super) fn refusal() -> RouterError {
    RouterError::unsupported(
        "insert-view",
        "INSERT into this view over sharded or reference tables is not supported",
    )
    .detail("The view is more than plain columns and rows of one sharded table.")
    .hint("INSERT into the table itself.")
}
