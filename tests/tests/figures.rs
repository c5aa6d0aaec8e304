//! What the router counts and tells of itself: the admin database, the metrics, the log of slow statements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, connect, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

/// One cluster for all tests; whatever takes longer than a tenth of a second is slow.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::start_with(ClusterOptions {
            config: "[[tables]]\nname = \"posts\"\nplacement = \"sharded\"\nkey = \"id\"\n"
                .to_owned(),
            environment: vec![("OSKOL_LOG__SLOW_STATEMENT".to_owned(), "100ms".to_owned())],
            ..ClusterOptions::default()
        })
    })
}

async fn admin(cluster: &Cluster) -> Client {
    connect(&cluster.url_of("oskol")).await.unwrap()
}

/// The lines of a SHOW for one database, as `column=value` texts.
async fn show(admin: &Client, what: &str, database: &str) -> Vec<String> {
    let messages = admin.simple_query(&format!("SHOW {what}")).await.unwrap();
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let line = |row: tokio_postgres::SimpleQueryRow| {
        let values = row.columns().iter().enumerate();
        values
            .map(|(at, column)| format!("{}={};", column.name(), row.get(at).unwrap_or("")))
            .collect::<String>()
    };
    rows.map(line)
        .filter(|line| line.contains(&format!("database={database};")))
        .collect()
}

/// The sum of a metric's lines that contain `label`.
fn metric(cluster: &Cluster, name: &str, label: &str) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.admin_port())).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| {
        let of_metric = line
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', '{']));
        of_metric && line.contains(label)
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test]
async fn an_open_transaction_and_its_servers_are_shown() {
    let database = cluster().database("shown");
    let mut client = database.client().await;
    client
        .batch_execute("create table posts (id int primary key)")
        .await
        .unwrap();
    let admin = admin(cluster()).await;
    assert!(
        show(&admin, "TRANSACTIONS", &database.name)
            .await
            .is_empty()
    );
    let transaction = client.transaction().await.unwrap();
    let insert = "insert into posts values (1)";
    transaction.batch_execute(insert).await.unwrap();
    let shown = show(&admin, "TRANSACTIONS", &database.name).await;
    assert!(
        shown.len() == 1 && shown[0].contains("state=open;"),
        "{shown:?}"
    );
    let id = shown[0]
        .split("client=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let servers = show(&admin, "SERVERS", &database.name).await;
    let leased = |line: &&String| line.contains(&format!("link={id};"));
    assert_eq!(servers.iter().filter(leased).count(), 1, "{servers:?}");
    transaction.commit().await.unwrap();
    assert!(
        show(&admin, "TRANSACTIONS", &database.name)
            .await
            .is_empty()
    );
    let servers = show(&admin, "SERVERS", &database.name).await;
    assert!(
        !servers.is_empty() && !servers.iter().any(|line| leased(&line)),
        "{servers:?}"
    );
}

#[tokio::test]
async fn statements_transactions_bytes_and_errors_are_counted() {
    let database = cluster().database("counted");
    let client = database.client().await;
    client
        .batch_execute("create table posts (id int primary key)")
        .await
        .unwrap();
    let label = format!("database=\"{}\"", database.name);
    let of = |name: &str| metric(cluster(), name, &label);
    let before = of("oskol_transactions_total");
    for number in 0..10 {
        let sql = format!("insert into posts values ({number})");
        client.simple_query(&sql).await.unwrap();
    }
    client
        .batch_execute("begin; select 1; commit")
        .await
        .unwrap();
    assert_eq!(of("oskol_transactions_total") - before, 11.0);
    assert!(of("oskol_client_received_bytes_total") > 200.0);
    assert!(of("oskol_client_sent_bytes_total") > 200.0);
    client.simple_query("select 1/0").await.unwrap_err();
    client
        .simple_query("insert into posts values (1/0)")
        .await
        .unwrap_err();
    let errors = of("oskol_shard_errors_total") + of("oskol_router_errors_total");
    assert_eq!(errors, 2.0);
    assert!(metric(cluster(), "oskol_shard_statements_total", "shard=\"1\"") > 0.0);
}

#[tokio::test]
async fn a_slow_statement_is_logged_without_its_values() {
    let database = cluster().database("slow");
    let client = database.client().await;
    client
        .simple_query("select pg_sleep(0.15), 'secret'")
        .await
        .unwrap();
    client.query("select pg_sleep(0.12)", &[]).await.unwrap();
    eventually("both are in the log", || async {
        let log = cluster().router_log();
        let slow = log.lines().filter(|line| line.contains("slow statement"));
        slow.filter(|line| line.contains(&database.name)).count() == 2
    })
    .await;
    let log = cluster().router_log();
    assert!(log.contains("pg_sleep") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn who_waits_for_whom_is_shown_without_literals() {
    let database = cluster().database("locks");
    let setup = "create table posts (id int primary key, body text);
        insert into posts values (7, 'secret one')";
    let holder = database.client().await;
    holder.batch_execute(setup).await.unwrap();
    let change = "update posts set body = 'secret two' where id = 7";
    let held = format!("begin; {change}");
    holder.batch_execute(&held).await.unwrap();
    let waiter = database.client().await;
    let waiting = tokio::spawn(async move { waiter.batch_execute(change).await });

    let admin = admin(cluster()).await;
    let mut lines = Vec::new();
    eventually("the wait is shown", async || {
        lines = show(&admin, "LOCKS", &database.name).await;
        !lines.is_empty()
    })
    .await;
    let [line] = &lines[..] else {
        panic!("one waits for one: {lines:?}");
    };
    assert!(line.contains("lock=ShareLock on transaction"), "{line}");
    assert!(
        line.contains("blocking_state=idle in transaction"),
        "{line}"
    );
    let shown = "waiting_statement=update posts set body = ? where id = ?;";
    assert!(line.contains(shown), "{line}");
    assert!(!line.contains("secret"), "{line}");
    for client in ["waiting_client", "blocking_client"] {
        assert!(!line.contains(&format!("{client}=;")), "{line}");
    }

    holder.batch_execute("commit").await.unwrap();
    waiting.await.unwrap().unwrap();
    let left = show(&admin, "LOCKS", &database.name).await;
    assert_eq!(left, Vec::<String>::new());
}
