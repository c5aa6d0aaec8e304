//! Finds the programs that a measurement needs, or says which package brings the missing one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The newest installed PostgreSQL's directory of programs (Debian's layout), or that of `PATH`.
pub fn postgres_directory() -> anyhow::Result<PathBuf> {
    if let Some(directory) = std::env::var_os("OSKOL_PG_BIN") {
        return Ok(directory.into());
    }
    newest_debian_directory()
        .or_else(directory_on_path)
        .context(
            "PostgreSQL's server programs (initdb, postgres) are missing: \
         install Debian's postgresql, or set OSKOL_PG_BIN to their directory",
        )
}

fn newest_debian_directory() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path(),
            ))
        })
        .max()
        .map(|(_, path)| path.join("bin"))
        .filter(|directory| directory.join("initdb").exists())
}

fn directory_on_path() -> Option<PathBuf> {
    on_path("initdb")?.parent().map(Path::to_owned)
}

/// pgbench beside the server's programs, else on `PATH`.
pub fn pgbench() -> anyhow::Result<PathBuf> {
    let beside = postgres_directory()?.join("pgbench");
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

/// The release build of the router: `OSKOL_BIN`, else beside this program.
pub fn oskol() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("OSKOL_BIN") {
        return Ok(program.into());
    }
    let beside = std::env::current_exe()?.with_file_name("oskol");
    if !beside.exists() {
        bail!(
            "{} is missing: run `cargo build --release -p router`, or set OSKOL_BIN",
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
