//! Whole messages of a client, appended to a buffer: the router is one to its shards.

use bytes::{BufMut, BytesMut};

use super::bind::put_parameter_formats;
use super::{StatementOrPortal, tag};
use crate::startup::{CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST};
use crate::{Format, ProtocolError, put};

/// The first packet of a session by protocol 3.`minor`. An empty name would end the packet, so such
/// pairs are left out.
pub fn startup<'a>(
    out: &mut BytesMut,
    minor: u16,
    parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) {
    put::sized(out, |out| {
        out.put_u16(3);
        out.put_u16(minor);
        for (name, value) in parameters.into_iter().filter(|(name, _)| !name.is_empty()) {
            put::string(out, name);
            put::string(out, value);
        }
        out.put_u8(0);
    });
}

pub fn ssl_request(out: &mut BytesMut) {
    put::sized(out, |out| out.put_u32(SSL_REQUEST));
}

pub fn gss_request(out: &mut BytesMut) {
    put::sized(out, |out| out.put_u32(GSS_REQUEST));
}

/// `secret` as BackendKeyData gave it.
pub fn cancel_request(out: &mut BytesMut, process_id: u32, secret: &[u8]) {
    put::sized(out, |out| {
        out.put_u32(CANCEL_REQUEST);
        out.put_u32(process_id);
        out.put_slice(secret);
    });
}

pub fn query(out: &mut BytesMut, text: &[u8]) {
    put::message(out, tag::QUERY, |out| put::string(out, text));
}

/// `parameter_types`: type oids, 0 to let the server find out.
///
/// # Errors
/// [`ProtocolError::TooMany`] above 65,535 types; then nothing is appended.
pub fn parse(
    out: &mut BytesMut,
    name: &[u8],
    text: &[u8],
    parameter_types: impl IntoIterator<Item = u32>,
) -> Result<(), ProtocolError> {
    let start = out.len();
    let mut complete = true;
    put::message(out, tag::PARSE, |out| {
        put::string(out, name);
        put::string(out, text);
        complete = put::counted(out, parameter_types, |out, oid| out.put_u32(oid));
    });
    if complete {
        return Ok(());
    }
    out.truncate(start);
    Err(ProtocolError::TooMany { message: "Parse" })
}

/// `result_formats`: none for text, one for all columns, or one each.
///
/// # Errors
/// [`ProtocolError::TooMany`] above 65,535 parameters or formats; then nothing is appended.
pub fn bind(
    out: &mut BytesMut,
    portal: &[u8],
    statement: &[u8],
    parameters: &[(Format, Option<&[u8]>)],
    result_formats: &[Format],
) -> Result<(), ProtocolError> {
    let too_many = |_| ProtocolError::TooMany { message: "Bind" };
    let count = u16::try_from(parameters.len()).map_err(too_many)?;
    u16::try_from(result_formats.len()).map_err(too_many)?;
    put::message(out, tag::BIND, |out| {
        put::string(out, portal);
        put::string(out, statement);
        put_parameter_formats(out, count, parameters.iter().map(|(format, _)| *format));
        put::counted(out, parameters, |out, (_, value)| put::value(out, *value));
        put::counted(out, result_formats, |out, format| {
            out.put_u16(format.code())
        });
    });
    Ok(())
}

pub fn describe(out: &mut BytesMut, kind: StatementOrPortal, name: &[u8]) {
    kind_and_name(out, tag::DESCRIBE, kind, name);
}

pub fn close(out: &mut BytesMut, kind: StatementOrPortal, name: &[u8]) {
    kind_and_name(out, tag::CLOSE, kind, name);
}

fn kind_and_name(out: &mut BytesMut, tag: u8, kind: StatementOrPortal, name: &[u8]) {
    put::message(out, tag, |out| {
        out.put_u8(kind.byte());
        put::string(out, name);
    });
}

/// `max_rows`: 0 for all.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    put::message(out, tag::EXECUTE, |out| {
        put::string(out, portal);
        out.put_i32(max_rows);
    });
}

pub fn sync(out: &mut BytesMut) {
    put::empty(out, tag::SYNC);
}

pub fn flush(out: &mut BytesMut) {
    put::empty(out, tag::FLUSH);
}

pub fn terminate(out: &mut BytesMut) {
    put::empty(out, tag::TERMINATE);
}

/// A password, in clear or hashed by MD5.
pub fn password(out: &mut BytesMut, password: &[u8]) {
    put::message(out, tag::PASSWORD, |out| put::string(out, password));
}

pub fn sasl_initial_response(out: &mut BytesMut, mechanism: &[u8], data: Option<&[u8]>) {
    put::message(out, tag::PASSWORD, |out| {
        put::string(out, mechanism);
        put::value(out, data);
    });
}

pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    put::message(out, tag::PASSWORD, |out| out.put_slice(data));
}

pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    put::message(out, tag::COPY_DATA, |out| out.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    put::empty(out, tag::COPY_DONE);
}

pub fn copy_fail(out: &mut BytesMut, message: &[u8]) {
    put::message(out, tag::COPY_FAIL, |out| put::string(out, message));
}
