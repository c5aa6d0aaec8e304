//! One throw-away PostgreSQL server with the settings that all legs share.

use std::ffi::OsStr;
use std::path::Path;

use nix::sys::signal::Signal;
use shard_node::{Owner, free_port};

use crate::endpoint::{Endpoint, USER};
use crate::programs;
use crate::server::Server;

/// Durability is off so that the disk does not hide what the proxies cost; the rest is what Oskol asks of a shard.
/// Autovacuum is off because it would strike one leg and not another: tables are vacuumed before each run.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "max_prepared_transactions=200",
    "wal_level=logical",
    "fsync=off",
    "synchronous_commit=off",
    "autovacuum=off",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "jit=off",
];

/// What a server needs so that an acknowledged commit survives a crash.
pub const DURABLE: &[&str] = &["fsync=on", "synchronous_commit=on"];

pub struct Postgres {
    pub endpoint: Endpoint,
    _server: Server,
}

impl Postgres {
    /// Initialises and starts a server in `directory/NAME`; `settings` come after the shared ones.
    pub async fn start(name: &str, directory: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let programs = programs::postgres()?;
        let owner = Owner::choose()?;
        let data = directory.join(name);
        owner.make_directory(&data, 0o700)?;
        initialise(&owner, &programs.program("initdb"), &data)?;
        let port = free_port()?;
        let mut command = owner.command_that_dies(programs.program("postgres"), Some("INT"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in SETTINGS.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        // SIGINT is PostgreSQL's fast shutdown.
        let mut server = Server::start(name, &mut command, directory, Signal::SIGINT)?;
        let endpoint = Endpoint::new(port);
        server.wait_until(|| endpoint.answers()).await?;
        Ok(Self {
            endpoint,
            _server: server,
        })
    }
}

fn initialise(owner: &Owner, initdb: &Path, data: &Path) -> anyhow::Result<()> {
    let user = format!("--username={USER}");
    let options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    let arguments = [user.as_ref(), "-D".as_ref(), data.as_os_str()];
    let options = options.iter().map(OsStr::new);
    Ok(owner.run(initdb, options.chain(arguments))?)
}
