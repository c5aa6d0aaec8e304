//! INSERT: which shard each row goes to, and the ids that the router fills in. Takes the parse tree and
//! the text (what a shard sees is cut out of what the client wrote, never printed anew); gives a [`Plan`].

pub(super) mod conflict;
mod defaults;
mod from_query;
mod from_select;
mod key_value;
mod lookup;
mod mirrored;
mod others;
mod pushed_down;
mod query_source;
mod refusals;
mod rows;
mod sharded;
mod target;
mod through_view;
mod unnest;
mod upsert;

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OverridingKind, SelectStmt};
use schema::{Placement, Relation, RelationKind};

use super::edits::Edits;
use super::facts::Facts;
use super::holds;
use super::insert_rows::Destination;
use super::scope::{self, Found};
use super::tokens::Tokens;
use super::{
    Action, Broadcast, Copies, Effect, Piece, Plan, PlanContext, Rewrite, sequence, unsupported,
};
use crate::error::RouterError;
use crate::parse::Statement;
pub use from_query::parts_of;
use others::Others;
pub use refusals::{key_default, null_key};
use target::Target;

pub fn plan(statement: &Statement, insert: &InsertStmt, context: &PlanContext<'_>) -> Plan {
    try_plan(statement, insert, context).unwrap_or_else(Plan::refused)
}

type Planned = Result<Plan, RouterError>;

fn try_plan(statement: &Statement, insert: &InsertStmt, context: &PlanContext<'_>) -> Planned {
    let effect = effect(insert);
    let Some(range) = insert.relation.as_ref() else {
        return Ok(Plan::new(Action::Home, effect, "an INSERT without a table"));
    };
    if range.schemaname == "oskol" {
        return Err(super::unsupported::oskol_schema());
    }
    let facts = Facts::of(insert);
    if facts.calls(&["set_config"]) {
        return Err(super::session_command::set_config_refusal());
    }
    let others = others::of(&facts, range, context)?;
    let job = Job {
        statement,
        insert,
        context,
        effect,
        facts: &facts,
        others: &others,
    };
    let relation = match scope::find(range, context) {
        Found::Relation(relation) => relation,
        Found::Temporary => return into_temporary(job),
        Found::Home => return into_local(&job, None),
    };
    match scope::placement(&relation, context) {
        Placement::Local if relation.kind == RelationKind::View => into_view(&relation, &job),
        Placement::Local => into_local(&job, Some(&relation)),
        Placement::Reference => into_reference(&job, &Target::of(relation, insert)?),
        Placement::Sharded { key, key_type } => {
            sharded::plan(&job, &Target::of(relation, insert)?, key, key_type)
        }
    }
}

/// One INSERT being planned, into a table that is not local.
struct Job<'a> {
    statement: &'a Statement,
    insert: &'a InsertStmt,
    context: &'a PlanContext<'a>,
    effect: Effect,
    facts: &'a Facts,
    others: &'a Others,
}

fn effect(insert: &InsertStmt) -> Effect {
    Effect {
        writes: true,
        returns_rows: insert.returning_clause.is_some(),
        ..Effect::default()
    }
}

fn into_temporary(mut job: Job<'_>) -> Planned {
    job.effect.pins = true;
    job.effect.unpreparable = true;
    match job.others.none_sharded() {
        Ok(()) => Ok(Plan::new(Action::Home, job.effect, "a temporary table")),
        Err(refused) => take_home(&job, None, refused),
    }
}

/// `relation`: `None` where its columns are not known.
fn into_local(job: &Job<'_>, relation: Option<&Arc<Relation>>) -> Planned {
    if let Err(refused) = job.others.none_sharded() {
        return take_home(job, relation, refused);
    }
    others::no_function_over_sharded(job.facts, job.context)?;
    // nextval() of a leased sequence is right on the home shard, whose sequence is the truth.
    if let Some(call) = job
        .facts
        .functions
        .iter()
        .find(|call| matches!(call.built_in_name(), Some("currval" | "lastval" | "setval")))
        && !job.others.only_home_sequences
    {
        return Err(sequence::refusal(&call.name));
    }
    let mut effect = job.effect;
    effect.unpreparable |= job.others.temporary;
    effect.pins |= job.others.temporary;
    let mut plan = Plan::new(Action::Home, effect, "a local table");
    plan.by_shape = !job.facts.calls(&sequence::FUNCTIONS);
    Ok(plan)
}

