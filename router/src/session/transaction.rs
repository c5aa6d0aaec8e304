//! A client's transaction: its state, the shards that have joined, and what shards that join later
//! must be told first.

use std::cell::Cell;
use std::rc::Rc;

use smallvec::SmallVec;
use topology::ShardId;

use crate::backend::Server;
use crate::error::RouterError;
use crate::permits::ReserveRight;
use crate::plan::Isolation;
use crate::session::plans::PlanSpace;

/// Where the transaction stands, as PostgreSQL's ReadyForQuery says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// No transaction block; a branch may be there for one statement or one pipeline.
    #[default]
    Idle,
    Open,
    Failed,
}

impl State {
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}

/// Which of a shard's servers the statement at hand goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nothing has asked yet: the primary.
    #[default]
    Undecided,
    Primary,
    Standby,
}

/// One shard's part in the transaction.
#[derive(Debug)]
pub struct Branch {
    pub server: Box<Server>,
    /// `BEGIN` has been sent there.
    pub begun: bool,
    pub wrote: bool,
    /// Extended messages were sent that no Sync has followed yet.
    pub unsynced: bool,
    /// It reported an error and skips all up to Sync.
    pub errored: bool,
    /// PREPARE TRANSACTION has succeeded, and neither end of it was sent yet.
    pub prepared: bool,
    /// PREPARE TRANSACTION is impossible there: it must be the lead.
    pub unpreparable: bool,
    /// No part of the transaction: a scratch connection, there for one statement.
    pub apart: bool,
    /// More than settings may have run there, in a SERIALIZABLE transaction.
    pub isolated: bool,
    /// It has locked rows that others refer to: it must live until what refers to them is committed.
    pub guards: bool,
    /// It may keep decisions out on its shard: not to be given to anybody else.
    pub holds_decisions: bool,
    /// How far it has been told of keys whose notes the statement under way collects.
    pub told: u32,
    /// It must be told before it runs what comes next.
    pub must_be_told: bool,
    /// Leased for statements that may run on a standby.
    pub reads: bool,
    /// It is one.
    pub of_standby: bool,
}

impl Branch {
    pub fn new(server: Box<Server>) -> Self {
        Self {
            reads: false,
            of_standby: server.is_of_standby(),
            server,
            begun: false,
            wrote: false,
            unsynced: false,
            errored: false,
            prepared: false,
            unpreparable: false,
            apart: false,
            isolated: false,
            guards: false,
            told: 0,
            must_be_told: false,
            holds_decisions: false,
        }
    }
}

/// What a shard that joins later must run first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEntry {
    Savepoint(String),
    /// SET, SET LOCAL, SET CONSTRAINTS.
    Statement(String),
    /// SET TRANSACTION.
    Characteristic(String),
}

/// What AND CHAIN passes on to the next transaction.
#[derive(Debug)]
pub struct Characteristics {
    pub modes: String,
    pub isolation: Isolation,
    pub set: Vec<LogEntry>,
}

/// A change of the session's settings, to be kept at COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingChange {
    Set { name: String, statement: String },
    Reset(String),
    ResetAll,
}

#[derive(Debug, Default)]
pub struct Transaction {
    pub state: State,
    /// Opened by the router around a multi-statement string, a pipeline or one statement that needs
    /// several shards: it ends at the next Sync or end of the string.
    pub implicit: bool,
    pub branches: SmallVec<[Branch; 1]>,
    /// Kept until the branches are given back.
    pub reserve_right: Option<ReserveRight>,
    /// `now()` as a statement of several shards has seen it: timestamptz in binary.
    pub clock: Option<[u8; 8]>,
    /// Text after BEGIN.
    pub modes: String,
    pub isolation: Isolation,
    /// Every shard has joined with a snapshot of the same moment (`session::snapshots`).
    pub has_snapshots: bool,
    pub log: Vec<LogEntry>,
    /// Changes of settings with the length of `log` when they were made.
    pub settings: Vec<(usize, SettingChange)>,
    /// Plans made with the uncommitted catalog of this transaction.
    pub private: Option<Rc<PlanSpace>>,
    /// DDL has run: the cluster must be told after COMMIT.
    pub catalog_changed: bool,
    /// DDL has run that may have been about roles.
    pub roles_changed: bool,
    /// A setting that the router follows was set: ask again when the transaction ends.
    pub followed_touched: bool,
    /// Sequences whose leased blocks are void once this is committed.
    pub reset_sequences: Vec<crate::plan::SequenceName>,
    /// Temporary relations were made or dropped: ask again when the transaction ends.
    pub temporaries_touched: bool,
    /// A shard was lost while the client was silent: it is told at its next statement.
    pub lost: std::cell::RefCell<Option<Box<RouterError>>>,
    /// Code of users has run that may have left something behind in the sessions of the shards.
    pub leaves_state: std::cell::Cell<bool>,
    /// It has failed, and the locks since the last savepoint are given up.
    pub has_let_go: bool,
    /// The statement under way collects what shards note of keys up to this number; 0: it does not (`session::collecting`).
    pub collects: u32,
    /// Deferred constraints that hold over shards may be due at COMMIT.
    pub owes: bool,
    /// The cluster's lock for DDL is held, and `private` was read under it.
    pub catalog_locked: bool,
    pub source: Cell<Source>,
    /// The transaction is READ ONLY and reads at standbys, but for what only a primary can run.
    pub reads_standby: Cell<bool>,
}

