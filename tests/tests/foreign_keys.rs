//! Foreign keys that leave the shard, on four shards and on one plain PostgreSQL with the same rows: both take and
//! refuse the same statements, with the same message, detail and names, and have the same rows afterwards.

use tests::{Cluster, Database, connect, eventually};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};

/// What a tool hears of a statement.
#[derive(Debug, PartialEq)]
enum Heard {
    Rows(Vec<String>),
    Error {
        code: String,
        message: String,
        detail: Option<String>,
        schema: Option<String>,
        table: Option<String>,
        constraint: Option<String>,
    },
}

struct Pair {
    cluster: Client,
    oracle: Client,
}

impl Pair {
    async fn connect(database: &Database<'_>) -> Pair {
        Pair {
            cluster: database.client().await,
            oracle: connect(&database.oracle_url()).await.unwrap(),
        }
    }

    async fn agree(&self, sql: &str) -> Heard {
        let cluster = heard(&self.cluster, sql).await;
        let oracle = heard(&self.oracle, sql).await;
        assert_eq!(cluster, oracle, "{sql}");
        cluster
    }

    async fn all(&self, statements: &[&str]) {
        for sql in statements {
            self.agree(sql).await;
        }
    }

    /// The oracle has no shards.
    async fn place(&self, statements: &str) {
        self.cluster.batch_execute(statements).await.unwrap();
    }
}

async fn heard(client: &Client, sql: &str) -> Heard {
    match client.simple_query(sql).await {
        Ok(messages) => Heard::Rows(messages.iter().map(told).collect()),
        Err(error) => failed(error.as_db_error().unwrap_or_else(|| panic!("{error:?}"))),
    }
}

fn failed(error: &DbError) -> Heard {
    let own = |text: Option<&str>| text.map(str::to_owned);
    Heard::Error {
        code: error.code().code().to_owned(),
        message: error.message().to_owned(),
        detail: own(error.detail()),
        schema: own(error.schema()),
        table: own(error.table()),
        constraint: own(error.constraint()),
    }
}

fn told(message: &SimpleQueryMessage) -> String {
    match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or("null"));
            values.collect::<Vec<_>>().join("|")
        }
        SimpleQueryMessage::CommandComplete(rows) => format!("{rows} rows"),
        _ => String::new(),
    }
}

const TABLES: &str = "create table users (id bigint primary key, email text unique, boss bigint references users);
    create table posts (id int primary key, author bigint not null references users on delete cascade, body text);
    create table likes (liker bigint references users, post int references posts on delete cascade on update cascade,
        primary key (liker, post));
    create table settings (id int primary key, owner text default 'nobody'
        constraint owned references users (email) on update cascade on delete set default);
    create table tags (post int constraint tagged references posts on delete set null on update restrict, tag text)";

const PLACES: &str =
    "select oskol.shard_table('users', 'id'); select oskol.shard_table('posts', 'author');
    select oskol.shard_table('likes', 'liker')";

const READ: [&str; 5] = [
    "select * from users order by id",
    "select * from posts order by id",
    "select * from likes order by liker, post",
    "select * from settings order by id",
    "select * from tags order by post, tag",
];

async fn filled(name: &str) -> (Database<'static>, Pair) {
    let database = Cluster::shared().database(name);
    database.oracle().await;
    let pair = Pair::connect(&database).await;
    pair.all(&[TABLES]).await;
    pair.place(PLACES).await;
    pair.all(&[
        "insert into users select i, 'e' || i, nullif(i / 4, 0) from generate_series(1, 20) i",
        "insert into users values (100, 'nobody')",
        "insert into posts select i, i % 20 + 1, 'p' from generate_series(1, 40) i",
        "insert into likes select i % 20 + 1, i from generate_series(1, 40) i",
        "insert into settings select i, 'e' || i from generate_series(1, 20) i",
        "insert into tags select i, 't' from generate_series(1, 40) i",
    ])
    .await;
    (database, pair)
}

