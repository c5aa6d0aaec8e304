//! The entries of one row that is tried: what a new row is in conflict with is no error then, but an answer.

use topology::BucketId;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::{Change, violation};

/// What came of entering a row.
pub(in crate::session::execute) enum Entered {
    /// Values, as [`one_form`] writes them, that it has got of the arbiters.
    All(Vec<String>),
    Conflict(Conflict),
}

/// Another row has the value that an entry asks for.
pub(in crate::session::execute) struct Conflict {
    /// Of the key.
    pub number: u32,
    pub bucket: BucketId,
    /// JSON array of the values, the shard key of the new row behind them.
    pub entry: String,
}

impl Session {
    /// Enters what the last statement has changed. It was the INSERT of one row that may be in conflict over
    /// the keys `arbiters`, which go first: as in PostgreSQL a conflict counts before another key's violation.
    ///
    /// # Errors
    /// Another key is violated; or one of `arbiters` is by the update of a row.
    pub(in crate::session::execute) async fn enter_tried(
        &mut self,
        arbiters: &[u32],
    ) -> Result<Entered, Fault> {
        let (changes, _) = self.take_first().await?;
        let arbitrates = |change: &Change| arbiters.contains(&change.number);
        // A new row takes no value away.
        let is_new = !changes
            .iter()
            .any(|change| arbitrates(change) && !change.adds);
        let (first, rest): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| is_new && arbitrates(change));
        let asked: Vec<Conflict> = first
            .iter()
            .map(|change| Conflict {
                number: change.number,
                bucket: change.bucket,
                entry: change.entry.clone(),
            })
            .collect();
        let mut got: Vec<String> = asked.iter().filter_map(|one| values(&one.entry)).collect();
        if let Err(fault) = self.enter_as_told(first).await {
            return self.conflict(fault, asked);
        }
        let updated = rest
            .iter()
            .filter(|change| arbitrates(change) && change.adds);
        got.extend(updated.filter_map(|change| values(&change.entry)));
        self.enter(rest).await?;
        Ok(Entered::All(got))
    }

    fn conflict(&self, fault: Fault, asked: Vec<Conflict>) -> Result<Entered, Fault> {
        let number = match &fault {
            Fault::Shard(message) => violation::number(message),
            _ => None,
        };
        let mut asked = asked.into_iter();
        match asked.find(|asked| Some(asked.number) == number) {
            Some(conflict) => Ok(Entered::Conflict(conflict)),
            None => Err(fault),
        }
    }
}

/// The values of an entry, without the shard key behind them.
fn values(entry: &str) -> Option<String> {
    let mut values: Vec<Option<String>> = serde_json::from_str(entry).ok()?;
    values.pop();
    Some(form(values))
}

/// The values of an entry that has no shard key behind them.
pub(in crate::session::execute) fn one_form_of(entry: &str) -> Option<String> {
    Some(form(serde_json::from_str(entry).ok()?))
}

fn form(values: Vec<Option<String>>) -> String {
    let values = values.into_iter();
    values
        .map(|value| value.map_or_else(|| "NULL".to_owned(), form_of_one))
        .collect()
}

/// A list of values as [`Entered::All`] tells it.
pub(in crate::session::execute) fn one_form(values: impl Iterator<Item = String>) -> String {
    values.map(form_of_one).collect()
}

/// With its length, so that no two lists look alike.
fn form_of_one(value: String) -> String {
    format!("{}:{value}", value.len())
}
