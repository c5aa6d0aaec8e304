//! Sessions beside one another on tables with unique and foreign keys over shards, as `crate::constraints` makes them. At
//! the end no value is there twice, no child without its parent, and VERIFY finds nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::ground::{Ground, LIMIT, code};
use super::{Kills, Options, killer};
use crate::constraints::outcome::Outcome;
use crate::constraints::schema::Schema;
use crate::constraints::statement::Statement;
use crate::constraints::verify;
use crate::differential::dice::Dice;
use crate::differential::transaction::Transaction;

/// What a session may be told while nothing is killed: violations, refusals, and what waits in a circle.
const KNOWN: [&str; 8] = [
    "23503", "23505", "23502", "21000", "0A000", "40001", "40P01", "55P03",
];

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Report {
    pub kills: Kills,
    pub done: usize,
    pub commits: usize,
    /// By SQLSTATE.
    pub failed: BTreeMap<String, usize>,
    pub rows: i64,
    /// What does not hold at the end.
    pub faults: Vec<String>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, other: Report) {
        self.done += other.done;
        self.commits += other.commits;
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
        self.faults.extend(other.faults);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kills)?;
        writeln!(
            f,
            "{} statements done, {} blocks committed, failed: {:?}; {} rows at the end",
            self.done, self.commits, self.failed, self.rows
        )?;
        write!(f, "{} faults", self.faults.len())?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

pub fn run(options: &Options) -> Report {
    let schema = Schema::random(&mut Dice::new(options.seed));
    let ground = Ground::start(&schema.for_cluster().join(";"));
    let until = Instant::now() + options.time;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime for the clients");
    let mut report = Report::default();
    let (kills, sessions) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| match options.kills {
            true => killer::run(&ground, options.seed, until),
            false => Kills::default(),
        });
        let sessions = (0..options.clients).map(|number| {
            let dice = Dice::new(options.seed + 1 + number as u64);
            session(&ground, &schema, number, dice, until, options.kills)
        });
        let sessions = runtime.block_on(futures_util::future::join_all(sessions));
        let kills = killer.join();
        (
            kills.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            sessions,
        )
    });
    sessions.into_iter().for_each(|session| report.add(session));
    report.kills = kills;
    runtime.block_on(audit(&ground, &schema, &mut report));
    if !report.is_sound() {
        for statement in schema.for_cluster() {
            eprintln!("{statement};");
        }
        ground.cluster.report_failure();
    }
    report
}

async fn session(
    ground: &Ground,
    schema: &Schema,
    number: usize,
    mut dice: Dice,
    until: Instant,
    kills: bool,
) -> Report {
    let mut report = Report::default();
    let mut visits = number;
    while Instant::now() < until {
        let Some(client) = ground.client(visits, until).await else {
            break;
        };
        visits += 1;
        if client
            .batch_execute("set lock_timeout = '5s'")
            .await
            .is_err()
        {
            continue;
        }
        let mut transaction = Transaction::default();
        while Instant::now() < until && !client.is_closed() {
            let statement = match transaction.next_command(&mut dice) {
                Some(command) => Statement::of(command),
                None => Statement::random(&mut dice, schema),
            };
            let ended = tokio::time::timeout(LIMIT, Outcome::run(&client, &statement)).await;
            let Ok(ended) = ended else {
                report
                    .faults
                    .push(format!("no answer within {LIMIT:?}: {}", statement.sql));
                break;
            };
            match ended {
                Ok(_) => {
                    report.done += 1;
                    report.commits += usize::from(statement.sql == "commit");
                    transaction.track(&statement.sql);
                    transaction.failed &=
                        transaction.is_open() && !statement.sql.starts_with("rollback to");
                }
                Err(error) => {
                    let code = code(&error);
                    if !kills && !KNOWN.contains(&code.as_str()) {
                        report
                            .faults
                            .push(format!("{code}: {}: {error:?}", statement.sql));
                    }
                    *report.failed.entry(code).or_default() += 1;
                    transaction.failed = transaction.is_open();
                    // COMMIT of what is violated ends the block.
                    if statement.sql == "commit" {
                        transaction = Transaction::default();
                    }
                }
            }
        }
    }
    report
}

async fn audit(ground: &Ground, schema: &Schema, report: &mut Report) {
    if !ground.settled().await {
        report
            .faults
            .push("prepared transactions are left".to_owned());
    }
    let client = ground.cluster.client().await;
    for (what, sql) in schema.violations() {
        let count = count(&client, &sql).await;
        if count > 0 {
            report.faults.push(format!("{count} {what}"));
        }
    }
    for table in &schema.tables {
        report.rows += count(&client, &format!("select count(*) from {}", table.name)).await;
    }
    let admin = ground.cluster.url_of("oskol");
    let verified =
        tokio::time::timeout(Duration::from_secs(120), verify::faults(&admin, "postgres")).await;
    report.faults.extend(verified.expect("VERIFY ends"));
}

async fn count(client: &Client, sql: &str) -> i64 {
    let row = client.query_one(sql, &[]).await;
    row.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}
