//! Keeps one server running: a thread that starts it, waits for its end, and starts it again until told to stop.
//!
//! The thread is the server's parent, so the kernel signals the server when the thread (or our whole process) dies.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::error::AtPath;
use crate::pidfile::PidFile;
use crate::{Error, Result, ShardNode, leftover, settings};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server that ran this long was well; the next pause is the first again.
const RAN_WELL: Duration = Duration::from_secs(30);
/// A fast shutdown writes a checkpoint; after this long it is cut short.
const FAST_STOP: Duration = Duration::from_secs(30);
const IMMEDIATE_STOP: Duration = Duration::from_secs(10);
/// The file of start messages is begun anew above this size, in bytes.
const START_LOG_LIMIT: u64 = 8 << 20;

/// How to stop; PostgreSQL's own terms (pg_ctl).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, a checkpoint is written.
    Fast,
    /// As after a crash: the next start recovers.
    Immediate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Started for the first time: an end is a failure to be reported, not mended.
    FirstStart,
    Run,
    Stop,
}

struct State {
    wish: Wish,
    /// Some while there is a process that was not waited for: only then may its id be signalled.
    pid: Option<Pid>,
    restarts: u64,
    /// The thread has ended.
    over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, also after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A running server. Dropped, it is stopped at once ([`Stop::Immediate`]).
pub struct Server {
    node: ShardNode,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ShardNode {
    /// Starts the server and keeps it running. Returns once it accepts connections; an error with the end of its
    /// log where it ends before, or is not ready within `patience` (recovery after a crash can take long).
    pub fn start(&self, patience: Duration) -> Result<Server> {
        self.prepare_directories()?;
        settings::write(self)?;
        leftover::clear(&self.data_directory)?;
        let state = State {
            wish: Wish::FirstStart,
            pid: None,
            restarts: 0,
            over: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let (node, for_thread) = (self.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || supervise(&node, &for_thread))
            .map_err(|source| Error::Run {
                program: self.name.clone(),
                source,
            })?;
        let server = Server {
            node: self.clone(),
            shared,
            thread: Some(thread),
        };
        server.wait_ready(patience)?;
        server.shared.change(|state| state.wish = Wish::Run);
        // It may have died between the two lines above.
        server.wait_ready(patience)?;
        Ok(server)
    }
}

impl Server {
    pub fn node(&self) -> &ShardNode {
        &self.node
    }

    /// The postmaster's process id; none between a death and the next start.
    pub fn pid(&self) -> Option<u32> {
        self.shared
            .lock()
            .pid
            .map(|pid| pid.as_raw().unsigned_abs())
    }

    /// How many times it had to be started again.
    pub fn restarts(&self) -> u64 {
        self.shared.lock().restarts
    }

    /// Accepts connections, as its `postmaster.pid` says.
    pub fn is_ready(&self) -> bool {
        let pid = self.shared.lock().pid;
        PidFile::read(&self.node.data_directory)
            .is_some_and(|file| Some(file.pid) == pid && file.is_ready())
    }

    /// Waits until it accepts connections.
    pub fn wait_ready(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.is_ready() {
            let log = || self.node.log_tail(20);
            if self.shared.lock().over {
                return Err(Error::NotStarted {
                    name: self.node.name.clone(),
                    log: log(),
                });
            }
            if Instant::now() > deadline {
                let (name, seconds) = (self.node.name.clone(), patience.as_secs());
                return Err(Error::NotReady {
                    name,
                    seconds,
                    log: log(),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends SIGKILL to the postmaster, as the kernel does when memory runs out. The supervisor starts it again.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Begins to stop and does not wait, so that several servers can stop at the same time.
    pub fn begin_stop(&self, how: Stop) {
        self.shared.change(|state| state.wish = Wish::Stop);
        self.signal(match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
        });
    }

    /// Stops, waits, and goes on to harsher ways where it takes longer than 30 s.
    pub fn stop(mut self, how: Stop) {
        self.stop_and_wait(how);
    }

    fn stop_and_wait(&mut self, how: Stop) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.begin_stop(how);
        if !self.over_within(if how == Stop::Fast {
            FAST_STOP
        } else {
            IMMEDIATE_STOP
        }) {
            tracing::warn!(
                server = self.node.name,
                "does not stop in time: immediate shutdown"
            );
            self.signal(Signal::SIGQUIT);
            if !self.over_within(IMMEDIATE_STOP) {
                self.signal(Signal::SIGKILL);
            }
        }
        // A panic of the thread has been printed; its server got the signal of its parent's death.
        let _ = thread.join();
    }

    fn over_within(&self, patience: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.over);
        waited.unwrap_or_else(PoisonError::into_inner).0.over
    }

    fn signal(&self, signal: Signal) {
        let state = self.shared.lock();
        if let Some(pid) = state.pid {
            // It may be dead and not yet waited for; then there is nobody to tell.
            let _ = kill(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_and_wait(Stop::Immediate);
    }
}

/// The thread's work: run, wait, pause, again.
fn supervise(node: &ShardNode, shared: &Shared) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        match run_once(node, shared) {
            Ok(status) => log_end(node, shared, status),
            Err(error) => tracing::error!(server = node.name, %error, "cannot be started"),
        }
        if started.elapsed() > RAN_WELL {
            pause = FIRST_PAUSE;
        }
        if !goes_on_after(shared, pause) {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        shared.change(|state| state.restarts += 1);
    }
    shared.change(|state| state.over = true);
}

/// Starts the server and waits for its end; none where it was told to stop before.
fn run_once(node: &ShardNode, shared: &Shared) -> Result<Option<ExitStatus>> {
    leftover::clear(&node.data_directory)?;
    let Some(mut child) = start_unless_stopped(node, shared)? else {
        return Ok(None);
    };
    // Waits without taking the process id away, which others may be about to signal.
    let pid = Pid::from_raw(child.id().cast_signed());
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut state = shared.lock();
    state.pid = None;
    let status = child.wait().map_err(|source| Error::Run {
        program: node.name.clone(),
        source,
    })?;
    Ok(Some(status))
}

fn start_unless_stopped(node: &ShardNode, shared: &Shared) -> Result<Option<Child>> {
    let mut state = shared.lock();
    if state.wish == Wish::Stop {
        return Ok(None);
    }
    let child = spawn(node)?;
    state.pid = Some(Pid::from_raw(child.id().cast_signed()));
    Ok(Some(child))
}

fn spawn(node: &ShardNode) -> Result<Child> {
    let log = start_log(node)?;
    let also_log = log.try_clone().at("cannot write", &node.start_log())?;
    let postgres = node.binaries.program("postgres");
    let mut command = node
        .owner
        .command_that_dies(&postgres, Some(node.signal_at_our_death));
    command
        .arg("-D")
        .arg(&node.data_directory)
        .stdout(log)
        .stderr(also_log);
    command.spawn().map_err(|source| Error::Run {
        program: postgres.display().to_string(),
        source,
    })
}

fn start_log(node: &ShardNode) -> Result<File> {
    let path = node.start_log();
    let too_long = path
        .metadata()
        .is_ok_and(|metadata| metadata.len() > START_LOG_LIMIT);
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .append(true)
        .open(&path)
        .at("cannot write", &path)?;
    if too_long {
        file.set_len(0).at("cannot shorten", &path)?;
    }
    Ok(file)
}

fn log_end(node: &ShardNode, shared: &Shared, status: Option<ExitStatus>) {
    let Some(status) = status else { return };
    let (server, code, signal) = (&node.name, status.code(), status.signal());
    match shared.lock().wish {
        Wish::Stop => tracing::info!(server, "stopped"),
        Wish::Run => tracing::warn!(server, code, signal, "ended by itself; it is started again"),
        Wish::FirstStart => tracing::error!(server, code, signal, "did not start"),
    }
}

/// Waits for `pause`, or for a wish to stop. Whether to start again.
fn goes_on_after(shared: &Shared, pause: Duration) -> bool {
    let state = shared.lock();
    if state.wish == Wish::FirstStart {
        return false;
    }
    let waited = shared
        .changed
        .wait_timeout_while(state, pause, |state| state.wish != Wish::Stop);
    waited.unwrap_or_else(PoisonError::into_inner).0.wish != Wish::Stop
}
