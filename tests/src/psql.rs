//! Runs psql, as a person at a terminal does.

use std::io::Write as _;
use std::process::{Command, Stdio};

use shard_node::Binaries;

/// What psql left.
#[derive(Debug, Clone)]
pub struct Psql {
    pub stdout: String,
    pub stderr: String,
    /// psql's exit status: 0 fine, 1 its own trouble, 2 no connection, 3 error of a script with ON_ERROR_STOP;
    /// 124 where it took longer than a minute.
    pub status: Option<i32>,
}

impl Psql {
    /// The output of a run without errors.
    pub fn ok(self) -> String {
        assert!(
            self.status == Some(0) && self.stderr.is_empty(),
            "psql: {self:#?}"
        );
        self.stdout
    }
}

/// psql without a start-up file, stopping at the first error, with `arguments` and a script on its input.
pub fn psql(url: &str, arguments: &[&str], script: &str) -> Psql {
    let program = Binaries::find(None)
        .unwrap_or_else(|error| panic!("{error}"))
        .program("psql");
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).args([
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        url,
    ]);
    command
        .args(arguments)
        .env("PSQL_PAGER", "")
        .env("LC_ALL", "C.UTF-8");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("timeout and psql run");
    let mut input = child.stdin.take().expect("its input is a pipe");
    let script = script.to_owned();
    // Apart, so that a long script and a long output do not wait for one another. psql may end before it reads all.
    let writer = std::thread::spawn(move || drop(input.write_all(script.as_bytes())));
    let output = child.wait_with_output().expect("psql is our child");
    drop(writer.join());
    Psql {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    }
}
