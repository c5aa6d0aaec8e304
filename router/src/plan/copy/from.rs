//! COPY FROM STDIN into a sharded or reference table: which field is the key, which ids are added.

use pg_query::protobuf::RangeVar;
use schema::{DefaultValue, KeyType, Placement, Relation};

use super::{Job, Planned, options};
use crate::error::RouterError;
use crate::plan::edits::Edits;
use crate::plan::names::{quote_identifier, strings};
use crate::plan::scope::{INT2, INT4, INT8};
use crate::plan::tokens::Tokens;
use crate::plan::{
    Action, AppendedId, Copy, CopyFormat, CopyFrom, Effect, Plan, sequence, volatile,
};

pub fn plan(job: &Job<'_>, relation: &Relation, placement: &Placement) -> Planned {
    let columns = columns(job, relation)?;
    let settings = options::read(&job.copy.options)?;
    let append_ids = absent_ids(relation, &columns, settings.format)?;
    let text = text(job, relation, &columns, &append_ids)?;
    let mut copy = CopyFrom {
        options: settings,
        columns,
        key_field: 0,
        key_type: KeyType::Int8,
        append_ids,
        text,
        home: false,
    };
    let effect = Effect {
        writes: true,
        ..Effect::default()
    };
    match *placement {
        Placement::Sharded { key, key_type } => {
            options::readable(&job.copy.options, &relation.columns[key].name)?;
            copy.key_field = key_field(relation, key, &copy)?;
            copy.key_type = key_type;
            let reason = format!("rows divided by {}", relation.columns[key].name);
            Ok(Plan::new(
                Action::Copy(Copy::FromDivided(copy)),
                effect,
                reason,
            ))
        }
        _ => {
            same_everywhere(job, relation, &copy)?;
            Ok(Plan::new(
                Action::Copy(Copy::FromBroadcast(copy)),
                effect,
                "a reference table",
            ))
        }
    }
}

/// COPY into a local table whose rows are looked into on other shards at its end.
pub fn at_home(job: &Job<'_>, relation: &Relation) -> Planned {
    let copy = CopyFrom {
        options: options::read(&job.copy.options)?,
        columns: columns(job, relation)?,
        key_field: 0,
        key_type: KeyType::Int8,
        append_ids: Vec::new(),
        text: job.statement.text.clone(),
        home: true,
    };
    let effect = Effect {
        writes: true,
        ..Effect::default()
    };
    let action = Action::Copy(Copy::FromBroadcast(copy));
    Ok(Plan::new(action, effect, "a local table"))
}

/// The columns of the data: those listed, or all that are not generated.
fn columns(job: &Job<'_>, relation: &Relation) -> Result<Vec<usize>, RouterError> {
    if job.copy.attlist.is_empty() {
        let is_plain = |index: &usize| relation.columns[*index].default != DefaultValue::Generated;
        return Ok((0..relation.columns.len()).filter(is_plain).collect());
    }
    let find = |name: &str| {
        relation.column(name).ok_or_else(|| {
            let message = format!(
                "column \"{name}\" of relation \"{}\" does not exist",
                relation.name
            );
            RouterError::new("42703", message)
        })
    };
    strings(&job.copy.attlist).into_iter().map(find).collect()
}

fn absent_ids(
    relation: &Relation,
    columns: &[usize],
    format: CopyFormat,
) -> Result<Vec<AppendedId>, RouterError> {
    let mut absent = Vec::new();
    for (_, column) in relation
        .columns
        .iter()
        .enumerate()
        .filter(|(index, _)| !columns.contains(index))
    {
        let Some(sequence) = sequence::of_default(&column.default) else {
            continue;
        };
        let width = match column.type_oid {
            INT2 => 2,
            INT4 => 4,
            INT8 => 8,
            _ if format == CopyFormat::Binary => {
                return Err(RouterError::unsupported(
                    "copy-binary-id",
                    format!("COPY in binary format cannot fill in \"{}\"", column.name),
                )
                .detail("Its type is not an integer.")
                .hint("Use text or csv format, or give the column's values."));
            }
            _ => 8,
        };
        absent.push(AppendedId {
            sequence,
            column: column.name.clone(),
            width,
        });
    }
    Ok(absent)
}

fn key_field(relation: &Relation, key: usize, copy: &CopyFrom) -> Result<usize, RouterError> {
    let name = &relation.columns[key].name;
    let appended = || {
        copy.append_ids
            .iter()
            .position(|added| added.column == *name)
    };
    copy.columns
        .iter()
        .position(|&column| column == key)
        .or_else(|| appended().map(|index| copy.columns.len() + index))
        .ok_or_else(|| {
            RouterError::unsupported(
                "copy-without-key",
                format!("COPY into \"{}\" lacks the shard key", relation.name),
            )
            .detail(format!(
                "Without \"{name}\" it is not known which shard a row belongs to."
            ))
            .hint("Add the shard key to the column list and to the data.")
        })
}

/// The client's text with the added columns named.
fn text(
    job: &Job<'_>,
    relation: &Relation,
    columns: &[usize],
    added: &[AppendedId],
) -> Result<String, RouterError> {
    let text = job.statement.text.as_str();
    if added.is_empty() {
        return Ok(text.to_owned());
    }
    let tokens = Tokens::of(text);
    let after_name = job
        .copy
        .relation
        .as_ref()
        .and_then(|range| after_name(&tokens, range));
    let after_name = after_name.ok_or_else(form)?;
    let mut edits = Edits::default();
    let new = added.iter().map(|added| quote_identifier(&added.column));
    if tokens.word(after_name) == "(" {
        let close = tokens.closing(after_name).ok_or_else(form)?;
        edits.insert_text(
            tokens.span(close).start,
            new.map(|name| format!(", {name}")).collect::<String>(),
        );
    } else {
        let old = columns
            .iter()
            .map(|&column| quote_identifier(&relation.columns[column].name));
        let all: Vec<_> = old.chain(new).collect();
        edits.insert_text(
            tokens.span(after_name).start,
            format!("({}) ", all.join(", ")),
        );
    }
    Ok(edits.to_text(text))
}

fn after_name(tokens: &Tokens<'_>, range: &RangeVar) -> Option<usize> {
    let mut index = tokens.index_at(usize::try_from(range.location).ok()?) + 1;
    while tokens.word(index) == "." {
        index += 2;
    }
    Some(index)
}

fn form() -> RouterError {
    RouterError::unsupported("copy-form", "this form of COPY is not supported")
        .hint("Write it as COPY table (columns) FROM STDIN WITH (options).")
}

/// Nothing that differs from shard to shard may be in the rows of a reference table.
fn same_everywhere(job: &Job<'_>, relation: &Relation, copy: &CopyFrom) -> Result<(), RouterError> {
    let default = relation.columns.iter().enumerate().find(|(index, column)| {
        matches!(
            column.default,
            DefaultValue::Expression { volatile: true, .. }
        ) && !copy.columns.contains(index)
    });
    let culprit = volatile::culprit(&job.facts(), job.context).or_else(|| {
        default.map(|(_, column)| format!("the default of column \"{}\"", column.name))
    });
    let culprit = culprit.or_else(|| volatile::trigger(relation, |trigger| trigger.on_insert));
    match culprit {
        Some(culprit) => Err(RouterError::unsupported(
            "reference-write-volatile",
            "this COPY could give different rows on different shards",
        )
        .detail(format!(
            "Every shard holds a copy of \"{}\", and {culprit} may differ from shard to shard.",
            relation.name
        ))
        .hint("Give the column's values in the data.")),
        None => Ok(()),
    }
}
