//! Errors name prepared statements as the client does, not as the router calls them on a server.

use bytes::{BufMut, BytesMut};

use super::extended::Extended;

/// Before the name, in PostgreSQL's messages in every language that quotes as English does.
const BEFORE: &[u8] = b" \"o";

/// The ErrorResponse with the client's name in place of `o<number>`; `None`: nothing to change.
pub(super) fn with_own_name(message: &[u8], extended: &Extended) -> Option<BytesMut> {
    let error = wire::backend::ErrorResponse::parse(message.get(5..)?).ok()?;
    // Of a Bind that does not fit, or a statement that is not there.
    if !matches!(error.sqlstate(), "08P01" | "26000") {
        return None;
    }
    let start = message
        .windows(BEFORE.len())
        .position(|window| window == BEFORE)?
        + BEFORE.len()
        - 1;
    let length = message[start..].iter().position(|byte| *byte == b'"')?;
    let known = &message[start..start + length];
    let own = extended.name_of(known)?;
    let mut changed = BytesMut::with_capacity(message.len() + own.len());
    changed.put_slice(&message[..start]);
    changed.put_slice(own);
    changed.put_slice(&message[start + length..]);
    let length = u32::try_from(changed.len() - 1).ok()?;
    changed[1..5].copy_from_slice(&length.to_be_bytes());
    Some(changed)
}
