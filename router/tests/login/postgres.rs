//! One PostgreSQL server with a role for every way to log in.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use router::config::{ShardConfig, ShardTls, SslMode};
use router::dial::dial;
use router::scram::client::{self, Proof};
use router::scram::server::{self, Binding, Expected};
use router::scram::{ScramKeys, Verifier, nonce};
use router::stream::Stream;
use shard_node::{LocalCluster, LocalClusterOptions, Server};
use tempfile::TempDir;
use topology::ShardId;

pub const LIMIT: Duration = Duration::from_secs(30);
/// SASLprep makes "IX" of it.
pub const PASSWORD: &str = "\u{2168} 'sécret'";

const ACCESS: &str = "\
local     all  clear                  password
local     all  all                    scram-sha-256
hostssl   all  bound    127.0.0.1/32  scram-sha-256
host      all  bound    127.0.0.1/32  reject
host      all  old      127.0.0.1/32  md5
host      all  clear    127.0.0.1/32  password
host      all  trusted  127.0.0.1/32  trust
host      all  all      127.0.0.1/32  scram-sha-256
";

pub struct Postgres {
    pub verifier: String,
    servers: Vec<Server>,
    _cluster: LocalCluster,
    _directory: TempDir,
}

static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

impl Postgres {
    /// The server of the tests that run now; started by the first, stopped with the last.
    pub fn get() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("oskol-login-")
            .tempdir()
            .unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut options = LocalClusterOptions::new(directory.path().join("cluster"));
        options.shards = Some(1);
        options.signal_at_our_death = "KILL";
        options.settings = vec![
            ("fsync".to_owned(), "off".to_owned()),
            ("ssl".to_owned(), "on".to_owned()),
        ];
        let cluster = LocalCluster::open(&options, |_| {}).unwrap();
        write_files(&cluster);
        let servers = cluster.start(LIMIT).unwrap();
        let verifier = router::scram::build_verifier(PASSWORD);
        create_roles(&servers[0], &verifier);
        Self {
            verifier,
            servers,
            _cluster: cluster,
            _directory: directory,
        }
    }

    pub fn port(&self) -> u16 {
        self.servers[0].node().port
    }

    fn shard(&self, host: &str) -> ShardConfig {
        ShardConfig {
            id: ShardId(0),
            host: host.to_owned(),
            port: self.port(),
            weight: 1.0,
            patroni: None,
        }
    }

    pub async fn dial(&self, mode: SslMode) -> Stream {
        let tls = ShardTls {
            mode,
            root_certificate: None,
        };
        dial(&self.shard("127.0.0.1"), &tls, LIMIT).await.unwrap()
    }

    pub async fn dial_unix(&self) -> Stream {
        let directory = self.servers[0]
            .node()
            .socket_directory
            .display()
            .to_string();
        dial(&self.shard(&directory), &ShardTls::default(), LIMIT)
            .await
            .unwrap()
    }

    /// What a client with the password would have revealed to a router that has the verifier.
    pub fn keys(&self) -> ScramKeys {
        keys(&self.verifier)
    }
}

pub fn keys(verifier: &str) -> ScramKeys {
    let expected = Expected::of(Verifier::parse(verifier).unwrap());
    let (first, started) = client::start(
        Proof::Password(PASSWORD),
        client::Binding::Impossible,
        "",
        nonce(),
    );
    let (reply, pending) =
        server::start(expected, Binding::Impossible, first.as_bytes(), &nonce()).unwrap();
    let (last, _) = started.answer(reply.as_bytes()).unwrap();
    pending.finish(last.as_bytes()).unwrap().keys
}

fn write_files(cluster: &LocalCluster) {
    let node = &cluster.shards[0];
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = [
        ("pg_hba.conf", ACCESS.to_owned()),
        ("server.crt", made.cert.pem()),
        ("server.key", made.signing_key.serialize_pem()),
    ];
    for (name, text) in files {
        let path = node.data_directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        node.owner.give(&path).unwrap();
    }
}

fn create_roles(server: &Server, verifier: &str) {
    let password = PASSWORD.replace('\'', "''");
    let sql = format!(
        "create role plain login password '{password}';
         create role bound login password '{verifier}';
         create role built login password '{verifier}';
         create role clear login password '{password}';
         create role trusted login;
         set password_encryption = md5;
         create role old login password '{password}';"
    );
    let node = server.node();
    // A test that asks for the server runs a runtime of its own on this thread.
    std::thread::scope(|scope| {
        let created = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let config = node.connection("postgres");
                let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute(&sql).await.unwrap();
            });
        });
        created.join().unwrap();
    });
}
