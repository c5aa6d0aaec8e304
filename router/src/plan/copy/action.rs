//! What COPY is to do.

use std::rc::Rc;

use schema::KeyType;

use crate::plan::{Plan, SequenceName};

#[derive(Debug)]
pub enum Copy {
    /// COPY FROM STDIN into a sharded table.
    FromDivided(CopyFrom),
    /// COPY FROM STDIN into a reference table: all shards get every row.
    FromBroadcast(CopyFrom),
    /// COPY TO STDOUT of a sharded table (or `COPY (select that scatters by concatenation)`): all
    /// shards' output one after another, headers and binary signatures once.
    ToConcatenated(CopyTo),
    /// `COPY (query) TO STDOUT` of any other query: its rows are kept, and written as COPY writes them.
    ToWritten(Box<CopyQuery>),
}

#[derive(Debug)]
pub struct CopyFrom {
    pub options: CopyOptions,
    /// The columns named (or all), as indexes into the relation's columns.
    pub columns: Vec<usize>,
    /// Position of the shard key among `columns`, and after them `append_ids`: at `columns.len() + n` the
    /// key is the n-th appended id.
    pub key_field: usize,
    pub key_type: KeyType,
    /// Columns appended for ids the input lacks; the text to send names them.
    pub append_ids: Vec<AppendedId>,
    /// Text to send to each shard (`COPY t (cols, id) FROM STDIN WITH (...)`).
    pub text: String,
    /// Of a local table: the home shard alone gets the rows.
    pub home: bool,
}

/// A column that the router adds to COPY data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedId {
    pub sequence: SequenceName,
    pub column: String,
    /// Bytes of its binary form: 2, 4 or 8.
    pub width: u8,
}

#[derive(Debug)]
pub struct CopyTo {
    pub options: CopyOptions,
    pub text: String,
}

/// `COPY (query) TO STDOUT`.
#[derive(Debug)]
pub struct CopyQuery {
    /// Of `query_text`.
    pub query: Rc<Plan>,
    pub query_text: String,
    /// The COPY of no rows of the query: PostgreSQL checks the options and writes the header.
    pub empty_text: String,
    pub options: CopyOptions,
    pub force_quote: ForceQuote,
}

/// Columns whose values are always quoted (CSV).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceQuote {
    All,
    Columns(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub header: bool,
    /// `HEADER MATCH`
    pub header_match: bool,
    pub quote: u8,
    pub escape: u8,
    /// FORCE_NULL, FORCE_NOT_NULL and ENCODING make the key's reading inexact: refused by the
    /// planner unless they do not concern the key.
    pub encoding: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}
