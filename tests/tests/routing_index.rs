//! Routing indexes: values of a column that is not unique lead to the shards of their rows. Answers are those of one plain
//! PostgreSQL after whatever writes, only the shards with such rows are asked, and entries stay those of the rows.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::{Both, Cluster, Database, connect, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "create table posts (id int primary key, title text);
    create table comments (author_id bigint, id bigint, post_id int references posts (id) on delete cascade, tag varchar(20), \
        stars int not null default 0, primary key (author_id, id));
    create index on comments (post_id);
    create index on comments (tag)";

const DIVIDE: &str = "select oskol.shard_table('posts', 'id');
    select oskol.shard_table('comments', 'author_id')";

const ROUTE: &str = "select oskol.route_by('comments', 'post_id');
    select oskol.route_by('comments', 'tag')";

/// Posts 1 to 30 have up to six comments, each author at most two of one post; some have none, and some comments no post.
const ROWS: &str = "insert into posts select n, 'p' || n from generate_series(1, 40) n;
    insert into comments select n % 37, n, nullif(n % 31, 0), 't' || n % 13 from generate_series(1, 120) n;
    insert into comments select n % 5, 1000 + n, 7, null from generate_series(1, 10) n";

async fn run(client: &Client, statements: &str) {
    for statement in statements.split(";\n") {
        let ran = client.batch_execute(statement).await;
        ran.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// The columns are routing indexes before there are rows.
async fn database(name: &str) -> Database<'static> {
    database_of(Cluster::shared(), name).await
}

async fn database_of<'a>(cluster: &'a Cluster, name: &str) -> Database<'a> {
    let database = cluster.database(name);
    let client = database.client().await;
    for statements in [TABLES, DIVIDE, ROUTE, ROWS] {
        run(&client, statements).await;
    }
    database
}

async fn beside_oracle(name: &str) -> (Database<'static>, Both) {
    let database = database(name).await;
    let oracle = database.oracle().await;
    run(&oracle, TABLES).await;
    run(&oracle, ROWS).await;
    let both = Both::connect(&database).await;
    (database, both)
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let answer = client.simple_query(sql).await;
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    rows.collect()
}

async fn refused(client: &Client, sql: &str, code: &str, id: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().expect("a server's error").clone();
    assert_eq!(error.code().code(), code, "{sql}: {error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains(id), "{sql}: {error:?}");
}

/// Faults that VERIFY finds in this database: fault, detail, repair.
async fn verify(database: &Database<'_>, statement: &str) -> Vec<[String; 3]> {
    let admin = connect(&database.cluster.url_of("oskol")).await.unwrap();
    let answer = admin.simple_query(statement).await.expect("VERIFY");
    let mine = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("database") == Some(&database.name) => {
            let cell = |name| row.get(name).unwrap_or_default().to_owned();
            Some(["fault", "detail", "repair"].map(cell))
        }
        _ => None,
    });
    mine.collect()
}

/// Each row of a table that has a routing index has its entry, on one shard for each bucket, and no note is left.
async fn is_clean(database: &Database<'_>) {
    let (mut made, mut found, mut places) = (Vec::new(), Vec::new(), BTreeSet::new());
    for number in 0..database.cluster.shard_count() {
        let shard = database.shard(number).await;
        assert_eq!(
            rows(&shard, "select count(*) from oskol.changes").await,
            ["0"]
        );
        let queries = "select r.number, q.made, q.found from oskol.routes r, oskol.verified_entries(r.number) q";
        for query in shard.query(queries, &[]).await.unwrap() {
            let route: i32 = query.get(0);
            for (into, at) in [(&mut made, 1), (&mut found, 2)] {
                let sql = format!(
                    "select concat_ws(' ', {route}, bucket, entry) from ({}) e",
                    query.get::<_, String>(at)
                );
                into.extend(rows(&shard, &sql).await);
            }
            let sql = format!(
                "select distinct bucket from ({}) e",
                query.get::<_, String>(2)
            );
            places.extend(
                rows(&shard, &sql)
                    .await
                    .into_iter()
                    .map(|bucket| (bucket, number)),
            );
        }
    }
    made.sort_unstable();
    found.sort_unstable();
    assert_eq!(made, found);
    let buckets: BTreeSet<&String> = places.iter().map(|(bucket, _)| bucket).collect();
    assert_eq!(buckets.len(), places.len(), "{places:?}");
}

