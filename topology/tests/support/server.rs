//! A temporary PostgreSQL server for tests. Fails loudly where there is no PostgreSQL.
//!
//! Shared by path with the tests of other crates, because `topology` imports none of ours.
#![allow(dead_code)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

static NUMBER: AtomicU32 = AtomicU32::new(0);
static SHARED: Mutex<Weak<TemporaryServer>> = Mutex::new(Weak::new());

/// Stops and vanishes when dropped.
pub struct TemporaryServer {
    directory: PathBuf,
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    settings: String,
}

impl TemporaryServer {
    /// A server with default settings that the tests of one binary share; the last one stops it.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().expect("no test panics while starting it");
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server with settings such as `max_prepared_transactions=10`, superuser `postgres`,
    /// trust on every connection, encoding UTF8.
    pub fn start(settings: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("oskol-test-{}-{number}", std::process::id());
        let settings = settings
            .iter()
            .map(|setting| format!(" -c {setting}"))
            .collect();
        let server = Self {
            directory: std::env::temp_dir().join(name),
            binaries: binaries(),
            owner: owner(),
            port: free_port(),
            settings,
        };
        server.initialise();
        server.run();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file that the server may read and nobody else; gives its path.
    pub fn write_file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, contents).expect("a file for the server");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("it is ours");
        if let Some((user, group)) = self.owner {
            chown(&path, Some(user), Some(group)).expect("root may chown");
        }
        path
    }

    /// Connection parameters as tokio-postgres reads them.
    pub fn parameters(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database}",
            self.port
        )
    }

    /// Starts it again after [`Self::stop`], on the same port.
    pub fn run(&self) {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c fsync=off{}",
            self.port,
            self.directory.display(),
            self.settings
        );
        let log = self.directory.join("log");
        let mut command = self.command("pg_ctl");
        command
            .args(["start", "-w", "-t", "60", "-o", &options, "-l"])
            .arg(log);
        self.succeed(command.arg("-D").arg(self.data()));
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&self) {
        let mut command = self.command("pg_ctl");
        self.succeed(
            command
                .args(["stop", "-m", "immediate", "-w", "-D"])
                .arg(self.data()),
        );
    }

    fn initialise(&self) {
        std::fs::create_dir(&self.directory).expect("a fresh directory for the server");
        if let Some((user, group)) = self.owner {
            chown(&self.directory, Some(user), Some(group)).expect("root may chown");
        }
        let mut command = self.command("initdb");
        command.args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]);
        self.succeed(command.args(["--no-sync", "-D"]).arg(self.data()));
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        // A file, not a pipe: the postmaster inherits it, and a pipe would never come to its end.
        let output = std::fs::File::create(self.output()).expect("a file for the output");
        let errors = output.try_clone().expect("a second handle");
        command
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        command
    }

    fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    fn succeed(&self, command: &mut Command) {
        let status = command.status().expect("the program runs");
        let said = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (output, log) = (said(self.output()), said(self.directory.join("log")));
        assert!(status.success(), "{command:?} failed: {output}\n{log}");
    }
}

impl Drop for TemporaryServer {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl");
        let stopped = command
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.data())
            .status();
        if let Err(error) = stopped {
            eprintln!(
                "a test server was left behind in {}: {error}",
                self.directory.display()
            );
        }
        // Nothing depends on its being gone.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// `OSKOL_PG_BIN`, or the newest PostgreSQL where Debian puts it.
fn binaries() -> PathBuf {
    if let Some(directory) = std::env::var_os("OSKOL_PG_BIN") {
        return directory.into();
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = installed.map(|entry| entry.path()).max_by_key(version);
    let directory = newest
        .expect("no PostgreSQL: install it, or set OSKOL_PG_BIN")
        .join("bin");
    assert!(
        directory.join("initdb").exists(),
        "no initdb in {}",
        directory.display()
    );
    directory
}

/// PostgreSQL refuses to run as root: then user and group of `postgres`.
fn owner() -> Option<(u32, u32)> {
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .expect("the program id");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("id {arguments:?}: there is no such user"))
}

/// Below the range that the kernel gives to outgoing connections, one of which could take the port
/// between this look and the server's start.
fn free_port() -> u16 {
    let random = || RandomState::new().build_hasher().finish();
    let candidates = std::iter::repeat_with(|| 15_000 + (random() % 17_000) as u16);
    let mut free = candidates
        .take(1000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}
