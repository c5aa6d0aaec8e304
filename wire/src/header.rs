//! Where a message ends: its tag and length. Called for every message, so it does nothing else.

use crate::ProtocolError;

/// Bytes of a tag and a length word.
pub const LENGTH: usize = 5;

/// The longest message PostgreSQL itself takes or makes, in bytes (`PQ_LARGE_MESSAGE_LIMIT`).
pub const MAX_MESSAGE: usize = 0x3fff_ffff;

/// The first five bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the whole message: tag, length word and body.
    pub length: usize,
}

impl Header {
    /// The body of the message that `buf` starts with; `None` until all of it is there.
    #[inline]
    pub fn body<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        buf.get(LENGTH..self.length)
    }
}

/// Reads the header at the start of `buf`; `None` when fewer than five bytes are there.
///
/// `max` is the most that tag, length and body may take together, in bytes; below 5 it counts as 5.
///
/// # Errors
/// [`ProtocolError::MessageLength`] when the length word is below 4 or the whole is above `max`.
#[inline]
pub fn peek(buf: &[u8], max: usize) -> Result<Option<Header>, ProtocolError> {
    let Some(&[tag, a, b, c, d]) = buf.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let declared = u32::from_be_bytes([a, b, c, d]);
    // Wraps around below 4, so that one comparison finds both the too short and the too long.
    let body = declared.wrapping_sub(4) as usize;
    if body > max.saturating_sub(LENGTH) {
        return Err(too_long(tag, declared, max));
    }
    Ok(Some(Header {
        tag,
        length: body + LENGTH,
    }))
}

#[cold]
fn too_long(tag: u8, declared: u32, limit: usize) -> ProtocolError {
    ProtocolError::MessageLength {
        tag,
        declared,
        limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_once_five_bytes_are_there() {
        let message = [b'Q', 0, 0, 0, 6, b'x', 0];
        for end in 0..LENGTH {
            assert_eq!(peek(&message[..end], 100), Ok(None));
        }
        let header = peek(&message[..LENGTH], 100).unwrap().unwrap();
        assert_eq!(
            header,
            Header {
                tag: b'Q',
                length: 7
            }
        );
        assert_eq!(header.body(&message[..6]), None);
        assert_eq!(header.body(&message), Some(&b"x\0"[..]));
    }

    #[test]
    fn a_length_below_four_or_above_the_limit_is_an_error() {
        for declared in [0u32, 1, 2, 3, 10, 1 << 31, u32::MAX] {
            let [a, b, c, d] = declared.to_be_bytes();
            let error = peek(&[b'Q', a, b, c, d], 10).unwrap_err();
            assert_eq!(
                error,
                ProtocolError::MessageLength {
                    tag: b'Q',
                    declared,
                    limit: 10
                }
            );
            assert!(error.is_fatal());
            assert_eq!(error.sqlstate(), "08P01");
        }
    }

    #[test]
    fn the_limit_counts_the_whole_message() {
        assert_eq!(
            peek(&[b'd', 0, 0, 0, 9], 10),
            Ok(Some(Header {
                tag: b'd',
                length: 10
            }))
        );
        assert_eq!(
            peek(&[b'S', 0, 0, 0, 4], 0),
            Ok(Some(Header {
                tag: b'S',
                length: 5
            }))
        );
    }
}
