//! BEGIN, COMMIT, ROLLBACK and savepoints by the extended protocol.

use crate::same;

#[tokio::test]
async fn transaction_commands_in_pipelines() {
    same(
        "pipeline_transactions",
        &[
            "P |begin
         B |
         E |
         S
         --
         P |insert into things values (200, 'x', 1)
         B |
         E |
         P |commit
         B |
         E |
         S",
            "P |begin
         B |
         E |
         P |insert into things values (201, 'x', 1)
         B |
         E |
         P |commit
         B |
         E |
         P |select 1
         B |
         E |
         S
         --
         Q select count(*) from things where id = 201",
            "P |insert into things values (202, 'x', 1)
         B |
         E |
         P |commit
         B |
         E |
         P |insert into things values (203, 'x', 1)
         B |
         E |
         P |select 1/0
         B |
         E |
         S
         --
         Q select id from things where id in (202, 203)",
            "P |insert into things values (204, 'x', 1)
         B |
         E |
         P |begin
         B |
         E |
         P |insert into things values (205, 'x', 1)
         B |
         E |
         S
         --
         Q rollback
         --
         Q select id from things where id in (204, 205)",
            "P |insert into things values (206, 'x', 1)
         B |
         E |
         P |rollback
         B |
         E |
         P |insert into things values (207, 'x', 1)
         B |
         E |
         S
         --
         Q select id from things where id in (206, 207) order by id",
            "P |savepoint a
         B |
         E |
         S",
            "Q begin
         --
         P |savepoint a
         B |
         E |
         P |insert into things values (208, 'x', 1)
         B |
         E |
         P |insert into things values (209, 'x', -1)
         B |
         E |
         S
         --
         P |rollback to a
         B |
         E |
         P |insert into things values (210, 'x', 1)
         B |
         E |
         S
         --
         P |commit
         B |
         E |
         S
         --
         Q select id from things where id in (208, 209, 210)",
            "Q begin
         --
         P |select 1/0
         B |
         E |
         S
         --
         P |select 1
         S
         --
         P |commit
         B |
         E |
         S",
            "Q begin
         --
         Q select 1/0
         --
         P |select 1
         B |
         E |
         S
         --
         Q select 1
         --
         Q savepoint x
         --
         Q rollback to x
         --
         Q commit",
            "P |begin
         B |
         E |
         P |select 1/0
         B |
         E |
         P |rollback
         B |
         E |
         S
         --
         P |rollback
         B |
         E |
         S",
            "P |begin
         B |
         E |
         P |insert into things values (211, 'x', 1)
         B |
         E |
         P |insert into things values (212, 'x', 1)
         B |
         E |
         P |commit and chain
         B |
         E |
         S
         --
         Q rollback and chain
         --
         Q commit
         --
         Q select id from things where id in (211, 212) order by id",
            "P |commit and chain
         B |
         E |
         S
         --
         Q commit and chain
         --
         Q rollback and chain",
            "P |insert into things values (213, 'x', 1)
         B |
         E |
         P |commit and chain
         B |
         E |
         S
         --
         Q rollback
         --
         Q select id from things where id = 213",
            "P c|commit
         P r|rollback
         P b|begin
         P i|insert into things values ($1, 'x', 1)
         S
         --
         B |b
         E |
         B |i|214
         E |
         B |i|215
         E |
         B |c
         E |
         B |b
         E |
         B |i|216
         E |
         B |r
         E |
         B |i|217
         E |
         S
         --
         Q select id from things where id between 214 and 217 order by id",
        ],
    )
    .await;
}
