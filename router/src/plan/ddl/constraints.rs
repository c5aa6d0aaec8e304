//! Constraints that a shard alone can or cannot keep. Takes a table's placement and a constraint; gives
//! nothing, a NOTICE (where the table's rule accepts unenforced constraints) or a refusal.

use pg_query::NodeEnum;
use pg_query::protobuf::{ConstrType, Constraint, Node, RangeVar};
use schema::{KeyType, Placement, Relation};

use super::seen;
use crate::error::RouterError;
use crate::plan::scope::{self, Found};
use crate::plan::{PlanContext, names};

/// Where a table's rows are, with the shard key by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    Local,
    Reference,
    Sharded { key: String, key_type: KeyType },
}

/// The table whose constraints are looked at; it may not exist yet.
pub struct Subject<'a> {
    pub schema: String,
    pub name: String,
    pub placed: Placed,
    pub accept_unenforced: bool,
    /// A partitioned table or a partition.
    pub partitioned: bool,
    pub context: &'a PlanContext<'a>,
}

/// What becomes of one constraint.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Enforced,
    /// A foreign key that no shard alone can keep: the router has it looked into on others.
    OverShards,
    /// Each shard keeps it for its own rows.
    PerShard(RouterError),
    /// It cannot even be created on the shards: left out of the statement.
    LeftOut(RouterError),
}

type Judged = Result<Verdict, RouterError>;

impl<'a> Subject<'a> {
    pub fn of(relation: &Relation, context: &'a PlanContext<'a>) -> Self {
        Self {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            placed: seen(&scope::placement(relation, context), &relation.columns),
            accept_unenforced: relation.accept_unenforced,
            partitioned: is_partitioned(relation),
            context,
        }
    }

    /// Run on every shard after a change of the table: keeps by entries what no shard alone can keep. `None`: it
    /// has nothing of that kind.
    pub fn keeping(&self) -> Option<String> {
        let Placed::Sharded { key, .. } = &self.placed else {
            return None;
        };
        let table = (self.schema.as_str(), self.name.as_str());
        (!self.accept_unenforced && !self.partitioned).then(|| keep_unique_keys(table, key))
    }

    /// Run on every shard after a change of the table: has its foreign keys, and those to it, kept.
    pub fn keeping_references(&self) -> String {
        let relations = &self.context.snapshot.relations;
        let relations = relations.values().flat_map(|named| named.values());
        let others = relations
            .filter(|other| (&other.schema, &other.name) != (&self.schema, &self.name))
            .map(|other| {
                let placed = seen(&scope::placement(other, self.context), &other.columns);
                (other.schema.as_str(), other.name.as_str(), placed)
            });
        let own = (
            self.schema.as_str(),
            self.name.as_str(),
            self.placed.clone(),
        );
        let places = places(others.chain(std::iter::once(own)));
        keep_foreign_keys((&self.schema, &self.name), &places)
    }

    /// A foreign key of the table, or to it, is kept over shards.
    pub fn has_kept_references(&self) -> bool {
        let own = (self.schema.as_str(), self.name.as_str());
        let relations = &self.context.snapshot.relations;
        let mut relations = relations.values().flat_map(|named| named.values());
        relations.any(|relation| {
            let is_child = (relation.schema.as_str(), relation.name.as_str()) == own;
            let keys = relation.foreign_keys.iter();
            let mut kept = keys.filter(|key| key.kept.is_some());
            kept.any(|key| {
                is_child || (key.referenced.0.as_str(), key.referenced.1.as_str()) == own
            })
        })
    }

