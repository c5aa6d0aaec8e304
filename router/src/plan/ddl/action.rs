//! What is to be run, and where, for a statement that changes objects.

use crate::plan::SequenceName;

#[derive(Debug, Default)]
pub struct Ddl {
    /// Text to run on every shard; differs from the client's e.g. where a constraint that no shard
    /// can hold is left out.
    pub text: String,
    /// Text for the shards other than home, where it differs: `CREATE TABLE .. AS` makes the rows at
    /// home only, `TRUNCATE .. RESTART IDENTITY` must not wake a fenced sequence. Empty: nothing is
    /// run there.
    pub text_other_shards: Option<String>,
    /// A clear-text password inside `text`, to be replaced by one verifier, equal on all shards.
    pub password: Option<PasswordHole>,
    /// Runs outside a transaction block, shard by shard (CREATE DATABASE, VACUUM, CREATE INDEX
    /// CONCURRENTLY, ...).
    pub outside_transaction: bool,
    /// What one shard can run in a transaction to the same effect, where `text` cannot run in one.
    pub again: Option<String>,
    /// When one shard fails: run, outside a transaction, on the shards where `text` has succeeded (and
    /// only there: what failed elsewhere may have failed because the object had been there before).
    pub undo: Option<String>,
    /// The same for the shards where `text` has failed and may have left something half made.
    pub undo_failed: Option<String>,
    /// CREATE INDEX CONCURRENTLY under a name: goes on where one of before was broken off.
    pub index: Option<Box<ConcurrentIndex>>,
    /// CREATE INDEX CONCURRENTLY: schema and name of the table, whose indexes are built one after another.
    pub locks_indexes: Option<(String, String)>,
    /// Outside a transaction: the home shard comes last, so that the client's own text can be run
    /// again after a failure on another shard.
    pub home_last: bool,
    /// The catalog snapshot must be read anew afterwards (false for VACUUM, ANALYZE, ...).
    pub changes_catalog: bool,
    /// Statements on oskol's own catalog that go with it, run on the home shard in the same
    /// transaction (e.g. declaring a table that a rule names).
    pub home_also: Vec<String>,
    /// Statements to run on every shard after `text`, in the same transaction.
    pub every_shard_also: Vec<String>,
    /// `every_shard_also` notes entries of unique keys, to be entered at the end.
    pub changes_entries: bool,
    /// CREATE UNIQUE INDEX CONCURRENTLY of a key that holds over all shards.
    pub filled_later: Option<FilledLater>,
    /// DROP INDEX CONCURRENTLY: what it names, any of which may be such a key.
    pub left_first: Vec<String>,
    /// Rows that the statement makes a foreign key over shards look at.
    pub validation: Option<Validation>,
    /// Statements to run, after those, on every shard but home in the same transaction: fencing the
    /// sequences whose truth is the home shard's.
    pub other_shards_also: Vec<String>,
    /// An INSERT to run last, with the catalog as it is then; its number of rows is that of the reply, `SELECT n`.
    pub fill: Option<String>,
    /// Whether the schema history has it.
    pub recorded: Recorded,
    /// CREATE / DROP DATABASE: name.
    pub database: Option<DatabaseChange>,
    /// Leased sequences that the statement sets anew: once it is committed, id blocks that routers
    /// hold of them are void.
    pub reset_sequences: Vec<SequenceName>,
}

/// What `oskol.schema_history` keeps of a statement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: it changes no database's schema.
    #[default]
    No,
    /// Its text.
    Text,
    /// That it was there: its text may hold a password.
    Withheld,
}

/// Names are those of the catalog, not quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrentIndex {
    pub schema: String,
    pub table: String,
    pub name: String,
}

/// A unique key whose entries are made while its table is written to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilledLater {
    /// Schema and name.
    pub table: (String, String),
    /// The shard key.
    pub key: String,
    /// `None`: PostgreSQL chooses its name.
    pub index: Option<String>,
}

/// Foreign keys of one table whose rows are to be looked at: PostgreSQL would do it on each shard for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validation {
    /// Schema and name.
    pub table: (String, String),
    /// Those that the statement adds, but for those in `left`, which are NOT VALID.
    pub added: bool,
    pub left: Vec<String>,
    /// VALIDATE CONSTRAINT.
    pub named: Vec<String>,
}

/// Where a clear-text password stands in [`Ddl::text`].
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHole {
    /// Byte range of the string literal, quotes included; the executor puts a quoted SCRAM verifier
    /// in its place.
    pub start: usize,
    pub end: usize,
    pub password: String,
}

impl std::fmt::Debug for PasswordHole {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PasswordHole({}..{})", self.start, self.end)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseChange {
    /// `template`, where it is named: connections to it must be closed first.
    Create {
        name: String,
        template: Option<String>,
    },
    /// Connections to it must be closed first, as for `Rename`.
    Drop(String),
    /// Connections to it must be closed first.
    Rename { from: String, to: String },
}
