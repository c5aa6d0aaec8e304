//! A streaming standby of a shard, for tests of failover.

use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shard_node::{Server, ShardNode, Stop, free_port};

use crate::{PATIENCE, template};

/// A running standby. Dropped, it is stopped.
pub struct Standby {
    pub node: ShardNode,
    server: Mutex<Option<Server>>,
}

impl Standby {
    /// Copies a running server and follows it.
    pub(crate) fn of(primary: &ShardNode) -> Standby {
        let node = ShardNode {
            name: format!("{}-standby", primary.name),
            data_directory: primary.data_directory.with_extension("standby"),
            port: free_port().unwrap_or_else(|error| panic!("{error}")),
            ..primary.clone()
        };
        node.owner
            .make_directory(&node.data_directory, 0o700)
            .unwrap_or_else(|error| panic!("{error}"));
        let target = format!(
            "host=127.0.0.1 port={} user=postgres password={} application_name=standby",
            primary.port,
            template::PASSWORD
        );
        let mut copy = node.owner.command(node.binaries.program("pg_basebackup"));
        copy.arg("-D").arg(&node.data_directory);
        copy.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "-d",
            &target,
        ]);
        let output = copy.output().expect("pg_basebackup runs");
        assert!(output.status.success(), "{output:?}");
        let server = node
            .start(PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"));
        Standby {
            node,
            server: Mutex::new(Some(server)),
        }
    }

    /// `host:port`, as in a shard's list of hosts.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.node.port)
    }

    /// Stops it for good.
    pub fn stop(&self, how: Stop) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        server.into_iter().for_each(|server| server.stop(how));
    }

    /// All its processes stand still, as on a machine that hangs, until [`Standby::goes_on`].
    pub fn hang(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn goes_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pidfile = std::fs::read_to_string(self.node.data_directory.join("postmaster.pid"));
        let pid: i32 = pidfile
            .expect("it runs")
            .lines()
            .next()
            .expect("a line")
            .parse()
            .expect("a pid");
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
        let children = children
            .split_whitespace()
            .map(|child| child.parse().expect("a pid"));
        for process in std::iter::once(pid).chain(children) {
            // One of them may just have ended.
            let _ = kill(Pid::from_raw(process), signal);
        }
    }

    pub fn url(&self) -> String {
        crate::cluster::url(self.node.port, "postgres")
    }
}
