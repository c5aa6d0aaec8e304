//! UPDATE, DELETE and MERGE.

mod carried;
mod inserted;
mod merged;
mod moved;
mod reference;

use pg_query::NodeEnum;
use pg_query::protobuf::MergeStmt;
use schema::{DefaultValue, Placement};

use super::pins::Pins;
use super::place::{Place, beside_local, place_of_read};
use super::scatter;
use super::survey::{LeafId, LeafKind, Survey};
use super::{Action, Effect, Plan, PlanContext, SessionCommand, select, unsupported};
use crate::error::RouterError;
use crate::parse::Statement;

/// `node` is an UPDATE, DELETE or MERGE.
pub fn plan(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    planned(statement, node, context).unwrap_or_else(Plan::refused)
}

fn planned(
    statement: &Statement,
    node: &NodeEnum,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let survey = Survey::of(node, context)?;
    let (place, effect) = place_of_read(&survey, &statement.text, context)?;
    let effect = Effect {
        writes: true,
        returns_rows: returns_rows(node),
        ..effect
    };
    let Some(target) = target(&survey) else {
        return Err(unsupported::syntax_not_understood());
    };
    if let Some(cursor) = current_of(node) {
        return at_cursor(cursor, &survey, target, effect);
    }
    if is_reference(&survey, target) {
        let write = reference::Write {
            statement,
            node,
            survey: &survey,
            target,
            place,
            effect,
            context,
        };
        return write.plan();
    }
    select::refuse_reference_writes(&survey)?;
    match place {
        Place::Home | Place::AnyShard => Ok(select::whole(Action::Home, effect, &survey)),
        Place::Sharded => {
            let job = Job {
                statement,
                node,
                survey: &survey,
                target,
                pins: &Pins::of(&survey),
                effect,
                context,
            };
            locks_where_rows_are(job.plan()?, &survey)
        }
    }
}

/// Pulled rows are no rows that could be locked.
fn locks_where_rows_are(plan: Plan, survey: &Survey) -> Result<Plan, RouterError> {
    match plan.action {
        Action::Gather(_) if survey.locks => Err(unsupported::for_update_over_shards()),
        _ => Ok(plan),
    }
}

/// A write to a local or sharded table of a statement that reads or writes sharded ones.
struct Job<'a> {
    statement: &'a Statement,
    node: &'a NodeEnum,
    survey: &'a Survey,
    target: LeafId,
    pins: &'a Pins,
    effect: Effect,
    context: &'a PlanContext<'a>,
}

impl Job<'_> {
    fn plan(&self) -> Result<Plan, RouterError> {
        if self.survey.leaf(self.target).shard_key().is_none() {
            return carried::onto_home(self);
        }
        let on_shards = match self.survey.first_local() {
            Some(local) => Err(beside_local(local)),
            None => sharded(
                self.statement,
                self.node,
                self.survey,
                self.pins,
                self.effect,
                self.context,
            ),
        };
        if !self.pins.rekeyed.is_empty() && !keeps_keys(&on_shards) {
            return self.moved(on_shards);
        }
        let on_shards = on_shards.or_else(|why| match self.node {
            NodeEnum::MergeStmt(merge) => merged::plan(self, merge).map_err(|_| why),
            _ => Err(why),
        });
        on_shards.or_else(|why| match self.reads_others() {
            true => carried::onto_shards(self, &why),
            false => Err(why),
        })
    }

    /// The key is set to what it may not be. `on_shards`: what can be done if rows may not move.
    fn moved(&self, on_shards: Result<Plan, RouterError>) -> Result<Plan, RouterError> {
        moved::plan(self).or_else(|cannot_move| match on_shards {
            Ok(guarded) => Ok(guarded),
            Err(why) if why.id == "shard-key-update" => Err(cannot_move),
            Err(_) => carried::onto_shards(self, &cannot_move),
        })
    }

    /// Something besides the target is read that could be brought to it.
    fn reads_others(&self) -> bool {
        let tables = (0..self.survey.leaves.len()).map(LeafId);
        let mut others = tables.filter(|leaf| *leaf != self.target);
        others.any(|leaf| {
            let leaf = self.survey.leaf(leaf);
            leaf.shard_key().is_some()
                || leaf
                    .relation()
                    .is_some_and(|_| self.survey.first_local().is_some())
        })
    }
}

