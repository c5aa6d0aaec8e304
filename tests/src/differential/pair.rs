//! The cluster and one PostgreSQL, with the same rows, asked the same.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::compare::{Difference, Expected, Verdict, compare};
use super::sql::{self, Literals};
use super::tables::{self, Placement, Table};
use super::talk::{Answer, Connection, Protocol, Silence};
use super::tree::Statement;
use crate::{Cluster, Database};

/// What takes one PostgreSQL longer is no fair question.
const TOO_SLOW: Duration = Duration::from_millis(1500);

/// How a statement is sent.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub literals: Literals,
    pub protocol: Protocol,
    /// Carried out by the cluster first: what it refuses, the oracle is not asked.
    pub writes: bool,
}

impl Manner {
    /// A simple query that reads.
    pub const PLAIN: Manner = Manner {
        literals: Literals::InText,
        protocol: Protocol::Simple,
        writes: false,
    };
}

/// What both said.
pub enum Answers {
    Both(Answer, Answer),
    Refused(Answer),
    /// One PostgreSQL takes too long.
    TooSlow,
    /// The cluster has not answered.
    Silence(Silence),
}

/// Rows shown of an answer.
pub const ROWS: usize = 12;

pub struct Pair<'a> {
    cluster: &'a Cluster,
    database: Database<'a>,
    router: Connection,
    oracle: Connection,
    /// A side is in a state that the other is not in, or gone.
    lost: bool,
    /// Of the router's last ReadyForQuery.
    state: char,
    /// The last answers that differed: of the cluster and of one PostgreSQL.
    pub said: [Vec<String>; 2],
}

