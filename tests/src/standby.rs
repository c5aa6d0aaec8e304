//! A streaming standby of a shard, for tests of failover.

use shard_node::{Server, ShardNode, free_port};

use crate::{PATIENCE, template};

/// A running standby. Dropped, it is stopped.
pub struct Standby {
    pub node: ShardNode,
    _server: Server,
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
            _server: server,
        }
    }

    /// `host:port`, as in a shard's list of hosts.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.node.port)
    }

    pub fn url(&self) -> String {
        crate::cluster::url(self.node.port, "postgres")
    }
}