/// The plan of a write in which what is not on the shards has been replaced by pulled rows.
fn left(
    statement: &Statement,
    context: &PlanContext<'_>,
    effect: Effect,
) -> Result<Plan, RouterError> {
    let survey = Survey::of(&statement.node, context)?;
    sharded(
        statement,
        &statement.node,
        &survey,
        &Pins::of(&survey),
        effect,
        context,
    )
}

/// The cursor of `WHERE CURRENT OF cursor`.
fn current_of(node: &NodeEnum) -> Option<&str> {
    let condition = match node {
        NodeEnum::UpdateStmt(update) => update.where_clause.as_deref(),
        NodeEnum::DeleteStmt(delete) => delete.where_clause.as_deref(),
        _ => None,
    };
    match condition?.node.as_ref()? {
        NodeEnum::CurrentOfExpr(current) => Some(&current.cursor_name),
        _ => None,
    }
}

/// The row is where the cursor is. It stays there, and nothing of other shards is needed.
fn at_cursor(
    cursor: &str,
    survey: &Survey,
    target: LeafId,
    effect: Effect,
) -> Result<Plan, RouterError> {
    let pins = Pins::of(survey);
    if !pins.rekeyed.is_empty() {
        return Err(unsupported::shard_key_update());
    }
    if is_reference(survey, target) || pins.uses.len() > 1 {
        return Err(unsupported::where_current_of());
    }
    let cursor = cursor.to_owned();
    Ok(Plan::new(
        Action::Session(SessionCommand::AtCursor { cursor }),
        effect,
        "the row is where the cursor is",
    ))
}

fn target(survey: &Survey) -> Option<LeafId> {
    select::rows_of(survey, survey.root)?.target
}

fn returns_rows(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::UpdateStmt(update) => update.returning_clause.is_some(),
        NodeEnum::DeleteStmt(delete) => delete.returning_clause.is_some(),
        NodeEnum::MergeStmt(merge) => merge.returning_clause.is_some(),
        _ => false,
    }
}

fn is_reference(survey: &Survey, leaf: LeafId) -> bool {
    matches!(
        &survey.leaf(leaf).kind,
        LeafKind::Table {
            placement: Placement::Reference,
            ..
        }
    )
}

fn sharded(
    statement: &Statement,
    node: &NodeEnum,
    survey: &Survey,
    pins: &Pins,
    effect: Effect,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let spread = scatter::write(survey, pins, effect.returns_rows);
    if let NodeEnum::MergeStmt(merge) = node {
        ids_given(merge, survey)?;
        return select::keyed(
            survey,
            pins,
            effect,
            scatter::merge_into(survey, pins, effect.returns_rows),
            context,
        );
    }
    match (guarded(statement, node, survey, pins), spread) {
        (Some(text), Ok(spread)) => Ok(spread.with_text(text).into_plan(effect)),
        (_, spread) => select::keyed(survey, pins, effect, spread, context),
    }
}

/// Every row's key stays what it is: then the plan is by one key, and needs no check on the shards.
fn keeps_keys(plan: &Result<Plan, RouterError>) -> bool {
    matches!(
        plan,
        Ok(Plan {
            action: Action::ByKey(_),
            ..
        })
    )
}

/// Rows that MERGE adds get no ids: the router does not see them.
fn ids_given(merge: &MergeStmt, survey: &Survey) -> Result<(), RouterError> {
    let relation = target(survey).and_then(|target| survey.leaf(target).relation());
    let is_sequence = |default: &DefaultValue| {
        matches!(
            default,
            DefaultValue::Sequence { .. } | DefaultValue::Identity { .. }
        )
    };
    match relation.and_then(|relation| inserted::left_to_default(merge, relation, is_sequence)) {
        Some(column) => Err(unsupported::merge_ids(column)),
        None => Ok(()),
    }
}

/// The text of an UPDATE over the shards that sets the shard key, perhaps to what it is (object mappers
/// write all columns of a row): each shard checks that it is.
fn guarded(statement: &Statement, node: &NodeEnum, survey: &Survey, pins: &Pins) -> Option<String> {
    let NodeEnum::UpdateStmt(update) = node else {
        return None;
    };
    let unpinned = pins.rekeyed.len() == 1 && select::pinned_value(survey, pins).is_none();
    unpinned
        .then(|| scatter::guard::text(&statement.text, update, survey))
        .flatten()
}