    /// Judges a table constraint, or one of `column`.
    pub fn judge(&self, constraint: &Constraint, column: Option<&str>) -> Judged {
        let listed = |nodes: &[Node]| match column {
            Some(column) => vec![column.to_owned()],
            None => names::strings(nodes)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        match constraint.contype() {
            // USING INDEX: the index has been judged when it was made.
            ConstrType::ConstrPrimary | ConstrType::ConstrUnique
                if constraint.indexname.is_empty() =>
            {
                Ok(per_shard(
                    self.unique(&constraint.conname, &listed(&constraint.keys))?,
                ))
            }
            ConstrType::ConstrExclusion => Ok(per_shard(self.exclusion(constraint)?)),
            ConstrType::ConstrForeign => self.foreign(constraint, &listed(&constraint.fk_attrs)),
            _ => Ok(Verdict::Enforced),
        }
    }

    /// A UNIQUE, PRIMARY KEY or unique index over `columns` (those that are expressions left out).
    pub fn unique(
        &self,
        name: &str,
        columns: &[String],
    ) -> Result<Option<RouterError>, RouterError> {
        match &self.placed {
            Placed::Sharded { key, .. } if !columns.contains(key) => {
                if !self.accept_unenforced && !self.partitioned {
                    return Ok(None);
                }
                self.unenforced_unique(name, key)
            }
            _ => Ok(None),
        }
    }

    fn exclusion(&self, constraint: &Constraint) -> Result<Option<RouterError>, RouterError> {
        let Placed::Sharded { key, .. } = &self.placed else {
            return Ok(None);
        };
        let equals_key = constraint
            .exclusions
            .iter()
            .any(|exclusion| excludes_equal(exclusion, key));
        if equals_key {
            Ok(None)
        } else {
            self.unenforced_unique(&constraint.conname, key)
        }
    }

    fn unenforced_unique(&self, name: &str, key: &str) -> Result<Option<RouterError>, RouterError> {
        let what = if name.is_empty() {
            "a unique constraint".to_owned()
        } else {
            format!("\"{name}\"")
        };
        if self.accept_unenforced {
            return Ok(Some(
                notice(
                    "unique-without-shard-key",
                    format!("{what} of \"{}\" is enforced on each shard only", self.name),
                )
                .detail(format!("It does not contain the shard key \"{key}\".")),
            ));
        }
        Err(RouterError::unsupported(
            "unique-without-shard-key",
            format!("{what} of sharded table \"{}\" does not contain the shard key", self.name),
        )
        .detail(format!("Rows of different \"{key}\" are on different shards, and no shard sees the others' rows."))
        .hint(format!(
            "Add \"{key}\" to its columns, or set accept_unenforced in the table's rule to have it enforced on each shard only."
        )))
    }

    fn foreign(&self, constraint: &Constraint, columns: &[String]) -> Judged {
        let Some(range) = constraint.pktable.as_ref() else {
            return Ok(Verdict::Enforced);
        };
        let listed = names::strings(&constraint.pk_attrs)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let Some(parent) = self.parent(range, listed) else {
            return Ok(Verdict::Enforced);
        };
        self.reference(&constraint.conname, columns, &parent)
    }

    /// Judges `FOREIGN KEY (columns) REFERENCES parent`.
    pub fn reference(&self, name: &str, columns: &[String], parent: &Parent) -> Judged {
        if self.stays_on_shard(columns, parent) {
            return Ok(Verdict::Enforced);
        }
        let what = if name.is_empty() {
            "a foreign key".to_owned()
        } else {
            format!("foreign key \"{name}\"")
        };
        let why = format!(
            "{}, {}.",
            place(&self.name, &self.placed),
            place(&parent.name, &parent.placed)
        );
        if self.accept_unenforced {
            let text = format!(
                "{what} of \"{}\" is left out: it is not enforced",
                self.name
            );
            return Ok(Verdict::LeftOut(
                notice("foreign-key-leaves-shard", text).detail(why),
            ));
        }
        if self.partitioned || parent.partitioned {
            return Err(RouterError::unsupported(
                "foreign-key-leaves-shard",
                format!("{what} from \"{}\" to \"{}\" leaves the shard", self.name, parent.name),
            )
            .detail(format!("{why} Over shards foreign keys of partitioned tables are not supported."))
            .hint(
                "Make it reference the shard key from the shard key, or make the referenced table a reference table.",
            ));
        }
        Ok(Verdict::OverShards)
    }

    fn stays_on_shard(&self, columns: &[String], parent: &Parent) -> bool {
        match (&self.placed, &parent.placed) {
            (_, Placed::Reference) | (Placed::Local, Placed::Local) => true,
            (
                Placed::Sharded { key, key_type },
                Placed::Sharded {
                    key: parent_key,
                    key_type: parent_type,
                },
            ) => {
                hash_alike(*key_type, *parent_type)
                    && columns
                        .iter()
                        .zip(&parent.columns)
                        .any(|(from, to)| from == key && to == parent_key)
            }
            _ => false,
        }
    }

    /// The referenced table; `None` if there is none of that name, which PostgreSQL will say.
    fn parent(&self, range: &RangeVar, listed: Vec<String>) -> Option<Parent> {
        let schema_fits = range.schemaname.is_empty() || range.schemaname == self.schema;
        let Found::Relation(relation) = scope::find(range, self.context) else {
            let itself = schema_fits && range.relname == self.name;
            return itself.then(|| Parent {
                name: self.name.clone(),
                placed: self.placed.clone(),
                columns: listed,
                partitioned: self.partitioned,
            });
        };
        let columns = if listed.is_empty() {
            primary_key(&relation)
        } else {
            listed
        };
        let placed = seen(
            &scope::placement(&relation, self.context),
            &relation.columns,
        );
        Some(Parent {
            name: relation.name.clone(),
            placed,
            columns,
            partitioned: is_partitioned(&relation),
        })
    }
}

/// Sees to it that the foreign keys of a table and to it are kept, each by where its tables are.
pub fn keep_foreign_keys(table: (&str, &str), places: &str) -> String {
    let [schema, name, places] = [table.0, table.1, places].map(names::quote_literal);
    format!("SELECT oskol.keep_foreign_keys({schema}, {name}, {places})")
}

/// Where tables are, as `oskol.keep_foreign_keys` reads it; local ones are left out.
pub fn places<'a>(tables: impl Iterator<Item = (&'a str, &'a str, Placed)>) -> String {
    let mut rows: Vec<(&str, &str, &str, Option<String>)> = tables
        .filter_map(|(schema, name, placed)| match placed {
            Placed::Local => None,
            Placed::Reference => Some((schema, name, "reference", None)),
            Placed::Sharded { key, .. } => Some((schema, name, "sharded", Some(key))),
        })
        .collect();
    rows.sort_unstable();
    serde_json::json!(rows).to_string()
}

