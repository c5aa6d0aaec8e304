//! The first packet.

use bytes::BytesMut;
use wire::ProtocolError;
use wire::frontend::write;
use wire::startup::{MAX_PACKET, Startup, parse};

fn packet(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

/// The packet of `version` with that body.
fn raw(version: u32, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 8;
    [&length.to_be_bytes()[..], &version.to_be_bytes(), body].concat()
}

fn whole(packet: &[u8]) -> Startup<'_> {
    let (startup, length) = parse(packet, MAX_PACKET).unwrap().unwrap();
    assert_eq!(length, packet.len());
    startup
}

#[test]
fn requests_for_encryption_are_read() {
    assert_eq!(whole(&packet(write::ssl_request)), Startup::Ssl);
    assert_eq!(whole(&packet(write::gss_request)), Startup::Gss);
}

#[test]
fn a_request_to_cancel_has_a_secret_of_4_to_256_bytes() {
    for length in [4, 32, 256] {
        let secret = vec![7; length];
        let request = packet(|out| write::cancel_request(out, 42, &secret));
        assert_eq!(
            whole(&request),
            Startup::Cancel {
                process_id: 42,
                secret: &secret
            }
        );
    }
    for length in [0, 3, 257] {
        let request = packet(|out| write::cancel_request(out, 42, &vec![7; length]));
        assert!(matches!(
            parse(&request, MAX_PACKET),
            Err(ProtocolError::Value { .. })
        ));
    }
}

#[test]
fn a_session_gives_its_parameters() {
    let pairs = [
        (&b"user"[..], &b"me"[..]),
        (b"database", b""),
        (b"user", b"you"),
    ];
    let start = packet(|out| write::startup(out, 2, pairs));
    let Startup::Start {
        minor: 2,
        parameters,
    } = whole(&start)
    else {
        panic!("{start:?}")
    };
    assert!(parameters.iter().eq(pairs));
    assert_eq!(parameters.get(b"user"), Some(&b"you"[..]));
    assert_eq!(parameters.get(b"database"), Some(&b""[..]));
    assert_eq!(parameters.get(b"options"), None);
}

#[test]
fn a_packet_is_waited_for_until_it_is_whole() {
    let start = packet(|out| write::startup(out, 0, [(&b"user"[..], &b"me"[..])]));
    for end in 0..start.len() {
        assert_eq!(parse(&start[..end], MAX_PACKET), Ok(None));
    }
    let with_more = [&start[..], b"p\0"].concat();
    assert_eq!(
        parse(&with_more, MAX_PACKET).unwrap().unwrap().1,
        start.len()
    );
}

#[test]
fn a_length_out_of_range_is_an_error() {
    for declared in [0u32, 4, 7, 10_001, 0x1603_0100, u32::MAX] {
        let error = parse(&declared.to_be_bytes(), MAX_PACKET).unwrap_err();
        assert_eq!(
            error,
            ProtocolError::StartupLength {
                declared,
                limit: MAX_PACKET
            }
        );
        assert!(error.is_fatal());
    }
    assert_eq!(parse(&10_000u32.to_be_bytes(), MAX_PACKET), Ok(None));
}

#[test]
fn another_major_version_is_not_supported() {
    for version in [0, 2 << 16, 4 << 16, 80_877_105] {
        let error = parse(&raw(version, b"\0"), MAX_PACKET).unwrap_err();
        assert!(matches!(error, ProtocolError::Version { .. }));
        assert_eq!(error.sqlstate(), "0A000");
    }
    let error = parse(&raw(2 << 16, b"\0"), MAX_PACKET).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"
    );
}

#[test]
fn parameters_must_be_pairs_and_end_the_packet() {
    for body in [
        &b""[..],
        b"user",
        b"user\0",
        b"user\0me",
        b"user\0me\0",
        b"user\0me\0\0x",
        b"\0\0",
    ] {
        assert!(parse(&raw(3 << 16, body), MAX_PACKET).is_err(), "{body:?}");
    }
    assert!(parse(&raw(3 << 16, b"\0"), MAX_PACKET).is_ok());
}

#[test]
fn a_request_for_encryption_has_no_body() {
    assert!(parse(&raw(80_877_103, b"x"), MAX_PACKET).is_err());
    assert!(parse(&raw(80_877_104, b"x"), MAX_PACKET).is_err());
}

#[test]
fn names_that_would_end_the_packet_are_left_out() {
    let start = packet(|out| write::startup(out, 0, [(&b""[..], &b"x"[..]), (b"user", b"a\0b")]));
    let Startup::Start { parameters, .. } = whole(&start) else {
        panic!("{start:?}")
    };
    assert!(parameters.iter().eq([(&b"user"[..], &b"a"[..])]));
}
