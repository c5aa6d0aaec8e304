//! `VERIFY` of constraints over shards: faults that are planted are found, those without a choice are mended, and what is
//! under way is none.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use tests::{Cluster, Database, connect};
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "create table people (id bigint primary key, email text, age int, city text);
    create table friends (id bigint primary key, of bigint, email text);
    select oskol.shard_table('people', 'id');
    select oskol.shard_table('friends', 'id');
    alter table people add constraint people_email unique (email);
    create unique index people_age on people (lower(city), age) where age > 10;
    alter table friends add constraint friends_of foreign key (of) references people (id);
    alter table friends add constraint friends_email foreign key (email) references people (email);
    insert into people select n, 'e' || n, n, 'c' || n % 7 from generate_series(1, 60) n;
    insert into friends select n, n % 60 + 1, 'e' || n % 50 + 1 from generate_series(1, 40) n";

/// Fault, object, detail and repair, of one database.
async fn verify(database: &Database<'_>, statement: &str) -> Vec<[String; 4]> {
    let admin = connect(&database.cluster.url_of("oskol"))
        .await
        .expect("the admin database");
    let answer = admin.simple_query(statement).await.expect("VERIFY");
    let mine = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("database") == Some(&database.name) => {
            let cell = |name| row.get(name).unwrap_or_default().to_owned();
            Some(["fault", "object", "detail", "repair"].map(cell))
        }
        _ => None,
    });
    mine.collect()
}

async fn prepared(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    for statement in TABLES.split(';') {
        client
            .batch_execute(statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    database
}

/// The shard on which `sql` finds something.
async fn shard_where(database: &Database<'_>, sql: &str) -> usize {
    for number in 0..4 {
        let shard = database.shard(number).await;
        if !shard.query(sql, &[]).await.expect(sql).is_empty() {
            return number;
        }
    }
    panic!("on no shard: {sql}");
}

/// Behind the router's back, and the triggers'.
async fn plant(client: &Client, sql: &str) {
    let sql = format!("set session_replication_role = replica; {sql}");
    client.batch_execute(&sql).await.expect(&sql);
}

/// A number of the key of `people.email`.
async fn email_key(database: &Database<'_>) -> i32 {
    let shard = database.shard(0).await;
    let sql = "select number from oskol.unique_keys where index = 'people_email'::regclass";
    shard.query_one(sql, &[]).await.expect(sql).get(0)
}

async fn entry_shard(database: &Database<'_>, number: i32, email: &str) -> usize {
    let sql = format!("select from oskol.unique_{number} where v1 = '{email}'");
    shard_where(database, &sql).await
}

fn kinds(faults: &[[String; 4]]) -> BTreeSet<&str> {
    faults.iter().map(|[fault, ..]| fault.as_str()).collect()
}

#[tokio::test]
async fn planted_faults_of_entries_are_found_and_mended() {
    let database = prepared("verify_entries").await;
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 4]>::new());
    let key = email_key(&database).await;
    let on = async |email: &str| {
        database
            .shard(entry_shard(&database, key, email).await)
            .await
    };
    // Of a row that is there, of none, of another one, on a wrong shard, and in two places.
    plant(
        &on("e1").await,
        &format!("delete from oskol.unique_{key} where v1 = 'e1'"),
    )
    .await;
    let client = database.client().await;
    client
        .batch_execute("insert into people values (100, 'e100')")
        .await
        .unwrap();
    let row = shard_where(&database, "select from people where id = 100").await;
    plant(
        &database.shard(row).await,
        "delete from people where id = 100",
    )
    .await;
    plant(
        &on("e3").await,
        &format!("update oskol.unique_{key} set key = 4 where v1 = 'e3'"),
    )
    .await;
    let right = entry_shard(&database, key, "e5").await;
    plant(
        &database.shard(right).await,
        &format!("delete from oskol.unique_{key} where v1 = 'e5'"),
    )
    .await;
    for (email, id) in [("e5", 5), ("e6", 6)] {
        let wrong = (entry_shard(&database, key, "e6").await + 1) % 4;
        let wrong = if email == "e5" {
            (right + 1) % 4
        } else {
            wrong
        };
        let sql = format!("insert into oskol.unique_{key} values ('{email}', {id})");
        plant(&database.shard(wrong).await, &sql).await;
    }
    // Of the key over an expression, with a condition.
    let of_city = "select number from oskol.unique_keys where index = 'people_age'::regclass";
    let city_key: i32 = database
        .shard(0)
        .await
        .query_one(of_city, &[])
        .await
        .unwrap()
        .get(0);
    let found = format!("select from oskol.unique_{city_key} where v2 = 33");
    let shard = shard_where(&database, &found).await;
    plant(
        &database.shard(shard).await,
        &format!("delete from oskol.unique_{city_key} where v2 = 33"),
    )
    .await;
    plant(
        &database.shard(2).await,
        "insert into oskol.changes (number, adds, bucket, entry) values (1, true, 7, '{x,1}')",
    )
    .await;

    let faults = verify(&database, "VERIFY").await;
    let expected = [
        "entry of another row",
        "entry without row",
        "misplaced entry",
        "missing entry",
        "notes left",
    ];
    assert_eq!(kinds(&faults), expected.into(), "{faults:#?}");
    assert_eq!(faults.len(), 7, "{faults:#?}");
    let told = |text: &str| faults.iter().any(|[_, _, detail, _]| detail.contains(text));
    for text in [
        "Key (email)=(e1) of the row with shard key 1",
        "(e100) names with shard key 100",
        "=(c5, 33)",
    ] {
        assert!(told(text), "{text}: {faults:#?}");
    }
    // Wrong in effect: the router lets a second one in, or refuses a first.
    let taken = client
        .batch_execute("insert into people values (101, 'e100')")
        .await;
    assert_eq!(
        taken.unwrap_err().code().map(|code| code.code()),
        Some("23505")
    );

    let repaired = verify(&database, "VERIFY REPAIR").await;
    assert!(
        repaired.iter().all(|[.., repair]| repair == "repaired"),
        "{repaired:#?}"
    );
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 4]>::new());
    client
        .batch_execute("insert into people values (101, 'e100')")
        .await
        .unwrap();
    for email in ["e1", "e3", "e5", "e6"] {
        let sql = format!("insert into people values (200, '{email}')");
        let taken = client.batch_execute(&sql).await.unwrap_err();
        assert_eq!(
            taken.code().map(|code| code.code()),
            Some("23505"),
            "{email}"
        );
    }
}

