//! Arrays that hold one column of many rows: taken apart into elements, whose texts or bytes stay as they are,
//! and put together again for the rows of one shard.

use std::borrow::Cow;

use topology::ShardMap;
use wire::Format;

use super::value::declared;
use super::{Encoding, Target, place};
use schema::KeyType;

/// One element as it stands in the array; `None`: NULL.
type Element<'a> = Option<&'a [u8]>;

/// One column's array.
#[derive(Debug)]
pub struct Column<'a> {
    format: Format,
    elements: Vec<Element<'a>>,
    /// Of a binary array.
    element_type: u32,
}

impl<'a> Column<'a> {
    /// An array that is NULL has no rows.
    pub fn null() -> Self {
        Self {
            format: Format::Text,
            elements: Vec::new(),
            element_type: 0,
        }
    }

    /// An array in PostgreSQL's text form. `None`: it has more dimensions, a lower bound, or mistakes.
    pub fn text(text: &'a [u8]) -> Option<Self> {
        Some(Self {
            format: Format::Text,
            elements: text_elements(text)?,
            element_type: 0,
        })
    }

    /// An array in PostgreSQL's binary form. `None`: as with text.
    pub fn binary(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Words(bytes);
        let dimensions = rest.word()?;
        let flags = rest.word()?;
        let element_type = rest.word()?;
        let mut elements = Vec::new();
        if dimensions == 1 && flags <= 1 {
            let count = rest.word()?;
            (rest.word()? == 1).then_some(())?;
            for _ in 0..count {
                elements.push(rest.value()?);
            }
        }
        (dimensions <= 1 && flags <= 1 && rest.0.is_empty()).then_some(Self {
            format: Format::Binary,
            elements,
            element_type,
        })
    }

    pub fn rows(&self) -> usize {
        self.elements.len()
    }

    /// The shard of a row's key. `element`: the type of the elements where the array does not tell.
    pub fn target(
        &self,
        row: usize,
        element: u32,
        key_type: KeyType,
        encoding: Encoding,
        map: &ShardMap,
    ) -> Target {
        let Some(Some(raw)) = self.elements.get(row) else {
            return Target::Nowhere;
        };
        match self.format {
            Format::Binary if self.element_type != element => Target::Unknown,
            Format::Binary => {
                let value = declared(raw, Format::Binary, element);
                place(value, key_type, encoding, map)
            }
            Format::Text => {
                let text = unescaped(raw);
                let value = declared(&text, Format::Text, element);
                place(value, key_type, encoding, map)
            }
        }
    }

    /// The array of these rows; rows that it does not have are NULL.
    pub fn cut(&self, rows: &[usize]) -> Vec<u8> {
        match self.format {
            Format::Text => self.cut_text(rows),
            Format::Binary => self.cut_binary(rows),
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    fn element(&self, row: usize) -> Element<'a> {
        self.elements.get(row).copied().flatten()
    }

    fn cut_text(&self, rows: &[usize]) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.element(*row).unwrap_or(b"NULL"));
        }
        out.push(b'}');
        out
    }

    fn cut_binary(&self, rows: &[usize]) -> Vec<u8> {
        let has_null = rows.iter().any(|row| self.element(*row).is_none());
        let dimensions = u32::from(!rows.is_empty());
        let mut out = Vec::new();
        for word in [dimensions, u32::from(has_null), self.element_type] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        if rows.is_empty() {
            return out;
        }
        // As many as were in a message, whose lengths are 32 bits.
        for word in [rows.len() as u32, 1] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for row in rows {
            match self.element(*row) {
                Some(value) => {
                    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    out.extend_from_slice(value);
                }
                None => out.extend_from_slice(&u32::MAX.to_be_bytes()),
            }
        }
        out
    }
}

/// The element type of an array type a key may come in; `None`: any other type.
pub fn element_of(array_type: u32) -> Option<u32> {
    super::array::ELEMENT_OF
        .iter()
        .find(|(array, _)| *array == array_type)
        .map(|(_, element)| *element)
}

/// `{a,"b c",NULL}`: one dimension, no bounds.
fn text_elements(text: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    let mut rest = text.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    if rest == b"}" {
        return Some(elements);
    }
    loop {
        let length = element_length(rest)?;
        let (element, after) = rest.split_at(length);
        let element = element.trim_ascii_end();
        elements.push((!element.eq_ignore_ascii_case(b"null")).then_some(element));
        match after.trim_ascii_start() {
            [b',', after @ ..] => rest = after.trim_ascii_start(),
            b"}" => return Some(elements),
            _ => return None,
        }
    }
}

/// Bytes of the element at the start, quotes included.
fn element_length(text: &[u8]) -> Option<usize> {
    let quoted = text.first() == Some(&b'"');
    let mut at = usize::from(quoted);
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'"' if quoted => return Some(at + 1),
            _ if quoted => at += 1,
            // An element of another delimiter or dimension begins so.
            b'"' | b'{' | b'(' | b'[' => return None,
            b',' | b'}' => return (at > 0).then_some(at),
            _ => at += 1,
        }
    }
}

/// The value that PostgreSQL reads from an element.
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    let inner = raw
        .strip_prefix(b"\"")
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(raw);
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        value.extend(byte);
    }
    Cow::Owned(value)
}

/// Big-endian words off the front of a slice.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*word))
    }

    /// A value behind its length.
    fn value(&mut self) -> Option<Element<'a>> {
        let length = self.word()?;
        if length == u32::MAX {
            return Some(None);
        }
        let (value, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, rows: &[usize]) -> Option<String> {
        let column = Column::text(text.as_bytes())?;
        Some(String::from_utf8(column.cut(rows)).unwrap())
    }

    #[test]
    fn elements_keep_their_texts() {
        let text = r#" { a b ,"c,d" , NULL,"}{", e\,f , "g\"h" } "#;
        assert_eq!(cut(text, &[0, 2, 4]).unwrap(), r"{a b,NULL,e\,f}");
        assert_eq!(cut(text, &[5, 3, 1]).unwrap(), r#"{"g\"h","}{","c,d"}"#);
        assert_eq!(cut("{}", &[]).unwrap(), "{}");
    }

    #[test]
    fn a_shorter_array_is_filled_up_with_null() {
        assert_eq!(cut("{1,2}", &[1, 2]).unwrap(), "{2,NULL}");
    }

    #[test]
    fn what_is_not_one_list_is_not_cut() {
        for text in [
            "{{1},{2}}",
            "[0:1]={1,2}",
            "{1,2",
            "{1,,2}",
            "{1}2",
            "{(1,1),(0,0)}",
            "1",
            "{1,2,}",
            r#"{a"b"}"#,
        ] {
            assert_eq!(cut(text, &[0]), None, "{text}");
        }
    }

    fn binary(elements: &[Element<'_>]) -> Vec<u8> {
        let column = Column {
            format: Format::Binary,
            elements: elements.to_vec(),
            element_type: 20,
        };
        column.cut(&(0..elements.len()).collect::<Vec<_>>())
    }

    #[test]
    fn binary_arrays_are_cut_as_they_are() {
        let whole = binary(&[Some(b"one"), None, Some(b""), Some(b"four")]);
        let column = Column::binary(&whole).unwrap();
        assert_eq!(column.rows(), 4);
        assert_eq!(column.cut(&[0, 2]), binary(&[Some(b"one"), Some(b"")]));
        assert_eq!(column.cut(&[1, 9]), binary(&[None, None]));
        assert_eq!(Column::binary(&binary(&[])).unwrap().rows(), 0);
        assert!(Column::binary(&whole[..whole.len() - 1]).is_none());
    }
}
