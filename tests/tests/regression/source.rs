//! PostgreSQL's own regression files, from Debian's source package: fetched once, kept under `target`, never committed.

use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "src/test/regress";

/// Lists of Debian's that name source packages; the newest first that can be had.
const SUITES: &str = "\
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian @SUITE@ main
";

/// The folder with `sql` and `data` in it. Errors: why it cannot be had, in words.
pub fn folder() -> Result<PathBuf, String> {
    let keep = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgresql-regress");
    let ready = keep.join("regress");
    if ready.join("sql/test_setup.sql").exists() {
        return Ok(ready);
    }
    std::fs::create_dir_all(&keep).map_err(|error| error.to_string())?;
    let work = tempfile::tempdir_in(&keep).map_err(|error| error.to_string())?;
    let archive = download(work.path())?;
    unpack(&archive, work.path())?;
    let regress = only_folder(work.path())?.join(FOLDER);
    // Another test process may have been quicker: its copy is as good.
    match std::fs::rename(&regress, &ready) {
        Err(error) if !ready.exists() => Err(error.to_string()),
        _ => Ok(ready),
    }
}

/// `apt-get source`, with lists and caches of its own, so that the machine's stay as they are.
fn download(work: &Path) -> Result<PathBuf, String> {
    let suite = suite()?;
    let lists = work.join("apt/lists/partial");
    let cache = work.join("apt/cache/archives/partial");
    for folder in [&lists, &cache] {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    let sources = work.join("apt/sources.list");
    std::fs::write(&sources, SUITES.replace("@SUITE@", &suite))
        .map_err(|error| error.to_string())?;
    apt(work, &["update"])?;
    let package = format!("postgresql-{}", major_version()?);
    apt(work, &["source", "--download-only", &package])?;
    let entries = std::fs::read_dir(work).map_err(|error| error.to_string())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let is_original = |path: &PathBuf| path.to_string_lossy().contains(".orig.tar");
    paths
        .find(is_original)
        .ok_or_else(|| "the source package has no original archive".to_owned())
}

fn apt(work: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    let option = |name: &str, path: &str| format!("{name}={}", work.join(path).display());
    let options = [
        option("Dir::Etc::SourceList", "apt/sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        option("Dir::State::Lists", "apt/lists"),
        option("Dir::Cache", "apt/cache"),
        "APT::Sandbox::User=".to_owned(),
        "Acquire::http::Timeout=20".to_owned(),
        "Acquire::Retries=1".to_owned(),
    ];
    for option in &options {
        command.args(["-o", option]);
    }
    run(command.args(arguments).current_dir(work))
}

fn unpack(archive: &Path, work: &Path) -> Result<(), String> {
    let mut command = Command::new("tar");
    command.arg("-xf").arg(archive).arg("--no-same-owner");
    command.args([
        "--wildcards",
        "*/src/test/regress/sql/*",
        "*/src/test/regress/data/*",
    ]);
    run(command.current_dir(work))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{name}: {}",
        said.lines().last().unwrap_or("failed")
    ))
}

/// The unpacked source tree.
fn only_folder(work: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(work).map_err(|error| error.to_string())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.join(FOLDER).is_dir())
        .ok_or_else(|| "the archive has no regression files".to_owned())
}

/// Debian's name of this release.
fn suite() -> Result<String, String> {
    let release = std::fs::read_to_string("/etc/os-release").map_err(|error| error.to_string())?;
    let value = |name: &str| {
        let line = release.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once('=')?.1.trim_matches('"').to_owned())
    };
    match (value("ID=").as_deref(), value("VERSION_CODENAME=")) {
        (Some("debian"), Some(suite)) => Ok(suite),
        _ => Err("this is no Debian, whose source package the files come from".to_owned()),
    }
}

/// Of the PostgreSQL that the tests run.
fn major_version() -> Result<String, String> {
    let binaries = shard_node::Binaries::find(None).map_err(|error| error.to_string())?;
    let output = Command::new(binaries.program("postgres"))
        .arg("--version")
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .nth(2)
        .and_then(|version| version.split('.').next());
    version
        .map(str::to_owned)
        .ok_or_else(|| format!("no version in {text:?}"))
}
