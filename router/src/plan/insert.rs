//! INSERT: which shard each row goes to, and the ids that the router fills in. Takes the parse tree and
//! the text (what a shard sees is cut out of what the client wrote, never printed anew); gives a [`Plan`].

mod conflict;
mod from_select;
mod key_value;
mod others;
mod refusals;
mod rows;
mod sharded;
mod target;
mod unnest;

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OverridingKind, SelectStmt};
use schema::{Placement, RelationKind};

use super::edits::Edits;
use super::facts::Facts;
use super::scope::{self, Found};
use super::tokens::Tokens;
use super::{Action, Broadcast, Effect, Piece, Plan, PlanContext, Rewrite, sequence, volatile};
use crate::error::RouterError;
use crate::parse::Statement;
use others::Others;
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
    let relation = match scope::find(range, context) {
        Found::Relation(relation) => relation,
        Found::Temporary => return into_temporary(&others, effect),
        Found::Home => return into_local(&facts, &others, effect, context),
    };
    match scope::placement(&relation, context) {
        Placement::Local if relation.kind == RelationKind::View => {
            into_view(&relation, &facts, &others, effect, context)
        }
        Placement::Local => into_local(&facts, &others, effect, context),
        Placement::Reference => {
            let job = Job {
                statement,
                insert,
                context,
                effect,
                facts: &facts,
                others: &others,
            };
            into_reference(&job, &Target::of(relation, insert)?)
        }
        Placement::Sharded { key, key_type } => {
            let job = Job {
                statement,
                insert,
                context,
                effect,
                facts: &facts,
                others: &others,
            };
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

fn into_temporary(others: &Others, effect: Effect) -> Planned {
    others.none_sharded()?;
    let effect = Effect {
        pins: true,
        unpreparable: true,
        ..effect
    };
    Ok(Plan::new(Action::Home, effect, "a temporary table"))
}

fn into_local(
    facts: &Facts,
    others: &Others,
    effect: Effect,
    context: &PlanContext<'_>,
) -> Planned {
    others.none_sharded()?;
    others::no_function_over_sharded(facts, context)?;
    // nextval() of a leased sequence is right on the home shard, whose sequence is the truth.
    if let Some(call) = facts
        .functions
        .iter()
        .find(|call| matches!(call.built_in_name(), Some("currval" | "lastval" | "setval")))
        && !others.only_home_sequences
    {
        return Err(sequence::refusal(&call.name));
    }
    let mut effect = effect;
    effect.unpreparable |= others.temporary;
    effect.pins |= others.temporary;
    let mut plan = Plan::new(Action::Home, effect, "a local table");
    plan.by_shape = !facts.calls(&sequence::FUNCTIONS);
    Ok(plan)
}

/// A view is written through only when all it reads is local.
fn into_view(
    view: &schema::Relation,
    facts: &Facts,
    others: &Others,
    effect: Effect,
    context: &PlanContext<'_>,
) -> Planned {
    let is_local = |(schema, name): &(String, String)| {
        let found = context
            .snapshot
            .relations
            .get(schema)
            .and_then(|relations| relations.get(name));
        found.is_none_or(|relation| scope::placement(relation, context) == Placement::Local)
    };
    if view.reads.iter().all(is_local) {
        return into_local(facts, others, effect, context);
    }
    Err(RouterError::unsupported(
        "insert-view",
        "INSERT into a view over sharded or reference tables is not supported",
    )
    .hint("INSERT into the table itself."))
}

/// The same rows on every shard: nothing may differ from one to the other, ids least of all.
fn into_reference(job: &Job<'_>, target: &Target) -> Planned {
    job.others.only_reference()?;
    if let Some(culprit) = volatile::culprit(&without_sequences(job.facts), job.context) {
        return Err(reference_volatile(&culprit));
    }
    if let Some(column) = target.volatile_default(job.insert) {
        return Err(reference_volatile(&format!(
            "the default of column \"{column}\""
        )));
    }
    let values = values(job.insert);
    if values.is_none() && !is_default_values(job.insert) {
        from_select::into_reference(job, target)?;
    }
    let tokens = Tokens::of(&job.statement.text);
    let edits = target.edits(
        job,
        &tokens,
        values.map_or(&[], |select| &select.values_lists),
    )?;
    let rewrite = (!edits.is_empty()).then(|| rewrite(&edits, job));
    let action = Action::Broadcast(Broadcast { rewrite });
    Ok(Plan::new(
        action,
        job.effect,
        format!("{} is a reference table", target.relation.name),
    ))
}

fn rewrite(edits: &Edits, job: &Job<'_>) -> Rewrite {
    let text = job.statement.text.as_str();
    Rewrite {
        pieces: edits.apply(text, 0..text.len()),
        client_parameters: job.facts.highest_parameter,
    }
}

/// Sequence functions are filled in by the router: one value for all shards.
fn without_sequences(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.functions.retain(|call| {
        !call
            .built_in_name()
            .is_some_and(|name| sequence::FUNCTIONS.contains(&name))
    });
    facts
}

fn reference_volatile(culprit: &str) -> RouterError {
    RouterError::unsupported("reference-write-volatile", "this INSERT could give different rows on different shards")
        .detail(format!("Every shard holds a copy of the reference table, and {culprit} may differ from shard to shard."))
        .hint("Compute the value first and pass it as a constant or a parameter.")
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
