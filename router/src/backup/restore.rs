//! From a backup to data directories that servers start from: each recovers by itself up to the restore point.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use shard_node::{Binaries, LocalCluster, Owner};

use super::manifest::{Manifest, prepare};

#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// A whole backup; only read.
    pub from: PathBuf,
    /// New, or empty. Gets `shard-N`, a data directory, and `wal/shard-N` for each shard.
    pub to: PathBuf,
    /// The superuser's password: with it `oskol up --data` can run what was restored.
    pub password_file: Option<PathBuf>,
}

/// Copies the backup and tells each server up to where it shall recover.
///
/// # Errors
/// It is no whole backup, a file was changed since, the version of PostgreSQL here is another one, or the disk is full.
pub fn restore(options: &RestoreOptions, mut progress: impl FnMut(&str)) -> anyhow::Result<()> {
    let manifest = Manifest::read(&options.from)?;
    let binaries = Binaries::find(None)?;
    if binaries.major_version != manifest.postgresql {
        bail!(
            "the backup is of PostgreSQL {}, and the programs here are version {}",
            manifest.postgresql,
            binaries.major_version
        );
    }
    let owner = Owner::choose()?;
    prepare(&options.to)?;
    // PostgreSQL's user must be able to pass through.
    owner.make_directory(&options.to, 0o755)?;
    let to = options.to.canonicalize()?;
    owner.check_reach(&to)?;
    owner.make_directory(&to.join("wal"), 0o700)?;
    for shard in &manifest.shards {
        let name = format!("shard-{}", shard.shard);
        let from = options.from.join(&name);
        verify(&binaries, &from.join("data"))?;
        let (data, wal) = (to.join(&name), to.join("wal").join(&name));
        copy(&from.join("data"), &data)?;
        copy(&from.join("wal"), &wal)?;
        recover_to(&data, &wal, &manifest.restore_point)?;
        give(&owner, &[&data, &wal])?;
        progress(&format!("{}: {}", name, data.display()));
    }
    let numbers: Vec<u16> = manifest.shards.iter().map(|shard| shard.shard).collect();
    describe(options, &to, &numbers, &mut progress)
}

/// For `oskol up`, which numbers its shards from 0.
fn describe(
    options: &RestoreOptions,
    to: &Path,
    numbers: &[u16],
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<()> {
    let Some(file) = &options.password_file else {
        return Ok(());
    };
    if (0..)
        .zip(numbers)
        .any(|(expected, number)| expected != *number)
    {
        bail!(
            "oskol up runs shards numbered from 0 without gaps, and these are {numbers:?}: give each to a server of its own"
        );
    }
    let password =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    LocalCluster::describe(to, numbers.len(), password.trim())?;
    progress(&format!("oskol up --data {}", to.display()));
    Ok(())
}

/// By the checksums that pg_basebackup has written down.
fn verify(binaries: &Binaries, data: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(binaries.program("pg_verifybackup"));
    run(command.args(["--no-parse-wal", "--quiet"]).arg(data))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cp");
    command.args(["-a", "--reflink=auto", "--no-target-directory"]);
    run(command.arg(from).arg(to))
}

/// `postgresql.auto.conf` is read last, and `recovery.signal` makes the server look at these settings once.
fn recover_to(data: &Path, wal: &Path, point: &str) -> anyhow::Result<()> {
    let path = data.join("postgresql.auto.conf");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    let command = format!("cp \"{}/%f\" \"%p\"", wal.display());
    let settings = [
        ("restore_command", command.as_str()),
        ("recovery_target_name", point),
        ("recovery_target_action", "promote"),
        ("recovery_target_timeline", "current"),
    ];
    for (name, value) in settings {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let signal = data.join("recovery.signal");
    fs::write(&signal, "").with_context(|| format!("cannot write {}", signal.display()))
}

/// Where root restores, the files are PostgreSQL's user's.
fn give(owner: &Owner, paths: &[&Path]) -> anyhow::Result<()> {
    if !owner.is_another() {
        return Ok(());
    }
    let mut command = Command::new("chown");
    run(command.arg("--recursive").arg(&owner.name).args(paths))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("{} cannot be run", Path::new(&name).display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{}: {}", shown(&name), said.trim());
}

fn shown(name: &OsStr) -> String {
    Path::new(name)
        .file_name()
        .unwrap_or(name)
        .to_string_lossy()
        .into_owned()
}
