//! The table that an INSERT fills: which of its columns the values go to, and which ids the router
//! must add.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OverridingKind};
use schema::{DefaultValue, Relation};

use super::rows::{Layout, RowLayout};
use super::{Job, is_default, is_default_values, items, next_id, overrides};
use crate::error::RouterError;
use crate::plan::edits::Edits;
use crate::plan::tokens::{Span, Tokens};
use crate::plan::{Piece, SequenceName, names, sequence};

/// The table and the columns that the values go to, in order.
#[derive(Debug)]
pub struct Target {
    pub relation: Arc<Relation>,
    pub columns: Vec<usize>,
    /// They are written out.
    explicit: bool,
}

impl Target {
    pub fn of(relation: Arc<Relation>, insert: &InsertStmt) -> Result<Self, RouterError> {
        if insert.cols.is_empty() {
            let width = width(insert).unwrap_or(0).min(relation.columns.len());
            return Ok(Self {
                columns: (0..width).collect(),
                relation,
                explicit: false,
            });
        }
        let columns = insert
            .cols
            .iter()
            .map(|column| index_of(column, &relation))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            relation,
            columns,
            explicit: true,
        })
    }

    /// The same for rows of `width` values, where no column list is written.
    pub fn with_width(&self, width: usize) -> Self {
        let columns = if self.explicit {
            self.columns.clone()
        } else {
            (0..width.min(self.relation.columns.len())).collect()
        };
        Self {
            relation: Arc::clone(&self.relation),
            columns,
            explicit: self.explicit,
        }
    }

    /// A column list is written.
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Some column is GENERATED AS IDENTITY.
    pub fn has_identity(&self) -> bool {
        (0..self.relation.columns.len()).any(|column| self.identity(column))
    }

    /// The client gives, or without a column list may give, values for an identity column.
    pub fn gives_identity(&self) -> bool {
        let given = |column: usize| !self.explicit || self.position(column).is_some();
        (0..self.relation.columns.len()).any(|column| self.identity(column) && given(column))
    }

    /// The changes that name the columns of ids in front of a query.
    pub fn column_edits(&self, job: &Job<'_>, tokens: &Tokens<'_>, layout: &Layout) -> Edits {
        let mut edits = Edits::default();
        if self.fill_absent(job, layout, tokens, &mut edits) {
            override_system(job.insert, layout, &mut edits);
        }
        edits
    }

    /// Where among the values the column's is.
    pub fn position(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|&found| found == column)
    }

    /// Columns whose value the router makes when the client does not give it, with their sequences.
    fn generated(&self) -> impl Iterator<Item = (usize, SequenceName)> + '_ {
        self.relation
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| Some((index, sequence::of_default(&column.default)?)))
    }

    /// Generated columns that get no value from the client at all.
    pub fn absent_ids(&self) -> Vec<(usize, SequenceName)> {
        self.generated()
            .filter(|(column, _)| self.position(*column).is_none())
            .collect()
    }

    /// As [`Target::absent_ids`], for a query of `width` columns where no column list is written.
    pub fn absent_ids_of(&self, width: Option<usize>) -> Vec<(usize, SequenceName)> {
        match width {
            Some(width) if !self.explicit => self
                .generated()
                .filter(|(column, _)| *column >= width)
                .collect(),
            _ => self.absent_ids(),
        }
    }

    /// A column left out, or given as DEFAULT, whose default differs from one evaluation to the next.
    pub fn volatile_default(&self, insert: &InsertStmt) -> Option<&str> {
        let rows = super::values(insert).map_or(&[][..], |select| &select.values_lists);
        let is_used = |column: usize| match self.position(column) {
            None => true,
            Some(position) => rows
                .iter()
                .any(|row| items(row).get(position).is_some_and(is_default)),
        };
        self.relation
            .columns
            .iter()
            .enumerate()
            .find_map(|(index, column)| {
                let volatile = matches!(
                    column.default,
                    DefaultValue::Expression { volatile: true, .. }
                );
                (volatile && is_used(index)).then_some(column.name.as_str())
            })
    }

    fn always_identity(&self, column: usize) -> bool {
        matches!(
            self.relation.columns[column].default,
            DefaultValue::Identity { always: true, .. }
        )
    }

    fn identity(&self, column: usize) -> bool {
        matches!(
            self.relation.columns[column].default,
            DefaultValue::Identity { .. }
        )
    }

    /// A value is given for a GENERATED ALWAYS column without OVERRIDING: PostgreSQL's error 428C9, from
    /// the statement as it is.
    pub fn breaks_always(&self, insert: &InsertStmt, rows: &[Node]) -> bool {
        overrides(insert, OverridingKind::OverridingNotSet)
            && self
                .generated()
                .filter(|(column, _)| self.always_identity(*column))
                .any(|(column, _)| {
                    self.position(column).is_some_and(|position| {
                        rows.iter().any(|row| {
                            items(row)
                                .get(position)
                                .is_some_and(|value| !is_default(value))
                        })
                    })
                })
    }

    /// The changes that put ids into the text.
    pub fn edits(
        &self,
        job: &Job<'_>,
        tokens: &Tokens<'_>,
        rows: &[Node],
    ) -> Result<Edits, RouterError> {
        let mut edits = Edits::default();
        for (span, piece) in sequence::holes(job.facts, tokens, job.context)? {
            if matches!(piece, Piece::NextId(_)) && !is_once_a_row(job, tokens, rows, &span) {
                return Err(sequence::refusal("nextval"));
            }
            edits.replace(span, piece);
        }
        if self.generated().next().is_none() || self.breaks_always(job.insert, rows) {
            return Ok(edits);
        }
        let layout = Layout::of(tokens, job.insert, rows.len()).ok_or_else(unforeseen_form)?;
        let mut filled = self.fill_given(job, tokens, rows, &layout, &mut edits)?;
        filled |= self.fill_absent(job, &layout, tokens, &mut edits);
        if filled {
            override_system(job.insert, &layout, &mut edits);
        }
        edits.sort();
        Ok(edits)
    }

    /// Replaces DEFAULT, and what OVERRIDING USER VALUE sets aside. True: for a GENERATED ALWAYS column, or
    /// one that OVERRIDING USER VALUE would still set aside.
    fn fill_given(
        &self,
        job: &Job<'_>,
        tokens: &Tokens<'_>,
        rows: &[Node],
        layout: &Layout,
        edits: &mut Edits,
    ) -> Result<bool, RouterError> {
        let set_aside = overrides(job.insert, OverridingKind::OverridingUserValue);
        let mut needs_override = false;
        for (column, sequence) in self.generated() {
            let Some(position) = self.position(column) else {
                continue;
            };
            for (row, at) in rows.iter().zip(&layout.rows) {
                let (Some(value), Some(span)) = (items(row).get(position), at.items.get(position))
                else {
                    continue;
                };
                let dropped = set_aside && self.identity(column);
                if !is_default(value) && !dropped {
                    continue;
                }
                if tokens.parameters(span.clone()).next().is_some() {
                    return Err(dropped_parameter());
                }
                edits.replace(span.clone(), next_id(sequence.clone()));
                needs_override |= self.always_identity(column) || dropped;
            }
        }
        Ok(needs_override)
    }

    /// Adds the columns that are left out. True: one of them is an identity column whose value PostgreSQL
    /// would refuse or set aside.
    fn fill_absent(
        &self,
        job: &Job<'_>,
        layout: &Layout,
        tokens: &Tokens<'_>,
        edits: &mut Edits,
    ) -> bool {
        let absent = self.absent_ids();
        if absent.is_empty() {
            return false;
        }
        let set_aside = overrides(job.insert, OverridingKind::OverridingUserValue);
        let needs_override = absent.iter().any(|&(column, _)| {
            self.always_identity(column) || (set_aside && self.identity(column))
        });
        self.name_columns(&absent, layout, edits);
        if is_default_values(job.insert) {
            let mut pieces = vec![Piece::Text("VALUES (".to_owned())];
            push_ids(&absent, &mut pieces, false);
            pieces.push(Piece::Text(")".to_owned()));
            let first = tokens.index_at(layout.source);
            edits.replace_all(layout.source..tokens.span(first + 1).end, pieces);
        }
        for row in &layout.rows {
            append_ids(&absent, row, edits);
        }
        needs_override
    }

    fn name_columns(&self, absent: &[(usize, SequenceName)], layout: &Layout, edits: &mut Edits) {
        let quoted = |column: usize| names::quote_identifier(&self.relation.columns[column].name);
        let added = absent.iter().map(|&(column, _)| quoted(column));
        if let Some(close) = layout.columns_close {
            edits.insert_text(
                close,
                added.map(|name| format!(", {name}")).collect::<String>(),
            );
            return;
        }
        let all: Vec<_> = self
            .columns
            .iter()
            .map(|&column| quoted(column))
            .chain(added)
            .collect();
        edits.insert_text(layout.before_overriding, format!("({}) ", all.join(", ")));
    }
}

