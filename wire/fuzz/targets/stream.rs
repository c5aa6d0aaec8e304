//! What both directions of a session share: walking from message to message, and mutations that
//! leave the length words right, so that the fuzzer gets past them.

use bytes::BytesMut;
use libfuzzer_sys::fuzzer_mutate;
use wire::ProtocolError;
use wire::header::{LENGTH, peek};

/// The most that one message may take here, in bytes.
const MAX_MESSAGE: usize = 1 << 16;

type Again = fn(u8, &[u8]) -> Result<Option<BytesMut>, ProtocolError>;

/// Reads all messages up to the first that cannot be delimited; each comes out as it went in or is
/// an error, and none panics.
pub fn read(mut rest: &[u8], again: Again) {
    while let Some(message) = first(rest) {
        if let Ok(Some(anew)) = again(message[0], &message[LENGTH..]) {
            assert_eq!(anew, message);
        }
        rest = &rest[message.len()..];
    }
}

/// The whole message that `rest` starts with.
fn first(rest: &[u8]) -> Option<&[u8]> {
    match peek(rest, MAX_MESSAGE) {
        Ok(None) => assert!(rest.len() < LENGTH),
        Err(error) => assert!(error.is_fatal()),
        Ok(Some(header)) => return rest.get(..header.length),
    }
    None
}

/// Mutates the body of one message and puts its length right; now and then any bytes at all.
/// `start` is where the messages begin.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, start: usize, seed: u32) -> usize {
    let messages = spans(&data[..size], start);
    let room = max_size.saturating_sub(size);
    if messages.is_empty() || room == 0 || seed.is_multiple_of(4) {
        return fuzzer_mutate(data, size, max_size);
    }
    let (from, to) = messages[(seed / 4) as usize % messages.len()];
    let body_from = from + LENGTH;
    let mut body = vec![0; to - body_from + room];
    body[..to - body_from].copy_from_slice(&data[body_from..to]);
    let capacity = body.len();
    let length = fuzzer_mutate(&mut body, to - body_from, capacity);

    let new_size = size - (to - body_from) + length;
    data.copy_within(to..size, body_from + length);
    data[body_from..body_from + length].copy_from_slice(&body[..length]);
    data[from + 1..body_from].copy_from_slice(&(length as u32 + 4).to_be_bytes());
    new_size
}

/// From where to where each message goes.
fn spans(data: &[u8], mut at: usize) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    while let Some(message) = data.get(at..).and_then(first) {
        spans.push((at, at + message.len()));
        at += message.len();
    }
    spans
}
