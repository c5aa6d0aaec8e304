//! Prepared statements by name, by the protocol and in SQL.

use crate::same;

#[tokio::test]
async fn prepared_statements_live_as_long_as_the_session() {
    same(
        "prepared",
        &[
            "P a|select name from things where id = $1
         S
         --
         Q begin
         --
         B |a|1
         E |
         S
         --
         Q rollback
         --
         B |a|2
         E |
         S
         --
         Q deallocate a
         --
         B |a|2
         E |
         S",
            "Q prepare a as select name from things where id = $1
         --
         Q execute a(1)
         --
         Q execute a(2)
         --
         B |a|3
         DP |
         E |
         S
         --
         Q execute b
         --
         Q prepare a as select 1
         --
         Q deallocate all
         --
         Q execute a(1)
         --
         Q deallocate a",
            "Q begin
         --
         Q prepare a as select 1
         --
         Q select 1/0
         --
         Q execute a
         --
         Q rollback
         --
         Q execute a
         --
         Q discard all
         --
         Q execute a",
            "Q create table changing (id int primary key, a int)
         --
         P a|select * from changing where id = $1
         S
         --
         B |a|1
         DP |
         E |
         S
         --
         Q alter table changing add column b text
         --
         B |a|1
         E |
         S
         --
         P b|select b from changing where id = $1
         B |b|1
         DP |
         E |
         S
         --
         Q drop table changing
         --
         B |b|1
         E |
         S",
            "P a|select $1::int + 1
         DS a
         S
         --
         B |a|41
         E |
         S
         --
         B |a|x
         E |
         S
         --
         B |a
         E |
         S
         --
         B |a|1|2
         E |
         S",
            "Q begin
         --
         P a|insert into things values ($1, 'x', 1)
         B |a|1
         E |
         S
         --
         B |a|2
         S
         --
         DS a
         S
         --
         P z|select 1
         S
         --
         CS a
         S
         --
         Q rollback
         --
         B |a|1
         S",
        ],
    )
    .await;
}
