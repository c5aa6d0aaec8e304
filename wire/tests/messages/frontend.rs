//! A client's messages, field by field, and against another implementation.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend as theirs;
use wire::Format::{Binary, Text};
use wire::frontend::{StatementOrPortal, write, *};
use wire::{Format, ProtocolError};

type Parameter<'a> = (Format, Option<&'a [u8]>);

fn bind_of(parameters: &[Parameter<'_>], results: &[Format]) -> BytesMut {
    let mut out = BytesMut::new();
    write::bind(&mut out, b"portal", b"statement", parameters, results).unwrap();
    out
}

/// A Bind body with empty names and these words behind them.
fn bind_body(words: &[u16]) -> Vec<u8> {
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    [b"\0\0", &words[..]].concat()
}

#[test]
fn writers_agree_with_another_implementation() {
    let (mut ours, mut other) = (BytesMut::new(), BytesMut::new());
    write::startup(&mut ours, 0, [(&b"user"[..], &b"me"[..])]);
    theirs::startup_message([("user", "me")], &mut other).unwrap();
    write::ssl_request(&mut ours);
    theirs::ssl_request(&mut other);
    write::cancel_request(&mut ours, 7, &9i32.to_be_bytes());
    theirs::cancel_request(7, 9, &mut other);
    write::password(&mut ours, b"secret");
    theirs::password_message(b"secret", &mut other).unwrap();
    write::sasl_initial_response(&mut ours, b"SCRAM-SHA-256", Some(b"n,,"));
    theirs::sasl_initial_response("SCRAM-SHA-256", b"n,,", &mut other).unwrap();
    write::sasl_response(&mut ours, b"c=biws");
    theirs::sasl_response(b"c=biws", &mut other).unwrap();
    assert_eq!(ours, other);
}

#[test]
fn writers_of_queries_agree_with_another_implementation() {
    let (mut ours, mut other) = (BytesMut::new(), BytesMut::new());
    write::query(&mut ours, b"SELECT 1");
    theirs::query("SELECT 1", &mut other).unwrap();
    write::parse(&mut ours, b"s", b"SELECT $1", [20, 0]).unwrap();
    theirs::parse("s", "SELECT $1", [20, 0], &mut other).unwrap();
    write::describe(&mut ours, StatementOrPortal::Statement, b"s");
    theirs::describe(b'S', "s", &mut other).unwrap();
    write::execute(&mut ours, b"p", 5);
    theirs::execute("p", 5, &mut other).unwrap();
    write::close(&mut ours, StatementOrPortal::Portal, b"p");
    theirs::close(b'P', "p", &mut other).unwrap();
    write::copy_data(&mut ours, b"1\n");
    theirs::CopyData::new(&b"1\n"[..])
        .unwrap()
        .write(&mut other);
    write::copy_done(&mut ours);
    theirs::copy_done(&mut other);
    write::copy_fail(&mut ours, b"no");
    theirs::copy_fail("no", &mut other).unwrap();
    write::flush(&mut ours);
    theirs::flush(&mut other);
    write::sync(&mut ours);
    theirs::sync(&mut other);
    write::terminate(&mut ours);
    theirs::terminate(&mut other);
    assert_eq!(ours, other);
}

#[test]
fn a_bind_of_another_implementation_is_read() {
    let mut out = BytesMut::new();
    let values = [Some(&b"12345678"[..]), None];
    let put = |value: Option<&[u8]>, out: &mut BytesMut| match value {
        Some(value) => {
            out.extend_from_slice(value);
            Ok(IsNull::No)
        }
        None => Ok(IsNull::Yes),
    };
    assert!(theirs::bind("p", "s", [1, 0], values, put, [1], &mut out).is_ok());
    let bind = Bind::parse(&out[5..]).unwrap();
    assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
    assert!(bind.parameters().eq([(Binary, values[0]), (Text, None)]));
    assert!(bind.result_formats().iter().eq([Binary]));
}

#[test]
fn parameters_are_found_by_number() {
    let parameters = [(Text, Some(&b"a"[..])), (Binary, None), (Text, Some(b""))];
    let message = bind_of(&parameters, &[]);
    let bind = Bind::parse(&message[5..]).unwrap();
    assert_eq!(bind.parameter_count(), 3);
    for (index, parameter) in parameters.into_iter().enumerate() {
        assert_eq!(bind.parameter(index), Some(parameter));
    }
    assert_eq!(bind.parameter(3), None);
    assert_eq!(bind.result_formats().of(9), Text);
}

#[test]
fn formats_alike_are_written_once() {
    let text = bind_of(&[(Text, None), (Text, None)], &[]);
    assert_eq!(
        Bind::parse(&text[5..]).unwrap().parameter_formats().len(),
        0
    );
    let binary = bind_of(&[(Binary, None), (Binary, None)], &[Binary]);
    let bind = Bind::parse(&binary[5..]).unwrap();
    assert_eq!(bind.parameter_formats().len(), 1);
    assert_eq!(bind.parameter(1), Some((Binary, None)));
    assert_eq!(bind.result_formats().of(9), Binary);
}

#[test]
fn parameters_are_found_in_any_order() {
    let texts: Vec<String> = (0..300).map(|number| "x".repeat(number % 7)).collect();
    let value = |number: usize| (!number.is_multiple_of(5)).then(|| texts[number].as_bytes());
    let parameters: Vec<Parameter<'_>> = (0..texts.len())
        .map(|number| (Text, value(number)))
        .collect();
    let message = bind_of(&parameters, &[]);
    let bind = Bind::parse(&message[5..]).unwrap();
    // Up, down, and across.
    let orders = (0..300)
        .chain((0..300).rev())
        .chain((0..300).map(|step| step * 77 % 300));
    for index in orders {
        assert_eq!(bind.parameter(index), Some(parameters[index]), "{index}");
    }
    assert_eq!(bind.parameter(300), None);
    assert_eq!(bind.parameter(65_535), None);
    assert_eq!(bind.parameter(299), Some(parameters[299]));
}

/// A walk from the first one for each would take minutes.
#[test]
fn as_many_parameters_as_there_can_be_are_read_at_once() {
    let parameters: Vec<Parameter<'_>> = vec![(Text, Some(&b"12345"[..])); 65_535];
    let message = bind_of(&parameters, &[]);
    let bind = Bind::parse(&message[5..]).unwrap();
    let began = std::time::Instant::now();
    for index in 0..65_535 {
        assert!(bind.parameter(index).is_some());
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn a_bind_under_other_names_keeps_all_else() {
    let message = bind_of(&[(Text, Some(b"a")), (Binary, None)], &[Binary, Text]);
    let bind = Bind::parse(&message[5..]).unwrap();
    let mut out = BytesMut::from(&b"before"[..]);
    bind.rewrite(&mut out, b"", b"other", &[]).unwrap();
    let renamed = Bind::parse(&out[6 + 5..]).unwrap();
    assert_eq!(
        (renamed.portal, renamed.statement),
        (&b""[..], &b"other"[..])
    );
    assert!(renamed.parameters().eq(bind.parameters()));
    assert_eq!(renamed.result_formats(), bind.result_formats());
}

#[test]
fn appended_parameters_stand_behind_the_own_ones() {
    let more = [(Binary, Some(&b"12345678"[..])), (Binary, None)];
    for own in [
        &[][..],
        &[(Text, Some(&b"a"[..]))],
        &[(Binary, None), (Text, None)],
    ] {
        let message = bind_of(own, &[Binary]);
        let bind = Bind::parse(&message[5..]).unwrap();
        let mut out = BytesMut::new();
        bind.rewrite(&mut out, b"p", b"s", &more).unwrap();
        let longer = Bind::parse(&out[5..]).unwrap();
        assert!(longer.parameters().eq(own.iter().copied().chain(more)));
        assert_eq!(longer.result_formats(), bind.result_formats());
    }
}

#[test]
fn more_parameters_than_can_be_counted_are_refused() {
    let full = vec![(Text, None); 65_535];
    let message = bind_of(&full, &[]);
    let bind = Bind::parse(&message[5..]).unwrap();
    assert_eq!(bind.parameter(65_534), Some((Text, None)));
    let mut out = BytesMut::new();
    let error = bind.rewrite(&mut out, b"", b"", &full[..1]).unwrap_err();
    assert_eq!(error, ProtocolError::TooMany { message: "Bind" });
    let over = vec![(Text, None); 65_536];
    assert!(write::bind(&mut out, b"", b"", &over, &[]).is_err());
    assert!(write::parse(&mut out, b"", b"", 0..65_536).is_err());
    assert!(out.is_empty());
}

#[test]
fn formats_must_be_none_one_or_as_many_as_parameters() {
    assert!(Bind::parse(&bind_body(&[1, 1, 0, 0])).is_ok());
    let error = Bind::parse(&bind_body(&[2, 0, 1, 0, 0])).unwrap_err();
    assert_eq!(
        error,
        ProtocolError::FormatCount {
            formats: 2,
            parameters: 0
        }
    );
    assert_eq!(
        error.to_string(),
        "bind message has 2 parameter formats but 0 parameters"
    );
}

#[test]
fn a_format_code_is_0_or_1() {
    for body in [bind_body(&[1, 2, 0, 0]), bind_body(&[0, 0, 1, 0xffff])] {
        assert!(matches!(
            Bind::parse(&body).map(|_| ()),
            Err(ProtocolError::Value { .. })
        ));
    }
}

#[test]
fn a_negative_length_other_than_null_is_an_error() {
    let body = bind_body(&[0, 1, 0xffff, 0xfffe, 0]);
    assert_eq!(
        Bind::parse(&body).err(),
        Some(ProtocolError::Truncated { message: "Bind" })
    );
}

#[test]
fn a_zero_byte_ends_a_text() {
    let mut out = BytesMut::new();
    write::query(&mut out, b"SELECT 1\0; DROP TABLE t");
    assert_eq!(Query::parse(&out[5..]).unwrap().text, b"SELECT 1");
}

#[test]
fn the_messages_behind_tag_p_are_told_apart_by_the_reader() {
    let mut out = BytesMut::new();
    write::sasl_initial_response(&mut out, b"SCRAM-SHA-256", None);
    let response = SaslInitialResponse::parse(&out[5..]).unwrap();
    assert_eq!(
        response,
        SaslInitialResponse {
            mechanism: b"SCRAM-SHA-256",
            data: None
        }
    );
    assert_eq!(SaslResponse::parse(b"any").data, b"any");
    assert_eq!(Password::parse(b"secret\0").unwrap().password, b"secret");
    assert!(Password::parse(b"secret\0more\0").is_err());
    assert_eq!(
        format!("{:?}", Password::parse(b"secret\0").unwrap()),
        "Password(..)"
    );
}

#[test]
fn a_subtype_other_than_statement_or_portal_is_an_error() {
    let error = Describe::parse(b"Xname\0").unwrap_err();
    let wanted = ProtocolError::Value {
        message: "Describe",
        what: "subtype",
        value: 0x58,
    };
    assert_eq!(error, wanted);
    assert!(Close::parse(b"Xname\0").is_err());
}

#[test]
fn a_function_call_is_recognised() {
    let call = FunctionCall::parse(b"\0\0\x06\x3e\0\0").unwrap();
    assert_eq!((call.function_oid, call.rest), (1_598, &b"\0\0"[..]));
}

#[test]
fn only_tags_of_clients_are_known() {
    let known: String = (0..=255u8)
        .filter(|tag| tag::is_known(*tag))
        .map(char::from)
        .collect();
    assert_eq!(known, "BCDEFHPQSXcdfp");
}
