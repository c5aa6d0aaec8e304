//! Sessions recorded between real clients and PostgreSQL (see `tests/recorded/README.md`).

use wire::header::{MAX_MESSAGE, peek};
use wire::startup::{self, Startup};

use crate::again;

macro_rules! recorded {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../recorded/", $name, ".client")),
            include_bytes!(concat!("../recorded/", $name, ".server")),
        )
    };
}

/// A session's name, its client's bytes and its server's.
const SESSIONS: [(&str, &[u8], &[u8]); 5] = [
    recorded!("psql"),
    recorded!("pgbench"),
    recorded!("extended"),
    recorded!("ssl_refused"),
    recorded!("wrong_password"),
];

#[test]
fn every_message_of_a_server_is_read_to_the_last_byte() {
    let mut tags = std::collections::BTreeSet::new();
    for (name, _, server) in SESSIONS {
        let mut rest = server
            .strip_prefix(b"N")
            .filter(|_| name == "ssl_refused")
            .unwrap_or(server);
        while let Some(header) = peek(rest, MAX_MESSAGE).unwrap() {
            let (message, behind) = rest.split_at(header.length);
            let anew = again::backend(header.tag, &message[5..]).expect(name);
            assert_eq!(anew.as_deref().unwrap_or(message), message, "{name}");
            tags.insert(header.tag as char);
            rest = behind;
        }
        assert!(rest.is_empty(), "{name}");
    }
    assert_eq!(tags.iter().collect::<String>(), "123ACDEGHIKNRSTVZcdnstv");
}

#[test]
fn every_message_of_a_client_is_read_to_the_last_byte() {
    let mut tags = std::collections::BTreeSet::new();
    for (name, client, _) in SESSIONS {
        let mut rest = behind_startup(client);
        while let Some(header) = peek(rest, MAX_MESSAGE).unwrap() {
            let (message, behind) = rest.split_at(header.length);
            let anew = again::frontend(header.tag, &message[5..]).expect(name);
            assert_eq!(anew.as_deref().unwrap_or(message), message, "{name}");
            tags.insert(header.tag as char);
            rest = behind;
        }
        assert!(rest.is_empty(), "{name}");
    }
    assert_eq!(tags.iter().collect::<String>(), "BCDEFHPQSXcdfp");
}

fn behind_startup(mut client: &[u8]) -> &[u8] {
    loop {
        let (packet, length) = startup::parse(client, startup::MAX_PACKET)
            .unwrap()
            .unwrap();
        client = &client[length..];
        if let Startup::Start { parameters, .. } = packet {
            assert_eq!(parameters.get(b"user"), Some(&b"oskol"[..]));
            return client;
        }
    }
}
