//! Explicit joins: ON, USING, NATURAL, and what their columns are called.

use pg_query::protobuf::{JoinExpr, JoinType};

use super::{Builder, Conditions, Join, LeafId, Term};
use crate::error::RouterError;
use crate::plan::scope::string;
use crate::plan::unsupported;

impl Builder<'_> {
    pub(super) fn join(&mut self, join: &JoinExpr) -> Result<Join, RouterError> {
        let start = self.levels.last().map_or(0, |level| level.leaves.len());
        let merged_before = self.levels.last().map_or(0, |level| level.merged.len());
        let missing = unsupported::syntax_not_understood;
        let left = self.join_item(join.larg.as_deref().ok_or_else(missing)?)?;
        let middle = self.levels.last().map_or(0, |level| level.leaves.len());
        let right = self.join_item(join.rarg.as_deref().ok_or_else(missing)?)?;
        let visible_before = self.limit_visibility(start);
        let mut on = self.conditions(join.quals.as_deref())?;
        self.limit_visibility(visible_before);
        self.merge_columns(join, start, middle, &mut on);
        if let Some(alias) = &join.alias {
            self.hide_leaves(start, merged_before, &alias.aliasname);
        } else if let Some(alias) = &join.join_using_alias {
            self.opaque(&alias.aliasname);
        }
        Ok(joined(join.jointype(), left, right, on))
    }

    /// Makes only the leaves from `start` on visible; gives what it was before.
    fn limit_visibility(&mut self, start: usize) -> usize {
        self.levels
            .last_mut()
            .map_or(0, |level| std::mem::replace(&mut level.visible_from, start))
    }

    /// USING and NATURAL: equal columns, and one merged column by the bare name.
    fn merge_columns(&mut self, join: &JoinExpr, start: usize, middle: usize, on: &mut Conditions) {
        let Some(level) = self.levels.last() else {
            return;
        };
        let sides = (
            level.leaves[start..middle].to_vec(),
            level.leaves[middle..].to_vec(),
        );
        let names: Vec<String> = match join.is_natural {
            true => self.common_names(&sides.0, &sides.1),
            false => join
                .using_clause
                .iter()
                .filter_map(string)
                .map(str::to_owned)
                .collect(),
        };
        for name in names {
            let left = self.side_column(&sides.0, &name);
            let right = self.side_column(&sides.1, &name);
            let both = left.zip(right);
            on.facts
                .extend(both.and_then(|(left, right)| self.equal_columns(left, right)));
            let merged = both.and_then(|(left, right)| match join.jointype() {
                JoinType::JoinInner | JoinType::JoinLeft => Some(left),
                JoinType::JoinRight => Some(right),
                _ => None,
            });
            if let Some(level) = self.levels.last_mut() {
                level.merged.push(super::Merged {
                    name,
                    term: merged,
                    start,
                });
            }
        }
    }

    /// The column of that name on one side of a join.
    fn side_column(&self, leaves: &[LeafId], name: &str) -> Option<Term> {
        let merged = self
            .levels
            .last()?
            .merged
            .iter()
            .rev()
            .filter(|merged| merged.name == name);
        let own = merged
            .filter_map(|merged| merged.term)
            .find(|term| match term {
                Term::Column(leaf, _) => leaves.contains(leaf),
                Term::Value(_) => false,
            });
        if own.is_some() {
            return own;
        }
        let level = super::Level {
            leaves: leaves.to_vec(),
            ..super::Level::default()
        };
        self.unqualified_term(&level, name)
    }

    /// Column names on both sides, for NATURAL; where a side's names are not known, none is.
    fn common_names(&self, left: &[LeafId], right: &[LeafId]) -> Vec<String> {
        let (Some(left), Some(right)) = (self.names_of(left), self.names_of(right)) else {
            return Vec::new();
        };
        left.into_iter()
            .filter(|name| right.contains(name))
            .collect()
    }

    fn names_of(&self, leaves: &[LeafId]) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for leaf in leaves {
            for column in self.leaves[leaf.0].columns.as_ref()? {
                names.push(column.name.clone()?);
            }
        }
        names.dedup();
        Some(names)
    }

    /// `(a JOIN b ...) AS alias`: only the alias is visible from outside.
    fn hide_leaves(&mut self, start: usize, merged_before: usize, alias: &str) {
        if let Some(level) = self.levels.last_mut() {
            level.merged.truncate(merged_before);
            for leaf in &level.leaves[start..] {
                self.leaves[leaf.0].name.clear();
            }
        }
        self.opaque(alias);
    }
}

fn joined(kind: JoinType, left: Join, right: Join, on: Conditions) -> Join {
    let (left, right) = (Box::new(left), Box::new(right));
    match kind {
        JoinType::JoinInner => Join::Inner { left, right, on },
        JoinType::JoinLeft => Join::Outer {
            kept: left,
            nullable: right,
            on,
        },
        JoinType::JoinRight => Join::Outer {
            kept: right,
            nullable: left,
            on,
        },
        _ => Join::Full { left, right, on },
    }
}
