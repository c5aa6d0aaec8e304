//! By which plans the router answers a page's queries: its own counters, before and after.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use hyper::Method;

use super::Side;
use super::browser::Browser;
use crate::oskol::Oskol;

/// A page, and what it asks the database.
pub struct Page {
    pub name: &'static str,
    /// "3 single_shard, 1 keys".
    pub plans: String,
}

/// Requests of each kind; the application's own jobs ask in between, so the counts are means.
const TIMES: usize = 40;
/// What no hot page may do.
const OVER_ALL: [&str; 2] = ["scatter", "gather"];

pub async fn of_pages(oskol: &Oskol, side: &Side) -> anyhow::Result<Vec<Page>> {
    let mut browser = Browser::open(&side.app, side.port, 1).await?;
    // Statements are prepared, and caches warm.
    for _ in 0..5 {
        browser.page("/").await?;
    }
    let quiet = counts(oskol).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let idle = difference(&counts(oskol).await?, &quiet);
    let mut pages = Vec::new();
    for (name, path) in [
        ("home page", "/"),
        ("a profile", "/@user_7"),
        ("notifications", "/notifications"),
    ] {
        let before = counts(oskol).await?;
        let start = std::time::Instant::now();
        for _ in 0..TIMES {
            browser.page(path).await?;
        }
        let own = start.elapsed().as_secs_f64() / 2.0;
        let asked = difference(&counts(oskol).await?, &before);
        let each = |plan: &str| {
            let between = idle.get(plan).map_or(0.0, |count| *count as f64 * own);
            let count = asked.get(plan).map_or(0.0, |count| *count as f64);
            ((count - between) / TIMES as f64).max(0.0)
        };
        for plan in OVER_ALL {
            ensure!(each(plan) < 0.5, "{name} asks all shards: {asked:?}");
        }
        let plans = asked
            .keys()
            .filter(|plan| each(plan) >= 0.05)
            .map(|plan| format!("{:.1} {plan}", each(plan)));
        pages.push(Page {
            name,
            plans: plans.collect::<Vec<_>>().join(", "),
        });
    }
    browser
        .call(Method::GET, "/me", "")
        .await
        .context("the interface for programs")?;
    Ok(pages)
}

type Counts = BTreeMap<String, u64>;

/// `oskol_queries_total` by plan.
async fn counts(oskol: &Oskol) -> anyhow::Result<Counts> {
    let page = oskol.metrics().await?;
    let mut counts = Counts::new();
    for line in page
        .lines()
        .filter(|line| line.starts_with("oskol_queries_total{"))
    {
        let plan = line
            .split("plan=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let count = line
            .rsplit(' ')
            .next()
            .and_then(|count| count.parse::<u64>().ok());
        if let (Some(plan), Some(count)) = (plan, count) {
            *counts.entry(plan.to_owned()).or_default() += count;
        }
    }
    Ok(counts)
}

fn difference(after: &Counts, before: &Counts) -> Counts {
    let since = |(plan, count): (&String, &u64)| {
        (plan.clone(), count - before.get(plan).copied().unwrap_or(0))
    };
    after.iter().map(since).collect()
}
