//! The control plane against real servers: two shards, one or two routers.

#[path = "../../topology/tests/support/server.rs"]
mod server;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use router::config::{Config, ShardConfig};
use router::control::{Control, Database, GlobalId, Outcome, StartError};
use router::handshake::RoleSecrets;
use router::plan::SequenceName;
use router::worker::{WorkerHandle, WorkerMessage};
use schema::Placement;
use schema::oids::Direction;
use server::TemporaryServer;
use tokio_postgres::{Client, NoTls};
use topology::{BUCKETS, ShardId};

const SETTINGS: [&str; 3] = [
    "max_prepared_transactions=20",
    "wal_level=logical",
    "log_min_messages=fatal",
];

struct Pair([TemporaryServer; 2]);

static SHARED: Mutex<Weak<Pair>> = Mutex::new(Weak::new());

impl Pair {
    fn start() -> Self {
        Self([
            TemporaryServer::start(&SETTINGS),
            TemporaryServer::start(&SETTINGS),
        ])
    }

    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().expect("no test panics while starting them");
        shared.upgrade().unwrap_or_else(|| {
            let pair = Arc::new(Self::start());
            *shared = Arc::downgrade(&pair);
            pair
        })
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.cluster.name = "test".into();
        config.cluster.user = "postgres".into();
        config.cluster.password = None;
        config.cluster.shards = self
            .0
            .iter()
            .zip(0..)
            .map(|(server, id)| shard(id, server.port()))
            .collect();
        config.cluster.home = ShardId(0);
        config.limits.catalog_timeout = Duration::from_secs(30);
        config
    }

    fn router(&self) -> Router {
        start(self.config())
    }

    async fn connect(&self, shard: usize, database: &str) -> Client {
        let parameters = self.0[shard].parameters(database);
        let (client, connection) = tokio_postgres::connect(&parameters, NoTls)
            .await
            .expect("connects");
        tokio::spawn(connection);
        client
    }

    /// Creates `name` on both shards; a connection to each.
    async fn database(&self, name: &str) -> [Client; 2] {
        for shard in 0..2 {
            let client = self.connect(shard, "postgres").await;
            run(&client, &format!("CREATE DATABASE {name}")).await;
        }
        [self.connect(0, name).await, self.connect(1, name).await]
    }
}

fn start(config: Config) -> Router {
    Router(Control::start(Arc::new(config), Arc::default(), Vec::new()).expect("starts"))
}

/// Signs off when dropped, so that no other test waits for it.
struct Router(Control);

