//! What the session carries out itself: transaction control, settings, prepared statements, cursors, LISTEN.

use std::rc::Rc;

use crate::plan::{Isolation, Plan};

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
