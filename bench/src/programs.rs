//! Finds the programs that a measurement needs, or says which package brings the missing one.

use std::path::PathBuf;

use anyhow::{Context, bail};
use shard_node::Binaries;

/// PostgreSQL's server programs: those of `BENCH_POSTGRES`, else the newest installed.
pub fn postgres() -> anyhow::Result<Binaries> {
    let chosen = std::env::var_os("BENCH_POSTGRES").map(PathBuf::from);
    Ok(Binaries::find(chosen.as_deref())?)
}

/// pgbench beside the server's programs, else on `PATH`.
pub fn pgbench() -> anyhow::Result<PathBuf> {
    let beside = postgres()?.program("pgbench");
    if beside.exists() {
        return Ok(beside);
    }
    on_path("pgbench").context("pgbench is missing: install Debian's postgresql-contrib")
}

pub fn pgbouncer() -> anyhow::Result<PathBuf> {
    let debian = PathBuf::from("/usr/sbin/pgbouncer");
    if debian.exists() {
        return Ok(debian);
    }
    on_path("pgbouncer").context(
        "pgbouncer is missing: install Debian's pgbouncer, or leave its leg out with --legs",
    )
}

pub fn perf() -> anyhow::Result<PathBuf> {
    on_path("perf").context("perf is missing: install Debian's linux-perf")
}

/// The release build of the router: `BENCH_OSKOL`, else beside this program.
pub fn oskol() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("BENCH_OSKOL") {
        return Ok(program.into());
    }
    let beside = std::env::current_exe()?.with_file_name("oskol");
    if !beside.exists() {
        bail!(
            "{} is missing: run `cargo build --release -p router`, or set BENCH_OSKOL",
            beside.display()
        );
    }
    Ok(beside)
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
