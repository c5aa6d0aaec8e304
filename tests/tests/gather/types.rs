//! Values of every kind keep what they are on their way.

use tests::Both;
use wire::Format;

use crate::setting::{cluster, run_each};

/// Types of the test's own are made in another order on the shards, so their oids may differ there.
const TABLES: &str = "
    create type mood as enum ('sad', 'glad');
    create type pair as (first int, second text);
    create domain percent as int check (value between 0 and 100);
    create table things (id int primary key, t text, n numeric, f float8, b bytea, j jsonb, m mood, p pair,
        d percent, l int[], w text[], ms mood[], ps pair[], r int4range, u uuid, ts timestamptz, iv interval,
        ip inet, bits bit(3), c char(4), v varchar(9), bo bool, x xml, na name, mo money, ti timetz)";

const ROWS: &str = "
    insert into things values
    (1, 'a''b', 1.50, 'NaN', '\\x00ff', '{\"a\": [1, null]}', 'sad', row(1, 'one'), 5, '{1,2,null}', '{a,\"b c\",null}',
     '{sad,glad}', array[row(1, 'x')::pair], '[1,5)', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2020-02-29 12:00:00.123456+00',
     '1 mon 2 days 03:04:05', '10.1.0.0/16', '101', 'ab', 'vv', true, '<a/>', 'nn', 1.25, '12:00:00+03'),
    (2, 'b', 'NaN', '-Infinity', '', '[]', 'glad', row(null, null), null, '{}', '{}', '{}', '{}', 'empty', null, 'infinity',
     '-1 year', '::1', '000', '', '', false, null, '', -1, '00:00:00-11'),
    (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null, null, null),
    (4, repeat('long', 3000), 123456789012345678901234567890.123456789, 0.1, decode(repeat('ab', 3000), 'hex'), 'null', 'sad',
     row(7, 'se ven'), 0, '[0:1]={7,8}', '{{a,b},{c,d}}', '{glad}', array[null, row(2, null)::pair], '(,3]',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '0044-03-15 BC', '00:00:00', '192.168.0.1', '111', 'abcd', 'ninechars', null,
     '<b>x</b>', 'z', 99.99, '23:59:59.999+00')";

/// Column lists without arrays and with them: the rows are handed over in two ways.
const COLUMNS: &[&str] = &[
    "a.t, a.n, a.f, a.b, a.j, a.m, a.p, a.d",
    "a.r, a.u, a.ts, a.iv, a.ip, a.bits, a.c, a.v, a.bo, a.x::text, a.na, a.mo, a.ti",
    "a.l, a.w, a.ms, a.ps, a.m, a.p",
    "(a.p).second, a.m > 'sad', a.l[1], a.w[2], a.d + 1",
];

#[tokio::test]
async fn values_arrive_as_they_were() {
    let database = cluster().database("values");
    // Another oid for each type on some of the shards.
    for shard in [1, 3] {
        let shard = database.shard(shard).await;
        shard.batch_execute("create type early as enum ('a'); drop type early; create table early (a int); drop table early").await.unwrap();
    }
    for url in [database.url(), database.oracle_url()] {
        run_each(&url, TABLES).await;
        let client = tests::connect(&url).await.unwrap();
        client.batch_execute(ROWS).await.unwrap();
    }
    let mut both = Both::connect(&database).await;
    for columns in COLUMNS {
        let sql = format!(
            "select a.id, b.id, {columns} from things a join things b on a.id % 2 = b.id % 2 order by 1, 2"
        );
        agree_but_for_oids(&mut both, &sql).await;
    }
    let sql = "select a.m, count(*), array_agg(b.p order by b.id), max(a.ms) from things a join things b on a.id <> b.id group by a.m order by a.m";
    agree_but_for_oids(&mut both, sql).await;
}

/// In both protocols. The types of the test's own have other oids on the oracle.
async fn agree_but_for_oids(both: &mut Both, sql: &str) {
    for extended in [false, true] {
        let (cluster, oracle) = both
            .say(1, |client| {
                if extended {
                    client.extended(sql, &[], Format::Text).sync();
                } else {
                    client.query(sql);
                }
            })
            .await;
        let is_row = |note: &&String| !note.starts_with("columns");
        let rows = |notes: &[String]| notes.iter().filter(is_row).cloned().collect::<Vec<_>>();
        assert_eq!(rows(&cluster), rows(&oracle), "{sql}");
        assert_eq!(cluster.len(), oracle.len(), "{sql}");
    }
}

#[tokio::test]
async fn binary_values_have_the_home_shards_oids() {
    let database = cluster().database("oids");
    for shard in [1, 2, 3] {
        let shard = database.shard(shard).await;
        shard
            .batch_execute("create type early as enum ('a'); drop type early")
            .await
            .unwrap();
    }
    run_each(&database.url(), TABLES).await;
    let client = database.client().await;
    client.batch_execute(ROWS).await.unwrap();
    let home = database.shard(0).await;
    let oid = home
        .query_one("select 'mood'::regtype::oid", &[])
        .await
        .unwrap()
        .get::<_, u32>(0);
    for columns in ["a.ms", "a.ms, a.l", "array_agg(a.m)"] {
        let sql = format!(
            "select {columns} from things a join things b on a.id = b.id % 2 + 1 group by a.ms, a.l"
        );
        let rows = client.query(&sql, &[]).await.unwrap();
        let type_ = rows[0].columns()[0].type_();
        let tokio_postgres::types::Kind::Array(element) = type_.kind() else {
            panic!("{type_:?}");
        };
        assert_eq!(element.oid(), oid, "{columns}");
        for row in rows {
            let raw: Raw = row.get(0);
            let inside = u32::from_be_bytes(raw.0[8..12].try_into().unwrap());
            assert_eq!(inside, oid, "{columns}");
        }
    }
}

/// A value's own bytes.
struct Raw(Vec<u8>);

impl<'a> tokio_postgres::types::FromSql<'a> for Raw {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn from_sql_null(
        _: &tokio_postgres::types::Type,
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(vec![0; 8].into_iter().chain([0; 4]).collect()))
    }

    fn accepts(_: &tokio_postgres::types::Type) -> bool {
        true
    }
}
