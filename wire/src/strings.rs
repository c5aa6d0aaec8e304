//! Lists of zero-terminated strings inside a body.

/// Strings one after another, each checked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strings<'a> {
    packed: &'a [u8],
}

impl<'a> Strings<'a> {
    /// `packed` is empty or ends with a zero byte.
    pub(crate) fn new(packed: &'a [u8]) -> Self {
        Self { packed }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        let mut rest = self.packed;
        std::iter::from_fn(move || {
            let end = memchr::memchr(0, rest)?;
            let string = &rest[..end];
            rest = &rest[end + 1..];
            Some(string)
        })
    }

    pub fn contains(&self, wanted: &[u8]) -> bool {
        self.iter().any(|string| string == wanted)
    }
}

/// Names and values one after another, an even number of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StringPairs<'a> {
    strings: Strings<'a>,
}

impl<'a> StringPairs<'a> {
    pub(crate) fn new(strings: Strings<'a>) -> Self {
        Self { strings }
    }

    /// In the order sent; a name may come twice, and then PostgreSQL takes the last.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + 'a {
        let mut strings = self.strings.iter();
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
    }

    /// The last value given for `name`.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .filter(|(key, _)| *key == name)
            .last()
            .map(|(_, value)| value)
    }
}
