//! A prepared data directory, made once per machine and PostgreSQL version: copying it takes a tenth of `initdb`.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use shard_node::{Binaries, InitOptions, Owner, ShardNode};

/// Of every test's superuser.
pub(crate) const PASSWORD: &str = "oskol-test";

/// Grows when what is made below changes.
const GENERATION: u32 = 1;

/// The template's data directory; made by the first that asks.
pub(crate) fn data_directory() -> PathBuf {
    let binaries = Binaries::find(None).unwrap_or_else(|error| panic!("{error}"));
    let name = format!(
        "oskol-test-template-{}-{}-{GENERATION}",
        Uid::effective(),
        binaries.major_version
    );
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory for the template");
    let _lock = lock(&directory);
    let node = node(&directory, binaries);
    if !node
        .is_initialised()
        .unwrap_or_else(|error| panic!("{error}"))
    {
        // Small WAL files and no flush: copied often, and of no worth after a crash of the machine.
        let arguments = vec!["--no-sync".to_owned(), "--wal-segsize=1".to_owned()];
        let options = InitOptions {
            verifier: None,
            arguments,
        };
        node.init(&options)
            .unwrap_or_else(|error| panic!("the template for tests: {error}"));
    }
    node.data_directory
}

fn lock(directory: &Path) -> Flock<File> {
    let file = File::create(directory.join("lock")).expect("a lock file for the template");
    Flock::lock(file, FlockArg::LockExclusive)
        .unwrap_or_else(|(_, error)| panic!("lock of the template: {error}"))
}

fn node(directory: &Path, binaries: Binaries) -> ShardNode {
    ShardNode {
        name: "template".to_owned(),
        data_directory: directory.join("data"),
        port: 0,
        socket_directory: directory.join("run"),
        log_directory: directory.join("log"),
        password: PASSWORD.to_owned(),
        owner: Owner::choose().unwrap_or_else(|error| panic!("{error}")),
        binaries,
        settings: Vec::new(),
        signal_at_our_death: "KILL",
    }
}
