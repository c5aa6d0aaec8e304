//! Changes to a statement's text: byte ranges and what comes in their place. Gives [`Piece`]s. Knows
//! nothing of SQL.

use super::Piece;
use super::tokens::{Span, Tokens};

/// Changes to one text, in any order; they must not overlap.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<(Span, Vec<Piece>)>,
    /// In order of the text: then few are looked at to find one.
    sorted: bool,
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    pub fn replace(&mut self, span: Span, piece: Piece) {
        self.replace_all(span, vec![piece]);
    }

    pub fn replace_text(&mut self, span: Span, text: impl Into<String>) {
        self.replace(span, Piece::Text(text.into()));
    }

    pub fn insert_text(&mut self, at: usize, text: impl Into<String>) {
        self.replace_text(at..at, text);
    }

    pub fn replace_all(&mut self, span: Span, pieces: Vec<Piece>) {
        self.sorted = false;
        self.edits.push((span, pieces));
    }

    /// To be called when all changes are made, where there may be thousands.
    pub fn sort(&mut self) {
        // Stable: see `apply`.
        self.edits.sort_by_key(|(edit, _)| (edit.start, edit.end));
        self.sorted = true;
    }

    /// What replaces exactly `span`, if it is one piece.
    pub fn replacement(&self, span: &Span) -> Option<&Piece> {
        let (_, pieces) = self.inside(span).find(|(edited, _)| edited == span)?;
        pieces.first()
    }

    /// The changes that lie within `span`.
    fn inside(&self, span: &Span) -> impl Iterator<Item = &(Span, Vec<Piece>)> {
        let (start, end) = (span.start, span.end);
        self.starting_in(start, end)
            .filter(move |(edit, _)| edit.end <= end)
    }

    /// The changes that start between these bytes, both included.
    fn starting_in(&self, first: usize, last: usize) -> impl Iterator<Item = &(Span, Vec<Piece>)> {
        let edits = if self.sorted {
            let from = self.edits.partition_point(|(edit, _)| edit.start < first);
            let to = self.edits.partition_point(|(edit, _)| edit.start <= last);
            &self.edits[from..to.max(from)]
        } else {
            &self.edits[..]
        };
        let within = move |edit: &Span| edit.start >= first && edit.start <= last;
        edits.iter().filter(move |(edit, _)| within(edit))
    }

    /// The text within `span`, changed.
    pub fn apply(&self, text: &str, span: Span) -> Vec<Piece> {
        let mut inside: Vec<_> = self.inside(&span).collect();
        // Stable: several insertions at one place stay in the order in which they were made, and all of
        // them come before what replaces the text there.
        inside.sort_by_key(|(edit, _)| (edit.start, edit.end));
        let mut pieces = Vec::new();
        let mut at = span.start;
        for (edit, replacement) in inside {
            push_text(&mut pieces, &text[at..edit.start]);
            for piece in replacement {
                match piece {
                    Piece::Text(text) => push_text(&mut pieces, text),
                    hole => pieces.push(hole.clone()),
                }
            }
            at = edit.end;
        }
        push_text(&mut pieces, &text[at..span.end]);
        pieces
    }

    /// As [`Edits::apply`], with the client's `$n` cut out as [`Piece::Parameter`].
    pub fn apply_with_parameters(&self, tokens: &Tokens<'_>, span: Span) -> Vec<Piece> {
        let mut inside = Edits {
            edits: self.inside(&span).cloned().collect(),
            sorted: false,
        };
        let own = inside.edits.len();
        for (at, number) in tokens.parameters(span.clone()) {
            let mut made = inside.edits[..own].iter();
            if !made.any(|(edit, _)| edit.start <= at.start && at.end <= edit.end) {
                inside.replace(at, Piece::Parameter(number));
            }
        }
        inside.apply(tokens.text, span)
    }

    /// The whole text, changed; for edits that are text alone.
    pub fn to_text(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        for piece in self.apply(text, 0..text.len()) {
            if let Piece::Text(part) = piece {
                result.push_str(&part);
            }
        }
        result
    }

    /// How many [`Piece::NextId`] stand between `from` and `before`: the number of the next one.
    pub fn ids_between(&self, from: usize, before: usize) -> usize {
        let ids = |pieces: &[Piece]| {
            let is_id = |piece: &&Piece| matches!(piece, Piece::NextId(_));
            pieces.iter().filter(is_id).count()
        };
        self.starting_in(from, before)
            .filter(|(edit, _)| edit.start < before)
            .map(|(_, pieces)| ids(pieces))
            .sum()
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_and_parameters_are_cut_in_order_of_the_text() {
        let tokens = Tokens::of("($2, x, $1)");
        let mut edits = Edits::default();
        edits.insert_text(10, ", 7");
        edits.replace_text(5..6, "DEFAULT");
        let pieces = edits.apply_with_parameters(&tokens, 0..11);
        let text = |text: &str| Piece::Text(text.to_owned());
        let expected = [
            text("("),
            Piece::Parameter(2),
            text(", DEFAULT, "),
            Piece::Parameter(1),
            text(", 7)"),
        ];
        assert_eq!(pieces, expected);
    }
}
