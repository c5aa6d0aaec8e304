//! A few servers on one machine, in one directory that keeps their data, ports and password:
//!
//! ```text
//! DIR/cluster.json   the shards' ports             DIR/shard-0/   a data directory
//! DIR/password       of the superuser, mode 0600   DIR/log/       the servers' logs
//! DIR/pgpass         the same for libpq            DIR/run/       Unix sockets
//! DIR/verifier       the same as SCRAM keeps it
//! ```

mod description;

use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rand::Rng;
use rand::distr::Alphanumeric;

use crate::error::AtPath;
use crate::init::write_secret;
use crate::leftover;
use crate::{Binaries, Error, InitOptions, Owner, Result, SUPERUSER, Server, ShardNode, Stop};
use description::Description;

/// A longer path of a socket's directory does not fit into an address (unix(7): 108 bytes, with the socket's name).
const LONGEST_SOCKET_DIRECTORY: usize = 90;
const PASSWORD_LENGTH: usize = 32;
const SHARDS_BY_DEFAULT: usize = 4;

/// Where a new shard's data directory comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Initdb,
    /// A copy of a prepared data directory with that superuser password; for tests, see [`ShardNode::copy_from`].
    Copy {
        template: PathBuf,
        password: String,
    },
}

#[derive(Debug, Clone)]
pub struct LocalClusterOptions {
    pub directory: PathBuf,
    /// None: as many as there are, or four.
    pub shards: Option<usize>,
    /// Shard 0 prefers this port, shard 1 the next, and so on; those in use are passed over. None: any.
    pub first_port: Option<u16>,
    /// Directory of PostgreSQL's programs; none: see [`Binaries::find`].
    pub binaries: Option<PathBuf>,
    pub source: Source,
    /// Settings for every shard, beyond ours.
    pub settings: Vec<(String, String)>,
    /// See [`ShardNode::signal_at_our_death`].
    pub signal_at_our_death: &'static str,
}

impl LocalClusterOptions {
    pub fn new(directory: impl Into<PathBuf>) -> LocalClusterOptions {
        LocalClusterOptions {
            directory: directory.into(),
            shards: None,
            first_port: None,
            binaries: None,
            source: Source::Initdb,
            settings: Vec::new(),
            signal_at_our_death: "INT",
        }
    }
}

/// The servers at rest, all initialised. Holds the directory's lock while it lives.
#[derive(Debug)]
pub struct LocalCluster {
    pub directory: PathBuf,
    /// The superuser's, the same on all shards.
    pub password: String,
    pub shards: Vec<ShardNode>,
    _lock: Flock<fs::File>,
}

impl LocalCluster {
    /// Opens the cluster in a directory, or makes it. `progress` gets a line for each thing that takes time.
    pub fn open(
        options: &LocalClusterOptions,
        mut progress: impl FnMut(&str),
    ) -> Result<LocalCluster> {
        let binaries = Binaries::find(options.binaries.as_deref())?;
        let owner = Owner::choose()?;
        let directory = make_directory(&options.directory, &owner)?;
        let lock = lock(&directory)?;
        let mut description = Description::load_or_choose(&directory, options)?;
        for number in 0..description.ports.len() {
            leftover::clear(&data_directory(&directory, number))?;
        }
        description.replace_taken_ports()?;
        let password = password(&directory, &options.source)?;
        let shards = nodes(
            options,
            &directory,
            &description,
            &password,
            &owner,
            &binaries,
        )?;
        let superuser = InitOptions {
            verifier: Some(verifier(&directory, &password)?),
            arguments: Vec::new(),
        };
        initialise(&shards, &options.source, &superuser, &mut progress)?;
        description.save(&directory)?;
        Ok(LocalCluster {
            directory,
            password,
            shards,
            _lock: lock,
        })
    }

    /// Makes a directory that has data directories already (`shard-0`, ...) one that [`LocalCluster::open`] takes.
    pub fn describe(directory: &Path, shards: usize, password: &str) -> Result<()> {
        let mut options = LocalClusterOptions::new(directory);
        options.shards = Some(shards);
        Description::load_or_choose(directory, &options)?.save(directory)?;
        write_secret(&directory.join("password"), password)
    }

    /// Starts all servers at the same time; returns when each accepts connections. On failure of one all are stopped.
    pub fn start(&self, patience: Duration) -> Result<Vec<Server>> {
        in_parallel(&self.shards, |shard| shard.start(patience))
    }

    /// The password file for libpq's `passfile`.
    pub fn password_file(&self) -> PathBuf {
        self.directory.join("pgpass")
    }