impl std::ops::Deref for Router {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn shard(id: u16, port: u16) -> ShardConfig {
    ShardConfig {
        id: ShardId(id),
        host: "127.0.0.1".into(),
        port,
        weight: 1.0,
        patroni: None,
    }
}

async fn run(client: &Client, statements: &str) {
    client.batch_execute(statements).await.expect(statements);
}

async fn int(client: &Client, statement: &str) -> i64 {
    client
        .query_one(statement, &[])
        .await
        .expect(statement)
        .get(0)
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !condition().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn sequence(name: &str) -> SequenceName {
    SequenceName {
        schema: "public".into(),
        name: name.into(),
    }
}

fn has_table(database: &Database, name: &str) -> bool {
    database
        .state()
        .snapshot
        .relation(Some("public"), name, &[])
        .is_some()
}

/// The text of a start that must fail.
fn start_error(config: Config) -> String {
    match Control::start(Arc::new(config), Arc::default(), Vec::new()) {
        Ok(control) => {
            control.stop();
            panic!("it started")
        }
        Err(error @ (StartError::Shards(_) | StartError::Control(_))) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_database_is_made_ready_on_first_use() {
    let pair = Pair::shared();
    let [home, other] = pair.database("first_use").await;
    let router = pair.router();
    let database = router.open_database("first_use").await.expect("opens");
    let state = database.state();
    assert_eq!(state.map.shards(), [ShardId(0), ShardId(1)]);
    assert_eq!(
        int(&home, "SELECT count(*) FROM oskol.buckets").await,
        i64::from(BUCKETS)
    );
    assert_eq!(int(&other, "SELECT shard::int8 FROM oskol.meta").await, 1);
    assert!(state.oids.iter().all(Option::is_none));
    assert_eq!(database.version(), state.version);
    assert!(Arc::ptr_eq(
        &database,
        &router.open_database("first_use").await.expect("again")
    ));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_to_be_missing() {
    let pair = Pair::shared();
    let router = pair.router();
    let error = router.open_database("nowhere").await.expect_err("absent");
    assert_eq!(error.sqlstate, "3D000");
    assert_eq!(error.message, "database \"nowhere\" does not exist");
    run(
        &pair.connect(0, "postgres").await,
        "CREATE DATABASE only_at_home",
    )
    .await;
    let error = router
        .open_database("only_at_home")
        .await
        .expect_err("absent on shard 1");
    assert_eq!(
        (error.sqlstate, &*error.message),
        ("3D000", "database \"only_at_home\" is not on shard 1")
    );
}

#[tokio::test]
async fn every_router_plans_with_a_change_when_it_is_done() {
    let pair = Pair::shared();
    let [home, other] = pair.database("changes").await;
    let (one, two) = (pair.router(), pair.router());
    let here = one.open_database("changes").await.expect("opens");
    let there = two.open_database("changes").await.expect("opens");
    for round in 0..5 {
        let version = there.version();
        let create = format!("CREATE TABLE t{round} (id int)");
        run(
            &home,
            &format!("BEGIN; {create}; SELECT oskol.bump_epoch(); COMMIT"),
        )
        .await;
        run(&other, &create).await;
        one.catalog_changed(&here).await.expect("announced");
        assert!(has_table(&here, &format!("t{round}")) && has_table(&there, &format!("t{round}")));
        assert!(there.version() > version);
    }
    let declare = "SELECT oskol.declare_table('public', 't1', 'sharded', 'id', false)";
    run(&home, declare).await;
    two.catalog_changed(&there).await.expect("announced");
    let table = here
        .state()
        .snapshot
        .relation(Some("public"), "t1", &[])
        .cloned()
        .expect("t1");
    assert!(matches!(table.placement, Placement::Sharded { key: 0, .. }));
}

#[tokio::test]
async fn only_routers_that_give_signs_of_life_are_waited_for() {
    let pair = Pair::shared();
    let [home, _] = pair.database("silent").await;
    let mut config = pair.config();
    config.limits.catalog_timeout = Duration::from_secs(2);
    let router = start(config);
    let database = router.open_database("silent").await.expect("opens");
    run(
        &home,
        "INSERT INTO oskol.routers VALUES (-1, 'gone', 0, 0, now() - interval '11 seconds')",
    )
    .await;
    router
        .catalog_changed(&database)
        .await
        .expect("nobody to wait for");
    run(
        &home,
        "UPDATE oskol.routers SET heartbeat = now() + interval '5 seconds', kept_out = false WHERE id = -1",
    )
    .await;
    let error = router
        .catalog_changed(&database)
        .await
        .expect_err("it does not answer");
    assert_eq!(error.sqlstate, "57014");
    run(&home, "DELETE FROM oskol.routers WHERE id = -1").await;
}

#[tokio::test]
async fn ids_are_unique_over_routers_and_follow_setval() {
    let pair = Pair::shared();
    let [home, _] = pair.database("ids").await;
    run(
        &home,
        "CREATE SEQUENCE s; CREATE SEQUENCE short MAXVALUE 10",
    )
    .await;
    let (one, two) = (pair.router(), pair.router());
    let here = one.open_database("ids").await.expect("opens");
    let there = two.open_database("ids").await.expect("opens");
    let s = sequence("s");
    let mut given = HashSet::new();
    for _ in 0..20 {
        let (first, second) =
            tokio::join!(one.lease_ids(&here, &s, 50), two.lease_ids(&there, &s, 50));
        let direct = int(&home, "SELECT nextval('s')").await;
        assert!(given.insert(direct));
        for block in [first.expect("leased"), second.expect("leased")] {
            for at in 0..i64::from(block.count) {
                assert!(given.insert(block.first + at * block.increment));
            }
        }
    }
    // Each router counts from where it has opened the database.
    let before = [here.sequence_epoch(), there.sequence_epoch()];
    one.set_sequence(&here, &s, 1_000_000, true)
        .await
        .expect("set");
    let after = [here.sequence_epoch(), there.sequence_epoch()];
    assert!(after[0] > before[0] && after[1] > before[1]);
    let block = two.lease_ids(&there, &s, 10).await.expect("leased");
    assert_eq!(
        (block.first, block.count, block.epoch),
        (1_000_001, 10, there.sequence_epoch())
    );

    let short = sequence("short");
    assert_eq!(
        one.lease_ids(&here, &short, 100)
            .await
            .expect("leased")
            .count,
        10
    );
    assert_eq!(
        one.lease_ids(&here, &short, 1)
            .await
            .expect_err("none left")
            .sqlstate,
        "2200H"
    );
    assert_eq!(
        one.lease_ids(&here, &sequence("none"), 1)
            .await
            .expect_err("none")
            .sqlstate,
        "42P01"
    );
}

#[tokio::test]
async fn roles_are_looked_up_on_the_home_shard() {
    let pair = Pair::shared();
    let client = pair.connect(0, "postgres").await;
    run(
        &client,
        "CREATE ROLE anna LOGIN PASSWORD 'secret'; CREATE ROLE old LOGIN VALID UNTIL '2001-01-01'",
    )
    .await;
    let router = pair.router();
    let anna = router
        .role_secret("anna")
        .await
        .expect("asked")
        .expect("exists");
    assert!(
        anna.password
            .expect("a password")
            .starts_with("SCRAM-SHA-256$")
    );
    assert!(anna.can_login && anna.valid_until.is_none());
    let old = router
        .role_secret("old")
        .await
        .expect("asked")
        .expect("exists");
    assert!(
        old.valid_until
            .is_some_and(|until| until < SystemTime::now())
    );
    assert!(router.role_secret("nobody").await.expect("asked").is_none());
    run(&client, "ALTER ROLE anna NOLOGIN").await;
    router.roles_changed();
    assert!(
        !router
            .role_secret("anna")
            .await
            .expect("asked")
            .expect("exists")
            .can_login
    );
}

#[tokio::test]
async fn oids_that_differ_are_known() {
    let pair = Pair::shared();
    let [home, other] = pair.database("oids").await;
    run(&other, "CREATE TABLE only_there (id int)").await;
    for client in [&home, &other] {
        run(client, "CREATE TYPE mood AS ENUM ('sad')").await;
    }
    let router = pair.router();
    let state = router.open_database("oids").await.expect("opens").state();
    assert!(state.oids_of(ShardId(0)).is_none());
    let map = state.oids_of(ShardId(1)).expect("they differ");
    let oid = "SELECT 'mood'::regtype::oid::int8";
    let (at_home, there) = (int(&home, oid).await as u32, int(&other, oid).await as u32);
    assert_eq!(map.type_oid(there, Direction::ToHome), at_home);
}

#[tokio::test]
async fn transactions_left_in_doubt_are_finished() {
    let pair = Pair::shared();
    let [home, other] = pair.database("doubt").await;
    run(&other, "CREATE TABLE t (id int)").await;
    let router = pair.router();
    router.open_database("doubt").await.expect("opens");
    let prepare = async |gid: &str, id: i32| {
        run(
            &other,
            &format!("BEGIN; INSERT INTO t VALUES ({id}); PREPARE TRANSACTION '{gid}'"),
        )
        .await;
    };
    // A router that was killed: no sign of life. One transaction decided, one not.
    prepare("oskol:test:4000000:1:0:2", 1).await;
    prepare("oskol:test:4000000:2:0:2", 2).await;
    run(&home, "SELECT oskol.decide('oskol:test:4000000:1:0:2')").await;
    // One of this router's that is being worked on, and one that was given up.
    let gid = router.next_gid(ShardId(0), 2);
    let live = router.live_transactions().enter(&gid);
    prepare(&gid, 3).await;
    prepare(&router.next_gid(ShardId(0), 2), 4).await;
    // Of another cluster.
    prepare("oskol:else:1:1:0:2", 5).await;
    router.recover_soon();
    let prepared = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
    until("two are finished", async || {
        int(&other, prepared).await == 2
    })
    .await;
    assert_eq!(int(&other, "SELECT sum(id) FROM t").await, 1);
    let late = home
        .batch_execute("SELECT oskol.decide('oskol:test:4000000:2:0:2')")
        .await;
    assert_eq!(
        late.expect_err("too late").code().expect("refused").code(),
        "23505"
    );
    let id: GlobalId = gid.parse().expect("an id");
    assert_eq!(
        router.outcome("doubt", &id).await.expect("settled"),
        Outcome::Aborted
    );
    drop(live);
    router.recover_soon();
    until("the third is finished", async || {
        int(&other, prepared).await == 1
    })
    .await;

    run(
        &home,
        "UPDATE oskol.decision SET decided = decided - interval '6 minutes'",
    )
    .await;
    router.sweep_decisions().await.expect("swept");
    let decisions = "SELECT count(*) FROM oskol.decision WHERE outcome = ";
    assert_eq!(int(&home, &format!("{decisions}'commit'")).await, 0);
    assert_eq!(int(&home, &format!("{decisions}'abort'")).await, 3);
    run(&other, "ROLLBACK PREPARED 'oskol:else:1:1:0:2'").await;
}

#[tokio::test]
async fn a_database_can_be_dropped_while_routers_have_it_open() {
    let pair = Pair::shared();
    let clients = pair.database("dropped").await;
    drop(clients);
    let (worker, mut inbox) = WorkerHandle::new();
    let two = Control::start(Arc::new(pair.config()), Arc::default(), vec![worker]);
    let (one, two) = (pair.router(), Router(two.expect("starts")));
    let here = one.open_database("dropped").await.expect("opens");
    let there = two.open_database("dropped").await.expect("opens");
    one.database_dropped("dropped").await;
    assert!(here.is_released());
    until("the other router leaves it", async || there.is_released()).await;
    let told = inbox.recv().await.expect("told");
    assert!(matches!(told, WorkerMessage::CloseIdle { database } if database == "dropped"));
    for shard in 0..2 {
        let client = pair.connect(shard, "postgres").await;
        until("it can be dropped", async || {
            client.batch_execute("DROP DATABASE dropped").await.is_ok()
        })
        .await;
    }
    assert_eq!(
        one.open_database("dropped")
            .await
            .expect_err("gone")
            .sqlstate,
        "3D000"
    );
}

#[tokio::test]
async fn the_home_shards_absence_is_survived() {
    let pair = Pair::start();
    let [home, _] = pair.database("absence").await;
    run(
        &home,
        "CREATE TABLE before (id int); CREATE ROLE anna LOGIN",
    )
    .await;
    let router = pair.router();
    let database = router.open_database("absence").await.expect("opens");
    assert!(router.role_secret("anna").await.expect("asked").is_some());
    pair.0[0].stop();
    assert!(has_table(&database, "before"));
    router.open_database("absence").await.expect("still open");
    let error = router
        .catalog_changed(&database)
        .await
        .expect_err("nobody to tell");
    assert_eq!(error.sqlstate, "08006");
    pair.0[0].run();
    let home = pair.connect(0, "absence").await;
    run(
        &home,
        "CREATE TABLE after (id int); SELECT oskol.bump_epoch()",
    )
    .await;
    // Nobody announced it: the watch finds it by itself.
    until("the catalog is read again", async || {
        has_table(&database, "after")
    })
    .await;
    router.catalog_changed(&database).await.expect("announced");
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_the_shards_is_refused() {
    let pair = Pair::shared();
    pair.database("fits").await;
    pair.router().open_database("fits").await.expect("opens");

    let swapped = pair.config();
    let shards = &swapped.cluster.shards;
    let [one, other] = [0, 1].map(|id| shards.find(ShardId(id)).expect("it is there"));
    shards.put(shard(0, other.port));
    shards.put(shard(1, one.port));
    let text = start_error(swapped);
    assert!(
        text.contains("shard 0, but it is shard 1 of cluster \"test\""),
        "{text}"
    );

    let mut moved = pair.config();
    let other = moved.cluster.shards.find(ShardId(1)).expect("it is there");
    moved.cluster.shards.put(ShardConfig {
        host: "localhost".into(),
        ..other
    });
    moved.listen.addresses = vec!["127.0.0.2:1".parse().expect("an address")];
    let other = pair.router();
    let text = start_error(moved);
    assert!(
        text.contains("in database \"postgres\" shard 1 is at 127.0.0.1:"),
        "{text}"
    );
    drop(other);

    let unreachable = pair.config();
    unreachable.cluster.shards.put(shard(1, 1));
    let text = start_error(unreachable);
    assert!(text.contains("cannot connect to 127.0.0.1:1"), "{text}");
}

#[tokio::test]
async fn shards_with_wrong_settings_are_refused_with_what_to_set() {
    let server = TemporaryServer::start(&["wal_level=replica", "max_prepared_transactions=0"]);
    let mut config = Config::default();
    config.cluster.user = "postgres".into();
    config.cluster.shards = vec![shard(0, server.port())].into();
    config.cluster.home = ShardId(0);
    let text = start_error(config);
    assert!(
        text.contains("wal_level") && text.contains("max_prepared_transactions"),
        "{text}"
    );
}

#[tokio::test]
async fn a_shard_that_has_moved_is_taken_over_when_no_other_router_lives() {
    let pair = Pair::start();
    drop(pair.router());
    let config = pair.config();
    let other = config.cluster.shards.find(ShardId(1)).expect("it is there");
    config.cluster.shards.put(ShardConfig {
        host: "localhost".into(),
        ..other
    });
    let _router = start(config);
    let home = pair.connect(0, "postgres").await;
    let moved = "SELECT count(*) FROM oskol.shards WHERE host = 'localhost' AND id = 1";
    assert_eq!(int(&home, moved).await, 1);
}

#[tokio::test]
async fn a_shard_that_the_catalog_knows_need_not_be_in_the_configuration() {
    let pair = Pair::start();
    drop(pair.router());
    let fewer = pair.config();
    fewer.cluster.shards.remove(ShardId(1));
    let router = start(fewer);
    let database = router.open_database("postgres").await.expect("opens");
    assert_eq!(database.state().map.shards(), [ShardId(0), ShardId(1)]);
}
