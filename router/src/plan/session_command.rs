//! Statements that the session answers, records or replays itself: transactions, settings, SQL-level
//! prepared statements, cursors, LISTEN, LOCK TABLE. Takes the parse tree; gives a
//! [`Plan`]. Must never know values of settings or the state of a session.

pub mod action;
mod set_config;

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeclareCursorStmt, DiscardMode, DiscardStmt, ExecuteStmt, FetchDirection as Direction,
    FetchStmt, LockStmt, PrepareStmt, TransactionStmt, TransactionStmtKind, VariableSetKind,
    VariableSetStmt,
};

use super::names;
use super::scope::{self, Found};
use super::tokens::Tokens;
use super::{
    Action, DeclareCursor, DiscardTarget, Effect, FetchDirection, FetchStep, Isolation, Plan,
    PlanContext, SessionCommand,
};
use crate::error::RouterError;
use crate::parse::Statement;
use schema::Placement;
pub use set_config::{set_config, set_config_refusal};

pub fn plan(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    let text = statement.text.as_str();
    match node {
        NodeEnum::TransactionStmt(node) => transaction(node, text),
        NodeEnum::VariableSetStmt(node) => set(node, text),
        NodeEnum::VariableShowStmt(node) => rows(SessionCommand::Show {
            name: node.name.to_ascii_lowercase(),
        }),
        NodeEnum::ConstraintsSetStmt(_) => command(SessionCommand::SetConstraints {
            text: text.to_owned(),
        }),
        NodeEnum::DiscardStmt(node) => discard(node),
        NodeEnum::PrepareStmt(node) => prepare(node, text),
        NodeEnum::ExecuteStmt(node) => execute(node, text),
        NodeEnum::DeallocateStmt(node) => command(SessionCommand::Deallocate(
            (!node.isall).then(|| node.name.clone()),
        )),
        NodeEnum::DeclareCursorStmt(node) => declare_cursor(node, statement, context),
        NodeEnum::FetchStmt(node) => fetch(node, text),
        NodeEnum::ClosePortalStmt(node) => {
            command(SessionCommand::CloseCursor(name_or_all(&node.portalname)))
        }
        NodeEnum::ListenStmt(node) => listen(&node.conditionname),
        NodeEnum::UnlistenStmt(node) => {
            command(SessionCommand::Unlisten(name_or_all(&node.conditionname)))
        }
        NodeEnum::NotifyStmt(_) => notify(),
        NodeEnum::LockStmt(node) => lock(node, text, context),
        _ => Plan::refused(super::unsupported::statement()),
    }
}

fn command(command: SessionCommand) -> Plan {
    Plan::new(
        Action::Session(command),
        Effect::default(),
        "the session's own",
    )
}

fn rows(inner: SessionCommand) -> Plan {
    let mut plan = command(inner);
    plan.effect.returns_rows = true;
    plan
}