/// What EXPLAIN says before any shard does.
async fn plan(client: &Client, sql: &str) -> String {
    let lines = rows(client, &format!("explain {sql}")).await;
    let own = lines.iter().take_while(|line| {
        line.starts_with("Oskol:") || line.starts_with("  ") && !line.starts_with("  Shard ")
    });
    own.cloned().collect::<Vec<_>>().join("\n")
}

/// The numbers of the shards in the first line of EXPLAIN.
fn shards(plan: &str) -> BTreeSet<usize> {
    let first = plan.lines().next().unwrap_or_default();
    let (_, listed) = first.split_once("shard").expect(first);
    let listed = listed.trim_start_matches('s').split(',');
    listed.map(|one| one.trim().parse().expect(first)).collect()
}

/// The shards that have rows like that.
async fn shards_with(database: &Database<'_>, condition: &str) -> BTreeSet<usize> {
    let mut with = BTreeSet::new();
    for number in 0..database.cluster.shard_count() {
        let sql = format!("select from comments where {condition}");
        let shard = database.shard(number).await;
        if !shard.query(&sql, &[]).await.expect(&sql).is_empty() {
            with.insert(number);
        }
    }
    with
}

async fn number(database: &Database<'_>, table: &str, column: &str) -> i32 {
    let sql = "select r.number from oskol.routes r join pg_attribute a on a.attrelid = r.relation and a.attnum = r.attribute
        where r.relation = $1::text::regclass and a.attname = $2";
    let shard = database.shard(0).await;
    shard
        .query_one(sql, &[&table, &column])
        .await
        .unwrap()
        .get(0)
}

const LOOKS: [&str; 14] = [
    "select * from comments where post_id = 3",
    "select * from comments where post_id = 7 order by id",
    "select id, tag from comments where post_id = 7 order by id desc limit 3 offset 1",
    "select count(*), sum(stars), max(id) from comments where post_id = 7",
    "select avg(id) from comments where post_id = 7",
    "select count(*) from comments where post_id = 39",
    "select * from comments where post_id = null",
    "select * from comments where tag = 't4' and post_id > 3",
    "select * from comments where tag = 'none'",
    "select * from comments where post_id in (3, 8, null, 3)",
    "select id from comments where post_id = any ('{4,9}') order by id",
    "select c.id, d.id from comments c join comments d on d.author_id = c.author_id where c.post_id = 5",
    "select c.id, d.id from comments c left join comments d on d.author_id = c.author_id and d.tag = 't3' where c.post_id = 5",
    "select id from comments where post_id = 11 and exists (select from comments x where x.author_id = comments.author_id and x.stars = 0)",
];

async fn looks_agree(both: &mut Both) {
    for sql in LOOKS {
        both.query_unordered(sql).await;
    }
    for (sql, value) in [
        ("select * from comments where post_id = $1", "7"),
        ("select id from comments where $1 = tag order by id", "t2"),
        (
            "select id from comments where post_id = any ($1)",
            "{3,7,NULL,90}",
        ),
        (
            "select id from comments where tag = $1 and id > length($1)",
            "t2",
        ),
    ] {
        for format in [wire::Format::Text, wire::Format::Binary] {
            both.agree_unordered(sql, 1, |client| {
                client.extended(sql, &[value], format).sync();
            })
            .await;
        }
    }
    both.query_unordered("select * from comments").await;
}

