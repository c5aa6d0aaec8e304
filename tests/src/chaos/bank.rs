//! A bank: clients move amounts between accounts on random shards; a reader counts all the money the whole time.
//!
//! A transfer changes two balances and writes two rows of the ledger, one for each account, in one transaction. So at the
//! end: the money is what it was, each balance is what the ledger says, each transfer has two rows or none, those that
//! were acknowledged two, those that were refused none. Accounts have a unique `email` that does not contain the shard
//! key and changes now and then; its entries must be those of the rows.

mod audit;
mod clerk;
mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ground::{Ended, Ground};
use super::{Kills, Options, killer};
use crate::differential::dice::Dice;

pub(super) const ACCOUNTS: i64 = 240;
pub(super) const BALANCE: i64 = 1000;

const TABLES: &str = "create table accounts (id bigint primary key, balance bigint not null, email text unique);
    create table ledger (account bigint, transfer bigint, amount bigint not null, primary key (account, transfer));
    select oskol.shard_table('accounts', 'id');
    select oskol.shard_table('ledger', 'account');
    insert into accounts select n, 1000, 'a' || n from generate_series(1, 240) n";

/// How the money is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    RepeatableRead,
    /// Every statement sees what each shard has committed then: sums may be torn.
    Plain,
}

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Report {
    pub kills: Kills,
    pub acknowledged: usize,
    pub refused: BTreeMap<String, usize>,
    pub unknown: BTreeMap<String, usize>,
    pub sums: usize,
    /// Sums that were not all the money.
    pub wrong_sums: usize,
    pub failed_sums: BTreeMap<String, usize>,
    /// What does not hold at the end.
    pub faults: Vec<String>,
}

/// What a client knows of its transfers.
pub(super) type Transfers = Vec<(i64, Ended)>;

pub fn run(options: &Options, reads: Reads) -> Report {
    let ground = Ground::start(TABLES);
    let until = Instant::now() + options.time;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime for the clients");
    let mut report = Report::default();
    let (kills, work) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| match options.kills {
            true => killer::run(&ground, options.seed, until),
            false => Kills::default(),
        });
        let work = runtime.block_on(work(&ground, options, reads, until, &mut report));
        let kills = killer.join();
        (
            kills.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            work,
        )
    });
    report.kills = kills;
    report.count(&work);
    report.faults = runtime.block_on(audit::faults(&ground, &work));
    if !report.is_sound() {
        ground.cluster.report_failure();
    }
    report
}

async fn work(
    ground: &Ground,
    options: &Options,
    reads: Reads,
    until: Instant,
    report: &mut Report,
) -> Transfers {
    let ended = AtomicBool::new(false);
    let clerks = async {
        let clerks = (0..options.clients).map(|number| {
            let dice = Dice::new(options.seed + 1 + number as u64);
            clerk::run(ground, number, dice, until)
        });
        let transfers = futures_util::future::join_all(clerks).await;
        ended.store(true, Ordering::Relaxed);
        transfers.into_iter().flatten().collect()
    };
    let progress = progress(options.progress, until);
    let (transfers, (), ()) =
        tokio::join!(clerks, reader::run(ground, reads, &ended, report), progress);
    transfers
}

async fn progress(wanted: bool, until: Instant) {
    while wanted && Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        eprintln!("{} s to go", left.as_secs());
        tokio::time::sleep(left.min(Duration::from_secs(30))).await;
    }
}

impl Report {
    fn count(&mut self, transfers: &Transfers) {
        for (_, ended) in transfers {
            match ended {
                Ended::Committed => self.acknowledged += 1,
                Ended::Refused(code) => *self.refused.entry(code.clone()).or_default() += 1,
                Ended::Unknown(code) => *self.unknown.entry(code.clone()).or_default() += 1,
            }
        }
    }

    /// Nothing lost, nothing half done.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kills)?;
        let unknown: usize = self.unknown.values().sum();
        let refused: usize = self.refused.values().sum();
        writeln!(
            f,
            "transfers: {} acknowledged, {refused} refused {:?}, {unknown} unknown {:?}",
            self.acknowledged, self.refused, self.unknown
        )?;
        let failed: usize = self.failed_sums.values().sum();
        writeln!(
            f,
            "sums: {} read, {} wrong, {failed} failed {:?}",
            self.sums, self.wrong_sums, self.failed_sums
        )?;
        match self.faults.is_empty() {
            true => write!(f, "audit: all holds"),
            false => write!(f, "audit: {}", self.faults.join("\n  ")),
        }
    }
}
