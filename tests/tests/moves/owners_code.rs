//! Tables whose rows run code of their owner, who is no superuser: it runs with no other rights than his as rows move, and
//! the rows arrive as they are.

use tests::{Cluster, SpareServer};
use tokio_postgres::Client;

use super::{add, admin, admin_client, is_clean, moved, rebalance_is};

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Each way by which code of his may come to run tries to make a superuser of the role that is called after it.
const WAYS: [&str; 11] = [
    "check",
    "generated",
    "index",
    "partial",
    "domain",
    "element",
    "insert",
    "delete",
    "cast",
    "function",
    "plain",
];

const CODE: &str = "
create function his.rise(way text) returns void language plpgsql as $$
begin
    execute format('alter role as_%s superuser', way);
exception when insufficient_privilege then null;
end $$;
create function his.allowed(n bigint) returns boolean language sql immutable as 'select n > 0';
create function his.meddle() returns void language plpgsql as $$
declare
    made text;
begin
    -- What is called next, and what is set, is his to change as well.
    for made in select p.oid::regprocedure from pg_proc p where p.proowner = 'mallory'::regrole
        and p.pronamespace = 'oskol'::regnamespace loop
        execute format('alter function %s security invoker', made);
    end loop;
    if current_user <> 'mallory' then
        perform rise('function');
    end if;
    perform set_config('datestyle', 'SQL, DMY', false), set_config('extra_float_digits', '-15', false);
end $$;
create function his.checked(n bigint) returns boolean language plpgsql immutable as
    $$ begin perform rise('check'), meddle(); return allowed(n); end $$;
create function his.doubled(n bigint) returns bigint language plpgsql immutable as
    $$ begin perform rise('generated'); return n * 2; end $$;
create function his.indexed(n bigint) returns bigint language plpgsql immutable as
    $$ begin perform his.rise('index'); return n % 7; end $$;
create function his.partial(n bigint) returns boolean language plpgsql immutable as
    $$ begin perform his.rise('partial'); return n > 5; end $$;
create function his.in_domain(way text, n int) returns boolean language plpgsql immutable as
    $$ begin perform his.rise(way); return n <> 13; end $$;
create domain his.small as int check (his.in_domain('domain', value));
create domain his.member as int check (his.in_domain('element', value));
create type his.pair as (a his.member, b text);
create function his.triggered() returns trigger language plpgsql as
    $$ begin perform rise(lower(tg_op)); return coalesce(new, old); end $$;";

const TABLES: &str = "
create table his.things (owner bigint not null, id his.small not null, born date, weight float8, list his.member[], two his.pair,
    twice bigint generated always as (his.doubled(owner)) stored, check (his.checked(owner)), primary key (owner, id));
create index on his.things ((his.indexed(owner) + his.indexed(3)));
create index on his.things (id) where his.partial(owner) and his.partial(9);
create trigger written before insert or delete on his.things for each row execute function his.triggered();
alter table his.things enable always trigger written;
create table his.words (word text, id his.small, two his.pair, check (his.checked(length(word))));
create table his.plain (owner bigint primary key, note text check (length(note) < 100));
create function his.printed(his.things) returns text language plpgsql as $$ begin perform his.rise('cast'); return 'x'; end $$;
create cast (his.things as text) with function his.printed(his.things);
create function his.printed(his.plain) returns text language plpgsql as $$ begin perform his.rise('cast'); return 'x'; end $$;
create cast (his.plain as text) with function his.printed(his.plain)";

const ROWS: &str = "
insert into his.things (owner, id, born, weight, list, two) select n, n % 5, date '2020-01-13' + n::int, n / 3.0, array[n % 3, 4],
    ('(' || n % 4 || ',b)')::his.pair from generate_series(1, 600) n;
insert into his.words select repeat('w', n), n, ('(' || n || ',)')::his.pair from generate_series(1, 12) n;
insert into his.plain select n, 'note' from generate_series(1, 600) n";

