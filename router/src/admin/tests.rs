//! The admin database over made-up workers, and its HTTP port over a real socket.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use topology::{ShardId, ShardMap};
use wire::backend::{DataRow, RowDescription};

use super::*;
use crate::config::ShardConfig;
use crate::metrics::PlanKind;
use crate::shutdown::shutdown;
use crate::worker::{
    ClientReport, Peer, PoolReport, ServerReport, SessionId, TransactionReport, WorkerInbox,
};

fn config() -> Config {
    let shard = |id| ShardConfig {
        id: ShardId(id),
        host: "h".into(),
        port: 5432,
        weight: 1.0,
        patroni: None,
    };
    let mut config = Config::default();
    config.cluster.shards = vec![shard(0), shard(1)].into();
    config.pool.size = 7;
    config
}

fn state() -> (Arc<AdminState>, Vec<WorkerInbox>) {
    let (handles, inboxes) = (0..2).map(|_| WorkerHandle::new()).unzip();
    let state = AdminState::new(Arc::new(config()), Arc::default(), handles, Arc::default());
    (state, inboxes)
}

fn report() -> WorkerReport {
    let session = SessionId(7);
    WorkerReport {
        clients: vec![ClientReport {
            session,
            user: "u".into(),
            database: "d".into(),
            application_name: "psql".into(),
            peer: Peer::Unix,
            tls: false,
            state: "idle",
            connected: Duration::from_secs(9),
            shards: vec![ShardId(0), ShardId(1)],
        }],
        pools: vec![PoolReport {
            shard: ShardId(1),
            idle: 2,
            leased: 1,
            waiting: 3,
        }],
        servers: vec![ServerReport {
            shard: ShardId(1),
            user: "u".into(),
            database: "d".into(),
            process_id: 42,
            tls: false,
            session: Some(session),
            connected: Duration::from_secs(5),
            idle: Duration::ZERO,
        }],
        transactions: vec![TransactionReport {
            session,
            user: "u".into(),
            database: "d".into(),
            state: "open",
            gid: None,
            shards: vec![ShardId(1)],
            age: Duration::from_secs(1),
        }],
    }
}

/// Runs a statement while both workers answer with [`report`].
async fn show(text: &str, state: &Arc<AdminState>, inboxes: Vec<WorkerInbox>) -> AdminTable {
    for mut inbox in inboxes {
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                if let WorkerMessage::Report(answer) = message {
                    let _ = answer.send(report());
                }
            }
        });
    }
    command::run(text, state).await.unwrap().unwrap()
}

fn line(row: &[Option<String>]) -> String {
    row.iter()
        .map(|value| value.as_deref().unwrap_or("-"))
        .collect::<Vec<_>>()
        .join("|")
}

fn lines(table: &AdminTable) -> Vec<String> {
    assert!(
        table
            .rows
            .iter()
            .all(|row| row.len() == table.columns.len())
    );
    table.rows.iter().map(|row| line(row)).collect()
}

#[tokio::test]
async fn every_statement_answers_with_its_own_columns() {
    for command in Command::ALL {
        let (state, inboxes) = state();
        let text = format!(" show\n{} ;", command.name().to_lowercase());
        let table = show(&text, &state, inboxes).await;
        assert_eq!(table.columns, command.columns());
        lines(&table);
    }
}

#[tokio::test]
async fn pools_of_all_workers_are_added_up() {
    let (state, inboxes) = state();
    let table = show("SHOW POOLS", &state, inboxes).await;
    assert_eq!(
        lines(&table),
        ["0|0|0|0|7|1000|transaction", "1|6|2|4|7|1000|transaction"]
    );
}

#[tokio::test]
async fn clients_and_servers_name_their_worker() {
    let (first, inboxes) = state();
    let table = show("SHOW CLIENTS", &first, inboxes).await;
    assert_eq!(lines(&table)[1], "C|7|u|d|psql|idle|unix|-|9|0,1|1|f");
    let (second, inboxes) = state();
    let table = show("SHOW SERVERS", &second, inboxes).await;
    assert_eq!(lines(&table)[1], "S|1|u|d|active|42|7|5|0|1|f");
}

#[tokio::test]
async fn transactions_in_doubt_stand_behind_open_ones() {
    let (state, inboxes) = state();
    state.board.set_in_doubt(vec![board::InDoubt {
        gid: "oskol:main:1:2:0:2".into(),
        database: "d".into(),
        shards: vec![ShardId(0)],
        age: Duration::from_secs(60),
    }]);
    let table = show("SHOW TRANSACTIONS", &state, inboxes).await;
    assert_eq!(lines(&table)[0], "open|7|u|d|1|1|-|-");
    assert_eq!(lines(&table)[2], "in doubt|-|-|d|0|60|oskol:main:1:2:0:2|-");
}

