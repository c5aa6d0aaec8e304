//! One message of every kind at least, as the writers make it.

use bytes::BytesMut;
use wire::Format::{Binary, Text};
use wire::backend::{Field, Report, Severity, TransactionStatus};
use wire::frontend::StatementOrPortal::{Portal, Statement};

/// What a sample is called in a failure, and its bytes.
pub type Sample = (&'static str, BytesMut);

fn made(name: &'static str, write: impl FnOnce(&mut BytesMut)) -> Sample {
    let mut out = BytesMut::new();
    write(&mut out);
    (name, out)
}

pub fn frontend() -> Vec<Sample> {
    use wire::frontend::write::*;
    let types = [20, 0, 2950];
    let parameters = [
        (Binary, Some(&b"\0\0\0\x2a"[..])),
        (Text, None),
        (Text, Some(b"")),
    ];
    vec![
        made("Query", |out| query(out, b"SELECT 'caf\xe9'")),
        made("empty Query", |out| query(out, b"")),
        made("Parse", |out| {
            parse(out, b"s1", b"SELECT $1", types).expect("few")
        }),
        made("untyped Parse", |out| {
            parse(out, b"", b"SELECT 1", []).expect("few")
        }),
        made("Bind", |out| {
            bind(out, b"p1", b"s1", &parameters, &[Text, Binary]).expect("few")
        }),
        made("binary Bind", |out| {
            bind(out, b"", b"", &parameters[..1], &[Binary]).expect("few");
        }),
        made("empty Bind", |out| {
            bind(out, b"", b"", &[], &[]).expect("few")
        }),
        made("Describe", |out| describe(out, Statement, b"s1")),
        made("Describe portal", |out| describe(out, Portal, b"")),
        made("Close", |out| close(out, Portal, b"p1")),
        made("Execute", |out| execute(out, b"p1", 100)),
        made("Sync", sync),
        made("Flush", flush),
        made("Terminate", terminate),
        made("CopyDone", copy_done),
        made("CopyFail", |out| copy_fail(out, b"given up")),
    ]
}

pub fn backend() -> Vec<Sample> {
    use wire::backend::write::*;
    let mut samples = vec![
        made("AuthenticationOk", authentication_ok),
        made(
            "AuthenticationCleartextPassword",
            authentication_cleartext_password,
        ),
        made("AuthenticationMD5Password", |out| {
            authentication_md5_password(out, *b"salt")
        }),
        made("AuthenticationSASL", |out| {
            authentication_sasl(out, [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"]);
        }),
        made("ParameterStatus", |out| {
            parameter_status(out, b"TimeZone", b"Asia/Tokyo")
        }),
        made("NegotiateProtocolVersion", |out| {
            negotiate_protocol_version(out, 3 << 16, &[b"_pq_.a", b"_pq_.b"]);
        }),
        made("ReadyForQuery", |out| {
            ready_for_query(out, TransactionStatus::InTransaction)
        }),
        made("CommandComplete", |out| {
            command_complete(out, b"INSERT 0 3")
        }),
        made("ParseComplete", parse_complete),
        made("BindComplete", bind_complete),
        made("CloseComplete", close_complete),
        made("NoData", no_data),
        made("EmptyQueryResponse", empty_query_response),
        made("PortalSuspended", portal_suspended),
        made("CopyDone", copy_done),
        made("CopyInResponse", |out| {
            copy_in_response(out, Binary, [Binary, Binary])
        }),
        made("CopyOutResponse", |out| {
            copy_out_response(out, Text, [Text])
        }),
        made("NotificationResponse", |out| {
            notification_response(out, 7, b"news", b"")
        }),
        made("ParameterDescription", |out| {
            parameter_description(out, [20, 16_400])
        }),
    ];
    samples.extend(rows_and_reports());
    samples
}

fn rows_and_reports() -> Vec<Sample> {
    use wire::backend::write::*;
    let id = Field {
        name: b"id",
        table_oid: 16_385,
        column: 1,
        type_oid: 20,
        type_size: 8,
        type_modifier: -1,
        format: Binary,
    };
    let note = Field {
        name: b"",
        table_oid: 0,
        column: 0,
        type_oid: 16_400,
        type_size: -1,
        ..id
    };
    let error = Report {
        severity: Severity::Error,
        sqlstate: wire::sqlstate::FEATURE_NOT_SUPPORTED,
        message: "no",
        detail: "because",
        hint: "do something else",
        position: Some(12),
        routine: "join-off-the-key",
    };
    let notice = Report {
        severity: Severity::Notice,
        sqlstate: wire::sqlstate::SUCCESSFUL_COMPLETION,
        message: "note",
        ..Report::default()
    };
    vec![
        made("RowDescription", |out| row_description(out, [id, note])),
        made("empty RowDescription", |out| row_description(out, [])),
        made("DataRow", |out| {
            data_row(out, [Some(&b"1"[..]), None, Some(b"")])
        }),
        made("empty DataRow", |out| data_row(out, [])),
        made("ErrorResponse", |out| error_response(out, &error)),
        made("NoticeResponse", |out| notice_response(out, &notice)),
    ]
}

/// Messages that any body makes: no prefix of theirs is malformed.
pub fn free_form() -> (Vec<Sample>, Vec<Sample>) {
    use wire::{backend, frontend};
    let secret: Vec<u8> = (0..=255).collect();
    (
        vec![
            made("CopyData", |out| {
                frontend::write::copy_data(out, b"1\t\\N\n")
            }),
            made("Password", |out| frontend::write::password(out, b"secret")),
            made("SASLInitialResponse", |out| {
                frontend::write::sasl_initial_response(out, b"SCRAM-SHA-256", Some(b"n,,n=,r=x"));
            }),
            made("SASLResponse", |out| {
                frontend::write::sasl_response(out, b"c=biws")
            }),
        ],
        vec![
            made("CopyData", |out| {
                backend::write::copy_data(out, b"1\t\\N\n")
            }),
            made("AuthenticationSASLContinue", |out| {
                backend::write::authentication_sasl_continue(out, b"r=xy");
            }),
            made("AuthenticationSASLFinal", |out| {
                backend::write::authentication_sasl_final(out, b"v=z");
            }),
            made("BackendKeyData", |out| {
                backend::write::backend_key_data(out, 7, b"four")
            }),
            made("long BackendKeyData", |out| {
                backend::write::backend_key_data(out, 7, &secret);
            }),
        ],
    )
}
