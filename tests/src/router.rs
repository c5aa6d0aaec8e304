//! A router's place in a cluster: started, killed and started again, it comes back to the same ports.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shard_node::LocalCluster;

use crate::fault_points::FaultPoints;
use crate::proxy::Proxy;
use crate::router_process::RouterProcess;
use crate::standby::Standby;

pub struct Router {
    process: Mutex<Option<RouterProcess>>,
    port: u16,
    admin_port: u16,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    fault_points: FaultPoints,
}

/// What a new place is made of.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) shards: &'a LocalCluster,
    /// One for each shard, or none at all.
    pub(crate) proxies: &'a [Proxy],
    /// The second host of the shard with this number.
    pub(crate) standby: Option<&'a (usize, Standby)>,
    /// Sections of the configuration.
    pub(crate) config: &'a str,
    pub(crate) environment: &'a [(String, String)],
}

impl Router {
    /// A place with no router in it yet.
    pub(crate) fn new(place: &Place<'_>) -> Router {
        let port = || shard_node::free_port().unwrap_or_else(|error| panic!("{error}"));
        let (port, admin_port) = (port(), port());
        let file = |ending: &str| place.directory.join(format!("{}.{ending}", place.name));
        let config = file("toml");
        let text = configuration(place, port, admin_port) + place.config;
        std::fs::write(&config, text).expect("the directory is ours");
        Router {
            process: Mutex::new(None),
            port,
            admin_port,
            config,
            log: file("log"),
            environment: place.environment.to_vec(),
            fault_points: FaultPoints::new(file("points")),
        }
    }

    /// Starts the router where it does not run; waits until it serves.
    pub fn start(&self) {
        let mut process = self.process();
        if process.is_none() {
            *process = Some(self.run());
        }
    }

    /// Starts the router anew where it has ended by itself.
    pub fn revive(&self) {
        let mut process = self.process();
        let ended = process
            .as_mut()
            .is_some_and(|process| process.has_ended().is_some());
        if ended {
            *process = Some(self.run());
        }
    }

    /// Kills the router without a goodbye.
    pub fn kill(&self) {
        let process = self.process().take();
        process.into_iter().for_each(RouterProcess::kill);
    }

    /// Stops the router as an operator does, with SIGTERM.
    pub fn stop(&self) {
        let process = self.process().take();
        process.into_iter().for_each(RouterProcess::stop);
    }

    /// The router's process id; none while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(RouterProcess::pid)
    }

    /// A connection string, with the superuser's password.
    pub fn url_of(&self, database: &str) -> String {
        crate::cluster::url(self.port, database)
    }

    /// Of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Port of `/metrics` and `/health`.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Its configuration.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// What the router has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where its two-phase commits can be stopped.
    pub fn fault_points(&self) -> &FaultPoints {
        &self.fault_points
    }

    fn run(&self) -> RouterProcess {
        RouterProcess::start(
            &self.config,
            &self.environment,
            &self.fault_points,
            &self.log,
            self.url_of("postgres"),
        )
    }

    /// Whole between two statements, also after another test's panic.
    fn process(&self) -> MutexGuard<'_, Option<RouterProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configuration(place: &Place<'_>, port: u16, admin_port: u16) -> String {
    let shards = place.shards;
    let password_file = shards.directory.join("password");
    let mut text = format!(
        "[cluster]\nname = \"test\"\npassword_file = {password_file:?}\n\n\
         [listen]\naddresses = [\"127.0.0.1:{port}\"]\nworkers = 2\n\n\
         [admin]\naddress = \"127.0.0.1:{admin_port}\"\n\n\
         [log]\nlevel = \"{}\"\n\n",
        std::env::var("TEST_ROUTER_LOG").unwrap_or_else(|_| "info".to_owned())
    );
    for (id, shard) in shards.shards.iter().enumerate() {
        let proxy = place.proxies.get(id);
        let (host, port) = match proxy {
            Some(proxy) => ("127.0.0.1".to_owned(), proxy.port()),
            None => (shard.socket_directory.display().to_string(), shard.port),
        };
        let standby = place.standby.filter(|(of, _)| *of == id);
        let host = match standby {
            Some((_, standby)) => format!("{host},{}", standby.address()),
            None => host,
        };
        text += &format!("[[cluster.shards]]\nid = {id}\nhost = {host:?}\nport = {port}\n\n");
    }
    text
}
