//! Other languages' tools for tests of real clients: found, their packages installed under the target directory.
//!
//! A tool that is not on the machine is a reason to skip ([`skip`]); one that is there and fails is a failure.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::fcntl::{Flock, FlockArg};

/// A client that takes longer hangs.
const PATIENCE_SECONDS: &str = "300";

/// Why a test cannot run here: a tool's name and where it is from.
#[derive(Debug)]
pub struct Missing(String);

/// Says on stderr, past the capture of output, that `test` did not run; with `CLIENT_TESTS_REQUIRED=1` it fails.
pub fn skip(test: &str, missing: &Missing) {
    let required = std::env::var("CLIENT_TESTS_REQUIRED").is_ok_and(|value| value == "1");
    assert!(!required, "{test} cannot run: {}", missing.0);
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "skipped {test}: {}", missing.0);
}

/// The directory `tests` of the workspace.
pub fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's target directory, which this test's binary is in.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST
    let target = test
        .ancestors()
        .nth(3)
        .expect("cargo's layout of the target directory");
    target.to_owned()
}

/// Finds `program` on PATH.
pub fn tool(program: &str, package: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing(format!("{program} is not installed ({package})")))
}

/// A Python with the packages of `requirements`, from `target/venv`.
pub fn python(requirements: &Path) -> Result<PathBuf, Missing> {
    let system = tool("python3", "Debian: python3 python3-venv")?;
    let venv = target().join("venv");
    let python = venv.join("bin/python");
    let wanted =
        std::fs::read_to_string(requirements).expect("the requirements are in the repository");
    let name = requirements.parent().and_then(Path::file_name);
    let name = name.expect("in a directory").to_string_lossy();
    installed_once(&venv.join(format!("{name}.installed")), &wanted, || {
        if !python.exists() {
            succeed(Command::new(&system).args(["-m", "venv"]).arg(&venv));
        }
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        succeed(pip.arg("-r").arg(requirements));
    });
    Ok(python)
}

/// A directory whose `node_modules` has what `package` (a package.json) asks for, in the versions of the lock file
/// beside it.
pub fn node_packages(package: &Path) -> Result<PathBuf, Missing> {
    let npm = tool("npm", "Debian: npm")?;
    let directory = target().join("node");
    let lock = package.with_file_name("package-lock.json");
    let wanted = std::fs::read_to_string(&lock).expect("package-lock.json is in the repository");
    installed_once(&directory.join("package.installed"), &wanted, || {
        for file in [package, &lock] {
            let name = file.file_name().expect("a file's path");
            std::fs::copy(file, directory.join(name)).expect("the target directory is ours");
        }
        let mut install = Command::new(&npm);
        install.args(["ci", "--silent", "--no-audit", "--no-fund"]);
        succeed(install.current_dir(&directory));
    });
    Ok(directory)
}

/// Runs `install` unless `stamp` says that it ran for `wanted`; one test process at a time.
fn installed_once(stamp: &Path, wanted: &str, install: impl FnOnce()) {
    let directory = stamp.parent().expect("in a directory");
    std::fs::create_dir_all(directory).expect("the target directory is ours");
    let lock = File::create(directory.join(".lock")).expect("the target directory is ours");
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error);
    let _lock = lock.expect("a lock on a file of ours");
    if std::fs::read_to_string(stamp).is_ok_and(|have| have == wanted) {
        return;
    }
    install();
    std::fs::write(stamp, wanted).expect("the target directory is ours");
}

/// Runs `command` within a time limit and panics with all its output when it fails. Gives its standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = within_time(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {} (124: it took longer than {PATIENCE_SECONDS} s)\n{text}{errors}",
        output.status,
    );
    text
}

fn within_time(command: &Command) -> Output {
    let mut limited = Command::new("timeout");
    limited
        .args(["--kill-after=5", PATIENCE_SECONDS])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    limited.output().expect("timeout (coreutils) runs")
}