fn append_ids(absent: &[(usize, SequenceName)], row: &RowLayout, edits: &mut Edits) {
    let mut pieces = Vec::new();
    push_ids(absent, &mut pieces, true);
    edits.replace_all(row.end_of_items()..row.end_of_items(), pieces);
}

fn push_ids(absent: &[(usize, SequenceName)], pieces: &mut Vec<Piece>, mut comma: bool) {
    for (_, sequence) in absent {
        if comma {
            pieces.push(Piece::Text(", ".to_owned()));
        }
        pieces.push(next_id(sequence.clone()));
        comma = true;
    }
}

/// Ids made by the router are values to PostgreSQL, which takes them for GENERATED ALWAYS only so.
fn override_system(insert: &InsertStmt, layout: &Layout, edits: &mut Edits) {
    match &layout.overriding_user {
        Some(user) => edits.replace_text(user.clone(), "SYSTEM"),
        None if overrides(insert, OverridingKind::OverridingSystemValue) => {}
        None => edits.insert_text(layout.before_overriding, "OVERRIDING SYSTEM VALUE "),
    }
}

/// Whether an expression is evaluated exactly once for the row it stands in.
fn is_once_a_row(job: &Job<'_>, tokens: &Tokens<'_>, rows: &[Node], span: &Span) -> bool {
    let inside = |row: &RowLayout| row.span.start <= span.start && span.end <= row.span.end;
    job.facts.sublinks == 0
        && Layout::of(tokens, job.insert, rows.len())
            .is_some_and(|layout| layout.rows.iter().any(inside))
}

