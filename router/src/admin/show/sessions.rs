//! SHOW CLIENTS, TRANSACTIONS.

use super::{Rows, list, seconds};
use crate::admin::board::{InDoubt, Unknown};
use crate::admin::table::{Column, boolean, number, row, text};
use crate::worker::{ClientReport, Peer, TransactionReport, WorkerReport};

pub const CLIENTS: &[Column] = &[
    text("type"),
    number("id"),
    text("user"),
    text("database"),
    text("application_name"),
    text("state"),
    text("addr"),
    number("port"),
    number("connected_seconds"),
    text("shards"),
    number("worker"),
    boolean("tls"),
];

pub const TRANSACTIONS: &[Column] = &[
    text("state"),
    number("client"),
    text("user"),
    text("database"),
    text("shards"),
    number("age_seconds"),
    text("gid"),
    text("outcome"),
];

pub fn clients(reports: &[WorkerReport]) -> Rows {
    let all = reports.iter().enumerate();
    all.flat_map(|(worker, report)| report.clients.iter().map(move |client| (worker, client)))
        .map(|(worker, client)| client_row(worker, client))
        .collect()
}

fn client_row(worker: usize, client: &ClientReport) -> Vec<Option<String>> {
    let (address, port) = match client.peer {
        Peer::Tcp(address) => (address.ip().to_string(), Some(address.port())),
        Peer::Unix => ("unix".to_owned(), None),
    };
    row![
        "C",
        client.session.0,
        client.user.as_str(),
        client.database.as_str(),
        client.application_name.as_str(),
        client.state,
        address,
        port,
        seconds(client.connected),
        list(&client.shards),
        worker,
        client.tls,
    ]
}

/// One that is in doubt still, and whose client was told so, has one row.
pub fn transactions(reports: &[WorkerReport], in_doubt: &[InDoubt], unknown: &[Unknown]) -> Rows {
    let open = reports
        .iter()
        .flat_map(|report| &report.transactions)
        .map(open_row);
    let told = unknown
        .iter()
        .filter(|told| !in_doubt.iter().any(|known| known.gid == told.gid));
    open.chain(in_doubt.iter().map(in_doubt_row))
        .chain(told.map(unknown_row))
        .collect()
}

fn open_row(transaction: &TransactionReport) -> Vec<Option<String>> {
    row![
        transaction.state,
        transaction.session.0,
        transaction.user.as_str(),
        transaction.database.as_str(),
        list(&transaction.shards),
        seconds(transaction.age),
        transaction.gid.as_deref(),
        None::<&str>,
    ]
}

fn in_doubt_row(transaction: &InDoubt) -> Vec<Option<String>> {
    row![
        "in doubt",
        None::<u32>,
        None::<&str>,
        transaction.database.as_str(),
        list(&transaction.shards),
        seconds(transaction.age),
        transaction.gid.as_str(),
        None::<&str>,
    ]
}

fn unknown_row(told: &Unknown) -> Vec<Option<String>> {
    let state = match told.outcome {
        None => "in doubt",
        Some(_) => "settled",
    };
    row![
        state,
        None::<u32>,
        None::<&str>,
        told.database.as_str(),
        None::<&str>,
        seconds(told.since.elapsed()),
        told.gid.as_str(),
        told.outcome,
    ]
}
