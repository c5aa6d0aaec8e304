//! What a server says to one statement, in a form that compares.

use futures_util::SinkExt as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::statement::Statement;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done {
        /// Of the command tag.
        affected: u64,
        /// In no order.
        rows: Vec<Vec<Option<String>>>,
    },
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: String,
    pub constraint: Option<String>,
    pub table: Option<String>,
    pub message: String,
    pub detail: Option<String>,
    /// The id of a refusal, among others.
    pub routine: String,
}

impl Outcome {
    pub async fn of(client: &Client, statement: &Statement) -> Outcome {
        let run = Outcome::run(client, statement).await;
        run.unwrap_or_else(|error| Outcome::Failed(Failure::of(&statement.sql, &error)))
    }

    /// Errors as the driver gives them: also of a connection that is lost.
    pub async fn run(
        client: &Client,
        statement: &Statement,
    ) -> Result<Outcome, tokio_postgres::Error> {
        match &statement.copied {
            Some(lines) => copy(client, &statement.sql, lines).await,
            None => query(client, &statement.sql).await,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Done { .. } => None,
        }
    }
}

impl Failure {
    fn of(sql: &str, error: &tokio_postgres::Error) -> Failure {
        let Some(told) = error.as_db_error() else {
            panic!("{sql}: {error}");
        };
        Failure {
            code: told.code().code().to_owned(),
            constraint: told.constraint().map(str::to_owned),
            table: told.table().map(str::to_owned),
            message: told.message().to_owned(),
            detail: told.detail().map(str::to_owned),
            routine: told.routine().unwrap_or_default().to_owned(),
        }
    }

    /// All that two servers must agree on.
    pub fn is_as(&self, other: &Failure) -> bool {
        self.names(other) && self.detail == other.detail && self.message == other.message
    }

    /// The same constraint, maybe of another row.
    pub fn names(&self, other: &Failure) -> bool {
        (&self.code, &self.constraint, &self.table)
            == (&other.code, &other.constraint, &other.table)
    }

    /// The router does not carry out such statements.
    pub fn is_refusal(&self) -> bool {
        self.code == "0A000"
    }
}

async fn query(client: &Client, sql: &str) -> Result<Outcome, tokio_postgres::Error> {
    let (mut affected, mut rows) = (0, Vec::new());
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                rows.push(
                    (0..row.len())
                        .map(|at| row.get(at).map(str::to_owned))
                        .collect(),
                );
            }
            SimpleQueryMessage::CommandComplete(count) => affected = count,
            _ => {}
        }
    }
    rows.sort();
    Ok(Outcome::Done { affected, rows })
}

async fn copy(client: &Client, sql: &str, lines: &str) -> Result<Outcome, tokio_postgres::Error> {
    let sink = client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::copy_from_slice(lines.as_bytes()))
        .await?;
    let affected = sink.finish().await?;
    let rows = Vec::new();
    Ok(Outcome::Done { affected, rows })
}