/// Number of values in a row.
fn width(insert: &InsertStmt) -> Option<usize> {
    match insert.select_stmt.as_deref()?.node.as_ref()? {
        NodeEnum::SelectStmt(select) => Some(
            select
                .values_lists
                .first()
                .map_or(select.target_list.len(), |row| items(row).len()),
        ),
        _ => None,
    }
}

fn index_of(column: &Node, relation: &Relation) -> Result<usize, RouterError> {
    let Some(NodeEnum::ResTarget(column)) = column.node.as_ref() else {
        return Err(unforeseen_form());
    };
    relation
        .columns
        .iter()
        .position(|found| found.name == column.name)
        .ok_or_else(|| {
            let message = format!(
                "column \"{}\" of relation \"{}\" does not exist",
                column.name, relation.name
            );
            RouterError {
                position: u32::try_from(column.location + 1).ok(),
                ..RouterError::new("42703", message)
            }
        })
}

pub fn unforeseen_form() -> RouterError {
    RouterError::unsupported("insert-form", "this form of INSERT is not supported")
        .detail("The router could not find where its rows stand in the text.")
        .hint("Write it as INSERT INTO table (columns) VALUES (...), (...).")
}

/// OVERRIDING USER VALUE sets aside values of a query.
pub fn dropped_source() -> RouterError {
    RouterError::unsupported(
        "overriding-user-value",
        "OVERRIDING USER VALUE is not supported over a query's values",
    )
    .hint("List the columns, and leave the identity column out of the INSERT and of its query.")
}

fn dropped_parameter() -> RouterError {
    RouterError::unsupported(
        "overriding-user-value",
        "OVERRIDING USER VALUE is not supported over a parameter",
    )
    .hint("Leave the identity column out of the INSERT.")
}
