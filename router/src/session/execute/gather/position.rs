//! Errors of texts that the client has not written.

use bytes::{BufMut, Bytes, BytesMut};
use wire::backend::{ErrorResponse, tag};

use super::super::super::fault::Fault;

/// `P` of section "Error and Notice Message Fields".
const POSITION: u8 = b'P';

/// A shard's error without its position: it is that in a text of the router's own.
pub(in crate::session::execute) fn without_position(fault: Fault) -> Fault {
    match fault {
        Fault::Shard(message) => Fault::Shard(cut(&message).unwrap_or(message)),
        other => other,
    }
}

fn cut(message: &Bytes) -> Option<Bytes> {
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    error.field(POSITION)?;
    let mut body = BytesMut::with_capacity(message.len());
    for (code, text) in error.fields().filter(|(code, _)| *code != POSITION) {
        body.put_u8(code);
        body.put_slice(text);
        body.put_u8(0);
    }
    body.put_u8(0);
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(tag::ERROR_RESPONSE);
    out.put_u32(u32::try_from(body.len() + 4).ok()?);
    out.put_slice(&body);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_position_goes() {
        let body = b"SERROR\0C42883\0Mno\0P17\0Rparse\0\0";
        let mut message = BytesMut::from(&b"E\0\0\0\0"[..]);
        message.put_slice(body);
        let length = u32::try_from(message.len() - 1).unwrap();
        message[1..5].copy_from_slice(&length.to_be_bytes());
        let Fault::Shard(cut) = without_position(Fault::Shard(message.freeze())) else {
            panic!("another fault");
        };
        assert_eq!(&cut[5..], b"SERROR\0C42883\0Mno\0Rparse\0\0");
        assert_eq!(cut[1..5], 30_u32.to_be_bytes());
    }
}
