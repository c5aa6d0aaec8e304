//! Ids for the holes of a rewritten statement, and the texts that come of them. Ids are taken before a
//! shard is chosen, since one of them may be the key; like PostgreSQL's own they are never given back.

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::state::Session;
use crate::error::RouterError;
use crate::plan::{Piece, Rewrite, SequenceName};

/// The values of a statement's holes, in order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::session) struct Filling {
    /// Of every hole.
    pub values: Vec<i64>,
    /// Of `NextId` holes alone: what `KeyExpr::GeneratedId` counts.
    pub ids: Vec<i64>,
}

impl Session {
    /// Takes the next ids for `pieces`, and remembers them for `currval` and `lastval`.
    pub(in crate::session) async fn fill(&mut self, pieces: &[Piece]) -> Result<Filling, Fault> {
        let mut filling = Filling::default();
        for piece in pieces {
            match piece {
                Piece::NextId(sequence) => {
                    let id = self.next_id(sequence).await?;
                    filling.values.push(id);
                    filling.ids.push(id);
                }
                Piece::CurrentId(sequence) => {
                    filling.values.push(self.current_id(sequence.as_ref())?);
                }
                Piece::Text(_) | Piece::Parameter(_) => {}
            }
        }
        Ok(filling)
    }

    /// `nextval`.
    pub(in crate::session) async fn next_id(
        &mut self,
        sequence: &SequenceName,
    ) -> Result<i64, Fault> {
        let worker = Rc::clone(&self.worker);
        let id = worker.next_id(&self.database, sequence).await?;
        self.remember_id(sequence, id);
        Ok(id)
    }

    /// What `currval` and `lastval` give from now on.
    pub(in crate::session) fn remember_id(&mut self, sequence: &SequenceName, id: i64) {
        match self.last_ids.get_mut(sequence) {
            Some(last) => *last = id,
            None => {
                self.last_ids.insert(sequence.clone(), id);
            }
        }
        self.last_id = Some(id);
    }

    /// `currval` of a sequence; of `None`: `lastval`.
    pub(in crate::session) fn current_id(
        &self,
        sequence: Option<&SequenceName>,
    ) -> Result<i64, RouterError> {
        let known = match sequence {
            Some(sequence) => self.last_ids.get(sequence).copied(),
            None => self.last_id,
        };
        known.ok_or_else(|| not_yet_defined(sequence))
    }
}

/// PostgreSQL's own words: `sequence.c`.
fn not_yet_defined(sequence: Option<&SequenceName>) -> RouterError {
    let message = match sequence {
        Some(sequence) => format!(
            "currval of sequence \"{}\" is not yet defined in this session",
            sequence.name
        ),
        None => "lastval is not yet defined in this session".to_owned(),
    };
    RouterError::new("55000", message)
}

/// The text with its holes as literals of `nextval`'s type; the sign of a negative one is quoted, so that
/// it cannot meet another.
pub(in crate::session) fn literal_text(pieces: &[Piece], values: &[i64], out: &mut String) {
    use std::fmt::Write as _;
    let mut values = values.iter();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::NextId(_) | Piece::CurrentId(_) => {
                // One value was taken for every hole.
                let value = values.next().copied().unwrap_or_default();
                // Writing to a String cannot fail.
                let _ = if value < 0 {
                    write!(out, "'{value}'::bigint")
                } else {
                    write!(out, "{value}::bigint")
                };
            }
            Piece::Parameter(number) => {
                let _ = write!(out, "${number}");
            }
        }
    }
}

/// The whole text with its holes as the parameters that follow the first `own` ones.
pub(in crate::session) fn parameter_text(rewrite: &Rewrite, own: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut number = own;
    for piece in &rewrite.pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::NextId(_) | Piece::CurrentId(_) => {
                number += 1;
                // Writing to a String cannot fail.
                let _ = write!(text, "${number}");
            }
            Piece::Parameter(own) => {
                let _ = write!(text, "${own}");
            }
        }
    }
    text
}

/// How many holes a rewrite has.
pub(in crate::session) fn holes(rewrite: &Rewrite) -> usize {
    let hole = |piece: &&Piece| matches!(piece, Piece::NextId(_) | Piece::CurrentId(_));
    rewrite.pieces.iter().filter(hole).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence() -> SequenceName {
        SequenceName {
            schema: "public".into(),
            name: "t_id_seq".into(),
        }
    }

    fn rewrite() -> Rewrite {
        let text = |text: &str| Piece::Text(text.to_owned());
        let pieces = vec![
            text("INSERT INTO t VALUES ($1, "),
            Piece::NextId(sequence()),
            text(", -"),
            Piece::CurrentId(None),
            text(")"),
        ];
        Rewrite {
            pieces,
            client_parameters: 1,
        }
    }

    #[test]
    fn a_negative_id_behind_a_minus_makes_no_comment() {
        let mut text = String::new();
        literal_text(&rewrite().pieces, &[7, -8], &mut text);
        assert_eq!(text, "INSERT INTO t VALUES ($1, 7::bigint, -'-8'::bigint)");
    }

    #[test]
    fn holes_are_parameters_behind_the_clients_own() {
        assert_eq!(
            parameter_text(&rewrite(), 3),
            "INSERT INTO t VALUES ($1, $4, -$5)"
        );
        assert_eq!(holes(&rewrite()), 2);
    }
}
