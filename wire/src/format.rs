//! Text or binary, and packed lists of that choice.

use crate::ProtocolError;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Text,
    Binary,
}

impl Format {
    /// The code on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// The format of a code on the wire; `None` for any but 0 and 1.
    pub fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }
}

/// 16-bit format codes as they lie in a message, each known to be 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FormatCodes<'a> {
    packed: &'a [u8],
}

impl<'a> FormatCodes<'a> {
    /// `packed` holds whole 16-bit words.
    pub(crate) fn new(message: &'static str, packed: &'a [u8]) -> Result<Self, ProtocolError> {
        let (words, _) = packed.as_chunks::<2>();
        let wrong = words
            .iter()
            .map(|word| u16::from_be_bytes(*word))
            .find(|code| *code > 1);
        match wrong {
            None => Ok(Self { packed }),
            Some(code) => Err(ProtocolError::Value {
                message,
                what: "format code",
                value: code.into(),
            }),
        }
    }

    pub fn len(&self) -> usize {
        self.packed.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<Format> {
        let (words, _) = self.packed.as_chunks::<2>();
        words
            .get(index)
            .and_then(|word| Format::from_code(u16::from_be_bytes(*word)))
    }

    /// The format of the value at `index` by the rule of Bind: no code means text for all, one code
    /// stands for all, else there is one each.
    #[inline]
    pub fn of(&self, index: usize) -> Format {
        match self.packed {
            [] => Format::Text,
            [_, only] => {
                if *only == 0 {
                    Format::Text
                } else {
                    Format::Binary
                }
            }
            _ => self.get(index).unwrap_or_default(),
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Format> + 'a {
        let (words, _) = self.packed.as_chunks::<2>();
        words
            .iter()
            .map(|word| Format::from_code(u16::from_be_bytes(*word)).unwrap_or_default())
    }
}
