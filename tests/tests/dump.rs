//! pg_dump takes the cluster for one database, and what it writes can be restored into a cluster.

use std::process::{Command, Output};
use std::sync::OnceLock;

use shard_node::Binaries;
use tests::{Cluster, ClusterOptions, Database, psql};

const RULES: &str = r#"
[[tables]]
name = "users"
placement = "sharded"
key = "id"

[[tables]]
name = "posts"
placement = "sharded"
key = "user_id"

[[tables]]
name = "events"
placement = "sharded"
key = "user_id"

[[tables]]
name = "countries"
placement = "reference"
"#;

const SCHEMA: &str = r#"
create type mood as enum ('calm', 'merry');
create domain short as varchar(10) check (value <> 'no');
create collation loud from "C";
create schema "Other";
create table countries (code text primary key, name text not null, parent text references countries);
create table settings (name text collate loud primary key, value jsonb, at timestamptz default now());
create table users (id bigserial primary key, name text not null, feels mood default 'calm', nick short,
    country text references countries, born date, seat int unique, initial char(1) generated always as (left(name, 1)) stored,
    check (length(name) > 0));
create table posts (id bigint generated always as identity, user_id bigint not null references users
    on delete cascade, body text, stars int default 0, price numeric(10, 2), tags text[], raw bytea,
    primary key (user_id, id));
create table events (user_id bigint not null, at date not null, what text) partition by range (at);
create table events_old partition of events for values from (minvalue) to ('2020-01-01');
create table events_new partition of events for values from ('2020-01-01') to (maxvalue);
create table "Other"."Odd ""name" ("Some column" int, "select" text);
create index posts_stars on posts (stars desc) include (body) where stars > 0;
create unique index settings_lower on settings (lower(name));
create view popular as select p.user_id, p.id, p.body, u.name from posts p join users u on u.id = p.user_id
    where p.stars > 5;
create view popular_names with (security_barrier) as select name, count(*) as n from popular group by name;
create view country_names as select name from countries;
create materialized view setting_names as select name from settings;
create function twice(int) returns int language sql immutable as 'select $1 * 2';
create function stamp() returns trigger language plpgsql as 'begin new.at := now(); return new; end';
create trigger stamped before update on settings for each row execute function stamp();
create sequence tickets start 100 increment 5;
create statistics user_facts on name, country from users;
comment on table posts is 'what users wrote';
comment on column posts.stars is 'how many';
comment on view popular is 'it''s liked';
comment on type mood is 'how one feels';
grant select on posts to public;
grant insert (name) on users to public;
alter default privileges grant select on tables to public;
insert into countries values ('cz', 'Czechia', null), ('de', 'Germany', null), ('p', 'Prague', 'cz');
insert into settings select 's' || g, to_jsonb(g) from generate_series(1, 20) g;
insert into "Other"."Odd ""name" values (1, 'a'), (2, null);
refresh materialized view setting_names;
select nextval('tickets') \g /dev/null
select nextval('tickets') \g /dev/null
"#;

const TABLES: [&str; 6] = [
    "countries",
    "settings",
    "users",
    "posts",
    "events",
    r#""Other"."Odd ""name""#,
];

fn ruled() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::start_with(ClusterOptions {
            config: RULES.to_owned(),
            ..ClusterOptions::default()
        })
    })
}

/// A database with rows on all shards, whose sequences have moved on.
fn filled() -> Database<'static> {
    let database = ruled().database("dumped");
    let rows = |count: usize, row: &dyn Fn(usize) -> String| {
        let rows: Vec<String> = (1..=count).map(row).collect();
        rows.join(",\n")
    };
    let users = rows(40, &|user| {
        format!("(E'user\\t{user}\\\\', 'merry', 'n{user}', 'cz', '2000-01-01'::date + {user})")
    });
    let posts = rows(120, &|post| {
        let (user, stars) = (post % 40 + 1, post % 11);
        format!(
            "({user}, nullif('post {post}', 'post 7'), {stars}, {post}.50, array['a', 'b{post}'], '\\x00ff')"
        )
    });
    let events = rows(120, &|event| {
        format!("({}, '2019-11-01'::date + {event}, 'e')", event % 40 + 1)
    });
    let script = format!(
        "{SCHEMA} insert into users (name, feels, nick, country, born) values {users};
         insert into posts (user_id, body, stars, price, tags, raw) values {posts};
         insert into events values {events};"
    );
    database.psql(&script).ok();
    database
}

/// A program of PostgreSQL, to its end.
fn program(name: &str, arguments: &[&str]) -> Output {
    let path = Binaries::find(None)
        .unwrap_or_else(|error| panic!("{error}"))
        .program(name);
    let mut command = Command::new("timeout");
    command.arg("60").arg(path).args(arguments);
    command.output().expect("timeout runs")
}

