//! The cluster and one plain PostgreSQL with the same tables, and what they say to the same statement.

use tokio_postgres::Client;

use super::outcome::{Failure, Outcome};
use super::schema::Schema;
use super::statement::Statement;
use crate::{Cluster, Database, connect};

pub struct Pair<'a> {
    database: Database<'a>,
    cluster: Client,
    oracle: Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same,
    SameError,
    /// By the router, with this id; the oracle was not asked.
    Refused(String),
    /// The statement violates both constraints, and each server has named one.
    OtherConstraint,
    /// The same constraint, and another row of several.
    OtherRow,
    Different(String),
}

/// Statements of the oracle's transaction are tried behind this savepoint, so that a failed one can be run again.
const TRY: &str = "savepoint tried";
/// "cannot TRUNCATE ... because it has pending trigger events", of one of the tables.
const IN_USE: &str = "55006";
const ALL_IMMEDIATE: &str = "set constraints all immediate";
const TAKE_BACK: &str = "rollback to tried";

impl<'a> Pair<'a> {
    pub async fn create(cluster: &'a Cluster, schema: &Schema) -> Pair<'a> {
        let database = cluster.database("constraints");
        let oracle = database.oracle().await;
        let client = database.client().await;
        for statement in schema.for_cluster() {
            let made = client.batch_execute(&statement).await;
            made.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
        }
        for statement in schema.create().iter().chain(&schema.keys()) {
            let made = oracle.batch_execute(statement).await;
            made.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
        }
        Pair {
            database,
            cluster: client,
            oracle,
        }
    }

    pub async fn verdict(&self, statement: &Statement, in_block: bool) -> Verdict {
        let here = Outcome::of(&self.cluster, statement).await;
        if let Some(failure) = here.failure()
            && failure.is_refusal()
        {
            if in_block {
                self.fail().await;
            }
            return Verdict::Refused(failure.routine.clone());
        }
        let is_control = is_control(&statement.sql);
        if in_block && !is_control {
            self.oracle.batch_execute(TRY).await.expect("a savepoint");
        }
        let there = Outcome::of(&self.oracle, statement).await;
        match (&here, &there) {
            (Outcome::Done { .. }, Outcome::Done { .. }) if here == there => Verdict::Same,
            (Outcome::Failed(one), Outcome::Failed(other)) if one.is_as(other) => {
                Verdict::SameError
            }
            (Outcome::Failed(one), Outcome::Failed(other)) => {
                // Pending events are on one shard's table and on another's.
                let in_use = one.code == IN_USE && one.routine == other.routine;
                if one.names(other) && statement.many || is_control || in_use {
                    return Verdict::OtherRow;
                }
                let both = self.violates_both(statement, in_block, one, other).await;
                if in_block {
                    self.fail().await;
                }
                match both {
                    true => Verdict::OtherConstraint,
                    false => Verdict::Different(format!("cluster: {one:?}\noracle:  {other:?}")),
                }
            }
            _ => Verdict::Different(format!("cluster: {here:?}\noracle:  {there:?}")),
        }
    }

    /// Whether one PostgreSQL names the constraint that the cluster has named, once those that it names first are gone.
    async fn violates_both(
        &self,
        statement: &Statement,
        in_block: bool,
        here: &Failure,
        there: &Failure,
    ) -> bool {
        let begun = if in_block { TAKE_BACK } else { "begin" };
        self.oracle
            .batch_execute(begun)
            .await
            .expect("where it was");
        let (mut named, mut found) = (there.clone(), false);
        for _ in 0..6 {
            if !self.is_off(&named).await {
                break;
            }
            self.oracle
                .batch_execute("savepoint without")
                .await
                .expect("a savepoint");
            let mut again = Outcome::of(&self.oracle, statement).await;
            if !in_block && again.failure().is_none() {
                // Outside a block what is deferred is due at the statement's end.
                again = Outcome::of(&self.oracle, &Statement::of(ALL_IMMEDIATE)).await;
            }
            self.oracle
                .batch_execute("rollback to without")
                .await
                .expect("a savepoint");
            match again {
                Outcome::Failed(failure) if failure.names(here) => {
                    found = true;
                    break;
                }
                Outcome::Failed(failure) => named = failure,
                Outcome::Done { .. } => break,
            }
        }
        let end = if in_block { TAKE_BACK } else { "rollback" };
        self.oracle
            .batch_execute(end)
            .await
            .expect("the end of a try");
        found
    }

    /// Has the oracle no longer look at a violated constraint. By the catalogs: to drop it could take others along, and is
    /// refused where checks are deferred.
    async fn is_off(&self, named: &Failure) -> bool {
        let (Some(table), Some(constraint)) = (&named.table, &named.constraint) else {
            return false;
        };
        let off = format!(
            "set local allow_system_table_mods = on;
            update pg_trigger t set tgenabled = 'D' from pg_constraint k where k.oid = t.tgconstraint
                and k.conname = '{constraint}' and '{table}'::regclass in (k.conrelid, k.confrelid);
            update pg_class set relhastriggers = relhastriggers where relkind = 'r' and relhastriggers;
            update pg_index set indisready = false, indisvalid = false where indexrelid = to_regclass('{constraint}')"
        );
        self.oracle.batch_execute(&off).await.is_ok()
    }

    /// Leaves the oracle's transaction as the cluster's is: failed.
    async fn fail(&self) {
        let failed = self.oracle.batch_execute("select 1 / 0").await;
        assert!(failed.is_err());
    }

    /// What differs in the tables, or is left in the notes.
    pub async fn difference(&self, schema: &Schema) -> Option<String> {
        for table in &schema.tables {
            let read = Statement::of(format!("select * from {}", table.name));
            let here = Outcome::of(&self.cluster, &read).await;
            let there = Outcome::of(&self.oracle, &read).await;
            if here != there {
                let name = &table.name;
                return Some(format!(
                    "table {name}\ncluster: {here:?}\noracle:  {there:?}"
                ));
            }
        }
        None
    }

    /// A committed row that is not on the shard of its bucket. Outside a transaction: it may have locked a table.
    pub async fn misplaced(&self, schema: &Schema) -> Option<String> {
        let home = self.database.shard(0).await;
        let sql = "select array_agg(shard order by bucket) from oskol.buckets";
        let places: Vec<i32> = home.query_one(sql, &[]).await.expect("the map").get(0);
        for shard in 0..self.database.cluster.shard_count() {
            let found = self.misplaced_on(shard, &places, schema).await;
            if found.is_some() {
                return found;
            }
        }
        None
    }

    async fn misplaced_on(&self, shard: usize, places: &[i32], schema: &Schema) -> Option<String> {
        let number = i32::try_from(shard).expect("a shard's number");
        let shard = self.database.shard(shard).await;
        for table in &schema.tables {
            let Some(key) = table.place.key() else {
                continue;
            };
            let name = &table.name;
            let sql = format!(
                "select t::text from {name} t
                where ($1::int4[])[(hash_record_extended(row({key}), 0) & 4095)::int4 + 1] <> $2"
            );
            let rows = shard.query(&sql, &[&places, &number]).await.expect("rows");
            if let Some(row) = rows.first() {
                let row: String = row.get(0);
                return Some(format!("table {name}: {row} is on shard {number}"));
            }
        }
        None
    }

    /// What `VERIFY` finds in this database.
    pub async fn faults(&self) -> Vec<String> {
        super::verify::faults(&self.database.cluster.url_of("oskol"), &self.database.name).await
    }

    /// Both forget what they were at.
    pub async fn roll_back(&self) {
        for client in [&self.cluster, &self.oracle] {
            let _ = client.batch_execute("rollback").await;
        }
    }

    /// The databases are dropped, so that a long run does not fill the disk.
    pub async fn drop(self) {
        let Pair {
            database,
            cluster,
            oracle,
        } = self;
        drop((cluster, oracle));
        let sql = format!("drop database {} with (force)", database.name);
        for url in [
            database.cluster.url(),
            database.cluster.oracle_url("postgres"),
        ] {
            if let Ok(client) = connect(&url).await {
                let _ = client.batch_execute(&sql).await;
            }
        }
    }
}

fn is_control(sql: &str) -> bool {
    let words = [
        "begin",
        "start",
        "commit",
        "rollback",
        "savepoint",
        "release",
    ];
    words.iter().any(|word| sql.starts_with(word))
}