#[tokio::test]
async fn what_needs_a_choice_is_told_and_left() {
    let database = prepared("verify_choices").await;
    // A value in a second row, which came without its entry, and parents that are gone.
    let second = shard_where(&database, "select from people where id = 9").await;
    let mut twice = String::new();
    for id in 10..20 {
        let found = format!("select from people where id = {id}");
        if shard_where(&database, &found).await != second {
            twice = format!("e{id}");
            break;
        }
    }
    plant(
        &database.shard(second).await,
        &format!("update people set email = '{twice}' where id = 9"),
    )
    .await;
    let parent = shard_where(&database, "select from people where id = 20").await;
    plant(
        &database.shard(parent).await,
        "delete from people where id = 20",
    )
    .await;

    let faults = verify(&database, "VERIFY").await;
    let orphans: Vec<_> = faults
        .iter()
        .filter(|[fault, ..]| fault == "orphan")
        .collect();
    assert_eq!(orphans.len(), 3, "e9 and the two of 20: {faults:#?}");
    assert!(
        orphans
            .iter()
            .any(|[_, object, detail, _]| object.starts_with("friends_of")
                && detail == "Key (of)=(20) is not present in table public.people"),
        "{faults:#?}"
    );
    let twice_told: Vec<_> = faults
        .iter()
        .filter(|[fault, ..]| fault == "value twice")
        .collect();
    assert_eq!(twice_told.len(), 1, "{faults:#?}");
    assert!(
        twice_told[0][2].contains(&format!("Key (email)=({twice}) is in 2 rows")),
        "{faults:#?}"
    );

    verify(&database, "VERIFY REPAIR").await;
    let left = verify(&database, "VERIFY").await;
    assert_eq!(kinds(&left), ["orphan", "value twice"].into(), "{left:#?}");
    // The operator chooses.
    plant(
        &database.shard(second).await,
        "update people set email = 'e9' where id = 9",
    )
    .await;
    let client = database.client().await;
    client
        .batch_execute("insert into people values (20, 'e20', 20, 'c6')")
        .await
        .unwrap();
    verify(&database, "VERIFY REPAIR").await;
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 4]>::new());
}

#[tokio::test]
async fn what_is_under_way_is_no_fault() {
    let database = prepared("verify_writes").await;
    let ended = std::sync::Arc::new(AtomicBool::new(false));
    let writers = (0..6_i64).map(|writer| {
        let (url, ended) = (database.url(), std::sync::Arc::clone(&ended));
        tokio::spawn(async move {
            let client = connect(&url).await.unwrap();
            let mut round = 0;
            while !ended.load(Ordering::Relaxed) {
                round += 1;
                let id = 1000 + writer * 100 + round % 20;
                let sql = match round % 4 {
                    0 => format!("insert into people values ({id}, 'w{writer}-{round}', {id}, 'x') on conflict (id) do nothing"),
                    1 => format!("update people set email = 'u{writer}-{round}' where id = {}", id - 1),
                    2 => format!("insert into friends values ({id}, {}, 'e{}')", id - 2, writer + 51),
                    _ => format!("delete from friends where id = {0}; delete from people where id = {0}", id - 3),
                };
                // Violations are as good.
                let _ = client.batch_execute(&sql).await;
            }
            round
        })
    });
    let writers = futures_util::future::join_all(writers);
    let looks = async {
        for _ in 0..3 {
            let faults = verify(&database, "VERIFY").await;
            assert_eq!(faults, Vec::<[String; 4]>::new());
        }
        ended.store(true, Ordering::Relaxed);
    };
    let (rounds, ()) = tokio::join!(writers, looks);
    let rounds: i64 = rounds.into_iter().map(|rounds| rounds.unwrap()).sum();
    assert!(rounds > 10, "{rounds} rounds");
}
