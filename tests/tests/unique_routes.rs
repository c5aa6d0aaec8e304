//! Routes through entries of unique keys that do not contain the shard key: which shards a statement goes to, and that
//! the answers are those of one plain PostgreSQL, whatever the entries say.

use tests::{Both, Cluster, Database};

const TABLE: &str = "create table people (id bigint primary key, email varchar(40) unique, name text, code uuid, team int, \
    seat int, visits int not null default 0, constraint place unique (team, seat)); \
    create unique index people_lower on people (lower(name)); \
    create unique index people_code on people (code); \
    create unique index people_upper on people (team, upper(email))";

const ROWS: &str = "insert into people select i, 'E' || i || '@X', 'Name' || i, md5(i::text)::uuid, i / 4, i % 4 \
    from generate_series(1, 40) i";

async fn database(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    client.batch_execute(TABLE).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    client.batch_execute(divide).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    let oracle = database.oracle().await;
    oracle.batch_execute(TABLE).await.unwrap();
    oracle.batch_execute(ROWS).await.unwrap();
    database
}

/// What EXPLAIN says first, and why.
async fn plan(client: &tokio_postgres::Client, sql: &str) -> String {
    let lines = client
        .simple_query(&format!("explain {sql}"))
        .await
        .unwrap();
    let lines = lines.iter().filter_map(|line| match line {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    lines.take(2).collect::<Vec<_>>().join("\n")
}

const ONE: &str = "Oskol: through an entry, shard ";
const SEVERAL: &str = "Oskol: through entries, shard";

#[tokio::test]
async fn expressions_and_lists_are_routes() {
    let database = database("routes_plans").await;
    let client = database.client().await;
    for sql in [
        "select * from people where lower(name) = 'name7'",
        "select * from people where lower(name) = lower('NAME7')",
        "select * from people p where 'name7' = pg_catalog.lower(p.name) and visits = 0",
        "update people set visits = 1 where lower(name) = lower('NAME7')",
        "select * from people where team = 2 and upper(email) = upper('e8@x')",
        "select * from people where team = 2 and seat = 1",
        "select * from people where (team, seat) = (2, 1)",
        "select count(*) from people where lower(name) = 'name7' group by id",
    ] {
        let told = plan(&client, sql).await;
        assert!(told.starts_with(ONE), "{sql}: {told}");
        assert!(told.contains("Why: unique key \"p"), "{sql}: {told}");
    }
    let shard = |told: &str| told.lines().next().unwrap().to_owned();
    let by_key = plan(&client, "select * from people where id = 7").await;
    let number = by_key.lines().next().unwrap().chars().last().unwrap();
    let told = shard(&plan(&client, "select * from people where lower(name) = 'name7'").await);
    assert!(told.ends_with(number), "{told}, {by_key}");
    for sql in [
        "select * from people where email in ('E7@X', 'E7@X', null)",
        "select * from people where email = any('{E7@X}')",
        "select * from people where email = any(array['E7@X'::varchar]) order by id",
        "delete from people where email in ('E7@X', 'E7@X')",
    ] {
        let told = shard(&plan(&client, sql).await);
        assert!(
            told.starts_with(SEVERAL) && told.ends_with(number) || told.starts_with(ONE),
            "{sql}: {told}"
        );
    }
    for sql in [
        "select * from people where email in ('E7@X', 'nobody')",
        "select * from people where upper(name) = 'NAME7'",
        "select * from people where lower(name) > 'name7'",
        "select * from people where email in ('E7@X', 'E8@X') for update",
        "select generate_series(1, 2) from people where email in ('E7@X', 'E7@X', 'E9@X')",
        "select * from people where lower(name) = 'name7' or id = 3",
    ] {
        let told = plan(&client, sql).await;
        assert!(!told.contains("through"), "{sql}: {told}");
    }
}

/// All kinds of statements that are routed so.
const STATEMENTS: [&str; 26] = [
    "select * from people where lower(name) = 'name7'",
    "select * from people where lower(name) = lower('NAME8')",
    "select * from people where lower(name) = lower(null)",
    "select * from people where lower(name) = 'Name7'",
    "select * from people where team = 2 and upper(email) = upper('e8@x')",
    "select * from people where email in ('E1@X', 'E2@X', 'E1@X')",
    "select * from people where email in ('E3@X', 'none', 'E4@X')",
    "select id from people where email in ('E5@X', 'E6@X', 'E7@X') and visits > 5",
    "select id, email from people where email in ('E5@X', 'E6@X', 'E7@X') order by id desc",
    "select id, email from people where email = any('{E5@X,E9@X,\"nobody, \\\\ at all\"}') order by id desc",
    "select id, email from people where email = any('{E5@X,E9@X}') order by email limit 1",
    "select count(*) from people where email in ('E5@X', 'E6@X')",
    "select distinct team from people where email in ('E5@X', 'E6@X') order by team",
    "select id from people where code in (md5('5')::uuid, md5('6')::uuid)",
    "select id from people where code in ('e4da3b7f-bbce-2345-d777-2b0674a318d5', '1679091c5a880faf6fb5e6087eb1b2dc')",
    "update people set visits = visits + 1 where email in ('E1@X', 'E2@X') ",
    "update people set visits = visits + 1 where email in ('E1@X', 'none', 'E2@X') returning id, visits",
    "update people set visits = visits + 1 where lower(name) = lower('NAME3') returning id, visits",
    "update people set email = email || '!' where email in ('E11@X', 'E12@X')",
    "select id from people where email in ('E11@X!', 'E12@X!')",
    "delete from people where email in ('E13@X', 'E14@X', 'E13@X')",
    "delete from people where lower(name) = 'name15' returning id",
    "select id from people where email in ('E13@X', 'E15@X', 'E16@X')",
    "select * from people where email in (select email from people where id = 3)",
    "select id from people where email in ('E20@X', 'E21@X') for update",
    "select exists (select 1 from people where email in ('E20@X', 'E21@X'))",
];

async fn all_agree(both: &mut Both) {
    for sql in STATEMENTS {
        both.query_unordered(sql).await;
    }
    for (sql, values) in [
        (
            "select id, email from people where email = any($1) order by id",
            "{E22@X,E23@X,E24@X}",
        ),
        (
            "select id from people where email = any($1::varchar[])",
            "{E22@X,gone,NULL}",
        ),
        (
            "select id from people where lower(name) = lower($1)",
            "NAME25",
        ),
        ("select id from people where lower(name) = $1", "name25"),
        (
            "update people set visits = visits + 1 where email = any($1) returning id, visits",
            "{E22@X,E26@X}",
        ),
    ] {
        for format in [wire::Format::Text, wire::Format::Binary] {
            both.agree_unordered(sql, 1, |client| {
                client.extended(sql, &[values], format).sync();
            })
            .await;
        }
    }
    both.query_unordered("select * from people").await;
}

#[tokio::test]
async fn answers_are_those_of_one_postgresql() {
    let database = database("routes_answers").await;
    all_agree(&mut Both::connect(&database).await).await;
}

/// Entries are hints for reading: where some are lost, and others name a row that is not there, the answers stay.
#[tokio::test]
async fn entries_that_are_wrong_cost_time_and_no_answer() {
    let database = database("routes_wrong").await;
    let number = "select string_agg(number::text, ',') from oskol.unique_keys";
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let numbers: String = shard.query_one(number, &[]).await.unwrap().get(0);
        assert_eq!(numbers.split(',').count(), 5, "{numbers}");
        for number in numbers.split(',') {
            let sql = format!(
                "delete from oskol.unique_{number} where key % 3 = 0; update oskol.unique_{number} set key = key + 1 where key % 3 = 1"
            );
            shard.batch_execute(&sql).await.unwrap();
        }
    }
    let mut both = Both::connect(&database).await;
    for sql in STATEMENTS {
        if sql.starts_with("select") {
            both.query_unordered(sql).await;
        }
    }
    both.query_unordered("update people set visits = visits + 1 where email in ('E1@X', 'E2@X', 'E3@X', 'E4@X') returning id, visits")
        .await;
    both.query_unordered(
        "update people set visits = visits + 1 where lower(name) = 'name6' returning id, visits",
    )
    .await;
    both.query_unordered("select * from people").await;
}
