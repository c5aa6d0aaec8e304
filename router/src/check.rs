//! `oskol check`: what is wrong with a configuration or with a shard's settings, line by line.
//!
//! Takes a configuration file; gives [`Finding`]s, each one line that says `ok`, `warn` or `wrong` and
//! what to set. The start-up check uses [`shard_findings`] and [`compare`] as well. Changes nothing.

mod compare;
mod facts;
mod judge;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use tokio_postgres::Client;

use crate::config::{Config, ShardConfig};
use crate::dial::{Dialer, address};
use crate::management::{self, reason};

pub use compare::compare;
pub use facts::ShardFacts;
pub use judge::judge;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    /// Works, but not well or not safely.
    Warn,
    /// Oskol cannot serve, or could give a wrong answer.
    Wrong,
}

/// One line of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// `configuration`, `shard 0`, `shards`.
    pub place: String,
    pub text: String,
    /// What to do; empty when it is well.
    pub remedy: String,
}

impl Finding {
    pub fn ok(place: &str, text: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, place, text, "")
    }

    pub fn warn(place: &str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, place, text, remedy)
    }

    pub fn wrong(place: &str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Wrong, place, text, remedy)
    }

    fn new(
        verdict: Verdict,
        place: &str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            verdict,
            place: place.to_owned(),
            text: text.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok   ",
            Verdict::Warn => "warn ",
            Verdict::Wrong => "wrong",
        };
        write!(f, "{verdict}  {}: {}", self.place, self.text)?;
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.remedy)
        }
    }
}

/// Where findings about one shard belong: `shard 2`.
pub fn place(shard: &ShardConfig) -> String {
    format!("shard {}", shard.id)
}

/// Checks the configuration at `path` and, if it can be used, every shard; writes one line a finding
/// as soon as it is known. True: nothing is wrong.
pub async fn run(path: Option<&Path>, out: &mut impl Write) -> io::Result<bool> {
    let config = Config::load(path).and_then(|config| config.require_shards().map(|()| config));
    match config {
        Ok(config) => run_shards(&config, out).await,
        Err(error) => {
            for problem in &error.problems {
                writeln!(
                    out,
                    "{}",
                    Finding::wrong("configuration", problem.to_string(), "")
                )?;
            }
            Ok(false)
        }
    }
}

async fn run_shards(config: &Config, out: &mut impl Write) -> io::Result<bool> {
    let mut report = Report {
        out,
        worst: Verdict::Ok,
    };
    report.all(configuration(config))?;
    let dialer = match Dialer::new(&config.cluster) {
        Ok(dialer) => dialer,
        Err(error) => {
            let remedy = "mend cluster.tls_mode or cluster.tls_root_certificate";
            report.all([Finding::wrong("configuration", error.to_string(), remedy)])?;
            return Ok(false);
        }
    };
    let mut facts = Vec::new();
    for shard in config.cluster.shards.all().iter() {
        match shard_facts(&dialer, config, shard).await {
            Ok(found) => {
                report.all(judge(&found, config, shard))?;
                facts.push(found);
            }
            Err(finding) => report.all([finding])?,
        }
    }
    report.all(compare(&facts))?;
    Ok(report.worst < Verdict::Wrong)
}

struct Report<'a, W> {
    out: &'a mut W,
    worst: Verdict,
}

impl<W: Write> Report<'_, W> {
    fn all(&mut self, findings: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        for finding in findings {
            self.worst = self.worst.max(finding.verdict);
            writeln!(self.out, "{finding}")?;
        }
        self.out.flush()
    }
}

/// What the values alone tell, once they can be used.
fn configuration(config: &Config) -> Vec<Finding> {
    let place = "configuration";
    let shards = config.cluster.shards.all().len();
    let mut findings = vec![Finding::ok(
        place,
        format!(
            "cluster {:?}, {shards} shards, home shard {}",
            config.cluster.name, config.cluster.home
        ),
    )];
    let public = config
        .listen
        .addresses
        .iter()
        .any(|address| !address.ip().is_loopback());
    if public && config.client_auth == crate::config::ClientAuth::Trust {
        let remedy = "set auth.method = \"scram-sha-256\", or listen on 127.0.0.1 only";
        let text = "auth.method is trust on an address that other machines reach";
        findings.push(Finding::warn(place, text, remedy));
    }
    if config
        .admin
        .address
        .is_some_and(|address| !address.ip().is_loopback())
    {
        let text = "admin.address is reached by other machines, and asks for no password";
        findings.push(Finding::warn(
            place,
            text,
            "keep it on a network of your own",
        ));
    }
    findings
}

async fn shard_facts(
    dialer: &Dialer,
    config: &Config,
    shard: &ShardConfig,
) -> Result<ShardFacts, Finding> {
    let place = place(shard);
    let client = management::connect(dialer, &config.cluster, shard, management::DATABASE)
        .await
        .map_err(|error| {
            let remedy =
                "mend host, port, user and password in [cluster], or the server's pg_hba.conf";
            Finding::wrong(&place, error.to_string(), remedy)
        })?;
    ShardFacts::read(&client, shard.id).await.map_err(|error| {
        let text = format!("{}: {}", address(shard), reason(&error));
        Finding::wrong(&place, text, "let the role of [cluster] be a superuser")
    })
}

/// Reads one shard's settings over `client`, logged in as the cluster's role, and judges them.
pub async fn shard_findings(
    client: &Client,
    config: &Config,
    shard: &ShardConfig,
) -> Result<(ShardFacts, Vec<Finding>), tokio_postgres::Error> {
    let facts = ShardFacts::read(client, shard.id).await?;
    let findings = judge(&facts, config, shard);
    Ok((facts, findings))
}

#[cfg(test)]
mod tests;
