//! `now()`, read once: every text of a statement, and every statement of a transaction, sees the same.

use wire::Format;
use wire::backend::{DataRow, tag};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::asking::{Asked, Request};
use super::super::scatter::out_of_step;
use super::super::shares::unshared;
use super::values::Work;

impl Session {
    pub(super) async fn read_clock(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        if work.needs_clock() {
            work.clock = Some(self.transaction_start().await?);
        }
        Ok(())
    }

    /// The start of the transaction by the clock of the first shard in it: timestamptz in binary.
    async fn transaction_start(&mut self) -> Result<[u8; 8], Fault> {
        if let Some(known) = self.transaction.clock {
            return Ok(known);
        }
        let first = self.transaction.branches.first();
        let shard = first.map_or_else(|| self.home(), |branch| branch.server.shard);
        let index = self.join_all(&[shard]).await?[0];
        let request = Request {
            identity: &unshared("SELECT pg_catalog.now()", &[]),
            named: false,
            parameters: &[],
            types: &[],
            result_formats: &[Format::Binary],
        };
        let mut asked = [self.ask(index, &request)?];
        let read = self.read_time(&mut asked).await;
        let time = self.unless_called_off(&mut asked, read).await?;
        if self.transaction.state != State::Idle {
            self.transaction.clock = Some(time);
        }
        Ok(time)
    }

    async fn read_time(&mut self, asked: &mut [Asked]) -> Result<[u8; 8], Fault> {
        let mut time = None;
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag == tag::DATA_ROW {
                let row = DataRow::parse(message.body())?;
                time = row.nth(0).flatten().and_then(|value| value.try_into().ok());
            }
        }
        time.ok_or_else(|| out_of_step().into())
    }
}
