//! UPDATE, DELETE and MERGE of a reference table: the same statement on every shard where it does the same to
//! every copy, else on one shard, whose rows the others get.

use pg_query::NodeEnum;
use schema::{DefaultValue, Placement, Relation};

use super::inserted::{self, assigned};
use crate::error::RouterError;
use crate::parse::Statement;
use crate::plan::edits::Edits;
use crate::plan::gather::lower::{self, Treatment};
use crate::plan::gather::{Finish, Gather, print};
use crate::plan::holds::{self, Holds};
use crate::plan::mirror::{self, Copying, Mirror};
use crate::plan::pins::Pins;
use crate::plan::place::Place;
use crate::plan::survey::{Leaf, LeafId, LeafKind, Survey};
use crate::plan::tokens::Tokens;
use crate::plan::{
    Action, Broadcast, Copies, Effect, Piece, Plan, PlanContext, Rewrite, unsupported, volatile,
};

/// One such statement being planned.
pub(super) struct Write<'a> {
    pub statement: &'a Statement,
    pub node: &'a NodeEnum,
    pub survey: &'a Survey,
    pub target: LeafId,
    pub place: Place,
    pub effect: Effect,
    pub context: &'a PlanContext<'a>,
}

impl Write<'_> {
    pub fn plan(&self) -> Result<Plan, RouterError> {
        if self.survey.writes.len() > 1 {
            return Err(unsupported::write_in_with());
        }
        let mut leaves = self.survey.leaves.iter();
        if let Some(other) = leaves.find(|leaf| leaf.shard_key().is_some()) {
            return self.over_shards(other);
        }
        let Some(culprit) = self.culprit() else {
            let broadcast = Broadcast {
                rewrite: None,
                copies: Copies::Alike(self.holds()?),
            };
            return Ok(self.broadcast(broadcast, "a reference table is written on every shard"));
        };
        if volatile::object_number(&self.survey.facts).is_some()
            || matches!(self.node, NodeEnum::MergeStmt(_))
        {
            return Err(unsupported::reference_write_volatile(&culprit));
        }
        let broadcast = self.mirrored_whole()?;
        Ok(self.broadcast(
            broadcast,
            &format!("{culprit} may differ from shard to shard: one shard makes the rows"),
        ))
    }

    fn broadcast(&self, broadcast: Broadcast, reason: &str) -> Plan {
        Plan::new(Action::Broadcast(broadcast), self.effect, reason)
    }

    /// What may do something else on every shard; `None`: nothing.
    fn culprit(&self) -> Option<String> {
        let local = self.survey.leaves.iter().find(|leaf| is_at_home(leaf));
        volatile::culprit(&self.survey.facts, self.context)
            .or_else(|| local.map(|leaf| format!("local table \"{}\"", leaf.name)))
            .or_else(|| {
                (self.place == Place::Home).then(|| "what only the home shard has".to_owned())
            })
            .or_else(|| self.picks().map(str::to_owned))
            .or_else(|| self.merged_default())
            .or_else(|| {
                volatile::trigger(self.relation()?, |trigger| match self.node {
                    NodeEnum::UpdateStmt(_) => trigger.on_update,
                    NodeEnum::DeleteStmt(_) => trigger.on_delete,
                    _ => true,
                })
            })
    }

    /// What may depend on the order in which rows are stored. MERGE does not: a row that it would change twice is
    /// an error.
    fn picks(&self) -> Option<&'static str> {
        let joins =
            matches!(self.node, NodeEnum::UpdateStmt(update) if !update.from_clause.is_empty());
        let facts = &self.survey.facts;
        if facts.has_array_of_rows {
            return Some("ARRAY of a query");
        }
        if facts.has_limit || facts.has_distinct_on_or_window {
            return Some("LIMIT, DISTINCT ON or a window");
        }
        joins.then_some("UPDATE ... FROM")
    }

    /// A column that MERGE leaves to a default of which each shard has its own.
    fn merged_default(&self) -> Option<String> {
        let NodeEnum::MergeStmt(merge) = self.node else {
            return None;
        };
        let column = inserted::left_to_default(merge, self.relation()?, is_own)?;
        Some(format!("the default of column \"{column}\""))
    }

    fn relation(&self) -> Option<&Relation> {
        self.survey.leaf(self.target).relation().map(AsRef::as_ref)
    }

    /// The rows of sharded and local tables are pulled, and handed to the shard that goes first.
    fn over_shards(&self, other: &Leaf) -> Result<Plan, RouterError> {
        let mut leaves = self.survey.leaves.iter();
        let unknown = leaves.any(|leaf| matches!(leaf.kind, LeafKind::Home));
        let object_number = volatile::object_number(&self.survey.facts).is_some();
        if unknown || object_number || matches!(self.node, NodeEnum::MergeStmt(_)) {
            return Err(from_others(other));
        }
        let treat = |leaf: LeafId| match &self.survey.leaf(leaf).kind {
            LeafKind::Table {
                placement: Placement::Reference,
                ..
            } => Treatment::Keep,
            _ => Treatment::Pull,
        };
        let pins = Pins::of(self.survey);
        let lowered = lower::statement(self.statement, self.survey, &pins, self.context, &treat)?;
        let (text, mirror) = self.mirrored(&lowered.text)?;
        let why = format!("{} has other rows on each shard", other.name);
        let gather = Gather {
            finish: print::cut(&text, &lowered.holes),
            pulls: lowered.pulls,
            place: Finish::Mirrored(mirror),
            why: why.clone(),
        };
        Ok(Plan::new(
            Action::Gather(Box::new(gather)),
            self.effect,
            why,
        ))
    }

    fn mirrored_whole(&self) -> Result<Broadcast, RouterError> {
        let (text, mirror) = self.mirrored(&self.statement.text)?;
        let rewrite = Rewrite {
            pieces: vec![Piece::Text(text)],
            client_parameters: self.survey.facts.highest_parameter,
        };
        Ok(Broadcast {
            rewrite: Some(rewrite),
            copies: Copies::Mirrored(mirror),
        })
    }

    /// `text` with the columns for the other shards in its RETURNING.
    fn mirrored(&self, text: &str) -> Result<(String, Mirror), RouterError> {
        let relation = self
            .relation()
            .ok_or_else(unsupported::syntax_not_understood)?;
        let copying = self.copying(relation)?;
        let tokens = Tokens::of(text);
        let alias = &self.survey.leaf(self.target).name;
        let (at, returning) = copying.returning(&tokens, relation, alias, self.effect.returns_rows);
        let mut edits = Edits::default();
        edits.insert_text(at, returning);
        Ok((edits.to_text(text), self.mirror(copying)?))
    }

    fn mirror(&self, copying: Copying) -> Result<Mirror, RouterError> {
        let outputs = self.survey.query(self.survey.root).outputs.as_ref();
        let visible = outputs.ok_or_else(unsupported::rewrite_not_possible)?.len();
        Ok(copying.into_mirror(visible, self.place == Place::Home, self.holds()?))
    }

    fn holds(&self) -> Result<Holds, RouterError> {
        let target = self
            .relation()
            .ok_or_else(unsupported::syntax_not_understood)?;
        Ok(holds::of_found(target, &self.survey.facts, self.context))
    }

    fn copying(&self, relation: &Relation) -> Result<Copying, RouterError> {
        match self.node {
            NodeEnum::UpdateStmt(update) => {
                let set: Vec<&str> = update.target_list.iter().filter_map(assigned).collect();
                mirror::update(relation, &set)
            }
            _ => mirror::delete(relation),
        }
    }
}

/// A default that is not the same on every shard.
fn is_own(default: &DefaultValue) -> bool {
    matches!(
        default,
        DefaultValue::Sequence { .. }
            | DefaultValue::Identity { .. }
            | DefaultValue::Expression { volatile: true, .. }
    )
}

fn is_at_home(leaf: &Leaf) -> bool {
    match &leaf.kind {
        LeafKind::Home => true,
        LeafKind::Table { placement, .. } => *placement == Placement::Local,
        _ => false,
    }
}

fn from_others(other: &Leaf) -> RouterError {
    unsupported::reference_write(
        "reference-write-from-others",
        format!("\"{}\" has other rows on each shard.", other.name),
        "Read the values first and pass them as constants or parameters.",
    )
}
