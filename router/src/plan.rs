//! Statement to plan. A [`Plan`] holds no parameter values and no topology: it is cached by
//! statement text (and search path and catalog epoch). Pure: no tokio, no clock.

pub mod by_entry;
pub mod cluster_command;
pub mod copy;
pub mod ddl;
pub mod edits;
mod entries;
pub mod explain;
pub mod facts;
mod finish;
pub mod functions;
pub mod gather;
pub mod insert;
pub mod insert_rows;
mod isolation;
pub mod key;
mod leftover;
pub mod mirror;
pub mod names;
pub mod pins;
pub mod place;
pub mod scatter;
pub mod scope;
pub mod select;
pub mod sequence;
pub mod session_command;
mod single_shard;
pub mod sizes;
pub mod survey;
pub mod tokens;
pub mod unsupported;
pub mod upsert;
pub mod views;
pub mod volatile;
pub mod write;

use std::rc::Rc;
use std::sync::Arc;

use pg_query::NodeEnum;
use schema::{KeyType, Snapshot};

use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::Statement;
pub use isolation::Isolation;
pub use key::KeyExpr;

/// What planning may look at besides the statement.
pub struct PlanContext<'a> {
    pub snapshot: &'a Snapshot,
    /// Effective search path: user-visible schemas in order (`$user` expanded, missing ones left out).
    pub search_path: &'a [String],
    /// Names (unqualified) of temporary relations of this session: they live on the home shard.
    pub temporary: &'a dyn Fn(&str) -> bool,
    /// Rules from the configuration for tables yet to be created.
    pub rules: &'a [schema::TableRule],
    /// Number of shards is *not* known here on purpose; a plan must hold for any number.
    pub database: &'a str,
}

/// One statement's plan.
#[derive(Debug)]
pub struct Plan {
    pub action: Action,
    pub effect: Effect,
    /// NOTICEs to send before the reply, e.g. "constraint accepted but not enforced".
    pub notices: Vec<RouterError>,
    /// The plan may be reused for every statement of the same [`crate::parse::shape::Shape`]:
    /// literals matter to it only through [`KeyExpr::Literal`]. Only `AnyShard`, `Home` and `ByKey`
    /// (with no `rewrite`) ever are.
    pub by_shape: bool,
    /// Why this plan and not a cheaper one; shown by EXPLAIN. E.g. `users.id = $1`.
    pub reason: String,
}

/// What a statement does to the server connection it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// May write (so its branch counts in two-phase commit): everything but plain SELECT, SHOW, ...
    /// A SELECT that calls a user's volatile function counts as a write.
    pub writes: bool,
    /// SELECT ... FOR UPDATE and its like: several shards are asked one after another, in ascending
    /// order. A branch that only locks has nothing to commit.
    pub locks: bool,
    /// Needs one server session for good (LISTEN, temporary tables, session advisory locks, WITH
    /// HOLD cursors): pins the home shard's connection to the client.
    pub pins: bool,
    /// Reads what this session last took from a local sequence (`currval`, `lastval`): only a server
    /// connection of the client's own knows that.
    pub reads_session_sequences: bool,
    /// After it PREPARE TRANSACTION is impossible on its branch (NOTIFY, temporary objects, ...),
    /// so that branch must be the lead.
    pub unpreparable: bool,
    /// Returns rows (the client gets RowDescription).
    pub returns_rows: bool,
    /// May not run inside a transaction block (VACUUM, CREATE DATABASE, ...).
    pub outside_transaction: bool,
    /// Runs users' code that may leave something behind in the session (`set_config` in a function, ...): its
    /// connections are wiped before another client gets them.
    pub leaves_state: bool,
    /// COPY FROM of rows with values of unique keys that are kept by entries: to be entered at its end.
    pub changes_entries: bool,
}

