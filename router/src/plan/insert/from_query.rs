//! INSERT of a query's rows where no shard can do it by itself: the query is planned as a statement of its
//! own, and the rows it gives are divided by key, given to every shard, or taken home.

use std::rc::Rc;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OnConflictAction, OverridingKind, ResTarget};
use schema::{DefaultValue, KeyType, Relation};

use super::conflict::may_skip_rows;
use super::query_source;
use super::target::Target;
use super::{Job, Planned, defaults, others, overrides, upsert};
use crate::error::RouterError;
use crate::parse;
use crate::plan::facts::Facts;
use crate::plan::gather::print::{self, Holes};
use crate::plan::insert_rows::{Destination, IdColumn, InsertRows, Parts, RowKey, readable};
use crate::plan::tokens::Tokens;
use crate::plan::{Action, Effect, Plan, names, sequence, unsupported, volatile};

/// Where the rows are to stand in the printed INSERT, and where the names of its columns.
const ROWS: &str = "oskol_inserted_rows";
const COLUMNS: &str = "oskol_inserted_columns";

/// `target`: `None` where the table's columns are not known (temporary tables).
pub fn plan(job: &Job<'_>, target: Option<&Target>, destination: Destination) -> Planned {
    let bare = without_source(job.insert);
    check_rest(job, &bare, &destination)?;
    check_triggers(target, &destination)?;
    let source_node = query_source::of(job, target)?;
    let source_text = print::text(&source_node)?;
    let statement = parse::parse(&source_text)?
        .pop()
        .ok_or_else(unsupported::rewrite_not_possible)?;
    let source = readable(
        crate::plan::plan_alone(&statement, job.context),
        super::refusals::insert_select,
    )?;
    let effect = Effect {
        pins: job.effect.pins || source.effect.pins,
        unpreparable: job.effect.unpreparable || source.effect.unpreparable,
        reads_session_sequences: source.effect.reads_session_sequences,
        ..job.effect
    };
    let ids = match (target, &destination) {
        (Some(target), Destination::ByKey(_) | Destination::Everywhere) => ids(job, target)?,
        _ => Vec::new(),
    };
    let listed = target.filter(|target| !ids.is_empty() && !target.is_explicit());
    let columns = listed.map_or_else(Vec::new, |target| all_names(&target.relation));
    let upserts = match (target, &destination) {
        (Some(target), Destination::ByKey(_)) => upsert::of_rows(job, &bare, target, &ids)?,
        _ => None,
    };
    let parts = parts(bare, target, &ids)?;
    let reason = match &upserts {
        Some((_, reason)) => reason.clone(),
        None => reason(&destination),
    };
    let rows = InsertRows {
        source: Rc::new(source),
        source_text,
        parts,
        columns,
        ids,
        destination,
        at_once: at_once(job, target),
        client_parameters: job.facts.highest_parameter,
        may_skip_rows: may_skip_rows(job.insert),
        upserts: upserts.map(|(upserts, _)| upserts),
        told_as: None,
    };
    Ok(Plan::new(
        Action::InsertRows(Box::new(rows)),
        effect,
        reason,
    ))
}

fn reason(destination: &Destination) -> String {
    match destination {
        Destination::Home => "rows of a query, to the home shard".to_owned(),
        Destination::Everywhere => "rows of a query, the same to every shard".to_owned(),
        Destination::ByKey(key) => format!("rows of a query, divided by {}", key.name),
    }
}

/// Into a sharded table. A default of its key is computed with the rows.
pub fn into_sharded(job: &Job<'_>, target: &Target, key: usize, key_type: KeyType) -> Planned {
    let column = &target.relation.columns[key];
    let refused = || super::refusals::key_default(&column.name);
    let defaulted = super::values(job.insert)
        .map_or(&[][..], |select| &select.values_lists)
        .iter()
        .any(|row| super::items(row).iter().any(super::is_default));
    let computed = matches!(column.default, DefaultValue::Expression { .. })
        && target.is_explicit()
        && target.position(key).is_none();
    if !computed && !defaulted {
        let key = row_key(target, key, key_type)?;
        return plan(job, Some(target), Destination::ByKey(key));
    }
    let insert = defaults::written_out(job.insert, target, key).ok_or_else(refused)?;
    let target = Target::of(Arc::clone(&target.relation), &insert)?;
    let key = row_key(&target, key, key_type)?;
    let job = Job {
        insert: &insert,
        ..*job
    };
    plan(&job, Some(&target), Destination::ByKey(key))
}

/// The key of a sharded table's rows.
fn row_key(target: &Target, key: usize, key_type: KeyType) -> Result<RowKey, RouterError> {
    let column = &target.relation.columns[key];
    let position = match target.is_explicit() {
        true => target.position(key),
        false => Some(key),
    };
    let has_default = matches!(column.default, DefaultValue::Expression { .. });
    if has_default && position.is_none() {
        return Err(super::refusals::key_default(&column.name));
    }
    let given = RowKey::given(&target.relation, key, key_type, position);
    Ok(RowKey {
        has_default,
        ..given
    })
}

/// How many columns the query has, where no column list is written and that is known.
pub fn reaches(job: &Job<'_>, target: &Target) -> Option<usize> {
    match target.is_explicit() {
        true => Some(target.columns.len()),
        false => query_source::width(job),
    }
}

/// A volatile default of a column that the query may not reach.
pub fn volatile_default<'a>(job: &Job<'_>, target: &'a Target) -> Option<&'a str> {
    let width = reaches(job, target).unwrap_or(0);
    let is_reached = |index: usize| match target.is_explicit() {
        true => target.position(index).is_some(),
        false => index < width,
    };
    let columns = target.relation.columns.iter().enumerate();
    columns
        .filter(|(index, _)| !is_reached(*index))
        .find(|(_, column)| {
            matches!(
                column.default,
                DefaultValue::Expression { volatile: true, .. }
            )
        })
        .map(|(_, column)| column.name.as_str())
}

