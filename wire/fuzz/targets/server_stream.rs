//! All a server sends; a leading `N` is its answer to a request for encryption.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

#[path = "../../tests/messages/again.rs"]
#[allow(dead_code)]
mod again;
mod stream;

fuzz_target!(|data: &[u8]| stream::read(&data[messages_start(data)..], again::backend));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let start = messages_start(&data[..size]);
    stream::mutate(data, size, max_size, start, seed)
});

/// An `N` that begins no notice: its length word would be larger than any message.
fn messages_start(data: &[u8]) -> usize {
    usize::from(data.starts_with(b"NR"))
}
