//! CREATE TABLE: the rule of the table, if there is one, and the constraints it asks for.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnDef, ConstrType, CreateStmt, Node, RangeVar, TypeName};
use schema::rules::RulePlacement;
use schema::{KeyType, Placement, Relation, TableRule};

use super::constraints::{self, Placed, Subject};
use super::unenforced::Unenforced;
use super::{Job, Planned, elements, is_temporary, references};
use crate::error::RouterError;
use crate::plan::names::{quote_identifier, quote_literal};
use crate::plan::scope::{self, Found};
use crate::plan::{PlanContext, names};

pub fn plan(job: &Job<'_>, create: &CreateStmt) -> Planned {
    let Some(range) = create.relation.as_ref() else {
        return Ok(job.planned(job.everywhere()));
    };
    if is_temporary(range) {
        inherits_only_local(create, job.context)?;
        return Ok(job.creates_temporary(&range.relname));
    }
    let schema = schema_of(range, job.context);
    let exists = job
        .context
        .snapshot
        .relations
        .get(&schema)
        .is_some_and(|found| found.contains_key(&range.relname));
    if exists {
        // An error, or with IF NOT EXISTS a notice, from PostgreSQL; the table's rule stays as it is.
        let mut ddl = job.everywhere();
        ddl.changes_catalog = false;
        return Ok(job.planned(ddl));
    }
    let table = NewTable {
        job,
        create,
        schema,
        name: range.relname.clone(),
    };
    table.plan()
}

/// The schema that an unqualified name is created in: the first of the search path.
pub fn schema_of(range: &RangeVar, context: &PlanContext<'_>) -> String {
    if range.schemaname.is_empty() {
        context.search_path.first().cloned().unwrap_or_default()
    } else {
        range.schemaname.clone()
    }
}

/// The rule for a table yet to be created.
pub fn rule<'a>(schema: &str, name: &str, context: &PlanContext<'a>) -> Option<&'a TableRule> {
    context.rules.iter().find(|rule| {
        rule.name == name
            && rule.schema.as_deref().unwrap_or("public") == schema
            && rule
                .database
                .as_deref()
                .is_none_or(|database| database == context.database)
    })
}

struct NewTable<'a> {
    job: &'a Job<'a>,
    create: &'a CreateStmt,
    schema: String,
    name: String,
}

impl NewTable<'_> {
    fn plan(&self) -> Planned {
        let parent = self.parent()?;
        let rule = if parent.is_some() {
            None
        } else {
            rule(&self.schema, &self.name, self.job.context)
        };
        let placed = match (parent, rule) {
            (Some(placed), _) => placed,
            (None, Some(rule)) => self.placed_by(rule)?,
            (None, None) => Placed::Local,
        };
        let subject = Subject {
            schema: self.schema.clone(),
            name: self.name.clone(),
            placed,
            accept_unenforced: rule.is_some_and(|rule| rule.accept_unenforced),
            partitioned: self.create.partspec.is_some() || self.create.partbound.is_some(),
            context: self.job.context,
        };
        let mut changed = self.create.clone();
        let mut notices = Vec::new();
        let mut unenforced = Unenforced::default();
        let rewritten = unenforced.take_all(&mut changed);
        let left_out = elements::judge_all(&subject, &mut changed, &mut notices)?;
        let mut ddl = self.job.everywhere();
        if left_out || rewritten {
            ddl.text = super::deparse(NodeEnum::CreateStmt(changed))?;
        }
        if let Some(rule) = rule {
            self.declare(rule, &mut ddl);
        }
        ddl.keep_entries(&subject);
        unenforced.note(&subject, &mut ddl, &mut notices);
        if references::any_in(self.create, &subject) {
            ddl.keep_references(&subject);
        }
        let mut plan = self.job.planned(ddl);
        plan.notices = notices;
        Ok(plan)
    }

    /// `PARTITION OF parent` is placed with it; other children of sharded tables are refused.
    fn parent(&self) -> Result<Option<Placed>, RouterError> {
        if self.create.partbound.is_none() {
            return inherits_only_local(self.create, self.job.context).map(|()| None);
        }
        let mut parents = parents(self.create, self.job.context);
        Ok(parents
            .next()
            .map(|(found, placement)| constraints::placed_by(&placement, &found.columns)))
    }

    fn placed_by(&self, rule: &TableRule) -> Result<Placed, RouterError> {
        match rule.placement {
            RulePlacement::Local => Ok(Placed::Local),
            RulePlacement::Reference => Ok(Placed::Reference),
            RulePlacement::Sharded => {
                let key = rule.key.clone().unwrap_or_default();
                let key_type = self.key_type(&key)?;
                Ok(Placed::Sharded { key, key_type })
            }
        }
    }

    fn column(&self, name: &str) -> Option<&ColumnDef> {
        columns(&self.create.table_elts).find(|column| column.colname == name)
    }

    fn key_type(&self, key: &str) -> Result<KeyType, RouterError> {
        let Some(column) = self.column(key) else {
            return self
                .copied_key_type(key)
                .ok_or_else(|| key_missing(&self.name, key));
        };
        if has(column, ConstrType::ConstrGenerated) {
            return Err(RouterError::unsupported(
                "shard-key-type",
                format!("shard key \"{key}\" may not be a generated column"),
            )
            .detail("Its value would be computed on a shard, after the shard is chosen."));
        }
        column
            .type_name
            .as_ref()
            .and_then(type_of_key)
            .ok_or_else(|| key_type_refusal(key))
    }

    /// The key comes from `LIKE` or `INHERITS`.
    fn copied_key_type(&self, key: &str) -> Option<KeyType> {
        let like =
            self.create
                .table_elts
                .iter()
                .filter_map(|element| match element.node.as_ref()? {
                    NodeEnum::TableLikeClause(like) => like.relation.as_ref(),
                    _ => None,
                });
        let inherited = self
            .create
            .inh_relations
            .iter()
            .filter_map(names::range_var);
        like.chain(inherited)
            .find_map(|range| match scope::find(range, self.job.context) {
                Found::Relation(found) => found.columns[found.column(key)?].key_type(),
                Found::Temporary | Found::Home => None,
            })
    }

    fn declare(&self, rule: &TableRule, ddl: &mut crate::plan::Ddl) {
        let (placement, key) = match (rule.placement, rule.key.as_deref()) {
            (RulePlacement::Sharded, Some(key)) => ("sharded", Some(key)),
            (RulePlacement::Reference, _) => ("reference", None),
            _ => ("local", None),
        };
        if let Some(key) = key {
            ddl.every_shard_also.push(format!(
                "ALTER TABLE {}.{} ALTER COLUMN {} SET NOT NULL",
                quote_identifier(&self.schema),
                quote_identifier(&self.name),
                quote_identifier(key)
            ));
        }
        let table = (self.schema.as_str(), self.name.as_str());
        ddl.home_also
            .push(declaration(table, placement, key, rule.accept_unenforced));
    }
}

