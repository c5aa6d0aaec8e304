//! Packed lists inside a body: values (of Bind and DataRow) and object ids.

/// Values as they lie in a message, each behind its 32-bit length; checked when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values<'a> {
    count: u16,
    packed: &'a [u8],
}

impl<'a> Values<'a> {
    /// `packed` holds exactly `count` well-formed values.
    pub(crate) fn new(count: u16, packed: &'a [u8]) -> Self {
        Self { count, packed }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes of all values with their lengths, without the count.
    pub fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// The value at `index`, inner `None` for NULL; outer `None` beyond the last. Walks over the
    /// values before it.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Option<&'a [u8]>> {
        self.iter().nth(index)
    }

    #[inline]
    pub fn iter(&self) -> ValuesIter<'a> {
        ValuesIter {
            left: self.count,
            rest: self.packed,
        }
    }

    /// As [`Self::get`]; walks on from `place` where that is not behind `index`, and leaves it there: who asks for one after another
    /// walks over all of them once.
    #[inline]
    pub(crate) fn get_from(&self, place: &mut Place, index: usize) -> Option<Option<&'a [u8]>> {
        if usize::from(place.index) > index {
            *place = Place::default();
        }
        let mut values = ValuesIter {
            left: self.count.checked_sub(place.index)?,
            rest: self.packed.get(place.offset..)?,
        };
        let steps = index - usize::from(place.index);
        for _ in 0..steps {
            values.next()?;
        }
        *place = Place {
            index: u16::try_from(index).ok()?,
            offset: self.packed.len() - values.rest.len(),
        };
        values.next()
    }
}

/// Where a value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    index: u16,
    offset: usize,
}

impl<'a> IntoIterator for Values<'a> {
    type Item = Option<&'a [u8]>;
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Values`]; `None` inside is NULL.
#[derive(Debug, Clone)]
pub struct ValuesIter<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.rest = rest;
            return Some(None);
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Some(value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}

/// 32-bit object ids as they lie in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oids<'a> {
    packed: &'a [u8],
}

impl<'a> Oids<'a> {
    /// `packed` holds whole 32-bit words.
    pub(crate) fn new(packed: &'a [u8]) -> Self {
        Self { packed }
    }

    pub fn len(&self) -> usize {
        self.packed.len() / 4
    }

    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<u32> {
        let (words, _) = self.packed.as_chunks::<4>();
        words.get(index).map(|word| u32::from_be_bytes(*word))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'a {
        let (words, _) = self.packed.as_chunks::<4>();
        words.iter().map(|word| u32::from_be_bytes(*word))
    }
}
