//! The pieces that writers of messages are made of.

use bytes::{BufMut, BytesMut};

/// Appends a message: tag, length, and what `body` writes.
#[inline]
pub(crate) fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    sized(out, body);
}

/// Appends a length word that counts itself, and what `body` writes.
#[inline]
pub(crate) fn sized(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    patch_length(out, start);
}

/// Writes the number of bytes from `start` on into the length word at `start`.
#[inline]
pub(crate) fn patch_length(out: &mut BytesMut, start: usize) {
    let length = out.len() - start;
    // What is written was read from messages below the caller's limits, far below 2 GiB; beyond it
    // the receiver would lose track of messages, which must not happen silently.
    assert!(
        length <= i32::MAX as usize,
        "a message of {length} bytes cannot be sent"
    );
    out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
}

/// Appends a message without body.
#[inline]
pub(crate) fn empty(out: &mut BytesMut, tag: u8) {
    out.put_slice(&[tag, 0, 0, 0, 4]);
}

/// Appends a zero-terminated string; what stands behind a zero byte inside is cut off.
#[inline]
pub(crate) fn string(out: &mut BytesMut, string: &[u8]) {
    let end = memchr::memchr(0, string).unwrap_or(string.len());
    out.put_slice(&string[..end]);
    out.put_u8(0);
}

/// Appends a 32-bit length and the value; -1 for NULL.
#[inline]
pub(crate) fn value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        // A value longer than the message's own limit is caught by `patch_length`.
        Some(value) => {
            out.put_u32(value.len() as u32);
            out.put_slice(value);
        }
    }
}

/// Appends a 16-bit count and each item. Stops after 65,535 items and returns false when there are
/// more.
#[inline]
pub(crate) fn counted<I: IntoIterator>(
    out: &mut BytesMut,
    items: I,
    mut put: impl FnMut(&mut BytesMut, I::Item),
) -> bool {
    let start = out.len();
    out.put_u16(0);
    let mut count = 0u16;
    let mut complete = true;
    for item in items {
        let Some(next) = count.checked_add(1) else {
            complete = false;
            break;
        };
        put(out, item);
        count = next;
    }
    out[start..start + 2].copy_from_slice(&count.to_be_bytes());
    complete
}
