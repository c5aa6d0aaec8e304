//! `oskol up` as a person uses it: started, used, killed here and there, stopped, started again.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{PATIENCE, psql};

/// A running `oskol up`. Dropped, it is told to stop and waited for.
struct Up {
    child: Child,
    lines: Receiver<String>,
}

impl Up {
    fn start(directory: &Path, more: &[&str]) -> Up {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oskol-under-test"));
        command.arg("up");
        Up::run(command, directory, more)
    }

    /// A command that takes the arguments of `oskol up`.
    fn run(mut command: Command, directory: &Path, more: &[&str]) -> Up {
        let port = shard_node::free_port().unwrap().to_string();
        command
            .args(["--port", &port, "--data"])
            .arg(directory)
            .args(more);
        command
            .env("OSKOL_ADMIN__ADDRESS", "")
            .env("OSKOL_LOG__LEVEL", "warn");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                // Nobody may be listening any more; the pipe is read all the same.
                let _ = send.send(line.unwrap());
            }
        });
        Up { child, lines }
    }

    /// The connection string of the line `ready:`.
    fn ready(&self) -> String {
        self.said("ready: ")
    }

    /// The rest of the next line that begins with this.
    fn said(&self, begin: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(4 * PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it prints {begin}"));
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    }

    /// Its exit status: 0 for an orderly end.
    fn stop(&mut self, signal: Signal) -> Option<i32> {
        // Its process id is its own until it is waited for, below.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.stop(Signal::SIGTERM);
    }
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new()
        .prefix("oskol-up-")
        .tempdir()
        .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    directory
}

fn answer(url: &str, statement: &str) -> String {
    psql(url, &["--tuples-only", "--no-align"], statement)
        .ok()
        .trim()
        .to_owned()
}

fn postmaster(directory: &Path, shard: usize) -> Option<Pid> {
    let file = directory.join(format!("shard-{shard}/postmaster.pid"));
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().next()?.parse().ok().map(Pid::from_raw)
}

#[test]
fn the_ready_line_is_a_connection_string_that_works_and_data_stays() {
    let directory = directory();
    let data = directory.path().join("data");
    let mut up = Up::start(&data, &["--shards", "2"]);
    let url = up.ready();
    answer(
        &url,
        "create table kept (answer int); insert into kept values (42)",
    );
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
    assert_eq!(postmaster(&data, 0), None, "the shards are stopped");

    let mut up = Up::start(&data, &[]);
    assert_eq!(answer(&up.ready(), "select answer from kept"), "42");
    assert_eq!(up.stop(Signal::SIGINT), Some(0));
}

#[test]
fn a_shard_killed_is_back_and_nothing_is_left_when_oskol_is_killed() {
    let directory = directory();
    let data = directory.path().join("data");
    let mut up = Up::start(&data, &["--shards", "2"]);
    let url = up.ready();
    let before = postmaster(&data, 1).unwrap();
    kill(before, Signal::SIGKILL).unwrap();
    until("the shard is back", || {
        let serves = psql(
            &url,
            &[],
            "create table if not exists on_all_shards (id int)",
        );
        postmaster(&data, 1).is_some_and(|pid| pid != before) && serves.status == Some(0)
    });
    up.stop(Signal::SIGKILL);
    until("the shards are gone", || {
        (0..2).all(|shard| postmaster(&data, shard).is_none_or(|pid| kill(pid, None).is_err()))
    });
}

/// What `make up` runs, with the programs that the tests have built: a person's first session and the social network beside it.
#[test]
fn the_script_of_make_up_runs_the_cluster_and_a_town() {
    let directory = directory();
    let programs = directory.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    for (name, built) in [
        ("oskol", env!("CARGO_BIN_EXE_oskol-under-test")),
        ("social-app", env!("CARGO_BIN_EXE_social-app-under-test")),
    ] {
        std::os::unix::fs::symlink(built, programs.join(name)).unwrap();
    }
    let data = directory.path().join("data");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/up.sh");
    let start = || {
        let mut command = Command::new(script);
        let app_port = shard_node::free_port().unwrap();
        command
            .env("PROGRAMS", &programs)
            .env("SOCIAL_PEOPLE", "12")
            .env("SOCIAL_PICTURES", "2")
            .env("SOCIAL_LISTEN", format!("127.0.0.1:{app_port}"));
        Up::run(command, &data, &["--shards", "2"])
    };

    let mut up = start();
    let url = up.ready();
    let page = up.said("social network: ");
    let address = page.split_whitespace().next().unwrap();
    assert!(first_page(address).contains("<html"), "{page}");
    assert_eq!(
        answer(
            &url,
            "select count(*) from pg_tables where schemaname = 'public'"
        ),
        "0"
    );
    answer(&url, "create table users (id bigint primary key)");
    let town = |url: String| url.replacen("/postgres?", "/town?", 1);
    let people: u32 = answer(&town(url), "select count(*) from users")
        .parse()
        .unwrap();
    assert!(people >= 10, "{people}");
    // Not SIGINT: a shell that is started with it ignored, as in the background, cannot take it up again.
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
    assert_eq!(postmaster(&data, 0), None, "the shards are stopped");

    let mut up = start();
    let url = up.ready();
    up.said("social network: ");
    let still = answer(&town(url), "select count(*) from users");
    assert_eq!(still, people.to_string());
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
}

/// Of a plain HTTP request for `/` at `http://host:port`.
fn first_page(address: &str) -> String {
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_port_in_use_is_told_before_anything_is_started() {
    let directory = directory();
    let (taken, before) = loop {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let before = taken.local_addr().unwrap().port() - 1;
        if std::net::TcpListener::bind(("127.0.0.1", before)).is_ok() {
            break (taken, before.to_string());
        }
    };
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oskol-under-test"));
    let data = directory.path().join("data");
    let output = command
        .args(["up", "--port", &port, "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--port") && error.contains(&port), "{error}");
    assert!(!data.exists());
    // The port of operators goes along.
    let mut command = Command::new(env!("CARGO_BIN_EXE_oskol-under-test"));
    let output = command
        .args(["up", "--port", &before, "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&port), "{error}");
    assert!(error.contains("admin.address"), "{error}");
    assert!(!data.exists());
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            std::time::Instant::now() < deadline,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