/// The rows of a query over other shards into a table on the home shard.
fn take_home(job: &Job<'_>, relation: Option<&Arc<Relation>>, refused: RouterError) -> Planned {
    if is_default_values(job.insert) {
        return Err(refused);
    }
    let target = match relation {
        Some(relation) => Some(Target::of(Arc::clone(relation), job.insert)?),
        None => None,
    };
    from_query::plan(job, target.as_ref(), Destination::Home)
}

/// A view over one local or sharded table is written through.
fn into_view(view: &Arc<Relation>, job: &Job<'_>) -> Planned {
    let is_local = |(schema, name): &(String, String)| {
        let found = job
            .context
            .snapshot
            .relations
            .get(schema)
            .and_then(|relations| relations.get(name));
        found.is_none_or(|relation| scope::placement(relation, job.context) == Placement::Local)
    };
    if view.reads.iter().all(is_local) {
        return into_local(job, Some(view));
    }
    through_view::plan(view, job)
}

/// The same rows on every shard: where they could differ from one to the other, ids least of all, one shard
/// makes them.
fn into_reference(job: &Job<'_>, target: &Target) -> Planned {
    match same_on_every_shard(job, target) {
        Err(refused) if is_unsupported(&refused) && reads_rows(job) => {
            if let Some(column) = from_query::volatile_default(job, target) {
                return Err(unsupported::reference_write_volatile(&format!(
                    "the default of column \"{column}\""
                )));
            }
            from_query::plan(job, Some(target), Destination::Everywhere)
        }
        planned => planned,
    }
}

fn is_unsupported(refused: &RouterError) -> bool {
    refused.sqlstate == wire::sqlstate::FEATURE_NOT_SUPPORTED
}

/// The rows come of a query, or of VALUES with queries inside.
fn reads_rows(job: &Job<'_>) -> bool {
    !is_default_values(job.insert) && (values(job.insert).is_none() || job.facts.sublinks > 0)
}

/// The client's own statement on every shard, or on one that makes the rows of all.
fn same_on_every_shard(job: &Job<'_>, target: &Target) -> Planned {
    job.others.none_sharded()?;
    others::no_function_over_sharded(job.facts, job.context)?;
    let values = values(job.insert);
    if values.is_none() && !is_default_values(job.insert) {
        from_select::no_ids_of_reference(target)?;
    }
    let tokens = Tokens::of(&job.statement.text);
    let mut edits = target.edits(
        job,
        &tokens,
        values.map_or(&[], |select| &select.values_lists),
    )?;
    let culprit = mirrored::culprit(job, target, values.is_none());
    let copies = match &culprit {
        Some(culprit) => {
            Copies::Mirrored(mirrored::mirror(job, target, culprit, &tokens, &mut edits)?)
        }
        None => Copies::Alike(holds::of_added(&target.relation, job.facts, job.context)),
    };
    let rewrite = (!edits.is_empty()).then(|| rewrite(&edits, job));
    let reason = match culprit {
        Some(culprit) => {
            format!("{culprit} may differ from shard to shard: one shard makes the rows")
        }
        None => format!("{} is a reference table", target.relation.name),
    };
    let effect = Effect {
        pins: job.others.temporary,
        unpreparable: job.others.temporary,
        ..job.effect
    };
    Ok(Plan::new(
        Action::Broadcast(Broadcast { rewrite, copies }),
        effect,
        reason,
    ))
}

fn rewrite(edits: &Edits, job: &Job<'_>) -> Rewrite {
    let text = job.statement.text.as_str();
    Rewrite {
        pieces: edits.apply(text, 0..text.len()),
        client_parameters: job.facts.highest_parameter,
    }
}

/// The plain VALUES that the INSERT takes its rows from.
fn values(insert: &InsertStmt) -> Option<&SelectStmt> {
    match insert.select_stmt.as_deref()?.node.as_ref()? {
        NodeEnum::SelectStmt(select) if !select.values_lists.is_empty() => {
            is_plain_values(select).then_some(select)
        }
        _ => None,
    }
}

fn is_plain_values(select: &SelectStmt) -> bool {
    select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.with_clause.is_none()
        && select.locking_clause.is_empty()
}

fn is_default_values(insert: &InsertStmt) -> bool {
    insert.select_stmt.is_none()
}

/// The values of one row of VALUES.
fn items(row: &Node) -> &[Node] {
    match row.node.as_ref() {
        Some(NodeEnum::List(list)) => &list.items,
        _ => &[],
    }
}

fn is_default(value: &Node) -> bool {
    matches!(value.node, Some(NodeEnum::SetToDefault(_)))
}

fn overrides(insert: &InsertStmt, kind: OverridingKind) -> bool {
    insert.r#override() == kind
}

fn next_id(sequence: super::SequenceName) -> Piece {
    Piece::NextId(sequence)
}
