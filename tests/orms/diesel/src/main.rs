//! A small social network's models in Diesel: nothing in them knows of shards. Each step says that it holds.

use anyhow::{Context as _, ensure};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::scoped_futures::ScopedFutureExt as _;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::TryStreamExt as _;
use serde_json::json;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

diesel::table! {
    users (id) {
        id -> Int8,
        handle -> Varchar,
        settings -> Jsonb,
        interests -> Array<Text>,
        followers_count -> Int4,
        joined -> Timestamptz,
        email -> Nullable<Text>,
    }
}
diesel::table! {
    // The shard key is part of the primary key: a post is found, and kept unique, on its author's shard alone.
    posts (author_id, id) {
        author_id -> Int8,
        id -> Int8,
        body -> Text,
        likes -> Int4,
    }
}
diesel::table! {
    tags (id) {
        id -> Int4,
        name -> Varchar,
    }
}
diesel::joinable!(posts -> users (author_id));
diesel::allow_tables_to_appear_in_same_query!(users, posts, tags);

#[derive(Debug, Clone, Identifiable, Queryable, Selectable)]
struct User {
    id: i64,
    handle: String,
    settings: serde_json::Value,
    interests: Vec<String>,
}

#[derive(Debug, Clone, Identifiable, Queryable, Selectable, Associations)]
#[diesel(primary_key(author_id, id), belongs_to(User, foreign_key = author_id))]
struct Post {
    author_id: i64,
    id: i64,
    body: String,
    likes: i32,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewUser {
    handle: String,
    settings: serde_json::Value,
    interests: Vec<String>,
    email: Option<String>,
}

#[derive(Insertable)]
#[diesel(table_name = posts)]
struct NewPost<'a> {
    author_id: i64,
    body: &'a str,
}

const PEOPLE: usize = 40;

