//! INSERT into a sharded table: one row, or all rows of one key, to its shard; many rows divided.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;
use schema::{DefaultValue, KeyType};

use super::refusals::{key_default, null_key, uneven, unknown_key};
use super::rows::{Layout, RowLayout};
use super::target::{self, Target};
use super::{
    Job, Planned, conflict, from_query, from_select, is_default, is_default_values, items,
    key_value, lookup, others, rewrite, unnest, upsert,
};
use crate::error::RouterError;
use crate::plan::edits::Edits;
use crate::plan::key::Constant;
use crate::plan::tokens::Tokens;
use crate::plan::{
    Action, ByKey, Fallback, KeyExpr, Piece, Plan, Split, SplitInsert, SplitRow, sequence,
};

pub fn plan(job: &Job<'_>, target: &Target, key: usize, key_type: KeyType) -> Planned {
    conflict::keeps_key(job.insert, &target.relation, key)?;
    let rows = match super::values(job.insert) {
        Some(select) if !from_select::reads_by_key(job) => select.values_lists.as_slice(),
        None if is_default_values(job.insert) => &[],
        _ if has_arbiters(job, target)? => {
            return from_query::into_sharded(job, target, key, key_type);
        }
        _ => match unnest::plan(job, target, key, key_type) {
            Some(planned) => return planned,
            None => return from_select::into_sharded(job, target, key, key_type),
        },
    };
    job.others.only_reference()?;
    others::no_function_over_tables(job.facts, job.context)?;
    if target.breaks_always(job.insert, rows) {
        return Ok(Plan::new(
            Action::AnyShard,
            job.effect,
            "PostgreSQL refuses a value for GENERATED ALWAYS",
        ));
    }
    if rows
        .iter()
        .any(|row| items(row).len() != target.columns.len())
    {
        return Err(uneven(rows, target.columns.len()));
    }
    let keyed = Keyed {
        job,
        target,
        key,
        key_type,
    };
    match keyed.plan(rows) {
        Err(refused) if is_computable(&refused) => {
            let computed = from_query::into_sharded(job, target, key, key_type);
            computed.map_err(|_| refused)
        }
        planned => planned,
    }
}

/// ON CONFLICT may be about a row of another shard.
fn has_arbiters(job: &Job<'_>, target: &Target) -> Result<bool, RouterError> {
    Ok(!conflict::arbiters(job.insert, &target.relation)?.is_empty())
}

/// A PostgreSQL can compute the key, before the row's shard is chosen, or the value that ON CONFLICT is about.
fn is_computable(refused: &RouterError) -> bool {
    matches!(
        refused.id,
        "insert-key-unknown" | "insert-key-default" | "conflict-elsewhere"
    )
}

/// An INSERT whose rows each need a shard.
struct Keyed<'a> {
    job: &'a Job<'a>,
    target: &'a Target,
    key: usize,
    key_type: KeyType,
}