#[tokio::test]
async fn every_statement_is_answered_as_by_one_postgresql() {
    let (_database, pair) = filled("keys_words").await;
    pair.all(&[
        "insert into likes values (1, 1)",
        "insert into likes values (1, 999)",
        "insert into likes values (2, 5), (3, 1000), (4, 6)",
        "insert into likes values (999, 1)",
        "insert into users values (21, 'e21', 999)",
        "insert into users values (21, 'e21', 21), (22, 'e22', 21)",
        "insert into posts values (41, 999, 'p')",
        "insert into settings values (21, 'nowhere')",
        "insert into settings values (21, null)",
        "insert into tags values (999, 't')",
        "insert into tags values (null, 't')",
        "update likes set post = 998 where liker = 1 and post = 20",
        "update tags set post = 2 where post = 1",
        "update tags set post = 997 where post = 3",
        "update users set boss = 996 where id = 3",
        "delete from likes where liker = 1",
        "delete from users where id = 1",
        "delete from users where id = 19",
        "update posts set id = 400 where id = 40",
        "delete from tags where post = 40",
        "update posts set id = 400 where id = 40",
        "update posts set id = 39 where id = 40",
        "delete from posts where id = 5",
        "delete from likes where liker in (20, 21)",
        "delete from users where id = 20",
        "update users set email = 'new' where id = 7",
        "update users set email = 'e8' where id = 7",
        "delete from likes where liker = 18",
        "delete from users where id = 18",
        "delete from users where email = 'nobody'",
        "with gone as (delete from likes where liker = 2 returning post) select count(*) from gone",
        "truncate users",
        "begin",
        "insert into posts values (50, 3, 'fresh')",
        "insert into likes values (9, 50)",
        "savepoint s",
        "insert into likes values (9, 51)",
        "rollback to s",
        "delete from posts where id = 50",
        "commit",
    ])
    .await;
    pair.all(&READ).await;
    pair.all(&["truncate posts cascade", "truncate users cascade"])
        .await;
    pair.all(&READ).await;
}

#[tokio::test]
async fn what_is_deferred_is_due_at_commit() {
    let database = Cluster::shared().database("keys_deferred");
    database.oracle().await;
    let pair = Pair::connect(&database).await;
    pair.all(&[
        "create table users (id bigint primary key)",
        "create table posts (id int primary key, author bigint not null)",
    ])
    .await;
    pair.place(
        "select oskol.shard_table('users', 'id'); select oskol.shard_table('posts', 'author')",
    )
    .await;
    pair.all(&[
        "create table votes (id int primary key, post int)",
        "alter table votes add constraint voted foreign key (post) references posts deferrable initially deferred",
        "alter table posts add column origin int constraint came references posts deferrable",
        "begin", "insert into votes values (1, 1)", "commit",
        "insert into votes values (1, 1)",
        "begin", "insert into votes values (1, 1)", "insert into posts values (1, 1)", "commit",
        "begin", "delete from posts", "insert into posts values (1, 2)", "commit",
        "begin", "delete from posts", "commit",
        "begin", "insert into votes values (2, 2)", "set constraints voted immediate", "rollback",
        "begin", "insert into votes values (2, 2)", "delete from votes where id = 2", "commit",
        "begin", "insert into votes values (2, 2)", "update votes set post = 1 where id = 2", "commit",
        "begin", "set constraints all immediate", "insert into votes values (3, 3)", "rollback",
        "insert into posts values (5, 5, 4)",
        "begin", "set constraints came deferred", "insert into posts values (5, 5, 4)", "insert into posts values (4, 9)", "commit",
        "begin", "savepoint s", "insert into votes values (9, 9)", "rollback to s", "commit",
        "alter table votes alter constraint voted not deferrable",
        "begin", "insert into votes values (9, 9)", "commit",
        "select * from posts order by id", "select * from votes order by id",
    ])
    .await;
}

#[tokio::test]
async fn keys_are_added_to_rows_and_validated() {
    let database = Cluster::shared().database("keys_added");
    database.oracle().await;
    let pair = Pair::connect(&database).await;
    pair.all(&[
        "create table users (id bigint primary key, name text unique)",
        "create table notes (id int primary key, writer bigint, name text)",
    ])
    .await;
    pair.place("select oskol.shard_table('users', 'id'); select oskol.shard_table('notes', 'id')")
        .await;
    let catalog = "select conname, convalidated, condeferrable, pg_get_constraintdef(oid) from pg_constraint \
        where conrelid in ('users'::regclass, 'notes'::regclass) order by conname";
    pair.all(&[
        "insert into users select i, 'n' || i from generate_series(1, 30) i",
        "insert into notes select i, i % 30 + 1, 'n' || (i % 30 + 1) from generate_series(1, 100) i",
        "insert into notes values (101, 31, 'n31')",
        "alter table notes add constraint written foreign key (writer) references users",
        "alter table notes add constraint written foreign key (writer) references users not valid",
        "insert into notes values (102, 33, 'n1')",
        "delete from users where id = 5",
        catalog,
        "alter table notes validate constraint written",
        "delete from notes where id = 101",
        "alter table notes validate constraint written",
        catalog,
        "alter table notes add foreign key (name) references users (name)",
        "alter table notes drop constraint written, add constraint again foreign key (writer) references users on delete cascade",
        catalog,
        "alter table notes rename column writer to author",
        "alter table users rename column id to number",
        "alter table users rename to people",
        "insert into notes values (103, 34, null)",
        "update notes set name = null where author = 5",
        "delete from people where number = 5",
        "select count(*) from notes",
        "alter table notes drop constraint again",
        "insert into notes values (104, 35, null)",
        "drop table people",
        "drop table people cascade",
        "insert into notes values (105, 35, 'nobody')",
    ])
    .await;
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let left = "select count(*) from pg_proc p where pronamespace = 'oskol'::regnamespace and \
            proname like any (array['refer\\_%', 'leave\\__', 'act\\_%', 'parents\\_%', 'parent\\_bucket%'])";
        let left: i64 = shard.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "what belongs to a key goes with it");
    }
}

