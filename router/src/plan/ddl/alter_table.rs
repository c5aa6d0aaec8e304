//! ALTER TABLE: what it adds must hold on each shard, and the shard key must stay what it is.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableCmd, AlterTableStmt, AlterTableType, Node, ObjectType};
use schema::{Placement, Relation};

use super::constraints::{self, Placed, Subject, Verdict};
use super::create_table::{declaration, type_of_key};
use super::unenforced::Unenforced;
use super::{Job, Planned, elements, existing, references, seen};
use crate::error::RouterError;
use crate::plan::facts::Facts;
use crate::plan::names::{quote_identifier, quote_literal};
use crate::plan::scope::{self, Found};
use crate::plan::{Ddl, TemporaryChange, Validation, volatile};

pub fn plan(job: &Job<'_>, alter: &AlterTableStmt) -> Planned {
    let Some(range) = alter.relation.as_ref() else {
        return Ok(job.planned(job.everywhere()));
    };
    match scope::find(range, job.context) {
        Found::Temporary => Ok(job.on_temporary(TemporaryChange::default())),
        Found::Relation(relation) if alter.objtype() == ObjectType::ObjectTable => Altered {
            job,
            subject: Subject::of(&relation, job.context),
            relation: &relation,
        }
        .plan(alter),
        Found::Relation(_) | Found::Home => Ok(job.planned(job.everywhere())),
    }
}

struct Altered<'a> {
    job: &'a Job<'a>,
    subject: Subject<'a>,
    relation: &'a Relation,
}

