//! What the client whose statement ends a deadlock is told of it. Statements of other users are shown only to those who
//! may see them in `pg_stat_activity`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::super::CLUSTER_DATABASE;
use super::super::connections::Connections;
use super::super::error::ControlError;
use super::super::locks::{Blocker, Wait};

/// Waits that are told; a longer circle is cut.
const TOLD: usize = 8;
/// Bytes of a statement.
const STATEMENT: usize = 1_000;

/// As PostgreSQL's own view decides.
const VISIBLE: &str =
    "SELECT o.name FROM unnest($2::text[]) AS o (name) JOIN pg_roles r ON r.rolname = o.name
    WHERE pg_has_role($1, 'pg_read_all_stats', 'USAGE') OR pg_has_role($1, r.oid, 'USAGE')";

/// The DETAIL for the user of the first wait.
pub(super) async fn detail(connections: &Arc<Connections>, waits: &[&Wait]) -> String {
    let Some(own) = waits.first() else {
        return String::new();
    };
    let mut visible = visible_users(connections, own, waits)
        .await
        .unwrap_or_else(|error| {
            tracing::debug!(%error, "statements of other users are not shown");
            HashSet::new()
        });
    visible.insert(own.user.clone());
    write(waits, &visible)
}

async fn visible_users(
    connections: &Arc<Connections>,
    own: &Wait,
    waits: &[&Wait],
) -> Result<HashSet<String>, ControlError> {
    let others: Vec<&str> = waits.iter().map(|wait| wait.user.as_str()).collect();
    if others.iter().all(|user| *user == own.user) {
        return Ok(HashSet::new());
    }
    let connection = connections.get(own.shard, CLUSTER_DATABASE).await?;
    let rows = connection.query(VISIBLE, &[&own.user, &others]).await;
    let rows = rows.map_err(connection.failed())?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn write(waits: &[&Wait], visible: &HashSet<String>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for wait in waits.iter().take(TOLD) {
        let blocker = match &wait.blocker {
            Blocker::Backend(process) => format!("process {process}"),
            Blocker::Prepared(gid) => format!("prepared transaction {gid}"),
        };
        let Wait {
            shard,
            waiter,
            lock,
            ..
        } = wait;
        let _ = writeln!(
            text,
            "Process {waiter} of shard {shard} waits for {lock}; blocked by {blocker}."
        );
    }
    for wait in waits.iter().take(TOLD) {
        let (shard, waiter) = (wait.shard, wait.waiter);
        let statement = if visible.contains(&wait.user) {
            cut(wait.statement.trim())
        } else {
            "<insufficient privilege>"
        };
        let _ = writeln!(text, "Process {waiter} of shard {shard}: {statement}");
    }
    if waits.len() > TOLD {
        let _ = writeln!(text, "{} more wait in the circle.", waits.len() - TOLD);
    }
    text.truncate(text.trim_end().len());
    text
}

fn cut(text: &str) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=STATEMENT.min(text.len())).rev().find(fits);
    &text[..end.unwrap_or_default()]
}
