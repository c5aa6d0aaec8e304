//! The schema history: every change is noted on every shard in its own transaction, so that a shard which lacks one is
//! known by its number (`schema/sql/history.sql`). Must never know what a change does.

use bytes::Bytes;
use wire::backend::Severity;

use super::super::super::fault::Fault;
use super::super::super::settings::first_value;
use super::super::super::state::Session;
use super::super::Invocation;
use super::super::calls::Call;
use super::super::entries::writes;
use crate::error::RouterError;
use crate::plan::{Ddl, Recorded};

const NOTE: &str = "SELECT oskol.note_schema_change($1, $2, $3, oskol.schema_settings(), $4)";
/// The kind of `oskol.shard_table` and its like.
pub(in crate::session::execute) const PLACEMENT: &str = "PLACE TABLE";

impl Session {
    /// Notes a statement that has run on all shards. `complete`: the home shard's CommandComplete; `also`: what every shard
    /// has run for it beyond what the plan says.
    pub(super) async fn record(
        &mut self,
        ddl: &Ddl,
        invocation: &Invocation<'_>,
        complete: &Bytes,
        also: &[String],
    ) -> Result<(), Fault> {
        let kind = command_tag(complete);
        let steps = steps(ddl, also).map(|steps| serde_json::Value::from(steps).to_string());
        match ddl.recorded {
            Recorded::No => Ok(()),
            Recorded::Text => {
                let steps = steps.unwrap_or_default();
                self.note_schema_change(invocation.text(), &kind, &steps)
                    .await
            }
            Recorded::Withheld => {
                let statement = format!("{kind} (not kept, as it may hold a password)");
                self.note_schema_change(&statement, &kind, "").await
            }
        }
    }

    /// Part of the transaction, in which every shard joins. `steps`: a JSON array of what shards other than home run for it, or
    /// nothing where one shard cannot do it again by itself.
    pub(in crate::session::execute) async fn note_schema_change(
        &mut self,
        statement: &str,
        kind: &str,
        steps: &str,
    ) -> Result<(), Fault> {
        let home = self.home();
        self.join_every_shard().await?;
        let mut calls = Vec::new();
        for shard in self.space.state.map.shards().to_vec() {
            let index = self.join(shard).await?;
            self.note_effect(index, writes());
            let steps = if shard == home { steps } else { "" };
            let arguments = vec![statement, kind, steps];
            calls.push(Call { shard, arguments });
        }
        let noted = self.call(NOTE, &calls).await?;
        let mut numbers = noted.iter().map(|rows| first_value(rows));
        let first = numbers.next();
        if numbers.all(|number| Some(number) == first) {
            return Ok(());
        }
        Err(different_histories().into())
    }

    /// The same in a transaction of its own, after a statement that cannot run in one and has taken effect: where that fails
    /// the client is warned.
    pub(super) async fn record_after(
        &mut self,
        ddl: &Ddl,
        invocation: &Invocation<'_>,
        complete: &Bytes,
    ) -> Result<(), Fault> {
        if ddl.recorded == Recorded::No {
            return Ok(());
        }
        self.release().await;
        self.open_around_ddl();
        let noted = async {
            let home = self.home();
            let home = self.join(home).await?;
            self.run_quietly(home, super::LOCK).await?;
            self.record(ddl, invocation, complete, &[]).await
        };
        let noted = noted.await;
        match self.ended(noted).await {
            Err(end @ (Fault::ClientGone(_) | Fault::Fatal(_))) => Err(end),
            Err(fault) => {
                tracing::warn!(?fault, "the schema history lacks a change that was made");
                self.notice(Severity::Warning, &not_recorded());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// What a shard other than home has run; none where it cannot do so again by itself.
fn steps(ddl: &Ddl, also: &[String]) -> Option<Vec<String>> {
    let first = match &ddl.again {
        Some(again) => again,
        None if ddl.outside_transaction => return None,
        None => ddl.text_other_shards.as_ref().unwrap_or(&ddl.text),
    };
    let all = std::iter::once(first)
        .chain(&ddl.every_shard_also)
        .chain(&ddl.other_shards_also)
        .chain(also);
    Some(all.filter(|step| !step.is_empty()).cloned().collect())
}

/// `CREATE TABLE`; of a query, `SELECT 5`, the word.
fn command_tag(complete: &Bytes) -> String {
    let tag = complete.get(5..).unwrap_or_default();
    let tag = String::from_utf8_lossy(tag);
    let tag = tag.trim_end_matches('\0');
    tag.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ')
        .to_owned()
}

fn not_recorded() -> RouterError {
    RouterError::new(
        "01000",
        "the statement has taken effect, but the schema history does not have it",
    )
}

fn different_histories() -> RouterError {
    RouterError::new(
        "57P03",
        "not all shards have made the same changes of the schema",
    )
    .detail("A shard was restored from an older backup than the others, or has lost changes.")
    .hint("VERIFY in the admin database lists what differs; restore all shards to one moment.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_without_a_count() {
        let complete = |tag: &str| {
            let mut out = bytes::BytesMut::new();
            wire::backend::write::command_complete(&mut out, tag.as_bytes());
            out.freeze()
        };
        assert_eq!(command_tag(&complete("CREATE TABLE")), "CREATE TABLE");
        assert_eq!(command_tag(&complete("SELECT 12")), "SELECT");
    }

    #[test]
    fn what_runs_outside_a_transaction_needs_a_text_that_does_not() {
        let mut ddl = Ddl {
            text: "create index concurrently i on t (a)".into(),
            outside_transaction: true,
            ..Ddl::default()
        };
        assert_eq!(steps(&ddl, &[]), None);
        ddl.again = Some("CREATE INDEX i ON t (a)".into());
        let also = ["SELECT 1".to_owned()];
        let expected = ["CREATE INDEX i ON t (a)", "SELECT 1"].map(str::to_owned);
        assert_eq!(steps(&ddl, &also), Some(expected.to_vec()));
    }

    #[test]
    fn the_other_shards_have_run_their_own_text() {
        let ddl = Ddl {
            text: "create table t as select 1".into(),
            text_other_shards: Some("CREATE TABLE t AS SELECT 1 WITH NO DATA".into()),
            ..Ddl::default()
        };
        let expected = vec!["CREATE TABLE t AS SELECT 1 WITH NO DATA".to_owned()];
        assert_eq!(steps(&ddl, &[]), Some(expected));
    }
}
