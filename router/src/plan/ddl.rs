//! DDL and every other utility statement: all shards alike, all or none. Checks before anything is sent that
//! no constraint is promised which no shard alone can keep. Takes the parse tree and the catalog; gives
//! a [`Plan`]. Must never know how many shards there are.

pub mod action;
mod alter_table;
pub(crate) mod constraints;
mod create_as;
mod create_table;
mod database;
mod drop;
mod elements;
pub(crate) mod existing;
mod maintenance;
mod procedural;
mod references;
mod role;
mod truncate;
mod unenforced;

use pg_query::NodeEnum;
use pg_query::protobuf::{CreateSchemaStmt, IndexStmt, ObjectType, RangeVar, RuleStmt};

use super::facts::Facts;
use super::scope::{self, Found};
use super::{
    Action, ConcurrentIndex, Ddl, Effect, FilledLater, Plan, PlanContext, Recorded,
    TemporaryChange, names, unsupported,
};
use crate::error::RouterError;
use crate::parse::Statement;
use constraints::{Placed, Subject};
pub(crate) use create_table::key_type_refusal;
use schema::Placement;

type Planned = Result<Plan, RouterError>;

pub fn plan(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    let job = Job {
        statement,
        context,
        facts: Facts::of(node),
    };
    let mut plan = job.plan(node).unwrap_or_else(Plan::refused);
    if let Action::Ddl(ddl) = &mut plan.action {
        ddl.recorded = recorded(node, &statement.text);
    }
    plan
}

/// Rows, upkeep, roles and databases are no part of a database's schema.
fn recorded(node: &NodeEnum, text: &str) -> Recorded {
    let may_hold_password = || text.to_ascii_lowercase().contains("password");
    match node {
        NodeEnum::TruncateStmt(_)
        | NodeEnum::VacuumStmt(_)
        | NodeEnum::ClusterStmt(_)
        | NodeEnum::ReindexStmt(_)
        | NodeEnum::CheckPointStmt(_)
        | NodeEnum::CreateRoleStmt(_)
        | NodeEnum::AlterRoleStmt(_)
        | NodeEnum::AlterRoleSetStmt(_)
        | NodeEnum::DropRoleStmt(_)
        | NodeEnum::GrantRoleStmt(_)
        | NodeEnum::CreatedbStmt(_)
        | NodeEnum::DropdbStmt(_)
        | NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_)
        | NodeEnum::AlterDatabaseRefreshCollStmt(_) => Recorded::No,
        NodeEnum::RenameStmt(rename)
            if matches!(
                rename.rename_type(),
                ObjectType::ObjectDatabase | ObjectType::ObjectRole
            ) =>
        {
            Recorded::No
        }
        NodeEnum::CreateUserMappingStmt(_)
        | NodeEnum::AlterUserMappingStmt(_)
        | NodeEnum::CreateForeignServerStmt(_)
        | NodeEnum::AlterForeignServerStmt(_)
        | NodeEnum::CreateFdwStmt(_)
        | NodeEnum::AlterFdwStmt(_) => Recorded::Withheld,
        NodeEnum::DoStmt(_) if may_hold_password() => Recorded::Withheld,
        _ => Recorded::Text,
    }
}

/// One utility statement being planned.
struct Job<'a> {
    statement: &'a Statement,
    context: &'a PlanContext<'a>,
    facts: Facts,
}

