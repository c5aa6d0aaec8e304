//! `oskol.shard_table`, `oskol.reference_table`, `oskol.local_table`: a table is placed anew and its
//! rows go where they belong, all in one global transaction under the cluster's lock for DDL.
//!
//! Must never know how rows are written; that is PostgreSQL's COPY.

mod moving;
mod statements;
mod steps;

use std::rc::Rc;
use std::sync::Arc;

use schema::{Placement, Relation};

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::at_once::Rows;
use super::cluster_change::Done;
use super::ddl::changed_meanwhile;
use super::ddl::history::PLACEMENT;
use super::routing_index::keep_route;
use crate::error::RouterError;
use crate::plan::cluster_command::action::RouteCommand;
use crate::plan::ddl::constraints::is_partitioned;
use crate::plan::{Action, ClusterCommand, Plan};
use statements::{Key, Table};

/// Where the rows shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Local,
    Reference,
    Sharded(Key),
}

/// What a command asks for.
struct Placing<'a> {
    relation: Arc<Relation>,
    wanted: Wanted,
    accept_unenforced: bool,
    /// Statements that drop the foreign keys which cannot be kept.
    drops: &'a [String],
    /// The column of the reply.
    function: &'static str,
}

impl Session {
    pub(super) async fn place_table(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        let plan = self.begin_cluster_change(plan, invocation).await?;
        let Action::Cluster(command) = &plan.action else {
            return Err(changed_meanwhile(&plan));
        };
        let Some(placing) = self.placing(command) else {
            return Err(changed_meanwhile(&plan));
        };
        self.place(&placing).await?;
        let done = Done {
            kind: PLACEMENT,
            steps: "",
            function: placing.function,
        };
        self.end_cluster_change(&done, invocation, in_string).await
    }

