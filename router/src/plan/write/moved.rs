//! UPDATE that sets the shard key: rows may belong to other shards afterwards. They are taken away where they
//! are, with their new values as the rows given back, and inserted where they belong, in one global transaction.
//!
//! To everything else in the database it must look like an UPDATE: so not where triggers, row security or foreign
//! keys to the table would see a DELETE. Checks, and unique and foreign keys of the table, are PostgreSQL's.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeleteStmt, InsertStmt, MultiAssignRef, Node, OverridingKind, ReturningClause, TypeCast,
    TypeName, UpdateStmt,
};
use schema::{Column, DefaultValue, Relation};

use super::Job;
use super::inserted::assigned;
use crate::error::RouterError;
use crate::parse;
use crate::plan::facts::Facts;
use crate::plan::gather::{print, tree};
use crate::plan::insert::parts_of;
use crate::plan::insert_rows::{Destination, InsertRows, RowKey, readable};
use crate::plan::{Action, Plan, sequence, unsupported};

/// The plan, where the statement sets the shard key of its table.
pub(super) fn plan(job: &Job<'_>) -> Result<Plan, RouterError> {
    let failed = unsupported::shard_key_update;
    let NodeEnum::UpdateStmt(update) = job.node else {
        return Err(failed());
    };
    let leaf = job.survey.leaf(job.target);
    let relation = leaf.relation().ok_or_else(failed)?;
    check_table(job, relation)?;
    check_statement(job, update)?;
    let columns: Vec<usize> = stored(relation).collect();
    let source_text = taken_away(update, relation, &leaf.name, &columns)?;
    let source = source(job, &source_text)?;
    let rows = InsertRows {
        source: Rc::new(source),
        source_text,
        parts: parts_of(put_back(update, relation, &columns))?,
        columns: Vec::new(),
        ids: Vec::new(),
        destination: Destination::ByKey(row_key(job, relation, &columns).ok_or_else(failed)?),
        at_once: true,
        client_parameters: job.survey.facts.highest_parameter,
        may_skip_rows: false,
        upserts: None,
        told_as: Some("UPDATE"),
    };
    let reason = "rows that get another shard key are moved to its shard";
    Ok(Plan::new(
        Action::InsertRows(Box::new(rows)),
        job.effect,
        reason,
    ))
}

fn check_table(job: &Job<'_>, relation: &Relation) -> Result<(), RouterError> {
    let own = (relation.schema.clone(), relation.name.clone());
    let mut others = job
        .context
        .snapshot
        .relations
        .values()
        .flat_map(|schema| schema.values());
    let referring = others.find(|other| other.foreign_keys.iter().any(|key| key.referenced == own));
    let obstacle = if relation.has_user_triggers {
        "It has triggers, which would see a DELETE and an INSERT.".to_owned()
    } else if relation.has_row_security {
        "It has row security policies, which would see a DELETE and an INSERT.".to_owned()
    } else if let Some(other) = referring {
        format!("A foreign key of \"{}\" refers to it.", other.name)
    } else {
        return Ok(());
    };
    Err(unsupported::shard_key_of_table(&relation.name, &obstacle))
}

/// What is computed for the old row stays in the DELETE; what RETURNING computes, of the new row alone.
fn check_statement(job: &Job<'_>, update: &UpdateStmt) -> Result<(), RouterError> {
    if let Some(view) = written_view(update) {
        return Err(unsupported::shard_key_of_table(view, "It is a view."));
    }
    let returning = Facts::of(&update.returning_clause);
    // What RETURNING says of other tables is gone when the new row is inserted.
    let reads_others = !update.from_clause.is_empty() || update.with_clause.is_some();
    let elsewhere = job.survey.writes.len() > 1
        || reads_others && update.returning_clause.is_some()
        || returning.sublinks > 0;
    if elsewhere {
        return Err(unsupported::shard_key_with_others());
    }
    if job.survey.facts.calls(&sequence::FUNCTIONS) {
        return Err(sequence::refusal("nextval"));
    }
    Ok(())
}

/// The view whose columns' names stand for the table's (see `views::target`).
fn written_view(update: &UpdateStmt) -> Option<&str> {
    let alias = update.relation.as_ref()?.alias.as_ref()?;
    (!alias.colnames.is_empty()).then_some(alias.aliasname.as_str())
}

fn stored(relation: &Relation) -> impl Iterator<Item = usize> + '_ {
    let columns = relation.columns.iter().enumerate();
    columns
        .filter(|(_, column)| column.default != DefaultValue::Generated)
        .map(|(index, _)| index)
}

/// `DELETE FROM table USING others WHERE condition RETURNING` the columns of the new rows.
fn taken_away(
    update: &UpdateStmt,
    relation: &Relation,
    alias: &str,
    columns: &[usize],
) -> Result<String, RouterError> {
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        values.push(tree::target(
            new_value(update, relation, alias, *column)?,
            "",
        ));
    }
    let delete = DeleteStmt {
        relation: update.relation.clone(),
        using_clause: update.from_clause.clone(),
        with_clause: update.with_clause.clone(),
        where_clause: update.where_clause.clone(),
        returning_clause: Some(ReturningClause {
            exprs: values,
            ..ReturningClause::default()
        }),
    };
    print::text(&NodeEnum::DeleteStmt(Box::new(delete)))
}

