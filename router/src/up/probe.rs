//! Whether the router truly serves: a client's connection and a statement through it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use super::reachable;
use crate::config::{ClusterConfig, Config, ShardConfig, ShardTls, SslMode};
use crate::dial::Dialer;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const ONE_TRY: Duration = Duration::from_secs(10);
const SAY_AGAIN: Duration = Duration::from_secs(5);

/// Returns when a statement has run through the router at `address`; says now and then why none has yet.
pub(super) async fn until_it_serves(config: &Config, address: SocketAddr) {
    let (mut said, mut pause) = (Instant::now(), FIRST_PAUSE);
    while let Err(error) = one_statement(config, reachable(address)).await {
        if said.elapsed() > SAY_AGAIN {
            said = Instant::now();
            tracing::warn!("the router does not serve yet: {error:#}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// With a client authority configured we have no certificate to show: an open port has to do.
async fn one_statement(config: &Config, address: SocketAddr) -> anyhow::Result<()> {
    if config.client_tls.client_authority.is_some() {
        tokio::net::TcpStream::connect(address).await?;
        return Ok(());
    }
    let as_client = ClusterConfig {
        tls: ShardTls {
            mode: SslMode::Prefer,
            root_certificate: None,
        },
        connect_timeout: ONE_TRY,
        ..config.cluster.clone()
    };
    let router = ShardConfig {
        id: config.cluster.home,
        host: address.ip().to_string(),
        port: address.port(),
        weight: 1.0,
        patroni: None,
    };
    let stream = Dialer::new(&as_client)?.dial(&router).await?;
    tokio::time::timeout(ONE_TRY, ask(config, stream)).await?
}

async fn ask(config: &Config, stream: crate::stream::Stream) -> anyhow::Result<()> {
    let mut login = tokio_postgres::Config::new();
    login
        .user(&config.cluster.user)
        .dbname("postgres")
        .application_name("oskol up");
    // TLS, where there is any, is below this already.
    login.ssl_mode(tokio_postgres::config::SslMode::Disable);
    if let Some(password) = &config.cluster.password {
        login.password(&password.0);
    }
    let (client, connection) = login.connect_raw(stream, NoTls).await?;
    let asked = async move { client.simple_query("select 1").await.map(drop) };
    let (answer, _) = tokio::join!(asked, connection);
    Ok(answer?)
}
