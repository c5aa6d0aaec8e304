//! One router as a process of its own: started, waited for, killed, started again on the same port.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fault_points::FaultPoints;
use crate::{PATIENCE, block_on, connect};

/// A running router. Dropped, it is killed.
pub(crate) struct RouterProcess {
    child: Child,
    /// The thread that started it waits on the other end: the kernel kills the router when that thread ends.
    _keeper: Sender<()>,
    url: String,
    log: PathBuf,
}

impl RouterProcess {
    /// Starts a router with a configuration file and waits until a statement runs through it at `url`.
    pub(crate) fn start(
        config: &Path,
        environment: &[(String, String)],
        fault_points: &FaultPoints,
        log: &Path,
        url: String,
    ) -> RouterProcess {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", "--"])
            .arg(program())
            .args(["router", "--config"])
            .arg(config);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("one more handle"))
            .stderr(file);
        command
            .envs(environment.iter().cloned())
            .env("OSKOL_FAULT_POINTS", fault_points.directory());
        let (child, keeper) = spawn_kept(command);
        let mut router = RouterProcess {
            child,
            _keeper: keeper,
            url,
            log: log.to_owned(),
        };
        router.wait_ready();
        router
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As when the machine loses power: no goodbye.
    pub(crate) fn kill(mut self) {
        self.end(Signal::SIGKILL);
    }

    /// As an operator stops it; panics when it does not stop.
    pub(crate) fn stop(mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        // Not waited for until the loop below, so the id is still the router's.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        let deadline = Instant::now() + PATIENCE;
        while self.has_ended().is_none() {
            assert!(
                Instant::now() < deadline,
                "the router does not stop by {signal}:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .expect("the router is our child")
            .map(|status| status.to_string())
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match block_on(serves(&self.url)) {
                Ok(()) => return,
                Err(error) => error,
            };
            if let Some(status) = self.has_ended() {
                panic!("the router ended ({status}):\n{}", self.log_tail());
            }
            assert!(
                Instant::now() < deadline,
                "the router does not serve: {error}\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for RouterProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serves(url: &str) -> Result<(), tokio_postgres::Error> {
    connect(url).await?.simple_query("select 1").await.map(drop)
}

/// The kernel's signal at the parent's death goes by thread, and a test's thread ends with the test.
fn spawn_kept(mut command: Command) -> (Child, Sender<()>) {
    let (keep, kept): (Sender<()>, Receiver<()>) = channel();
    let (give, given) = channel();
    std::thread::spawn(move || {
        // Whoever asked is waiting for this.
        let _ = give.send(command.spawn());
        let _ = kept.recv();
    });
    let child = given.recv().expect("the thread sends once");
    (child.expect("setpriv (util-linux) runs"), keep)
}

/// Beside the test's own binary; cargo builds it before the tests of this crate run.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let places = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|place| place.join("oskol-under-test"));
    let found = places.into_iter().find(|program| program.exists());
    found.expect("oskol-under-test is built: run `cargo build -p tests --bins`, or the tests of the crate `tests`")
}