async fn run_each(client: &Client, statements: &str) {
    for statement in statements.split(";\n") {
        run(client, statement).await;
    }
}

/// Tables of mallory, in schema `his`.
async fn prepare(cluster: &Cluster) -> Client {
    let client = cluster.client().await;
    run(&client, "create role mallory").await;
    run(&client, "create schema his authorization mallory").await;
    run(&client, "alter role mallory set search_path = his").await;
    for way in WAYS {
        run(&client, &format!("create role as_{way}")).await;
    }
    client
}

/// What the ways of [`WAYS`] have made superusers so far, on the home shard or another one.
async fn risen(client: &Client) -> Vec<String> {
    let sql = "select rolname::text from pg_roles where rolname ~ '^as_' and rolsuper order by 1";
    let rows = client.query(sql, &[]).await.expect("roles");
    rows.iter().map(|row| row.get(0)).collect()
}

/// What tests, and placing tables, have done with a superuser's rights is taken back.
async fn fall(cluster: &Cluster) {
    for shard in [0, 1] {
        let client = cluster.shard(shard).await;
        for way in WAYS {
            run(&client, &format!("alter role as_{way} nosuperuser")).await;
        }
    }
}

/// Read as mallory: who reads runs code, too.
async fn rows_of(cluster: &Cluster) -> Vec<String> {
    let client = cluster.client().await;
    run(&client, "set role mallory; set search_path = his").await;
    let mut all = Vec::new();
    for table in ["things", "words", "plain"] {
        let sql = format!("select format('%s', t) from his.{table} t");
        let rows = client.query(&sql, &[]).await.expect("rows");
        all.extend(rows.iter().map(|row| row.get(0)));
    }
    all.sort();
    all
}

/// Nothing that was made for a move is left.
async fn is_swept(client: &Client) {
    let sql = "select relname::text from pg_class where relnamespace = 'oskol'::regnamespace and relname ~ '^(rows|stage)_'
        union all select proname::text from pg_proc where pronamespace = 'oskol'::regnamespace and proname ~ '^as_owner'";
    let left = client.query(sql, &[]).await.expect("a list");
    assert!(left.is_empty(), "{left:?}");
}

async fn mallory(cluster: &Cluster) -> Client {
    let client = cluster.client().await;
    run(&client, "set role mallory").await;
    run(&client, "set search_path = his").await;
    client
}

