//! All a client sends: first packets, then messages.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use wire::startup;

#[path = "../../tests/messages/again.rs"]
#[allow(dead_code)]
mod again;
mod stream;

fuzz_target!(|data: &[u8]| stream::read(&data[messages_start(data)..], again::frontend));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let start = messages_start(&data[..size]);
    stream::mutate(data, size, max_size, start, seed)
});

/// Behind all well-formed first packets.
fn messages_start(data: &[u8]) -> usize {
    let mut at = 0;
    while let Ok(Some((_, length))) = startup::parse(&data[at..], startup::MAX_PACKET) {
        at += length;
    }
    at
}
