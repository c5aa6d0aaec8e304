//! Oskol over throw-away shards: the release build of `oskol router` with a configuration of its own.

use std::fmt::Write;
use std::path::Path;

use nix::sys::signal::Signal;
use shard_node::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::endpoint::{Endpoint, USER};
use crate::postgres::Postgres;
use crate::programs;
use crate::server::{Server, same_user};

/// pgbench's tables: accounts are divided by their key; the rest is small and stays on the home shard.
const TABLE_RULES: &str = "
[[tables]]
name = \"pgbench_accounts\"
placement = \"sharded\"
key = \"aid\"
";

pub struct Oskol {
    // The router is dropped, and so stopped, before its shards.
    router: Server,
    admin: u16,
    pub shards: Vec<Postgres>,
    pub endpoint: Endpoint,
}

impl Oskol {
    /// `pool` server connections per shard, at most `clients` clients; `settings` are the shards'.
    pub async fn start(
        directory: &Path,
        shards: usize,
        pool: usize,
        clients: usize,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let program = programs::oskol()?;
        let name = format!("oskol{shards}");
        let mut servers = Vec::with_capacity(shards);
        for number in 0..shards {
            let shard = format!("{name}-shard{number}");
            servers.push(Postgres::start(&shard, directory, settings).await?);
        }
        let (port, admin) = (free_port()?, free_port()?);
        let file = directory.join(format!("{name}.toml"));
        std::fs::write(
            &file,
            configuration(&name, [port, admin], &servers, pool, clients)?,
        )?;
        let mut command = same_user(&program);
        command
            .args(["router", "--config"])
            .arg(&file)
            .current_dir("/");
        let mut router = Server::start(&name, &mut command, directory, Signal::SIGTERM)?;
        let endpoint = Endpoint::new(port);
        router.wait_until(|| endpoint.answers()).await?;
        Ok(Self {
            router,
            admin,
            shards: servers,
            endpoint,
        })
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.admin)).await?;
        let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    pub fn pid(&self) -> u32 {
        self.router.pid()
    }
}

fn configuration(
    name: &str,
    [port, admin]: [u16; 2],
    shards: &[Postgres],
    pool: usize,
    clients: usize,
) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "[cluster]\nname = \"{name}\"\nuser = \"{USER}\"\n\
         [listen]\naddresses = [\"127.0.0.1:{port}\"]\nmax_clients = {clients}\n\
         [auth]\nmethod = \"trust\"\n\
         [pool]\nmode = \"transaction\"\nsize = {pool}\n\
         [admin]\naddress = \"127.0.0.1:{admin}\"\n"
    );
    for (id, shard) in shards.iter().enumerate() {
        let port = shard.endpoint.port;
        write!(
            text,
            "[[cluster.shards]]\nid = {id}\nhost = \"127.0.0.1\"\nport = {port}\n"
        )?;
    }
    text.push_str(TABLE_RULES);
    Ok(text)
}