    pub fn log_directory(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Server {
    /// Stops many servers at the same time.
    pub fn stop_all(servers: Vec<Server>, how: Stop) {
        servers.iter().for_each(|server| server.begin_stop(how));
        servers.into_iter().for_each(|server| server.stop(how));
    }
}

/// Makes the directory where there is none; one that the servers' user cannot reach is not left behind.
fn make_directory(directory: &Path, owner: &Owner) -> Result<PathBuf> {
    let is_new = !directory.exists();
    fs::create_dir_all(directory).at("cannot make the directory", directory)?;
    if is_new {
        // The servers' user must be able to pass through; what is secret inside has its own permissions.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
            .at("cannot set the permissions of", directory)?;
    }
    let directory = directory.canonicalize().at("cannot find", directory)?;
    let reached = owner.check_reach(&directory);
    if reached.is_err() && is_new {
        fs::remove_dir(&directory).at("cannot remove", &directory)?;
    }
    reached.map(|()| directory)
}

fn lock(directory: &Path) -> Result<Flock<fs::File>> {
    let path = directory.join("lock");
    let file = fs::File::create(&path).at("cannot write", &path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::InUse {
        path: directory.to_owned(),
    })
}

fn password(directory: &Path, source: &Source) -> Result<String> {
    let path = directory.join("password");
    let password = match (fs::read_to_string(&path), source) {
        (Ok(kept), _) => kept.trim().to_owned(),
        (Err(_), Source::Copy { password, .. }) => password.clone(),
        (Err(_), Source::Initdb) => random_password(),
    };
    write_secret(&path, &password)?;
    let line = |host: &str| format!("{host}:*:*:{SUPERUSER}:{password}");
    write_secret(
        &directory.join("pgpass"),
        &[line("127.0.0.1"), line("localhost")].join("\n"),
    )?;
    Ok(password)
}

/// The superuser's SCRAM verifier, the same on all shards: the key that a client's log-in proves to one of them then
/// opens all.
fn verifier(directory: &Path, password: &str) -> Result<String> {
    let path = directory.join("verifier");
    if let Ok(kept) = fs::read_to_string(&path) {
        return Ok(kept.trim().to_owned());
    }
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    write_secret(&path, &verifier)?;
    Ok(verifier)
}

fn random_password() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(PASSWORD_LENGTH)
        .map(char::from)
        .collect()
}

fn nodes(
    options: &LocalClusterOptions,
    directory: &Path,
    description: &Description,
    password: &str,
    owner: &Owner,
    binaries: &Binaries,
) -> Result<Vec<ShardNode>> {
    let socket_directory = socket_directory(directory, owner)?;
    let node = |(number, port): (usize, &u16)| ShardNode {
        name: format!("shard-{number}"),
        data_directory: data_directory(directory, number),
        port: *port,
        socket_directory: socket_directory.clone(),
        log_directory: directory.join("log"),
        password: password.to_owned(),
        owner: owner.clone(),
        binaries: binaries.clone(),
        settings: options.settings.clone(),
        signal_at_our_death: options.signal_at_our_death,
    };
    Ok(description.ports.iter().enumerate().map(node).collect())
}

fn data_directory(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("shard-{number}"))
}

/// `DIR/run`; where its path is too long for a socket, a directory in /tmp that is named after it.
fn socket_directory(directory: &Path, owner: &Owner) -> Result<PathBuf> {
    let usual = directory.join("run");
    if usual.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY {
        return Ok(usual);
    }
    let mut hasher = std::hash::DefaultHasher::new();
    directory.hash(&mut hasher);
    let short = Path::new("/tmp").join(format!("oskol-{:016x}", hasher.finish()));
    match fs::create_dir(&short) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            owner.check_owns(&short)?
        }
        made => made.at("cannot make the directory", &short)?,
    }
    Ok(short)
}

fn initialise(
    shards: &[ShardNode],
    source: &Source,
    superuser: &InitOptions,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let mut fresh = Vec::new();
    for shard in shards {
        if !shard.is_initialised()? {
            fresh.push(shard.clone());
        }
    }
    if let (Some(first), Some(last)) = (fresh.first(), fresh.last()) {
        let parent = first
            .data_directory
            .parent()
            .unwrap_or(Path::new("/"))
            .display();
        progress(&format!(
            "initialising {} to {} in {parent} (PostgreSQL {})",
            first.name, last.name, first.binaries.major_version
        ));
    }
    let made = in_parallel(&fresh, |shard| match source {
        Source::Initdb => shard.init(superuser),
        Source::Copy { template, .. } => shard.copy_from(template),
    });
    made.map(drop)
}

/// Runs `work` on each node in a thread of its own; the first error, or all results in order.
fn in_parallel<T: Send>(
    nodes: &[ShardNode],
    work: impl Fn(&ShardNode) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| work(node)))
            .collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect::<Vec<Result<T>>>().into_iter().collect()
    })
}
