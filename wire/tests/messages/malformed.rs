//! Cut, padded and damaged messages.

use bytes::BytesMut;
use wire::ProtocolError;

use crate::{again, samples};

type Again = fn(u8, &[u8]) -> Result<Option<BytesMut>, ProtocolError>;

fn both_sides() -> [(Again, Vec<samples::Sample>); 2] {
    [
        (again::frontend, samples::frontend()),
        (again::backend, samples::backend()),
    ]
}

#[test]
fn every_message_comes_out_as_it_went_in() {
    let (client, server) = samples::free_form();
    let free: [(Again, _); 2] = [(again::frontend, client), (again::backend, server)];
    for (read, messages) in both_sides().into_iter().chain(free) {
        for (name, message) in messages {
            let header = wire::header::peek(&message, 1_000).unwrap().unwrap();
            assert_eq!(header.length, message.len(), "{name}");
            let anew = read(header.tag, header.body(&message).unwrap()).expect(name);
            assert_eq!(anew.unwrap_or(message.clone()), message, "{name}");
        }
    }
}

#[test]
fn a_cut_body_is_an_error() {
    for (read, messages) in both_sides() {
        for (name, message) in messages {
            let (tag, body) = (message[0], &message[5..]);
            for end in 0..body.len() {
                let error = read(tag, &body[..end]).expect_err(name);
                assert!(!error.is_fatal(), "{name} cut at {end}: {error}");
                assert_eq!(error.sqlstate(), "08P01", "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for (read, messages) in both_sides() {
        for (name, message) in messages {
            for extra in [0, 1, b'x', 255] {
                let longer = [&message[5..], &[extra]].concat();
                assert!(read(message[0], &longer).is_err(), "{name} and {extra}");
            }
        }
    }
}

/// Any one byte replaced by any other: an error, or a message that comes out as it went in.
#[test]
fn a_damaged_body_never_panics() {
    let (client, server) = samples::free_form();
    let free: [(Again, _); 2] = [(again::frontend, client), (again::backend, server)];
    for (read, messages) in both_sides().into_iter().chain(free) {
        for (name, mut message) in messages {
            for index in 5..message.len() {
                let sound = message[index];
                for damage in 0..=255 {
                    message[index] = damage;
                    if let Ok(Some(anew)) = read(message[0], &message[5..]) {
                        assert_eq!(anew, message, "{name} with {damage} at {index}");
                    }
                }
                message[index] = sound;
            }
        }
    }
}

#[test]
fn every_tag_takes_every_body() {
    let (client, server) = samples::free_form();
    let bodies: Vec<_> = both_sides()
        .into_iter()
        .flat_map(|(_, all)| all)
        .chain(client)
        .chain(server)
        .collect();
    for (_, message) in &bodies {
        for tag in 0..=255 {
            let _ = again::frontend(tag, &message[5..]);
            let _ = again::backend(tag, &message[5..]);
        }
    }
}
