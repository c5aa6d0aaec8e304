//! The oracle: random statements over the social tables, on the cluster and on one PostgreSQL with the same rows.
//!
//! [`run`] takes a seed and a number of statements and counts what was the same, what was refused, and what was
//! different; each difference is made as small as it can be and told with both answers. The same seed runs the
//! same statements. Knows nothing of how the router plans.

mod compare;
pub(crate) mod dice;
mod generate;
mod pair;
mod report;
mod session;
mod shrink;
mod sql;
mod summary;
mod tables;
mod talk;
pub(crate) mod transaction;
mod tree;
mod types;

use std::path::PathBuf;
use std::time::Duration;

pub use summary::Summary;

use crate::{Cluster, ClusterOptions};
use pair::Pair;
use session::Session;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the first session; the others take the numbers that follow.
    pub seed: u64,
    /// In all sessions together.
    pub statements: usize,
    /// At the same time, each with a database of its own.
    pub sessions: usize,
    /// Rows of the tables: 100 is a few hundred in all.
    pub scale: usize,
    /// Differences are appended here.
    pub failures: PathBuf,
    /// Ends each session early.
    pub time: Option<Duration>,
    /// Tell on standard error how far it is.
    pub progress: bool,
}

/// A cluster with the rules for the social tables.
pub fn cluster() -> Cluster {
    Cluster::start_with(ClusterOptions {
        config: tables::rules(),
        ..ClusterOptions::default()
    })
}

/// Runs all sessions to their end.
pub fn run(cluster: &Cluster, options: &Options) -> Summary {
    let share = options.statements.div_ceil(options.sessions);
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let start = |number: usize| {
            let seed = options.seed + number as u64;
            scope.spawn(move || crate::block_on(one_session(cluster, options, seed, share)))
        };
        let sessions: Vec<_> = (0..options.sessions).map(start).collect();
        for session in sessions {
            let counted = session.join();
            summary.add(&counted.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    summary
}

/// Runs the texts given, one after the other, and tells what both say.
pub fn show(cluster: &Cluster, options: &Options, statements: &[String]) -> String {
    crate::block_on(async {
        let mut pair = Pair::create(cluster, options.seed, locale(options.seed)).await;
        pair.fill(options.seed, options.scale).await;
        let mut told = String::new();
        for statement in statements {
            told += &report::shown(&mut pair, statement).await;
        }
        told
    })
}

/// Text in the order of a language, and in the order of code points.
fn locale(seed: u64) -> &'static str {
    match seed % 2 {
        0 => "",
        _ => "template template0 locale_provider icu icu_locale 'en-US'",
    }
}

async fn one_session(
    cluster: &Cluster,
    options: &Options,
    seed: u64,
    statements: usize,
) -> Summary {
    let pair = Pair::create(cluster, seed, locale(seed)).await;
    let mut session = Session::new(options, seed, pair);
    session.run(statements).await;
    session.summary
}
