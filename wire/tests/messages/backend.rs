//! A server's messages, field by field, and against another implementation.

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use wire::Format::{Binary, Text};
use wire::ProtocolError;
use wire::backend::{write, *};

use crate::samples;

fn body_of(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out.split_off(5)
}

#[test]
fn another_implementation_reads_what_is_written() {
    for (name, mut message) in samples::backend() {
        // Which that implementation does not know.
        if name == "NegotiateProtocolVersion" {
            continue;
        }
        assert!(
            Message::parse(&mut message).expect(name).is_some(),
            "{name}"
        );
        assert!(message.is_empty(), "{name}");
    }
}

#[test]
fn oids_are_rewritten_and_all_else_kept() {
    let field = Field {
        name: b"mood",
        table_oid: 16_385,
        column: 3,
        type_oid: 16_400,
        type_size: 4,
        type_modifier: 7,
        format: Binary,
    };
    let plain = Field {
        name: b"id",
        type_oid: 20,
        ..field
    };
    let body = body_of(|out| write::row_description(out, [field, plain]));
    let description = RowDescription::parse(&body).unwrap();
    assert_eq!((description.len(), description.is_empty()), (2, false));
    let moved = |oid| if oid >= 16_384 { oid + 1_000 } else { oid };
    let rewritten = body_of(|out| description.rewrite_oids(out, |_| 5, moved));
    let rewritten = RowDescription::parse(&rewritten).unwrap();
    let (table_oid, type_oid) = (5, 17_400);
    assert!(rewritten.fields().eq([
        Field {
            table_oid,
            type_oid,
            ..field
        },
        Field { table_oid, ..plain }
    ]));
}

#[test]
fn parameters_of_the_router_are_not_described() {
    let body = body_of(|out| write::parameter_description(out, [20, 16_400, 20]));
    let description = ParameterDescription::parse(&body).unwrap();
    let shown = body_of(|out| description.rewrite_oids(out, 2, |oid| oid + 1));
    assert!(
        ParameterDescription::parse(&shown)
            .unwrap()
            .types
            .iter()
            .eq([21, 16_401])
    );
}

#[test]
fn columns_are_found_by_number() {
    let body = body_of(|out| write::data_row(out, [Some(&b"1"[..]), None, Some(b"")]));
    let row = DataRow::parse(&body).unwrap();
    assert_eq!(row.len(), 3);
    assert_eq!(row.nth(0), Some(Some(&b"1"[..])));
    assert_eq!(row.nth(1), Some(None));
    assert_eq!(row.nth(2), Some(Some(&b""[..])));
    assert_eq!(row.nth(3), None);
    let first = body_of(|out| row.write_first(out, 2));
    assert!(
        DataRow::parse(&first)
            .unwrap()
            .iter()
            .eq([Some(&b"1"[..]), None])
    );
}

#[test]
fn a_tag_ends_with_its_count() {
    let cases: [(&[u8], _, &[u8]); 8] = [
        (b"INSERT 0 3", Some(3), b"INSERT 0 42"),
        (b"SELECT 0", Some(0), b"SELECT 42"),
        (b"COPY 18446744073709551615", Some(u64::MAX), b"COPY 42"),
        (b"COPY 18446744073709551616", None, b"COPY 42"),
        (b"CREATE TABLE", None, b"CREATE TABLE"),
        (b"BEGIN", None, b"BEGIN"),
        (b"7", None, b"7"),
        (b"", None, b""),
    ];
    for (tag, rows, with_42) in cases {
        let complete = CommandComplete { tag };
        assert_eq!(complete.rows(), rows);
        let body = body_of(|out| complete.write_with_rows(out, 42));
        assert_eq!(CommandComplete::parse(&body).unwrap().tag, with_42);
    }
}

