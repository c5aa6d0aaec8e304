//! Writes one shard's part of a statement: its text and the parameters that this text uses.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use topology::ShardId;
use wire::Format;
use wire::frontend::Bind;

use super::super::Invocation;
use super::super::filling::{self, Filling};
use super::super::shares::{Parameter, Share};
use crate::plan::Piece;

/// Writes one shard's text. Its parameters are numbered anew, in the order of their first use.
pub(in crate::session::execute) struct Writer<'a, 'b> {
    pub text: String,
    types: &'b [u32],
    bind: Option<&'a Bind<'a>>,
    numbers: FxHashMap<u16, usize>,
    own_types: Vec<u32>,
    parameters: Vec<Parameter<'a>>,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub fn new(types: &'b [u32], invocation: &Invocation<'a>) -> Self {
        let bind = match invocation {
            Invocation::Simple { .. } => None,
            Invocation::Extended { bind, .. } => Some(*bind),
        };
        Self {
            text: String::new(),
            types,
            bind,
            numbers: FxHashMap::default(),
            own_types: Vec::new(),
            parameters: Vec::new(),
        }
    }

    pub fn pieces(&mut self, pieces: &[Piece], filling: &Filling) {
        let mut values = filling.values.iter();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text.push_str(text),
                Piece::Parameter(number) => self.parameter(*number),
                Piece::NextId(_) | Piece::CurrentId(_) => {
                    if let Some(value) = values.next() {
                        self.id(*value);
                    }
                }
            }
        }
    }

    /// Pieces without ids.
    pub fn text_pieces(&mut self, pieces: &[Piece]) {
        self.pieces(pieces, &Filling::default());
    }

    /// `value` in the place of the client's `$number`, which is used once.
    pub fn array(&mut self, number: u16, value: Parameter<'a>) {
        let oid = self.types.get(usize::from(number).wrapping_sub(1));
        let own = self.append(oid.copied().unwrap_or(0), value);
        self.write_number(own);
    }

    /// The client's `$number`.
    fn parameter(&mut self, number: u16) {
        let index = usize::from(number).wrapping_sub(1);
        let own = match self.numbers.get(&number) {
            Some(own) => *own,
            None => {
                let bound = self.bind.and_then(|bind| bind.parameter(index));
                let (format, value) = bound.unwrap_or((Format::Text, None));
                let oid = self.types.get(index).copied().unwrap_or(0);
                let own = self.append(oid, (format, value.map(Cow::Borrowed)));
                self.numbers.insert(number, own);
                own
            }
        };
        self.write_number(own);
    }

    /// Its number in the text.
    fn append(&mut self, oid: u32, parameter: Parameter<'a>) -> usize {
        self.own_types.push(oid);
        self.parameters.push(parameter);
        self.parameters.len()
    }

    fn write_number(&mut self, own: usize) {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(self.text, "${own}");
    }

    fn id(&mut self, value: i64) {
        let hole = [Piece::CurrentId(None)];
        filling::literal_text(&hole, &[value], &mut self.text);
    }

    pub fn share(self, shard: ShardId) -> Share<'a> {
        Share {
            shard,
            text: self.text,
            types: self.own_types,
            parameters: self.parameters,
        }
    }
}
