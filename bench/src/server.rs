//! A server process of a measurement: waited for, and stopped when dropped.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for a server to answer after its start.
const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    stop: Signal,
}

impl Server {
    /// Starts `command` with its output in `directory/NAME.log`; `stop` ends it when dropped.
    pub fn start(
        name: &str,
        command: &mut Command,
        directory: &Path,
        stop: Signal,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            stop,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Polls until `ready` says so; an ended server or the deadline is an error with the log's end.
    pub async fn wait_until<F, R>(&mut self, ready: F) -> anyhow::Result<()>
    where
        F: Fn() -> R,
        R: Future<Output = bool>,
    {
        let deadline = Instant::now() + START_DEADLINE;
        while !ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log_end());
            }
            if Instant::now() > deadline {
                bail!("{} does not answer:\n{}", self.name, self.log_end());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended by itself; then there is nothing left to do.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), self.stop);
        }
        let _ = self.child.wait();
    }
}

/// `program` as the user we are, told to stop when this process dies.
pub fn same_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}
