//! What a client and we say before the startup packet: TLS, GSSAPI (PostgreSQL manual, sections
//! 55.2.10 and 55.2.11).

use super::channel::{Channel, FirstPacket};
use super::{HandshakeError, ServerTls, refused};
use crate::error::RouterError;
use crate::stream::Stream;

/// First byte of a TLS handshake record: TLS without SSLRequest (PostgreSQL 17's
/// `sslnegotiation=direct`). A startup packet's first byte is 0.
const TLS_HANDSHAKE: u8 = 0x16;

/// Answers requests for encryption, each kind once, and gives the packet behind them.
pub(super) async fn settle(
    channel: &mut Channel,
    tls: &ServerTls,
) -> Result<FirstPacket, HandshakeError> {
    let mut gss_refused = false;
    if starts_with_tls(channel, tls).await? {
        start_tls(channel, tls).await?;
        require_postgresql(channel)?;
        return channel.first_packet().await;
    }
    loop {
        match channel.first_packet().await? {
            FirstPacket::Ssl => return after_ssl_request(channel, tls, gss_refused).await,
            FirstPacket::Gss if !gss_refused => {
                refuse_unread(channel, "GSSAPI encryption request")?;
                channel.send(b"N").await?;
                gss_refused = true;
            }
            other => return Ok(other),
        }
    }
}

async fn after_ssl_request(
    channel: &mut Channel,
    tls: &ServerTls,
    gss_refused: bool,
) -> Result<FirstPacket, HandshakeError> {
    // CVE-2021-23214: what came ahead of TLS was not said by whom TLS will prove to be there.
    refuse_unread(channel, "SSL request")?;
    if can_tls(channel, tls)? {
        channel.send(b"S").await?;
        start_tls(channel, tls).await?;
        return channel.first_packet().await;
    }
    channel.send(b"N").await?;
    match channel.first_packet().await? {
        FirstPacket::Gss if !gss_refused => {
            refuse_unread(channel, "GSSAPI encryption request")?;
            channel.send(b"N").await?;
            channel.first_packet().await
        }
        other => Ok(other),
    }
}

/// TLS is for TCP only, as in PostgreSQL.
fn can_tls(channel: &mut Channel, tls: &ServerTls) -> Result<bool, HandshakeError> {
    Ok(tls.acceptor().is_some() && matches!(channel.stream()?, Stream::Tcp(_)))
}

async fn starts_with_tls(channel: &mut Channel, tls: &ServerTls) -> Result<bool, HandshakeError> {
    match channel.stream()? {
        Stream::Tcp(tcp) if tls.acceptor().is_some() => {
            let mut first = [0];
            let count = tcp.peek(&mut first).await?;
            Ok(count == 1 && first[0] == TLS_HANDSHAKE)
        }
        _ => Ok(false),
    }
}

async fn start_tls(channel: &mut Channel, tls: &ServerTls) -> Result<(), HandshakeError> {
    let (Some(acceptor), Some(Stream::Tcp(tcp))) = (tls.acceptor(), channel.take_stream()) else {
        return Err(HandshakeError::Left);
    };
    let stream = acceptor.accept(tcp).await.map_err(HandshakeError::Tls)?;
    channel.put_stream(Stream::TlsServer(Box::new(stream)));
    Ok(())
}

/// Without SSLRequest only ALPN tells that the other side means PostgreSQL (as PostgreSQL 17).
fn require_postgresql(channel: &mut Channel) -> Result<(), HandshakeError> {
    match channel.stream()? {
        Stream::TlsServer(tls) if tls.get_ref().1.alpn_protocol() == Some(super::tls::ALPN) => {
            Ok(())
        }
        _ => Err(refused(
            "08P01",
            "direct TLS connection without ALPN protocol \"postgresql\"",
        )),
    }
}

fn refuse_unread(channel: &Channel, after: &str) -> Result<(), HandshakeError> {
    if !channel.has_unread() {
        return Ok(());
    }
    let message = format!("received unencrypted data after {after}");
    let detail = "This could be either a client-software bug or evidence of an attempted \
        man-in-the-middle attack.";
    Err(RouterError::new("08P01", message).detail(detail).into())
}
