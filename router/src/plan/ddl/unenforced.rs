//! `FOREIGN KEY ... NOT ENFORCED`, PostgreSQL 18's words, on every version of the shards: the constraint is made without
//! them, as NOT VALID, and nothing looks at its rows. Takes parts of CREATE and ALTER TABLE; gives what the shards run.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnDef, ConstrType, Constraint, CreateStmt, Node};

use super::constraints::{Subject, notice};
use crate::error::RouterError;
use crate::plan::{Ddl, names};

/// Foreign keys that nobody looks at, by their columns.
#[derive(Debug, Default)]
pub struct Unenforced {
    columns: Vec<Vec<String>>,
}

impl Unenforced {
    pub fn any(&self) -> bool {
        !self.columns.is_empty()
    }

    /// A constraint of a table. True: it is such a one, and is written for the shards now.
    pub fn take(&mut self, constraint: &mut Constraint) -> bool {
        let is_one = constraint.contype() == ConstrType::ConstrForeign && !constraint.is_enforced;
        if is_one {
            constraint.is_enforced = true;
            constraint.skip_validation = true;
            constraint.initially_valid = false;
            let columns = names::strings(&constraint.fk_attrs).into_iter();
            self.columns.push(columns.map(str::to_owned).collect());
        }
        is_one
    }

    /// Takes those of a column out of it; gives them as constraints of the table.
    pub fn take_from(&mut self, column: &mut ColumnDef) -> Vec<Constraint> {
        let mut taken = Vec::new();
        let mut kept: Vec<Node> = Vec::new();
        let mut taking = false;
        for node in std::mem::take(&mut column.constraints) {
            taking &= is_time(&node);
            if taking {
                continue;
            }
            if kind(&node) != Some(ConstrType::ConstrAttrNotEnforced) {
                kept.push(node);
                continue;
            }
            let at = kept
                .iter()
                .rposition(|node| kind(node) == Some(ConstrType::ConstrForeign));
            // What stands between are attributes of the key: when it is due matters to nobody.
            match at.filter(|at| kept[at + 1..].iter().all(is_time)) {
                Some(at) => {
                    taking = true;
                    let rest = kept.split_off(at);
                    taken.extend(rest.into_iter().next().and_then(constraint));
                }
                None => kept.push(node),
            }
        }
        column.constraints = kept;
        for constraint in &mut taken {
            constraint.is_enforced = false;
            constraint.fk_attrs = vec![Node {
                node: Some(NodeEnum::String(pg_query::protobuf::String {
                    sval: column.colname.clone(),
                })),
            }];
            self.take(constraint);
        }
        taken
    }

    /// All those of a new table. True: there are some.
    pub fn take_all(&mut self, create: &mut CreateStmt) -> bool {
        let mut apart = Vec::new();
        for element in &mut create.table_elts {
            match element.node.as_mut() {
                Some(NodeEnum::Constraint(constraint)) => {
                    self.take(constraint);
                }
                Some(NodeEnum::ColumnDef(column)) => apart.extend(self.take_from(column)),
                _ => {}
            }
        }
        let apart = apart.into_iter().map(|constraint| Node {
            node: Some(NodeEnum::Constraint(Box::new(constraint))),
        });
        create.table_elts.extend(apart);
        self.any()
    }

    /// What follows the statement on every shard, and what the client is told.
    pub fn note(&self, subject: &Subject<'_>, ddl: &mut Ddl, notices: &mut Vec<RouterError>) {
        let [schema, name] =
            [&subject.schema, &subject.name].map(|name| names::quote_literal(name));
        for columns in &self.columns {
            let listed: Vec<String> = columns
                .iter()
                .map(|name| names::quote_literal(name))
                .collect();
            let sql = format!(
                "SELECT oskol.leave_key_alone({schema}, {name}, ARRAY[{}]::text[])",
                listed.join(", ")
            );
            ddl.every_shard_also.push(sql);
            let text = format!(
                "the foreign key of \"{}\" over ({}) is not enforced",
                subject.name,
                columns.join(", ")
            );
            notices.push(notice("foreign-key-not-enforced", text));
        }
        if self.any() {
            ddl.every_shard_also.push(subject.keeping_references());
        }
    }
}

/// Whether the constraint has been taken: nobody judges it.
pub fn is_taken(constraint: &Constraint) -> bool {
    constraint.contype() == ConstrType::ConstrForeign
        && constraint.skip_validation
        && !constraint.initially_valid
}

fn kind(node: &Node) -> Option<ConstrType> {
    match node.node.as_ref()? {
        NodeEnum::Constraint(constraint) => Some(constraint.contype()),
        _ => None,
    }
}

fn is_time(node: &Node) -> bool {
    matches!(
        kind(node),
        Some(
            ConstrType::ConstrAttrDeferrable
                | ConstrType::ConstrAttrNotDeferrable
                | ConstrType::ConstrAttrDeferred
                | ConstrType::ConstrAttrImmediate
        )
    )
}

fn constraint(node: Node) -> Option<Constraint> {
    match node.node? {
        NodeEnum::Constraint(constraint) => Some(*constraint),
        _ => None,
    }
}
