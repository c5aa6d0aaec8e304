//! From arguments to what the library takes. Here root's rights are given up: after the secrets are read, before
//! anything else is done.

use std::path::{Path, PathBuf};

use anyhow::Context;
use shard_node::agent::{Agent, Announcement, ClusterAccess, Membership};
use shard_node::{Binaries, InitOptions, Owner, Place, ShardNode, verifier};

use crate::arguments::{ServerArguments, StartArguments, secret};

/// A server at rest in its place, and what to make it with.
pub struct Prepared {
    node: ShardNode,
    place: Place,
    init: InitOptions,
    cluster: Option<ClusterAccess>,
}

impl Prepared {
    /// `start`: the further arguments, where the server shall run.
    pub fn new(
        server: &ServerArguments,
        start: Option<&StartArguments>,
    ) -> anyhow::Result<Prepared> {
        let password = secret(&server.password_file)?;
        let cluster = match start {
            Some(start) => start.cluster.access()?,
            None => None,
        };
        let owner = ordinary_user(&server.dir)?;
        let place = match server.claim {
            true => Place::claim(&server.dir)?,
            false => Place::open(&server.dir)?,
        };
        owner.check_reach(&place.directory)?;
        let seed = cluster.as_ref().map(|access| access.token.as_str());
        let init = InitOptions {
            verifier: seed.map(|seed| verifier(&password, seed)).transpose()?,
            arguments: Vec::new(),
        };
        let mut node = node(server, &place.directory, place.number, owner, password)?;
        if let Some(start) = start {
            let listen = ("listen_addresses".to_owned(), start.listen.clone());
            node.settings.insert(0, listen);
        }
        Ok(Prepared {
            node,
            place,
            init,
            cluster,
        })
    }

    pub fn node(&self) -> &ShardNode {
        &self.node
    }

    /// Makes the data directory.
    pub fn init(&self) -> anyhow::Result<()> {
        Ok(self.node.make_or_adopt(&self.init)?)
    }

    /// The agent, and the place that it must not outlive.
    pub fn agent(self, start: &StartArguments) -> anyhow::Result<(Agent, Place)> {
        let membership = Membership {
            path: self.place.directory.join("membership.json"),
        };
        if start.rejoin {
            membership.forget()?;
        }
        let cluster = match self.cluster {
            Some(access) => Some((access, announcement(start, &self.node)?)),
            None => None,
        };
        let agent = Agent {
            node: self.node,
            init: self.init,
            allow: start.allow.clone(),
            health_address: start.health_address.0,
            cluster,
            membership,
        };
        Ok((agent, self.place))
    }
}

/// Makes the directory, and this process an ordinary user's.
fn ordinary_user(directory: &Path) -> anyhow::Result<Owner> {
    let mut owner = Owner::choose()?;
    owner.take_over_if_empty(directory)?;
    owner.become_it()?;
    Ok(owner)
}

fn node(
    server: &ServerArguments,
    directory: &Path,
    number: Option<u16>,
    owner: Owner,
    password: String,
) -> anyhow::Result<ShardNode> {
    let name = server.name.as_deref().unwrap_or("shard");
    Ok(ShardNode {
        name: number.map_or(name.to_owned(), |number| format!("{name}-{number}")),
        data_directory: data(server, directory)?,
        port: server.port,
        socket_directory: directory.join("run"),
        log_directory: directory.join("log"),
        password,
        owner,
        binaries: Binaries::find(server.binaries.as_deref())?,
        settings: server.settings.clone(),
        signal_at_our_death: "INT",
    })
}

fn data(server: &ServerArguments, directory: &Path) -> anyhow::Result<PathBuf> {
    match &server.data {
        Some(data) => data
            .canonicalize()
            .with_context(|| format!("cannot find {}", data.display())),
        None => Ok(directory.join("data")),
    }
}

fn announcement(start: &StartArguments, node: &ShardNode) -> anyhow::Result<Announcement> {
    let host = match &start.host {
        Some(host) => host.clone(),
        None => host_name()?,
    };
    Ok(Announcement {
        name: node.name.clone(),
        host,
        port: node.port,
        database: start.database.clone(),
        weight: start.weight,
    })
}

fn host_name() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the host's name is not known; give --host")?;
    Ok(text.trim().to_owned())
}
