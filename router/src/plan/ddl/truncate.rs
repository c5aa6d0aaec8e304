//! TRUNCATE: local tables at home, others everywhere; sequences restart at home only.

use pg_query::protobuf::{DropBehavior, TruncateStmt};
use schema::{Placement, Relation};

use super::{Job, Planned};
use crate::plan::edits::Edits;
use crate::plan::scope::{self, Found};
use crate::plan::tokens::Tokens;
use crate::plan::{Action, Effect, Plan, SequenceName, TemporaryChange, names, sequence};

pub fn plan(job: &Job<'_>, truncate: &TruncateStmt) -> Planned {
    let mut everywhere = false;
    let mut temporary = false;
    for range in truncate.relations.iter().filter_map(names::range_var) {
        match scope::find(range, job.context) {
            Found::Temporary => temporary = true,
            Found::Home => {}
            Found::Relation(found) => {
                everywhere |= scope::placement(&found, job.context) != Placement::Local
                    || cascades(truncate) && is_referenced_elsewhere(&found, job);
            }
        }
    }
    if temporary {
        return match everywhere {
            false => Ok(job.on_temporary(TemporaryChange::default())),
            true => Err(crate::error::RouterError::unsupported(
                "truncate-mixed",
                "temporary and sharded or reference tables cannot be truncated together",
            )
            .hint("Truncate them in two statements.")),
        };
    }
    if !everywhere {
        let effect = Effect {
            writes: true,
            ..Effect::default()
        };
        return Ok(Plan::new(Action::Home, effect, "local tables"));
    }
    let mut ddl = job.everywhere();
    ddl.changes_catalog = false;
    if truncate.restart_seqs {
        ddl.text_other_shards = Some(without_restart(&job.statement.text));
        ddl.reset_sequences = restarted(job, truncate);
    }
    Ok(job.planned(ddl))
}

fn cascades(truncate: &TruncateStmt) -> bool {
    truncate.behavior() == DropBehavior::DropCascade
}

/// CASCADE reaches a table that is on other shards too.
fn is_referenced_elsewhere(relation: &Relation, job: &Job<'_>) -> bool {
    let all = || {
        let relations = job.context.snapshot.relations.values();
        relations.flat_map(|named| named.values())
    };
    let name = |relation: &Relation| (relation.schema.clone(), relation.name.clone());
    let mut reached = vec![name(relation)];
    let mut next = 0;
    while let Some(parent) = reached.get(next).cloned() {
        next += 1;
        for child in all().filter(|child| {
            child
                .foreign_keys
                .iter()
                .any(|key| key.referenced == parent)
        }) {
            if scope::placement(child, job.context) != Placement::Local {
                return true;
            }
            if !reached.contains(&name(child)) {
                reached.push(name(child));
            }
        }
    }
    false
}

/// The text without RESTART IDENTITY: other shards' sequences are fenced and must stay so.
fn without_restart(text: &str) -> String {
    let tokens = Tokens::of(text);
    let mut edits = Edits::default();
    let found =
        |index: usize| tokens.is_word(index, "restart") && tokens.is_word(index + 1, "identity");
    // The last such pair: a table may be named `restart`.
    if let Some(index) = (0..tokens.len()).rev().find(|&index| found(index)) {
        edits.replace_text(tokens.span(index).start..tokens.span(index + 1).end, "");
    }
    edits.to_text(text)
}

fn restarted(job: &Job<'_>, truncate: &TruncateStmt) -> Vec<SequenceName> {
    let relations = job
        .context
        .snapshot
        .relations
        .values()
        .flat_map(|relations| relations.values());
    let cascades = cascades(truncate);
    let named = |relation: &Relation| {
        truncate.relations.iter().filter_map(names::range_var).any(|range| {
            matches!(scope::find(range, job.context), Found::Relation(found) if found.oid == relation.oid && found.name == relation.name)
        })
    };
    let mut sequences: Vec<_> = relations
        .filter(|relation| scope::placement(relation, job.context) != Placement::Local)
        .filter(|relation| cascades || named(relation))
        .flat_map(|relation| {
            relation
                .columns
                .iter()
                .filter_map(|column| sequence::of_default(&column.default))
        })
        .collect();
    sequences.sort();
    sequences.dedup();
    sequences
}