/// The statement that records a table's rule on the home shard.
pub fn declaration(
    table: (&str, &str),
    placement: &str,
    key: Option<&str>,
    accept_unenforced: bool,
) -> String {
    let key = key.map_or_else(|| "NULL".to_owned(), quote_literal);
    let (schema, name) = (quote_literal(table.0), quote_literal(table.1));
    format!(
        "SELECT oskol.declare_table({schema}, {name}, '{placement}', {key}, {accept_unenforced})"
    )
}

fn columns(elements: &[Node]) -> impl Iterator<Item = &ColumnDef> {
    elements
        .iter()
        .filter_map(|element| match element.node.as_ref()? {
            NodeEnum::ColumnDef(column) => Some(&**column),
            _ => None,
        })
}

fn has(column: &ColumnDef, kind: ConstrType) -> bool {
    column.constraints.iter().any(|constraint| {
        matches!(constraint.node.as_ref(), Some(NodeEnum::Constraint(constraint)) if constraint.contype() == kind)
    })
}

/// The key type that a type's name means; `None`: not one of shard keys.
pub fn type_of_key(name: &TypeName) -> Option<KeyType> {
    if name.setof || name.pct_type || !name.array_bounds.is_empty() {
        return None;
    }
    let (schema, name) = scope::qualified(&name.names)?;
    if !matches!(schema, None | Some("pg_catalog")) {
        return None;
    }
    match name {
        "int2" | "smallserial" | "serial2" => Some(KeyType::Int2),
        "int4" | "serial" | "serial4" => Some(KeyType::Int4),
        "int8" | "bigserial" | "serial8" => Some(KeyType::Int8),
        "text" => Some(KeyType::Text),
        "varchar" => Some(KeyType::Varchar),
        "uuid" => Some(KeyType::Uuid),
        _ => None,
    }
}

pub fn key_type_refusal(key: &str) -> RouterError {
    RouterError::unsupported(
        "shard-key-type",
        format!("column \"{key}\" cannot be a shard key"),
    )
    .detail("A shard key is a smallint, integer, bigint, text, varchar or uuid.")
}

fn key_missing(table: &str, key: &str) -> RouterError {
    RouterError::unsupported(
        "shard-key-missing",
        format!("table \"{table}\" has no column \"{key}\""),
    )
    .detail("The rule for this table names that column as its shard key.")
    .hint("Add the column, or change the table's rule in the router's configuration.")
}

/// The tables after INHERITS or PARTITION OF.
fn parents<'a>(
    create: &'a CreateStmt,
    context: &'a PlanContext<'_>,
) -> impl Iterator<Item = (Arc<Relation>, Placement)> + 'a {
    let named = create.inh_relations.iter().filter_map(names::range_var);
    named.filter_map(|parent| match scope::find(parent, context) {
        Found::Relation(found) => {
            let placement = scope::placement(&found, context);
            Some((found, placement))
        }
        Found::Temporary | Found::Home => None,
    })
}

fn inherits_only_local(create: &CreateStmt, context: &PlanContext<'_>) -> Result<(), RouterError> {
    let mut divided = parents(create, context).filter(|(_, placed)| *placed != Placement::Local);
    divided
        .next()
        .map_or(Ok(()), |(parent, _)| Err(inherits(&parent.name)))
}

fn inherits(parent: &str) -> RouterError {
    RouterError::unsupported(
        "inherits-sharded",
        "a table cannot inherit from a sharded or reference table",
    )
    .detail(format!(
        "Rows of the child would be rows of \"{parent}\", but stored elsewhere."
    ))
    .hint("Use declarative partitioning: partitions are placed with their parent.")
}