fn name_or_all(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

fn transaction(node: &TransactionStmt, text: &str) -> Plan {
    use TransactionStmtKind as Kind;
    let savepoint = || node.savepoint_name.clone();
    command(match node.kind() {
        Kind::TransStmtBegin => SessionCommand::Begin {
            modes: modes(text),
            isolation: Isolation::of_options(&node.options),
            start_transaction: false,
        },
        Kind::TransStmtStart => SessionCommand::Begin {
            modes: modes(text),
            isolation: Isolation::of_options(&node.options),
            start_transaction: true,
        },
        Kind::TransStmtCommit => SessionCommand::Commit { chain: node.chain },
        Kind::TransStmtRollback => SessionCommand::Rollback { chain: node.chain },
        Kind::TransStmtSavepoint => SessionCommand::Savepoint(savepoint()),
        Kind::TransStmtRelease => SessionCommand::ReleaseSavepoint(savepoint()),
        Kind::TransStmtRollbackTo => SessionCommand::RollbackToSavepoint(savepoint()),
        Kind::TransStmtPrepare
        | Kind::TransStmtCommitPrepared
        | Kind::TransStmtRollbackPrepared
        | Kind::Undefined => return Plan::refused(two_phase_refusal()),
    })
}

fn two_phase_refusal() -> RouterError {
    RouterError::unsupported(
        "client-two-phase",
        "two-phase commit is not available to clients",
    )
    .detail("Oskol uses prepared transactions itself to commit on several shards.")
    .hint("Use COMMIT: it is atomic over all shards.")
}

/// The text after `BEGIN [WORK | TRANSACTION]` or `START TRANSACTION`.
fn modes(text: &str) -> String {
    let tokens = Tokens::of(text);
    let skip = if tokens.is_word(1, "work") || tokens.is_word(1, "transaction") {
        2
    } else {
        1
    };
    tokens.rest(skip).trim_end().to_owned()
}

fn set(node: &VariableSetStmt, text: &str) -> Plan {
    let name = node.name.to_ascii_lowercase();
    let text = text.to_owned();
    match node.kind() {
        VariableSetKind::VarReset => command(SessionCommand::Reset { name }),
        VariableSetKind::VarResetAll => command(SessionCommand::ResetAll),
        VariableSetKind::VarSetMulti => set_transaction(node, &name, text),
        _ if is_transaction_characteristic(&name) => command(SessionCommand::SetTransaction {
            isolation: (name == "transaction_isolation")
                .then(|| Isolation::of_value(&node.args))
                .flatten(),
            text,
            session: false,
        }),
        _ => command(SessionCommand::Set {
            name,
            local: node.is_local,
            text,
        }),
    }
}

/// `SET TRANSACTION ...`, `SET SESSION CHARACTERISTICS AS TRANSACTION ...`, `SET TRANSACTION SNAPSHOT ...`.
fn set_transaction(node: &VariableSetStmt, name: &str, text: String) -> Plan {
    if name == "transaction snapshot" {
        return Plan::refused(
            RouterError::unsupported(
                "transaction-snapshot",
                "SET TRANSACTION SNAPSHOT is not supported",
            )
            .detail("A snapshot exported by one shard means nothing to the others."),
        );
    }
    command(SessionCommand::SetTransaction {
        isolation: Isolation::of_options(&node.args),
        text,
        session: name == "session characteristics",
    })
}

/// Settings of the running transaction, which a session must not keep.
fn is_transaction_characteristic(name: &str) -> bool {
    matches!(
        name,
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable"
    )
}

fn discard(node: &DiscardStmt) -> Plan {
    command(match node.target() {
        DiscardMode::DiscardPlans => SessionCommand::Discard(DiscardTarget::Plans),
        DiscardMode::DiscardSequences => SessionCommand::Discard(DiscardTarget::Sequences),
        DiscardMode::DiscardTemp => SessionCommand::Discard(DiscardTarget::Temporary),
        DiscardMode::DiscardAll | DiscardMode::Undefined => SessionCommand::DiscardAll,
    })
}

/// `PREPARE name [(types)] AS query`: types and query are cut out of the text.
fn prepare(node: &PrepareStmt, text: &str) -> Plan {
    let tokens = Tokens::of(text);
    let types = if tokens.word(2) == "(" {
        tokens.list_items(2).unwrap_or_default()
    } else {
        Vec::new()
    };
    let Some(keyword) = tokens.find_outside(2, |index| tokens.is_word(index, "as")) else {
        return Plan::refused(RouterError::new("42601", "syntax error in PREPARE"));
    };
    command(SessionCommand::Prepare {
        name: node.name.clone(),
        argument_types: types
            .into_iter()
            .map(|span| text[span].to_owned())
            .collect(),
        text: tokens.rest(keyword + 1).to_owned(),
    })
}

fn execute(node: &ExecuteStmt, text: &str) -> Plan {
    let tokens = Tokens::of(text);
    let arguments = if tokens.word(2) == "(" {
        tokens.list_items(2).unwrap_or_default()
    } else {
        Vec::new()
    };
    rows(SessionCommand::Execute {
        name: node.name.clone(),
        arguments: arguments
            .into_iter()
            .map(|span| text[span].to_owned())
            .collect(),
    })
}

/// `CURSOR_OPT_...` of PostgreSQL's `nodes/parsenodes.h`.
const CURSOR_BINARY: i32 = 0x01;
const CURSOR_SCROLL: i32 = 0x02;
const CURSOR_NO_SCROLL: i32 = 0x04;
const CURSOR_INSENSITIVE: i32 = 0x08;
const CURSOR_HOLD: i32 = 0x20;

fn declare_cursor(
    node: &DeclareCursorStmt,
    statement: &Statement,
    context: &PlanContext<'_>,
) -> Plan {
    if is_invalid(node) {
        return Plan::new(
            Action::Home,
            Effect::default(),
            "PostgreSQL tells what is wrong",
        );
    }
    let inner = match inner_query(&statement.text) {
        Ok(inner) => inner,
        Err(refusal) => return Plan::refused(refusal),
    };
    let plan = super::plan(&inner, context);
    if let Action::Refuse(refusal) = plan.action {
        return Plan::refused(refusal);
    }
    let effect = Effect {
        writes: plan.effect.writes,
        ..Effect::default()
    };
    let reason = plan.reason.clone();
    let has = |option| node.options & option != 0;
    Plan::new(
        Action::Session(SessionCommand::DeclareCursor(Box::new(DeclareCursor {
            name: node.portalname.clone(),
            hold: has(CURSOR_HOLD),
            binary: has(CURSOR_BINARY),
            no_scroll: has(CURSOR_NO_SCROLL),
            plan: Rc::new(plan),
            query: inner.text,
            text: statement.text.clone(),
        }))),
        effect,
        reason,
    )
}

/// Rows can be locked only by the plainest of cursors.
fn is_invalid(node: &DeclareCursorStmt) -> bool {
    let query = node.query.as_deref().and_then(|query| query.node.as_ref());
    let locks =
        matches!(query, Some(NodeEnum::SelectStmt(select)) if !select.locking_clause.is_empty());
    locks && node.options & (CURSOR_HOLD | CURSOR_SCROLL | CURSOR_INSENSITIVE) != 0
}

/// The query of `DECLARE name ... CURSOR [WITH HOLD] FOR query`, parsed from its own text so that its
/// locations count from there.
fn inner_query(text: &str) -> Result<Statement, RouterError> {
    let tokens = Tokens::of(text);
    let keyword = tokens.find_outside(2, |index| tokens.is_word(index, "for"));
    let query = keyword.map_or("", |keyword| tokens.rest(keyword + 1));
    crate::parse::parse(query)?
        .pop()
        .ok_or_else(|| RouterError::new("42601", "syntax error in DECLARE CURSOR"))
}

fn fetch(node: &FetchStmt, text: &str) -> Plan {
    let direction = match node.direction() {
        Direction::FetchForward | Direction::Undefined => FetchDirection::Forward,
        Direction::FetchBackward => FetchDirection::Backward,
        Direction::FetchAbsolute => FetchDirection::Absolute,
        Direction::FetchRelative => FetchDirection::Relative,
    };
    let mut plan = command(SessionCommand::Fetch {
        cursor: node.portalname.clone(),
        step: FetchStep {
            direction,
            count: node.how_many,
        },
        is_move: node.ismove,
        text: text.to_owned(),
    });
    plan.effect.returns_rows = !node.ismove;
    plan
}

fn listen(channel: &str) -> Plan {
    let mut plan = command(SessionCommand::Listen(channel.to_owned()));
    plan.effect = Effect {
        pins: true,
        unpreparable: true,
        ..Effect::default()
    };
    plan
}

/// NOTIFY goes where every LISTEN is: home.
fn notify() -> Plan {
    Plan::new(
        Action::Home,
        Effect {
            writes: true,
            unpreparable: true,
            ..Effect::default()
        },
        "NOTIFY is sent where sessions listen: the home shard",
    )
}

fn lock(node: &LockStmt, text: &str, context: &PlanContext<'_>) -> Plan {
    let everywhere = node
        .relations
        .iter()
        .filter_map(names::range_var)
        .any(|relation| {
            matches!(scope::find(relation, context), Found::Relation(found)
                if scope::placement(&found, context) != Placement::Local)
        });
    let effect = Effect {
        writes: true,
        ..Effect::default()
    };
    if everywhere {
        let action = Action::Session(SessionCommand::LockTable {
            text: text.to_owned(),
        });
        Plan::new(
            action,
            effect,
            "LOCK TABLE of a table that is on every shard",
        )
    } else {
        Plan::new(Action::Home, effect, "LOCK TABLE of local tables")
    }
}
