//! SHOW CLIENTS, TRANSACTIONS.

use super::{Rows, list, seconds};
use crate::admin::board::InDoubt;
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

pub fn transactions(reports: &[WorkerReport], in_doubt: &[InDoubt]) -> Rows {
    let open = reports
        .iter()
        .flat_map(|report| &report.transactions)
        .map(open_row);
    open.chain(in_doubt.iter().map(in_doubt_row)).collect()
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
    ]
}
