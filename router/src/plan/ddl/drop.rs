//! DROP and RENAME. Rules follow their tables by themselves: the catalog knows tables by oid.

use pg_query::NodeEnum;
use pg_query::protobuf::{DropStmt, Node, ObjectType, RenameStmt};

use super::constraints::{Placed, Subject};
use super::{Job, Planned};
use crate::error::RouterError;
use crate::plan::scope::{self, Found};
use crate::plan::{DatabaseChange, TemporaryChange, names};

pub fn plan(job: &Job<'_>, drop: &DropStmt) -> Planned {
    let dropped: Vec<String> = drop
        .objects
        .iter()
        .filter_map(|object| temporary_name(job, drop, object))
        .collect();
    if !dropped.is_empty() {
        if dropped.len() < drop.objects.len() {
            return Err(RouterError::unsupported(
                "drop-mixed",
                "temporary and permanent relations cannot be dropped together",
            )
            .detail("Temporary relations are on the home shard only.")
            .hint("Drop them in two statements."));
        }
        return Ok(job.on_temporary(TemporaryChange {
            created: Vec::new(),
            dropped,
        }));
    }
    let mut ddl = job.everywhere();
    ddl.outside_transaction = drop.concurrent;
    if drop.concurrent {
        let names = drop.objects.iter().filter_map(quoted_name);
        ddl.left_first = names.collect();
        let plainly = DropStmt {
            concurrent: false,
            ..drop.clone()
        };
        ddl.again = Some(super::deparse(NodeEnum::DropStmt(plainly))?);
    }
    Ok(job.planned(ddl))
}

fn quoted_name(object: &Node) -> Option<String> {
    let NodeEnum::List(parts) = object.node.as_ref()? else {
        return None;
    };
    let (schema, name) = scope::qualified(&parts.items)?;
    let name = names::quote_identifier(name);
    Some(match schema {
        Some(schema) => format!("{}.{name}", names::quote_identifier(schema)),
        None => name,
    })
}

fn temporary_name(job: &Job<'_>, drop: &DropStmt, object: &Node) -> Option<String> {
    let is_relation = matches!(
        drop.remove_type(),
        ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex
    );
    let NodeEnum::List(parts) = object.node.as_ref()? else {
        return None;
    };
    let (schema, name) = scope::qualified(&parts.items)?;
    let temporary = is_relation
        && matches!(
            scope::find_name(schema, name, job.context),
            Found::Temporary
        );
    temporary.then(|| name.to_owned())
}

pub fn rename(job: &Job<'_>, rename: &RenameStmt) -> Planned {
    if rename.rename_type() == ObjectType::ObjectDatabase {
        let mut ddl = job.everywhere();
        super::database::not_reserved(&rename.newname)?;
        super::database::not_reserved(&rename.subname)?;
        ddl.changes_catalog = false;
        ddl.database = Some(DatabaseChange::Rename {
            from: rename.subname.clone(),
            to: rename.newname.clone(),
        });
        return Ok(job.planned(ddl));
    }
    let temporary = rename
        .relation
        .as_ref()
        .filter(|range| matches!(scope::find(range, job.context), Found::Temporary));
    let Some(range) = temporary else {
        let mut ddl = job.everywhere();
        if let Some(subject) = renamed_columns(job, rename) {
            // What notes the changes of entries names columns.
            ddl.keep_entries(&subject);
            if subject.has_kept_references() {
                ddl.keep_references(&subject);
            }
        }
        return Ok(job.planned(ddl));
    };
    let renames_relation = matches!(
        rename.rename_type(),
        ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex
    );
    let change = if renames_relation {
        TemporaryChange {
            created: vec![rename.newname.clone()],
            dropped: vec![range.relname.clone()],
        }
    } else {
        TemporaryChange::default()
    };
    Ok(job.on_temporary(change))
}

/// The table whose column gets another name.
fn renamed_columns<'a>(job: &'a Job<'_>, rename: &RenameStmt) -> Option<Subject<'a>> {
    if rename.rename_type() != ObjectType::ObjectColumn {
        return None;
    }
    match scope::find(rename.relation.as_ref()?, job.context) {
        Found::Relation(relation) => {
            let mut subject = Subject::of(&relation, job.context);
            if let Placed::Sharded { key, .. } = &mut subject.placed
                && *key == rename.subname
            {
                key.clone_from(&rename.newname);
            }
            Some(subject)
        }
        Found::Temporary | Found::Home => None,
    }
}
