//! What a server asks for before it lets a client in.

use crate::reader::Reader;
use crate::{ProtocolError, Strings};

pub(super) const OK: u32 = 0;
pub(super) const CLEARTEXT_PASSWORD: u32 = 3;
pub(super) const MD5_PASSWORD: u32 = 5;
pub(super) const SASL: u32 = 10;
pub(super) const SASL_CONTINUE: u32 = 11;
pub(super) const SASL_FINAL: u32 = 12;

/// One step of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5 {
        salt: [u8; 4],
    },
    /// Mechanisms in the server's order of preference.
    Sasl {
        mechanisms: Strings<'a>,
    },
    SaslContinue {
        data: &'a [u8],
    },
    SaslFinal {
        data: &'a [u8],
    },
    /// Kerberos, GSSAPI, SSPI and what is to come; its body stays unread.
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("Authentication", body);
        match reader.u32()? {
            OK => reader.end().map(|()| Self::Ok),
            CLEARTEXT_PASSWORD => reader.end().map(|()| Self::CleartextPassword),
            MD5_PASSWORD => {
                let salt = reader.salt()?;
                reader.end().map(|()| Self::Md5 { salt })
            }
            SASL => Ok(Self::Sasl {
                mechanisms: reader.strings_to_end()?,
            }),
            SASL_CONTINUE => Ok(Self::SaslContinue {
                data: reader.rest(),
            }),
            SASL_FINAL => Ok(Self::SaslFinal {
                data: reader.rest(),
            }),
            other => Ok(Self::Other(other)),
        }
    }
}
