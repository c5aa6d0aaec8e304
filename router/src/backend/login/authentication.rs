//! Proves the role to the server by the method that the server names.

use bytes::BytesMut;
use wire::Strings;
use wire::backend::{Authentication, tag};
use wire::frontend;

use super::{Conversation, Credentials, LoginError, Message};
use crate::credentials::md5;
use crate::scram::binding::tls_server_end_point;
use crate::scram::client::{self, Binding, Proof};
use crate::scram::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, nonce};
use crate::stream::Stream;

/// Goes on until AuthenticationOk.
pub(super) async fn authenticate(
    conversation: &mut Conversation<'_>,
    user: &str,
    credentials: &Credentials,
) -> Result<(), LoginError> {
    let request = next(conversation).await?;
    match Authentication::parse(request.body())? {
        Authentication::Ok => return Ok(()),
        Authentication::CleartextPassword => {
            let password = clear_password(conversation.stream, credentials)?;
            send_password(conversation, password).await?;
        }
        Authentication::Md5 { salt } => {
            let answer = md5_answer(user, credentials, salt)?;
            send_password(conversation, &answer).await?;
        }
        Authentication::Sasl { mechanisms } => {
            scram(conversation, credentials, mechanisms).await?;
        }
        Authentication::SaslContinue { .. } | Authentication::SaslFinal { .. } => {
            return Err(LoginError::Unexpected(tag::AUTHENTICATION));
        }
        Authentication::Other(_) => {
            return Err(LoginError::Method(
                "a method other than scram-sha-256, md5 or password",
            ));
        }
    }
    match Authentication::parse(next(conversation).await?.body())? {
        Authentication::Ok => Ok(()),
        _ => Err(LoginError::Unexpected(tag::AUTHENTICATION)),
    }
}

async fn next(conversation: &mut Conversation<'_>) -> Result<Message, LoginError> {
    loop {
        let message = conversation.message().await?;
        match message.tag {
            tag::AUTHENTICATION => return Ok(message),
            tag::NEGOTIATE_PROTOCOL_VERSION => {}
            other => return Err(LoginError::Unexpected(other)),
        }
    }
}

async fn send_password(
    conversation: &mut Conversation<'_>,
    password: &str,
) -> Result<(), LoginError> {
    let mut out = BytesMut::new();
    frontend::write::password(&mut out, password.as_bytes());
    conversation.send(&out).await
}

fn clear_password<'a>(
    stream: &Stream,
    credentials: &'a Credentials,
) -> Result<&'a str, LoginError> {
    match credentials {
        Credentials::Password(_) if !stream.is_tls() && !stream.is_unix() => {
            Err(LoginError::ClearPassword)
        }
        Credentials::Password(password) => Ok(&password.0),
        Credentials::None | Credentials::Scram(_) | Credentials::Md5(_) => Err(LoginError::Method(
            "the password itself, which the router does not have",
        )),
    }
}

fn md5_answer(user: &str, credentials: &Credentials, salt: [u8; 4]) -> Result<String, LoginError> {
    let answer = match credentials {
        Credentials::Password(password) => md5::answer(&md5::stored(user, &password.0), salt),
        Credentials::Md5(stored) => md5::answer(&stored.0, salt),
        Credentials::None | Credentials::Scram(_) => None,
    };
    answer.ok_or(LoginError::Method(
        "an MD5 password, which the router does not have",
    ))
}

async fn scram(
    conversation: &mut Conversation<'_>,
    credentials: &Credentials,
    mechanisms: Strings<'_>,
) -> Result<(), LoginError> {
    let proof = match credentials {
        Credentials::Password(password) => Proof::Password(&password.0),
        Credentials::Scram(keys) => Proof::Keys(keys),
        Credentials::None | Credentials::Md5(_) => {
            return Err(LoginError::Method(
                "a SCRAM password, which the router does not have",
            ));
        }
    };
    let (mechanism, binding) = choose(mechanisms, end_point(conversation.stream))?;
    let (first, started) = client::start(proof, binding, "", nonce());
    let mut out = BytesMut::new();
    let data = Some(first.as_bytes());
    frontend::write::sasl_initial_response(&mut out, mechanism.as_bytes(), data);
    conversation.send(&out).await?;

    let reply = next(conversation).await?;
    let Authentication::SaslContinue { data } = Authentication::parse(reply.body())? else {
        return Err(LoginError::Unexpected(tag::AUTHENTICATION));
    };
    let (last, answered) = started.answer(data)?;
    out.clear();
    frontend::write::sasl_response(&mut out, last.as_bytes());
    conversation.send(&out).await?;

    let reply = next(conversation).await?;
    match Authentication::parse(reply.body())? {
        Authentication::SaslFinal { data } => Ok(answered.verify(data)?),
        _ => Err(LoginError::Unexpected(tag::AUTHENTICATION)),
    }
}

/// What the channel can be bound to: the certificate that the server showed.
fn end_point(stream: &Stream) -> Option<Vec<u8>> {
    match stream {
        Stream::TlsClient(_) => stream.peer_certificate().and_then(tls_server_end_point),
        Stream::Tcp(_) | Stream::Unix(_) | Stream::TlsServer(_) => None,
    }
}

fn choose(
    mechanisms: Strings<'_>,
    end_point: Option<Vec<u8>>,
) -> Result<(&'static str, Binding), LoginError> {
    let plus = mechanisms.contains(SCRAM_SHA_256_PLUS.as_bytes());
    match end_point {
        Some(hash) if plus => Ok((SCRAM_SHA_256_PLUS, Binding::Chosen(hash))),
        _ if !mechanisms.contains(SCRAM_SHA_256.as_bytes()) => Err(LoginError::Method(
            "a SASL mechanism other than SCRAM-SHA-256",
        )),
        Some(_) => Ok((SCRAM_SHA_256, Binding::NotOffered)),
        None => Ok((SCRAM_SHA_256, Binding::Impossible)),
    }
}