#[tokio::test]
async fn a_parent_that_is_referred_to_is_not_deleted_meanwhile() {
    let (database, pair) = filled("keys_race").await;
    for level in ["read committed", "repeatable read"] {
        // The child comes first: whoever deletes the parent waits, and fails.
        let begin = format!("begin isolation level {level}");
        pair.cluster.batch_execute(&begin).await.unwrap();
        let like = "insert into likes values (3, 11)";
        pair.cluster
            .batch_execute("delete from likes where post = 11; delete from tags where post = 11")
            .await
            .unwrap();
        pair.cluster.batch_execute(like).await.unwrap();
        let deleter = connect(&database.url()).await.unwrap();
        let waiting = tokio::spawn(async move {
            deleter
                .batch_execute("delete from users where id = 3")
                .await
        });
        waits(&database).await;
        pair.cluster.batch_execute("commit").await.unwrap();
        let refused = waiting.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
        pair.cluster
            .batch_execute("delete from likes where liker = 3 and post = 11")
            .await
            .unwrap();
    }
    // The parent goes first: the child waits, and fails.
    pair.cluster
        .batch_execute("begin; delete from posts where id = 12")
        .await
        .unwrap();
    let liker = connect(&database.url()).await.unwrap();
    let waiting = tokio::spawn(async move {
        liker
            .batch_execute("insert into likes values (4, 12)")
            .await
    });
    waits(&database).await;
    pair.cluster.batch_execute("commit").await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&SqlState::FOREIGN_KEY_VIOLATION),
        "{refused:?}"
    );
    orphans(&pair.cluster).await;
}

#[tokio::test]
async fn a_snapshot_does_not_hide_children_that_have_come_since() {
    let (database, pair) = filled("keys_snapshot").await;
    let other = database.client().await;
    for (child, delete, code) in [
        (
            "insert into users values (201, 'x', 100)",
            "delete from users where id = 100",
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            "insert into likes values (1, 13)",
            "delete from posts where id = 13",
            SqlState::T_R_SERIALIZATION_FAILURE,
        ),
    ] {
        let begin = "begin isolation level repeatable read; select count(*) from users";
        pair.cluster.batch_execute(begin).await.unwrap();
        other.batch_execute(child).await.unwrap();
        let refused = pair.cluster.batch_execute(delete).await.unwrap_err();
        assert_eq!(refused.code(), Some(&code), "{delete}: {refused:?}");
        pair.cluster.batch_execute("rollback").await.unwrap();
    }
    orphans(&pair.cluster).await;
}

