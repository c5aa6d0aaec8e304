//! Which replies the client still has to get, in order. Some come from the shard as they are, some
//! are hidden (the router asked for them), some the router gives itself.

use std::collections::VecDeque;

use std::rc::Rc;

use bytes::Bytes;

use super::oids::rows::RowOids;

/// One reply to come. `hidden`: the router sent the message on its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// ParseComplete; `number` of the statement being prepared, to be forgotten if it fails.
    Parse {
        number: u64,
        hidden: bool,
    },
    Bind {
        hidden: bool,
    },
    /// CloseComplete
    Close {
        hidden: bool,
    },
    /// ParameterDescription, then RowDescription or NoData. `parameters`: how many of them the
    /// client's own text has.
    DescribeStatement {
        parameters: Option<u16>,
        hidden: bool,
        /// Of the statement, whose types are to be remembered; 0: they are not.
        number: u64,
    },
    /// RowDescription or NoData. A hidden one tells of the rows of the Execute behind it.
    DescribePortal {
        hidden: bool,
    },
    /// Up to CommandComplete, PortalSuspended or EmptyQueryResponse.
    Execute {
        hidden: bool,
        /// What must be rewritten in its rows.
        rows: Option<Rc<RowOids>>,
    },
    /// ReadyForQuery.
    Sync {
        hidden: bool,
    },
    /// A whole simple query, up to ReadyForQuery, which alone may be hidden.
    Query {
        hide_ready: bool,
        /// What must be rewritten in the rows of the statement described last.
        rows: Option<Rc<RowOids>>,
    },
    /// The router's own messages.
    Answer(Answer),
}

/// What the router answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    ParseComplete,
    BindComplete,
    CloseComplete,
    Messages(Bytes),
}

impl Slot {
    pub fn execute(hidden: bool) -> Self {
        Self::Execute { hidden, rows: None }
    }

    pub fn query(hide_ready: bool) -> Self {
        Self::Query {
            hide_ready,
            rows: None,
        }
    }
}

impl Answer {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::ParseComplete => b"1\0\0\0\x04",
            Self::BindComplete => b"2\0\0\0\x04",
            Self::CloseComplete => b"3\0\0\0\x04",
            Self::Messages(bytes) => bytes,
        }
    }
}

/// The queue of replies to come from one server connection.
pub type Slots = VecDeque<Slot>;

/// After an error PostgreSQL skips all up to the next Sync (a simple query ends with its own
/// ReadyForQuery): drops the replies that will never come.
pub fn skip_to_ready(slots: &mut Slots) {
    while let Some(slot) = slots.front() {
        if matches!(slot, Slot::Sync { .. } | Slot::Query { .. }) {
            return;
        }
        slots.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_drops_replies_up_to_the_next_sync_only() {
        let mut slots = Slots::from([
            Slot::Bind { hidden: false },
            Slot::Answer(Answer::ParseComplete),
            Slot::Sync { hidden: false },
            Slot::Bind { hidden: false },
        ]);
        skip_to_ready(&mut slots);
        assert_eq!(slots.len(), 2);
        assert_eq!(slots[0], Slot::Sync { hidden: false });
    }
}
