//! sqlx against PostgreSQL or Oskol; see ../../README.md.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnection, PgPoolCopyExt, PgPoolOptions};
use sqlx::{Connection, Executor, PgPool};

const TABLE: &str = "client_users_sqlx";
const ROWS: i64 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqlx: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let url = std::env::var("CLIENT_TEST_URL").context("CLIENT_TEST_URL is not set")?;
    let mut connection = PgConnection::connect(&url).await?;
    step("create_table", create_table(&mut connection)).await?;
    step("prepared_statements", prepared_statements(&mut connection)).await?;
    step("binary_parameters", binary_parameters(&mut connection)).await?;
    step("key_lists", key_lists(&mut connection)).await?;
    step("all_rows", all_rows(&mut connection)).await?;
    step("transaction", transaction(&mut connection)).await?;
    step("errors", errors(&mut connection)).await?;
    step("cancel", cancel(&mut connection)).await?;
    connection.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect(&url)
        .await?;
    step("pool", pool_of_clients(&pool)).await?;
    step("copy", copy(&pool)).await?;
    pool.execute(format!("DROP TABLE {TABLE}").as_str()).await?;
    pool.close().await;
    Ok(())
}

async fn step(name: &str, action: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    action.await.with_context(|| format!("{name} failed"))?;
    println!("ok {name}");
    Ok(())
}

async fn create_table(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection
        .execute(format!("DROP TABLE IF EXISTS {TABLE}").as_str())
        .await?;
    let create = format!("CREATE TABLE {TABLE} (id bigint PRIMARY KEY, name text)");
    connection.execute(create.as_str()).await?;
    if std::env::var("OSKOL").is_ok_and(|value| value == "1") {
        connection
            .execute(format!("SELECT oskol.shard_table('{TABLE}', 'id')").as_str())
            .await?;
    }
    Ok(())
}

/// sqlx prepares every statement with bound values and keeps it, named, in a cache per connection.
async fn prepared_statements(connection: &mut PgConnection) -> anyhow::Result<()> {
    let insert = format!("INSERT INTO {TABLE} (id, name) VALUES ($1, $2)");
    for id in 0..ROWS {
        let query = sqlx::query(&insert).bind(id).bind(format!("user {id}"));
        let count = query.execute(&mut *connection).await?.rows_affected();
        ensure!(count == 1, "{count} rows inserted");
    }
    for id in 0..ROWS {
        let name = name_of(connection, id).await?;
        ensure!(name == format!("user {id}"), "row {id} reads {name}");
    }
    connection.clear_cached_statements().await?;
    ensure!(
        name_of(connection, 7).await? == "user 7",
        "statements are prepared again after a Close"
    );
    Ok(())
}

async fn name_of(connection: &mut PgConnection, id: i64) -> sqlx::Result<String> {
    let text = format!("SELECT name FROM {TABLE} WHERE id = $1");
    sqlx::query_scalar(&text)
        .bind(id)
        .fetch_one(connection)
        .await
}

type Values = (
    i16,
    i32,
    i64,
    f64,
    Vec<u8>,
    String,
    bool,
    Vec<i64>,
    Option<String>,
);

async fn binary_parameters(connection: &mut PgConnection) -> anyhow::Result<()> {
    let text = "SELECT $1::int2, $2::int4, $3::int8, $4::float8, $5::bytea, $6::text, $7::bool, $8::int8[], $9::text";
    let row: Values = sqlx::query_as(text)
        .bind(1i16)
        .bind(2i32)
        .bind(1i64 << 40)
        .bind(1.5f64)
        .bind(b"\0\xff".to_vec())
        .bind("žluť")
        .bind(true)
        .bind(vec![1i64, 2])
        .bind(None::<String>)
        .fetch_one(connection)
        .await?;
    let sent = (
        1,
        2,
        1 << 40,
        1.5,
        b"\0\xff".to_vec(),
        "žluť".to_owned(),
        true,
        vec![1, 2],
        None,
    );
    ensure!(row == sent, "values come back as they were, not {row:?}");
    Ok(())
}

async fn key_lists(connection: &mut PgConnection) -> anyhow::Result<()> {
    let text = format!("SELECT id FROM {TABLE} WHERE id = ANY($1) ORDER BY id");
    let ids: Vec<i64> = sqlx::query_scalar(&text)
        .bind(vec![1i64, 50, 99])
        .fetch_all(connection)
        .await?;
    ensure!(ids == [1, 50, 99], "= ANY reads {ids:?}");
    Ok(())
}

