//! The first packet of a connection.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use wire::frontend::write;
use wire::startup::{MAX_PACKET, Startup, parse};

fuzz_target!(|data: &[u8]| {
    match parse(data, MAX_PACKET) {
        Err(error) => assert_eq!(error.sqlstate().len(), 5),
        Ok(None) => {}
        Ok(Some((startup, length))) => assert_eq!(anew(startup), data[..length]),
    }
});

fn anew(startup: Startup<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    match startup {
        Startup::Ssl => write::ssl_request(&mut out),
        Startup::Gss => write::gss_request(&mut out),
        Startup::Cancel { process_id, secret } => {
            write::cancel_request(&mut out, process_id, secret);
        }
        Startup::Start { minor, parameters } => {
            for (name, _) in parameters.iter() {
                assert!(parameters.get(name).is_some());
            }
            write::startup(&mut out, minor, parameters.iter());
        }
    }
    out
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    // The length put right, so that the fuzzer gets past it; now and then as it came.
    if size >= 4 && !seed.is_multiple_of(4) {
        data[..4].copy_from_slice(&(size as u32).to_be_bytes());
    }
    size
});
