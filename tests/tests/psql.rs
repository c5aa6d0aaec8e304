//! psql as a person uses it: what its backslash commands print through the router, `\copy`, `\watch`, cursors.

use tests::{Cluster, Database, psql};

/// Each must print what it prints on a direct connection to the home shard.
const DESCRIPTIONS: &str = r"
\d
\d people
\d+ letters
\d letters_id_seq
\d+ names
\d people_pkey
\dt
\dt+
\di
\ds
\dv+
\dn+
\df
\df+ twice
\sf twice
\sv names
\d people_names
\d+ people_names
\sv people_names
\du
\du+
\dT+
\dx
\dp
\db
\dy
\do+
\dC mood
\dRp
\drds
\dconfig search_path
\encoding
";

const TABLES: &str = r"
create type mood as enum ('calm', 'merry');
create table people (id bigint primary key, name text not null, feels mood);
create table letters (id bigint generated always as identity, person bigint, body text,
    primary key (person, id));
select oskol.shard_table('people', 'id') \g /dev/null
select oskol.shard_table('letters', 'person') \g /dev/null
alter table letters add foreign key (person) references people;
create index on letters (body);
create view names as select 'x'::text as name;
create view people_names as select p.name, l.body from people p join letters l on l.person = p.id;
create function twice(int) returns int language sql as 'select $1 * 2';
create sequence turns;
\copy people from stdin
1	ann	calm
2	bob	merry
3	cyril	\N
4	dora	calm
5	eva	calm
6	filip	merry
7	gusta	calm
8	hana	calm
9	ivo	calm
10	jana	merry
11	karel	calm
12	lida	calm
\.
";

fn filled(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    database.psql(TABLES).ok();
    database
}

#[test]
fn descriptions_are_those_of_the_home_shard() {
    let database = filled("psql_describes");
    // Of all databases only this one: others come and go.
    let script = format!("{DESCRIPTIONS}\\l+ {}\n", database.name);
    let arguments = ["--echo-all"];
    let routed = psql(&database.url(), &arguments, &script).ok();
    let home = database.cluster.shard_url(0, &database.name);
    assert_eq!(routed, psql(&home, &arguments, &script).ok());
    assert!(routed.contains("letters_person_fkey"), "{routed}");
}

#[test]
fn copy_goes_to_every_shard_and_comes_from_every_shard() {
    let database = filled("psql_copies");
    let counts = tests::block_on(database.rows_by_shard("people"));
    assert_eq!(counts.iter().sum::<i64>(), 12, "{counts:?}");
    assert!(
        counts.iter().filter(|&&count| count > 0).count() > 1,
        "{counts:?}"
    );
    let table = database.psql(r"\copy people to stdout csv header").ok();
    let mut lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.remove(0), "id,name,feels");
    lines.sort_unstable();
    assert_eq!(lines.len(), 12, "{table}");
    assert!(lines.contains(&"3,cyril,"), "{table}");
    let one = database.psql(r"\copy (select name from people where id = 6) to stdout");
    assert_eq!(one.ok(), "filip\n");
}

#[test]
fn watch_asks_again_until_an_error() {
    let database = filled("psql_watches");
    let watched = database.psql("select 12 / (3 - nextval('turns')) as rest \\watch 0.01\n");
    assert_eq!(watched.stdout.matches("rest").count(), 2, "{watched:#?}");
    assert!(watched.stderr.contains("division by zero"), "{watched:#?}");
}

#[test]
fn rows_are_fetched_by_a_cursor_from_one_shard_and_from_all() {
    let database = filled("psql_fetches");
    let script = "\\set FETCH_COUNT 1\nselect name from people where id in (7, 7);\n\
        select id from people where id < 5 order by id;\n";
    let arguments = ["--tuples-only", "--no-align"];
    let printed = psql(&database.url(), &arguments, script).ok();
    assert_eq!(printed, "gusta\n1\n2\n3\n4\n");
}

#[test]
fn a_query_is_described_and_its_result_becomes_variables() {
    let database = filled("psql_variables");
    let script = "select id, feels from people order by id \\gdesc\n\
        select name, feels from people where id = 2 \\gset\n\\echo :name is :feels\n";
    let printed = psql(&database.url(), &["--tuples-only", "--no-align"], script).ok();
    assert_eq!(printed, "id|bigint\nfeels|mood\nbob is merry\n");
}
