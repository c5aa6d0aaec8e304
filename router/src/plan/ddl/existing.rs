//! Whether a table that exists can be placed anew: its own constraints, and the foreign keys that reference
//! it. Nothing can be left out here.

use schema::{ForeignKey, Relation};

use super::constraints::{Parent, Placed, Subject};
use super::seen;
use crate::error::RouterError;
use crate::plan::{PlanContext, scope};

/// Judges `relation` as if it were placed as `placed`; gives the NOTICEs to send.
pub fn judge(
    relation: &Relation,
    placed: &Placed,
    accept_unenforced: bool,
    context: &PlanContext<'_>,
) -> Result<Vec<RouterError>, RouterError> {
    let placing = Placing {
        relation,
        placed,
        context,
    };
    let subject = Subject {
        accept_unenforced,
        ..placing.subject()
    };
    let mut notices = Vec::new();
    for unique in &relation.unique_keys {
        notices.extend(subject.unique(&unique.name, &column_names(relation, &unique.columns))?);
    }
    placing.own_foreign_keys()?;
    placing.foreign_keys_to_it()?;
    Ok(notices)
}

struct Placing<'a> {
    relation: &'a Relation,
    placed: &'a Placed,
    context: &'a PlanContext<'a>,
}

impl<'a> Placing<'a> {
    fn subject(&self) -> Subject<'a> {
        Subject {
            schema: self.relation.schema.clone(),
            name: self.relation.name.clone(),
            placed: self.placed.clone(),
            accept_unenforced: false,
            context: self.context,
        }
    }

    fn own_foreign_keys(&self) -> Result<(), RouterError> {
        let subject = self.subject();
        self.relation
            .foreign_keys
            .iter()
            .try_for_each(|key| self.judge(&subject, self.relation, key, self.parent(key)))
    }

    fn foreign_keys_to_it(&self) -> Result<(), RouterError> {
        let children = self
            .context
            .snapshot
            .relations
            .values()
            .flat_map(|relations| relations.values());
        for child in children.filter(|child| !self.is_it(&child.schema, &child.name)) {
            let subject = Subject {
                accept_unenforced: false,
                ..Subject::of(child, self.context)
            };
            for key in child
                .foreign_keys
                .iter()
                .filter(|key| self.is_it(&key.referenced.0, &key.referenced.1))
            {
                self.judge(&subject, child, key, self.parent(key))?;
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        subject: &Subject<'_>,
        child: &Relation,
        key: &ForeignKey,
        parent: Parent,
    ) -> Result<(), RouterError> {
        subject.reference(&key.name, &column_names(child, &key.columns), &parent).map(|_| ()).map_err(|error| {
            error.hint("Drop the foreign key first, or place the other table so that both rows are on one shard.")
        })
    }

    fn is_it(&self, schema: &str, name: &str) -> bool {
        self.relation.schema == schema && self.relation.name == name
    }

    fn parent(&self, key: &ForeignKey) -> Parent {
        let (schema, name) = &key.referenced;
        let found = || self.context.snapshot.relations.get(schema)?.get(name);
        let placed = if self.is_it(schema, name) {
            self.placed.clone()
        } else {
            found().map_or(Placed::Local, |found| {
                seen(&scope::placement(found, self.context), &found.columns)
            })
        };
        Parent {
            name: name.clone(),
            placed,
            columns: key.referenced_columns.clone(),
        }
    }
}

fn column_names(relation: &Relation, columns: &[usize]) -> Vec<String> {
    columns
        .iter()
        .filter_map(|&column| Some(relation.columns.get(column)?.name.clone()))
        .collect()
}