fn person(number: usize) -> NewUser {
    NewUser {
        handle: format!("person{number}"),
        settings: json!({ "theme": if number.is_multiple_of(2) { "dark" } else { "light" }, "number": number }),
        interests: vec!["sharding".into(), format!("topic{}", number % 4)],
        email: Some(format!("person{number}@example.com")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("CLIENT_TEST_URL").context("CLIENT_TEST_URL")?;
    migrate(&url).await?;
    println!("migrations ran, were undone and ran again");
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(&url);
    let pool = Pool::builder(manager).max_size(5).build()?;
    let mut connection = pool.get().await?;
    let people = insert(&mut connection).await?;
    println!("rows of several shards were inserted at once, each with an id of its own");
    read(&mut connection, &people).await?;
    println!(
        "rows were found by key, by a unique column, by a list of keys, and with their children"
    );
    change(&mut connection, &people).await?;
    println!("rows were changed, upserted and deleted");
    transactions(&mut connection, &people).await?;
    println!("transactions over shards, also nested ones, did all or nothing");
    refused(&mut connection, &people).await?;
    println!("what PostgreSQL refuses is refused, with its names");
    at_once(&pool, &people).await?;
    println!("many statements ran at once through the pool");
    Ok(())
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let connection = AsyncPgConnection::establish(url).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let run = |harness: &mut AsyncMigrationHarness<AsyncPgConnection>| {
        let ran = harness.run_pending_migrations(MIGRATIONS);
        ran.map(|ran| ran.len())
            .map_err(|error| anyhow::anyhow!("{error}"))
    };
    ensure!(run(&mut harness)? == 2);
    harness
        .revert_last_migration(MIGRATIONS)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(run(&mut harness)? == 1);
    ensure!(run(&mut harness)? == 0);
    Ok(())
}

async fn insert(connection: &mut AsyncPgConnection) -> anyhow::Result<Vec<User>> {
    let new: Vec<NewUser> = (0..PEOPLE).map(person).collect();
    let people: Vec<User> = diesel::insert_into(users::table)
        .values(&new)
        .returning(User::as_returning())
        .get_results(connection)
        .await?;
    let handles: Vec<String> = people.iter().map(|user| user.handle.clone()).collect();
    ensure!(
        handles
            == new
                .iter()
                .map(|user| user.handle.clone())
                .collect::<Vec<_>>(),
        "{handles:?}"
    );
    ensure!(
        people.windows(2).all(|two| two[0].id < two[1].id),
        "ids in order"
    );
    for user in &people {
        for body in ["first", "second", "third"] {
            let new = NewPost {
                author_id: user.id,
                body,
            };
            diesel::insert_into(posts::table)
                .values(&new)
                .execute(connection)
                .await?;
        }
    }
    Ok(people)
}

async fn read(connection: &mut AsyncPgConnection, people: &[User]) -> anyhow::Result<()> {
    let user = &people[7];
    let found: User = users::table
        .find(user.id)
        .select(User::as_select())
        .first(connection)
        .await?;
    ensure!(
        found.settings["number"] == 7 && found.interests == ["sharding", "topic3"],
        "{found:?}"
    );
    let by_handle = users::table
        .filter(users::handle.eq("person11"))
        .select(users::id);
    ensure!(by_handle.first::<i64>(connection).await? == people[11].id);
    let ids: Vec<i64> = people.iter().take(9).map(|user| user.id).collect();
    let some: Vec<i64> = users::table
        .filter(users::id.eq_any(&ids))
        .order(users::id)
        .select(users::id)
        .load(connection)
        .await?;
    ensure!(some == ids);

    // Parents, and their children by one more statement.
    let parents: Vec<User> = users::table
        .order(users::handle)
        .limit(5)
        .offset(2)
        .select(User::as_select())
        .load(connection)
        .await?;
    let children: Vec<Post> = Post::belonging_to(&parents)
        .order((posts::author_id, posts::id))
        .select(Post::as_select())
        .load(connection)
        .await?;
    let grouped = children.grouped_by(&parents);
    ensure!(parents.len() == 5 && grouped.iter().all(|posts| posts.len() == 3));
    let joined: Vec<(User, Post)> = users::table
        .inner_join(posts::table)
        .filter(posts::body.eq("second"))
        .order(posts::id)
        .select((User::as_select(), Post::as_select()))
        .load(connection)
        .await?;
    ensure!(joined.len() == PEOPLE && joined.iter().all(|(user, post)| user.id == post.author_id));

    let (rows, likes): (i64, Option<i64>) = posts::table
        .select((diesel::dsl::count_star(), diesel::dsl::sum(posts::likes)))
        .first(connection)
        .await?;
    ensure!((rows, likes) == (PEOPLE as i64 * 3, Some(0)));
    let groups: Vec<(String, i64)> = posts::table
        .group_by(posts::body)
        .select((posts::body, diesel::dsl::count_star()))
        .order(posts::body)
        .load(connection)
        .await?;
    ensure!(
        groups.len() == 3 && groups.iter().all(|(_, count)| *count == PEOPLE as i64),
        "{groups:?}"
    );
    let dark = users::table.filter(users::settings.retrieve_as_text("theme").eq("dark"));
    ensure!(dark.count().get_result::<i64>(connection).await? == PEOPLE as i64 / 2);
    let stream = users::table
        .select(users::id)
        .load_stream::<i64>(connection)
        .await?;
    ensure!(stream.try_collect::<Vec<i64>>().await?.len() == PEOPLE);
    Ok(())
}

async fn change(connection: &mut AsyncPgConnection, people: &[User]) -> anyhow::Result<()> {
    let user = &people[3];
    let changed: i32 = diesel::update(users::table.find(user.id))
        .set(users::followers_count.eq(users::followers_count + 2))
        .returning(users::followers_count)
        .get_result(connection)
        .await?;
    ensure!(changed == 2);
    let all = diesel::update(posts::table.filter(posts::body.eq("first")))
        .set(posts::likes.eq(posts::likes + 1));
    ensure!(all.execute(connection).await? == PEOPLE);
    for likes in [10, 20] {
        let post = (
            posts::author_id.eq(user.id),
            posts::id.eq(1_000_000),
            posts::body.eq("upserted"),
            posts::likes.eq(likes),
        );
        diesel::insert_into(posts::table)
            .values(post)
            .on_conflict((posts::author_id, posts::id))
            .do_update()
            .set(posts::likes.eq(posts::likes + likes))
            .execute(connection)
            .await?;
    }
    let post: Post = posts::table
        .find((user.id, 1_000_000))
        .select(Post::as_select())
        .first(connection)
        .await?;
    ensure!(post.likes == 30 && post.body == "upserted", "{post:?}");
    // A unique key that does not contain the shard key, met on another shard.
    let twice = diesel::insert_into(users::table)
        .values(person(5))
        .on_conflict(users::handle)
        .do_nothing()
        .execute(connection)
        .await?;
    ensure!(twice == 0);
    ensure!(
        diesel::delete(posts::table.find((post.author_id, post.id)))
            .execute(connection)
            .await?
            == 1
    );
    Ok(())
}

async fn transactions(connection: &mut AsyncPgConnection, people: &[User]) -> anyhow::Result<()> {
    let ids: Vec<i64> = people.iter().map(|user| user.id).collect();
    connection
        .transaction::<_, anyhow::Error, _>(|connection| count_all(connection, ids).scope_boxed())
        .await?;
    let sum = users::table.select(diesel::dsl::sum(users::followers_count));
    ensure!(sum.first::<Option<i64>>(connection).await? == Some(PEOPLE as i64 + 2));
    let undone = connection.transaction::<(), DieselError, _>(|connection| {
        async move {
            let none = diesel::update(users::table).set(users::followers_count.eq(0));
            none.execute(connection).await?;
            Err(DieselError::RollbackTransaction)
        }
        .scope_boxed()
    });
    ensure!(undone.await.is_err());
    ensure!(sum.first::<Option<i64>>(connection).await? == Some(PEOPLE as i64 + 2));
    let mut moment = connection.build_transaction().read_only().repeatable_read();
    let (first, second) = moment
        .run::<(i64, i64), DieselError, _>(|connection| {
            async move {
                let count = posts::table.count();
                let first = count.get_result(connection).await?;
                Ok((first, count.get_result(connection).await?))
            }
            .scope_boxed()
        })
        .await?;
    ensure!(first == second);
    Ok(())
}

/// One follower more for each, and a savepoint that is rolled back.
async fn count_all(connection: &mut AsyncPgConnection, ids: Vec<i64>) -> anyhow::Result<()> {
    for id in &ids {
        let locked = users::table
            .find(id)
            .select(users::followers_count)
            .for_update();
        let count: i32 = locked.first(connection).await?;
        let counted =
            diesel::update(users::table.find(id)).set(users::followers_count.eq(count + 1));
        counted.execute(connection).await?;
    }
    let inner = connection.transaction::<(), DieselError, _>(|connection| {
        async move {
            diesel::delete(posts::table).execute(connection).await?;
            Err(DieselError::RollbackTransaction)
        }
        .scope_boxed()
    });
    ensure!(inner.await.is_err());
    Ok(())
}

async fn refused(connection: &mut AsyncPgConnection, people: &[User]) -> anyhow::Result<()> {
    let mut same = person(1000);
    same.handle = "person0".into();
    let error = diesel::insert_into(users::table)
        .values(&same)
        .execute(connection)
        .await
        .unwrap_err();
    let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, about) = error else {
        anyhow::bail!("{error}");
    };
    ensure!(
        about.constraint_name() == Some("users_handle_key"),
        "{about:?}"
    );
    let orphan = NewPost {
        author_id: 999_999_999,
        body: "nobody's",
    };
    let error = diesel::insert_into(posts::table)
        .values(&orphan)
        .execute(connection)
        .await
        .unwrap_err();
    ensure!(
        matches!(
            error,
            DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)
        ),
        "{error}"
    );
    let negative =
        diesel::update(users::table.find(people[0].id)).set(users::followers_count.eq(-1));
    let error = negative.execute(connection).await.unwrap_err();
    ensure!(
        matches!(
            error,
            DieselError::DatabaseError(DatabaseErrorKind::CheckViolation, _)
        ),
        "{error}"
    );
    Ok(())
}

async fn at_once(pool: &Pool<AsyncPgConnection>, people: &[User]) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for user in people.iter().cloned() {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = pool.get().await?;
            let count = Post::belonging_to(&user).count();
            Ok::<i64, anyhow::Error>(count.get_result(&mut connection).await?)
        }));
    }
    for task in tasks {
        ensure!(task.await?? == 3);
    }
    Ok(())
}