async fn all_rows(connection: &mut PgConnection) -> anyhow::Result<()> {
    let text = format!("SELECT count(*) FROM {TABLE}");
    let count: i64 = sqlx::query_scalar(&text)
        .fetch_one(&mut *connection)
        .await?;
    ensure!(count == ROWS, "{count} rows are counted");
    let text = format!("SELECT id FROM {TABLE} ORDER BY id DESC LIMIT 3");
    let ids: Vec<i64> = sqlx::query_scalar(&text).fetch_all(connection).await?;
    ensure!(ids == [99, 98, 97], "ORDER BY and LIMIT read {ids:?}");
    Ok(())
}

async fn transaction(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    for id in [1i64, 2] {
        let text = format!("UPDATE {TABLE} SET name = 'changed' WHERE id = $1");
        sqlx::query(&text)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
    }
    let mut nested = transaction.begin().await?;
    delete(&mut nested, 1).await?;
    nested.rollback().await?;
    transaction.commit().await?;
    let mut transaction = connection.begin().await?;
    delete(&mut transaction, 3).await?;
    // Dropped without an end, a transaction is rolled back before the connection's next statement.
    drop(transaction);
    let text = format!("SELECT id FROM {TABLE} WHERE name = 'changed' OR id = 3 ORDER BY id");
    let ids: Vec<i64> = sqlx::query_scalar(&text).fetch_all(connection).await?;
    ensure!(
        ids == [1, 2, 3],
        "commits keep and rollbacks restore: {ids:?}"
    );
    Ok(())
}

async fn delete(connection: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    let text = format!("DELETE FROM {TABLE} WHERE id = $1");
    sqlx::query(&text)
        .bind(id)
        .execute(connection)
        .await
        .map(drop)
}

async fn errors(connection: &mut PgConnection) -> anyhow::Result<()> {
    let insert = format!("INSERT INTO {TABLE} (id, name) VALUES ($1, 'again')");
    expect(
        sqlx::query(&insert)
            .bind(5i64)
            .execute(&mut *connection)
            .await,
        "23505",
    )?;
    let unknown = format!("SELECT nothing FROM {TABLE} WHERE id = $1");
    expect(
        sqlx::query(&unknown)
            .bind(1i64)
            .execute(&mut *connection)
            .await,
        "42703",
    )?;
    let mut transaction = connection.begin().await?;
    expect(
        sqlx::query(&insert)
            .bind(5i64)
            .execute(&mut *transaction)
            .await,
        "23505",
    )?;
    expect(
        sqlx::query("SELECT 1").execute(&mut *transaction).await,
        "25P02",
    )?;
    transaction.rollback().await?;
    connection.ping().await?;
    Ok(())
}

fn expect<T>(result: sqlx::Result<T>, state: &str) -> anyhow::Result<()> {
    let error = result
        .err()
        .with_context(|| format!("{state} was expected"))?;
    let code = error.as_database_error().and_then(|error| error.code());
    ensure!(
        code.as_deref() == Some(state),
        "{state} was expected, not {error:?}"
    );
    Ok(())
}

/// sqlx sends no cancel requests; a second connection cancels by pid, and a time limit by itself.
async fn cancel(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection
        .execute("SET statement_timeout = '300ms'")
        .await?;
    expect(
        sqlx::query("SELECT pg_sleep(60)")
            .execute(&mut *connection)
            .await,
        "57014",
    )?;
    connection.execute("RESET statement_timeout").await?;
    let text = "SELECT pg_sleep($1)";
    sqlx::query(text)
        .bind(Duration::from_millis(400).as_secs_f64())
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn pool_of_clients(pool: &PgPool) -> anyhow::Result<()> {
    let text = format!("SELECT name FROM {TABLE} WHERE id = $1");
    let one = |id: i64| {
        sqlx::query_scalar::<_, String>(&text)
            .bind(id)
            .fetch_one(pool)
    };
    let names = futures_util::future::try_join_all((20..84).map(one)).await?;
    let right = names
        .iter()
        .zip(20..)
        .all(|(name, id)| *name == format!("user {id}"));
    ensure!(right, "clients of a pool read their own rows");
    Ok(())
}

async fn copy(pool: &PgPool) -> anyhow::Result<()> {
    let lines: String = (1000..1500)
        .map(|id| format!("{id}\tcopied {id}\n"))
        .collect();
    let mut sink = pool
        .copy_in_raw(&format!("COPY {TABLE} (id, name) FROM STDIN"))
        .await?;
    sink.send(lines.as_bytes()).await?;
    let count = sink.finish().await?;
    ensure!(count == 500, "COPY FROM took {count} rows");
    let text = format!("COPY {TABLE} TO STDOUT");
    let chunks: Vec<_> = pool.copy_out_raw(&text).await?.try_collect().await?;
    let lines = chunks
        .concat()
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count();
    ensure!(lines == ROWS as usize + 500, "COPY TO gives {lines} rows");
    Ok(())
}
