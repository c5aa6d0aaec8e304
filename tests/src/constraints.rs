//! The oracle of constraints over shards: random schemas with unique and foreign keys that leave the shard, and random
//! statements on them, on four shards and on one plain PostgreSQL.
//!
//! [`run`] compares success, SQLSTATE, constraint, table, message, DETAIL, affected and returned rows of every statement, and
//! the tables now and then; at the end VERIFY must find nothing. Sessions that run beside one another: `chaos::constraints`.

pub(crate) mod outcome;
mod pair;
pub mod schema;
pub mod statement;
pub mod verify;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::differential::dice::Dice;
use crate::differential::transaction::Transaction;
use crate::{Cluster, ClusterOptions};
use pair::{Pair, Verdict};
use schema::Schema;
use statement::Statement;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the first schema; the others take the numbers that follow.
    pub seed: u64,
    /// On each schema.
    pub statements: usize,
    pub schemas: usize,
    /// Schemas at the same time, each in a database of its own.
    pub sessions: usize,
    /// Differences are appended here.
    pub failures: PathBuf,
    /// Begins no schema after this.
    pub time: Option<Duration>,
    /// Tell on standard error how far it is.
    pub progress: bool,
}

#[derive(Debug, Default)]
pub struct Summary {
    pub schemas: usize,
    pub statements: usize,
    /// Both carried it out, and said the same.
    pub same: usize,
    /// Both failed, and said the same.
    pub same_errors: usize,
    pub other_constraint: usize,
    pub other_row: usize,
    /// By id.
    pub refused: BTreeMap<String, usize>,
    pub differences: Vec<String>,
    pub time: Duration,
}

impl Summary {
    fn add(&mut self, other: Summary) {
        self.schemas += other.schemas;
        self.statements += other.statements;
        self.same += other.same;
        self.same_errors += other.same_errors;
        self.other_constraint += other.other_constraint;
        self.other_row += other.other_row;
        for (id, count) in other.refused {
            *self.refused.entry(id).or_default() += count;
        }
        self.differences.extend(other.differences);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.statements as f64 / self.time.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} statements on {} schemas in {} s ({rate:.0}/s): {} the same, {} failed alike, {} named another of several \
             violated constraints, {} another of several rows",
            self.statements,
            self.schemas,
            self.time.as_secs(),
            self.same,
            self.same_errors,
            self.other_constraint,
            self.other_row
        )?;
        writeln!(f, "refused: {:?}", self.refused)?;
        write!(f, "{} differences", self.differences.len())
    }
}

/// Four shards and an oracle, which compile no expressions: the statements are short.
pub fn cluster() -> Cluster {
    Cluster::start_with(ClusterOptions {
        settings: vec![("jit".to_owned(), "off".to_owned())],
        ..ClusterOptions::default()
    })
}

/// Runs all schemas to their end.
pub fn run(cluster: &Cluster, options: &Options) -> Summary {
    let started = Instant::now();
    let mut summary = Summary::default();
    let in_time = || options.time.is_none_or(|time| started.elapsed() < time);
    std::thread::scope(|scope| {
        let session = |number: usize| {
            scope.spawn(move || {
                let mut summary = Summary::default();
                for schema in (number..options.schemas).step_by(options.sessions) {
                    if in_time() {
                        let seed = options.seed + schema as u64;
                        summary.add(crate::block_on(one_schema(cluster, options, seed)));
                    }
                }
                summary
            })
        };
        let sessions: Vec<_> = (0..options.sessions).map(session).collect();
        for session in sessions {
            let counted = session.join();
            summary.add(counted.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    summary.time = started.elapsed();
    summary
}

/// One schema with its statements.
struct Course<'a> {
    pair: Pair<'a>,
    schema: Schema,
    dice: Dice,
    transaction: Transaction,
    summary: Summary,
    /// All that was said, to be said again by who looks for a cause.
    told: String,
}

async fn one_schema(cluster: &Cluster, options: &Options, seed: u64) -> Summary {
    let mut dice = Dice::new(seed);
    let schema = Schema::random(&mut dice);
    let mut told = format!("-- seed {seed}\n");
    for statement in schema.for_cluster() {
        let _ = writeln!(told, "{statement};");
    }
    let mut course = Course {
        pair: Pair::create(cluster, &schema).await,
        schema,
        dice,
        transaction: Transaction::default(),
        summary: Summary {
            schemas: 1,
            ..Summary::default()
        },
        told,
    };
    if let Some(difference) = course.run(options.statements).await {
        let told = format!(
            "seed {seed}, statement {}: {difference}",
            course.summary.statements
        );
        if options.progress {
            eprintln!("{told}");
        }
        let all = format!("==== {told}\n{}\n", course.told);
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&options.failures);
        let written = file.and_then(|mut file| file.write_all(all.as_bytes()));
        written.unwrap_or_else(|error| panic!("{:?}: {error}", options.failures));
        course.summary.differences.push(told);
    }
    if options.progress {
        eprintln!("seed {seed}: {} statements", course.summary.statements);
    }
    course.pair.drop().await;
    course.summary
}

impl Course<'_> {
    /// The first difference, after which the tables are no longer alike.
    async fn run(&mut self, statements: usize) -> Option<String> {
        for _ in 0..statements {
            let statement = match self.transaction.next_command(&mut self.dice) {
                Some(command) => Statement::of(command),
                None => Statement::random(&mut self.dice, &self.schema),
            };
            if let Some(difference) = self.statement(&statement).await {
                return Some(difference);
            }
            let looks = !self.transaction.failed && self.dice.chance(8);
            if looks && let Some(difference) = self.difference().await {
                return Some(difference);
            }
        }
        self.pair.roll_back().await;
        self.transaction = Transaction::default();
        if let Some(difference) = self.difference().await {
            return Some(difference);
        }
        let faults = self.pair.faults().await;
        (!faults.is_empty()).then(|| format!("VERIFY: {faults:#?}"))
    }

    async fn difference(&self) -> Option<String> {
        let difference = self.pair.difference(&self.schema).await;
        match difference {
            None if !self.transaction.is_open() => self.pair.misplaced(&self.schema).await,
            difference => difference,
        }
    }

    async fn statement(&mut self, statement: &Statement) -> Option<String> {
        let _ = writeln!(self.told, "{};", statement.sql);
        if let Some(lines) = &statement.copied {
            let _ = writeln!(self.told, "{lines}\\.");
        }
        self.summary.statements += 1;
        let in_block = self.transaction.is_open();
        let verdict = self.pair.verdict(statement, in_block).await;
        let failed = !matches!(verdict, Verdict::Same);
        if !failed || statement.sql == "commit" {
            let was_failed = self.transaction.failed;
            self.transaction.track(&statement.sql);
            self.transaction.failed = was_failed
                && self.transaction.is_open()
                && !statement.sql.starts_with("rollback to");
        } else if self.transaction.is_open() {
            self.transaction.failed = true;
        }
        match verdict {
            Verdict::Same => self.summary.same += 1,
            Verdict::SameError => self.summary.same_errors += 1,
            Verdict::OtherConstraint => self.summary.other_constraint += 1,
            Verdict::OtherRow => self.summary.other_row += 1,
            Verdict::Refused(id) => *self.summary.refused.entry(id).or_default() += 1,
            Verdict::Different(difference) => {
                return Some(format!("{}\n{difference}", statement.sql));
            }
        }
        None
    }
}
