//! What one client has set, the next one on the same server connection does not see.

use std::time::Duration;

use tests::{Database, RawClient};

use crate::scarce::{small, soon, things};

const SEEN: &str = "select current_setting('timezone'), current_setting('search_path'), current_user, session_user,
    current_setting('client_encoding'), current_setting('datestyle'), current_setting('application_name'),
    current_setting('work_mem'), current_setting('transaction_read_only'), current_setting('default_transaction_isolation'),
    public.left_here(),
    (select count(*) from pg_listening_channels()), to_regclass('pg_temp.own') is null,
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())";

/// The router does not read these catalogs for a client, but a function does.
const LEFT_HERE: &str =
    "create function public.left_here() returns bigint language sql stable as $$
    select count(*) from (select from pg_prepared_statements where name !~ '^o'
        union all select from pg_cursors where name <> '') as here $$";

/// Code of users that changes the session which runs it, and all that may call it unseen.
const KEEPING: &str =
    "create function public.keeps() returns int language sql as $$ select set_config('work_mem', '1MB', false); select 1 $$;
    create function public.calls() returns int language plpgsql as $$ begin return public.keeps(); end $$;
    create function public.locks() returns trigger language plpgsql as $$
        begin perform pg_advisory_lock(8); set timezone = 'Asia/Tokyo'; return new; end $$;
    create procedure public.procedure() language plpgsql as $$ begin execute 'set datestyle = german'; end $$;
    create table public.watched (id int primary key);
    create trigger watching after insert on public.watched for each row execute function public.locks();
    create table public.defaulted (id int default public.calls());
    create table public.child (id int references public.watched on delete cascade);
    create trigger watching after delete on public.child for each row execute function public.locks();
    create view public.seen as select public.calls() as one;
    create type public.odd as (one int);
    create function public.odd_equal(public.odd, public.odd) returns boolean language plpgsql as $$
        begin create temp table own (id int); return true; end $$;
    insert into public.watched values (1); insert into public.child values (1)";

/// An operator is called without being named: from here on any statement may leave something.
const KEEPING_OPERATOR: &str = "create operator public.=== (leftarg = public.odd, rightarg = public.odd, function = public.odd_equal)";

#[tokio::test]
async fn what_code_of_users_keeps_is_not_kept_for_the_next_client() {
    let cluster = small(1, "");
    let database = cluster.database("kept");
    let owner = things(&database).await;
    owner.batch_execute(LEFT_HERE).await.unwrap();
    owner.batch_execute(KEEPING).await.unwrap();
    drop(owner);
    let mut fresh = RawClient::connect(&database.url()).await;
    fresh.query(SEEN);
    let expected = fresh.transcript(1).await;
    drop(fresh);
    for words in [
        "select keeps()",
        "select id from lonely where calls() > 0",
        "do $$ begin perform pg_advisory_lock(8); end $$",
        "do $$ begin perform keeps(); end $$",
        "do $$ begin insert into watched values (5); end $$",
        "do $$ begin execute 'create temp table own (id int)'; end $$",
        "call procedure()",
        "insert into watched values (2)",
        "insert into defaulted default values",
        "delete from watched where id = 1",
        "select * from seen",
        "begin; select keeps(); select 1; commit",
        "explain analyze select keeps()",
        "prepare own as select keeps(); execute own",
        "begin; declare own cursor for select keeps(); fetch all from own; commit",
    ] {
        leaves_nothing(&database, words, &expected).await;
    }
    let owner = database.client().await;
    owner.batch_execute(KEEPING_OPERATOR).await.unwrap();
    drop(owner);
    let words = "select row(1)::odd === row(2)::odd";
    leaves_nothing(&database, words, &expected).await;
}

/// Runs the words on one connection and looks at what the next clients find.
async fn leaves_nothing(database: &Database<'_>, words: &str, expected: &[String]) {
    let mut client = RawClient::connect(&database.url()).await;
    client.query(words);
    let outcome = client.transcript(1).await;
    let failed = outcome
        .iter()
        .any(|message| message.starts_with("ErrorResponse"));
    assert!(!failed, "{words}: {outcome:?}");
    // Still connected: what its session holds is not let go because it left.
    for _ in 0..3 {
        let mut next = soon("connect", RawClient::connect(&database.url())).await;
        next.query(SEEN);
        let seen = soon("seen", next.transcript(1)).await;
        assert_eq!(seen, expected, "after {words}");
    }
}

#[tokio::test]
async fn the_next_client_starts_afresh() {
    let cluster = small(1, "");
    let database = cluster.database("leaks");
    let owner = things(&database).await;
    owner.batch_execute(LEFT_HERE).await.unwrap();
    owner.batch_execute("create role other").await.unwrap();
    owner.batch_execute("create schema other").await.unwrap();
    drop(owner);
    let mut fresh = RawClient::connect(&database.url()).await;
    fresh.query(SEEN);
    let expected = fresh.transcript(1).await;
    drop(fresh);
    for words in [
        "set timezone = 'Asia/Tokyo'",
        "set search_path = other",
        "set role other",
        "set session authorization other",
        "set client_encoding = 'LATIN1'",
        "set datestyle = 'SQL, DMY'",
        "set application_name = 'mine'",
        "select set_config('work_mem', '1MB', false)",
        "set session characteristics as transaction isolation level serializable",
        "begin; set timezone = 'Asia/Tokyo'; set role other",
        "begin; set local timezone = 'Asia/Tokyo'; commit",
        "begin; set timezone = 'Asia/Tokyo'; savepoint a; set work_mem = '1MB'; rollback to a; commit",
        "begin read only; select 1",
        "prepare own as select 1; execute own",
        "begin; declare own cursor for select 1",
        "declare own cursor with hold for select id from lonely",
        "listen own",
        "create temporary table own (id int)",
        "select pg_advisory_lock(7)",
        "begin; select pg_advisory_xact_lock(7)",
        "discard all",
    ] {
        for whole in [false, true] {
            let mut client = RawClient::connect(&database.url()).await;
            if whole {
                client.query(words);
                client.transcript(1).await;
            } else {
                for statement in words.split("; ") {
                    client.query(statement);
                    client.transcript(1).await;
                }
            }
            drop(client);
            for _ in 0..3 {
                let mut next = soon("connect", RawClient::connect(&database.url())).await;
                next.query(SEEN);
                let seen = soon("seen", next.transcript(1)).await;
                assert_eq!(seen, expected, "after {words}");
            }
        }
    }
}

#[tokio::test]
async fn notifications_come_while_the_client_is_idle() {
    let cluster = small(2, "");
    let database = cluster.database("listen");
    let other = things(&database).await;
    let mut client = RawClient::connect(&database.url()).await;
    client.query("listen news");
    client.transcript(1).await;
    soon("notify", other.batch_execute("notify news, 'hot'"))
        .await
        .unwrap();
    assert_eq!(
        client.heard(Duration::from_millis(500)).await,
        ["message A"]
    );
    // Not before the end of its own transaction.
    client.query("begin");
    client.query("select name from lonely");
    client.transcript(2).await;
    soon("notify", other.batch_execute("notify news, 'cold'"))
        .await
        .unwrap();
    assert!(client.heard(Duration::from_millis(300)).await.is_empty());
    client.query("commit");
    let heard = client.heard(Duration::from_millis(500)).await;
    assert!(heard.contains(&"message A".to_owned()), "{heard:?}");
    client.query("unlisten *");
    client.transcript(1).await;
    soon("notify", other.batch_execute("notify news, 'late'"))
        .await
        .unwrap();
    assert!(client.heard(Duration::from_millis(300)).await.is_empty());
}