#[test]
fn an_error_carries_its_severity_twice_and_leaves_out_what_is_empty() {
    let report = Report {
        severity: Severity::Fatal,
        sqlstate: "53300",
        message: "too many",
        hint: "wait",
        ..Report::default()
    };
    let body = body_of(|out| write::error_response(out, &report));
    let error = ErrorResponse::parse(&body).unwrap();
    let codes: Vec<u8> = error.fields().map(|(code, _)| code).collect();
    assert_eq!(codes, b"SVCMH");
    assert_eq!(error.field(field::SEVERITY), Some(&b"FATAL"[..]));
    assert_eq!((error.sqlstate(), &*error.message()), ("53300", "too many"));
    assert!(error.is_fatal());
}

#[test]
fn an_error_without_fields_is_still_one() {
    let error = ErrorResponse::parse(b"\0").unwrap();
    assert_eq!((error.sqlstate(), &*error.message()), ("XX000", ""));
    assert!(!error.is_fatal());
    assert!(ErrorResponse::parse(b"").is_err());
}

#[test]
fn every_severity_has_its_word() {
    use Severity::*;
    let words = [Panic, Fatal, Error, Warning, Notice, Debug, Info, Log].map(Severity::as_str);
    let wanted = [
        "PANIC", "FATAL", "ERROR", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG",
    ];
    assert_eq!(words, wanted);
}

#[test]
fn authentication_names_its_mechanisms() {
    let names = [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"];
    let body = body_of(|out| write::authentication_sasl(out, names));
    let Authentication::Sasl { mechanisms } = Authentication::parse(&body).unwrap() else {
        panic!("{body:?}")
    };
    assert!(mechanisms.iter().eq(names));
    assert!(mechanisms.contains(b"SCRAM-SHA-256"));
    assert!(!mechanisms.contains(b"SCRAM"));
}

#[test]
fn unknown_kinds_of_authentication_are_told_by_number() {
    assert_eq!(
        Authentication::parse(b"\0\0\0\x07any"),
        Ok(Authentication::Other(7))
    );
}

#[test]
fn the_state_of_a_transaction_is_one_of_three() {
    for status in [
        TransactionStatus::Idle,
        TransactionStatus::InTransaction,
        TransactionStatus::Failed,
    ] {
        let body = body_of(|out| write::ready_for_query(out, status));
        assert_eq!(ReadyForQuery::parse(&body), Ok(ReadyForQuery { status }));
    }
    assert!(matches!(
        ReadyForQuery::parse(b"X"),
        Err(ProtocolError::Value { .. })
    ));
}

#[test]
fn a_cancel_key_has_a_secret_of_4_to_256_bytes() {
    for (length, sound) in [(3, false), (4, true), (256, true), (257, false)] {
        let secret = vec![1; length];
        let body = body_of(|out| write::backend_key_data(out, 7, &secret));
        let wanted = sound.then_some(BackendKeyData {
            process_id: 7,
            secret: &secret,
        });
        assert_eq!(BackendKeyData::parse(&body).ok(), wanted);
    }
}

#[test]
fn a_copy_tells_its_formats() {
    let body = body_of(|out| write::copy_out_response(out, Binary, [Binary, Binary]));
    let copy = CopyResponse::parse(&body).unwrap();
    assert_eq!(copy.format, Binary);
    assert!(copy.column_formats.iter().eq([Binary, Binary]));
    assert!(CopyResponse::parse(b"\x02\0\0").is_err());
    assert_eq!(CopyResponse::parse(b"\0\0\0").unwrap().format, Text);
}

#[test]
fn a_huge_count_of_options_ends_with_the_body() {
    let error = NegotiateProtocolVersion::parse(b"\0\x03\0\0\xff\xff\xff\xff_pq_.a\0").unwrap_err();
    assert!(matches!(error, ProtocolError::Unterminated { .. }));
}

#[test]
fn what_comes_unasked_is_known() {
    let unasked: String = (0..=255u8)
        .filter(|tag| tag::is_asynchronous(*tag))
        .map(char::from)
        .collect();
    assert_eq!(unasked, "ANS");
}
