//! Views over sharded tables: what a plain PostgreSQL gives, whichever way the rows are found.

use tests::Database;
use wire::Format;

use crate::setting::{Both, database};

/// One a line: each is a statement of its own.
const VIEWS: &[&str] = &[
    "create view dear as select owner, id as number, word from items where amount > 5",
    "create view renamed (who, what) as select owner, word from items",
    "create view totals as select owner, count(*) as n, sum(amount) as total from items group by owner",
    "create view words as select word, count(*) as n from items group by word",
    "create view rated as select i.owner, i.id, r.amount as rate from items i join rates r on r.id = i.id",
    "create view top as select owner, n from totals where n > 2",
    "create view pairs as select a.owner as one, b.owner as two from items a join items b on a.id = b.id and a.amount = b.amount",
    "create view all_words as select word from items union select word from notes",
    "create view lately as with w as (select * from dear where number > 2) select owner, max(number) as last from w group by owner",
    "create view guarded with (security_barrier) as select owner, word from items where amount > 5",
    "create view note_words as select word from notes",
];

const ORDERED: &[&str] = &[
    "select * from dear where owner = 7 order by number",
    "select x.b from dear as x (a, b, c) where a = 7 order by 1",
    "select owner, number from dear order by owner, number limit 5",
    "select owner, number from dear order by owner desc, number offset 3 limit 4",
    "select count(*), max(number) from dear",
    "select * from totals where owner = 3",
    "select * from totals order by owner limit 3",
    "select sum(total) from totals",
    "select * from top where owner in (1, 2, 3) order by owner",
    "select * from words order by word",
    "select n, count(*) from words group by n order by n",
    "select count(*) from pairs where one <> two",
    "select count(*) from all_words",
    "select * from lately where owner = 8",
    "select count(*), sum(last) from lately",
    "select i.owner, t.n from items i join totals t on t.owner = i.owner where i.id = 1 order by i.owner limit 4",
    "select d.owner from dear d join notes n on n.id = d.number order by d.owner, d.number limit 4",
    "select owner, (select t.n from totals t where t.owner = i.owner) from items i where id = 1 order by owner limit 3",
    "select count(*) from items where owner in (select owner from dear)",
    "with dear as (select 1 as owner) select * from dear",
    "with w as (select * from dear where owner = 5) select count(*) from w",
    "select * from guarded where owner = 4 order by word",
    "select word from note_words order by word",
    "select who, what from renamed where who = 9 limit 1",
    "select avg(number) from dear",
    "select word, avg(number), count(distinct owner) from dear group by word order by word limit 5",
    "select word from dear order by word, owner, number limit 3",
    "select distinct word from dear order by word limit 5",
    "select dear::text from dear where owner = 7 order by number",
    "select pg_typeof(word), owner from dear where owner = 2 order by number",
];

const UNORDERED: &[&str] = &[
    "select * from dear",
    "select * from rated",
    "select what, count(*) from renamed group by what",
    "select * from pairs where one = 3 and two < 9",
    "select * from dear union all select * from dear",
    "select d.* from dear d left join totals t on t.n = d.number",
    "table words",
];

async fn with_views(name: &str) -> Database<'static> {
    let database = database(name).await;
    for url in [database.url(), database.oracle_url()] {
        let client = tests::connect(&url).await.unwrap();
        for view in VIEWS {
            client.batch_execute(view).await.unwrap();
        }
    }
    database
}

#[tokio::test]
async fn views_give_what_postgresql_gives() {
    let database = with_views("views").await;
    let mut both = Both::connect(&database).await;
    for sql in ORDERED {
        both.query(sql).await;
        both.agree(sql, 1, |client| {
            client.extended(sql, &[], Format::Text).sync();
        })
        .await;
    }
    for sql in UNORDERED {
        both.query_unordered(sql).await;
    }
}

#[tokio::test]
async fn views_of_one_table_are_written_through() {
    let database = with_views("view_writes").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "create view keyed as select owner, id as number, word from items where amount > 5 with check option",
        "update keyed set word = 'one' where owner = 7",
        "update keyed set word = 'two' where number = 2",
        "delete from keyed where owner = 3 and number > 2",
        "delete from keyed k where k.number = 5",
        "insert into keyed values (1, 99, 'x')",
    ] {
        both.query(sql).await;
    }
    both.query_unordered(
        "update keyed set word = word || '!' where owner in (1, 2, 4) returning *",
    )
    .await;
    both.query("select owner, id, word from items order by owner, id")
        .await;
    let client = database.client().await;
    for (sql, id) in [
        ("update totals set n = 1 where owner = 3", "view-write"),
        (
            "update dear set owner = 4 where owner = 3",
            "shard-key-update",
        ),
        ("insert into totals values (1, 9, 3)", "insert-view"),
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        let detail = format!("{:?}", error.as_db_error());
        assert!(detail.contains(id), "{sql}: {detail}");
    }
}

#[tokio::test]
async fn a_view_that_guards_its_rows_is_not_taken_apart() {
    let database = with_views("guarded").await;
    let client = database.client().await;
    let sql = "select count(*) from guarded g join notes n on g.word <> n.word";
    let error = client.batch_execute(sql).await.expect_err(sql);
    let detail = error.as_db_error().and_then(|error| error.detail());
    assert!(
        detail.is_some_and(|detail| detail.contains("[view-guarded]")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_view_is_read_with_its_owners_rights_where_shards_read_it() {
    let database = with_views("view_rights").await;
    let client = database.client().await;
    let role = format!("reader_{}", database.name);
    let rights = format!("create role {role}; grant select on dear to {role}");
    for sql in rights.split("; ") {
        client.batch_execute(sql).await.unwrap();
    }
    let sql = format!("set role {role}");
    client.batch_execute(&sql).await.unwrap();
    for sql in [
        "select count(*) from dear where owner = 7",
        "select count(*) from dear",
        "select owner from dear order by number, owner limit 2",
    ] {
        client
            .query(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let error = client
        .query("select * from items where owner = 7", &[])
        .await;
    let code = error.expect_err("no rights on the table").code().cloned();
    assert_eq!(
        code,
        Some(tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE)
    );
}

#[tokio::test]
async fn a_view_that_changes_is_read_as_it_is_now() {
    let database = with_views("view_changes").await;
    let client = database.client().await;
    let count = async || -> i64 {
        let row = client.query_one("select count(*) from words", &[]).await;
        row.unwrap().get(0)
    };
    assert_eq!(count().await, 40);
    let other = "create or replace view words as select word, count(*) as n from items where owner < 11 group by word";
    client.batch_execute(other).await.unwrap();
    assert_eq!(count().await, 10);
}
