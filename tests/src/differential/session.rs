//! One session: statement after statement on the cluster and on one PostgreSQL, in step.

use std::time::{Duration, Instant};

use super::Options;
use super::compare::{Difference, Verdict};
use super::generate::Generator;
use super::pair::{Manner, Pair};
use super::report::{Finding, Report};
use super::shrink::Shrink;
use super::sql::{self, Literals};
use super::summary::Summary;
use super::tables::TABLES;
use super::talk::{Extended, Protocol};
use super::transaction::Transaction;
use super::tree::Statement;

/// Statements between two fillings of the tables.
const REFILL: usize = 300;

/// Longest search for a smaller statement.
const SHRINKING: Duration = Duration::from_secs(20);

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

pub struct Session<'a> {
    options: &'a Options,
    seed: u64,
    generator: Generator,
    pair: Pair<'a>,
    report: Report<'a>,
    pub summary: Summary,
    transaction: Transaction,
}

impl<'a> Session<'a> {
    pub fn new(options: &'a Options, seed: u64, pair: Pair<'a>) -> Self {
        Session {
            options,
            seed,
            generator: Generator::new(seed, options.scale),
            pair,
            report: Report::new(&options.failures),
            summary: Summary::default(),
            transaction: Transaction::default(),
        }
    }

    /// Runs as many statements, or until the time is over.
    pub async fn run(&mut self, statements: usize) {
        let started = Instant::now();
        let mut told = started;
        let mut since_refill = REFILL;
        while self.summary.statements < statements && !self.is_over(started) {
            if since_refill >= REFILL && !self.transaction.is_open() {
                self.refill().await;
                since_refill = 0;
            }
            since_refill += 1;
            self.step().await;
            self.summary.time = started.elapsed();
            if self.options.progress && told.elapsed() > PROGRESS {
                told = Instant::now();
                eprintln!("seed {}: {}", self.seed, self.summary.line());
            }
        }
    }

    fn is_over(&self, started: Instant) -> bool {
        let time = self.options.time;
        time.is_some_and(|time| started.elapsed() > time)
    }

    async fn refill(&mut self) {
        self.transaction = Transaction::default();
        self.pair.fill(self.seed, self.options.scale).await;
    }

    async fn step(&mut self) {
        let command = self.transaction.next_command(&mut self.generator.dice);
        if let Some(command) = command {
            return self.control(&command).await;
        }
        match self.generator.dice.below(100) {
            0..2 if !self.transaction.is_open() => self.made_id().await,
            2..6 => {
                let statement = self.generator.seldom_write();
                self.statement(&statement, true).await;
                for table in &TABLES {
                    self.check_table(&statement, table.name).await;
                }
            }
            0..26 => {
                let statement = self.generator.write();
                self.statement(&statement, true).await;
            }
            _ => {
                let statement = self.generator.read();
                let may_write = matches!(statement, Statement::Text(_));
                self.statement(&statement, may_write).await;
            }
        }
    }

    /// A command of transaction control.
    async fn control(&mut self, command: &str) {
        let statement = Statement::Text(command.to_owned());
        self.transaction.track(command);
        self.statement(&statement, true).await;
        if !self.transaction.is_open() && self.generator.dice.chance(30) {
            for table in &TABLES {
                self.check_table(&statement, table.name).await;
            }
        }
    }

    /// An insert whose ids differ between the servers, rolled back.
    async fn made_id(&mut self) {
        let insert = self.generator.insert_with_made_id();
        self.control("begin").await;
        self.statement(&Statement::Text(insert), true).await;
        // A difference has ended it already.
        if self.transaction.is_open() {
            self.control("rollback").await;
        }
    }