/// As a column of a select list a bare string would be a text: so a value that is set is cast to the
/// column's type, but for its length, which assignment checks.
fn new_value(
    update: &UpdateStmt,
    relation: &Relation,
    alias: &str,
    column: usize,
) -> Result<Node, RouterError> {
    let failed = unsupported::shard_key_form;
    let column = &relation.columns[column];
    let mut set = update.target_list.iter();
    let Some(target) = set.find(|target| assigned(target) == Some(column.name.as_str())) else {
        return Ok(tree::column(&[alias, &column.name]));
    };
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return Err(failed());
    };
    let value = target
        .val
        .as_deref()
        .filter(|_| target.indirection.is_empty())
        .ok_or_else(failed)?;
    let value = match value.node.as_ref() {
        Some(NodeEnum::MultiAssignRef(part)) => part_of(part).ok_or_else(failed)?,
        _ => value.clone(),
    };
    let value = match value.node.as_ref() {
        Some(NodeEnum::SetToDefault(_)) => default_of(column)?,
        _ => value,
    };
    let cast = TypeCast {
        arg: Some(Box::new(value)),
        type_name: Some(type_without_length(&column.type_name)?),
        location: -1,
    };
    Ok(tree::node(NodeEnum::TypeCast(Box::new(cast))))
}

/// What DEFAULT is. No id: the DELETE that gives the values runs on every shard.
fn default_of(column: &Column) -> Result<Node, RouterError> {
    let failed = unsupported::shard_key_form;
    let text = match &column.default {
        DefaultValue::None => "NULL",
        DefaultValue::Expression { text, .. } => text,
        _ => return Err(failed()),
    };
    let parsed = parse::parse(&format!("SELECT {text}"))?.pop();
    let Some(NodeEnum::SelectStmt(select)) = parsed.map(|statement| statement.node) else {
        return Err(failed());
    };
    let target = select.target_list.into_iter().next().ok_or_else(failed)?;
    match target.node {
        Some(NodeEnum::ResTarget(target)) => Ok(*target.val.ok_or_else(failed)?),
        _ => Err(failed()),
    }
}

/// The value of one column in `(a, b) = (x, y)`.
fn part_of(part: &MultiAssignRef) -> Option<Node> {
    let NodeEnum::RowExpr(row) = part.source.as_deref()?.node.as_ref()? else {
        return None;
    };
    let place = usize::try_from(part.colno).ok()?.checked_sub(1)?;
    row.args.get(place).cloned()
}

fn type_without_length(name: &str) -> Result<TypeName, RouterError> {
    let failed = unsupported::shard_key_form;
    let parsed = parse::parse(&format!("SELECT NULL::{name}"))
        .map_err(|_| failed())?
        .pop()
        .ok_or_else(failed)?;
    let NodeEnum::SelectStmt(select) = parsed.node else {
        return Err(failed());
    };
    let value = select
        .target_list
        .first()
        .and_then(|target| match target.node.as_ref()? {
            NodeEnum::ResTarget(target) => target.val.as_deref()?.node.as_ref(),
            _ => None,
        });
    match value {
        Some(NodeEnum::TypeCast(cast)) => {
            let type_name = cast.type_name.clone().ok_or_else(failed)?;
            Ok(TypeName {
                typmods: Vec::new(),
                ..type_name
            })
        }
        _ => Err(failed()),
    }
}

/// `INSERT INTO table (columns) OVERRIDING SYSTEM VALUE ... RETURNING` what the client wants.
fn put_back(update: &UpdateStmt, relation: &Relation, columns: &[usize]) -> InsertStmt {
    let named = |column: &usize| {
        tree::node(NodeEnum::ResTarget(Box::new(
            pg_query::protobuf::ResTarget {
                name: relation.columns[*column].name.clone(),
                location: -1,
                ..Default::default()
            },
        )))
    };
    let mut insert = InsertStmt {
        relation: update.relation.clone(),
        cols: columns.iter().map(named).collect(),
        returning_clause: update.returning_clause.clone(),
        ..InsertStmt::default()
    };
    insert.set_override(OverridingKind::OverridingSystemValue);
    insert
}

fn source(job: &Job<'_>, text: &str) -> Result<Plan, RouterError> {
    let statement = parse::parse(text)?
        .pop()
        .ok_or_else(unsupported::rewrite_not_possible)?;
    readable(
        crate::plan::plan_alone(&statement, job.context),
        unsupported::shard_key_form,
    )
}

fn row_key(job: &Job<'_>, relation: &Relation, columns: &[usize]) -> Option<RowKey> {
    let (key, key_type) = job.survey.leaf(job.target).shard_key()?;
    let position = columns.iter().position(|it| *it == key);
    Some(RowKey::given(relation, key, key_type, position))
}