async fn nobody_has_risen(cluster: &Cluster, third: &SpareServer) {
    let ends = [
        cluster.shard(0).await,
        cluster.shard(1).await,
        third.client("postgres").await,
    ];
    for (shard, client) in ends.iter().enumerate() {
        let risen = risen(client).await;
        assert!(risen.is_empty(), "shard {shard}: {risen:?}");
        is_swept(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_of_a_tables_owner_runs_with_his_rights_only() {
    let cluster = Cluster::start(2);
    let client = prepare(&cluster).await;
    let his = mallory(&cluster).await;
    run(&his, CODE).await;
    run_each(&his, TABLES).await;
    for place in [
        "shard_table('his.things', 'owner')",
        "reference_table('his.words')",
        "shard_table('his.plain', 'owner')",
    ] {
        run(&client, &format!("select oskol.{place}")).await;
    }
    run_each(&his, ROWS).await;
    let before = rows_of(&cluster).await;
    assert_eq!(before.len(), 600 + 12 + 600);
    fall(&cluster).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    nobody_has_risen(&cluster, &spare).await;
    let points = cluster.router().fault_points();
    points.arm("move-copied");
    admin(&operator, "REBALANCE").await;
    points.reached("move-copied").await;
    // What is copied again, and deleted before.
    run(
        &his,
        "update his.things set weight = -1 where owner % 3 = 0",
    )
    .await;
    run(&his, "delete from his.things where owner % 50 = 1").await;
    run(&his, "insert into his.things (owner, id, born) select n, 1, '2021-12-11' from generate_series(601, 650) n").await;
    run(
        &his,
        "update his.plain set note = 'new' where owner % 3 = 0",
    )
    .await;
    let changed = rows_of(&cluster).await;
    points.release("move-copied");
    moved(&cluster).await;
    nobody_has_risen(&cluster, &spare).await;
    assert_eq!(rows_of(&cluster).await, changed);
    let there = spare.client("postgres").await;
    run(&there, "set role mallory; set search_path = his").await;
    let row = there
        .query_one("select count(*) from his.things", &[])
        .await;
    assert!(row.expect("a count").get::<_, i64>(0) > 100);
}

/// Policies, identities and rights that hold for the owner himself stand in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_their_owner_may_not_write_are_moved() {
    let cluster = Cluster::start(2);
    let client = prepare(&cluster).await;
    let his = mallory(&cluster).await;
    run(
        &his,
        "create function his.fine(n bigint) returns boolean language plpgsql as $$ begin return n > 0; end $$",
    )
    .await;
    run(
        &his,
        "create table his.locked (owner bigint primary key, id bigint generated always as identity, note text,
        check (his.fine(owner)))",
    )
    .await;
    run(&client, "select oskol.shard_table('his.locked', 'owner')").await;
    run(
        &his,
        "insert into his.locked (owner, note) select n, 'n' from generate_series(1, 300) n",
    )
    .await;
    let sql = "select format('%s', t) from his.locked t order by 1";
    let before: Vec<String> = texts(&his, sql).await;
    run(&his, "create policy nothing on his.locked using (false)").await;
    run(&his, "alter table his.locked enable row level security").await;
    run(&his, "alter table his.locked force row level security").await;
    run(&his, "revoke all on his.locked from mallory").await;
    run(&client, "revoke all on schema his from mallory").await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    let points = cluster.router().fault_points();
    points.arm("move-copied");
    admin(&operator, "REBALANCE").await;
    points.reached("move-copied").await;
    run(
        &client,
        "update his.locked set note = 'new' where owner % 5 = 0",
    )
    .await;
    points.release("move-copied");
    moved(&cluster).await;
    run(
        &client,
        "update his.locked set note = 'n' where owner % 5 = 0",
    )
    .await;
    assert_eq!(texts(&client, sql).await, before);
    let there = spare.client("postgres").await;
    assert!(texts(&there, sql).await.len() > 50);
    is_clean(&cluster).await;
}

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Why the rebalance that is begun now fails.
async fn told_by_a_rebalance(operator: &Client) -> String {
    admin(operator, "REBALANCE").await;
    let moves = rebalance_is(operator, "failed").await;
    let failed = moves.iter().find(|row| row[7] == "failed");
    failed.expect("a move has failed")[16].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_would_run_with_other_rights_ends_the_move() {
    let cluster = Cluster::start(2);
    let client = prepare(&cluster).await;
    let his = mallory(&cluster).await;
    run(&his, CODE).await;
    run(
        &his,
        "create function his.changes(n bigint) returns boolean language plpgsql as $$
        begin
            -- As rows move: nobody else makes such a table.
            if exists (select from pg_class where relnamespace = 'oskol'::regnamespace and relname ~ '^stage_') then
                alter table his.plain add check (his.late(owner));
            end if;
            return true;
        exception when duplicate_object then return true;
        end $$;
        create function his.late(n bigint) returns boolean language plpgsql as
            $$ begin perform his.rise('plain'); return true; end $$;
        create function his.leaves(n bigint) returns boolean language plpgsql as $$
        begin
            if exists (select from pg_class where relnamespace = 'oskol'::regnamespace and relname ~ '^stage_') then
                insert into his.notes values (n);
            end if;
            return true;
        end $$;
        create function his.hidden(n bigint) returns boolean language sql as 'select true'",
    )
    .await;
    run(&his, "create table his.plain (owner bigint primary key)").await;
    run(&his, "create table his.notes (n bigint)").await;
    run(
        &his,
        "create constraint trigger late after insert on his.notes deferrable initially deferred for each row
        execute function his.triggered()",
    )
    .await;
    run(&his, "alter table his.notes enable always trigger late").await;
    run(&his, "create table his.a (owner bigint primary key)").await;
    for table in ["a", "plain"] {
        run(
            &client,
            &format!("select oskol.shard_table('his.{table}', 'owner')"),
        )
        .await;
        run(
            &his,
            &format!("insert into his.{table} select generate_series(1, 300)"),
        )
        .await;
    }
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    for (made, gone, told) in [
        (
            "add constraint c check (his.changes(owner))",
            "drop constraint c",
            "rows of table his.plain run code",
        ),
        (
            "add constraint c check (his.leaves(owner))",
            "drop constraint c",
            "trigger late of table his.notes",
        ),
    ] {
        run(&his, &format!("alter table his.a {made}")).await;
        fall(&cluster).await;
        let why = told_by_a_rebalance(&operator).await;
        assert!(
            why.contains(told) && why.contains("owner mallory"),
            "{made}: {why}"
        );
        nobody_has_risen(&cluster, &spare).await;
        run(&his, &format!("alter table his.a {gone}")).await;
    }
    // A right that the owner lacks.
    run(
        &his,
        "alter table his.a add constraint c check (his.hidden(owner))",
    )
    .await;
    run(
        &his,
        "revoke execute on function his.hidden(bigint) from public, mallory",
    )
    .await;
    let why = told_by_a_rebalance(&operator).await;
    for told in [
        "table his.a",
        "permission denied for function hidden",
        "grant it to mallory",
    ] {
        assert!(why.contains(told), "{why}");
    }
    run(&his, "alter table his.a drop constraint c").await;
    // What fires at the end, and what says that nothing is deleted.
    run(
        &his,
        "create constraint trigger late after insert on his.a deferrable for each row execute function his.triggered()",
    )
    .await;
    run(&his, "alter table his.a enable always trigger late").await;
    let why = told_by_a_rebalance(&operator).await;
    assert!(
        why.contains("trigger late of table his.a is deferrable"),
        "{why}"
    );
    run(&his, "alter table his.a enable trigger late").await;
    let home = cluster.shard(0).await;
    run(
        &home,
        "create rule keep as on delete to his.plain do instead nothing; alter table his.plain enable always rule keep",
    )
    .await;
    let why = told_by_a_rebalance(&operator).await;
    assert!(why.contains("rule keep of table his.plain"), "{why}");
    run(&home, "drop rule keep on his.plain").await;
    admin(&operator, "REBALANCE").await;
    moved(&cluster).await;
    nobody_has_risen(&cluster, &spare).await;
    is_clean(&cluster).await;
}

/// Moves a third of 200,000 rows to a new shard, where `check` is checked.
async fn time_of_a_move(check: &str) -> std::time::Duration {
    let cluster = Cluster::start(2);
    let client = prepare(&cluster).await;
    let his = mallory(&cluster).await;
    run(
        &his,
        "create function his.fine(n bigint) returns boolean language sql immutable as 'select n > 0'",
    )
    .await;
    let table = format!(
        "create table his.t (owner bigint primary key, note text, at timestamptz default now(), check ({check}))"
    );
    run(&his, &table).await;
    run(&client, "select oskol.shard_table('his.t', 'owner')").await;
    let rows = "insert into his.t select n, repeat('x', 50) from generate_series(1, 200000) n";
    run(&his, rows).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    let began = std::time::Instant::now();
    admin(&operator, "REBALANCE").await;
    moved(&cluster).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn what_the_owners_rights_cost() {
    for _ in 0..3 {
        let plain = time_of_a_move("owner > 0").await;
        let code = time_of_a_move("his.fine(owner)").await;
        println!(
            "plain {} ms, with code {} ms",
            plain.as_millis(),
            code.as_millis()
        );
    }
}
