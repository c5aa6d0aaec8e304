//! tokio-postgres against PostgreSQL or Oskol; see ../README.md.

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, NoTls};

const TABLE: &str = "client_users_tokio_postgres";
const ROWS: i64 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio-postgres: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let url = std::env::var("CLIENT_TEST_URL").context("CLIENT_TEST_URL is not set")?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    step("create_table", create_table(&client)).await?;
    step("prepared_statements", prepared_statements(&client)).await?;
    step("binary_parameters", binary_parameters(&client)).await?;
    step("key_lists", key_lists(&client)).await?;
    step("all_rows", all_rows(&client)).await?;
    step("pipeline", pipeline(&client)).await?;
    step("several_statements", several_statements(&client)).await?;
    step("transaction", transaction(&mut client)).await?;
    step("portal", portal(&mut client)).await?;
    step("errors", errors(&mut client)).await?;
    step("copy_text", copy_text(&client)).await?;
    step("copy_binary", copy_binary(&client)).await?;
    step("cancel", cancel(&client)).await?;
    client.batch_execute(&format!("DROP TABLE {TABLE}")).await?;
    Ok(())
}

async fn step(name: &str, action: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    action.await.with_context(|| format!("{name} failed"))?;
    println!("ok {name}");
    Ok(())
}

async fn create_table(client: &Client) -> anyhow::Result<()> {
    client
        .batch_execute(&format!("DROP TABLE IF EXISTS {TABLE}"))
        .await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE {TABLE} (id bigint PRIMARY KEY, name text)"
        ))
        .await?;
    if std::env::var("OSKOL").is_ok_and(|value| value == "1") {
        client
            .batch_execute(&format!("SELECT oskol.shard_table('{TABLE}', 'id')"))
            .await?;
    }
    Ok(())
}

async fn prepared_statements(client: &Client) -> anyhow::Result<()> {
    let insert = client
        .prepare(&format!("INSERT INTO {TABLE} (id, name) VALUES ($1, $2)"))
        .await?;
    let select = client
        .prepare(&format!("SELECT name FROM {TABLE} WHERE id = $1"))
        .await?;
    ensure!(
        insert.params() == [Type::INT8, Type::TEXT],
        "Describe gives the parameters' types"
    );
    ensure!(
        select.columns()[0].type_() == &Type::TEXT,
        "Describe gives the columns' types"
    );
    for id in 0..ROWS {
        let count = client
            .execute(&insert, &[&id, &format!("user {id}")])
            .await?;
        ensure!(count == 1, "{count} rows inserted");
    }
    for id in 0..ROWS {
        let name: String = client.query_one(&select, &[&id]).await?.get(0);
        ensure!(name == format!("user {id}"), "row {id} reads {name}");
    }
    Ok(())
}

async fn binary_parameters(client: &Client) -> anyhow::Result<()> {
    let row = client
        .query_one(
            "SELECT $1::int2, $2::int4, $3::int8, $4::float8, $5::bytea, $6::text, $7::bool, $8::int8[], $9::text",
            &[&1i16, &2i32, &(1i64 << 40), &1.5f64, &&b"\0\xff"[..], &"žluť", &true, &vec![1i64, 2], &None::<&str>],
        )
        .await?;
    ensure!(
        (
            row.get::<_, i16>(0),
            row.get::<_, i32>(1),
            row.get::<_, i64>(2)
        ) == (1, 2, 1 << 40)
    );
    ensure!(row.get::<_, f64>(3) == 1.5 && row.get::<_, &[u8]>(4) == b"\0\xff");
    ensure!(row.get::<_, &str>(5) == "žluť" && row.get::<_, bool>(6));
    ensure!(row.get::<_, Vec<i64>>(7) == [1, 2] && row.get::<_, Option<&str>>(8).is_none());
    // The key as int4 and int2 finds the same row as int8 does.
    let text = format!("SELECT name FROM {TABLE} WHERE id = ");
    let short: String = client
        .query_one(&format!("{text}$1::int2"), &[&42i16])
        .await?
        .get(0);
    let middle: String = client
        .query_one(&format!("{text}$1::int4"), &[&42i32])
        .await?
        .get(0);
    ensure!(
        short == "user 42" && middle == "user 42",
        "keys of other widths read {short}, {middle}"
    );
    Ok(())
}

async fn key_lists(client: &Client) -> anyhow::Result<()> {
    let text = format!("SELECT id FROM {TABLE} WHERE id = ANY($1) ORDER BY id");
    let rows = client.query(&text, &[&vec![1i64, 50, 99]]).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(ids == [1, 50, 99], "= ANY reads {ids:?}");
    Ok(())
}

async fn all_rows(client: &Client) -> anyhow::Result<()> {
    let count: i64 = client
        .query_one(&format!("SELECT count(*) FROM {TABLE}"), &[])
        .await?
        .get(0);
    ensure!(count == ROWS, "{count} rows are counted");
    let text = format!("SELECT id FROM {TABLE} ORDER BY id DESC LIMIT $1");
    let rows = client.query(&text, &[&3i64]).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(ids == [99, 98, 97], "ORDER BY and LIMIT read {ids:?}");
    Ok(())
}

/// Requests made at once are sent without waiting for answers.
async fn pipeline(client: &Client) -> anyhow::Result<()> {
    let select = client
        .prepare(&format!("SELECT name FROM {TABLE} WHERE id = $1"))
        .await?;
    let names = try_join_all((0..ROWS).map(|id| {
        let select = &select;
        async move { Ok::<String, Error>(client.query_one(select, &[&id]).await?.get(0)) }
    }))
    .await?;
    let right = names
        .iter()
        .enumerate()
        .all(|(id, name)| *name == format!("user {id}"));
    ensure!(right, "a pipeline keeps its order");
    Ok(())
}