/// Sees to it that the unique keys of a sharded table without its shard key are kept by entries.
pub fn keep_unique_keys(table: (&str, &str), key: &str) -> String {
    let [schema, name, key] = [table.0, table.1, key].map(names::quote_literal);
    format!("SELECT oskol.keep_unique_keys({schema}, {name}, {key})")
}

pub fn is_partitioned(relation: &Relation) -> bool {
    relation.kind == schema::RelationKind::Partitioned || relation.parent.is_some()
}

/// A referenced table and its referenced columns.
#[derive(Debug)]
pub struct Parent {
    pub name: String,
    pub placed: Placed,
    pub columns: Vec<String>,
    pub partitioned: bool,
}

fn primary_key(relation: &Relation) -> Vec<String> {
    let primary = relation.unique_keys.iter().find(|unique| unique.primary);
    let columns = primary.map_or(&[][..], |primary| &primary.columns);
    columns
        .iter()
        .filter_map(|&column| Some(relation.columns.get(column)?.name.clone()))
        .collect()
}

fn per_shard(notice: Option<RouterError>) -> Verdict {
    notice.map_or(Verdict::Enforced, Verdict::PerShard)
}

/// A NOTICE: SQLSTATE class 01, as PostgreSQL's warnings.
pub fn notice(id: &'static str, message: String) -> RouterError {
    RouterError {
        id,
        ..RouterError::new("01000", message)
    }
}

fn place(name: &str, placed: &Placed) -> String {
    match placed {
        Placed::Local => format!("\"{name}\" is on the home shard only"),
        Placed::Reference => format!("\"{name}\" is on every shard"),
        Placed::Sharded { key, .. } => format!("\"{name}\" is divided by \"{key}\""),
    }
}

/// Equal values of these types have equal hashes.
pub fn hash_alike(one: KeyType, other: KeyType) -> bool {
    let family = |key_type| match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => 0,
        KeyType::Text | KeyType::Varchar => 1,
        KeyType::Uuid => 2,
    };
    family(one) == family(other)
}

/// `(key WITH =)` as an element of EXCLUDE: a list of an index element and an operator's name.
fn excludes_equal(exclusion: &Node, key: &str) -> bool {
    let Some(NodeEnum::List(pair)) = exclusion.node.as_ref() else {
        return false;
    };
    let [element, operator] = pair.items.as_slice() else {
        return false;
    };
    let names_key =
        matches!(element.node.as_ref(), Some(NodeEnum::IndexElem(element)) if element.name == key);
    let is_equal = matches!(operator.node.as_ref(), Some(NodeEnum::List(name)) if names::strings(&name.items) == ["="]);
    names_key && is_equal
}

/// Plain columns of an index.
pub fn index_columns(elements: &[Node]) -> Vec<String> {
    elements
        .iter()
        .filter_map(|element| match element.node.as_ref() {
            Some(NodeEnum::IndexElem(element)) if !element.name.is_empty() => {
                Some(element.name.clone())
            }
            _ => None,
        })
        .collect()
}

/// The placement that a rule asks for, of a column's type.
pub fn placed_by(placement: &Placement, columns: &[schema::Column]) -> Placed {
    seen(placement, columns)
}