impl Altered<'_> {
    fn plan(&self, alter: &AlterTableStmt) -> Planned {
        let mut changed = alter.clone();
        let mut notices = Vec::new();
        let mut ddl = self.job.everywhere();
        let mut left_out = false;
        let mut unenforced = Unenforced::default();
        let mut validation = Validation {
            table: (self.subject.schema.clone(), self.subject.name.clone()),
            ..Validation::default()
        };
        changed.cmds.clear();
        for node in &alter.cmds {
            let mut node = node.clone();
            let Some(NodeEnum::AlterTableCmd(command)) = node.node.as_mut() else {
                continue;
            };
            self.keeps_key(command)?;
            self.keeps_copies_equal(command)?;
            self.keeps_routes(command)?;
            references::keeps_types(command, self.relation, self.job.context)?;
            self.partition(command, &mut ddl)?;
            if let Some(taken) = take_unenforced(command, &mut unenforced) {
                left_out = true;
                changed.cmds.push(node);
                changed.cmds.extend(taken);
                continue;
            }
            let mut apart = Vec::new();
            match self.judge(command, &mut notices, &mut validation, &mut apart)? {
                Judged::Kept => changed.cmds.push(node),
                Judged::Changed => {
                    left_out = true;
                    changed.cmds.push(node);
                }
                Judged::Dropped => left_out = true,
            }
            changed.cmds.append(&mut apart);
        }
        if left_out {
            ddl.text = self.text(changed)?;
        }
        ddl.keep_entries(&self.subject);
        unenforced.note(&self.subject, &mut ddl, &mut notices);
        let checks = validation.added || !validation.named.is_empty();
        if checks || self.subject.has_kept_references() {
            ddl.keep_references(&self.subject);
        }
        ddl.validation = checks.then_some(validation);
        let mut plan = self.job.planned(ddl);
        plan.notices = notices;
        Ok(plan)
    }

    fn text(&self, changed: AlterTableStmt) -> Result<String, RouterError> {
        if changed.cmds.is_empty() {
            let (schema, name) = (
                quote_identifier(&self.relation.schema),
                quote_identifier(&self.relation.name),
            );
            // Nothing is left; this changes nothing, and gives the tag and the errors of ALTER TABLE.
            return Ok(format!("ALTER TABLE {schema}.{name} RESET (oskol_nothing)"));
        }
        super::deparse(NodeEnum::AlterTableStmt(changed))
    }

    /// `apart`: commands that are to follow.
    fn judge(
        &self,
        command: &mut AlterTableCmd,
        notices: &mut Vec<RouterError>,
        validation: &mut Validation,
        apart: &mut Vec<Node>,
    ) -> Result<Judged, RouterError> {
        let kind = command.subtype();
        if kind == AlterTableType::AtValidateConstraint && self.is_kept(&command.name) {
            validation.named.push(command.name.clone());
            return Ok(Judged::Dropped);
        }
        match command.def.as_mut().and_then(|def| def.node.as_mut()) {
            Some(NodeEnum::ColumnDef(column)) if kind == AlterTableType::AtAddColumn => {
                let changed = elements::judge_column(&self.subject, column, notices)?;
                *apart = references::taken_from(column, &self.subject, validation)?;
                Ok(if changed || !apart.is_empty() {
                    Judged::Changed
                } else {
                    Judged::Kept
                })
            }
            Some(NodeEnum::Constraint(constraint)) if kind == AlterTableType::AtAddConstraint => {
                let verdict = self.subject.judge(constraint, None)?;
                if verdict == Verdict::OverShards {
                    references::without_rows(constraint, validation);
                    return Ok(Judged::Changed);
                }
                let dropped = elements::judged(verdict, notices);
                Ok(if dropped {
                    Judged::Dropped
                } else {
                    Judged::Kept
                })
            }
            _ => Ok(Judged::Kept),
        }
    }

    fn is_kept(&self, name: &str) -> bool {
        let mut keys = self.relation.foreign_keys.iter();
        keys.any(|key| key.kept.is_some() && key.name == name)
    }

    fn keeps_key(&self, command: &AlterTableCmd) -> Result<(), RouterError> {
        let Placed::Sharded { key, key_type } = &self.subject.placed else {
            return Ok(());
        };
        if command.name != *key {
            return Ok(());
        }
        let keeps = match command.subtype() {
            AlterTableType::AtDropColumn | AlterTableType::AtDropNotNull => false,
            AlterTableType::AtAlterColumnType => {
                match command.def.as_ref().and_then(|def| def.node.as_ref()) {
                    Some(NodeEnum::ColumnDef(column)) => {
                        let new = column.type_name.as_ref().and_then(type_of_key);
                        column.raw_default.is_none()
                            && new.is_some_and(|new| constraints::hash_alike(new, *key_type))
                    }
                    _ => false,
                }
            }
            _ => true,
        };
        if keeps {
            Ok(())
        } else {
            Err(key_change(key, &self.relation.name))
        }
    }

    /// Values that a routing index has entries of stay what they are.
    fn keeps_routes(&self, command: &AlterTableCmd) -> Result<(), RouterError> {
        let changes = command.subtype() == AlterTableType::AtAlterColumnType;
        let mut routed = self.relation.routing_indexes.iter();
        let is_routed = routed.any(|index| {
            let column = self.relation.columns.get(index.column);
            column.is_some_and(|column| column.name == command.name)
        });
        match changes && is_routed {
            true => Err(route_column_type(&command.name)),
            false => Ok(()),
        }
    }

    /// A column's new values are computed on each shard.
    fn keeps_copies_equal(&self, command: &AlterTableCmd) -> Result<(), RouterError> {
        let computes = matches!(
            command.subtype(),
            AlterTableType::AtAddColumn | AlterTableType::AtAlterColumnType
        );
        if self.subject.placed != Placed::Reference || !computes {
            return Ok(());
        }
        match volatile::culprit(&Facts::of(command), self.job.context) {
            Some(culprit) => Err(RouterError::unsupported(
                "reference-write-volatile",
                "this ALTER TABLE could give different rows on different shards",
            )
            .detail(format!("Every shard holds a copy of \"{}\", and {culprit} may differ from shard to shard.", self.relation.name))
            .hint("Add the column without a default, set the default afterwards, and fill it in by UPDATE with a constant.")),
            None => Ok(()),
        }
    }

    /// Partitions that come or go, and inheritance.
    fn partition(&self, command: &AlterTableCmd, ddl: &mut Ddl) -> Result<(), RouterError> {
        let child = command.def.as_deref().and_then(|def| self.child(def));
        match (command.subtype(), child) {
            (AlterTableType::AtAttachPartition, Some(child)) => self.attach(&child, ddl),
            (AlterTableType::AtDetachPartition, Some(child)) => {
                ddl.home_also.extend(self.own_rule(&child));
                Ok(())
            }
            (AlterTableType::AtAddInherit, _) if self.subject.placed != Placed::Local => {
                Err(add_inherit())
            }
            (AlterTableType::AtAddInherit, Some(parent))
                if scope::placement(&parent, self.job.context) != Placement::Local =>
            {
                Err(add_inherit())
            }
            _ => Ok(()),
        }
    }

    fn child(&self, def: &Node) -> Option<std::sync::Arc<Relation>> {
        let range = match def.node.as_ref()? {
            NodeEnum::PartitionCmd(command) => command.name.as_ref()?,
            NodeEnum::RangeVar(range) => range,
            _ => return None,
        };
        match scope::find(range, self.job.context) {
            Found::Relation(found) => Some(found),
            Found::Temporary | Found::Home => None,
        }
    }

    /// A table that is placed likewise, or a local one without rows, which is placed by becoming a partition.
    fn attach(&self, child: &Relation, ddl: &mut Ddl) -> Result<(), RouterError> {
        if !child.routing_indexes.is_empty() {
            return Err(attach_routed(&child.name));
        }
        let placed = seen(&scope::placement(child, self.job.context), &child.columns);
        if placed == self.subject.placed {
            return Ok(());
        }
        let subject = &self.subject;
        let (context, accepts) = (self.job.context, subject.accept_unenforced);
        let judged = existing::judge(child, &subject.placed, accepts, true, context)?;
        if placed != Placed::Local || !judged.drops.is_empty() {
            return Err(attach_elsewhere(&child.name, &self.relation.name));
        }
        let names =
            [&child.schema, &child.name, &self.relation.name].map(|name| quote_literal(name));
        ddl.home_also
            .push(format!("SELECT oskol.must_be_empty({})", names.join(", ")));
        Ok(())
    }

    /// A detached partition stays where it is, by a rule of its own.
    fn own_rule(&self, child: &Relation) -> Option<String> {
        let table = (child.schema.as_str(), child.name.as_str());
        match &self.subject.placed {
            Placed::Local => None,
            Placed::Reference => Some(declaration(
                table,
                "reference",
                None,
                self.subject.accept_unenforced,
            )),
            Placed::Sharded { key, .. } => Some(declaration(
                table,
                "sharded",
                Some(key),
                self.subject.accept_unenforced,
            )),
        }
    }
}

