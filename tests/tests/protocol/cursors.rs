//! Cursors.

use crate::same;

#[tokio::test]
async fn cursors_end_with_their_transaction_or_their_session() {
    same("cursors", &[
        "Q begin
         --
         Q declare c cursor for select name from things where id = 3
         --
         Q fetch 1 from c
         --
         Q fetch 1 from c
         --
         Q close c
         --
         Q fetch c
         --
         Q rollback",
        "Q declare c cursor for select 1",
        "Q declare c cursor with hold for select id from lonely order by id
         --
         Q fetch 1 from c
         --
         Q fetch 1 from c
         --
         Q close c
         --
         Q fetch 1 from c",
        "Q begin
         --
         Q declare c cursor with hold for select id from lonely order by id
         --
         Q commit
         --
         Q fetch all from c
         --
         Q close all
         --
         Q fetch all from c",
        "Q begin; declare c cursor for select id from lonely order by id; fetch 1 from c; commit; fetch 1 from c",
    ]).await;
}
