//! UPDATE and DELETE over several shards: all or none, with the tags and rows of one server.

use wire::Format;

use crate::setting::{Both, database};

const STATE: &str = "select owner, id, amount, word from items order by owner, id";

#[tokio::test]
async fn writes_agree_with_postgresql() {
    let database = database("writes").await;
    let mut both = Both::connect(&database).await;
    let steps = [
        "update items set amount = amount + 1",
        "update items set word = upper(word) where owner in (1, 2, 3, 4, 5)",
        "update items set amount = amount + 1 where amount = 12345",
        "update items set amount = 0 where id = 2 returning owner, id, amount",
        "delete from items where id = 5",
        "delete from items where owner = any(array[1, 2, 3]) returning *",
    ];
    for sql in steps {
        both.query_unordered(sql).await;
        both.agree_unordered(sql, 1, |client| {
            client.extended(sql, &[], Format::Text).sync();
        })
        .await;
        both.query(STATE).await;
    }
}

#[tokio::test]
async fn a_write_that_fails_on_one_shard_changes_nothing_on_any() {
    let database = database("failing_write").await;
    let mut both = Both::connect(&database).await;
    let fails = "update items set amount = 100 / (owner - 7)";
    both.query(fails).await;
    both.query(STATE).await;
    both.agree(fails, 1, |client| {
        client.extended(fails, &[], Format::Text).sync();
    })
    .await;
    both.query(STATE).await;
}

#[tokio::test]
async fn several_statements_of_a_string_are_all_or_none() {
    let database = database("strings").await;
    let mut both = Both::connect(&database).await;
    let strings = [
        "update items set amount = 1 where id = 1; update items set amount = 2 where owner = 3; select count(*) from items where amount < 3",
        "update items set amount = 5; select 1 / 0; update items set amount = 6",
        "delete from items where id = 3; delete from items where id = 4; insert into notes values (1, 'twice')",
        "begin; update items set amount = 8; commit; update items set amount = 9 where id = 1",
    ];
    for sql in strings {
        both.query(sql).await;
        both.query(STATE).await;
    }
}

#[tokio::test]
async fn a_transaction_over_all_shards_is_kept_or_undone_as_a_whole() {
    let database = database("transactions").await;
    let mut both = Both::connect(&database).await;
    for end in ["rollback", "commit"] {
        let steps = [
            "begin",
            "update items set amount = amount + 100",
            "update rates set amount = amount + 1",
            "update notes set word = 'changed'",
            "delete from items where id = 2",
            end,
            "select sum(amount), count(*) from items",
            "select sum(amount) from rates",
            "select word from notes order by id",
        ];
        for sql in steps {
            both.query(sql).await;
        }
    }
}

#[tokio::test]
async fn statements_prepared_in_sql_run_on_all_shards() {
    let database = database("sql_prepared").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "prepare p (int) as select count(*), sum(amount) from items where amount > $1",
        "execute p(3)",
        "prepare u (int) as update items set amount = amount + $1 where id = 1",
        "execute u(2)",
        "begin; execute u(1); execute p(4)",
        "execute p(5)",
        "rollback",
        "execute p(3)",
        "execute p(1 + 1)",
        "deallocate p",
        "execute p(3)",
    ] {
        both.query(sql).await;
    }
}
