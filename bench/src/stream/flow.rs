//! Rows of `bench stream` in and out.

use std::fmt::Write;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_postgres::SimpleQueryMessage;

use crate::endpoint::Endpoint;

const TABLE: &str =
    "CREATE TABLE stream_rows (owner bigint, id bigint, word text, PRIMARY KEY (owner, id))";
/// Bytes of one CopyData message.
const CHUNK: usize = 64 * 1024;
/// Rows of one owner.
const PER_OWNER: u64 = 10;

/// How rows are read.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Simple,
    Extended,
    Sorted,
    CopyTo,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Simple, Self::Extended, Self::Sorted, Self::CopyTo];

    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "SELECT, simple protocol",
            Self::Extended => "SELECT, extended protocol, binary",
            Self::Sorted => "SELECT ... ORDER BY owner, id",
            Self::CopyTo => "COPY TO",
        }
    }

    /// Reads all rows and keeps none; gives their number.
    pub async fn read(self, endpoint: &Endpoint) -> anyhow::Result<(u64, Duration)> {
        let start = Instant::now();
        let select = "SELECT owner, id, word FROM stream_rows";
        let rows = match self {
            Self::Simple => simple(endpoint, select).await?,
            Self::Sorted => simple(endpoint, &format!("{select} ORDER BY owner, id")).await?,
            Self::Extended => extended(endpoint, select).await?,
            Self::CopyTo => copy_out(endpoint).await?,
        };
        Ok((rows, start.elapsed()))
    }
}

async fn simple(endpoint: &Endpoint, sql: &str) -> anyhow::Result<u64> {
    let client = endpoint.connect().await?;
    let mut messages = pin!(client.simple_query_raw(sql).await?);
    let mut rows = 0;
    while let Some(message) = messages.next().await {
        rows += u64::from(matches!(message?, SimpleQueryMessage::Row(_)));
    }
    Ok(rows)
}

async fn extended(endpoint: &Endpoint, sql: &str) -> anyhow::Result<u64> {
    let client = endpoint.connect().await?;
    let mut stream = pin!(client.query_raw(sql, Vec::<i64>::new()).await?);
    let mut rows = 0;
    while let Some(row) = stream.next().await {
        row?;
        rows += 1;
    }
    Ok(rows)
}

async fn copy_out(endpoint: &Endpoint) -> anyhow::Result<u64> {
    let client = endpoint.connect().await?;
    let mut stream = pin!(client.copy_out("COPY stream_rows TO STDOUT").await?);
    let mut rows = 0;
    while let Some(chunk) = stream.next().await {
        rows += chunk?.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(rows)
}

pub async fn make_table(plain: &Endpoint, cluster: &Endpoint) -> anyhow::Result<()> {
    plain.execute(&[TABLE]).await?;
    let divide = "SELECT oskol.shard_table('stream_rows', 'owner')";
    cluster.execute(&[TABLE, divide]).await
}

/// Rows in COPY's text format, in messages of about [`CHUNK`] bytes.
pub fn data(rows: u64) -> Vec<Vec<u8>> {
    chunks(0..rows).collect()
}

fn chunks(rows: std::ops::Range<u64>) -> impl Iterator<Item = Vec<u8>> {
    let mut rows = rows.peekable();
    std::iter::from_fn(move || {
        rows.peek()?;
        let mut chunk = String::with_capacity(CHUNK + 100);
        while chunk.len() < CHUNK
            && let Some(row) = rows.next()
        {
            // Writing to a String cannot fail.
            let _ = writeln!(chunk, "{}\t{row}\tword number {row}", row / PER_OWNER);
        }
        Some(chunk.into_bytes())
    })
}

/// Empties the table and copies the data into it; the time of the COPY alone.
pub async fn copy_in(endpoint: &Endpoint, data: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let client = endpoint.connect().await?;
    client.batch_execute("TRUNCATE stream_rows").await?;
    let start = Instant::now();
    let mut sink = pin!(client.copy_in("COPY stream_rows FROM STDIN").await?);
    for chunk in data {
        sink.send(std::io::Cursor::new(chunk.clone())).await?;
    }
    sink.finish().await?;
    Ok(start.elapsed())
}

pub async fn fill(endpoint: &Endpoint, rows: u64) -> anyhow::Result<()> {
    let client = endpoint.connect().await?;
    client.batch_execute("TRUNCATE stream_rows").await?;
    let mut sink = pin!(client.copy_in("COPY stream_rows FROM STDIN").await?);
    for chunk in chunks(0..rows) {
        sink.send(std::io::Cursor::new(chunk)).await?;
    }
    sink.finish().await?;
    client.batch_execute("VACUUM ANALYZE stream_rows").await?;
    Ok(())
}
