//! What an earlier run left in a data directory: a server that still runs, children of a server that was killed, or a
//! `postmaster.pid` whose process id meanwhile belongs to somebody else (usual in containers).
//! The caller holds the lock of the directory, so whatever runs there is nobody's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::AtPath;
use crate::pidfile::PidFile;
use crate::{Error, Result};

/// Waits before each harsher way of stopping: a shutdown that checkpoints, one that does not, none at all.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(30)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::from_secs(10)),
];

/// Makes `data_directory` fit for a new server.
pub(crate) fn clear(data_directory: &Path) -> Result<()> {
    let Some(file) = PidFile::read(data_directory) else {
        return Ok(());
    };
    let running = servers_in(data_directory);
    if !running.is_empty() {
        tracing::warn!(directory = %data_directory.display(), pid = file.pid.as_raw(), "stopping a server left by an earlier run");
        return stop(data_directory, file.pid);
    }
    if kill(file.pid, None).is_ok() {
        let path = data_directory.join("postmaster.pid");
        tracing::info!(path = %path.display(), pid = file.pid.as_raw(), "removing a stale file: that process is no server of this directory");
        fs::remove_file(&path).at("cannot remove the stale file", &path)?;
    }
    Ok(())
}

fn stop(data_directory: &Path, postmaster: Pid) -> Result<()> {
    for (signal, patience) in STEPS {
        let running = servers_in(data_directory);
        let orphans = !running.contains(&postmaster);
        // A postmaster passes signals on to its children; without one each child needs its own.
        for pid in running
            .iter()
            .filter(|pid| orphans || signal == Signal::SIGKILL || **pid == postmaster)
        {
            // It may have ended by itself since we looked.
            let _ = kill(*pid, if orphans { Signal::SIGKILL } else { signal });
        }
        if gone_within(data_directory, patience) {
            return Ok(());
        }
    }
    Err(Error::InUse {
        path: data_directory.to_owned(),
    })
}

fn gone_within(data_directory: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !servers_in(data_directory).is_empty() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Processes that run `postgres` with the data directory as working directory, which is where each of them stays.
fn servers_in(data_directory: &Path) -> Vec<Pid> {
    let Ok(data_directory) = data_directory.canonicalize() else {
        return Vec::new();
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| is_server_of(&process.path(), &data_directory))
        .filter_map(|process| {
            process
                .file_name()
                .to_str()?
                .parse()
                .ok()
                .map(Pid::from_raw)
        })
        .collect()
}

fn is_server_of(process: &Path, data_directory: &Path) -> bool {
    let works_there = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data_directory);
    works_there && fs::read_link(process.join("exe")).is_ok_and(|program| is_postgres(&program))
}

/// After an upgrade of the package the link ends in " (deleted)".
fn is_postgres(program: &Path) -> bool {
    program
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("postgres"))
}