/// The statement over no rows, which says what is done with them.
pub fn without_source(insert: &InsertStmt) -> InsertStmt {
    InsertStmt {
        select_stmt: None,
        with_clause: None,
        ..insert.clone()
    }
}

/// Those of a reference table run on each shard.
fn check_triggers(target: Option<&Target>, destination: &Destination) -> Result<(), RouterError> {
    let Some(target) = target.filter(|_| *destination == Destination::Everywhere) else {
        return Ok(());
    };
    match volatile::trigger(&target.relation, |trigger| {
        trigger.on_insert || trigger.on_update
    }) {
        Some(culprit) => Err(unsupported::reference_write_volatile(&culprit)),
        None => Ok(()),
    }
}

/// ON CONFLICT and RETURNING run on each shard, over its own rows.
fn check_rest(
    job: &Job<'_>,
    bare: &InsertStmt,
    destination: &Destination,
) -> Result<(), RouterError> {
    let Some(range) = bare.relation.as_ref() else {
        return Err(super::target::unforeseen_form());
    };
    let facts = Facts::of(bare);
    let with_names = |name: &String| job.facts.common_tables.contains(name);
    if facts.relations.iter().any(|found| with_names(&found.name)) {
        return Err(rest_reads_with());
    }
    let others = others::of(&facts, range, job.context)?;
    if facts.calls(&sequence::FUNCTIONS) {
        return Err(sequence::refusal("nextval"));
    }
    if *destination == Destination::Home {
        others.none_sharded()?;
        return others::no_function_over_sharded(&facts, job.context);
    }
    others.only_reference()?;
    others::no_function_over_tables(&facts, job.context)?;
    if *destination == Destination::Everywhere
        && let Some(culprit) = volatile::culprit(&facts, job.context)
    {
        return Err(unsupported::reference_write_volatile(&culprit));
    }
    Ok(())
}

/// The columns that the router numbers.
fn ids(job: &Job<'_>, target: &Target) -> Result<Vec<IdColumn>, RouterError> {
    let explicit = target.is_explicit();
    let set_aside = overrides(job.insert, OverridingKind::OverridingUserValue);
    if set_aside && target.gives_identity() {
        return Err(super::target::dropped_source());
    }
    let columns = match explicit {
        true => target.absent_ids(),
        false => target.with_width(0).absent_ids(),
    };
    let id = |(column, sequence): (usize, _)| IdColumn {
        column,
        name: names::quote_identifier(&target.relation.columns[column].name),
        unless_wider_than: (!explicit).then_some(column),
        sequence,
    };
    Ok(columns.into_iter().map(id).collect())
}

fn all_names(relation: &Relation) -> Vec<String> {
    let columns = relation.columns.iter();
    columns
        .map(|column| names::quote_identifier(&column.name))
        .collect()
}

/// Rows of one statement that may be about each other.
fn at_once(job: &Job<'_>, target: Option<&Target>) -> bool {
    let updates = job
        .insert
        .on_conflict_clause
        .as_ref()
        .is_some_and(|conflict| conflict.action() == OnConflictAction::OnconflictUpdate);
    let related = target.is_some_and(|target| {
        let relation = &target.relation;
        let own = (relation.schema.clone(), relation.name.clone());
        relation.has_user_triggers
            || relation
                .foreign_keys
                .iter()
                .any(|key| key.referenced == own)
    });
    updates || related
}

/// The text of an INSERT without a source, around its rows.
pub fn parts_of(bare: InsertStmt) -> Result<Parts, RouterError> {
    parts(bare, None, &[])
}

/// The INSERT's text around the names of its columns and around its rows.
fn parts(
    mut bare: InsertStmt,
    target: Option<&Target>,
    ids: &[IdColumn],
) -> Result<Parts, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let rows = format!("SELECT * FROM {ROWS} AS new_rows");
    let rows = parse::parse(&rows)?.pop().ok_or_else(failed)?;
    bare.select_stmt = Some(Box::new(Node {
        node: Some(rows.node),
    }));
    if !ids.is_empty() {
        bare.cols.push(named(COLUMNS));
        if target.is_some_and(Target::has_identity) {
            bare.set_override(OverridingKind::OverridingSystemValue);
        }
    }
    let text = print::text(&NodeEnum::InsertStmt(Box::new(bare)))?;
    let tokens = Tokens::of(&text);
    let span = |word: &str| {
        let mut found = (0..tokens.len()).filter(|index| tokens.word(*index) == word);
        found.next().map(|index| tokens.span(index))
    };
    let rows = span(ROWS).ok_or_else(failed)?;
    let cut = |range: std::ops::Range<usize>| print::cut(&text[range], &Holes::default());
    Ok(match span(COLUMNS) {
        None => Parts {
            head: cut(0..rows.start),
            tail: cut(rows.end..text.len()),
            ..Parts::default()
        },
        Some(columns) => Parts {
            head: cut(0..columns.start),
            middle: cut(columns.end..rows.start),
            tail: cut(rows.end..text.len()),
        },
    })
}

fn named(name: &str) -> Node {
    let target = ResTarget {
        name: name.to_owned(),
        ..ResTarget::default()
    };
    Node {
        node: Some(NodeEnum::ResTarget(Box::new(target))),
    }
}

fn rest_reads_with() -> RouterError {
    RouterError::unsupported(
        "insert-select-with",
        "ON CONFLICT or RETURNING cannot read a WITH query here",
    )
    .detail("The query's rows are read first and then inserted on other shards.")
    .hint("Use the WITH query in the SELECT only.")
}