#[derive(Debug)]
pub enum Action {
    /// Answered or recorded by the session.
    Session(SessionCommand),
    /// No table, or reference tables only: the shard already in the transaction, else round robin.
    AnyShard,
    /// Local tables, catalogs, user functions: the home shard.
    Home,
    /// Makes or removes temporary relations: the client's text on the (pinned) home shard, after
    /// which the session knows these names as its own. The session takes a change back when the
    /// transaction or savepoint it was made in is rolled back.
    Temporary(TemporaryChange),
    /// Every sharded table is pinned to one key.
    ByKey(ByKey),
    /// Rows or keys divided by bucket.
    Split(Split),
    /// All shards (or those of `keys`), results merged exactly.
    Scatter(Scatter),
    /// Rows are pulled from the shards first, and the statement is finished over them.
    Gather(Box<gather::Gather>),
    /// INSERT whose rows may be in conflict with rows of other shards.
    Upsert(Box<upsert::Upsert>),
    /// INSERT of the rows of a query that is run first.
    InsertRows(Box<insert_rows::InsertRows>),
    /// Same statement on all shards in one global transaction; the reply (tag, rows) is the home
    /// shard's. Writes to reference tables.
    Broadcast(Broadcast),
    /// DDL and other utility statements that change all shards alike.
    Ddl(Ddl),
    /// COPY ... FROM STDIN / TO STDOUT.
    Copy(Copy),
    /// `SELECT oskol.shard_table(...)` and its like.
    Cluster(ClusterCommand),
    /// `EXPLAIN [(options)] inner`.
    Explain(Box<Explain>),
    /// A statement that may change values of unique keys which are kept by entries: what the shards have
    /// noted of it is entered before the client is told.
    WithEntries(Rc<Plan>),
    /// Refused before anything is sent.
    Refuse(RouterError),
}

#[derive(Debug)]
pub struct ByKey {
    pub key: KeyExpr,
    pub key_type: KeyType,
    /// What to do when the key cannot be computed exactly from the parameters (wrong type, overflow,
    /// a NULL is not "unknown": it goes to any one shard, where PostgreSQL finds nothing).
    pub fallback: Fallback,
    /// For INSERT: ids to fill in; the text sent differs from the client's.
    pub rewrite: Option<Rewrite>,
}

/// Where a statement goes when its key is not known.
#[derive(Debug)]
pub enum Fallback {
    Refuse(RouterError),
    Scatter(Box<Scatter>),
}

/// A statement text with holes that are filled at execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub pieces: Vec<Piece>,
    /// Highest `$n` of the client's own text; appended parameters start above it.
    pub client_parameters: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// The next id of a sequence. In a simple statement printed as a decimal literal; in a prepared
    /// one the n-th such piece becomes parameter `$client_parameters + n`, of type int8.
    NextId(SequenceName),
    /// `currval`/`lastval`, answered from the session.
    CurrentId(Option<SequenceName>),
    /// The client's `$n` (1-based) in a row or tail of a split INSERT. PostgreSQL must be able to
    /// infer a type for every parameter of a text, and each shard's text uses only some of the
    /// client's: so the text of each shard numbers its own parameters from 1, in order of first use,
    /// and is bound with just those values. In a [`Rewrite`] of a whole statement never used.
    Parameter(u16),
}

/// Names of this session's temporary relations that a statement makes or removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemporaryChange {
    pub created: Vec<String>,
    pub dropped: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceName {
    pub schema: String,
    pub name: String,
}

#[derive(Debug)]
pub enum Split {
    /// `INSERT ... VALUES (..), (..)`: each row to its shard; `RETURNING` rows back in VALUES order.
    Insert(SplitInsert),
    /// `INSERT ... SELECT * FROM UNNEST(array, ...)`: each array cut to the rows of each shard.
    Unnest(SplitUnnest),
    /// `key IN (...)` / `key = ANY(...)`: the statement goes, unchanged, to the shards that hold any
    /// of the keys (each shard has only its own rows), results merged.
    Keys {
        keys: Vec<KeyExpr>,
        key_type: KeyType,
        scatter: Scatter,
    },
    /// `key = ANY($n)`: keys from an array parameter or literal.
    KeyArray {
        array: KeyExpr,
        key_type: KeyType,
        scatter: Scatter,
    },
}

#[derive(Debug)]
pub struct SplitInsert {
    /// Text before the first row, e.g. `INSERT INTO t (a, b) VALUES `.
    pub head: Vec<Piece>,
    /// One entry a row: its text, e.g. `($1, 2, <next id>)`, and its key.
    pub rows: Vec<SplitRow>,
    /// Text after the last row, e.g. ` ON CONFLICT ... RETURNING id`.
    pub tail: Vec<Piece>,
    pub key_type: KeyType,
    pub client_parameters: u16,
    /// Rows come back (RETURNING) and must be in VALUES order. With ON CONFLICT DO NOTHING fewer
    /// rows than sent may come back; each shard's own order holds then.
    pub returning: bool,
    pub may_skip_rows: bool,
}

