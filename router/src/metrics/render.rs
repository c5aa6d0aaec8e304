//! Prometheus' text exposition format, version 0.0.4.

mod page;

use std::sync::Arc;

use super::{CommitKind, Metrics, PlanKind, Total, process};
use crate::standbys::{Seen, Standby};
use page::{Page, escape};

pub fn render(metrics: &Metrics, hosts: &[Arc<Standby>]) -> String {
    let total = metrics.total();
    let mut page = Page::default();
    process_figures(&mut page, metrics);
    workers(&mut page, &total);
    queries(&mut page, &total);
    commits(&mut page, &total);
    databases(&mut page, &total);
    shards(&mut page, &total);
    control(&mut page, metrics);
    standbys(&mut page, hosts);
    page.text
}

fn process_figures(page: &mut Page, metrics: &Metrics) {
    let uptime = metrics.started.elapsed().as_secs_f64();
    page.single(
        "uptime_seconds",
        "gauge",
        "Time since the router started.",
        uptime,
    );
    if let Some((resident, processor)) = process::read() {
        page.single(
            "resident_memory_bytes",
            "gauge",
            "Memory of the process in RAM.",
            resident,
        );
        page.single(
            "cpu_seconds_total",
            "counter",
            "CPU time of the process, user and system.",
            processor,
        );
    }
}

fn workers(page: &mut Page, total: &Total) {
    let sum = &total.workers;
    page.single("workers", "gauge", "Worker threads.", sum.count);
    page.single("clients", "gauge", "Clients connected.", sum.clients);
    page.single(
        "clients_accepted_total",
        "counter",
        "Clients accepted.",
        sum.clients_accepted,
    );
    let help = "Connections that ended before they were logged in.";
    page.single("logins_failed_total", "counter", help, sum.logins_failed);
    page.single(
        "cancel_requests_total",
        "counter",
        "Cancel requests received.",
        sum.cancel_requests,
    );
    page.single(
        "plan_cache_hits_total",
        "counter",
        "Statements whose plan was cached.",
        sum.plan_cache_hits,
    );
    page.single(
        "plan_cache_misses_total",
        "counter",
        "Statements that were planned.",
        sum.plan_cache_misses,
    );
    page.single("plans", "gauge", "Plans in the workers' caches.", sum.plans);
    let help = "Server connections handed over between workers.";
    page.single("handovers_total", "counter", help, sum.handovers);
}

fn queries(page: &mut Page, total: &Total) {
    page.head(
        "queries_total",
        "counter",
        "Statements that ended, by database and by plan.",
    );
    for (name, database) in &total.databases {
        let database_name = escape(name);
        for (kind, count) in PlanKind::ALL.iter().zip(&database.queries) {
            let plan = kind.name();
            page.line(format_args!(
                "oskol_queries_total{{database=\"{database_name}\",plan=\"{plan}\"}} {count}"
            ));
        }
    }
    let help = "From a statement's arrival to the end of its reply.";
    page.head("query_duration_seconds", "histogram", help);
    for (name, database) in &total.databases {
        page.histogram(
            "query_duration_seconds",
            "database",
            &escape(name),
            &database.query_time,
        );
    }
}

fn commits(page: &mut Page, total: &Total) {
    let help =
        "From COMMIT to its answer, of transactions that have written, by the kind of commit.";
    page.head("commit_duration_seconds", "histogram", help);
    for (name, database) in &total.databases {
        for (kind, time) in CommitKind::ALL.iter().zip(&database.commit_time) {
            let key = format!("{}\",kind=\"{}", escape(name), kind.name());
            page.histogram("commit_duration_seconds", "database", &key, time);
        }
    }
}

fn databases(page: &mut Page, total: &Total) {
    type Figure = (&'static str, &'static str, fn(&super::DatabaseTotal) -> u64);
    let figures: [Figure; 8] = [
        (
            "transactions_total",
            "Transactions that ended, implicit ones included.",
            |d| d.transactions,
        ),
        (
            "two_phase_commits_total",
            "Transactions committed on several shards.",
            |d| d.two_phase_commits,
        ),
        (
            "gate_waits_total",
            "Commits that waited for snapshots over several shards.",
            |d| d.gate_waits,
        ),
        (
            "client_received_bytes_total",
            "Bytes received from clients.",
            |d| d.bytes_received,
        ),
        ("client_sent_bytes_total", "Bytes sent to clients.", |d| {
            d.bytes_sent
        }),
        ("shard_errors_total", "Errors that a shard reported.", |d| {
            d.shard_errors
        }),
        (
            "router_errors_total",
            "Errors that the router reported.",
            |d| d.router_errors,
        ),
        (
            "slow_statements_total",
            "Statements above log.slow_statement.",
            |d| d.slow_statements,
        ),
    ];
    for (name, help, value) in figures {
        let values = total
            .databases
            .iter()
            .map(|(name, database)| (escape(name), value(database)));
        page.family((name, "counter", help), "database", values);
    }
    let help = "Opening the snapshots of a transaction on all shards.";
    page.head("snapshot_duration_seconds", "histogram", help);
    for (name, database) in &total.databases {
        page.histogram(
            "snapshot_duration_seconds",
            "database",
            &escape(name),
            &database.snapshots,
        );
    }
}

