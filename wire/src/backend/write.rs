//! Whole messages of a server, appended to a buffer: the router is one to its clients.

use bytes::{BufMut, BytesMut};

use super::authentication::{
    CLEARTEXT_PASSWORD, MD5_PASSWORD, OK, SASL, SASL_CONTINUE, SASL_FINAL,
};
use super::{Field, Report, TransactionStatus, tag};
use crate::{Format, put};

fn authentication(out: &mut BytesMut, kind: u32, body: impl FnOnce(&mut BytesMut)) {
    put::message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(kind);
        body(out);
    });
}

pub fn authentication_ok(out: &mut BytesMut) {
    authentication(out, OK, |_| {});
}

pub fn authentication_cleartext_password(out: &mut BytesMut) {
    authentication(out, CLEARTEXT_PASSWORD, |_| {});
}

pub fn authentication_md5_password(out: &mut BytesMut, salt: [u8; 4]) {
    authentication(out, MD5_PASSWORD, |out| out.put_slice(&salt));
}

/// `mechanisms` in order of preference.
pub fn authentication_sasl<'a>(out: &mut BytesMut, mechanisms: impl IntoIterator<Item = &'a [u8]>) {
    authentication(out, SASL, |out| {
        mechanisms
            .into_iter()
            .for_each(|mechanism| put::string(out, mechanism));
        out.put_u8(0);
    });
}

pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    authentication(out, SASL_CONTINUE, |out| out.put_slice(data));
}

pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    authentication(out, SASL_FINAL, |out| out.put_slice(data));
}

pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    put::message(out, tag::PARAMETER_STATUS, |out| {
        put::string(out, name);
        put::string(out, value);
    });
}

/// `secret`: 4 bytes in protocol 3.0, up to 256 from 3.2 on.
pub fn backend_key_data(out: &mut BytesMut, process_id: u32, secret: &[u8]) {
    put::message(out, tag::BACKEND_KEY_DATA, |out| {
        out.put_u32(process_id);
        out.put_slice(secret);
    });
}

/// `newest`: the newest version taken, e.g. `3 << 16`; `unrecognized`: protocol options not known.
pub fn negotiate_protocol_version(out: &mut BytesMut, newest: u32, unrecognized: &[&[u8]]) {
    put::message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        out.put_u32(newest);
        // They came in one startup packet, so they are fewer than its bytes.
        out.put_u32(unrecognized.len() as u32);
        unrecognized.iter().for_each(|name| put::string(out, name));
    });
}

pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    out.put_slice(&[tag::READY_FOR_QUERY, 0, 0, 0, 5, status.byte()]);
}

/// The first 65,535 fields; PostgreSQL itself ends at 1,664.
pub fn row_description<'a>(out: &mut BytesMut, fields: impl IntoIterator<Item = Field<'a>>) {
    put::message(out, tag::ROW_DESCRIPTION, |out| {
        put::counted(out, fields, |out, field| field.put(out));
    });
}

/// The first 65,535 values; PostgreSQL itself ends at 1,664. `None` is NULL.
pub fn data_row<'a>(out: &mut BytesMut, values: impl IntoIterator<Item = Option<&'a [u8]>>) {
    put::message(out, tag::DATA_ROW, |out| {
        put::counted(out, values, put::value);
    });
}

/// `command`: e.g. `INSERT 0 3`.
pub fn command_complete(out: &mut BytesMut, command: &[u8]) {
    put::message(out, tag::COMMAND_COMPLETE, |out| put::string(out, command));
}

pub fn error_response(out: &mut BytesMut, report: &Report<'_>) {
    put::message(out, tag::ERROR_RESPONSE, |out| report.put(out));
}

pub fn notice_response(out: &mut BytesMut, report: &Report<'_>) {
    put::message(out, tag::NOTICE_RESPONSE, |out| report.put(out));
}

pub fn notification_response(out: &mut BytesMut, process_id: u32, channel: &[u8], payload: &[u8]) {
    put::message(out, tag::NOTIFICATION_RESPONSE, |out| {
        out.put_u32(process_id);
        put::string(out, channel);
        put::string(out, payload);
    });
}

pub fn parse_complete(out: &mut BytesMut) {
    put::empty(out, tag::PARSE_COMPLETE);
}

pub fn bind_complete(out: &mut BytesMut) {
    put::empty(out, tag::BIND_COMPLETE);
}

pub fn close_complete(out: &mut BytesMut) {
    put::empty(out, tag::CLOSE_COMPLETE);
}

pub fn no_data(out: &mut BytesMut) {
    put::empty(out, tag::NO_DATA);
}

pub fn empty_query_response(out: &mut BytesMut) {
    put::empty(out, tag::EMPTY_QUERY_RESPONSE);
}

pub fn portal_suspended(out: &mut BytesMut) {
    put::empty(out, tag::PORTAL_SUSPENDED);
}

/// The first 65,535 types, which is as many parameters as a statement can have.
pub fn parameter_description(out: &mut BytesMut, types: impl IntoIterator<Item = u32>) {
    put::message(out, tag::PARAMETER_DESCRIPTION, |out| {
        put::counted(out, types, |out, oid| out.put_u32(oid));
    });
}

pub fn copy_in_response(
    out: &mut BytesMut,
    format: Format,
    columns: impl IntoIterator<Item = Format>,
) {
    copy_response(out, tag::COPY_IN_RESPONSE, format, columns);
}

pub fn copy_out_response(
    out: &mut BytesMut,
    format: Format,
    columns: impl IntoIterator<Item = Format>,
) {
    copy_response(out, tag::COPY_OUT_RESPONSE, format, columns);
}

fn copy_response(
    out: &mut BytesMut,
    tag: u8,
    format: Format,
    columns: impl IntoIterator<Item = Format>,
) {
    put::message(out, tag, |out| {
        out.put_u8(format.code() as u8);
        put::counted(out, columns, |out, format| out.put_u16(format.code()));
    });
}

pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    put::message(out, tag::COPY_DATA, |out| out.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    put::empty(out, tag::COPY_DONE);
}