/// An INSERT whose rows stand in arrays, one for each column. The text is that of every `arrays` in turn (what
/// stands before the array, then the array), `after_arrays`, an array of ids for each of `append_ids`, `tail`.
#[derive(Debug)]
pub struct SplitUnnest {
    pub arrays: Vec<(Vec<Piece>, ArraySource)>,
    /// Casts of the last array.
    pub after_arrays: Vec<Piece>,
    pub append_ids: Vec<SequenceName>,
    /// From the parenthesis that closes UNNEST.
    pub tail: Vec<Piece>,
    pub key: UnnestKey,
    pub key_type: KeyType,
    pub client_parameters: u16,
    /// As in [`SplitInsert`].
    pub returning: bool,
    pub may_skip_rows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArraySource {
    /// The value of a string literal.
    Literal(String),
    /// `$n`, used nowhere else.
    Parameter(u16),
}

/// Where the rows' keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnnestKey {
    /// In the array of this position (0-based), whose elements are read as this type (oid) unless
    /// its parameter has a declared type.
    Array { position: usize, element: u32 },
    /// The n-th of `append_ids`.
    GeneratedId(usize),
}

#[derive(Debug)]
pub struct SplitRow {
    pub text: Vec<Piece>,
    pub key: KeyExpr,
}

#[derive(Debug, Clone)]
pub struct Scatter {
    /// Text to send to each shard where it differs from the client's (LIMIT+OFFSET folded, hidden
    /// sort columns added). `None`: the client's own.
    pub text: Option<String>,
    pub merge: Merge,
    /// Every key that could restrict the shards was absent: why it scatters, for EXPLAIN.
    pub why: String,
    /// The entry of a unique key tells which shard has the one row that all others hang on: asked first.
    pub entry: Option<by_entry::EntryRoute>,
}

#[derive(Debug)]
pub struct Broadcast {
    pub rewrite: Option<Rewrite>,
    /// The statement could do something else on every shard: it runs on one, and the others get its rows.
    pub mirror: Option<mirror::Mirror>,
}

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
    /// When one shard fails: run, outside a transaction, on the shards where `text` has succeeded (and
    /// only there: what failed elsewhere may have failed because the object had been there before).
    pub undo: Option<String>,
    /// The same for the shards where `text` has failed and may have left something half made.
    pub undo_failed: Option<String>,
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
    /// Rows that the statement makes a foreign key over shards look at.
    pub validation: Option<Validation>,
    /// Statements to run, after those, on every shard but home in the same transaction: fencing the
    /// sequences whose truth is the home shard's.
    pub other_shards_also: Vec<String>,
    /// An INSERT to run last, with the catalog as it is then; its number of rows is that of the reply, `SELECT n`.
    pub fill: Option<String>,
    /// CREATE / DROP DATABASE: name.
    pub database: Option<DatabaseChange>,
    /// Leased sequences that the statement sets anew: once it is committed, id blocks that routers
    /// hold of them are void.
    pub reset_sequences: Vec<SequenceName>,
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
    pub query: std::rc::Rc<Plan>,
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

