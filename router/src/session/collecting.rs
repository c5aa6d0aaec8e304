//! Telling shards that what they note of keys over shards is collected (`schema/sql/collecting.sql`): a statement that is
//! planned to be looked into afterwards says so on each shard, ahead of its own text and in the same write. A shard where
//! nobody has said so refuses to note anything.
//!
//! It is said anew by each statement: a rollback to a savepoint takes it back.

use wire::Format;
use wire::frontend::write;

use super::slots::{Slot, Slots};
use super::state::Session;
use super::transaction::Branch;

const COLLECT: &[u8] = b"CALL oskol.collect($1, $2)";
const NAME: &[u8] = b"ocollect";
/// PostgreSQL's oid of type text.
const TEXT: u32 = 25;

impl Session {
    /// From now on what the statement makes shards note is collected, of all keys that the catalog has.
    pub(super) fn begin_collecting(&mut self) {
        self.transaction.collects = self.current_space().snapshot().highest_key;
        self.tell_collects_again();
    }

    pub(super) fn end_collecting(&mut self) {
        self.transaction.collects = 0;
        for branch in &mut self.transaction.branches {
            branch.must_be_told = false;
        }
    }

    /// What runs next on a branch may note something.
    pub(super) fn must_tell_collects(&mut self, index: usize) {
        let branch = &mut self.transaction.branches[index];
        branch.must_be_told |= branch.told < self.transaction.collects;
    }

    /// Shards have been rolled back to where they were not told.
    pub(super) fn tell_collects_again(&mut self) {
        for branch in &mut self.transaction.branches {
            branch.told = 0;
        }
    }

    /// Queues it on a branch, ahead of the client's own message, where it must be told.
    pub(super) fn tell_collects(&mut self, index: usize) {
        let branch = &mut self.transaction.branches[index];
        if branch.must_be_told {
            let token = self.space.state.token_of(branch.server.shard);
            queue_collect(branch, &token, self.transaction.collects, &mut self.slots);
        }
    }
}

/// Queues it without Sync, in the transaction that the branch is in by then; the replies to come are added to `slots`.
pub(super) fn queue_collect(branch: &mut Branch, token: &str, known: u32, slots: &mut Slots) {
    branch.told = known;
    branch.must_be_told = false;
    let server = &mut branch.server;
    if !std::mem::replace(&mut server.prepared.collect, true) {
        // Two parameters are not too many.
        let _ = write::parse(&mut server.outbuf, NAME, COLLECT, [TEXT, TEXT]);
        slots.push_back(Slot::Parse {
            number: 0,
            hidden: true,
        });
    }
    let known = known.to_string();
    let parameters = [token, known.as_str()].map(|text| (Format::Text, Some(text.as_bytes())));
    let _ = write::bind(&mut server.outbuf, b"", NAME, &parameters, &[]);
    write::execute(&mut server.outbuf, b"", 0);
    slots.push_back(Slot::Bind { hidden: true });
    slots.push_back(Slot::execute(true));
}
