//! `bench compare`: the same load over every leg in turn, round after round.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::leg::Leg;
use crate::load::{Load, Protocol};
use crate::machine::Machine;
use crate::pgbench::{Figures, Run};
use crate::procfs;
use crate::report;
use crate::stage::{Setup, Stage};

/// Length of the unmeasured run that fills caches, pools and plan caches before a case's rounds.
const WARM_UP_SECONDS: u64 = 2;

#[derive(Args)]
pub struct Options {
    /// Measured rounds per case; each round visits every leg once.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Length of one measured run, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Concurrent clients.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Threads of pgbench.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Scale of pgbench's tables: 100,000 accounts per unit.
    #[arg(long, default_value_t = 10)]
    pub scale: u32,
    /// Server connections per proxy and PostgreSQL server.
    #[arg(long, default_value_t = 20)]
    pub pool: usize,
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "direct,pgbouncer,oskol1,oskol4"
    )]
    pub legs: Vec<Leg>,
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "select,transaction"
    )]
    pub loads: Vec<Load>,
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "simple,extended,prepared"
    )]
    pub protocols: Vec<Protocol>,
    /// Also write the report to this file.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// What was measured of one leg in one round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub figures: Figures,
    /// CPU time of the proxy per transaction; `None` without a proxy.
    pub cpu: Option<Duration>,
}

/// All rounds of one leg in one case.
pub struct LegSamples {
    pub leg: Leg,
    pub samples: Vec<Sample>,
}

/// One load over one protocol.
pub struct Case {
    pub load: Load,
    pub protocol: Protocol,
    pub legs: Vec<LegSamples>,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let setup = Setup {
        scale: options.scale,
        pool: options.pool,
        clients: options.clients + options.pool,
    };
    let stage = Stage::start(&options.legs, &setup).await?;
    let mut cases = Vec::new();
    for &load in &options.loads {
        for &protocol in &options.protocols {
            cases.push(measure_case(&stage, &options, load, protocol).await?);
        }
    }
    let text = report::markdown(&Machine::read()?, &options, &cases)?;
    print!("{text}");
    if let Some(file) = &options.out {
        std::fs::write(file, text)?;
    }
    Ok(())
}

async fn measure_case(
    stage: &Stage,
    options: &Options,
    load: Load,
    protocol: Protocol,
) -> anyhow::Result<Case> {
    let mut legs: Vec<LegSamples> = options
        .legs
        .iter()
        .map(|&leg| LegSamples {
            leg,
            samples: Vec::new(),
        })
        .collect();
    for leg in &options.legs {
        measure(stage, options, *leg, load, protocol, WARM_UP_SECONDS).await?;
    }
    for round in 0..options.rounds {
        for position in visiting_order(legs.len(), round) {
            let entry = &mut legs[position];
            let sample =
                measure(stage, options, entry.leg, load, protocol, options.seconds).await?;
            say(entry.leg, load, protocol, round, &sample);
            entry.samples.push(sample);
        }
    }
    Ok(Case {
        load,
        protocol,
        legs,
    })
}

/// Each round starts with another leg, so that no leg always follows the same one.
fn visiting_order(legs: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..legs).map(move |step| (step + round) % legs)
}

async fn measure(
    stage: &Stage,
    options: &Options,
    leg: Leg,
    load: Load,
    protocol: Protocol,
    seconds: u64,
) -> anyhow::Result<Sample> {
    let endpoint = stage.endpoint(leg, protocol)?;
    if load.writes() {
        stage.tidy(leg).await?;
    }
    let run = Run {
        endpoint: &endpoint,
        load,
        protocol,
        scale: options.scale,
        clients: options.clients,
        threads: options.threads,
        seconds,
        directory: stage.directory(),
    };
    let proxy = stage.proxy(leg)?;
    let before = proxy.map(procfs::cpu_time).transpose()?;
    let figures = run.execute().await?;
    let after = proxy.map(procfs::cpu_time).transpose()?;
    let cpu = before
        .zip(after)
        .map(|(before, after)| per_transaction(after - before, figures.transactions));
    Ok(Sample { figures, cpu })
}

fn per_transaction(total: Duration, transactions: u64) -> Duration {
    Duration::from_secs_f64(total.as_secs_f64() / transactions as f64)
}

fn say(leg: Leg, load: Load, protocol: Protocol, round: usize, sample: &Sample) {
    let cpu = sample.cpu.map_or("-".to_owned(), |cpu| {
        format!("{:.1}", cpu.as_secs_f64() * 1e6)
    });
    eprintln!(
        "{} {} round {} {}: {:.0} tps, proxy {cpu} us",
        load.name(),
        protocol.name(),
        round + 1,
        leg.title(),
        sample.figures.throughput,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_visits_every_leg_and_starts_with_another() {
        let rounds: Vec<Vec<usize>> = (0..3)
            .map(|round| visiting_order(3, round).collect())
            .collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }
}
