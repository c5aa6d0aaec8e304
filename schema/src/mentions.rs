//! Which tables the bodies of functions mention, as words: what a function may touch, guessed on the
//! safe side. A body that builds names at run time escapes it.

use std::collections::{BTreeSet, HashMap};

use crate::rules::Placement;
use crate::snapshot::{Relation, RelationKind};

/// What a function, and all that it mentions, mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub sharded: BTreeSet<String>,
    pub local: bool,
    pub reference: bool,
}

impl Mentions {
    /// Whether anything was added.
    fn add(&mut self, other: &Mentions) -> bool {
        let before = (self.sharded.len(), self.local, self.reference);
        self.sharded.extend(other.sharded.iter().cloned());
        self.local |= other.local;
        self.reference |= other.reference;
        before != (self.sharded.len(), self.local, self.reference)
    }

    fn add_table(&mut self, relation: &Relation) {
        match relation.placement {
            Placement::Sharded { .. } => {
                self.sharded.insert(relation.name.clone());
            }
            Placement::Reference => self.reference = true,
            Placement::Local => self.local = true,
        }
    }
}

/// The mentions of each of `functions` (name, body), in order.
pub(crate) fn find<'a>(
    functions: &[(&str, Option<&str>)],
    relations: impl Iterator<Item = &'a Relation> + Clone,
) -> Vec<Mentions> {
    let tables = by_word(relations);
    let mut callees: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, (name, _)) in functions.iter().enumerate() {
        callees.entry(name.to_lowercase()).or_default().push(at);
    }
    let mut found = vec![Mentions::default(); functions.len()];
    let mut calls = Vec::new();
    for (caller, (_, body)) in functions.iter().enumerate() {
        for word in words(body.unwrap_or_default()) {
            if let Some(mentions) = tables.get(&word) {
                found[caller].add(mentions);
            }
            calls.extend(
                callees
                    .get(&word)
                    .into_iter()
                    .flatten()
                    .map(|callee| (caller, *callee)),
            );
        }
    }
    spread(&mut found, &calls);
    found
}

/// Passes what a callee mentions to its callers, until nothing changes.
fn spread(found: &mut [Mentions], calls: &[(usize, usize)]) {
    let mut changed = true;
    while changed {
        changed = false;
        for (caller, callee) in calls {
            let mentions = found[*callee].clone();
            changed |= found[*caller].add(&mentions);
        }
    }
}

/// What each relation's name, in lower case, stands for; a view for the tables that it reads.
fn by_word<'a>(relations: impl Iterator<Item = &'a Relation> + Clone) -> HashMap<String, Mentions> {
    let named: HashMap<(&str, &str), &Relation> = relations
        .clone()
        .map(|relation| ((&*relation.schema, &*relation.name), relation))
        .collect();
    let mut words: HashMap<String, Mentions> = HashMap::new();
    for relation in relations.filter(|relation| relation.schema != "oskol") {
        let mentions = words.entry(relation.name.to_lowercase()).or_default();
        if holds_rows(relation) {
            mentions.add_table(relation);
        }
        // A sequence has values on the home shard only.
        mentions.local |= relation.kind == RelationKind::Sequence;
        let below = relation
            .reads
            .iter()
            .filter_map(|name| named.get(&(&*name.0, &*name.1)));
        for table in below.filter(|relation| holds_rows(relation)) {
            mentions.add_table(table);
        }
    }
    words
}

fn holds_rows(relation: &Relation) -> bool {
    use RelationKind::{Foreign, MaterializedView, Partitioned, Table};
    matches!(
        relation.kind,
        Table | Partitioned | Foreign | MaterializedView
    )
}

fn words(body: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let words = body
        .split(|letter| !is_part(letter))
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::KeyType;

    fn table(name: &str, placement: Placement) -> Relation {
        Relation {
            schema: "public".into(),
            name: name.into(),
            placement,
            ..Relation::default()
        }
    }

    fn tables() -> Vec<Relation> {
        let sharded = Placement::Sharded {
            key: 0,
            key_type: KeyType::Int8,
        };
        let view = Relation {
            kind: RelationKind::View,
            reads: vec![("public".into(), "posts".into())],
            ..table("recent", Placement::Local)
        };
        vec![
            table("posts", sharded),
            table("countries", Placement::Reference),
            table("settings", Placement::Local),
            view,
        ]
    }

    fn of(bodies: &[(&str, &str)]) -> Vec<Mentions> {
        let bodies: Vec<_> = bodies
            .iter()
            .map(|(name, body)| (*name, Some(*body)))
            .collect();
        find(&bodies, tables().iter())
    }

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        let found = of(&[
            ("f", "SELECT * FROM public.POSTS"),
            ("g", "SELECT my_posts, posts_2"),
        ]);
        assert_eq!(found[0].sharded, BTreeSet::from(["posts".to_owned()]));
        assert_eq!(found[1], Mentions::default());
    }

    #[test]
    fn a_view_stands_for_its_tables() {
        let found = of(&[("f", "SELECT FROM recent")]);
        assert!(found[0].sharded.contains("posts") && !found[0].local);
    }

    #[test]
    fn what_a_callee_mentions_the_caller_mentions() {
        let found = of(&[
            ("a", "SELECT b()"),
            ("b", "SELECT c(), a()"),
            ("c", "DELETE FROM settings"),
        ]);
        assert!(found.iter().all(|mentions| mentions.local));
    }

    #[test]
    fn placements_are_told_apart() {
        let found = of(&[("f", "SELECT FROM countries")]);
        assert!(found[0].reference && !found[0].local && found[0].sharded.is_empty());
    }
}