async fn several_statements(client: &Client) -> anyhow::Result<()> {
    let text =
        format!("SELECT name FROM {TABLE} WHERE id = 1; SELECT name FROM {TABLE} WHERE id = 2");
    let messages = client.simple_query(&text).await?;
    let names: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    ensure!(
        names == ["user 1", "user 2"],
        "two statements in one string read {names:?}"
    );
    Ok(())
}

async fn transaction(client: &mut Client) -> anyhow::Result<()> {
    let update = format!("UPDATE {TABLE} SET name = $2 WHERE id = $1");
    let transaction = client.transaction().await?;
    transaction.execute(&update, &[&1i64, &"changed"]).await?;
    transaction.execute(&update, &[&2i64, &"changed"]).await?;
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    transaction
        .execute(&format!("DELETE FROM {TABLE} WHERE id = $1"), &[&3i64])
        .await?;
    transaction.rollback().await?;
    let rows = client
        .query(
            &format!("SELECT id FROM {TABLE} WHERE name = 'changed' OR id = 3"),
            &[],
        )
        .await?;
    ensure!(
        rows.len() == 3,
        "a commit keeps and a rollback restores: {} rows",
        rows.len()
    );
    Ok(())
}

async fn portal(client: &mut Client) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    let text = format!("SELECT id FROM {TABLE} WHERE id = ANY($1)");
    let portal = transaction.bind(&text, &[&vec![10i64, 11, 12]]).await?;
    let first = transaction.query_portal(&portal, 2).await?.len();
    let second = transaction.query_portal(&portal, 2).await?.len();
    transaction.commit().await?;
    ensure!(
        (first, second) == (2, 1),
        "a portal fetched in parts gives {first} and {second} rows"
    );
    Ok(())
}

async fn errors(client: &mut Client) -> anyhow::Result<()> {
    let insert = format!("INSERT INTO {TABLE} (id, name) VALUES ($1, 'again')");
    expect(
        client.execute(&insert, &[&5i64]).await,
        &SqlState::UNIQUE_VIOLATION,
    )?;
    let unknown = format!("SELECT nothing FROM {TABLE} WHERE id = 1");
    expect(
        client.query(&unknown, &[]).await,
        &SqlState::UNDEFINED_COLUMN,
    )?;
    let mut transaction = client.transaction().await?;
    let savepoint = transaction.savepoint("before").await?;
    expect(
        savepoint.execute(&insert, &[&5i64]).await,
        &SqlState::UNIQUE_VIOLATION,
    )?;
    expect(
        savepoint.query("SELECT 1", &[]).await,
        &SqlState::IN_FAILED_SQL_TRANSACTION,
    )?;
    savepoint.rollback().await?;
    transaction.query_one("SELECT 1", &[]).await?;
    transaction.commit().await?;
    Ok(())
}

fn expect<T>(result: Result<T, Error>, state: &SqlState) -> anyhow::Result<()> {
    let error = result
        .err()
        .with_context(|| format!("{} was expected", state.code()))?;
    ensure!(
        error.code() == Some(state),
        "{} was expected, not {error:?}",
        state.code()
    );
    Ok(())
}

async fn copy_text(client: &Client) -> anyhow::Result<()> {
    let mut sink = pin!(
        client
            .copy_in(&format!("COPY {TABLE} (id, name) FROM STDIN"))
            .await?
    );
    for id in 1000..1500 {
        sink.send(bytes::Bytes::from(format!("{id}\tcopied {id}\n")))
            .await?;
    }
    let count = sink.finish().await?;
    ensure!(count == 500, "COPY FROM took {count} rows");
    let stream = client.copy_out(&format!("COPY {TABLE} TO STDOUT")).await?;
    let chunks: Vec<bytes::Bytes> = stream.try_collect().await?;
    let lines = chunks
        .concat()
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count();
    ensure!(lines == ROWS as usize + 500, "COPY TO gives {lines} rows");
    Ok(())
}

async fn copy_binary(client: &Client) -> anyhow::Result<()> {
    let sink = client
        .copy_in(&format!(
            "COPY {TABLE} (id, name) FROM STDIN (FORMAT binary)"
        ))
        .await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT8, Type::TEXT]));
    for id in 2000i64..2500 {
        writer.as_mut().write(&[&id, &None::<&str>]).await?;
    }
    let count = writer.finish().await?;
    ensure!(count == 500, "binary COPY FROM took {count} rows");
    let stream = client
        .copy_out(&format!("COPY {TABLE} TO STDOUT (FORMAT binary)"))
        .await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &[Type::INT8, Type::TEXT])
        .try_collect()
        .await?;
    let sum: i64 = rows.iter().map(|row| row.get::<i64>(0)).sum();
    let expected = (0..ROWS).chain(1000..1500).chain(2000..2500).sum::<i64>();
    ensure!(
        sum == expected,
        "binary COPY TO gives {} rows, keys adding up to {sum}",
        rows.len()
    );
    Ok(())
}

async fn cancel(client: &Client) -> anyhow::Result<()> {
    let token = client.cancel_token();
    let sleeping = client.batch_execute("SELECT pg_sleep(60)");
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    };
    let (slept, cancelled) = tokio::join!(sleeping, cancelling);
    cancelled?;
    expect(slept, &SqlState::QUERY_CANCELED)?;
    client.query_one("SELECT 1", &[]).await?;
    Ok(())
}
