//! Reads a message whole, down to the last value, and writes it anew. Shared with the fuzz targets:
//! whatever can be read must come out as the same bytes.

use bytes::{BufMut, BytesMut};
use wire::backend::{self, Authentication};
use wire::frontend::{self, Bind};
use wire::{Format, ProtocolError, expect_empty};

/// A client's message. `None`: there is no writer for it, or more than one reading.
pub fn frontend(tag: u8, body: &[u8]) -> Result<Option<BytesMut>, ProtocolError> {
    use wire::frontend::{tag as t, write};
    let mut out = BytesMut::new();
    match tag {
        t::BIND => bind(body, &mut out)?,
        t::CLOSE => {
            let close = frontend::Close::parse(body)?;
            write::close(&mut out, close.kind, close.name);
        }
        t::DESCRIBE => {
            let describe = frontend::Describe::parse(body)?;
            write::describe(&mut out, describe.kind, describe.name);
        }
        t::EXECUTE => {
            let execute = frontend::Execute::parse(body)?;
            write::execute(&mut out, execute.portal, execute.max_rows);
        }
        t::PARSE => {
            let parse = frontend::Parse::parse(body)?;
            let types = parse.parameter_types;
            assert!(
                types
                    .iter()
                    .eq((0..types.len()).filter_map(|index| types.get(index)))
            );
            write::parse(&mut out, parse.name, parse.query, types.iter())?;
        }
        t::QUERY => write::query(&mut out, frontend::Query::parse(body)?.text),
        t::COPY_DATA => write::copy_data(&mut out, frontend::CopyData::parse(body).data),
        t::COPY_FAIL => write::copy_fail(&mut out, frontend::CopyFail::parse(body)?.message),
        t::COPY_DONE => {
            expect_empty("CopyDone", body)?;
            write::copy_done(&mut out);
        }
        t::FLUSH => {
            expect_empty("Flush", body)?;
            write::flush(&mut out);
        }
        t::SYNC => {
            expect_empty("Sync", body)?;
            write::sync(&mut out);
        }
        t::TERMINATE => {
            expect_empty("Terminate", body)?;
            write::terminate(&mut out);
        }
        t::FUNCTION_CALL => {
            frontend::FunctionCall::parse(body)?;
            return Ok(None);
        }
        t::PASSWORD => {
            password(body);
            return Ok(None);
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

fn bind(body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
    let bind = Bind::parse(body)?;
    let count = bind.parameter_count();
    assert_eq!(bind.parameters().len(), count);
    for (index, parameter) in bind.parameters().enumerate().take(20) {
        assert_eq!(bind.parameter(index), Some(parameter));
    }
    assert_eq!(bind.parameters().count(), count);
    assert_eq!(bind.parameter(count), None);
    bind_with_more(&bind);
    bind.rewrite(out, bind.portal, bind.statement, &[])
}

fn bind_with_more(bind: &Bind<'_>) {
    let more = [
        (Format::Binary, Some(&b"12345678"[..])),
        (Format::Text, None),
    ];
    let mut out = BytesMut::new();
    match bind.rewrite(&mut out, b"p", b"s", &more) {
        Ok(()) => {
            let longer = Bind::parse(&out[5..]).expect("what was written can be read");
            assert_eq!((longer.portal, longer.statement), (&b"p"[..], &b"s"[..]));
            assert!(longer.parameters().eq(bind.parameters().chain(more)));
            assert_eq!(longer.result_formats(), bind.result_formats());
        }
        Err(_) => assert!(bind.parameter_count() > 65_533 && out.is_empty()),
    }
}

/// All three readings of tag `p`.
fn password(body: &[u8]) {
    use wire::frontend::write;
    let mut out = BytesMut::new();
    write::sasl_response(&mut out, frontend::SaslResponse::parse(body).data);
    assert_eq!(&out[5..], body);
    if let Ok(response) = frontend::SaslInitialResponse::parse(body) {
        out.clear();
        write::sasl_initial_response(&mut out, response.mechanism, response.data);
        assert_eq!(&out[5..], body);
    }
    if let Ok(password) = frontend::Password::parse(body) {
        out.clear();
        write::password(&mut out, password.password);
        assert_eq!(&out[5..], body);
    }
}

/// A server's message. `None`: there is no writer for it.
pub fn backend(tag: u8, body: &[u8]) -> Result<Option<BytesMut>, ProtocolError> {
    use wire::backend::{tag as t, write};
    let mut out = BytesMut::new();
    match tag {
        t::AUTHENTICATION => return authentication(body),
        t::BACKEND_KEY_DATA => {
            let key = backend::BackendKeyData::parse(body)?;
            write::backend_key_data(&mut out, key.process_id, key.secret);
        }
        t::COMMAND_COMPLETE => command_complete(body, &mut out)?,
        t::COPY_DATA => write::copy_data(&mut out, backend::CopyData::parse(body).data),
        t::COPY_IN_RESPONSE => {
            let copy = backend::CopyResponse::parse(body)?;
            write::copy_in_response(&mut out, copy.format, copy.column_formats.iter());
        }
        t::COPY_OUT_RESPONSE => {
            let copy = backend::CopyResponse::parse(body)?;
            write::copy_out_response(&mut out, copy.format, copy.column_formats.iter());
        }
        t::COPY_BOTH_RESPONSE => {
            backend::CopyResponse::parse(body)?;
            return Ok(None);
        }
        t::DATA_ROW => data_row(body, &mut out)?,
        t::ERROR_RESPONSE | t::NOTICE_RESPONSE => report(tag, body, &mut out)?,
        t::NEGOTIATE_PROTOCOL_VERSION => {
            let negotiate = backend::NegotiateProtocolVersion::parse(body)?;
            let unrecognized: Vec<&[u8]> = negotiate.unrecognized.iter().collect();
            write::negotiate_protocol_version(&mut out, negotiate.newest, &unrecognized);
        }
        t::NOTIFICATION_RESPONSE => {
            let notification = backend::NotificationResponse::parse(body)?;
            let backend::NotificationResponse {
                process_id,
                channel,
                payload,
            } = notification;
            write::notification_response(&mut out, process_id, channel, payload);
        }
        t::PARAMETER_DESCRIPTION => {
            let types = backend::ParameterDescription::parse(body)?.types;
            write::parameter_description(&mut out, types.iter());
        }
        t::PARAMETER_STATUS => {
            let status = backend::ParameterStatus::parse(body)?;
            write::parameter_status(&mut out, status.name, status.value);
        }
        t::READY_FOR_QUERY => {
            write::ready_for_query(&mut out, backend::ReadyForQuery::parse(body)?.status);
        }
        t::ROW_DESCRIPTION => row_description(body, &mut out)?,
        _ => return without_body(tag, body),
    }
    Ok(Some(out))
}

fn without_body(tag: u8, body: &[u8]) -> Result<Option<BytesMut>, ProtocolError> {
    use wire::backend::{tag as t, write};
    let write = match tag {
        t::BIND_COMPLETE => write::bind_complete,
        t::CLOSE_COMPLETE => write::close_complete,
        t::COPY_DONE => write::copy_done,
        t::EMPTY_QUERY_RESPONSE => write::empty_query_response,
        t::NO_DATA => write::no_data,
        t::PARSE_COMPLETE => write::parse_complete,
        t::PORTAL_SUSPENDED => write::portal_suspended,
        _ => return Ok(None),
    };
    expect_empty("bodiless", body)?;
    let mut out = BytesMut::new();
    write(&mut out);
    Ok(Some(out))
}

fn authentication(body: &[u8]) -> Result<Option<BytesMut>, ProtocolError> {
    use wire::backend::write;
    let mut out = BytesMut::new();
    match Authentication::parse(body)? {
        Authentication::Ok => write::authentication_ok(&mut out),
        Authentication::CleartextPassword => write::authentication_cleartext_password(&mut out),
        Authentication::Md5 { salt } => write::authentication_md5_password(&mut out, salt),
        Authentication::Sasl { mechanisms } => {
            write::authentication_sasl(&mut out, mechanisms.iter());
        }
        Authentication::SaslContinue { data } => {
            write::authentication_sasl_continue(&mut out, data);
        }
        Authentication::SaslFinal { data } => write::authentication_sasl_final(&mut out, data),
        Authentication::Other(_) => return Ok(None),
    }
    Ok(Some(out))
}

fn command_complete(body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
    let complete = backend::CommandComplete::parse(body)?;
    let mut other = BytesMut::new();
    complete.write_with_rows(&mut other, 42);
    let other = backend::CommandComplete::parse(&other[5..]).expect("what was written can be read");
    match complete.rows() {
        Some(_) => assert_eq!(other.rows(), Some(42)),
        None if other.rows().is_none() => assert_eq!(other, complete),
        // Its digits were no 64-bit number.
        None => {}
    }
    backend::write::command_complete(out, complete.tag);
    Ok(())
}

fn data_row(body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
    let row = backend::DataRow::parse(body)?;
    for (index, value) in row.iter().enumerate().take(20) {
        assert_eq!(row.nth(index), Some(value));
    }
    assert_eq!(row.iter().count(), row.len());
    assert_eq!(row.nth(row.len()), None);
    let mut first = BytesMut::new();
    row.write_first(&mut first, row.len());
    backend::write::data_row(out, row.values());
    assert_eq!(first, *out);
    Ok(())
}

fn report(tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
    let report = backend::ErrorResponse::parse(body)?;
    let (_, _, _) = (report.sqlstate(), report.message(), report.is_fatal());
    // The writers make only what the router says itself, so this one is put together here.
    out.put_u8(tag);
    out.put_u32(body.len() as u32 + 4);
    for (code, text) in report.fields() {
        out.put_u8(code);
        out.put_slice(text);
        out.put_u8(0);
    }
    out.put_u8(0);
    Ok(())
}

fn row_description(body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
    let description = backend::RowDescription::parse(body)?;
    assert_eq!(description.fields().count(), description.len());
    let mut rewritten = BytesMut::new();
    description.rewrite_oids(&mut rewritten, |oid| oid, |oid| oid);
    backend::write::row_description(out, description.fields());
    assert_eq!(rewritten, *out);
    Ok(())
}