/// PostgreSQL 18's NOT ENFORCED, one constraint by itself: the others of the same tables are enforced.
#[tokio::test]
async fn a_key_that_is_not_enforced_costs_and_hinders_nothing() {
    let database = Cluster::shared().database("keys_unenforced");
    let client = database.client().await;
    for sql in [
        "create table users (id bigint primary key, name text)",
        "create table posts (id bigint primary key, author bigint)",
        "select oskol.shard_table('users', 'id')",
        "select oskol.shard_table('posts', 'id')",
        "create table likes (who bigint references users on delete cascade, post bigint references posts \
         on delete cascade not enforced deferrable, other bigint, primary key (who, post), \
         constraint others foreign key (other) references posts (id) not enforced)",
        "select oskol.shard_table('likes', 'who')",
        "insert into users select i from generate_series(1, 8) i",
        "insert into posts select i, i from generate_series(1, 8) i",
        // No such posts.
        "insert into likes select i, i + 5, 1000 from generate_series(1, 8) i",
        "update likes set post = post + 100",
        "delete from posts where id = 3",
        "alter table posts add constraint authors foreign key (author) references users not enforced",
        "update posts set author = 99",
        "alter table posts add column editor bigint default 77 references users not enforced",
        "alter table posts rename column editor to reader",
        "create index on likes (post)",
    ] {
        let ran = client.batch_execute(sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let seen = "select conrelid::regclass || ' ' || conname from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace order by 1";
    let seen = client.query(seen, &[]).await.unwrap();
    let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        seen,
        [
            "likes likes_post_fkey",
            "likes likes_who_fkey",
            "likes others",
            "posts authors",
            "posts posts_editor_fkey"
        ]
    );
    let refused = client
        .batch_execute("insert into likes values (99, 1)")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
    for sql in ["delete from users where id = 1", "drop table posts cascade"] {
        client.batch_execute(sql).await.unwrap();
    }
    let left: i64 = client
        .query_one("select count(*) from likes", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 7);
    let kept = "select count(*) from oskol.foreign_keys where not enforced";
    let kept: i64 = client.query_one(kept, &[]).await.unwrap().get(0);
    assert_eq!(kept, 0);
}

async fn waits(database: &Database<'_>) {
    eventually("it waits", async || {
        let mut waiting = 0;
        for shard in 0..4 {
            let sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
            let shard = database.shard(shard).await;
            waiting += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        }
        waiting > 0
    })
    .await;
}

async fn orphans(client: &Client) {
    let sql =
        "select count(*) from likes l where not exists (select from posts p where p.id = l.post)";
    let orphans: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(orphans, 0);
}

/// PostgreSQL compares with the parent's collation; each side of a key over shards hashes its own values.
#[tokio::test]
async fn columns_of_unlike_collations_are_refused_and_alike_ones_agree() {
    let database = Cluster::shared().database("keys_by_collation");
    let pair = Pair::connect(&database).await;
    pair.all(&[
        "create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "create table parents (id bigint primary key, name text collate loose unique)",
        "create table children (id bigint primary key, name text)",
        "create table alike (id bigint primary key, name text collate loose references parents (name))",
    ])
    .await;
    pair.place(
        "select oskol.shard_table('parents', 'id'); select oskol.shard_table('children', 'id'); \
         select oskol.shard_table('alike', 'id')",
    )
    .await;
    let add = "alter table children add foreign key (name) references parents (name)";
    let error = pair
        .cluster
        .batch_execute(add)
        .await
        .expect_err("other values are equal");
    let detail = error
        .as_db_error()
        .and_then(DbError::detail)
        .unwrap_or_default();
    assert!(detail.contains("[foreign-key-collation]"), "{error:?}");
    for id in 0..12 {
        pair.all(&[
            &format!("insert into parents values ({id}, 'name{id}')"),
            &format!("insert into alike values ({}, 'NAME{id}')", id + 100),
            &format!("delete from parents where id = {id}"),
        ])
        .await;
    }
    pair.agree("select count(*) from alike").await;
}

/// What an action changes is due after all that was due already, as triggers queue in PostgreSQL.
#[tokio::test]
async fn restrictions_and_cascades_come_in_the_order_of_one_postgresql() {
    let database = Cluster::shared().database("keys_in_order");
    let pair = Pair::connect(&database).await;
    pair.all(&[
        "create table tree (id int primary key, above int references tree on delete cascade, beside int references tree on delete restrict)",
        "create table roots (id int primary key)",
        "create table stems (id int primary key, root int references roots on delete cascade)",
        "create table leaves (id int primary key, root int references roots on delete cascade, stem int references stems on delete restrict)",
    ])
    .await;
    pair.place(
        "select oskol.shard_table('tree', 'id'); select oskol.shard_table('roots', 'id'); \
         select oskol.shard_table('stems', 'id'); select oskol.shard_table('leaves', 'id')",
    )
    .await;
    for first in [0, 10, 20, 30] {
        pair.all(&[
            &format!(
                "insert into tree values ({first} + 1, null, null), ({first} + 2, {first} + 1, null), ({first} + 3, {first} + 2, null), \
                 ({first} + 4, {first} + 3, {first} + 2), ({first} + 5, {first} + 1, null), ({first} + 6, {first} + 5, null)"
            ),
            &format!("delete from tree where id = {first} + 1"),
            &format!("delete from tree where id = {first} + 5"),
            &format!("insert into roots values ({first})"),
            &format!("insert into stems values ({first} + 7, {first})"),
            &format!("insert into leaves values ({first} + 9, {first}, {first} + 7)"),
            &format!("delete from roots where id = {first}"),
        ])
        .await;
    }
    for table in ["tree", "roots", "stems", "leaves"] {
        pair.agree(&format!("select * from {table} order by id"))
            .await;
    }
}
