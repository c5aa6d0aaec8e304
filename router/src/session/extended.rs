//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.
//!
//! While everything between two Syncs goes to one shard, messages are sent on as they come, under
//! the router's own statement names, and PostgreSQL's implicit transaction holds. When another
//! shard or the router itself is needed, what was sent is drained first and the implicit
//! transaction becomes an explicit one (PostgreSQL lets BEGIN do that with work already done).

mod parsing;
mod pipeline;
mod portals;

use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use topology::ShardId;
use wire::frontend::tag as t;

use super::fault::Fault;
use super::oids::rows::RowOids;
use super::state::Session;
use crate::backend::prepared::StatementIdentity;
use crate::plan::{Action, Plan};

pub(super) use parsing::{no_such_statement, server_name};

/// A client's prepared statement.
#[derive(Debug)]
pub struct Prepared {
    pub identity: Rc<StatementIdentity>,
    /// As shards get it, where the router fills in ids: parameters follow the client's own.
    pub rewritten: Option<Rc<StatementIdentity>>,
    pub plan: Rc<Plan>,
    /// Catalog version that `plan` was made under.
    pub version: u64,
    /// Of a statement made by SQL PREPARE: its parameters' types, as SQL names them; else none.
    pub parameter_types: Option<Rc<[String]>>,
}

impl Prepared {
    /// The statement as shards get it.
    pub fn sent(&self) -> &Rc<StatementIdentity> {
        self.rewritten.as_ref().unwrap_or(&self.identity)
    }

    /// COPY, in either direction.
    fn is_copy(&self) -> bool {
        let text = self.identity.text.trim_ascii_start().as_bytes();
        text.get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"copy"))
    }

    /// How many parameters the client may hear of, where a shard knows more.
    fn own_parameters(&self) -> Option<u16> {
        let Action::ByKey(by_key) = &self.plan.action else {
            return None;
        };
        let rewrite = by_key.rewrite.as_ref()?;
        let own = super::execute::client_parameters(rewrite, &self.identity.types);
        Some(u16::try_from(own).unwrap_or(u16::MAX))
    }
}

/// In place of a catalog version: the plan depends on what only this session sees now (temporary
/// relations, the catalog of its open transaction), and is made anew each time.
const OWN_PLAN: u64 = u64::MAX;

/// A bound statement.
#[derive(Debug)]
pub enum Portal {
    /// It lives on this shard under its own name.
    OnShard {
        shard: ShardId,
        /// What must be rewritten in its rows.
        rows: Option<Rc<RowOids>>,
    },
    /// The router runs it: the whole Bind message is kept.
    Here {
        prepared: Rc<Prepared>,
        bind: Bytes,
        progress: Progress,
    },
}

/// How far a portal that the router runs has come.
#[derive(Debug)]
pub enum Progress {
    Fresh,
    /// It has run; what the client has not yet fetched.
    Fetched(Box<super::execute::Remainder>),
    /// It has run, and gives nothing more.
    Done,
}

/// State of the extended protocol.
#[derive(Debug, Default)]
pub struct Extended {
    pub named: FxHashMap<Box<[u8]>, Rc<Prepared>>,
    pub unnamed: Option<Rc<Prepared>>,
    portals: FxHashMap<Box<[u8]>, Portal>,
    unnamed_portal: Option<Portal>,
    /// What was bound last on a shard since the last Sync.
    bound: Option<Rc<Prepared>>,
    /// A Parse that was not yet sent: the Bind that follows tells the shard.
    waiting: Option<(Box<[u8]>, Rc<Prepared>)>,
    /// The branch with messages under way, not yet synced.
    active: Option<usize>,
    /// After an error all is skipped up to the next Sync.
    pub skipping: bool,
    /// The pipeline has failed: at Sync it is rolled back.
    pub(super) failed: bool,
}

impl Extended {
    pub fn get(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name)
        }
    }

    /// The client's name of the statement that servers know as `server_name`.
    pub(super) fn name_of(&self, server_name: &[u8]) -> Option<&[u8]> {
        let mut named = self.named.iter();
        let found = named.find(|(_, prepared)| *prepared.sent().server_name == *server_name);
        found.map(|(name, _)| &**name)
    }

    /// Another form of a statement that is there.
    fn replace(&mut self, name: &[u8], prepared: &Rc<Prepared>) {
        if name.is_empty() {
            self.unnamed = Some(Rc::clone(prepared));
        } else {
            self.named.insert(name.into(), Rc::clone(prepared));
        }
    }

    pub(super) fn put_portal(&mut self, name: &[u8], portal: Portal) {
        if name.is_empty() {
            self.unnamed_portal = Some(portal);
        } else {
            self.portals.insert(name.into(), portal);
        }
    }

    fn portal(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() {
            self.unnamed_portal.as_ref()
        } else {
            self.portals.get(name)
        }
    }

    /// Cursors and portals share their names.
    pub(super) fn has_portal(&self, name: &str) -> bool {
        self.portals.contains_key(name.as_bytes())
    }

    pub(super) fn take_portal(&mut self, name: &[u8]) -> Option<Portal> {
        if name.is_empty() {
            self.unnamed_portal.take()
        } else {
            self.portals.remove(name)
        }
    }

    /// An error has ended the pipeline: what waited in it is forgotten.
    pub(super) fn abandon(&mut self) {
        self.active = None;
        if let Some((name, _)) = self.waiting.take() {
            self.named.remove(&name);
        }
    }

    pub(super) fn make_active(&mut self, index: usize) {
        self.active = Some(index);
    }

    /// The branch with messages under way.
    pub(super) fn active(&self) -> Option<usize> {
        self.active
    }

    /// A Parse waits to be sent, or a branch has messages that no Sync has followed.
    pub(super) fn is_under_way(&self) -> bool {
        self.active.is_some() || self.waiting.is_some()
    }

    /// Portals end with their transaction.
    pub fn forget_portals(&mut self) {
        self.unnamed_portal = None;
        if !self.portals.is_empty() {
            self.portals.clear();
        }
    }
}

impl Session {
    pub(super) async fn extended_message(&mut self, tag: u8, message: &[u8]) -> Result<(), Fault> {
        if self.extended.skipping && tag != t::SYNC {
            return Ok(());
        }
        let outcome = match tag {
            t::PARSE => self.parse_after_others(message).await,
            t::BIND => self.bind_message(message).await,
            t::DESCRIBE => self.describe_message(message).await,
            t::EXECUTE => self.execute_message(message).await,
            t::CLOSE => self.close_message(message).await,
            t::FLUSH => self.flush_message().await,
            _ => self.sync_message().await,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) => Box::pin(self.extended_fault(fault, tag == t::SYNC)).await,
        }
    }
}
