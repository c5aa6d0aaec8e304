//! Whether a table that exists can be placed anew: its own constraints, and the foreign keys that reference
//! it. A foreign key that is accepted unenforced is dropped.

use schema::{ForeignKey, Relation};

use super::constraints::{Parent, Placed, Subject, is_partitioned};
use super::elements;
use super::seen;
use crate::error::RouterError;
use crate::plan::names::quote_identifier;
use crate::plan::{PlanContext, scope};

/// What a new placement takes.
#[derive(Debug, Default)]
pub struct Judged {
    pub notices: Vec<RouterError>,
    /// Statements that drop the foreign keys which are accepted unenforced.
    pub drops: Vec<String>,
}

/// Judges `relation` as if it were placed as `placed`, by a rule of its own that says whether it
/// accepts what cannot be enforced; foreign keys of other tables go by those tables' rules.
pub fn judge(
    relation: &Relation,
    placed: &Placed,
    accept_unenforced: bool,
    partitioned: bool,
    context: &PlanContext<'_>,
) -> Result<Judged, RouterError> {
    let placing = Placing {
        relation,
        placed,
        accept_unenforced,
        partitioned,
        context,
    };
    let subject = placing.subject();
    let mut judged = Judged::default();
    for unique in &relation.unique_keys {
        let columns = column_names(relation, &unique.columns);
        judged
            .notices
            .extend(subject.unique(&unique.name, &columns)?);
    }
    placing.own_foreign_keys(&mut judged)?;
    placing.foreign_keys_to_it(&mut judged)?;
    Ok(judged)
}

struct Placing<'a> {
    relation: &'a Relation,
    placed: &'a Placed,
    accept_unenforced: bool,
    partitioned: bool,
    context: &'a PlanContext<'a>,
}

impl<'a> Placing<'a> {
    fn subject(&self) -> Subject<'a> {
        Subject {
            schema: self.relation.schema.clone(),
            name: self.relation.name.clone(),
            placed: self.placed.clone(),
            accept_unenforced: self.accept_unenforced,
            partitioned: self.partitioned,
            context: self.context,
        }
    }

    fn own_foreign_keys(&self, judged: &mut Judged) -> Result<(), RouterError> {
        let subject = self.subject();
        for key in &self.relation.foreign_keys {
            self.judge(&subject, self.relation, key, judged)?;
        }
        Ok(())
    }

    fn foreign_keys_to_it(&self, judged: &mut Judged) -> Result<(), RouterError> {
        let children = self
            .context
            .snapshot
            .relations
            .values()
            .flat_map(|relations| relations.values());
        for child in children.filter(|child| !self.is_it(&child.schema, &child.name)) {
            let subject = Subject::of(child, self.context);
            for key in child
                .foreign_keys
                .iter()
                .filter(|key| self.is_it(&key.referenced.0, &key.referenced.1))
            {
                self.judge(&subject, child, key, judged)?;
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        subject: &Subject<'_>,
        child: &Relation,
        key: &ForeignKey,
        judged: &mut Judged,
    ) -> Result<(), RouterError> {
        let columns = column_names(child, &key.columns);
        let verdict = subject.reference(&key.name, &columns, &self.parent(key));
        let verdict = verdict.map_err(|error| {
            error.hint("Drop the foreign key first, or place the other table so that both rows are on one shard.")
        })?;
        // A partition's foreign key goes with its parent's.
        if child.parent.is_none() && elements::judged(verdict, &mut judged.notices) {
            judged.drops.push(format!(
                "ALTER TABLE {}.{} DROP CONSTRAINT {}",
                quote_identifier(&child.schema),
                quote_identifier(&child.name),
                quote_identifier(&key.name)
            ));
        }
        Ok(())
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
        let partitioned = found().is_some_and(|found| is_partitioned(found));
        Parent {
            partitioned,
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