/// The commands that add foreign keys which are not enforced; `None`: `command` adds none.
fn take_unenforced(command: &mut AlterTableCmd, into: &mut Unenforced) -> Option<Vec<Node>> {
    let kind = command.subtype();
    match command.def.as_mut().and_then(|def| def.node.as_mut())? {
        NodeEnum::Constraint(constraint) if kind == AlterTableType::AtAddConstraint => {
            into.take(constraint).then(Vec::new)
        }
        NodeEnum::ColumnDef(column) if kind == AlterTableType::AtAddColumn => {
            let taken = into.take_from(column);
            let commands = taken.into_iter().map(references::add);
            (commands.len() > 0).then(|| commands.collect())
        }
        _ => None,
    }
}

enum Judged {
    Kept,
    /// Something in it is left out.
    Changed,
    Dropped,
}

fn key_change(key: &str, table: &str) -> RouterError {
    RouterError::unsupported("shard-key-change", format!("the shard key \"{key}\" of \"{table}\" cannot be changed so"))
        .detail("Rows are placed by the hash of the shard key, which must stay, stay NOT NULL, and hash alike.")
        .hint("Create a new table with the shard key you want and copy the rows.")
}

fn route_column_type(column: &str) -> RouterError {
    RouterError::unsupported(
        "route-column-type",
        format!("the type of column \"{column}\" cannot be changed so"),
    )
    .detail("The column has a routing index, whose entries are of its values as they are.")
    .hint("Use oskol.unroute_by first, and oskol.route_by after the change.")
}

fn attach_routed(child: &str) -> RouterError {
    RouterError::unsupported(
        "route-partitioned",
        format!("\"{child}\" has a routing index and cannot become a partition"),
    )
    .detail("What is written to it through the partitioned table would not be noted.")
    .hint("Use oskol.unroute_by first.")
}

fn attach_elsewhere(child: &str, parent: &str) -> RouterError {
    RouterError::unsupported(
        "attach-partition",
        format!("\"{child}\" is not placed as \"{parent}\" is"),
    )
    .detail("A partition's rows must be where the partitioned table's rows are.")
    .hint("Create the partition by CREATE TABLE ... PARTITION OF, or place the table in the same way first.")
}

fn add_inherit() -> RouterError {
    RouterError::unsupported(
        "inherits-sharded",
        "sharded and reference tables take no part in inheritance",
    )
    .hint("Use declarative partitioning: partitions are placed with their parent.")
}
