//! Runs pgbench: filling a leg with its tables, and one measured run with every latency logged.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::endpoint::{Endpoint, USER};
use crate::load::{Load, Protocol};
use crate::programs;
use crate::statistics::percentile;

/// One run's figures.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub transactions: u64,
    /// Transactions per second, without the time to connect.
    pub throughput: f64,
    /// Microseconds.
    pub p50: u64,
    /// Microseconds.
    pub p99: u64,
}

/// What a run asks for.
pub struct Run<'a> {
    pub endpoint: &'a Endpoint,
    pub load: Load,
    pub protocol: Protocol,
    pub scale: u32,
    pub clients: usize,
    /// Threads of pgbench.
    pub threads: usize,
    pub seconds: u64,
    /// For the script and the log of latencies.
    pub directory: &'a Path,
}

/// Makes and fills pgbench's tables.
pub async fn initialise(endpoint: &Endpoint, scale: u32) -> anyhow::Result<()> {
    let scale = scale.to_string();
    let mut command = command(endpoint)?;
    command.args([
        "--initialize",
        "--quiet",
        "--scale",
        &scale,
        &endpoint.database,
    ]);
    output_of(command).await.map(drop)
}

impl Run<'_> {
    pub async fn execute(&self) -> anyhow::Result<Figures> {
        let script = self.directory.join(format!("{}.sql", self.load.name()));
        std::fs::write(&script, self.load.script(self.scale))?;
        let logs = tempfile::tempdir_in(self.directory)?;
        let output = output_of(self.command(&script, logs.path())?).await?;
        let transactions = number_after(&output, "number of transactions actually processed: ")?;
        let failed = number_after(&output, "number of failed transactions: ")?;
        if failed > 0.0 || transactions < 1.0 {
            bail!("{failed} of {transactions} transactions failed:\n{output}");
        }
        let latencies = read_latencies(logs.path())?;
        Ok(Figures {
            transactions: transactions as u64,
            throughput: number_after(&output, "tps = ")?,
            p50: percentile(&latencies, 50.0),
            p99: percentile(&latencies, 99.0),
        })
    }

    fn command(&self, script: &Path, logs: &Path) -> anyhow::Result<Command> {
        let mut command = command(self.endpoint)?;
        command
            .arg("--no-vacuum")
            .args(["--protocol", self.protocol.name()])
            .args(["--client", &self.clients.to_string()])
            .args(["--jobs", &self.threads.to_string()])
            .args(["--time", &self.seconds.to_string()])
            .arg("--file")
            .arg(script)
            .arg("--log")
            .arg("--log-prefix")
            .arg(logs.join("latency"))
            .arg(&self.endpoint.database);
        Ok(command)
    }
}

fn command(endpoint: &Endpoint) -> anyhow::Result<Command> {
    let mut command = Command::new(programs::pgbench()?);
    command
        .args(["--host", "127.0.0.1", "--username", USER])
        .args(["--port", &endpoint.port.to_string()])
        .env("PGSSLMODE", "disable")
        .env("PGGSSENCMODE", "disable")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// pgbench goes on when one client is thrown out and says so only on stderr and in its exit code.
async fn output_of(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().await.context("running pgbench")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || errors.contains("error:") {
        bail!(
            "pgbench ended with {}:\n{}",
            output.status,
            errors.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number that follows `label` in pgbench's report.
fn number_after(report: &str, label: &str) -> anyhow::Result<f64> {
    let rest = report
        .split_once(label)
        .with_context(|| format!("pgbench did not report `{label}`:\n{report}"))?
        .1;
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .with_context(|| format!("not a number after `{label}`"))
}

/// Microseconds, ascending. One log file per thread; PostgreSQL manual, pgbench, "Per-Transaction Logging".
fn read_latencies(directory: &Path) -> anyhow::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    let files: Vec<PathBuf> = std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        latencies.extend(text.lines().filter_map(latency_of));
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// `client_id transaction_no time script_no time_epoch time_us`
fn latency_of(line: &str) -> Option<u64> {
    line.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_report() {
        let report = "number of transactions actually processed: 48213\n\
                      number of failed transactions: 0 (0.000%)\n\
                      tps = 16071.123456 (without initial connection time)\n";
        assert_eq!(number_after(report, "processed: ").unwrap(), 48213.0);
        assert_eq!(number_after(report, "failed transactions: ").unwrap(), 0.0);
        assert_eq!(number_after(report, "tps = ").unwrap(), 16071.123456);
        assert!(number_after(report, "latency = ").is_err());
    }

    #[test]
    fn the_latency_is_the_third_field() {
        assert_eq!(latency_of("0 199 2241 0 1175850568 995598"), Some(2241));
        assert_eq!(latency_of(""), None);
    }
}
