//! Column names to leaves, as PostgreSQL finds them: innermost level first. What cannot be told for
//! sure is not found.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef, Node};

use super::{Builder, Family, Leaf, LeafId, Level, Term};
use crate::plan::scope::string;

/// What one level has to say about a name.
enum Lookup {
    Found(Term),
    /// It is here, or may be, but cannot be told.
    Unclear,
    Elsewhere,
}

impl Builder<'_> {
    /// The column that an expression plainly is.
    pub(super) fn column_term(&self, node: &Node) -> Option<Term> {
        match node.node.as_ref()? {
            NodeEnum::ColumnRef(column) => self.resolve(column),
            _ => None,
        }
    }

    pub(super) fn resolve(&self, column: &ColumnRef) -> Option<Term> {
        let fields: Vec<&str> = column.fields.iter().map(string).collect::<Option<_>>()?;
        for level in self.levels.iter().rev().filter(|level| !level.hidden) {
            let lookup = match fields.as_slice() {
                [name] => self.unqualified(level, name),
                [relation, name] => self.qualified(level, None, relation, name),
                [schema, relation, name] => self.qualified(level, Some(schema), relation, name),
                _ => return None,
            };
            match lookup {
                Lookup::Found(term) => return Some(term),
                Lookup::Unclear => return None,
                Lookup::Elsewhere => {}
            }
        }
        None
    }

    fn visible<'b>(&'b self, level: &'b Level) -> impl Iterator<Item = (LeafId, &'b Leaf)> {
        level
            .leaves
            .iter()
            .skip(level.visible_from)
            .map(|&id| (id, &self.leaves[id.0]))
    }

    pub(super) fn unqualified_term(&self, level: &Level, name: &str) -> Option<Term> {
        match self.unqualified(level, name) {
            Lookup::Found(term) => Some(term),
            Lookup::Unclear | Lookup::Elsewhere => None,
        }
    }

    fn unqualified(&self, level: &Level, name: &str) -> Lookup {
        let merged = level
            .merged
            .iter()
            .rev()
            .find(|it| it.name == name && it.start >= level.visible_from);
        if let Some(merged) = merged {
            return merged.term.map_or(Lookup::Unclear, Lookup::Found);
        }
        let mut found = Vec::new();
        let mut unclear = false;
        for (id, leaf) in self
            .visible(level)
            .filter(|(_, leaf)| !leaf.name.is_empty())
        {
            match leaf.position(name) {
                Some(Ok(position)) => found.push(Term::Column(id, position)),
                Some(Err(())) => unclear = true,
                None => {}
            }
        }
        match found.as_slice() {
            [term] => Lookup::Found(*term),
            [] if !unclear => Lookup::Elsewhere,
            _ => Lookup::Unclear,
        }
    }

    fn qualified(&self, level: &Level, schema: Option<&str>, relation: &str, name: &str) -> Lookup {
        let is_named = |leaf: &Leaf| {
            leaf.name == relation
                && schema.is_none_or(|schema| {
                    leaf.relation()
                        .is_none_or(|relation| relation.schema == schema)
                })
        };
        let mut named = self.visible(level).filter(|(_, leaf)| is_named(leaf));
        let Some((id, leaf)) = named.next() else {
            return Lookup::Elsewhere;
        };
        match leaf.position(name) {
            Some(Ok(position)) if named.next().is_none() => {
                Lookup::Found(Term::Column(id, position))
            }
            _ => Lookup::Unclear,
        }
    }

    /// The family of a column; `None` where equality with it says nothing of hashes.
    pub(super) fn column_family(&self, leaf: LeafId, column: usize) -> Option<Family> {
        self.leaves[leaf.0].columns.as_ref()?.get(column)?.family
    }
}

impl Leaf {
    /// Where the column of that name is; `Err` where it cannot be told, `None` where it surely is not.
    fn position(&self, name: &str) -> Option<Result<usize, ()>> {
        let Some(columns) = &self.columns else {
            return Some(Err(()));
        };
        let mut named = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.name.as_deref() == Some(name));
        match (named.next(), named.next()) {
            (Some((position, _)), None) => Some(Ok(position)),
            (Some(_), Some(_)) => Some(Err(())),
            (None, _) if columns.iter().any(|column| column.name.is_none()) => Some(Err(())),
            (None, _) => None,
        }
    }
}
