//! COPY TO STDOUT of rows on several shards: all shards run it at once, and the client gets one output after
//! another, with one header.

use topology::ShardId;
use wire::backend::{CommandComplete, tag, write};

use super::super::fault::Fault;
use super::super::relay::WRITE_ABOVE;
use super::super::state::Session;
use super::Invocation;
use super::asking::Asked;
use crate::backend::Message;
use crate::plan::{CopyTo, Plan};
use crate::route::copy::Concatenation;

/// What has come so far.
struct Output {
    whole: Concatenation,
    rows: u64,
    /// The client has been told that data comes.
    begun: bool,
}

impl Session {
    pub(super) async fn copy_out(
        &mut self,
        copy: &CopyTo,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let shards: Vec<ShardId> = self.space.state.map.shards().to_vec();
        let mut output = Output {
            whole: Concatenation::new(&copy.options, shards.len()),
            rows: 0,
            begun: false,
        };
        let mut asked = self
            .ask_all(&shards, Some(&copy.text), plan.effect, invocation)
            .await?;
        let copied = self.copy_all_out(&mut asked, &mut output).await;
        self.unless_called_off(&mut asked, copied).await?;
        let end = output.whole.end();
        if !end.is_empty() {
            write::copy_data(&mut self.out, end);
        }
        write::copy_done(&mut self.out);
        self.answer_complete(&format!("COPY {}", output.rows));
        Ok(())
    }

    async fn copy_all_out(
        &mut self,
        asked: &mut [Asked],
        output: &mut Output,
    ) -> Result<(), Fault> {
        for position in 0..asked.len() {
            while let Some(message) = self.next_message(asked, position).await? {
                self.copy_message_out(&message, position, output)?;
                if self.out.len() > WRITE_ABOVE {
                    self.flush().await?;
                }
            }
        }
        Ok(())
    }

    fn copy_message_out(
        &mut self,
        message: &Message,
        position: usize,
        output: &mut Output,
    ) -> Result<(), Fault> {
        match message.tag {
            tag::COPY_OUT_RESPONSE if !std::mem::replace(&mut output.begun, true) => {
                self.out.extend_from_slice(&message.bytes);
            }
            tag::COPY_DATA => {
                let part = output.whole.message(position, message.body());
                if part.len() == message.body().len() {
                    self.out.extend_from_slice(&message.bytes);
                } else if !part.is_empty() {
                    write::copy_data(&mut self.out, part);
                }
            }
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::parse(message.body())?;
                output.rows += complete.rows().unwrap_or(0);
            }
            _ => {}
        }
        Ok(())
    }
}