impl Keyed<'_> {
    fn plan(&self, rows: &[Node]) -> Planned {
        let arbiters = conflict::arbiters(self.job.insert, &self.target.relation)?;
        if !arbiters.is_empty() && !rows.is_empty() {
            let tokens = Tokens::of(&self.job.statement.text);
            let edits = self.target.edits(self.job, &tokens, rows)?;
            let divided = self.divided(rows, &tokens, &edits)?;
            let mut plan = upsert::plan(self.job, self.target, rows, divided, &arbiters)?;
            if let Action::Upsert(upsert) = &mut plan.action {
                let layout = Layout::of(&tokens, self.job.insert, rows.len());
                let rows = layout
                    .iter()
                    .flat_map(|layout| rows.iter().zip(&layout.rows));
                let rows: Vec<(&Node, &RowLayout)> = rows.collect();
                upsert.lookups =
                    lookup::all(self.job, self.target, &arbiters, &rows, &edits, &tokens);
            }
            return Ok(plan);
        }
        if let ([row], false, false) = (
            rows,
            self.needs_ids(rows),
            self.job.facts.calls(&sequence::FUNCTIONS),
        ) {
            return Ok(self.unchanged(self.key_of(row, None)?));
        }
        let tokens = Tokens::of(&self.job.statement.text);
        let edits = self.target.edits(self.job, &tokens, rows)?;
        if rows.len() < 2 {
            return self.one_row(rows.first(), &tokens, &edits);
        }
        self.many_rows(rows, &tokens, &edits)
    }

    fn needs_ids(&self, rows: &[Node]) -> bool {
        let defaulted = |row: &Node| items(row).iter().any(is_default);
        !self.target.absent_ids().is_empty()
            || rows.iter().any(defaulted)
            || super::overrides(
                self.job.insert,
                pg_query::protobuf::OverridingKind::OverridingUserValue,
            )
    }

    fn unchanged(&self, key: KeyExpr) -> Plan {
        let mut plan = self.by_key(key, None);
        plan.by_shape = true;
        plan
    }

    fn one_row(&self, row: Option<&Node>, tokens: &Tokens<'_>, edits: &Edits) -> Planned {
        let layout = Layout::of(tokens, self.job.insert, usize::from(row.is_some()));
        let at = layout.as_ref().and_then(|layout| layout.rows.first());
        let key = match (row, at) {
            (Some(row), Some(at)) => self.key_or_id(row, at, 0, edits)?,
            (Some(_), None) => return Err(target::unforeseen_form()),
            (None, _) => self.default_key(Some(self.appended_before()))?,
        };
        let rewrite = (!edits.is_empty()).then(|| rewrite(edits, self.job));
        Ok(self.by_key(key, rewrite))
    }

    fn many_rows(&self, rows: &[Node], tokens: &Tokens<'_>, edits: &Edits) -> Planned {
        let insert = self.divided(rows, tokens, edits)?;
        if let Some(key) = one_key(&insert.rows) {
            let rewrite = (!edits.is_empty()).then(|| rewrite(edits, self.job));
            return Ok(self.by_key(key, rewrite));
        }
        let reason = format!("rows divided by {}", self.key_name());
        Ok(Plan::new(
            Action::Split(Split::Insert(insert)),
            self.job.effect,
            reason,
        ))
    }

    /// The rows one by one, and what stands around them.
    fn divided(
        &self,
        rows: &[Node],
        tokens: &Tokens<'_>,
        edits: &Edits,
    ) -> Result<SplitInsert, RouterError> {
        let layout =
            Layout::of(tokens, self.job.insert, rows.len()).ok_or_else(target::unforeseen_form)?;
        let mut divided = Vec::with_capacity(rows.len());
        for (row, at) in rows.iter().zip(&layout.rows) {
            let key = self.key_or_id(row, at, at.span.start, edits)?;
            divided.push(SplitRow {
                text: edits.apply_with_parameters(tokens, at.span.clone()),
                key,
            });
        }
        let first = layout.rows.first().map_or(0, |row| row.span.start);
        let last = layout.rows.last().map_or(0, |row| row.span.end);
        Ok(SplitInsert {
            head: edits.apply_with_parameters(tokens, 0..first),
            rows: divided,
            tail: edits.apply_with_parameters(tokens, last..tokens.text.len()),
            key_type: self.key_type,
            client_parameters: self.job.facts.highest_parameter,
            returning: self.job.effect.returns_rows,
            may_skip_rows: conflict::may_skip_rows(self.job.insert),
        })
    }

    fn by_key(&self, key: KeyExpr, rewrite: Option<crate::plan::Rewrite>) -> Plan {
        let reason = format!(
            "{}.{} of the new row",
            self.target.relation.name,
            self.key_name()
        );
        let action = ByKey {
            key,
            key_type: self.key_type,
            fallback: Fallback::Refuse(unknown_key(self.key_name())),
            rewrite,
        };
        Plan::new(Action::ByKey(action), self.job.effect, reason)
    }

    fn position(&self) -> Option<usize> {
        self.target.position(self.key)
    }

    fn key_name(&self) -> &str {
        &self.target.relation.columns[self.key].name
    }

    /// The key of the row that stands at `at`; ids are counted from byte `from`.
    fn key_or_id(
        &self,
        row: &Node,
        at: &RowLayout,
        from: usize,
        edits: &Edits,
    ) -> Result<KeyExpr, RouterError> {
        let Some(position) = self.position() else {
            return self.default_key(Some(
                edits.ids_between(from, at.end_of_items()) + self.appended_before(),
            ));
        };
        let Some(span) = at.items.get(position) else {
            return Err(unknown_key(self.key_name()));
        };
        match edits.replacement(span) {
            Some(Piece::NextId(_)) => Ok(KeyExpr::GeneratedId(edits.ids_between(from, span.start))),
            _ => self.key_of(row, Some(position)),
        }
    }

    /// Ids appended before the key's own.
    fn appended_before(&self) -> usize {
        self.target
            .absent_ids()
            .iter()
            .take_while(|&&(column, _)| column != self.key)
            .count()
    }

    fn key_of(&self, row: &Node, position: Option<usize>) -> Result<KeyExpr, RouterError> {
        let Some(position) = position.or_else(|| self.position()) else {
            return self.default_key(None);
        };
        let Some(value) = items(row).get(position) else {
            return Err(unknown_key(self.key_name()));
        };
        if is_default(value) {
            return self.default_key(None);
        }
        if is_null(value) && !self.target.relation.columns[self.key].not_null {
            return Err(null_key(self.key_name()));
        }
        key_value::read(value, self.key_type).ok_or_else(|| unknown_key(self.key_name()))
    }

    /// The key is left to its default. `id`: the number of the id that the router gives to it.
    fn default_key(&self, id: Option<usize>) -> Result<KeyExpr, RouterError> {
        let column = &self.target.relation.columns[self.key];
        match (&column.default, id) {
            (DefaultValue::Sequence { .. } | DefaultValue::Identity { .. }, Some(id)) => {
                Ok(KeyExpr::GeneratedId(id))
            }
            // PostgreSQL says 23502.
            (DefaultValue::None, _) if column.not_null => Ok(null()),
            (DefaultValue::None, _) => Err(null_key(self.key_name())),
            _ => Err(key_default(&column.name)),
        }
    }
}

fn null() -> KeyExpr {
    KeyExpr::Literal {
        location: 0,
        negative: false,
        cast_to: None,
        value: Constant::Null,
    }
}

/// All rows have the same key, and it is written out.
fn one_key(rows: &[SplitRow]) -> Option<KeyExpr> {
    let first = &rows.first()?.key;
    let same = |row: &SplitRow| match (&row.key, first) {
        (KeyExpr::GeneratedId(_), _) => false,
        (
            KeyExpr::Literal {
                value,
                negative,
                cast_to,
                ..
            },
            KeyExpr::Literal {
                value: other,
                negative: other_negative,
                cast_to: other_cast,
                ..
            },
        ) => value == other && negative == other_negative && cast_to == other_cast,
        (key, first) => key == first,
    };
    rows.iter().all(same).then(|| first.clone())
}

fn is_null(value: &Node) -> bool {
    matches!(value.node.as_ref(), Some(NodeEnum::AConst(constant)) if constant.isnull)
}