#[tokio::test]
async fn answers_are_those_of_one_postgresql() {
    let (database, mut both) = beside_oracle("routing_answers").await;
    a_transaction_sees_its_own_rows_and_nothing_of_what_is_rolled_back(&mut both).await;
    repeatable_read_sees_one_moment(&database).await;
    run(&database.oracle().await, MOMENT).await;
    rows_that_are_copied_in_are_found(&database, &mut both).await;
    for write in [
        "insert into comments values (40, 2000, 3, 'new')",
        "insert into comments values (41, 2001, 3, 'new'), (42, 2002, 3, 't4'), (43, 2003, 39, null), (44, 2004, null, null)",
        "insert into comments select author_id, id + 3000, post_id, 'copy' from comments where id < 20",
        "insert into comments values (40, 2000, 4, 'x') on conflict (author_id, id) do update set post_id = excluded.post_id",
        "insert into comments values (40, 2000, 9, 'x') on conflict do nothing",
        "update comments set post_id = 8 where author_id = 3",
        "update comments set post_id = post_id + 1 where id between 40 and 60",
        "update comments set tag = case when id % 2 = 0 then 't4' end, stars = 2 where post_id = 7",
        "update comments set author_id = author_id + 50 where id between 20 and 30",
        "update comments set stars = stars + 1 where tag = 't5'",
        "update comments set stars = 9 where post_id in (3, 4) returning id, stars",
        "delete from comments where post_id = 12 returning author_id, id",
        "delete from comments where tag = 't6'",
        "delete from comments where author_id = 2 and id > 1000",
        "delete from posts where id in (3, 5)",
        "with gone as (delete from comments where author_id = 4 returning *) insert into comments select author_id + 60, id, 15, tag from gone",
        "merge into comments c using (values (11::bigint, 11::bigint)) v (a, i) on c.author_id = v.a and c.id = v.i \
            when matched then update set post_id = 1",
    ] {
        both.query_unordered(write).await;
        looks_agree(&mut both).await;
    }
    is_clean(&database).await;
    both.query("truncate comments").await;
    looks_agree(&mut both).await;
    both.query("insert into comments values (1, 1, 7, 't2')")
        .await;
    looks_agree(&mut both).await;
    is_clean(&database).await;
}

async fn a_transaction_sees_its_own_rows_and_nothing_of_what_is_rolled_back(both: &mut Both) {
    for begin in ["begin", "begin isolation level repeatable read"] {
        both.query(begin).await;
        for sql in [
            "insert into comments values (90, 1, 7, 't4'), (91, 2, 38, 't4')",
            "savepoint s",
            "update comments set post_id = 38 where post_id = 8",
            "delete from comments where author_id = 90",
        ] {
            both.query_unordered(sql).await;
            looks_agree(both).await;
        }
        both.query_unordered("select id from comments where post_id = 38")
            .await;
        both.query("rollback to s").await;
        both.query_unordered("select id from comments where post_id = 38")
            .await;
        looks_agree(both).await;
        both.query("rollback").await;
        looks_agree(both).await;
    }
}

/// What others write while a transaction reads.
const MOMENT: &str = "insert into comments values (70, 1, 7), (71, 2, 7), (72, 3, 7);
    update comments set post_id = 8 where author_id = 1 and post_id = 7";

/// Without new rows and values of others, as their rows are without them.
async fn repeatable_read_sees_one_moment(database: &Database<'_>) {
    let (reader, writer) = (database.client().await, database.client().await);
    let sql = "select id from comments where post_id = 7 order by id";
    run(&reader, "begin isolation level repeatable read").await;
    let before = rows(&reader, sql).await;
    run(&writer, MOMENT).await;
    assert_eq!(rows(&reader, sql).await, before);
    run(&reader, "commit").await;
    let after = rows(&reader, sql).await;
    assert!(
        ["1", "2", "3"]
            .iter()
            .all(|id| after.contains(&(*id).to_owned())),
        "{after:?}"
    );
    assert!(!after.contains(&"1001".to_owned()), "{after:?}");
}

async fn rows_that_are_copied_in_are_found(database: &Database<'_>, both: &mut Both) {
    use futures_util::SinkExt as _;
    for client in [database.client().await, database.oracle().await] {
        let sink = client
            .copy_in::<_, bytes::Bytes>("copy comments (author_id, id, post_id, tag) from stdin");
        let mut sink = Box::pin(sink.await.unwrap());
        let lines =
            (5000..5200).map(|id| format!("{}\t{id}\t{}\tt{}\n", id % 23, id % 9 + 1, id % 4));
        sink.send(lines.collect::<String>().into()).await.unwrap();
        sink.as_mut().finish().await.unwrap();
    }
    looks_agree(both).await;
    is_clean(database).await;
}

