//! Replies to the extended protocol: their order, errors in each place, portals in parts.

use crate::same;

#[tokio::test]
async fn replies_of_pipelines_come_in_order() {
    same(
        "pipelines",
        &[
            // Two rows of one shard or two.
            "P |select name from things where id = $1
         B ||1
         E |0
         B ||2
         E |0
         B ||3
         DP |
         E |0
         S",
            // Errors in each place.
            "P |select 1/0
         B |
         E |
         P |select 1
         S",
            "P a|select name from things where id = $1
         B |a|1
         E |
         B |a|x
         E |
         B |a|2
         E |
         S
         --
         B |a|2
         E |
         S",
            "P a|insert into things values ($1, 'x', $2)
         B |a|101|1
         E |
         B |a|102|1
         E |
         B |a|103|-1
         E |
         B |a|104|1
         E |
         S
         --
         Q select count(*) from things",
            // The error is the last of it, and on another shard.
            "P |insert into things values (121, 'x', 1)
         B |
         E |
         P |select n / (id - id) from things where id = $1
         B ||1
         E |
         S
         --
         P |insert into things values (121, 'x', 1)
         B |
         E |
         P |select n / (id - id) from things where id = $1
         B ||2
         E |
         S
         --
         P |insert into things values (121, 'x', 1)
         B |
         E |
         P |select n / (id - id) from things where id = $1
         B ||3
         E |
         S
         --
         P |insert into things values (121, 'x', 1)
         B |
         E |
         P |select n / (id - id) from things where id = $1
         B ||4
         E |
         S
         --
         P |insert into things values ($1, 'x', $2)
         B ||122|1
         E |
         B ||123|1
         E |
         B ||124|1
         E |
         B ||125|-1
         E |
         S
         --
         P |insert into things values (126, 'x', 1)
         B |
         E |
         P |update things set n = n - 3
         B |
         E |
         S
         --
         Q select id, n from things order by id",
            "P a|insert into things values ($1, 'x', $2)
         B |a|111|1
         E |
         B |a|112|1
         E |
         B |a|113|1
         E |
         S
         --
         Q delete from things where id in (111, 112, 113)",
            "P |select 1
         P |select 2
         B |
         E |
         S",
            "P a|select 1
         P a|select 2
         S
         --
         P b|selec
         S
         --
         B |b
         S
         --
         B |a
         E |
         S",
            "P a|select count(*) from things
         S
         --
         DS a
         S
         --
         B p|a
         DP p
         E p|
         CP p
         E p|
         S
         --
         CS a
         CS a
         CP none
         B |a
         S",
            "P |
         B |
         DP |
         E |
         S",
            "P |
         DS |
         S",
            "S",
            "S
         S
         S",
            "E nothing|
         S",
            "DP nothing
         S",
            "DS nothing
         S",
            "P |select name from things where id = $1
         H
         --
         B ||1
         H
         --
         E |
         H
         --
         S",
            "P |select count(*) from things
         H
         --
         DS |
         B |
         DP |
         H
         --
         E |
         H
         --
         S",
            "P |select 1/0
         B |
         E |
         H
         --
         P |select 1
         H
         --
         S",
            "P |select name from things where id = $1
         B ||1
         E |
         Q select 1
         --
         S",
            "P |select name from things where id = $1
         B ||1
         E |
         Q select 1/0
         --
         S",
            "P |select id from things order by id
         B |
         E |3
         E |3
         E |100
         E |
         S
         --
         E |
         S",
            "Q begin
         --
         P |select id from things order by id
         B p|
         E p|3
         S
         --
         E p|3
         S
         --
         Q select 1
         --
         E p|100
         S
         --
         E p|100
         S
         --
         Q commit
         --
         E p|1
         S",
            "Q begin
         --
         P |select name from things where id = 1
         B p|
         B p|
         S
         --
         Q commit",
            "Q begin
         --
         P |select generate_series(1, id) from things where id = 9
         B p|
         E p|2
         S
         --
         P |select count(*) from things
         B |
         E |
         S
         --
         E p|2
         S
         --
         CP p
         E p|
         S
         --
         Q commit",
        ],
    )
    .await;
}