/// Transaction control, settings, SQL-level prepared statements, cursors, LISTEN.
#[derive(Debug)]
pub enum SessionCommand {
    /// `BEGIN` / `START TRANSACTION`; `modes` is the text after it, e.g. `ISOLATION LEVEL SERIALIZABLE`.
    Begin {
        modes: String,
        /// `None`: the session's default.
        isolation: Option<Isolation>,
        start_transaction: bool,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackToSavepoint(String),
    /// `PREPARE TRANSACTION` and its like from a client: refused elsewhere.
    /// `SET [SESSION|LOCAL] name = ...`, also `SET TIME ZONE`, `SET NAMES`, `SET ROLE`,
    /// `SET SESSION AUTHORIZATION`, and top-level `SELECT set_config(...)` (then `returns_rows`).
    /// `name` is in lower case; `text` is the whole statement.
    Set {
        name: String,
        local: bool,
        text: String,
    },
    /// `SELECT set_config('name', $n, local)`: as `Set`, with the parameter's value bound to it.
    /// `column` is the name of the output column.
    SetFromParameter {
        name: String,
        local: bool,
        parameter: u16,
        column: String,
    },
    /// `RESET name`.
    Reset {
        name: String,
    },
    ResetAll,
    /// `SET TRANSACTION ...` (this transaction only) / `SET SESSION CHARACTERISTICS AS TRANSACTION`.
    SetTransaction {
        text: String,
        /// `None`: the statement is not about it.
        isolation: Option<Isolation>,
        session: bool,
    },
    /// `SET CONSTRAINTS`: on every shard of the transaction, and replayed on those that join later.
    SetConstraints {
        text: String,
    },
    DiscardAll,
    /// DISCARD PLANS | SEQUENCES | TEMP
    Discard(DiscardTarget),
    Prepare {
        name: String,
        argument_types: Vec<String>,
        text: String,
    },
    /// `arguments`: the text between the parentheses of each argument.
    Execute {
        name: String,
        arguments: Vec<String>,
    },
    /// `None`: ALL.
    Deallocate(Option<String>),
    DeclareCursor(Box<DeclareCursor>),
    /// FETCH or MOVE, carried out where the cursor is.
    Fetch {
        cursor: String,
        step: FetchStep,
        is_move: bool,
        text: String,
    },
    /// UPDATE or DELETE ... WHERE CURRENT OF a cursor over a sharded table: where the cursor is.
    AtCursor {
        cursor: String,
    },
    /// `None`: ALL.
    CloseCursor(Option<String>),
    Listen(String),
    Unlisten(Option<String>),
    /// LOCK TABLE: on all shards of those tables inside the transaction, in shard order.
    LockTable {
        text: String,
    },
    /// SHOW name: any joined shard, else any; but values set in this session are applied first.
    Show {
        name: String,
    },
}

impl SessionCommand {
    /// BEGIN, COMMIT, ROLLBACK and savepoints: no transaction is opened around them.
    pub fn is_transaction_control(&self) -> bool {
        matches!(
            self,
            Self::Begin { .. }
                | Self::Commit { .. }
                | Self::Rollback { .. }
                | Self::Savepoint(_)
                | Self::ReleaseSavepoint(_)
                | Self::RollbackToSavepoint(_)
        )
    }