#[tokio::test]
async fn explain_names_the_route_and_the_shards_that_have_rows() {
    let database = database("routing_plans").await;
    let client = database.client().await;
    let mut narrowed = 0;
    for post in 1..=32 {
        let told = plan(
            &client,
            &format!("select * from comments where post_id = {post}"),
        )
        .await;
        assert!(told.starts_with("Oskol: scatter, shard"), "{told}");
        assert!(
            told.contains("\n  Route: entries of comments.post_id"),
            "{told}"
        );
        let with = shards_with(&database, &format!("post_id = {post}")).await;
        match with.len() {
            // One is asked for the empty result.
            0 => assert_eq!(shards(&told).len(), 1, "{told}"),
            _ => assert_eq!(shards(&told), with, "{told}"),
        }
        narrowed += usize::from(with.len() < 4);
    }
    assert!(narrowed > 5, "{narrowed}");
    for sql in [
        "select count(*) from comments where tag = 'new' and stars = 3",
        "update comments set stars = 1 where post_id = 40",
        "delete from comments where tag = any ('{a,b}')",
        "select * from comments c where c.tag in ('a', 'b') order by id limit 2",
        "select * from comments where post_id = 40 for update",
        "select * from comments c join comments d on c.author_id = d.author_id where d.post_id = 40",
    ] {
        let told = plan(&client, sql).await;
        assert!(
            told.contains("Route: entries of comments."),
            "{sql}: {told}"
        );
        assert_eq!(shards(&told).len(), 1, "{sql}: {told}");
    }
    for sql in [
        "select * from comments where post_id > 3",
        "select * from comments where post_id = 3 or stars = 4",
        "select * from comments where post_id = stars",
        "select * from comments where lower(tag) = 'a'",
        "select * from comments where author_id = 3 and post_id = 3",
        "select * from comments c left join comments d on c.author_id = d.author_id and d.post_id = 3",
    ] {
        let told = plan(&client, sql).await;
        assert!(!told.contains("Route:"), "{sql}: {told}");
    }
    shards_without_such_rows_are_not_asked(&database).await;
}

async fn shards_without_such_rows_are_not_asked(database: &Database<'_>) {
    let client = database.client().await;
    let mut post = 1;
    while shards_with(database, &format!("post_id = {post}"))
        .await
        .len()
        > 2
    {
        post += 1;
    }
    let with = shards_with(database, &format!("post_id = {post}")).await;
    let routed = format!("select id from comments where post_id = {post} order by id");
    let expected = rows(&client, &routed).await;
    assert!(!expected.is_empty());
    let mut locks = Vec::new();
    for number in (0..4).filter(|number| !with.contains(number)) {
        let shard = database.shard(number).await;
        run(
            &shard,
            "begin;\nlock table comments in access exclusive mode",
        )
        .await;
        locks.push(shard);
    }
    run(&client, "set statement_timeout = '5s'").await;
    assert_eq!(rows(&client, &routed).await, expected);
    run(
        &client,
        &format!("update comments set stars = 3 where post_id = {post}"),
    )
    .await;
    run(&client, "set statement_timeout = '200ms'").await;
    let everywhere = client
        .simple_query("select id from comments where stars = 3")
        .await;
    let code = everywhere.expect_err("a shard is locked").code().cloned();
    assert_eq!(code.as_ref().map(|code| code.code()), Some("57014"));
}

