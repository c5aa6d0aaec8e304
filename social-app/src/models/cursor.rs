//! Where a page of a list ended, as an opaque text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::Error;

/// Later than all rows.
const LATEST: OffsetDateTime = datetime!(9999-01-01 0:00 UTC);

/// Lists go from the newest to the oldest: what comes next is before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub created: OffsetDateTime,
    pub id: i64,
}

impl Cursor {
    /// In front of everything.
    pub const START: Cursor = Cursor {
        created: LATEST,
        id: i64::MAX,
    };

    /// None is the start.
    pub fn parse(text: Option<&str>) -> Result<Cursor, Error> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Cursor::START);
        };
        decode(text).ok_or_else(|| Error::invalid("cursor", "The cursor is not one of ours."))
    }

    pub fn encode(&self) -> String {
        let micros = (self.created.unix_timestamp_nanos() / 1000) as i64;
        let mut bytes = micros.to_be_bytes().to_vec();
        bytes.extend(self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn decode(text: &str) -> Option<Cursor> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = bytes.split_at(8);
    let micros = i64::from_be_bytes(micros.try_into().ok()?);
    let created = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    // Beyond these years PostgreSQL or the driver would have no such time.
    (1970..=9999).contains(&created.year()).then_some(Cursor {
        created,
        id: i64::from_be_bytes(id.try_into().ok()?),
    })
}

/// Some items, and where the next ones start; none: these were the last.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of rows that were asked for with a limit of one more than `size`.
    pub fn of(mut items: Vec<T>, size: usize, cursor: impl Fn(&T) -> Cursor) -> Page<T> {
        let more = items.len() > size;
        items.truncate(size);
        let last = items.last().filter(|_| more);
        let next = last.map(|last| cursor(last).encode());
        Page { items, next }
    }

    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = Cursor {
            created: datetime!(2026-01-02 03:04:05.678901 UTC),
            id: 42,
        };
        assert_eq!(Cursor::parse(Some(&cursor.encode())).unwrap(), cursor);
        assert_eq!(Cursor::parse(None).unwrap(), Cursor::START);
        assert!(Cursor::parse(Some("nonsense")).is_err());
        assert!(Cursor::parse(Some(&"_".repeat(22))).is_err());
    }
}
