//! `oskol.route_by` and `oskol.unroute_by`: a routing index is made and filled, or goes, in one global transaction under the
//! cluster's lock for DDL. Writers to the table wait; readers do while one goes.

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::cluster_change::Done;
use super::ddl::changed_meanwhile;
use crate::plan::cluster_command::action::RouteCommand;
use crate::plan::{Action, ClusterCommand, Plan};
use crate::settings::{quote_identifier, quote_literal};

/// Of the schema history.
const KIND: &str = "ROUTE TABLE";

impl Session {
    pub(super) async fn route_table(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        let plan = self.begin_cluster_change(plan, invocation).await?;
        let Action::Cluster(ClusterCommand::Route(command)) = &plan.action else {
            return Err(changed_meanwhile(&plan));
        };
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        let (lock, keep) = (lock(command), keep_route(command));
        self.run_quietly(home, &lock).await?;
        let others = self.others();
        self.run_at_once(&others, &lock).await.into_result()?;
        self.run_everywhere(&keep).await?;
        self.reload_private_catalog().await?;
        self.enter_changes().await?;
        // A shard that lacks it can make it by itself where it has no rows.
        let steps = serde_json::json!([keep]).to_string();
        let done = Done {
            kind: KIND,
            steps: &steps,
            function: command.function(),
        };
        self.end_cluster_change(&done, invocation, in_string).await
    }
}

fn lock(command: &RouteCommand) -> String {
    let [schema, table] = [&command.schema, &command.table].map(|name| quote_identifier(name));
    // As triggers are made, and dropped.
    let mode = match command.key {
        Some(_) => "SHARE ROW EXCLUSIVE",
        None => "ACCESS EXCLUSIVE",
    };
    format!("LOCK TABLE {schema}.{table} IN {mode} MODE")
}

/// Run on every shard: has the column lead to the shards of its rows, or no more.
pub(super) fn keep_route(command: &RouteCommand) -> String {
    let [schema, table, column] =
        [&command.schema, &command.table, &command.column].map(|name| quote_literal(name));
    let key = command
        .key
        .as_ref()
        .map_or_else(|| "NULL".to_owned(), |key| quote_literal(key));
    format!("SELECT oskol.keep_route({schema}, {table}, {column}, {key})")
}
