//! Query messages with several statements, and what they leave of a transaction.

use crate::same;

#[tokio::test]
async fn strings_of_several_statements() {
    same("strings", &[
        "Q select 1; select 2",
        "Q ;;",
        "Q ",
        "Q select 1; ; select 2;",
        "Q select 1; select 1/0; select 2",
        "Q insert into things values (300, 'x', 1); insert into things values (301, 'x', 1); select 1/0
         --
         Q select id from things where id >= 300",
        "Q insert into things values (302, 'x', 1); insert into things values (303, 'x', 1)
         --
         Q select id from things where id >= 300 order by id",
        "Q begin; insert into things values (304, 'x', 1); insert into things values (305, 'x', 1); commit; select 1/0
         --
         Q select id from things where id >= 304 order by id",
        "Q insert into things values (306, 'x', 1); commit; insert into things values (307, 'x', 1); select 1/0
         --
         Q select id from things where id >= 306 order by id",
        "Q insert into things values (308, 'x', 1); begin; insert into things values (309, 'x', 1); select 1/0
         --
         Q select 1
         --
         Q commit
         --
         Q select id from things where id >= 308 order by id",
        "Q insert into things values (310, 'x', 1); begin; insert into things values (311, 'x', 1)
         --
         Q rollback
         --
         Q select id from things where id >= 310 order by id",
        "Q insert into things values (312, 'x', 1); rollback; insert into things values (313, 'x', 1)
         --
         Q select id from things where id >= 312 order by id",
        "Q begin; select 1/0; commit
         --
         Q commit",
        "Q begin; savepoint a; insert into things values (314, 'x', 1); rollback to a; release a; commit; select 1",
        "Q select 1; savepoint a",
        "Q savepoint a",
        "Q savepoint a; select 1",
        "Q rollback to a",
        "Q release a",
        "Q select 1; begin; select 2
         --
         Q begin
         --
         Q commit; commit",
        "Q begin; commit; begin; rollback; begin",
        "Q select 1; commit and chain; select 2",
        "Q select 1; rollback and chain",
        "Q begin read only
         --
         Q insert into things values (315, 'x', 1)
         --
         Q commit and chain
         --
         Q rollback",
        "Q begin isolation level serializable read only
         --
         Q commit and chain
         --
         Q show transaction_isolation
         --
         Q insert into things values (315, 'x', 1)
         --
         Q rollback and chain
         --
         Q show transaction_read_only
         --
         Q rollback",
        "Q update things set n = n + 1 where id in (1, 2, 3); update things set n = -1 where id = 5
         --
         Q select id, n from things where id < 6 order by id",
        "Q selec; select 1",
        "Q select 1; selec",
        "Q begin
         --
         Q selec
         --
         Q select 1
         --
         Q end",
        "Q begin
         --
         Q select * from nothing
         --
         Q abort",
        "Q set local work_mem = '1MB'
         --
         Q show work_mem
         --
         Q lock table things
         --
         Q lock table things; select 1
         --
         Q set local work_mem = '1MB'; show work_mem
         --
         Q show work_mem
         --
         Q declare c cursor for select id from lonely; fetch c; close c",
    ]).await;
}
