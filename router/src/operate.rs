//! `oskol shard`, `oskol rebalance`, `oskol verify`: statements of the admin database, sent to a router of the cluster.
//!
//! Takes the router's configuration; prints the answer as a table. Does nothing to the cluster by itself.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_postgres::config::SslMode;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::config::{ClientTlsMode, Config, ShardConfig};
use crate::dial::Dialer;

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_secs(1);

/// Runs one statement and prints its rows. True: there were some.
pub fn statement(config: &Config, text: &str) -> anyhow::Result<bool> {
    runtime()?.block_on(async {
        let client = connect(config).await?;
        let rows = query(&client, text).await?;
        print(&rows);
        Ok(rows.len() > 1)
    })
}

/// Prints the moves every second until none is under way. False: a move has failed.
pub fn watch(config: &Config) -> anyhow::Result<bool> {
    runtime()?.block_on(async {
        let client = connect(config).await?;
        loop {
            let rows = query(&client, "SHOW MOVES").await?;
            let state = rows.get(1).and_then(|row| row.get(1)).map(String::as_str);
            print(&rows);
            match state {
                Some("running" | "paused") => tokio::time::sleep(LOOK).await,
                Some("failed") => return Ok(false),
                _ => return Ok(true),
            }
            println!();
        }
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("no runtime")
}

/// To the first address that the router listens on.
async fn connect(config: &Config) -> anyhow::Result<tokio_postgres::Client> {
    let mut to = tokio_postgres::Config::new();
    let listen = &config.listen;
    let address = listen.addresses.first();
    let host = match (&listen.unix_socket_directory, address) {
        (Some(directory), _) => directory.display().to_string(),
        (None, Some(address)) => match address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
            ip if ip.is_unspecified() => "::1".to_owned(),
            ip => ip.to_string(),
        },
        (None, None) => bail!("listen.addresses is empty"),
    };
    let router = ShardConfig {
        id: topology::ShardId(0),
        host,
        port: address.map_or(6432, std::net::SocketAddr::port),
        weight: 1.0,
        patroni: None,
    };
    // TLS, if any, is in the stream already.
    to.ssl_mode(SslMode::Disable);
    to.user(&config.cluster.user).dbname(crate::admin::DATABASE);
    if let Some(password) = &config.cluster.password {
        to.password(&password.0);
    }
    let silent = "no router of the cluster answers at listen.addresses of this configuration";
    let stream = dialer(config)?.dial(&router).await.context(silent)?;
    let (client, connection) = to.connect_raw(stream, NoTls).await.context(silent)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// By TLS where the router speaks it: its address is its own configuration's, so whose certificate it has does not matter.
fn dialer(config: &Config) -> anyhow::Result<Dialer> {
    let mut cluster = config.cluster.clone();
    cluster.tls.root_certificate = None;
    cluster.tls.mode = match config.client_tls.mode {
        ClientTlsMode::Disable => crate::config::SslMode::Disable,
        _ => crate::config::SslMode::Require,
    };
    Ok(Dialer::new(&cluster)?)
}

/// Names of columns, then the rows.
async fn query(client: &tokio_postgres::Client, text: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let messages = client
        .simple_query(text)
        .await
        .map_err(|error| match error.as_db_error() {
            Some(said) => anyhow::anyhow!(
                "{}{}",
                said.message(),
                said.hint()
                    .map(|hint| format!(" ({hint})"))
                    .unwrap_or_default()
            ),
            None => error.into(),
        })?;
    let mut table = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                table.push(
                    columns
                        .iter()
                        .map(|column| column.name().to_owned())
                        .collect(),
                );
            }
            SimpleQueryMessage::Row(row) => {
                let cell = |at| row.get(at).unwrap_or_default().to_owned();
                table.push((0..row.len()).map(cell).collect());
            }
            _ => {}
        }
    }
    Ok(table)
}

fn print(table: &[Vec<String>]) {
    for line in lines(table) {
        println!("{line}");
    }
}

/// Columns one below the other.
fn lines(table: &[Vec<String>]) -> Vec<String> {
    let columns = table.first().map_or(0, Vec::len);
    let width = |at: usize| {
        table
            .iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = [row(["shard", "name"]), row(["12", "a"])];
        assert_eq!(lines(&table), ["shard  name", "12     a"]);
    }
}