impl<'a> Pair<'a> {
    /// Makes the tables on both. `locale`: of the database, as CREATE DATABASE writes it.
    pub async fn create(cluster: &'a Cluster, seed: u64, locale: &str) -> Pair<'a> {
        let database = cluster.database_with(&format!("differential_{seed}"), locale);
        let mut router = Connection::open(&database.url()).await;
        let mut oracle = Connection::open(&database.oracle_url()).await;
        for sql in tables::definitions() {
            must(&mut router, &sql).await;
            must(&mut oracle, &sql).await;
        }
        let mut pair = Pair {
            cluster,
            database,
            router,
            oracle,
            lost: false,
            state: 'I',
            said: Default::default(),
        };
        pair.prepare().await;
        pair
    }

    async fn prepare(&mut self) {
        for connection in [&mut self.router, &mut self.oracle] {
            let learned = connection.learn_types().await;
            learned.unwrap_or_else(|silence| panic!("a new connection: {silence}"));
        }
        must(&mut self.oracle, "set statement_timeout = '3s'").await;
        self.lost = false;
        self.state = 'I';
    }

    /// Ends what is open and connects again, to a router started anew if it is gone.
    pub async fn reconnect(&mut self) {
        self.cluster.revive_router();
        self.router = Connection::open(&self.database.url()).await;
        self.oracle = Connection::open(&self.database.oracle_url()).await;
        self.prepare().await;
    }

    /// Empties the tables on both and fills them with the rows of a seed.
    pub async fn fill(&mut self, seed: u64, scale: usize) {
        for sql in tables::rows(seed, scale) {
            self.both(&sql).await;
        }
    }

    /// The two are not in step any more.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// The transaction has failed.
    pub fn is_failed(&self) -> bool {
        self.state == 'E'
    }

    /// Runs a statement on both and compares. None: too slow to be asked.
    pub async fn verdict(&mut self, statement: &Statement, manner: Manner) -> Option<Verdict> {
        Some(match self.answers(statement, manner).await {
            Answers::TooSlow => return None,
            Answers::Silence(silence) => {
                Verdict::Different(Difference::Silence(silence.to_string()))
            }
            Answers::Refused(answer) => {
                Verdict::Refused(answer.refusal().unwrap_or_default().to_owned())
            }
            Answers::Both(cluster, mut oracle) => {
                self.describe_as_statement(statement, manner, &cluster, &mut oracle)
                    .await;
                let verdict = compare(&cluster, &oracle, &Expected::of(statement));
                if matches!(verdict, Verdict::Different(_)) {
                    self.said = [cluster.shown(ROWS), oracle.shown(ROWS)];
                }
                verdict
            }
        })
    }

    /// The cluster may describe columns as of a statement where PostgreSQL describes a portal.
    async fn describe_as_statement(
        &mut self,
        statement: &Statement,
        manner: Manner,
        cluster: &Answer,
        oracle: &mut Answer,
    ) {
        if cluster.columns == oracle.columns || cluster.error.is_some() || oracle.error.is_some() {
            return;
        }
        let text = sql::text(statement, manner.literals);
        let described = self.oracle.described(&text).await;
        let columns = described.ok().and_then(|answer| answer.columns);
        if columns.is_some() {
            oracle.columns = columns;
        }
    }

    /// Runs a statement on both.
    pub async fn answers(&mut self, statement: &Statement, manner: Manner) -> Answers {
        let text = sql::text(statement, manner.literals);
        if manner.writes {
            self.cluster_first(&text, manner.protocol).await
        } else {
            self.oracle_first(&text, manner.protocol).await
        }
    }

    async fn cluster_first(&mut self, text: &sql::Text, protocol: Protocol) -> Answers {
        let cluster = match self.ask_router(text, protocol).await {
            Ok(answer) => answer,
            Err(silence) => return Answers::Silence(silence),
        };
        if cluster.refusal().is_some() {
            if cluster.state == 'E' {
                fail(&mut self.oracle).await;
            }
            return Answers::Refused(cluster);
        }
        let oracle = self.ask_oracle(text, protocol).await;
        if was_cancelled(&oracle) {
            self.lost = true;
            return Answers::TooSlow;
        }
        Answers::Both(cluster, oracle)
    }

    async fn oracle_first(&mut self, text: &sql::Text, protocol: Protocol) -> Answers {
        let started = Instant::now();
        let oracle = self.ask_oracle(text, protocol).await;
        if started.elapsed() > TOO_SLOW || was_cancelled(&oracle) {
            if oracle.state == 'E' {
                fail(&mut self.router).await;
                self.state = 'E';
            }
            return Answers::TooSlow;
        }
        match self.ask_router(text, protocol).await {
            Ok(cluster) if cluster.refusal().is_some() && oracle.refusal().is_none() => {
                if cluster.state == 'E' && oracle.state != 'E' {
                    fail(&mut self.oracle).await;
                }
                Answers::Refused(cluster)
            }
            Ok(cluster) => Answers::Both(cluster, oracle),
            Err(silence) => Answers::Silence(silence),
        }
    }

    async fn ask_router(
        &mut self,
        text: &sql::Text,
        protocol: Protocol,
    ) -> Result<Answer, Silence> {
        let answer = self.router.run(text, protocol).await;
        match &answer {
            Ok(answer) => self.state = answer.state,
            Err(_) => self.lost = true,
        }
        answer
    }

    async fn ask_oracle(&mut self, text: &sql::Text, protocol: Protocol) -> Answer {
        let answer = self.oracle.run(text, protocol).await;
        answer.unwrap_or_else(|silence| panic!("one PostgreSQL: {silence}: {}", text.sql))
    }

    /// What surrounds a statement that is to leave nothing behind.
    fn trial(&self, manner: Manner) -> (&'static str, &'static str) {
        match (manner.writes, self.state) {
            (_, 'T') => ("savepoint trial", "rollback to trial"),
            (true, _) => ("begin", "rollback"),
            (false, _) => ("", ""),
        }
    }

    /// As [`Pair::answers`], taken back.
    pub async fn answers_taken_back(&mut self, statement: &Statement, manner: Manner) -> Answers {
        let (before, after) = self.trial(manner);
        self.both(before).await;
        let answers = self.answers(statement, manner).await;
        if !self.lost {
            self.both(after).await;
        }
        answers
    }

    /// Runs a statement on both, compares and takes it back.
    pub async fn try_out(&mut self, statement: &Statement, manner: Manner) -> Option<Difference> {
        let (before, after) = self.trial(manner);
        self.both(before).await;
        let verdict = self.verdict(statement, manner).await;
        let difference = match verdict {
            Some(Verdict::Different(difference)) => Some(difference),
            Some(Verdict::Same(_)) => self.table_difference(statement).await,
            _ => None,
        };
        if self.lost {
            self.reconnect().await;
        } else {
            self.both(after).await;
        }
        difference
    }

    async fn table_difference(&mut self, statement: &Statement) -> Option<Difference> {
        let table = statement.written_table()?;
        let same = self.same_table(table).await;
        (!same).then(|| Difference::Table(table.to_owned()))
    }

    async fn both(&mut self, sql: &str) {
        if !sql.is_empty() {
            self.state = must(&mut self.router, sql).await;
            must(&mut self.oracle, sql).await;
        }
    }

    /// Whether a table has the same rows on both.
    pub async fn same_table(&mut self, table: &str) -> bool {
        let statement = Statement::Text(format!("select * from {table}"));
        let verdict = self.verdict(&statement, Manner::PLAIN).await;
        matches!(verdict, Some(Verdict::Same(_)))
    }

    /// Rows that are not on the shard of their key.
    pub async fn misplaced(&mut self, table: &Table) -> usize {
        if table.placement != Placement::Sharded || self.state == 'T' {
            return 0;
        }
        let home = self.database.shard(0).await;
        let sql = "select bucket, shard from oskol.buckets";
        let buckets = home.query(sql, &[]).await.unwrap_or_default();
        let places: HashMap<i32, i32> =
            buckets.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut count = 0;
        for shard in 0..self.cluster.shard_count() {
            let sql = format!(
                "select (hashint8extended({}, 0) & 4095)::int4 from {}",
                table.columns[0].name, table.name
            );
            let rows = self.database.shard(shard).await.query(&sql, &[]).await;
            let here = |bucket: &i32| places.get(bucket).copied() == i32::try_from(shard).ok();
            let rows = rows.unwrap_or_default();
            count += rows.iter().filter(|row| !here(&row.get(0))).count();
        }
        count
    }

    /// What the cluster says to a statement of the harness's own, as lines.
    pub async fn lines(&mut self, sql: &str) -> Vec<String> {
        match self.router.query(sql).await {
            Ok(answer) => answer.lines(),
            Err(silence) => {
                self.lost = true;
                vec![silence.to_string()]
            }
        }
    }
}

fn was_cancelled(answer: &Answer) -> bool {
    answer
        .error
        .as_ref()
        .is_some_and(|error| error.sqlstate == "57014")
}

/// Makes an open transaction fail, as the other side's has.
async fn fail(connection: &mut Connection) {
    // The answer is an error.
    let _ = connection.query("select 1 / 0").await;
}

/// Runs what cannot fail; gives the state of ReadyForQuery.
async fn must(connection: &mut Connection, sql: &str) -> char {
    match connection.query(sql).await {
        Ok(answer) if answer.error.is_none() => answer.state,
        other => panic!("{sql}: {other:?}"),
    }
}