    /// It changes what lasts beyond the transaction, once that commits.
    pub fn changes_settings(&self) -> bool {
        matches!(
            self,
            Self::Set { local: false, .. }
                | Self::SetFromParameter { local: false, .. }
                | Self::Reset { .. }
                | Self::ResetAll
        )
    }
}

/// `DECLARE name [BINARY] [[NO] SCROLL] CURSOR [WITH HOLD] FOR query`.
#[derive(Debug)]
pub struct DeclareCursor {
    pub name: String,
    pub hold: bool,
    pub binary: bool,
    pub no_scroll: bool,
    /// Of the query.
    pub plan: Rc<Plan>,
    /// The query's own text, with the parameters of the whole.
    pub query: String,
    /// The whole statement.
    pub text: String,
}

/// How far FETCH and MOVE go, as PostgreSQL's grammar reads it: `NEXT` is one forward, `LAST` is the
/// absolute -1, `ALL` is the greatest count there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchStep {
    pub direction: FetchDirection,
    pub count: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDirection {
    Forward,
    Backward,
    Absolute,
    Relative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscardTarget {
    Plans,
    Sequences,
    Temporary,
}

/// Functions of schema `oskol` that the router itself carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterCommand {
    ShardTable {
        schema: Option<String>,
        table: String,
        key: String,
        accept_unenforced: bool,
        /// Statements for every shard that drop the foreign keys no shard can keep.
        drops: Vec<String>,
    },
    ReferenceTable {
        schema: Option<String>,
        table: String,
        drops: Vec<String>,
    },
    LocalTable {
        schema: Option<String>,
        table: String,
        drops: Vec<String>,
    },
    /// `SELECT nextval('s')`, `currval`, `lastval`, `setval` of a sequence that the router leases,
    /// as the whole statement. `column` is the name of the output column.
    NextValue {
        sequence: SequenceName,
        column: String,
    },
    CurrentValue {
        sequence: Option<SequenceName>,
        column: String,
    },
    SetValue {
        sequence: SequenceName,
        value: i64,
        is_called: bool,
        column: String,
    },
    /// `SELECT setval(s, coalesce(max(c), 1), max(c) IS NOT NULL) FROM t` (Django's sequence reset): the
    /// value is the greatest `c` over all shards, called; or 1, not called, when `t` is empty.
    SetValueFromMax {
        sequence: SequenceName,
        table: SequenceName,
        max_of: String,
        column: String,
    },
}

#[derive(Debug)]
pub struct Explain {
    /// The statement without EXPLAIN.
    pub inner: Plan,
    /// Whole text, for the shards.
    pub text: String,
    /// What of it stands before the statement: EXPLAIN and its options.
    pub head: String,
    pub analyze: bool,
    /// `FORMAT`: text, json, yaml, xml.
    pub format: String,
    /// What would let the statement run on one shard, where it needs several: `posts.author_id = ...`.
    pub single_shard: Option<String>,
}

/// Plans one statement. Never fails: what cannot be done is [`Action::Refuse`].
pub fn plan(statement: &Statement, context: &PlanContext<'_>) -> Plan {
    let plan = entries::around(plan_alone(statement, context), statement, context);
    leftover::mark(plan, statement, context)
}

/// As [`plan`], of a statement that is part of another.
pub(crate) fn plan_alone(statement: &Statement, context: &PlanContext<'_>) -> Plan {
    plan_node(statement, &statement.node, context).finish(&statement.text)
}

/// Plans `node`, which is `statement`'s own node or one inside it (what EXPLAIN explains).
pub(crate) fn plan_node(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    match views::expand(statement, node, context) {
        Ok(None) => plan_expanded(statement, node, context),
        Ok(Some(expanded)) => through_views(statement, &expanded, context),
        Err(refusal) => Plan::refused(refusal),
    }
}

/// The client's own text where that can be: then PostgreSQL reads the views, with their owners' rights. Else the text
/// with the views' queries in it.
fn through_views(
    statement: &Statement,
    expanded: &views::Expanded,
    context: &PlanContext<'_>,
) -> Plan {
    let own = plan_expanded(statement, &expanded.node, context);
    if let Some(view) = expanded.target() {
        let is_refused = matches!(own.action, Action::Refuse(_));
        return if is_refused || views::sends_own_text(&own.action) {
            own
        } else {
            Plan::refused(unsupported::view_write(view))
        };
    }
    match own.action {
        Action::Refuse(_) => {}
        Action::Gather(_) => return expanded.checked(own, context),
        _ => return own,
    }
    let Ok(written_out) = expanded.written_out() else {
        return own;
    };
    let plan = plan_expanded(&written_out, &written_out.node, context);
    match plan.action {
        Action::Refuse(_) => own,
        _ => expanded.checked(plan, context),
    }
}

/// As [`plan_node`]; `node` reads no view over sharded tables.
fn plan_expanded(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    match node {
        NodeEnum::SelectStmt(select) if select.into_clause.is_some() => {
            ddl::plan(statement, node, context)
        }
        NodeEnum::SelectStmt(select) => cluster_command::plan(statement, select, context)
            .or_else(|| sizes::plan(select, context))
            .unwrap_or_else(|| select::plan(statement, select, context)),
        NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => {
            write::plan(statement, node, context)
        }
        NodeEnum::ExplainStmt(explain) => explain::plan_explain(statement, explain, context),
        NodeEnum::InsertStmt(insert) => insert::plan(statement, insert, context),
        NodeEnum::CopyStmt(copy) => copy::plan(statement, copy, context),
        NodeEnum::TransactionStmt(_)
        | NodeEnum::VariableSetStmt(_)
        | NodeEnum::VariableShowStmt(_)
        | NodeEnum::PrepareStmt(_)
        | NodeEnum::ExecuteStmt(_)
        | NodeEnum::DeallocateStmt(_)
        | NodeEnum::DiscardStmt(_)
        | NodeEnum::DeclareCursorStmt(_)
        | NodeEnum::FetchStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ListenStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::NotifyStmt(_)
        | NodeEnum::ConstraintsSetStmt(_)
        | NodeEnum::LockStmt(_) => session_command::plan(statement, node, context),
        _ => ddl::plan(statement, node, context),
    }
}

impl Plan {
    /// A plan with no notice, not shared by shape.
    pub fn new(action: Action, effect: Effect, reason: impl Into<String>) -> Self {
        Self {
            action,
            effect,
            notices: Vec::new(),
            by_shape: false,
            reason: reason.into(),
        }
    }

    /// A plan that only tells the client why not.
    pub fn refused(error: RouterError) -> Self {
        Self::new(Action::Refuse(error), Effect::default(), "")
    }
}

/// Plans are shared inside one worker and between sessions.
pub type SharedPlan = Arc<Plan>;
