//! The rows of a table that was just made by a query over several shards.

use bytes::{Bytes, BytesMut};

use crate::error::RouterError;
use crate::session::fault::Fault;
use crate::session::state::Session;

impl Session {
    /// Runs an INSERT in the open transaction, with the catalog that it has made; gives `SELECT n` as the client is
    /// told of it. What else was said stays in `out`.
    pub(super) async fn fill_table(&mut self, insert: &str) -> Result<Bytes, Fault> {
        self.reload_private_catalog().await?;
        let statement = crate::parse::parse(insert)?.pop();
        let statement = statement.ok_or_else(|| RouterError::new("XX000", "no INSERT to run"))?;
        let plan = self.plan_statement(&statement);
        let said = self.out.len();
        let hold = std::mem::replace(&mut self.hold_output, true);
        let outcome = Box::pin(self.simple_statement(&statement, &plan, true)).await;
        self.hold_output = hold;
        outcome?;
        let reply = self.out.split_off(said.min(self.out.len()));
        let rows = self.without_completion(&reply);
        let mut complete = BytesMut::new();
        wire::backend::write::command_complete(&mut complete, format!("SELECT {rows}").as_bytes());
        Ok(complete.freeze())
    }

    /// Puts a reply's messages but for CommandComplete into `out`; gives the number of rows that it told.
    fn without_completion(&mut self, mut reply: &[u8]) -> u64 {
        let mut rows = 0;
        while let Some((length, rest)) = message(reply) {
            if reply[0] == wire::backend::tag::COMMAND_COMPLETE {
                rows = last_number(&reply[5..length]);
            } else {
                self.out.extend_from_slice(&reply[..length]);
            }
            reply = rest;
        }
        rows
    }
}

/// The length of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?.checked_add(1)?;
    (length >= 5).then_some(())?;
    Some((length, bytes.get(length..)?))
}

/// `INSERT 0 5`: 5.
fn last_number(tag: &[u8]) -> u64 {
    let text = std::str::from_utf8(tag).unwrap_or_default();
    let last = text.trim_end_matches('\0').rsplit(' ').next();
    last.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_rows_ends_the_tag() {
        assert_eq!(last_number(b"INSERT 0 12\0"), 12);
        assert_eq!(last_number(b"CREATE TABLE\0"), 0);
    }
}
