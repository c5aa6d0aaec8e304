//! The dashboard and the alert rules ask for what a router and a shard's agent tell: every metric and every label is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;

use shard_node::agent::{Agent, Membership};
use shard_node::{InitOptions, Stop, free_port};
use tests::{Cluster, ClusterOptions, eventually};

/// Given by Prometheus to every series.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "alertname"];

/// Labels by metric.
type Exported = BTreeMap<String, BTreeSet<String>>;

fn page(port: u16) -> String {
    let mut text = String::new();
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut text)
    });
    asked.map_or_else(|_| String::new(), |_| text)
}

/// The names before `="`.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    let (begin, _) = text.rsplit_once("=\"").unwrap_or_default();
    let before = begin.split("=\"").map(last_word);
    before.filter(|name| !name.is_empty())
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn last_word(text: &str) -> &str {
    let begin = text.rfind(|letter| !is_of_word(letter));
    &text[begin.map_or(0, |at| at + 1)..]
}

/// Samples only: a metric that has none on a cluster that has everything is not exported.
fn read(page: &str, exported: &mut Exported) {
    for line in page.lines().filter(|line| line.starts_with("oskol_")) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, set) = series.split_once('{').unwrap_or((series, ""));
        let known = exported.entry(name.to_owned()).or_default();
        known.extend(labels(set).map(str::to_owned));
    }
}

/// An expression of the dashboard or of an alert, and the labels that its text shows.
#[derive(Debug)]
struct Query {
    expression: String,
    shown: Vec<String>,
}

/// The names in `{{...}}` of a dashboard and `{{ $labels... }}` of an alert.
fn shown(text: &str) -> Vec<String> {
    let inside = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next());
    let names = inside.map(|name| name.trim().trim_start_matches("$labels."));
    names
        .filter(|name| !name.starts_with("$value"))
        .map(str::to_owned)
        .collect()
}

fn file(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docker")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn of_dashboard() -> Vec<Query> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("grafana/dashboards/oskol.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let query = |target: &serde_json::Value| Query {
        expression: target["expr"].as_str().expect("a query").to_owned(),
        shown: shown(target["legendFormat"].as_str().expect("a legend")),
    };
    targets.map(query).collect()
}

fn of_alerts() -> Vec<Query> {
    let text = file("prometheus/alerts.yml");
    let alerts = text.split("- alert: ").skip(1);
    let query = |alert: &str| {
        let expression = alert
            .lines()
            .find_map(|line| line.trim().strip_prefix("expr: "));
        Query {
            expression: expression
                .unwrap_or_else(|| panic!("no expr: in one line: {alert}"))
                .to_owned(),
            shown: shown(alert),
        }
    };
    alerts.map(query).collect()
}

impl Query {
    fn metrics(&self) -> Vec<&str> {
        let words = self.expression.split(|letter| !is_of_word(letter));
        words.filter(|word| word.starts_with("oskol_")).collect()
    }

    /// Of `sum by (...)`; None: nothing is grouped.
    fn groups(&self) -> Option<Vec<&str>> {
        let (_, rest) = self.expression.split_once(" by (")?;
        let list = rest.split(')').next().unwrap_or_default();
        Some(list.split(',').map(str::trim).collect())
    }

    /// What it asks for and does not get.
    fn missing(&self, exported: &Exported) -> Vec<String> {
        let mut missing = Vec::new();
        let selected: Vec<&str> = labels(&self.expression).collect();
        let groups = self.groups();
        for metric in self.metrics() {
            let Some(known) = exported.get(metric) else {
                missing.push(format!("no metric {metric}: {}", self.expression));
                continue;
            };
            let shown = self.shown.iter().map(String::as_str);
            for label in shown
                .chain(groups.iter().flatten().copied())
                .chain(selected.iter().copied())
            {
                if !known.contains(label) && !OF_PROMETHEUS.contains(&label) {
                    missing.push(format!(
                        "{metric} has no label {label}: {}",
                        self.expression
                    ));
                }
            }
        }
        // What is not grouped by is gone.
        let is_lost = |label: &&String| {
            groups
                .as_ref()
                .is_some_and(|groups| !groups.contains(&label.as_str()))
        };
        let lost = self.shown.iter().filter(is_lost);
        missing.extend(lost.map(|label| format!("{label} is grouped away: {}", self.expression)));
        missing
    }
}

/// Two shards, one with a standby, and rows written on both; shard 1 is looked after by an agent, and has a slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_and_alerts_ask_for_what_is_exported() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        standby_of: Some(1),
        ..ClusterOptions::default()
    });
    cluster.stop_shard(1, Stop::Fast);
    let port = free_port().expect("a port");
    let node = cluster.shard_node(1).clone();
    let agent = Agent {
        membership: Membership {
            path: node.data_directory.with_extension("json"),
        },
        node,
        init: InitOptions {
            verifier: None,
            arguments: Vec::new(),
        },
        allow: vec!["127.0.0.1/32".to_owned()],
        health_address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        cluster: None,
    };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        // Its sender is kept to the end of the test.
        let _ = stopped.await;
    };
    let agent = tokio::spawn(agent.run(stopped, || {
        let _ = ready.send(());
    }));
    is_ready.await.expect("the agent runs");
    let slot = "select pg_create_physical_replication_slot('kept', true)";
    cluster
        .shard(1)
        .await
        .execute(slot, &[])
        .await
        .expect("a slot");
    let client = cluster.client().await;
    let work = "create table posts (author bigint, id bigint); select oskol.shard_table('posts', 'author');
        insert into posts select n, n from generate_series(1, 40) n; select count(*) from posts";
    client.batch_execute(work).await.expect("posts");

    let queries: Vec<Query> = of_dashboard().into_iter().chain(of_alerts()).collect();
    assert!(queries.len() > 30, "{queries:?}");
    // A standby connects again in its own time, and both are looked at every other second.
    let missing = || {
        let mut exported = Exported::new();
        read(&page(cluster.admin_port()), &mut exported);
        read(&page(port), &mut exported);
        queries
            .iter()
            .flat_map(|query| query.missing(&exported))
            .collect::<Vec<_>>()
    };
    eventually(
        &format!("all is exported; missing at first: {:#?}", missing()),
        async || missing().is_empty(),
    )
    .await;
    drop(stop);
    agent.await.expect("no panic").expect("the agent ends");
}