fn shards(page: &mut Page, total: &Total) {
    type Figure = (
        &'static str,
        &'static str,
        &'static str,
        fn(&super::ShardTotal) -> u64,
    );
    let figures: [Figure; 9] = [
        (
            "shard_statements_total",
            "counter",
            "Statements sent to the shard.",
            |s| s.statements,
        ),
        (
            "server_connections_opened_total",
            "counter",
            "Connections opened.",
            |s| s.connections_opened,
        ),
        (
            "server_connections_closed_total",
            "counter",
            "Connections closed.",
            |s| s.connections_closed,
        ),
        (
            "server_connections_failed_total",
            "counter",
            "Failed connects.",
            |s| s.connections_failed,
        ),
        (
            "server_connections_active",
            "gauge",
            "Connections leased.",
            |s| s.active,
        ),
        (
            "server_connections_idle",
            "gauge",
            "Connections waiting for work.",
            |s| s.idle,
        ),
        (
            "clients_waiting",
            "gauge",
            "Clients waiting for a server connection.",
            |s| s.waiting,
        ),
        (
            "server_waits_total",
            "counter",
            "Leases that had to wait.",
            |s| s.waits,
        ),
        (
            "checkouts_refused_total",
            "counter",
            "Waits ended by a limit.",
            |s| s.checkouts_refused,
        ),
    ];
    for (name, kind, help, value) in figures {
        let values = total
            .shards
            .iter()
            .map(|(id, shard)| (id.to_string(), value(shard)));
        page.family((name, kind, help), "shard", values);
    }
    page.head(
        "server_wait_seconds",
        "histogram",
        "Waits for a server connection.",
    );
    for (id, shard) in &total.shards {
        page.histogram(
            "server_wait_seconds",
            "shard",
            &id.to_string(),
            &shard.wait_time,
        );
    }
}

fn control(page: &mut Page, metrics: &Metrics) {
    let control = &metrics.control;
    let counters = [
        (
            "recovered_commits_total",
            "In-doubt transactions committed.",
            &control.recovered_commits,
        ),
        (
            "recovered_aborts_total",
            "In-doubt transactions rolled back.",
            &control.recovered_aborts,
        ),
        (
            "deadlocks_broken_total",
            "Deadlocks across shards broken.",
            &control.deadlocks_broken,
        ),
        (
            "catalog_loads_total",
            "Times the catalog was read.",
            &control.catalog_loads,
        ),
    ];
    for (name, help, counter) in counters {
        page.single(name, "counter", help, counter.get());
    }
    let help = "Transactions in doubt at the last look.";
    page.single(
        "transactions_in_doubt",
        "gauge",
        help,
        control.in_doubt.get(),
    );
    page.single(
        "transaction_in_doubt_oldest_seconds",
        "gauge",
        "Age of the oldest transaction in doubt at the last look.",
        control.in_doubt_oldest_seconds.get(),
    );
    page.single(
        "shards_kept_out",
        "gauge",
        "Shards that lack changes of the schema or moves of buckets.",
        control.kept_out.get(),
    );
    page.single(
        "shard_map_epoch",
        "gauge",
        "Epoch of the shard map.",
        control.map_epoch.get(),
    );
}

/// Hosts of shards that have several. No lag is told of one whose lag is not known.
fn standbys(page: &mut Page, hosts: &[Arc<Standby>]) {
    type Value = fn(&Seen) -> Option<f64>;
    let figures: [(&str, &str, &str, Value); 4] = [
        (
            "standby_up",
            "gauge",
            "1: it answers as a standby.",
            |seen| (!seen.is_primary).then(|| f64::from(u8::from(seen.fault.is_none()))),
        ),
        (
            "standby_lag_seconds",
            "gauge",
            "Age of what it shows; it grows while the standby cannot be measured.",
            |seen| seen.lag.map(|lag| lag.as_secs_f64()),
        ),
        (
            "standby_lag_bytes",
            "gauge",
            "WAL that it has not replayed.",
            |seen| {
                seen.bytes
                    .filter(|_| !seen.is_primary)
                    .map(|bytes| bytes as f64)
            },
        ),
        (
            "standby_reads_total",
            "counter",
            "Statements and transactions that were sent to it to read.",
            |seen| Some(seen.reads as f64),
        ),
    ];
    let seen: Vec<_> = hosts
        .iter()
        .map(|standby| (&standby.host, standby.seen()))
        .collect();
    for (name, kind, help, value) in figures {
        page.head(name, kind, help);
        for (host, seen) in &seen {
            if let Some(value) = value(seen) {
                let (shard, name_of_host) = (host.id, escape(&host.host));
                let port = host.port;
                page.line(format_args!(
                    "oskol_{name}{{shard=\"{shard}\",host=\"{name_of_host}:{port}\"}} {value}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use topology::ShardId;

    use super::*;

    fn page() -> String {
        let metrics = Metrics::default();
        let (one, two) = (metrics.add_worker(), metrics.add_worker());
        one.clients.add(3);
        two.clients.add(4);
        one.database("a\"b")
            .query(PlanKind::SingleShard, Duration::from_micros(20));
        two.database("a\"b")
            .query(PlanKind::SingleShard, Duration::from_micros(20));
        two.shard(ShardId(2)).waited(Duration::from_millis(1));
        metrics.render(&[])
    }

    #[test]
    fn workers_are_added_up() {
        let page = page();
        assert!(page.contains("\noskol_clients 7\n"));
        assert!(
            page.contains("oskol_queries_total{database=\"a\\\"b\",plan=\"single_shard\"} 2\n")
        );
        assert!(page.contains("oskol_query_duration_seconds_count{database=\"a\\\"b\"} 2\n"));
        assert!(page.contains("oskol_server_waits_total{shard=\"2\"} 1\n"));
    }

    #[test]
    fn every_sample_follows_its_help_and_type() {
        let mut family = String::new();
        for line in page().lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} after {family}");
                assert!(
                    line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(),
                    "{line}"
                );
            }
        }
    }
}
