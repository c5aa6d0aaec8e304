//! SET, RESET and DISCARD, kept and taken back.

use crate::same;

#[tokio::test]
async fn settings_follow_their_transactions() {
    same(
        "settings",
        &[
            "Q set work_mem = '1MB'
         --
         Q begin; set work_mem = '2MB'; rollback
         --
         Q show work_mem
         --
         Q begin
         --
         Q set work_mem = '3MB'
         --
         Q savepoint a
         --
         Q set work_mem = '4MB'
         --
         Q select id from things where id = 1
         --
         Q rollback to a
         --
         Q show work_mem
         --
         Q set local work_mem = '5MB'
         --
         Q select id from things where id = 2
         --
         Q show work_mem
         --
         Q commit
         --
         Q show work_mem
         --
         Q select current_setting('work_mem') from things where id = 2
         --
         Q reset work_mem
         --
         Q show work_mem",
            "Q begin
         --
         Q select id from things where id = 1
         --
         Q set local timezone = 'Asia/Tokyo'
         --
         Q select current_setting('timezone') from things where id = 2
         --
         Q select current_setting('timezone') from things where id = 3
         --
         Q select current_setting('timezone') from things where id = 4
         --
         Q commit
         --
         Q show timezone",
            "Q set timezone = 'Asia/Tokyo'; select 1
         --
         Q show timezone
         --
         Q set timezone = 'Asia/Seoul'; select 1/0
         --
         Q show timezone
         --
         Q select current_setting('timezone') from things where id = 3",
            "Q begin
         --
         Q set work_mem = 'nonsense'
         --
         Q select 1
         --
         Q commit
         --
         Q set nonsense = 1
         --
         Q set a.b = 'x'
         --
         Q show a.b
         --
         Q reset all",
            "Q set datestyle = 'SQL, DMY'
         --
         Q select date '2020-02-01' from things where id = 5
         --
         Q discard all
         --
         Q select date '2020-02-01' from things where id = 5
         --
         Q begin
         --
         Q discard all
         --
         Q rollback
         --
         Q select 1; discard all",
            "P |set timezone = 'Asia/Tokyo'
         B |
         E |
         P |select 1/0
         B |
         E |
         S
         --
         Q show timezone
         --
         P |set timezone = 'Asia/Tokyo'
         B |
         E |
         P |select current_setting('timezone') from things where id = $1
         B ||1
         E |
         B ||2
         E |
         S
         --
         Q show timezone",
            "P |select set_config('work_mem', $1, false)
         B ||2MB
         DP |
         E |
         S
         --
         Q show work_mem
         --
         Q select set_config('work_mem', '3MB', true)
         --
         Q show work_mem
         --
         Q begin
         --
         Q select set_config('work_mem', '5MB', true)
         --
         Q select current_setting('work_mem') from things where id = 7
         --
         Q rollback
         --
         Q show work_mem",
            "Q create schema other
         --
         Q begin
         --
         Q set local search_path = other
         --
         Q select count(*) from things
         --
         Q rollback
         --
         Q select count(*) from things where id < 10
         --
         Q set search_path = other
         --
         Q select count(*) from things where id < 10
         --
         Q reset search_path
         --
         Q select count(*) from things where id < 10
         --
         Q begin
         --
         Q set search_path = other
         --
         Q savepoint a
         --
         Q set search_path = public
         --
         Q select count(*) from things where id < 10
         --
         Q rollback to a
         --
         Q select count(*) from things where id < 10
         --
         Q rollback",
            "Q create role someone
         --
         Q set role someone
         --
         Q select name from things where id = 1
         --
         Q select current_user
         --
         Q reset role
         --
         Q select name from things where id = 1
         --
         Q begin
         --
         Q set local role someone
         --
         Q commit
         --
         Q select current_user, name from things where id = 1
         --
         Q set session authorization someone
         --
         Q select current_user, session_user
         --
         Q reset session authorization
         --
         Q select current_user, session_user",
        ],
    )
    .await;
}