impl Transaction {
    pub fn find(&self, shard: ShardId) -> Option<usize> {
        self.branches
            .iter()
            .position(|branch| branch.server.shard == shard && !branch.apart && self.suits(branch))
    }

    /// The statement at hand may go to this branch's server.
    pub fn suits(&self, branch: &Branch) -> bool {
        match self.source.get() {
            Source::Standby => branch.reads,
            Source::Undecided | Source::Primary => !branch.of_standby,
        }
    }

    /// By BEGIN or SET TRANSACTION.
    pub fn is_read_only(&self) -> bool {
        let mut is_read_only = false;
        let set = self.log.iter().filter_map(|entry| match entry {
            LogEntry::Characteristic(text) => Some(text.as_str()),
            LogEntry::Savepoint(_) | LogEntry::Statement(_) => None,
        });
        for modes in std::iter::once(self.modes.as_str()).chain(set) {
            let modes = modes.to_ascii_lowercase();
            let words: Vec<&str> = modes
                .split([' ', ',', '\t', '\n'])
                .filter(|word| !word.is_empty())
                .collect();
            for pair in words.windows(2) {
                match pair {
                    ["read", "only"] => is_read_only = true,
                    ["read", "write"] => is_read_only = false,
                    _ => {}
                }
            }
        }
        is_read_only
    }

    /// ROLLBACK TO: forgets what was logged after the savepoint, which stays. False: no such one.
    pub fn cut_log(&mut self, savepoint: &str) -> bool {
        let Some(at) = self.savepoint(savepoint) else {
            return false;
        };
        self.log.truncate(at + 1);
        self.settings.retain(|(length, _)| *length <= at + 1);
        true
    }

    /// RELEASE: the savepoint and those inside it go, settings made since stay.
    pub fn release(&mut self, savepoint: &str) -> bool {
        let Some(at) = self.savepoint(savepoint) else {
            return false;
        };
        let kept = self.log.split_off(at);
        self.log.extend(
            kept.into_iter()
                .filter(|entry| !matches!(entry, LogEntry::Savepoint(_))),
        );
        for (length, _) in &mut self.settings {
            *length = (*length).min(at);
        }
        true
    }

    /// Where in the log the innermost savepoint of this name is.
    pub fn savepoint(&self, name: &str) -> Option<usize> {
        self.log
            .iter()
            .rposition(|entry| matches!(entry, LogEntry::Savepoint(n) if n == name))
    }

    /// The innermost savepoint there is.
    pub fn last_savepoint(&self) -> Option<&str> {
        self.log.iter().rev().find_map(|entry| match entry {
            LogEntry::Savepoint(name) => Some(name.as_str()),
            LogEntry::Statement(_) | LogEntry::Characteristic(_) => None,
        })
    }

    /// `BEGIN ...` and the log, as one simple query for a shard that joins.
    pub fn replay(&self) -> String {
        let mut sql = format!("BEGIN {}", self.modes);
        for entry in &self.log {
            sql.push(';');
            match entry {
                LogEntry::Savepoint(name) => {
                    sql.push_str("SAVEPOINT ");
                    sql.push_str(&crate::settings::quote_identifier(name));
                }
                LogEntry::Statement(text) | LogEntry::Characteristic(text) => sql.push_str(text),
            }
        }
        sql
    }

    pub fn characteristics(&self) -> Characteristics {
        let is_set = |entry: &&LogEntry| matches!(entry, LogEntry::Characteristic(_));
        Characteristics {
            modes: self.modes.clone(),
            isolation: self.isolation,
            set: self.log.iter().filter(is_set).cloned().collect(),
        }
    }

    /// An explicit transaction that one shard alone can commit, with nothing to be done after it.
    pub fn ends_on_one_branch(&self) -> bool {
        self.state == State::Open
            && !self.implicit
            && self.branches.len() == 1
            && self.branches[0].begun
            && !self.catalog_changed
            && !self.owes
            && self.reset_sequences.is_empty()
    }

    /// `BEGIN` alone is enough for a shard that joins.
    pub fn begins_plainly(&self) -> bool {
        self.log.is_empty() && self.modes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged() -> Transaction {
        let mut transaction = Transaction {
            modes: "READ ONLY".into(),
            ..Transaction::default()
        };
        transaction.log = vec![
            LogEntry::Statement("SET LOCAL a TO 1".into()),
            LogEntry::Savepoint("s".into()),
            LogEntry::Statement("SET b TO 2".into()),
            LogEntry::Savepoint("t".into()),
        ];
        transaction
    }

    #[test]
    fn a_late_shard_replays_what_the_transaction_has_set() {
        assert_eq!(
            logged().replay(),
            "BEGIN READ ONLY;SET LOCAL a TO 1;SAVEPOINT \"s\";SET b TO 2;SAVEPOINT \"t\""
        );
    }

    #[test]
    fn rollback_to_keeps_the_savepoint_and_drops_what_came_after() {
        let mut transaction = logged();
        assert!(transaction.cut_log("s"));
        assert_eq!(
            transaction.replay(),
            "BEGIN READ ONLY;SET LOCAL a TO 1;SAVEPOINT \"s\""
        );
        assert!(!transaction.cut_log("t"));
    }

    #[test]
    fn release_keeps_the_settings() {
        let mut transaction = logged();
        assert!(transaction.release("s"));
        assert_eq!(
            transaction.replay(),
            "BEGIN READ ONLY;SET LOCAL a TO 1;SET b TO 2"
        );
    }
}
