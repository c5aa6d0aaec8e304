//! A running agent, in a temporary directory.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shard_node::agent::Endpoint;
use shard_node::agent::call::Call;
use shard_node::{SUPERUSER, free_port};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

pub const PATIENCE: Duration = Duration::from_secs(90);
const PASSWORD: &str = "correct horse";

pub fn directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("oskol-agent-")
        .tempdir()
        .unwrap();
    // The servers' user must be able to enter.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

pub fn secret(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("{text}\n")).unwrap();
    // Root's alone, where root runs the test.
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

pub struct Options {
    pub directory: PathBuf,
    pub password: &'static str,
    pub more: Vec<String>,
}

impl Options {
    /// Its places are in `DIR/shards`.
    pub fn new(directory: &Path) -> Options {
        Options {
            directory: directory.to_owned(),
            password: PASSWORD,
            more: Vec::new(),
        }
    }

    pub fn with(mut self, more: &[&str]) -> Options {
        self.more.extend(more.iter().map(|text| (*text).to_owned()));
        self
    }
}

pub struct Agent {
    child: Child,
    pub port: u16,
    pub health: Endpoint,
    log: PathBuf,
}

impl Agent {
    pub fn start(options: &Options) -> Agent {
        let (port, health_port) = (free_port().unwrap(), free_port().unwrap());
        let log = options.directory.join(format!("agent-{port}.log"));
        let password = secret(&options.directory, "password", options.password);
        let mut command = Command::new(env!("CARGO_BIN_EXE_shard-node"));
        command
            .args(["start", "--dir"])
            .arg(options.directory.join("shards"))
            .arg("--password-file")
            .arg(password)
            .args(["--port", &port.to_string()])
            .args(["--health-address", &format!("127.0.0.1:{health_port}")])
            .args(["--setting", "fsync=off"])
            .args(&options.more)
            .stdin(Stdio::null())
            .stdout(File::create(log.with_extension("out")).unwrap())
            .stderr(File::create(&log).unwrap());
        Agent {
            child: command.spawn().unwrap(),
            port,
            health: format!("http://127.0.0.1:{health_port}").parse().unwrap(),
            log,
        }
    }

    /// Starts it and waits until its server answers.
    pub fn ready(options: &Options) -> Agent {
        let mut agent = Agent::start(options);
        agent.eventually("the server answers", |page| page["status"] == "ok");
        agent
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the health page is as wanted, and gives it.
    pub fn eventually(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        loop {
            if let Some((_, page)) = self.page("/health") {
                last = serde_json::from_str(&page).unwrap();
                if wanted(&last) {
                    return last;
                }
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.log());
            }
            let log = || self.log();
            assert!(
                Instant::now() < deadline,
                "not in time: {what}: {last}\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// None where nobody answers.
    pub fn page(&self, path: &str) -> Option<(StatusCode, String)> {
        let call = Call {
            method: Method::GET,
            path,
            token: None,
            body: None,
            limit: Duration::from_secs(10),
        };
        let (status, body) = runtime().block_on(self.health.call(&call)).ok()?;
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// The first value of the last row.
    pub fn sql(&self, statements: &str) -> String {
        runtime().block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(self.port).user(SUPERUSER);
            config.password(PASSWORD).dbname("postgres");
            let (client, connection) = config.connect(NoTls).await.unwrap();
            let task = tokio::spawn(connection);
            let messages = client.simple_query(statements).await.unwrap();
            drop(client);
            task.await.unwrap().unwrap();
            let rows = messages.iter().rev().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            rows.unwrap_or_default()
        })
    }

    /// By SIGTERM.
    pub fn stop(mut self) -> ExitStatus {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.child.wait().unwrap()
    }

    /// Of an agent that ends by itself.
    pub fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the agent did not end: {}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The kernel then stops its server.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