    fn placing<'a>(&self, command: &'a ClusterCommand) -> Option<Placing<'a>> {
        let (name, function, drops) = match command {
            ClusterCommand::ShardTable {
                schema,
                table,
                drops,
                ..
            } => ((schema, table), "shard_table", drops),
            ClusterCommand::ReferenceTable {
                schema,
                table,
                drops,
            } => ((schema, table), "reference_table", drops),
            ClusterCommand::LocalTable {
                schema,
                table,
                drops,
            } => ((schema, table), "local_table", drops),
            _ => return None,
        };
        let snapshot = self.current_space().snapshot();
        let path = &self.current_space().existing_path;
        let relation = Arc::clone(snapshot.relation(name.0.as_deref(), name.1, path)?);
        let (wanted, accept_unenforced) = match command {
            ClusterCommand::ShardTable {
                key,
                accept_unenforced,
                ..
            } => {
                let column = &relation.columns[relation.column(key)?];
                let key = Key {
                    column: key.clone(),
                    key_type: column.key_type()?,
                };
                (Wanted::Sharded(key), *accept_unenforced)
            }
            ClusterCommand::ReferenceTable { .. } => (Wanted::Reference, false),
            _ => (Wanted::Local, false),
        };
        Some(Placing {
            relation,
            wanted,
            accept_unenforced,
            drops,
            function,
        })
    }

    /// Everything but the reply.
    async fn place(&mut self, placing: &Placing<'_>) -> Result<(), Fault> {
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        let table = Table::of(&placing.relation);
        // First, as it checks the caller's rights and the key's type.
        let declaration = match &placing.wanted {
            Wanted::Sharded(key) => {
                table.declaration("sharded", Some(&key.column), placing.accept_unenforced)
            }
            Wanted::Reference => table.declaration("reference", None, false),
            Wanted::Local => table.declaration("local", None, false),
        };
        self.run_quietly(home, &declaration).await?;
        self.run_quietly(home, &table.lock()).await?;
        let others = self.others();
        self.run_at_once(&others, &table.lock())
            .await
            .into_result()?;
        self.refuse_rules(home, &table).await?;
        self.run_everywhere(&table.leave_unique_keys()).await?;
        self.run_everywhere(&table.leave_routes()).await?;
        self.run_everywhere(&table.leave_foreign_keys()).await?;
        for drop in placing.drops {
            self.run_everywhere(drop).await?;
        }
        if let Wanted::Sharded(key) = &placing.wanted {
            self.run_everywhere(&table.not_null(&key.column)).await?;
        }
        self.fence(placing, home).await?;
        // After a failure the transaction is lost, with the settings and triggers of the move.
        self.place_rows(placing, &table, home).await?;
        self.keep_unique_keys(placing, &table).await?;
        self.keep_routes(placing).await?;
        self.reload_private_catalog().await?;
        let keep = table.keep_foreign_keys(self.current_space().snapshot());
        self.run_everywhere(&keep).await?;
        Ok(())
    }

    /// What no shard alone can keep is kept by entries from now on.
    async fn keep_unique_keys(
        &mut self,
        placing: &Placing<'_>,
        table: &Table,
    ) -> Result<(), Fault> {
        let Wanted::Sharded(key) = &placing.wanted else {
            return Ok(());
        };
        if placing.accept_unenforced || is_partitioned(&placing.relation) {
            return Ok(());
        }
        self.run_everywhere(&table.keep_unique_keys(&key.column))
            .await?;
        self.reload_private_catalog().await?;
        self.enter_all_rows().await
    }

    /// Its routing indexes are filled anew; a column that is the shard key now needs none.
    async fn keep_routes(&mut self, placing: &Placing<'_>) -> Result<(), Fault> {
        let (Wanted::Sharded(key), relation) = (&placing.wanted, &placing.relation) else {
            return Ok(());
        };
        let columns = relation.routing_indexes.iter();
        let columns = columns.filter_map(|index| relation.columns.get(index.column));
        let mut kept = false;
        for column in columns.filter(|column| column.name != key.column) {
            let command = RouteCommand {
                schema: relation.schema.clone(),
                table: relation.name.clone(),
                column: column.name.clone(),
                key: Some(key.column.clone()),
            };
            self.run_everywhere(&keep_route(&command)).await?;
            kept = true;
        }
        if kept {
            self.reload_private_catalog().await?;
            self.enter_changes().await?;
        }
        Ok(())
    }

    /// Moves the rows with triggers silent and values written as any server reads them.
    async fn place_rows(
        &mut self,
        placing: &Placing<'_>,
        table: &Table,
        home: usize,
    ) -> Result<(), Fault> {
        let moves = self.moves(placing);
        if moves.is_empty() {
            return Ok(());
        }
        let triggers = self.run_quietly(home, &table.triggers()).await?;
        let settings = self.run_quietly(home, statements::READ_SETTINGS).await?;
        let silence = statements::silence(&triggers);
        let before = [statements::SET_SETTINGS, silence.as_str()].concat();
        self.run_everywhere(&before).await?;
        for step in moves {
            self.run_move(&step, table, home).await?;
        }
        let mut after = statements::wake(&triggers);
        after.push_str(&statements::restore_settings(&settings));
        self.run_everywhere(&after).await?;
        Ok(())
    }

    /// On every shard, all at once.
    pub(super) async fn run_everywhere(&mut self, sql: &str) -> Result<Vec<(usize, Rows)>, Fault> {
        let all: Vec<usize> = (0..self.transaction.branches.len()).collect();
        self.run_at_once(&all, sql).await.into_result()
    }

    /// A rewrite rule would change what deletes the rows that have moved.
    async fn refuse_rules(&mut self, home: usize, table: &Table) -> Result<(), Fault> {
        if self.run_quietly(home, &table.rules()).await?.is_empty() {
            return Ok(());
        }
        Err(RouterError::unsupported(
            "rewrite-rule",
            "rules on sharded and reference tables are not supported",
        )
        .detail("A rule changes a statement on the shard, after the router has chosen the shard.")
        .hint("Use a trigger, or do it in the application.")
        .into())
    }

    /// Ids come from the home shard, and go on after those that are there.
    async fn fence(&mut self, placing: &Placing<'_>, home: usize) -> Result<(), Fault> {
        let sequences = statements::sequences(&placing.relation);
        if sequences.is_empty() || placing.wanted == Wanted::Local {
            return Ok(());
        }
        let table = Table::of(&placing.relation);
        if placing.relation.placement == Placement::Local {
            let advance: String = sequences
                .iter()
                .map(|(column, name)| table.advance(column, name))
                .collect();
            self.run_quietly(home, &advance).await?;
        }
        let fences: String = sequences
            .iter()
            .map(|(_, name)| statements::fence(name))
            .collect();
        let others = self.others();
        self.run_at_once(&others, &fences).await.into_result()?;
        self.transaction
            .reset_sequences
            .extend(sequences.into_iter().map(|(_, name)| name));
        Ok(())
    }
}