impl Job<'_> {
    fn plan(&self, node: &NodeEnum) -> Planned {
        self.leaves_catalog_alone(node)?;
        refuse_kind(node)?;
        match node {
            NodeEnum::CreateStmt(create) => create_table::plan(self, create),
            NodeEnum::CreateTableAsStmt(create) => create_as::plan(self, create),
            NodeEnum::SelectStmt(select) => create_as::select_into(self, select),
            NodeEnum::AlterTableStmt(alter) => alter_table::plan(self, alter),
            NodeEnum::IndexStmt(index) => self.index(index),
            NodeEnum::DropStmt(drop) => drop::plan(self, drop),
            NodeEnum::RenameStmt(rename) => drop::rename(self, rename),
            NodeEnum::TruncateStmt(truncate) => truncate::plan(self, truncate),
            NodeEnum::CreateRoleStmt(create) => role::plan(self, &create.options),
            NodeEnum::AlterRoleStmt(alter) => role::plan(self, &alter.options),
            NodeEnum::CreatedbStmt(create) => database::create(self, create),
            NodeEnum::DropdbStmt(drop) => database::drop(self, drop),
            NodeEnum::AlterDatabaseStmt(alter) => database::alter(self, alter),
            NodeEnum::VacuumStmt(_)
            | NodeEnum::ClusterStmt(_)
            | NodeEnum::ReindexStmt(_)
            | NodeEnum::CheckPointStmt(_)
            | NodeEnum::RefreshMatViewStmt(_) => maintenance::plan(self, node),
            NodeEnum::DoStmt(block) => procedural::block(self, block),
            NodeEnum::CallStmt(call) => procedural::call(self, call),
            NodeEnum::RuleStmt(rule) => self.rule(rule),
            NodeEnum::CreateSchemaStmt(create) => self.create_schema(create),
            NodeEnum::ViewStmt(view) => self.view(view.view.as_ref()),
            NodeEnum::CreateSeqStmt(create) => {
                Ok(self.temporary_or_everywhere(create.sequence.as_ref()))
            }
            _ => self.other(node),
        }
    }

    /// Statements with nothing to check.
    fn other(&self, node: &NodeEnum) -> Planned {
        // A function or type of pg_temp is this session's, as its temporary tables are.
        let is_in_pg_temp = self.facts.name_parts.iter().any(|part| part == "pg_temp");
        if is_in_pg_temp || self.mentions_temporary() {
            return Ok(self.on_temporary(TemporaryChange::default()));
        }
        let mut ddl = self.everywhere();
        ddl.changes_catalog = !leaves_plans_alone(node);
        Ok(self.planned(ddl))
    }

    /// The client's own text on every shard.
    fn everywhere(&self) -> Ddl {
        Ddl {
            text: self.statement.text.clone(),
            changes_catalog: true,
            ..Ddl::default()
        }
    }

    fn planned(&self, ddl: Ddl) -> Plan {
        let effect = Effect {
            writes: true,
            outside_transaction: ddl.outside_transaction,
            ..Effect::default()
        };
        Plan::new(
            Action::Ddl(Box::new(ddl)),
            effect,
            "changes all shards alike",
        )
    }

    /// The client's own text on the home shard, where this session's temporary relations are.
    fn on_temporary(&self, change: TemporaryChange) -> Plan {
        let effect = Effect {
            writes: true,
            pins: true,
            unpreparable: true,
            ..Effect::default()
        };
        let action = if change == TemporaryChange::default() {
            Action::Home
        } else {
            Action::Temporary(change)
        };
        Plan::new(action, effect, "temporary relations are on the home shard")
    }

    fn creates_temporary(&self, name: &str) -> Plan {
        self.on_temporary(TemporaryChange {
            created: vec![name.to_owned()],
            dropped: Vec::new(),
        })
    }

    /// A view or sequence: temporary if it says so, or if it reads something temporary.
    fn temporary_or_everywhere(&self, made: Option<&RangeVar>) -> Plan {
        match made {
            Some(made) if is_temporary(made) || self.reads_temporary(made) => {
                self.creates_temporary(&made.relname)
            }
            _ => self.planned(self.everywhere()),
        }
    }

    /// A temporary view is not in the catalog that statements are planned by, and so read as it stands.
    fn view(&self, made: Option<&RangeVar>) -> Planned {
        let is_here = |made: &&RangeVar| is_temporary(made) || self.reads_temporary(made);
        if let Some(made) = made.filter(is_here)
            && let Some(table) = self.reads_sharded(made.location)
        {
            return Err(temporary_view(&table));
        }
        Ok(self.temporary_or_everywhere(made))
    }

    /// A sharded table, or a view over one, that is named elsewhere than at `target`.
    fn reads_sharded(&self, target: i32) -> Option<String> {
        let at = usize::try_from(target).unwrap_or(0);
        let others = self.facts.tables().filter(|table| table.location != at);
        let is_sharded = |relation: &schema::Relation| {
            matches!(
                scope::placement(relation, self.context),
                Placement::Sharded { .. }
            )
        };
        let relations = &self.context.snapshot.relations;
        let reads_sharded = |table: &&super::facts::Mention| {
            let found = scope::find_name(table.schema.as_deref(), &table.name, self.context);
            let Found::Relation(found) = found else {
                return false;
            };
            let through = found.reads.iter();
            let mut through = through.filter_map(|(schema, name)| relations.get(schema)?.get(name));
            is_sharded(&found) || through.any(|read| is_sharded(read))
        };
        let mut reading = others.filter(reads_sharded);
        reading.next().map(|table| table.name.clone())
    }

    /// Something other than `made` is temporary; `made` may hide a temporary relation of its own name.
    fn reads_temporary(&self, made: &RangeVar) -> bool {
        let at = usize::try_from(made.location).unwrap_or(0);
        self.facts
            .tables()
            .filter(|table| table.location != at)
            .any(|table| self.is_temporary_name(table))
    }

    fn mentions_temporary(&self) -> bool {
        self.facts
            .tables()
            .any(|table| self.is_temporary_name(table))
    }

    fn is_temporary_name(&self, table: &super::facts::Mention) -> bool {
        let found = scope::find_name(table.schema.as_deref(), &table.name, self.context);
        matches!(found, Found::Temporary)
    }

    /// Nothing of schema `oskol` may be made, changed or dropped.
    fn leaves_catalog_alone(&self, node: &NodeEnum) -> Result<(), RouterError> {
        let named = self.facts.name_parts.iter().any(|part| part == "oskol")
            || self
                .facts
                .relations
                .iter()
                .any(|relation| relation.schema.as_deref() == Some("oskol"));
        let schema = match node {
            NodeEnum::CreateSchemaStmt(create) => create.schemaname == "oskol",
            NodeEnum::AlterObjectSchemaStmt(alter) => alter.newschema == "oskol",
            NodeEnum::RenameStmt(rename) => [&rename.subname, &rename.newname]
                .iter()
                .any(|name| *name == "oskol"),
            NodeEnum::CreateExtensionStmt(_) => self.statement.text.contains("oskol"),
            _ => false,
        };
        if (named && !matches!(node, NodeEnum::SelectStmt(_))) || schema {
            return Err(unsupported::oskol_schema());
        }
        Ok(())
    }

    fn index(&self, index: &IndexStmt) -> Planned {
        let Some(range) = index.relation.as_ref() else {
            return Ok(self.planned(self.everywhere()));
        };
        let found = scope::find(range, self.context);
        let Found::Relation(relation) = found else {
            return self.other(&NodeEnum::IndexStmt(Box::new(index.clone())));
        };
        let subject = Subject::of(&relation, self.context);
        let columns = constraints::index_columns(&index.index_params);
        let notice = if index.unique {
            subject.unique(&index.idxname, &columns)?
        } else {
            None
        };
        let mut ddl = self.everywhere();
        if index.unique && !keeps_on_shard(&subject, &columns) {
            match (index.concurrent, &subject.placed) {
                (true, Placed::Sharded { key, .. }) if !subject.partitioned => {
                    ddl.filled_later = Some(FilledLater {
                        table: (relation.schema.clone(), relation.name.clone()),
                        key: key.clone(),
                        index: (!index.idxname.is_empty()).then(|| index.idxname.clone()),
                    });
                }
                _ => ddl.keep_entries(&subject),
            }
        }
        if index.concurrent {
            ddl.outside_transaction = true;
            if ddl.filled_later.is_none() {
                ddl.again = Some(in_transaction(index)?);
            }
            ddl.locks_indexes = Some((relation.schema.clone(), relation.name.clone()));
            ddl.undo = undo_index(index, &relation.schema);
            ddl.undo_failed = undo_invalid_index(index, &relation.schema, &relation.name);
            let named = || ConcurrentIndex {
                schema: relation.schema.clone(),
                table: relation.name.clone(),
                name: index.idxname.clone(),
            };
            ddl.index = (!index.idxname.is_empty()).then(|| Box::new(named()));
        }
        let mut plan = self.planned(ddl);
        plan.notices.extend(notice);
        Ok(plan)
    }

    /// A rewrite rule would change statements after the router has read them.
    fn rule(&self, rule: &RuleStmt) -> Planned {
        let placed = rule
            .relation
            .as_ref()
            .map(|range| placed(range, self.context));
        if matches!(
            placed,
            Some(Placement::Sharded { .. } | Placement::Reference)
        ) {
            return Err(RouterError::unsupported(
                "rewrite-rule",
                "rules on sharded and reference tables are not supported",
            )
            .detail(
                "A rule changes a statement on the shard, after the router has chosen the shard.",
            )
            .hint("Use a trigger, or do it in the application."));
        }
        self.other(&NodeEnum::RuleStmt(Box::new(rule.clone())))
    }

    /// `CREATE SCHEMA s CREATE TABLE ...`: tables that a rule names must be made by themselves.
    fn create_schema(&self, create: &CreateSchemaStmt) -> Planned {
        let ruled = create
            .schema_elts
            .iter()
            .any(|element| match element.node.as_ref() {
                Some(NodeEnum::CreateStmt(table)) => table.relation.as_ref().is_some_and(|range| {
                    create_table::rule(&create.schemaname, &range.relname, self.context).is_some()
                }),
                _ => false,
            });
        if ruled {
            return Err(RouterError::unsupported(
                "create-schema-table",
                "a table that a rule names cannot be created inside CREATE SCHEMA",
            )
            .hint("Create the schema first and the table after it."));
        }
        Ok(self.planned(self.everywhere()))
    }
}

