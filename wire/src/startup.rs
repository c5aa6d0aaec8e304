//! The first packet of a connection, which has no tag.

use crate::ProtocolError;
use crate::reader::Reader;
use crate::strings::{StringPairs, Strings};

/// The longest first packet PostgreSQL takes, in bytes (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_PACKET: usize = 10_000;

/// `CancelRequest`, in place of a version.
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// `SSLRequest`, in place of a version.
pub const SSL_REQUEST: u32 = 80_877_103;
/// `GSSENCRequest`, in place of a version.
pub const GSS_REQUEST: u32 = 80_877_104;

const MAJOR: u16 = 3;
const MESSAGE: &str = "startup";
/// Bytes of a cancel key's secret: 4 in protocol 3.0, up to 256 from 3.2 on.
pub(crate) const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 4..=256;

/// What a client wants of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Startup<'a> {
    /// Encryption by TLS; to be answered by one byte, `S` or `N`.
    Ssl,
    /// Encryption by GSSAPI; to be answered by one byte, `G` or `N`.
    Gss,
    /// Cancel what another connection runs; gets no answer.
    Cancel { process_id: u32, secret: &'a [u8] },
    /// A session by protocol 3.`minor`. Names starting with `_pq_.` are protocol options.
    Start {
        minor: u16,
        parameters: StringPairs<'a>,
    },
}

/// Reads the packet at the start of `buf`: what it says, and how many bytes it takes. `None` when it
/// is not whole yet. `max` in bytes; [`MAX_PACKET`] is PostgreSQL's.
///
/// # Errors
/// A length out of range, a version other than 3, or a malformed body.
pub fn parse(buf: &[u8], max: usize) -> Result<Option<(Startup<'_>, usize)>, ProtocolError> {
    let Some(word) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let declared = u32::from_be_bytes(*word);
    let length = declared as usize;
    if !(8..=max).contains(&length) {
        return Err(ProtocolError::StartupLength {
            declared,
            limit: max,
        });
    }
    match buf.get(4..length) {
        None => Ok(None),
        Some(packet) => packet_of(packet).map(|startup| Some((startup, length))),
    }
}

fn packet_of(packet: &[u8]) -> Result<Startup<'_>, ProtocolError> {
    let mut reader = Reader::new(MESSAGE, packet);
    match reader.u32()? {
        SSL_REQUEST => reader.end().map(|()| Startup::Ssl),
        GSS_REQUEST => reader.end().map(|()| Startup::Gss),
        CANCEL_REQUEST => cancel(reader),
        version => start(reader, version),
    }
}

fn cancel(mut reader: Reader<'_>) -> Result<Startup<'_>, ProtocolError> {
    let process_id = reader.u32()?;
    let secret = reader.rest();
    if !SECRET_LENGTH.contains(&secret.len()) {
        return Err(reader.invalid("length of cancel key", secret.len() as u32));
    }
    Ok(Startup::Cancel { process_id, secret })
}

fn start(reader: Reader<'_>, version: u32) -> Result<Startup<'_>, ProtocolError> {
    let (major, minor) = ((version >> 16) as u16, version as u16);
    if major != MAJOR {
        return Err(ProtocolError::Version { major, minor });
    }
    let parameters = StringPairs::new(pairs(reader)?);
    Ok(Startup::Start { minor, parameters })
}

/// Names and values up to an empty name, which must be the packet's last byte.
fn pairs(mut reader: Reader<'_>) -> Result<Strings<'_>, ProtocolError> {
    let start = reader.rest();
    loop {
        let length = start.len() - reader.rest().len();
        if reader.string()?.is_empty() {
            reader.end()?;
            return Ok(Strings::new(&start[..length]));
        }
        reader.string()?;
    }
}
