//! What EXPLAIN tells of a statement before any shard does.

use topology::ShardId;

use super::super::super::fault::Fault;
use super::super::super::planning::OneShard;
use super::super::super::state::Session;
use super::super::Invocation;
use crate::error::RouterError;
use crate::merge::{Merge, RowCount};
use crate::plan::{Action, ByKey, Fallback, Plan, Scatter, SessionCommand, Split};

/// Where a statement goes, how its results become one, and why.
pub(super) struct Account<'a> {
    kind: &'static str,
    /// Ascending.
    pub shards: Vec<ShardId>,
    merge: Option<&'a Merge>,
    /// What the shards run in place of the client's own text.
    pub text: Option<&'a str>,
    why: &'a str,
    /// What would let it run on one shard.
    pub single_shard: Option<&'a str>,
    /// `why` is the name of the unique key.
    by_entry: bool,
    /// The column whose routing index has told the shards.
    route: Option<&'a str>,
}

/// The way of a statement that one shard does not run as it is.
enum Way<'a> {
    Home(&'static str),
    All(&'static str),
    Shards(&'static str, Vec<ShardId>, &'a Scatter),
}

impl Session {
    /// Where the statement inside would go now.
    pub(super) fn account<'a>(
        &self,
        inner: &'a Plan,
        invocation: &Invocation<'_>,
    ) -> Result<Account<'a>, Fault> {
        if let Action::Session(SessionCommand::DeclareCursor(declared)) = &inner.action {
            return self.account(&declared.plan, invocation);
        }
        if let OneShard::Shard(shard) = self.one_shard(inner, invocation.arguments()) {
            return Ok(Account::of_one(kind_of_one(inner), shard, inner));
        }
        let all = || self.space.state.map.shards().to_vec();
        Ok(match self.way(inner, invocation)? {
            Way::Home(kind) => Account::of_one(kind, self.home(), inner),
            Way::All(kind) => Account {
                shards: all(),
                ..Account::of_one(kind, self.home(), inner)
            },
            Way::Shards(kind, shards, scatter) => Account {
                kind,
                shards,
                merge: Some(&scatter.merge),
                text: scatter.text.as_deref(),
                why: &scatter.why,
                single_shard: None,
                by_entry: false,
                route: None,
            },
        })
    }

    fn way<'a>(&self, inner: &'a Plan, invocation: &Invocation<'_>) -> Result<Way<'a>, Fault> {
        let all = || self.space.state.map.shards().to_vec();
        Ok(match &inner.action {
            Action::Refuse(error) => return Err(error.clone().into()),
            Action::Temporary(_) | Action::Ddl(_) => Way::Home("home shard"),
            Action::ByKey(ByKey {
                rewrite: Some(_), ..
            }) => Way::Home("single-shard, ids filled in"),
            Action::ByKey(by_key) => match &by_key.fallback {
                Fallback::Refuse(error) => return Err(error.clone().into()),
                Fallback::Scatter(scatter) => Way::Shards("scatter", all(), scatter),
            },
            Action::Split(Split::Insert(_) | Split::Unnest(_)) => Way::Home("rows divided by key"),
            Action::InsertRows(rows) if rows.told_as == Some("UPDATE") => {
                Way::Home("rows moved to their keys")
            }
            Action::InsertRows(_) => Way::Home("rows of a query"),
            Action::Upsert(_) => Way::Home("rows tried one by one"),
            Action::Split(
                split @ (Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }),
            ) => {
                let listed = self.split_shards(split, invocation.arguments());
                Way::Shards("shards of the keys", listed.unwrap_or_else(all), scatter)
            }
            Action::Scatter(scatter) => Way::Shards("scatter", all(), scatter),
            Action::Broadcast(_) => Way::All("broadcast"),
            _ => return Err(not_explained().into()),
        })
    }
}

impl<'a> Account<'a> {
    fn of_one(kind: &'static str, shard: ShardId, inner: &'a Plan) -> Self {
        Self {
            kind,
            shards: vec![shard],
            merge: None,
            text: None,
            why: &inner.reason,
            single_shard: None,
            by_entry: false,
            route: None,
        }
    }

    /// The entry of a unique key has told the shard of the row.
    pub fn goes_by_entry(&mut self, shard: ShardId, key: &'a str) {
        self.kind = "through an entry";
        self.shards = vec![shard];
        self.merge = None;
        self.why = key;
        self.by_entry = true;
    }

    /// The entries of a unique key have told the shards of the rows.
    pub fn goes_by_list(&mut self, shards: Vec<ShardId>, key: &'a str) {
        self.kind = "through entries";
        self.shards = shards;
        self.why = key;
        self.by_entry = true;
    }

    pub fn goes_by_unique_key(&self) -> bool {
        self.by_entry
    }

    /// The entries of a routing index have told which shards have rows.
    pub fn goes_by_routing_index(&mut self, shards: Vec<ShardId>, column: &'a str) {
        self.shards = shards;
        self.route = Some(column);
    }

    pub fn lines(&self) -> Vec<String> {
        let shards = shards_in_words(&self.shards);
        let mut lines = vec![format!("Oskol: {}, {shards}", self.kind)];
        if self.by_entry {
            let values = match self.kind {
                "through entries" => "entries for the values",
                _ => "an entry for the value",
            };
            lines.push(format!("  Why: unique key \"{}\" has {values}", self.why));
        } else if !self.why.is_empty() {
            lines.push(format!("  Why: {}", self.why));
        }
        if let Some(column) = self.route {
            lines.push(format!("  Route: entries of {column}"));
        }
        if let Some(merge) = self.merge {
            lines.push(format!("  Merge: {}", merge_words(merge)));
        }
        if let Some(predicate) = self.single_shard
            && self.shards.len() > 1
        {
            lines.push(format!("  Single shard with: {predicate}"));
        }
        lines
    }
}

fn kind_of_one(inner: &Plan) -> &'static str {
    match &inner.action {
        Action::AnyShard => "any shard",
        Action::Home => "home shard",
        _ => "single-shard",
    }
}

/// `shards 0, 1, 2`
pub(in crate::session::execute) fn shards_in_words(shards: &[ShardId]) -> String {
    let word = if shards.len() == 1 { "shard" } else { "shards" };
    let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
    format!("{word} {}", shards.join(", "))
}

pub(in crate::session::execute) fn merge_words(merge: &Merge) -> String {
    let how = match merge {
        Merge::Concatenate { .. } => "one shard's rows after another's".to_owned(),
        Merge::Sort { keys, .. } => {
            let columns = keys.iter().map(|key| {
                let direction = if key.descending { " descending" } else { "" };
                format!("column {}{direction}", key.column + 1)
            });
            format!("sorted by {}", columns.collect::<Vec<_>>().join(", "))
        }
        Merge::Aggregate { .. } => "partial aggregates folded".to_owned(),
        Merge::CountOnly => "row counts added".to_owned(),
    };
    let (limit, offset) = merge.row_counts();
    how + &row_count(", offset", offset) + &row_count(", limit", limit)
}

fn row_count(word: &str, count: Option<&RowCount>) -> String {
    match count {
        None => String::new(),
        Some(RowCount::Constant(value)) => format!("{word} {value}"),
        Some(RowCount::Parameter(number)) => format!("{word} ${number}"),
    }
}

fn not_explained() -> RouterError {
    RouterError::unsupported(
        "explain-router-statement",
        "EXPLAIN of a statement that the router itself carries out is not supported",
    )
    .detail("No shard has a plan of its own for it.")
    .hint("Explain the query that it runs.")
}
