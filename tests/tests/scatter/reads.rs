//! Reads over all shards, or those of some keys.

use wire::Format;

use crate::setting::{Both, database};

/// In an order of their own.
const ORDERED: &[&str] = &[
    "select owner, id, amount from items order by owner, id",
    "select owner, id from items order by id desc, owner limit 7",
    "select owner, id from items order by amount, owner, id limit 5 offset 3",
    "select word from items where id = 1 order by owner",
    "select owner, id from items order by owner, id limit 0",
    "select owner, id from items order by owner, id limit '7'::int8 offset '2'",
    "select owner, id from items order by owner, id limit 5::int4 offset 3::int2",
    "select owner, id from items order by owner, id limit null::int8 offset '190'::bigint",
    "select owner, id from items where amount = 99 order by owner, id",
    "select count(*), sum(amount), min(amount), max(owner) from items",
    "select count(*) from items where amount > 100",
    "select sum(amount), min(amount) from items where amount > 100",
    "select owner, id, word from items where owner in (1, 2, 3, 4) order by owner, id",
    "select count(*) from items where owner in (1, 2, 3, 4, 5, 6)",
    "select owner, id from items where owner in (1) order by id",
    "select owner, id from items where owner = any('{}') order by id",
    "select items.owner, rates.amount from items join rates on rates.id = items.id order by items.owner, items.id",
];

const UNORDERED: &[&str] = &[
    "select * from items",
    "select owner, word from items where amount between 3 and 5",
    "select amount, count(*), sum(owner) from items group by amount",
    "select i.owner, r.amount from items i join rates r using (id)",
    "select owner from items where owner = any(array[1, 2, 3, 17])",
];

const FAILING: &[&str] = &[
    "select 1 / (amount - amount) from items",
    "select no_such_column from items",
    "select owner::text::int / 0 from items where owner in (1, 2, 3)",
    "select no_such_function(owner) from items",
];

#[tokio::test]
async fn reads_agree_with_postgresql_in_all_protocols() {
    let database = database("reads").await;
    let mut both = Both::connect(&database).await;
    for sql in ORDERED {
        both.query(sql).await;
        for format in [Format::Text, Format::Binary] {
            both.agree(sql, 1, |client| {
                client.extended(sql, &[], format).sync();
            })
            .await;
        }
    }
    for sql in UNORDERED {
        both.query_unordered(sql).await;
        both.agree_unordered(sql, 1, |client| {
            client.extended(sql, &[], Format::Binary).sync();
        })
        .await;
    }
}

#[tokio::test]
async fn a_named_statement_runs_again_and_again() {
    let database = database("named").await;
    let mut both = Both::connect(&database).await;
    let sql = "select owner, id from items where amount > $1 order by owner, id limit 9";
    both.agree(sql, 1, |client| {
        client.parse("s", sql).sync();
    })
    .await;
    for least in ["3", "11", "99", "-1"] {
        both.agree(sql, 1, |client| {
            client.bind("s", &[least], Format::Text);
            client.describe_portal().execute(0).sync();
        })
        .await;
    }
}

#[tokio::test]
async fn limit_and_offset_may_be_parameters() {
    let database = database("limits").await;
    let mut both = Both::connect(&database).await;
    let sql = "select owner, id from items order by owner, id limit $1 offset $2";
    for parameters in [["5", "2"], ["0", "0"], ["3", "198"], ["10", "500"]] {
        both.agree(&format!("{sql} {parameters:?}"), 1, |client| {
            client.extended(sql, &parameters, Format::Text).sync();
        })
        .await;
    }
}

#[tokio::test]
async fn keys_in_a_parameter_go_to_their_shards() {
    let database = database("keys").await;
    let mut both = Both::connect(&database).await;
    let sql = "select owner, count(*) from items where owner = any($1::bigint[]) group by owner order by owner";
    for keys in ["{1,2,3,4,5,6,7,8}", "{7}", "{}", "{1,NULL,2}", "{99999}"] {
        both.agree(&format!("{sql} {keys}"), 1, |client| {
            client.extended(sql, &[keys], Format::Text).sync();
        })
        .await;
    }
}

#[tokio::test]
async fn one_failure_is_told_once_and_the_connection_lives_on() {
    let database = database("failing").await;
    let mut both = Both::connect(&database).await;
    for sql in FAILING {
        both.query(sql).await;
        both.query("select 1").await;
        let (cluster, oracle) = both
            .say(1, |client| {
                client.extended(sql, &[], Format::Text).sync();
            })
            .await;
        // A mistake that PostgreSQL finds while parsing may be told when the statement is run.
        let errors = |notes: &[String]| {
            let of = notes.iter().filter(|note| note.starts_with("error"));
            of.cloned().collect::<Vec<_>>()
        };
        assert_eq!(errors(&cluster), errors(&oracle), "{sql}");
        assert_eq!(cluster.last(), oracle.last(), "{sql}");
    }
}

#[tokio::test]
async fn reads_in_a_transaction_see_its_own_writes() {
    let database = database("own_writes").await;
    let mut both = Both::connect(&database).await;
    let steps = [
        "begin",
        "update items set amount = 1000 where owner = 7",
        "select count(*) from items where amount = 1000",
        "insert into items values (99, 1, 1000, 'new')",
        "select owner, id from items where amount = 1000 order by owner, id",
        "savepoint s",
        "select 1 / (amount - 1000) from items where amount = 1000",
        "select count(*) from items",
        "rollback to s",
        "select count(*) from items",
        "rollback",
        "select count(*) from items",
    ];
    for sql in steps {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn a_mistake_in_the_text_is_warned_of_once() {
    let database = database("notices").await;
    let mut both = Both::connect(&database).await;
    let name = "n".repeat(70);
    both.query(&format!("select count(*) as {name} from items"))
        .await;
    both.query(&format!(
        "update rates set amount = amount returning 1 as {name}"
    ))
    .await;
}

#[tokio::test]
async fn a_statement_prepared_anew_after_a_change_of_its_table_is_a_new_one() {
    let database = database("anew").await;
    for sql in [
        "select * from items order by owner, id limit 2",
        "select * from items where owner = 7 order by id",
    ] {
        let mut both = Both::connect(&database).await;
        let run = |client: &mut tests::RawClient| {
            client.parse("s", sql).bind("s", &[], Format::Text);
            client.describe_portal().execute(0).sync();
        };
        both.agree(sql, 1, run).await;
        both.query("alter table items add column more int").await;
        both.query("deallocate s").await;
        both.agree("anew", 1, run).await;
        both.query("alter table items drop column more").await;
    }
}
