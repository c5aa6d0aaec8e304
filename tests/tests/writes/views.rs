//! INSERT through views over one sharded table.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn rows_are_inserted_through_views() {
    let mut both = Both::new("views_inserted").await;
    for sql in [
        "create view named as select name, id, score as points from users where score < 50",
        "create view checked as select * from users where country = 1 with check option",
        "create view keyless as select id, body from posts",
        "create view counted as select country, count(*) n from users group by country",
        "alter view named alter column name set default 'nameless'",
    ] {
        both.query(sql).await;
    }
    for sql in [
        "insert into named values ('positional', 300, 7)",
        "insert into named (id, name) values (301, 'one'), (302, 'two'), (303, 'three') returning *, id * 2",
        "insert into named (id) values (304) returning name, points",
        "insert into named (id, points) values (305, default), (306, 4)",
        "insert into named (id, name, points) select id + 1000, body, stars from posts where stars > 2 returning points",
        "insert into named as n (id, name) values (301, 'again') on conflict (id) do update set name = excluded.name || n.points returning name",
        "insert into named (id, name) values (301, 'again'), (320, 'fresh') on conflict do nothing",
        "insert into checked (id, name, country) values (330, 'in', 1), (331, 'in', 1)",
        "insert into checked (id, name, country) values (332, 'out', 2)",
        "insert into checked (id, name, country) values (333, 'in', 1), (334, 'out', 2), (335, 'in', 1)",
        "insert into named (id, name) values (300, 'there')",
        "insert into named (id, nosuch) values (300, 'there')",
        "update named set points = 3 where id between 300 and 310 returning id",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "insert into named (name, id) values ($1, $2), ($3, 401) returning id, name";
        client
            .extended(sql, &["a", "400", "b"], Format::Binary)
            .sync();
    })
    .await;
    for sql in [
        "insert into keyless values (1, 'x')",
        "insert into counted values (1, 2)",
    ] {
        let said = both.cluster_says(sql).await.join("\n");
        assert!(said.contains("0A000"), "{sql}: {said}");
    }
}
