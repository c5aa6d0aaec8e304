//! The cluster and one plain PostgreSQL, asked the same and compared.

use std::collections::HashMap;

use tokio_postgres::Client;
use wire::Format;
use wire::frontend::write;

use crate::answer::{Answer, Column, Outcome};
use crate::{Database, RawClient, connect};

/// Types below this oid have the same oid on every server.
const FIRST_USER_OID: u32 = 16384;

/// How a statement is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    /// Parse, Bind, Describe, Execute, Sync; results in this format.
    Extended(Format),
}

/// One of the two servers.
pub struct Side {
    pub client: RawClient,
    /// Beside the statements, for questions about the catalog.
    pub catalog: Client,
    type_names: HashMap<u32, String>,
}

pub struct Sides {
    pub cluster: Side,
    pub oracle: Side,
}

impl Side {
    async fn connect(url: &str) -> Side {
        Side {
            client: RawClient::connect(url).await,
            catalog: connect(url)
                .await
                .unwrap_or_else(|error| panic!("{url}: {error}")),
            type_names: HashMap::new(),
        }
    }

    /// Asks for one statement (in the simple protocol: or several). Parameters are text.
    pub async fn ask(&mut self, protocol: Protocol, sql: &str, parameters: &[String]) -> Answer {
        let client = &mut self.client;
        match protocol {
            Protocol::Simple => client.query(&with_literals(sql, parameters)),
            Protocol::Extended(format) => {
                let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
                client.extended(sql, &parameters, format).sync()
            }
        };
        Answer::of(client).await
    }

    /// `COPY ... FROM STDIN` with its data.
    pub async fn copy_in(&mut self, sql: &str, data: &[u8]) -> Answer {
        const PIECE: usize = 32 * 1024;
        self.client.query(sql);
        for piece in data.chunks(PIECE) {
            write::copy_data(&mut self.client.out, piece);
        }
        write::copy_done(&mut self.client.out);
        Answer::of(&mut self.client).await
    }

    /// The name of a column's type: a user's type has another oid on every server.
    async fn type_name(&mut self, oid: u32) -> String {
        if oid < FIRST_USER_OID {
            return oid.to_string();
        }
        if !self.type_names.contains_key(&oid) {
            let types = self
                .catalog
                .query("select oid, typname::text from pg_type", &[])
                .await;
            let types = types.unwrap_or_else(|error| panic!("types: {error}"));
            self.type_names = types.iter().map(|row| (row.get(0), row.get(1))).collect();
        }
        self.type_names
            .get(&oid)
            .cloned()
            .unwrap_or_else(|| "not committed".to_owned())
    }

    /// Column names, types and modifiers of all results, in words that both servers share.
    pub async fn columns(&mut self, answer: &Answer) -> Vec<String> {
        let mut all = Vec::new();
        for columns in answer.outcomes.iter().map(|outcome| &outcome.columns) {
            for column in columns.iter().flatten() {
                let Column {
                    name,
                    type_oid,
                    modifier,
                    format,
                } = column;
                let type_name = self.type_name(*type_oid).await;
                all.push(format!("{name}:{type_name}:{modifier}:{format}"));
            }
            all.push("end".to_owned());
        }
        all
    }
}

impl Sides {
    pub async fn connect(database: &Database<'_>) -> Sides {
        Sides {
            cluster: Side::connect(&database.url()).await,
            oracle: Side::connect(&database.oracle_url()).await,
        }
    }

    /// What differs between two answers to the same statement, in a few words; none: they agree. `sorted`: rows in
    /// any order are the same.
    pub async fn difference(
        &mut self,
        cluster: &Answer,
        oracle: &Answer,
        sorted: bool,
    ) -> Option<&'static str> {
        let said = |answer: &Answer| {
            let failure = answer.failure.as_ref()?;
            let (sqlstate, message, detail, hint) = failure.said();
            Some(format!("{sqlstate} {message} {detail:?} {hint:?}"))
        };
        if said(cluster) != said(oracle) {
            return Some("error");
        }
        if cluster.status != oracle.status {
            return Some("transaction status");
        }
        let tags = |answer: &Answer| -> Vec<_> {
            answer
                .outcomes
                .iter()
                .map(|outcome| outcome.tag.clone())
                .collect()
        };
        if tags(cluster) != tags(oracle) {
            return Some("command tag");
        }
        if self.cluster.columns(cluster).await != self.oracle.columns(oracle).await {
            return Some("columns");
        }
        let alike = |(one, other): (&Outcome, &Outcome)| {
            same_rows(one, other, sorted) && one.copied == other.copied
        };
        let pairs = cluster.outcomes.iter().zip(&oracle.outcomes);
        (!pairs.into_iter().all(alike)).then_some("rows")
    }
}

/// Whether both have the same rows; in any order, if so wished.
pub fn same_rows(one: &Outcome, other: &Outcome, in_any_order: bool) -> bool {
    if !in_any_order {
        return one.rows == other.rows;
    }
    let sorted = |outcome: &Outcome| {
        let mut rows = outcome.rows.clone();
        rows.sort();
        rows
    };
    sorted(one) == sorted(other)
}

/// Puts parameters in as literals of no type, as PostgreSQL reads a parameter of no declared type.
fn with_literals(sql: &str, parameters: &[String]) -> String {
    let numbered = parameters.iter().enumerate().rev();
    numbered.fold(sql.to_owned(), |sql, (index, value)| {
        let literal = format!("'{}'", value.replace('\'', "''"));
        sql.replace(&format!("${}", index + 1), &literal)
    })
}
