//! Statement to plan. A [`Plan`] holds no parameter values and no topology: it is cached by
//! statement text (and search path and catalog epoch). Pure: no tokio, no clock.

pub mod by_entry;
pub mod by_routing_index;
pub mod cluster_command;
pub mod copy;
pub mod ddl;
pub mod edits;
mod entries;
pub mod explain;
pub mod facts;
mod finish;
pub mod fold;
pub mod functions;
pub mod gather;
pub mod holds;
pub mod insert;
pub mod insert_rows;
mod isolation;
pub mod key;
mod leftover;
pub mod mirror;
pub mod names;
mod on_standby;
pub mod parts;
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
mod triggers;
pub mod unsupported;
pub mod upsert;
pub mod views;
pub mod volatile;
pub mod write;

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use pg_query::NodeEnum;
use schema::{KeyType, Snapshot};

use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::Statement;
pub use cluster_command::action::ClusterCommand;
pub use copy::action::{
    AppendedId, Copy, CopyFormat, CopyFrom, CopyOptions, CopyQuery, CopyTo, ForceQuote,
};
pub use ddl::action::{
    ConcurrentIndex, DatabaseChange, Ddl, FilledLater, PasswordHole, Recorded, Validation,
};
pub use isolation::Isolation;
pub use key::KeyExpr;
pub use session_command::action::{
    DeclareCursor, DiscardTarget, FetchDirection, FetchStep, SessionCommand,
};

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
    /// A parameter's value may mean the clock, such as `now`.
    pub clock_in_parameters: bool,
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
    /// Parameters that choose a shard and are used elsewhere in the statement, too: where their types are not declared
    /// PostgreSQL says what they are.
    pub shared_keys: Vec<u16>,
    /// Why this plan and not a cheaper one; shown by EXPLAIN. E.g. `users.id = $1`.
    pub reason: String,
    /// See [`Plan::may_run_on_standby`].
    on_standby: OnceLock<bool>,
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
    /// WITH queries that write or lock are statements of their own.
    InParts(Box<parts::InParts>),
    /// Same statement on all shards in one global transaction; the reply (tag, rows) is the home
    /// shard's. Writes to reference tables.
    Broadcast(Broadcast),
    /// DDL and other utility statements that change all shards alike.
    Ddl(Box<Ddl>),
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

impl Split {
    /// The shards get another text than the client's.
    pub fn has_text_for_shards(&self) -> bool {
        match self {
            Self::Insert(_) | Self::Unnest(_) => true,
            Self::Keys { scatter, .. } | Self::KeyArray { scatter, .. } => scatter.text.is_some(),
        }
    }
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
    pub routes: EntryRoutes,
}

/// What may tell which shards have the rows.
#[derive(Debug, Clone, Default)]
pub struct EntryRoutes {
    /// The entry of a unique key tells which shard has the one row that all others hang on: asked first.
    pub entry: Option<by_entry::EntryRoute>,
    /// The entries of a unique key tell which shards have the rows: asked first.
    pub listed: Option<by_entry::EntryList>,
    /// The entries of a routing index tell which shards have rows: no other is asked.
    pub routed: Option<by_entry::EntryList>,
}

impl EntryRoutes {
    pub fn any(&self) -> bool {
        self.entry.is_some() || self.listed.is_some() || self.routed.is_some()
    }
}

#[derive(Debug)]
pub struct Broadcast {
    pub rewrite: Option<Rewrite>,
    pub copies: Copies,
}

/// How the shards' copies of a table stay the same.
#[derive(Debug)]
pub enum Copies {
    /// Every shard runs the statement, while nobody else writes.
    Alike(holds::Holds),
    /// It could do something else on every shard: it runs on one, and the others get its rows.
    Mirrored(mirror::Mirror),
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
    let plan = triggers::check(plan_alone(statement, context), statement, context);
    let plan = entries::around(plan, statement, context);
    leftover::mark(plan, statement, context)
}

/// As [`plan`], of a statement that is part of another.
pub(crate) fn plan_alone(statement: &Statement, context: &PlanContext<'_>) -> Plan {
    plan_node(statement, &statement.node, context).finish(&statement.text)
}

/// Plans `node`, which is `statement`'s own node or one inside it (what EXPLAIN explains).
pub(crate) fn plan_node(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    match views::expand(statement, node, context) {
        Ok(None) => {
            let plan = plan_expanded(statement, node, context);
            match plan.action {
                Action::Refuse(_) => parts::plan(node, context).unwrap_or(plan),
                _ => plan,
            }
        }
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
            shared_keys: Vec::new(),
            reason: reason.into(),
            on_standby: OnceLock::new(),
        }
    }

    /// A plan that only tells the client why not.
    pub fn refused(error: RouterError) -> Self {
        Self::new(Action::Refuse(error), Effect::default(), "")
    }
}

/// Plans are shared inside one worker and between sessions.
pub type SharedPlan = Arc<Plan>;
