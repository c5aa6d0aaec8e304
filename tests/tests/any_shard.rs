//! What any shard can do goes to one that can be reached; and parameters whose types only PostgreSQL can tell.

use shard_node::Stop;
use tests::{Cluster, Database, connect};
use tokio_postgres::error::SqlState;

async fn database<'a>(cluster: &'a Cluster, name: &str) -> Database<'a> {
    let database = cluster.database(name);
    let client = database.client().await;
    client
        .batch_execute(
            "create table accounts (id bigint primary key, amount bigint not null);
            select oskol.shard_table('accounts', 'id');
            insert into accounts select i, i from generate_series(1, 100) i",
        )
        .await
        .unwrap();
    database
}

#[tokio::test]
async fn with_a_shard_down_nothing_that_any_shard_can_do_fails() {
    let cluster = Cluster::start(4);
    let database = database(&cluster, "any_shard").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(database.client().await);
    }
    let shard = database.shard(1).await;
    let row = shard.query_one("select min(id) from accounts", &[]).await;
    let key: i64 = row.unwrap().get(0);
    drop(shard);
    cluster.stop_shard(2, Stop::Immediate);
    clients.push(connect(&database.url()).await.unwrap());
    for round in 0..8 {
        for client in &clients {
            // Described by any shard, run on the key's.
            let sql = format!("select amount + {round} from accounts where id = $1");
            let statement = client.prepare(&sql).await.unwrap();
            let row = client.query_one(&statement, &[&key]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), key + round);
            let set = format!("set statement_timeout = '{}s'", 20 + round);
            client.batch_execute(&set).await.unwrap();
            client.simple_query("select 1").await.unwrap();
            client.simple_query("show work_mem").await.unwrap();
            client.query_one("select 7", &[]).await.unwrap();
        }
    }
    let lost = clients[0]
        .simple_query("select count(*) from accounts")
        .await;
    let lost = lost.unwrap_err();
    assert!(lost.code().unwrap().code().starts_with("08"), "{lost:?}");
    cluster.start_shard(2);
}

#[tokio::test]
async fn a_parameter_that_is_used_twice_has_the_type_that_postgresql_infers() {
    let database = database(Cluster::shared(), "inferred_types").await;
    let client = database.client().await;
    // No type is declared, and values come in binary.
    let insert = client
        .prepare("insert into accounts (id, amount) values ($1, $1 * 2::bigint)")
        .await
        .unwrap();
    for key in 101..=140_i64 {
        assert_eq!(client.execute(&insert, &[&key]).await.unwrap(), 1);
    }
    let find = client
        .prepare("select amount + $1 from accounts where id = $1 for update")
        .await
        .unwrap();
    for key in [101, 120, 140_i64] {
        let row = client.query_one(&find, &[&key]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 3 * key);
        let none = client.query(&find, &[&(key + 1000)]).await.unwrap();
        assert!(none.is_empty());
    }
    // The rows are where their keys say.
    let counts = database.rows_by_shard("accounts").await;
    assert_eq!(counts.iter().sum::<i64>(), 140, "{counts:?}");
    let sql = "select amount from accounts where id = 130";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 260);
    // In a transaction, and where PostgreSQL itself cannot tell.
    client.batch_execute("begin").await.unwrap();
    let insert = client
        .prepare("insert into accounts (id, amount) values ($1, abs($1::bigint))")
        .await
        .unwrap();
    client.execute(&insert, &[&-5_i64]).await.unwrap();
    client.batch_execute("commit").await.unwrap();
    let wrong = "insert into accounts (id, amount) values ($1, length($1))";
    let refused = client.prepare(wrong).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&SqlState::AMBIGUOUS_PARAMETER),
        "{refused:?}"
    );
}
