//! PgBouncer in front of one PostgreSQL: one process, a database per pool mode.

use std::path::Path;

use nix::sys::signal::Signal;
use shard_node::{Owner, free_port};

use crate::endpoint::{DATABASE, Endpoint, USER};
use crate::load::Protocol;
use crate::programs;
use crate::server::Server;

pub struct PgBouncer {
    port: u16,
    server: Server,
}

impl PgBouncer {
    /// `pool` server connections per pool mode, at most `clients` clients.
    pub async fn start(
        directory: &Path,
        backend: &Endpoint,
        pool: usize,
        clients: usize,
    ) -> anyhow::Result<Self> {
        let program = programs::pgbouncer()?;
        let home = directory.join("pgbouncer");
        let owner = Owner::choose()?;
        owner.make_directory(&home, 0o755)?;
        let port = free_port()?;
        let users = home.join("users.txt");
        std::fs::write(&users, format!("\"{USER}\" \"\"\n"))?;
        let file = home.join("pgbouncer.ini");
        std::fs::write(
            &file,
            configuration(port, backend.port, pool, clients, &users),
        )?;
        // SIGINT lets clients finish, SIGTERM does not wait.
        let mut command = owner.command_that_dies(&program, Some("TERM"));
        let mut server = Server::start(
            "pgbouncer",
            command.arg("-q").arg(&file),
            directory,
            Signal::SIGTERM,
        )?;
        let endpoint = endpoint(port, "transaction");
        server.wait_until(|| endpoint.answers()).await?;
        Ok(Self { port, server })
    }

    /// Version 1.18 keeps prepared statements in session mode only.
    pub fn endpoint(&self, protocol: Protocol) -> Endpoint {
        match protocol {
            Protocol::Simple | Protocol::Extended => endpoint(self.port, "transaction"),
            Protocol::Prepared => endpoint(self.port, "session"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn endpoint(port: u16, mode: &str) -> Endpoint {
    Endpoint {
        port,
        database: mode.to_owned(),
    }
}

fn configuration(port: u16, backend: u16, pool: usize, clients: usize, users: &Path) -> String {
    let backend = format!("host=127.0.0.1 port={backend} dbname={DATABASE} user={USER}");
    let users = users.display();
    format!(
        "[databases]\n\
         transaction = {backend} pool_mode=transaction\n\
         session = {backend} pool_mode=session\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {users}\n\
         default_pool_size = {pool}\n\
         max_client_conn = {clients}\n\
         ignore_startup_parameters = extra_float_digits\n"
    )
}
