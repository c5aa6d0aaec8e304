//! Global transaction ids, and which of them this router is still busy with.
//!
//! An id says who can decide: `oskol:<cluster>:<router>:<number>:<lead shard>:<participants>`.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use topology::ShardId;

/// The name of a transaction on more than one shard; shorter than PostgreSQL's 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GlobalId {
    pub cluster: String,
    pub router: u32,
    pub number: u64,
    /// The shard whose table `oskol.decision` holds the outcome.
    pub lead: ShardId,
    /// Shards that were written, the lead included.
    pub participants: u16,
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            router,
            number,
            lead,
            participants,
        } = self;
        write!(f, "oskol:{cluster}:{router}:{number}:{lead}:{participants}")
    }
}

/// A name that is not a [`GlobalId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a transaction of a cluster")]
pub struct NotAGlobalId;

impl FromStr for GlobalId {
    type Err = NotAGlobalId;

    fn from_str(text: &str) -> Result<Self, NotAGlobalId> {
        let fields: Vec<&str> = text.split(':').collect();
        let ["oskol", cluster, router, number, lead, participants] = fields[..] else {
            return Err(NotAGlobalId);
        };
        let id = Self {
            cluster: cluster.to_owned(),
            router: router.parse().map_err(|_| NotAGlobalId)?,
            number: number.parse().map_err(|_| NotAGlobalId)?,
            lead: ShardId(lead.parse().map_err(|_| NotAGlobalId)?),
            participants: participants.parse().map_err(|_| NotAGlobalId)?,
        };
        // `+1` and `01` parse too, but are not what a router writes.
        (id.to_string() == text).then_some(id).ok_or(NotAGlobalId)
    }
}

/// The global transactions that sessions of this router are busy with. Recovery leaves them alone.
#[derive(Debug, Default)]
pub struct LiveTransactions {
    last: AtomicU64,
    live: Mutex<HashSet<String>>,
}

impl LiveTransactions {
    pub(crate) fn name(
        &self,
        cluster: &str,
        router: u32,
        lead: ShardId,
        participants: usize,
    ) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        // There are no more shards than 16 bits can name.
        let participants = u16::try_from(participants).unwrap_or(u16::MAX);
        let cluster = cluster.to_owned();
        GlobalId {
            cluster,
            router,
            number,
            lead,
            participants,
        }
        .to_string()
    }

    /// Before the first PREPARE. Drop the value when every shard has committed or rolled back, or when
    /// the session gives up: recovery then finishes the transaction.
    #[must_use]
    pub fn enter(self: &Arc<Self>, gid: &str) -> LiveTransaction {
        self.live().insert(gid.to_owned());
        LiveTransaction {
            gid: gid.to_owned(),
            all: Arc::clone(self),
        }
    }

    /// Whether a session is still busy with it.
    pub fn contains(&self, gid: &str) -> bool {
        self.live().contains(gid)
    }

    fn live(&self) -> MutexGuard<'_, HashSet<String>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One transaction that a session is busy with.
#[derive(Debug)]
pub struct LiveTransaction {
    gid: String,
    all: Arc<LiveTransactions>,
}

impl Drop for LiveTransaction {
    fn drop(&mut self) {
        self.all.live().remove(&self.gid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written() {
        let gid = LiveTransactions::default().name("main", 7, ShardId(3), 2);
        assert_eq!(gid, "oskol:main:7:1:3:2");
        let id: GlobalId = gid.parse().expect("an id");
        assert_eq!((id.router, id.lead, id.participants), (7, ShardId(3), 2));
    }

    #[test]
    fn other_names_are_not_ids() {
        for text in [
            "",
            "oskol:a:1:1:1",
            "x:a:1:1:1:1",
            "oskol:a:1:01:1:1",
            "oskol:a:1:-1:1:1",
        ] {
            assert_eq!(text.parse::<GlobalId>(), Err(NotAGlobalId), "{text}");
        }
    }

    #[test]
    fn a_transaction_is_live_until_it_is_dropped() {
        let live = Arc::new(LiveTransactions::default());
        let (one, two) = (live.enter("one"), live.enter("two"));
        drop(one);
        assert!(!live.contains("one") && live.contains("two"));
        drop(two);
        assert!(!live.contains("two"));
    }
}