/// Its output; anything on standard error fails the test.
fn quiet(name: &str, arguments: &[&str]) -> String {
    let output = program(name, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{name} {arguments:?}: {errors}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A dump without comments and keys of its own, its lines sorted: rows come in no order.
fn comparable(dump: &str) -> Vec<&str> {
    let is_own =
        |line: &&str| !line.is_empty() && !line.starts_with("--") && !line.contains("restrict ");
    let mut lines: Vec<&str> = dump.lines().filter(is_own).collect();
    lines.sort_unstable();
    lines
}

#[track_caller]
fn is_same_dump(one: &str, other: &str) {
    let (one, other) = (comparable(one), comparable(other));
    let differences = |a: &[&str], b: &[&str]| {
        let only = a.iter().filter(|line| !b.contains(line));
        only.map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let (left, right) = (differences(&one, &other), differences(&other, &one));
    assert!(
        one == other,
        "only in one: {left:#?}, only in the other: {right:#?}"
    );
}

/// Every row of every table, sorted.
fn rows(database: &Database<'_>) -> Vec<String> {
    let copies = TABLES.map(|table| format!("copy (select * from {table}) to stdout;\n"));
    let output = database.psql(&copies.concat()).ok();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn same(database: &Database<'_>, dumped: &Database<'_>, dump: &str) {
    assert_eq!(rows(database), rows(dumped));
    let again = quiet("pg_dump", &["--dbname", &database.url()]);
    is_same_dump(&again, dump);
    // Sequences go on behind the ids that were given out, those leased by routers among them.
    let next = "insert into users (name) values ('next') returning id;
        insert into posts (user_id) values (1) returning id; select nextval('tickets');";
    let url = database.url();
    let values = psql(&url, &["--tuples-only", "--no-align"], next).ok();
    let values: Vec<i64> = values
        .split_whitespace()
        .map(|value| value.parse().expect("a number"))
        .collect();
    assert!(
        values[0] > 40 && values[1] > 120 && values[2] == 110,
        "{values:?}"
    );
}

async fn is_divided(database: &Database<'_>) {
    for table in ["users", "posts", "events"] {
        let counts = database.rows_by_shard(table).await;
        assert!(counts.iter().all(|count| *count > 0), "{table}: {counts:?}");
    }
    let copies = database.rows_by_shard("countries").await;
    assert_eq!(copies, vec![3; copies.len()]);
}

#[tokio::test]
async fn a_dump_restored_by_rules_is_the_same_database() {
    let dumped = filled();
    let dump = quiet("pg_dump", &["--dbname", &dumped.url()]);
    assert!(
        !dump.contains("oskol"),
        "the router's own objects are not the client's"
    );
    assert_eq!(dump.matches("user\\t").count(), 40);

    let plain = ruled().database("plain");
    plain.psql(&dump).ok();
    is_divided(&plain).await;
    same(&plain, &dumped, &dump);

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dump").display().to_string();
    quiet(
        "pg_dump",
        &["-Fc", "--file", &file, "--dbname", &dumped.url()],
    );
    let custom = ruled().database("custom");
    quiet(
        "pg_restore",
        &["--jobs=2", "--dbname", &custom.url(), &file],
    );
    is_divided(&custom).await;
    same(&custom, &dumped, &dump);

    // Over what is there, and by sections into a cluster without rules.
    let again = ["--clean", "--if-exists", "--single-transaction", "--dbname"];
    quiet(
        "pg_restore",
        &[&again[..], &[&custom.url(), &file]].concat(),
    );
    assert_eq!(rows(&custom), rows(&dumped));

    let sections = Cluster::shared().database("sections");
    let section = |name: &str| {
        quiet(
            "pg_restore",
            &["--section", name, "--dbname", &sections.url(), &file],
        )
    };
    section("pre-data");
    sections
        .psql(
            "select oskol.shard_table('users', 'id') \\g /dev/null
         select oskol.shard_table('posts', 'user_id') \\g /dev/null
         select oskol.shard_table('events', 'user_id') \\g /dev/null
         select oskol.reference_table('countries') \\g /dev/null",
        )
        .ok();
    section("data");
    section("post-data");
    is_divided(&sections).await;
    same(&sections, &dumped, &dump);
}

#[test]
fn a_dump_of_the_cluster_is_restored_into_one_postgresql() {
    let dumped = filled();
    let dump = quiet("pg_dump", &["--dbname", &dumped.url()]);
    let oracle = dumped.oracle_url();
    psql(&oracle, &[], &dump).ok();
    let back = quiet("pg_dump", &["--dbname", &oracle]);
    is_same_dump(&back, &dump);
}

#[test]
fn a_dump_by_several_connections_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dump").display().to_string();
    let url = Cluster::shared().database("parallel").url();
    let output = program(
        "pg_dump",
        &["-Fd", "--jobs=2", "--file", &path, "--dbname", &url],
    );
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("[transaction-snapshot]"), "{errors}");
}
