//! Prometheus' text exposition format, version 0.0.4. A figure that is not known has no line.

use std::fmt::{Display, Write};

use super::board::{JoinState, View};
use crate::status::{Disk, Replication, Slot, Standby, Status};

pub fn render(view: &View) -> String {
    let mut page = Page::default();
    let status = view.status().ok();
    page.gauge(
        "up",
        "1 while the server answers.",
        u8::from(status.is_some()),
    );
    let joined = matches!(view.join, JoinState::Joined(_));
    page.gauge(
        "joined",
        "1 once the server belongs to the cluster.",
        u8::from(joined),
    );
    page.single(
        ("restarts_total", "counter", "Starts after the server died."),
        view.restarts,
    );
    if let Some(disk) = view.look.as_ref().and_then(|look| look.disk) {
        disk_figures(&mut page, disk);
    }
    if let Some(status) = status {
        figures(&mut page, status);
    }
    page.text
}

fn disk_figures(page: &mut Page, disk: Disk) {
    page.gauge(
        "disk_free_bytes",
        "Free space of the data directory's file system.",
        disk.free_bytes,
    );
    page.gauge("disk_bytes", "Size of that file system.", disk.total_bytes);
}

fn figures(page: &mut Page, status: &Status) {
    page.gauge(
        "primary",
        "1 of a primary, 0 of a standby.",
        u8::from(status.is_primary()),
    );
    page.gauge("timeline", "Grows at each promotion.", status.timeline);
    page.gauge(
        "connections",
        "Connections of clients.",
        status.connections.used,
    );
    page.gauge("max_connections", "Their limit.", status.connections.max);
    page.gauge(
        "prepared_transactions",
        "Prepared transactions.",
        status.prepared.count,
    );
    page.gauge(
        "prepared_transaction_oldest_seconds",
        "Age of the oldest; minutes mean a transaction in doubt.",
        status.prepared.oldest_seconds,
    );
    if let Some(replication) = &status.replication {
        replication_figures(page, replication);
    }
    standbys(page, &status.standbys);
    slots(page, &status.slots);
}

fn replication_figures(page: &mut Page, replication: &Replication) {
    page.gauge(
        "standby_streaming",
        "1 while this standby receives from its primary.",
        u8::from(replication.streaming),
    );
    page.gauge(
        "standby_replay_lag_bytes",
        "Received by this standby and not yet replayed.",
        replication.replay_lag_bytes,
    );
    if let Some(seconds) = replication.replay_lag_seconds {
        page.gauge(
            "standby_replay_lag_seconds",
            "How old what this standby shows may be.",
            seconds,
        );
    }
}

fn standbys(page: &mut Page, standbys: &[Standby]) {
    let lags = standbys.iter().filter_map(|standby| {
        let labels = format!(
            "standby=\"{}\",sync_state=\"{}\"",
            escape(&standby.name),
            escape(&standby.sync_state)
        );
        Some((labels, standby.lag_bytes?))
    });
    let help = "Written here and not yet replayed by each connected standby.";
    page.family(("replication_lag_bytes", "gauge", help), lags);
}

fn slots(page: &mut Page, slots: &[Slot]) {
    let labels = |slot: &Slot| format!("slot=\"{}\",kind=\"{}\"", escape(&slot.name), slot.kind);
    let active = slots
        .iter()
        .map(|slot| (labels(slot), i64::from(slot.active)));
    page.family(("slot_active", "gauge", "1 while a slot is used."), active);
    let kept = slots
        .iter()
        .filter_map(|slot| Some((labels(slot), slot.retained_bytes?)));
    page.family(
        (
            "slot_retained_bytes",
            "gauge",
            "WAL kept for a replication slot.",
        ),
        kept,
    );
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.single((name, "gauge", help), value);
    }

    /// Writing to a `String` cannot fail.
    fn single(&mut self, (name, kind, help): (&str, &str, &str), value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.text, "oskol_shard_{name} {value}");
    }

    fn family(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        values: impl Iterator<Item = (String, i64)>,
    ) {
        self.head(name, kind, help);
        for (labels, value) in values {
            let _ = writeln!(self.text, "oskol_shard_{name}{{{labels}}} {value}");
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP oskol_shard_{name} {help}");
        let _ = writeln!(self.text, "# TYPE oskol_shard_{name} {kind}");
    }
}

/// Label values: backslash, quote and line feed are escaped.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
