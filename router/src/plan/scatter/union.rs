//! UNION ALL of queries that each spread over the shards: the rows of all, in any order.

use pg_query::protobuf::{SelectStmt, SetOperation};

use super::{Spread, anchor, check_windows, is_aggregated, limit};
use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::Statement;
use crate::plan::pins::Pins;
use crate::plan::survey::{Body, QueryId, Survey};
use crate::plan::tokens::Tokens;
use crate::plan::{EntryRoutes, PlanContext, Scatter, unsupported};

pub(super) fn plan(
    statement: &Statement,
    select: &SelectStmt,
    survey: &Survey,
    context: &PlanContext<'_>,
) -> Result<Spread, RouterError> {
    if !select.sort_clause.is_empty() || !survey.query(survey.root).apart.is_empty() {
        return Err(unsupported::set_operation_over_shards());
    }
    branch(select, survey.root, survey, context, true)?;
    let limits = limit::read(select)?;
    let text = limits
        .folded()
        .map(|folded| rewritten(&statement.text, &folded))
        .transpose()?;
    let (limit, offset) = limits.counts();
    let why = "no one value for the shard keys of all branches".to_owned();
    Ok(Spread::Everywhere(Scatter {
        text,
        merge: Merge::Concatenate { limit, offset },
        why,
        routes: EntryRoutes::default(),
    }))
}

/// Checks that each shard gives its own share of a branch, and no other shard the same rows.
fn branch(
    select: &SelectStmt,
    query: QueryId,
    survey: &Survey,
    context: &PlanContext<'_>,
    outermost: bool,
) -> Result<(), RouterError> {
    let limited = select.limit_count.is_some() || select.limit_offset.is_some();
    let refuse = unsupported::set_operation_over_shards;
    if limited && !outermost {
        return Err(refuse());
    }
    match &survey.query(query).body {
        Body::Set { branches, .. } => {
            let [left, right] = branches.as_slice() else {
                return Err(refuse());
            };
            if select.op() != SetOperation::SetopUnion || !select.all {
                return Err(refuse());
            }
            branch(
                select.larg.as_deref().ok_or_else(refuse)?,
                *left,
                survey,
                context,
                false,
            )?;
            branch(
                select.rarg.as_deref().ok_or_else(refuse)?,
                *right,
                survey,
                context,
                false,
            )
        }
        Body::Rows(rows) => {
            let plain = select.distinct_clause.is_empty()
                && select.sort_clause.is_empty()
                && !is_aggregated(select, context);
            if !plain || survey.outer_aggregates {
                return Err(refuse());
            }
            let pins = Pins::of_query(survey, query);
            if pins.uses.is_empty() {
                return Err(refuse());
            }
            let anchored = anchor::find(survey, query, rows, &pins, context)?;
            check_windows(select, &anchored)
        }
        Body::Values { .. } | Body::Insert { .. } => Err(refuse()),
    }
}

/// The last branch's text ends where the LIMIT of the whole begins.
fn rewritten(text: &str, limit: &str) -> Result<String, RouterError> {
    let tokens = Tokens::of(text);
    let clause =
        super::rewrite::limit_clause(&tokens, 0).ok_or_else(unsupported::rewrite_not_possible)?;
    Ok(format!(
        "{} {limit}",
        text[..tokens.span(clause).start].trim_end()
    ))
}
