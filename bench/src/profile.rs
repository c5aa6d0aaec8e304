//! `bench profile`: where the proxy's CPU time goes under load.
//!
//! Samples by the clock (`cpu-clock`), which works without hardware counters too.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use clap::Args;
use tokio::process::Command;

use crate::leg::Leg;
use crate::load::{Load, Protocol};
use crate::pgbench::Run;
use crate::programs;
use crate::stage::{Setup, Stage};

#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum, default_value = "oskol4")]
    pub leg: Leg,
    #[arg(long, value_enum, default_value = "select")]
    pub load: Load,
    #[arg(long, value_enum, default_value = "extended")]
    pub protocol: Protocol,
    /// Length of the load, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Concurrent clients.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Samples per second of CPU time.
    #[arg(long, default_value_t = 997)]
    pub frequency: u32,
    /// Where perf's recording goes, for `perf report` and flame graphs.
    #[arg(long, default_value = "perf.data")]
    pub out: PathBuf,
}

const SCALE: u32 = 5;
const POOL: usize = 20;

pub async fn run(options: Options) -> anyhow::Result<()> {
    let perf = programs::perf()?;
    let setup = Setup {
        scale: SCALE,
        pool: POOL,
        clients: options.clients + POOL,
    };
    let stage = Stage::start(&[options.leg], &setup).await?;
    let Some(proxy) = stage.proxy(options.leg)? else {
        bail!("the direct leg has no proxy to profile");
    };
    let endpoint = stage.endpoint(options.leg, options.protocol)?;
    let load = Run {
        endpoint: &endpoint,
        load: options.load,
        protocol: options.protocol,
        scale: SCALE,
        clients: options.clients,
        threads: 1,
        seconds: options.seconds,
        directory: stage.directory(),
    };
    let mut recording = Command::new(&perf)
        .args([
            "record",
            "-q",
            "-e",
            "cpu-clock",
            "--call-graph",
            "dwarf,16384",
        ])
        .args(["-F", &options.frequency.to_string()])
        .args(["-p", &proxy.to_string(), "-o"])
        .arg(&options.out)
        .args(["--", "sleep", &options.seconds.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting perf")?;
    let figures = load.execute().await?;
    let status = recording.wait().await?;
    if !status.success() {
        bail!("perf record ended with {status}");
    }
    println!("{:.0} tps while sampled", figures.throughput);
    print_report(&perf, &options).await
}

/// Functions by their own time, then by time with what they call.
async fn print_report(perf: &PathBuf, options: &Options) -> anyhow::Result<()> {
    for children in ["--no-children", "--children"] {
        let output = Command::new(perf)
            .args([
                "report",
                "--stdio",
                "-g",
                "none",
                children,
                "--percent-limit",
                "0.7",
                "-i",
            ])
            .arg(&options.out)
            .stdin(Stdio::null())
            .output()
            .await?;
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
    println!("recorded in {}", options.out.display());
    Ok(())
}
