//! `bench commit`: what a commit costs: on one PostgreSQL, on one shard through the router, on two shards in two
//! phases, and while somebody opens consistent snapshots all the time.
//!
//! All loads run in turns on the same servers; each is compared with another one of the same round.

use std::time::Duration;

use clap::Args;
use shard_node::Owner;

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::{DURABLE, Postgres};
use crate::procfs::cpu_time;
use crate::statistics::median;

mod accounts;
mod reader;
mod writer;

use accounts::Accounts;
use writer::Load;

#[derive(Args)]
pub struct Options {
    /// Clients that write at once; one is measured as well.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Clients that read a sum over all shards in REPEATABLE READ without a pause, in the loads that have readers.
    #[arg(long, default_value_t = 1)]
    pub readers: usize,
    /// Seconds that every load runs in a round.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// With `fsync` and `synchronous_commit`: commits wait for the disk.
    #[arg(long)]
    pub durable: bool,
}

const SHARDS: usize = 4;
/// Server connections per shard, over those of the clients.
const SPARE: usize = 8;

/// One line of the report.
struct Case {
    name: &'static str,
    load: Load,
    /// Name of the line it is compared with.
    beside: Option<&'static str>,
    with_readers: bool,
}

const CASES: [Case; 6] = [
    case("PostgreSQL, one transaction", Load::Direct, None),
    case(
        "one shard, through the router",
        Load::OneShard,
        Some("PostgreSQL, one transaction"),
    ),
    case(
        "two transactions, one shard each",
        Load::TwoPlain,
        Some("one shard, through the router"),
    ),
    case(
        "one transaction, two shards",
        Load::TwoPhase,
        Some("two transactions, one shard each"),
    ),
    case(
        "the same beside readers in READ COMMITTED",
        Load::TwoPhaseBeside(reader::Isolation::ReadCommitted),
        Some("one transaction, two shards"),
    ),
    case(
        "the same beside readers in REPEATABLE READ",
        Load::TwoPhaseBeside(reader::Isolation::RepeatableRead),
        Some("the same beside readers in READ COMMITTED"),
    ),
];

const fn case(name: &'static str, load: Load, beside: Option<&'static str>) -> Case {
    let with_readers = matches!(load, Load::TwoPhaseBeside(_));
    Case {
        name,
        load,
        beside,
        with_readers,
    }
}

/// Of one case, a value per round.
#[derive(Default)]
struct Figures {
    /// Units of work per second: a unit moves an amount between two accounts, or changes one.
    throughput: Vec<f64>,
    /// Microseconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Router's CPU per unit, microseconds.
    cpu: Vec<f64>,
    /// Sums read per second.
    reads: Vec<f64>,
}

struct Bench {
    plain: Postgres,
    oskol: Oskol,
    accounts: Accounts,
    options: Options,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
    Owner::choose()?.make_directory(directory.path(), 0o755)?;
    eprintln!("starting PostgreSQL and Oskol on {SHARDS} shards");
    let settings = if options.durable { DURABLE } else { &[] };
    let plain = Postgres::start("plain", directory.path(), settings).await?;
    let pool = options.clients + options.readers + SPARE;
    let oskol = Oskol::start(directory.path(), SHARDS, pool, 2 * pool, settings).await?;
    let accounts = accounts::fill(&plain, &oskol).await?;
    let bench = Bench {
        plain,
        oskol,
        accounts,
        options,
    };
    for clients in [1, bench.options.clients] {
        let figures = bench.rounds(clients).await?;
        print(clients, &bench.options, &figures);
    }
    bench.accounts.ensure_kept(&bench.oskol.endpoint).await
}

impl Bench {
    async fn rounds(&self, clients: usize) -> anyhow::Result<Vec<Figures>> {
        let mut figures: Vec<Figures> = CASES.iter().map(|_| Figures::default()).collect();
        for round in 0..self.options.rounds {
            eprintln!(
                "{clients} client(s), round {} of {}",
                round + 1,
                self.options.rounds
            );
            // Each round begins elsewhere, so that a drift of the machine strikes all alike.
            for turn in 0..CASES.len() {
                let number = (round + turn) % CASES.len();
                self.measure(&CASES[number], clients, &mut figures[number])
                    .await?;
            }
        }
        Ok(figures)
    }

    async fn measure(
        &self,
        case: &Case,
        clients: usize,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let length = Duration::from_secs_f64(self.options.seconds);
        let endpoint = match case.load {
            Load::Direct => &self.plain.endpoint,
            _ => &self.oskol.endpoint,
        };
        let before = cpu_time(self.oskol.pid())?;
        let readers = if case.with_readers {
            self.options.readers
        } else {
            0
        };
        let writing = writer::run(endpoint, case.load, clients, &self.accounts, length);
        let reading = self.read(case.load, readers, length);
        let (written, read) = tokio::try_join!(writing, reading)?;
        let spent = cpu_time(self.oskol.pid())?.saturating_sub(before);
        let units = written.units as f64;
        figures.throughput.push(units / self.options.seconds);
        figures.p50.push(written.p50 as f64);
        figures.p99.push(written.p99 as f64);
        figures.cpu.push(spent.as_secs_f64() * 1e6 / units);
        figures.reads.push(read as f64 / self.options.seconds);
        Ok(())
    }

    async fn read(&self, load: Load, readers: usize, length: Duration) -> anyhow::Result<usize> {
        let Load::TwoPhaseBeside(isolation) = load else {
            return Ok(0);
        };
        let endpoint: &Endpoint = &self.oskol.endpoint;
        reader::run(endpoint, isolation, readers, length).await
    }
}

fn print(clients: usize, options: &Options, figures: &[Figures]) {
    let disk = if options.durable {
        "commits wait for the disk"
    } else {
        "fsync off"
    };
    println!(
        "\n{clients} client(s), {disk}, medians of {} rounds\n",
        options.rounds
    );
    println!(
        "| load | per second | p50 µs | p99 µs | router CPU µs | reads/s | throughput beside |"
    );
    println!("|---|--:|--:|--:|--:|--:|---|");
    for (case, own) in CASES.iter().zip(figures) {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {} | {} | {} |",
            case.name,
            median(own.throughput.iter().copied()),
            median(own.p50.iter().copied()),
            median(own.p99.iter().copied()),
            match case.load {
                Load::Direct => "-".to_owned(),
                _ => format!("{:.1}", median(own.cpu.iter().copied())),
            },
            if case.with_readers {
                format!("{:.0}", median(own.reads.iter().copied()))
            } else {
                "-".to_owned()
            },
            beside(case, own, figures),
        );
    }
}

/// The ratio to the case that it is compared with, as the median of the rounds' own ratios.
fn beside(case: &Case, own: &Figures, all: &[Figures]) -> String {
    let other = case.beside.and_then(|name| {
        let at = CASES.iter().position(|other| other.name == name)?;
        Some((name, &all[at]))
    });
    let Some((name, other)) = other else {
        return "-".to_owned();
    };
    let ratios = own.throughput.iter().zip(&other.throughput);
    let ratio = median(ratios.map(|(own, other)| own / other));
    format!("{ratio:.2} of \"{name}\"")
}
