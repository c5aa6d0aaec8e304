//! The last step of planning: what a plan's key expressions need to know of the whole statement.
//! Takes a plan and its statement's text; gives the plan. Knows no table.

use pg_query::protobuf::Token;

use super::gather::{Finish, Gather, Source};
use super::survey::ListedKeys;
use super::{Action, ByKey, EntryRoutes, KeyExpr, Plan, Split};
use crate::parse::shape::{LiteralKind, Shape};

impl Plan {
    /// Marks parameters that the statement uses more than once, and numbers the literals of a plan
    /// that is shared by shape. A plan whose literals cannot be found in every text of its shape is
    /// not shared.
    pub(super) fn finish(mut self, text: &str) -> Self {
        let uses = parameter_uses(text);
        let shared = &mut self.shared_keys;
        for_each_key(&mut self.action, &mut |key| mark_shared(key, &uses, shared));
        self.by_shape = self.by_shape && shares_by_shape(&mut self.action, text);
        self
    }
}

/// How often each `$n` stands in the text; index 0 is `$1`.
fn parameter_uses(text: &str) -> Vec<u32> {
    let mut uses = Vec::new();
    if !text.contains('$') {
        return uses;
    }
    let tokens = pg_query::scan_tokens(text).unwrap_or_default();
    for token in tokens.iter().filter(|token| token.token() == Token::Param) {
        let number = usize::try_from(token.start)
            .ok()
            .zip(usize::try_from(token.end).ok())
            .and_then(|(start, end)| text.get(start + 1..end)?.parse::<u16>().ok())
            .and_then(|number| usize::from(number).checked_sub(1));
        if let Some(index) = number {
            uses.resize(uses.len().max(index + 1), 0);
            uses[index] += 1;
        }
    }
    uses
}

fn for_each_key(action: &mut Action, visit: &mut impl FnMut(&mut KeyExpr)) {
    match action {
        Action::ByKey(plan) => visit(&mut plan.key),
        Action::Split(Split::Insert(insert)) => {
            insert.rows.iter_mut().for_each(|row| visit(&mut row.key))
        }
        Action::Upsert(upsert) => {
            let rows = upsert.insert.rows.iter_mut().map(|row| &mut row.key);
            let routes = upsert.routes.iter_mut().flatten();
            let values = routes.flat_map(|route| &mut route.columns);
            rows.chain(values.map(|value| &mut value.value))
                .for_each(visit);
        }
        Action::Split(Split::Keys { keys, .. }) => keys.iter_mut().for_each(visit),
        Action::Split(Split::KeyArray { array, .. }) => visit(array),
        Action::Scatter(scatter) => {
            let EntryRoutes {
                entry,
                listed,
                routed,
            } = &mut scatter.routes;
            let route = entry.iter_mut();
            let one = route.flat_map(|route| &mut route.columns);
            let listed = listed.iter_mut().chain(routed);
            let listed = listed.flat_map(|list| match &mut list.keys {
                ListedKeys::Each(keys) => keys.as_mut_slice(),
                ListedKeys::Array(array) => std::slice::from_mut(array),
            });
            let values = one.map(|value| &mut value.value);
            values.chain(listed).for_each(visit);
        }
        Action::Gather(gather) => for_each_key_of_sources(gather, visit),
        Action::Explain(explain) => for_each_key(&mut explain.inner.action, visit),
        _ => {}
    }
}

fn for_each_key_of_sources(gather: &mut Gather, visit: &mut impl FnMut(&mut KeyExpr)) {
    let mut sources: Vec<&mut Source> = Vec::new();
    sources.extend(gather.pulls.iter_mut().map(|pull| &mut pull.source));
    let mut rest = None;
    if let Finish::Shards {
        source, otherwise, ..
    } = &mut gather.place
    {
        sources.push(source);
        rest = otherwise.as_deref_mut();
    }
    for source in sources {
        match source {
            Source::Key { key, .. } | Source::KeyArray { array: key, .. } => visit(key),
            Source::Keys { keys, .. } => keys.iter_mut().for_each(&mut *visit),
            Source::Everywhere | Source::Home | Source::AnyShard | Source::Part(_) => {}
        }
    }
    if let Some(gather) = rest {
        for_each_key_of_sources(gather, visit);
    }
}

fn mark_shared(key: &mut KeyExpr, uses: &[u32], shared: &mut Vec<u16>) {
    match key {
        KeyExpr::Parameter { number, cast_to } => {
            let count = usize::from(*number)
                .checked_sub(1)
                .and_then(|index| uses.get(index));
            if count.is_some_and(|&count| count > 1) {
                shared.push(*number);
                *key = KeyExpr::SharedParameter {
                    number: *number,
                    cast_to: *cast_to,
                };
            }
        }
        KeyExpr::Arithmetic { left, right, .. } => {
            mark_shared(left, uses, shared);
            mark_shared(right, uses, shared);
        }
        _ => {}
    }
}

/// Whether the plan may be shared; its literals then are numbered.
fn shares_by_shape(action: &mut Action, text: &str) -> bool {
    let mut shape = Shape::default();
    if shape.read(text).is_err() {
        return false;
    }
    match action {
        Action::AnyShard | Action::Home => true,
        Action::ByKey(ByKey {
            key, rewrite: None, ..
        }) => {
            // All or nothing, so that no half-numbered key is left.
            let mut numbered = key.clone();
            let done = number_literals(&mut numbered, text, &shape);
            if done {
                *key = numbered;
            }
            done
        }
        _ => false,
    }
}

fn number_literals(key: &mut KeyExpr, text: &str, shape: &Shape) -> bool {
    match key {
        KeyExpr::Literal {
            location, negative, ..
        } => match ordinal(*location, *negative, text, shape) {
            Some((ordinal, minus)) => {
                *location = ordinal;
                // `-0` is folded to a 0 without a sign.
                *negative = minus;
                true
            }
            None => false,
        },
        KeyExpr::Arithmetic { left, right, .. } => {
            number_literals(left, text, shape) && number_literals(right, text, shape)
        }
        _ => true,
    }
}

/// The place among the shape's literals of the one at `location`, which may be that of its minus.
fn ordinal(location: u32, negative: bool, text: &str, shape: &Shape) -> Option<(u32, bool)> {
    let rest = text.get(location as usize..)?;
    let minus = rest.starts_with('-');
    if negative && !minus {
        return None;
    }
    let digits = if minus {
        rest[1..].trim_start_matches([' ', '\t', '\n', '\r', '\x0c'])
    } else {
        rest
    };
    let start = u32::try_from(text.len() - digits.len()).ok()?;
    let ordinal = shape.ordinal_at(start)?;
    let readable = shape.literals[ordinal].kind != LiteralKind::Other;
    readable
        .then_some(())
        .and_then(|()| Some((u32::try_from(ordinal).ok()?, minus)))
}