/// Whether a unique index over these columns is one that each shard keeps, or that nobody keeps.
fn keeps_on_shard(subject: &Subject<'_>, columns: &[String]) -> bool {
    match &subject.placed {
        Placed::Sharded { key, .. } => columns.contains(key) || subject.accept_unenforced,
        _ => true,
    }
}

impl Ddl {
    /// Unique keys of the table that no shard alone can keep are kept by entries from now on.
    fn keep_entries(&mut self, subject: &Subject<'_>) {
        let keeping = subject.keeping();
        self.changes_entries |= keeping.is_some();
        self.every_shard_also.extend(keeping);
    }

    /// Foreign keys of the table and to it are kept as they must be from now on.
    fn keep_references(&mut self, subject: &Subject<'_>) {
        self.every_shard_also.push(subject.keeping_references());
    }
}

/// The index made without CONCURRENTLY.
fn in_transaction(index: &IndexStmt) -> Result<String, RouterError> {
    let mut index = index.clone();
    index.concurrent = false;
    deparse(NodeEnum::IndexStmt(Box::new(index)))
}

fn undo_index(index: &IndexStmt, schema: &str) -> Option<String> {
    let name = index_name(index, schema);
    let is_safe = !index.idxname.is_empty() && !index.if_not_exists;
    is_safe.then(|| format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
}

/// Where CREATE INDEX CONCURRENTLY fails it may leave an index that nobody can use.
fn undo_invalid_index(index: &IndexStmt, schema: &str, table: &str) -> Option<String> {
    let name = index_name(index, schema);
    let table = format!(
        "{}.{}",
        names::quote_identifier(schema),
        names::quote_identifier(table)
    );
    // One of that name of another table may be under way.
    let block = format!(
        "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_index i \
         WHERE i.indexrelid = pg_catalog.to_regclass({}) AND i.indrelid = pg_catalog.to_regclass({}) AND NOT i.indisvalid) \
         THEN DROP INDEX {name}; END IF; END",
        names::quote_literal(&name),
        names::quote_literal(&table)
    );
    (!index.idxname.is_empty()).then(|| format!("DO {}", names::quote_literal(&block)))
}

fn index_name(index: &IndexStmt, schema: &str) -> String {
    format!(
        "{}.{}",
        names::quote_identifier(schema),
        names::quote_identifier(&index.idxname)
    )
}

fn placed(range: &RangeVar, context: &PlanContext<'_>) -> Placement {
    match scope::find(range, context) {
        Found::Relation(relation) => scope::placement(&relation, context),
        Found::Temporary | Found::Home => Placement::Local,
    }
}

fn is_temporary(range: &RangeVar) -> bool {
    range.relpersistence == "t" || range.schemaname == "pg_temp"
}

fn temporary_view(table: &str) -> RouterError {
    RouterError::unsupported(
        "temporary-view",
        "a temporary view cannot read a sharded table",
    )
    .detail(format!(
        "It would be on the home shard only, and \"{table}\" is on all shards."
    ))
    .hint("Create the view in a schema, or write its query in place of its name.")
}

/// What no statement of a plan depends on: rights, comments, roles, statistics.
fn leaves_plans_alone(node: &NodeEnum) -> bool {
    matches!(
        node,
        NodeEnum::CommentStmt(_)
            | NodeEnum::SecLabelStmt(_)
            | NodeEnum::GrantStmt(_)
            | NodeEnum::GrantRoleStmt(_)
            | NodeEnum::AlterDefaultPrivilegesStmt(_)
            | NodeEnum::AlterRoleSetStmt(_)
            | NodeEnum::DropRoleStmt(_)
            | NodeEnum::AlterDatabaseSetStmt(_)
            | NodeEnum::AlterDatabaseRefreshCollStmt(_)
            | NodeEnum::CreateStatsStmt(_)
            | NodeEnum::AlterStatsStmt(_)
    )
}

/// Statements about one server and not about the data.
fn refuse_kind(node: &NodeEnum) -> Result<(), RouterError> {
    let (id, message, hint) = match node {
        NodeEnum::CreatePublicationStmt(_)
        | NodeEnum::AlterPublicationStmt(_)
        | NodeEnum::CreateSubscriptionStmt(_)
        | NodeEnum::AlterSubscriptionStmt(_)
        | NodeEnum::DropSubscriptionStmt(_) => (
            "logical-replication",
            "publications and subscriptions are not supported through the router",
            "Oskol uses logical replication itself to move data between shards; set up your own on a shard directly.",
        ),
        NodeEnum::CreateTableSpaceStmt(_)
        | NodeEnum::DropTableSpaceStmt(_)
        | NodeEnum::AlterTableSpaceOptionsStmt(_)
        | NodeEnum::AlterTableMoveAllStmt(_) => (
            "tablespace",
            "tablespaces are not supported through the router",
            "A tablespace is a directory of one server: create it on each shard directly, under the same name.",
        ),
        NodeEnum::LoadStmt(_) => (
            "load",
            "LOAD is not supported through the router",
            "Set session_preload_libraries on each shard.",
        ),
        NodeEnum::AlterSystemStmt(_) => (
            "alter-system",
            "ALTER SYSTEM is not supported through the router",
            "Connect to each shard directly, or use ALTER DATABASE ... SET or ALTER ROLE ... SET.",
        ),
        NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::ExplainStmt(_) => {
            return Err(unsupported::not_built());
        }
        _ => return Ok(()),
    };
    Err(RouterError::unsupported(id, message).hint(hint))
}

/// The placement of a table as its constraints see it.
fn seen(placement: &Placement, columns: &[schema::Column]) -> Placed {
    match placement {
        Placement::Local => Placed::Local,
        Placement::Reference => Placed::Reference,
        Placement::Sharded { key, key_type } => Placed::Sharded {
            key: columns
                .get(*key)
                .map_or_else(String::new, |column| column.name.clone()),
            key_type: *key_type,
        },
    }
}

/// The tree as SQL, for statements that something is taken out of.
fn deparse(node: NodeEnum) -> Result<String, RouterError> {
    node.deparse(pg_query::DeparseOptions::default())
        .map_err(|error| {
            RouterError::new(
                "XX000",
                format!("the statement could not be written anew: {error}"),
            )
        })
}