    fn manner(&mut self, statement: &Statement, writes: bool) -> Manner {
        let query = matches!(statement, Statement::Query(query) if query.locking.is_none());
        let dice = &mut self.generator.dice;
        let protocol = match dice.below(100) {
            0..40 => Protocol::Simple,
            40..45 if query && !self.transaction.is_open() => Protocol::Cursor,
            45..46 if query => Protocol::Copy,
            _ => Protocol::Extended(Extended {
                named: dice.chance(40),
                binary: dice.chance(50),
                paged: query && dice.chance(15),
            }),
        };
        let literals = match protocol {
            Protocol::Extended(_) => *dice.pick(&[
                Literals::InText,
                Literals::Declared,
                Literals::Declared,
                Literals::Cast,
            ]),
            _ => Literals::InText,
        };
        Manner {
            literals,
            protocol,
            writes,
        }
    }

    async fn statement(&mut self, statement: &Statement, writes: bool) {
        let manner = self.manner(statement, writes);
        self.summary.statements += 1;
        let verdict = self.pair.verdict(statement, manner).await;
        self.transaction.failed = self.transaction.is_open() && self.pair.is_failed();
        match verdict {
            None => self.too_slow().await,
            Some(Verdict::Same(rows)) => {
                self.summary.same += 1;
                self.summary.with_rows += usize::from(rows > 0);
                if let Some(table) = statement.written_table() {
                    self.check_table(statement, table).await;
                }
            }
            Some(Verdict::SameError) => self.summary.errors_equal += 1,
            Some(Verdict::Refused(id)) => {
                let text = sql::text(statement, Literals::InText).sql;
                self.summary.refuse(&id, 1, &text);
            }
            Some(Verdict::Different(difference)) => {
                self.differs(statement, manner, &difference).await;
            }
        }
    }

    async fn too_slow(&mut self) {
        self.summary.too_slow += 1;
        if self.pair.is_lost() {
            self.start_anew().await;
        }
    }

    async fn check_table(&mut self, statement: &Statement, table: &str) {
        if self.pair.is_failed() {
            return;
        }
        let misplaced = async |pair: &mut Pair<'_>| match TABLES.iter().find(|it| it.name == table)
        {
            Some(table) => pair.misplaced(table).await > 0,
            None => false,
        };
        let difference = if !self.pair.same_table(table).await {
            Difference::Table(table.to_owned())
        } else if misplaced(&mut self.pair).await {
            Difference::Misplaced(table.to_owned())
        } else {
            return;
        };
        let manner = Manner {
            writes: true,
            ..Manner::PLAIN
        };
        self.differs(statement, manner, &difference).await;
    }

    async fn differs(&mut self, whole: &Statement, manner: Manner, difference: &Difference) {
        self.summary.count(difference);
        if self.options.progress {
            eprintln!(
                "seed {} statement {}: {difference:?}",
                self.seed, self.summary.statements
            );
        }
        let said = std::mem::take(&mut self.pair.said);
        if !self.report.is_enough(difference) {
            if manner.writes || self.pair.is_lost() {
                self.start_anew().await;
            }
            let small = &self.shrunk(whole, manner, difference).await;
            let (seed, number) = (self.seed, self.summary.statements);
            let finding = Finding {
                seed,
                number,
                whole,
                small,
                manner,
                difference,
                said,
            };
            self.report.tell(&mut self.pair, &finding).await;
        }
        if manner.writes || self.pair.is_lost() || self.transaction.is_open() {
            self.start_anew().await;
        }
    }

    async fn start_anew(&mut self) {
        self.pair.reconnect().await;
        self.refill().await;
    }

    /// The smallest statement found that still differs in the same way.
    async fn shrunk(
        &mut self,
        whole: &Statement,
        manner: Manner,
        difference: &Difference,
    ) -> Statement {
        let started = Instant::now();
        let mut smallest = whole.clone();
        'smaller: loop {
            for candidate in smallest.smaller() {
                if started.elapsed() > SHRINKING {
                    return smallest;
                }
                if self.pair.try_out(&candidate, manner).await.as_ref() == Some(difference) {
                    smallest = candidate;
                    continue 'smaller;
                }
            }
            return smallest;
        }
    }
}