#[tokio::test]
async fn shards_show_health_and_share() {
    let (state, inboxes) = state();
    let weighted = |id| topology::WeightedShard {
        id: ShardId(id),
        weight: 1.0,
    };
    let map = ShardMap::place(ShardId(0), &[weighted(0), weighted(1)]).unwrap();
    let share = map.bucket_count(ShardId(1));
    state.board.set_map(Arc::new(map));
    state
        .board
        .set_shard(ShardId(0), Ok("15.4".into()), Duration::ZERO);
    state
        .board
        .set_shard(ShardId(1), Ok("15.4".into()), Duration::ZERO);
    state
        .board
        .set_shard(ShardId(1), Err("gone".into()), Duration::ZERO);
    let table = show("SHOW SHARDS", &state, inboxes).await;
    let lines = lines(&table);
    assert!(lines[0].starts_with("0|h|5432|up|0|15.4|t|1|"), "{lines:?}");
    assert_eq!(
        lines[1],
        format!("1|h|5432|down|0|15.4|f|1|{share}|0|0|0|gone")
    );
}

#[tokio::test]
async fn stats_count_what_workers_counted() {
    let (state, inboxes) = state();
    let database = state.metrics.add_worker().database("d");
    database.query(PlanKind::SingleShard, Duration::from_micros(30));
    database.query(PlanKind::Scatter, Duration::from_micros(50));
    database.transaction(Duration::from_micros(80));
    let table = show("SHOW STATS", &state, inboxes).await;
    assert!(
        lines(&table)[0].starts_with("d|1|2|0|0|80|80|0|0|"),
        "{:?}",
        lines(&table)
    );
    assert_eq!(table.rows[0].last(), Some(&Some("40".to_owned())));
}

#[tokio::test]
async fn the_configuration_shows_what_was_changed_and_no_secret() {
    let mut config = config();
    config.cluster.password = Some(crate::config::Secret("s3cret".into()));
    let state = AdminState::new(Arc::new(config), Arc::default(), Vec::new(), Arc::default());
    let table = command::run("SHOW CONFIG", &state).await.unwrap().unwrap();
    let lines = lines(&table);
    assert!(lines.contains(&"pool.size|7|20|t".to_owned()), "{lines:?}");
    assert!(lines.contains(&"pool.queue|1000|1000|f".to_owned()));
    assert!(!lines.join("\n").contains("s3cret"));
}

#[tokio::test]
async fn what_it_does_not_know_is_refused_with_the_list() {
    let (state, _inboxes) = state();
    assert_eq!(command::run(" ; ", &state).await, Ok(None));
    for text in ["SHOW NONSENSE", "SELECT 1", "SHOW POOLS; SHOW STATS"] {
        let error = command::run(text, &state).await.unwrap_err();
        assert_eq!(error.sqlstate, "42601", "{text}");
        assert!(error.hint.unwrap().contains("SHARDS"));
    }
}

#[test]
fn a_table_becomes_the_messages_of_a_simple_reply() {
    const COLUMNS: &[Column] = &[table::text("a"), table::number("b")];
    let table = AdminTable {
        columns: COLUMNS,
        rows: vec![vec![Some("x".into()), None]],
    };
    let mut out = BytesMut::new();
    reply::reply(&table, &mut out);
    let mut tags = Vec::new();
    while let Some(header) = wire::header::peek(&out, 1 << 20).unwrap() {
        let message = out.split_to(header.length);
        tags.push(header.tag);
        let body = &message[wire::header::LENGTH..];
        match header.tag {
            b'T' => assert_eq!(RowDescription::parse(body).unwrap().len(), 2),
            b'D' => assert_eq!(DataRow::parse(body).unwrap().nth(1), Some(None)),
            _ => {}
        }
    }
    assert_eq!(tags, b"TDC");
}

#[test]
fn the_clusters_role_and_the_named_ones_are_admitted() {
    let mut config = config();
    config.admin.users = vec!["monitor".into()];
    let state = AdminState::new(Arc::new(config), Arc::default(), Vec::new(), Arc::default());
    assert!(state.admits("postgres") && state.admits("monitor"));
    assert!(!state.admits("app"));
}

async fn get(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_and_health_are_served_over_http_until_shutdown() {
    let (state, _inboxes) = state();
    let listener = http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, stop) = shutdown();
    let serving = tokio::spawn(http::serve(listener, Arc::clone(&state), stop));

    let metrics = get(address, "GET /metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("\noskol_clients 0\n"));
    let health = get(address, "GET /health").await;
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("not looked at yet"));

    state
        .board
        .set_shard(ShardId(0), Ok("15.4".into()), Duration::ZERO);
    state
        .board
        .set_shard(ShardId(1), Err("gone".into()), Duration::ZERO);
    let health = get(address, "GET /health").await;
    assert!(
        health.starts_with("HTTP/1.1 503") && health.contains(r#""fault":"gone""#),
        "{health}"
    );
    state
        .board
        .set_shard(ShardId(1), Ok("15.4".into()), Duration::ZERO);
    assert!(
        get(address, "GET /health")
            .await
            .starts_with("HTTP/1.1 200")
    );

    assert!(
        get(address, "POST /metrics")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        get(address, "GET /nothing")
            .await
            .starts_with("HTTP/1.1 404")
    );
    stopper.stop();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