/// The entry that one takes away may not be the one that the other has locked.
#[tokio::test]
async fn writers_of_the_same_value_do_not_wait_for_one_another() {
    let database = database("routing_writers").await;
    let (one, other) = (database.client().await, database.client().await);
    for client in [&one, &other] {
        run(client, "set lock_timeout = '5s'").await;
    }
    for begin in ["begin", "begin isolation level repeatable read"] {
        run(
            &one,
            "insert into comments select 3, n, 38 from generate_series(8000, 8005) n",
        )
        .await;
        run(&one, begin).await;
        run(&other, begin).await;
        run(
            &one,
            "delete from comments where author_id = 3 and id = 8001",
        )
        .await;
        run(&other, "insert into comments values (3, 8010, 38)").await;
        if begin == "begin" {
            run(
                &other,
                "delete from comments where author_id = 3 and id in (8002, 8003)",
            )
            .await;
            run(&one, "rollback").await;
            run(&other, "commit").await;
        } else {
            // The entry that its snapshot has first is gone, and there is another.
            rows(&other, "select id from comments where post_id = 38").await;
            run(&one, "commit").await;
            run(
                &other,
                "delete from comments where author_id = 3 and id in (8002, 8003)",
            )
            .await;
            run(&other, "commit").await;
        }
        is_clean(&database).await;
        run(&one, "delete from comments where post_id = 38").await;
        assert_eq!(
            shards_with(&database, "post_id = 38").await,
            BTreeSet::new()
        );
        is_clean(&database).await;
    }
    what_is_not_decided_yet_is_waited_for(&database).await;
    entries_are_those_of_the_rows_after_many_writers(&database).await;
}

/// The only entry of a row is taken by somebody who may give it back, or is committed on its shard later than the row.
async fn what_is_not_decided_yet_is_waited_for(database: &Database<'_>) {
    let client = database.client().await;
    run(
        &client,
        "insert into comments values (3, 8020, 37), (4, 8021, 36)",
    )
    .await;
    let routing = format!(
        "oskol.routing_{}",
        number(database, "comments", "post_id").await
    );
    for (post, taken, given_back) in [
        (
            37,
            format!("begin;\ndelete from {routing} where v = 37"),
            "rollback",
        ),
        (
            36,
            format!(
                "create temp table kept as select * from {routing} where v = 36;\ndelete from {routing} where v = 36;\n\
            create table public.kept as table kept;\ndrop table kept;\nbegin;\ninsert into {routing} table public.kept;\n\
            prepare transaction 'routing_index'"
            ),
            "commit prepared 'routing_index';\ndrop table public.kept",
        ),
    ] {
        let mut at = 0;
        while rows(
            &database.shard(at).await,
            &format!("select v from {routing} where v = {post}"),
        )
        .await
        .is_empty()
        {
            at += 1;
        }
        let (other, looker) = (database.shard(at).await, database.shard(at).await);
        run(&other, &taken).await;
        let delete = format!("delete from comments where post_id + 0 = {post}");
        let deleting = tokio::spawn({
            let client = database.client().await;
            async move { client.batch_execute(&delete).await }
        });
        let waits = "select from pg_stat_activity where query like '%enter_%' and pid <> pg_backend_pid()
            and datname = current_database() and (wait_event_type = 'Lock' or wait_event = 'PgSleep')";
        eventually("the entry is waited for", async || {
            !looker.query(waits, &[]).await.unwrap().is_empty()
        })
        .await;
        run(&other, given_back).await;
        deleting.await.unwrap().unwrap();
        is_clean(database).await;
    }
}

