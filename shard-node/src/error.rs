//! What can go wrong with a server of ours, and what to do about it.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL server programs found in {looked_in}; install PostgreSQL {oldest} or newer \
         (Debian, Ubuntu: apt-get install postgresql), or name the directory that holds initdb and postgres",
        oldest = crate::OLDEST_VERSION
    )]
    NoBinaries { looked_in: String },

    #[error("{path} is PostgreSQL {found}; version {oldest} or newer is needed", oldest = crate::OLDEST_VERSION)]
    TooOld { path: PathBuf, found: String },

    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user oskol to run it as; \
         create one (useradd --system oskol), or start as an ordinary user"
    )]
    NoOrdinaryUser,

    #[error(
        "to run PostgreSQL as another user than root the program setpriv is needed (package util-linux)"
    )]
    NoSetpriv,

    #[error(
        "user {user} may not enter {path}, so PostgreSQL cannot keep its data there; choose a directory that \
         {user} can reach (each directory above it needs the permission x), or start as an ordinary user"
    )]
    Unreachable { path: PathBuf, user: String },

    #[error(
        "{path} is not a directory of user {user}; remove it, or choose a data directory with a shorter path"
    )]
    SomebodyElses { path: PathBuf, user: String },

    #[error("{what}: {path}: {source}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("{program} could not be run: {source}")]
    Run {
        program: String,
        source: std::io::Error,
    },

    #[error("{program} failed:\n{output}")]
    Program { program: String, output: String },

    #[error(
        "{path} is not empty and not a PostgreSQL data directory; choose another directory or remove it"
    )]
    NotADataDirectory { path: PathBuf },

    #[error(
        "{path} was made by PostgreSQL {found} and the programs here are version {wanted}; \
         upgrade it with pg_upgrade, or use programs of version {found}"
    )]
    OtherVersion {
        path: PathBuf,
        found: String,
        wanted: u32,
    },

    #[error(
        "{path} is in use by another process; stop that one first (its Ctrl-C, or kill it by its id)"
    )]
    InUse { path: PathBuf },

    #[error(
        "{path} holds a cluster of {found} shards, and {wanted} were asked for; leave the number out, or use another directory"
    )]
    OtherShardCount {
        path: PathBuf,
        found: usize,
        wanted: usize,
    },

    #[error(
        "{path} cannot be read as the description of a local cluster: {why}; restore it, or use another directory"
    )]
    Description { path: PathBuf, why: String },

    #[error("{name} did not start; the last lines of its log:\n{log}")]
    NotStarted { name: String, log: String },

    #[error("{name} was not ready after {seconds} s; the last lines of its log:\n{log}")]
    NotReady {
        name: String,
        seconds: u64,
        log: String,
    },

    #[error("no free port of 127.0.0.1 was found for a PostgreSQL server")]
    NoFreePort,

    #[error("{name} does not answer: {source}")]
    NoAnswer {
        name: String,
        source: tokio_postgres::Error,
    },

    #[error("{name} did not answer within {seconds} s")]
    TooSlow { name: String, seconds: u64 },

    #[error(
        "the server of {path} has another superuser password than the one given; give that one, or change it there \
         (ALTER ROLE postgres PASSWORD ...)"
    )]
    WrongPassword { path: PathBuf },

    #[error("cannot serve /health at {address}: {source}")]
    HealthAddress {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },

    #[error(
        "{path}: all {limit} places are in use by other processes; remove one, or use another directory"
    )]
    NoPlace { path: PathBuf, limit: u16 },

    #[error("rights cannot be given up for user {user}: {source}")]
    Rights {
        user: String,
        source: nix::errno::Errno,
    },

    #[error(
        "{text:?} is no network for pg_hba.conf; allowed are samenet, samehost, all, and addresses like 10.0.0.0/8"
    )]
    Network { text: String },

    #[error("{path} cannot be read as this server's membership: {why}; remove it to join anew")]
    Membership { path: PathBuf, why: String },

    #[error("the password has characters that PostgreSQL does not take in a password")]
    Password,
}

/// Puts the path and what was being done to an input/output error.
pub(crate) trait AtPath<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> crate::Result<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> crate::Result<T> {
        self.map_err(|source| Error::File {
            what,
            path: path.to_owned(),
            source,
        })
    }
}