async fn entries_are_those_of_the_rows_after_many_writers(database: &Database<'_>) {
    let mut writers = Vec::new();
    for writer in 0..6_i64 {
        let client = database.client().await;
        writers.push(tokio::spawn(async move {
            for round in 0..25_i64 {
                let (id, post) = (10_000 + writer * 100 + round, round % 3 + 1);
                for sql in [
                    format!("insert into comments values (1, {id}, {post}), ({writer}, {id} + 1000, {post})"),
                    format!("update comments set post_id = {post} % 3 + 1 where author_id = 1 and id = {id}"),
                    format!("delete from comments where author_id = 1 and id = {id} - {}", round % 2),
                ] {
                    let ran = client.batch_execute(&sql).await;
                    ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    is_clean(database).await;
}

#[tokio::test]
async fn a_table_with_rows_gets_a_routing_index_and_loses_it() {
    let database = Cluster::shared().database("routing_later");
    let client = database.client().await;
    for statements in [TABLES, DIVIDE, ROWS] {
        run(&client, statements).await;
    }
    let sql = "select id from comments where post_id = 7 order by id";
    let expected = rows(&client, sql).await;
    run(&client, ROUTE).await;
    assert!(
        plan(&client, sql)
            .await
            .contains("Route: entries of comments.post_id")
    );
    assert_eq!(rows(&client, sql).await, expected);
    is_clean(&database).await;
    // Nothing that tools would show or dump.
    let shown =
        "select count(*) from pg_trigger where tgrelid = 'comments'::regclass and not tgisinternal";
    assert_eq!(rows(&client, shown).await, ["0"]);
    // Not before the end of the transaction, and not at all where that is rolled back.
    run(
        &client,
        "begin;\nselect oskol.unroute_by('comments', 'post_id')",
    )
    .await;
    assert!(!plan(&client, sql).await.contains("Route:"));
    assert_eq!(rows(&client, sql).await, expected);
    run(&client, "rollback").await;
    assert!(plan(&client, sql).await.contains("Route:"));
    run(&client, "insert into comments values (3, 4000, 7)").await;
    assert_eq!(rows(&client, sql).await.len(), expected.len() + 1);
    let gone = number(&database, "comments", "post_id").await;
    run(&client, "select oskol.unroute_by('comments', 'post_id')").await;
    assert!(!plan(&client, sql).await.contains("Route:"));
    run(&client, "insert into comments values (4, 4001, 7)").await;
    assert_eq!(rows(&client, sql).await.len(), expected.len() + 2);
    // Who has not heard of it yet is told to ask all shards.
    let told = rows(
        &client,
        &format!("select routed_{gone} is null from oskol.routed_{gone}('{{7}}', 10)"),
    )
    .await;
    assert_eq!(told, ["t"]);
    run(
        &client,
        "select oskol.route_by(column_name => 'post_id', relation => 'public.comments')",
    )
    .await;
    assert_eq!(rows(&client, sql).await.len(), expected.len() + 2);
    for shard in 0..4 {
        let left = format!("select to_regclass('oskol.routing_{gone}') is null");
        assert_eq!(rows(&database.shard(shard).await, &left).await, ["t"]);
    }
    is_clean(&database).await;
}

#[tokio::test]
async fn what_cannot_be_a_routing_index_is_refused() {
    let database = database("routing_refused").await;
    let client = database.client().await;
    run(
        &client,
        "create table local (a int);
        create table parts (id bigint, a int) partition by range (id);
        select oskol.shard_table('parts', 'id');
        alter table comments add price numeric, add twice int generated always as (stars * 2) stored",
    )
    .await;
    for (table, column, code, id) in [
        ("local", "a", "0A000", "[route-not-sharded]"),
        ("parts", "a", "0A000", "[route-partitioned]"),
        ("comments", "author_id", "0A000", "[route-shard-key]"),
        ("comments", "price", "0A000", "[route-column-type]"),
        ("comments", "twice", "0A000", "[route-column-type]"),
        ("comments", "none", "42703", ""),
        ("nothing", "a", "42P01", ""),
        ("comments", "post_id", "42710", ""),
    ] {
        refused(
            &client,
            &format!("select oskol.route_by('{table}', '{column}')"),
            code,
            id,
        )
        .await;
    }
    refused(
        &client,
        "select oskol.unroute_by('comments', 'stars')",
        "42704",
        "",
    )
    .await;
    refused(
        &client,
        "select oskol.unroute_by('comments')",
        "0A000",
        "[cluster-function-argument]",
    )
    .await;
    let retyped = "alter table comments alter post_id type bigint using post_id + 1";
    refused(&client, retyped, "0A000", "[route-column-type]").await;
    let direct = "insert into comments values (1, 7777, 3)";
    refused(&database.shard(0).await, direct, "0A000", "[direct-write]").await;
    is_clean(&database).await;
}

#[tokio::test]
async fn changes_of_the_table_take_the_routing_index_along() {
    let database = database("routing_ddl").await;
    let client = database.client().await;
    let sql = "select id from notes where topic = 7 order by id";
    let expected = rows(
        &client,
        "select id from comments where post_id = 7 order by id",
    )
    .await;
    run(
        &client,
        "alter table comments rename post_id to topic;
        alter table comments rename author_id to writer;
        alter table comments rename to notes;
        insert into notes (writer, id, topic) values (5, 6000, 7), (6, 6001, 7);
        update notes set topic = 8 where id = 6001",
    )
    .await;
    let mut with = expected.clone();
    with.push("6000".to_owned());
    assert!(
        plan(&client, sql)
            .await
            .contains("Route: entries of notes.topic")
    );
    let found: BTreeSet<String> = rows(&client, sql).await.into_iter().collect();
    assert_eq!(found, with.iter().cloned().collect());
    is_clean(&database).await;
    // Placed anew, by a column that had a routing index itself.
    run(
        &client,
        "delete from notes where topic is null;\nalter table notes drop constraint comments_pkey",
    )
    .await;
    run(&client, "select oskol.shard_table('notes', 'topic')").await;
    assert!(plan(&client, sql).await.starts_with("Oskol: single-shard"));
    let by_tag = "select id from notes where tag = 't4' order by id";
    let told = plan(&client, by_tag).await;
    assert!(told.contains("Route: entries of notes.tag"), "{told}");
    let tagged = rows(&client, by_tag).await;
    assert_eq!(
        tagged.len(),
        rows(&client, "select id from notes where tag || '' = 't4'")
            .await
            .len()
    );
    is_clean(&database).await;
    run(&client, "select oskol.shard_table('notes', 'writer')").await;
    is_clean(&database).await;
    let kept = number(&database, "notes", "tag").await;
    run(&client, "alter table notes drop column tag").await;
    let left = format!(
        "select count(*) from oskol.routes where number = {kept} union all select count(*) from pg_class \
        where relname = 'routing_{kept}' union all select count(*) from pg_trigger where tgname like 'oskol_route_{kept}_%'"
    );
    assert_eq!(rows(&database.shard(1).await, &left).await, ["0", "0", "0"]);
    run(
        &client,
        "insert into notes (writer, id, topic) values (5, 6100, 7)",
    )
    .await;
    run(
        &client,
        "select oskol.route_by('notes', 'topic');\nselect oskol.local_table('notes')",
    )
    .await;
    assert_eq!(
        rows(
            &database.shard(1).await,
            "select count(*) from oskol.routes"
        )
        .await,
        ["0"]
    );
    run(&client, "select oskol.shard_table('notes', 'writer');\nselect oskol.route_by('notes', 'topic');\ndrop table notes").await;
    assert_eq!(
        rows(
            &database.shard(2).await,
            "select count(*) from oskol.routes"
        )
        .await,
        ["0"]
    );
    is_clean(&database).await;
}

/// Behind the router's back, and the triggers'.
async fn plant(database: &Database<'_>, shard: usize, sql: &str) {
    let client = database.shard(shard).await;
    run(
        &client,
        &format!("set session_replication_role = replica;\n{sql}"),
    )
    .await;
}

#[tokio::test]
async fn verify_finds_and_mends_missing_superfluous_and_misplaced_entries() {
    // VERIFY looks at all databases.
    let cluster = Cluster::start(3);
    let database = database_of(&cluster, "routing_verify").await;
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 3]>::new());
    let routing = format!(
        "oskol.routing_{}",
        number(&database, "comments", "post_id").await
    );
    let mut right = [0; 10];
    for number in 0..database.cluster.shard_count() {
        let shard = database.shard(number).await;
        for value in rows(
            &shard,
            &format!("select distinct v from {routing} where v < 10"),
        )
        .await
        {
            right[value.parse::<usize>().unwrap()] = number;
        }
    }
    let twice =
        "select key from {} where v = 7 group by key having count(*) > 1 order by key limit 1"
            .replace("{}", &routing);
    let key = rows(&database.shard(right[7]).await, &twice)
        .await
        .remove(0);
    // One of two equal ones is lost; one has no row; one is on another shard, and one on two.
    plant(&database, right[7], &format!("delete from {routing} where ctid = (select ctid from {routing} where v = 7 and key = {key} limit 1)")).await;
    plant(
        &database,
        right[8],
        &format!("insert into {routing} values (8, 8), (8, 8)"),
    )
    .await;
    plant(
        &database,
        right[3],
        &format!("delete from {routing} where v = 3 and key = 3"),
    )
    .await;
    plant(
        &database,
        (right[3] + 1) % 3,
        &format!("insert into {routing} values (3, 3)"),
    )
    .await;
    plant(
        &database,
        (right[9] + 1) % 3,
        &format!("insert into {routing} values (9, 9)"),
    )
    .await;
    let faults = verify(&database, "VERIFY").await;
    let told: BTreeSet<&str> = faults.iter().map(|[fault, ..]| fault.as_str()).collect();
    assert_eq!(
        told,
        ["entry without row", "misplaced entry", "missing entry"].into(),
        "{faults:#?}"
    );
    assert_eq!(faults.len(), 4, "{faults:#?}");
    let missing = format!("(post_id)=(7) with shard key {key}: ");
    assert!(
        faults
            .iter()
            .any(|[fault, detail, _]| fault == "missing entry" && detail.starts_with(&missing)),
        "{faults:#?}"
    );
    let repaired = verify(&database, "VERIFY REPAIR").await;
    assert!(
        repaired.iter().all(|[.., repair]| repair == "repaired"),
        "{repaired:#?}"
    );
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 3]>::new());
    is_clean(&database).await;
    let client = database.client().await;
    for post in [3, 7, 8, 9] {
        let routed = rows(
            &client,
            &format!("select id from comments where post_id = {post} order by id"),
        )
        .await;
        let all = rows(
            &client,
            &format!("select id from comments where post_id + 0 = {post} order by id"),
        )
        .await;
        assert_eq!(routed, all);
    }
}

/// Until no move is under way.
async fn move_ends(database: &Database<'_>) {
    let admin = connect(&database.cluster.url_of("oskol")).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let moves = admin.simple_query("SHOW MOVES").await.unwrap();
        let state = moves.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(1).unwrap_or_default().to_owned()),
            _ => None,
        });
        match state.as_deref() {
            None | Some("finished") => {
                return;
            }
            _ => assert!(std::time::Instant::now() < deadline, "{moves:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Both the buckets of rows and those of values, to a shard that has just come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_move_while_clients_read_and_write() {
    // Buckets of all databases move.
    let cluster = Cluster::start(2);
    let database = database_of(&cluster, "routing_moves").await;
    let client = database.client().await;
    let sql = "select id from comments where post_id = 7 order by id";
    let expected = rows(&client, sql).await;
    let home = database.shard(0).await;
    let of_rows = "select distinct hashint8extended(key, 0) & 4095 from (values (1), (2)) r (key)";
    let mut buckets = rows(&home, of_rows).await;
    buckets.extend(
        rows(
            &home,
            "select hash_record_extended(row(7::bigint), 0) & 4095",
        )
        .await,
    );
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut readers = Vec::new();
    for number in 0..2_i64 {
        let (client, expected, stopped) =
            (database.client().await, expected.clone(), stopped.clone());
        readers.push(tokio::spawn(async move {
            let mut rounds = 0;
            while !*stopped.borrow() {
                assert_eq!(rows(&client, sql).await, expected);
                let id = 100_000 * (number + 1) + rounds;
                run(&client, &format!("insert into comments values (1, {id}, 6);\nupdate comments set post_id = 5 where author_id = 1 and id = {id}")).await;
                let own = format!("select count(*) from comments where post_id = 5 and id = {id}");
                assert_eq!(rows(&client, &own).await, ["1"]);
                rounds += 1;
            }
            rounds
        }));
    }
    let admin = connect(&database.cluster.url_of("oskol")).await.unwrap();
    let spare = cluster.spare_server();
    let add = format!(
        "ADD SHARD third HOST '{}' PORT {}",
        spare.host(),
        spare.port()
    );
    admin.batch_execute(&add).await.unwrap();
    for bucket in buckets {
        let at = format!("select shard from oskol.buckets where bucket = {bucket}");
        admin
            .batch_execute(&format!("MOVE BUCKET {bucket} TO third"))
            .await
            .unwrap();
        move_ends(&database).await;
        assert_eq!(rows(&home, &at).await, ["2"]);
    }
    stop.send(true).unwrap();
    for reader in readers {
        let rounds = reader.await.unwrap();
        assert!(rounds > 5, "{rounds}");
    }
    let plan = plan(&client, sql).await;
    assert!(shards(&plan).contains(&2), "{plan}");
    assert_eq!(verify(&database, "VERIFY").await, Vec::<[String; 3]>::new());
}
