//! A PostgreSQL client of a few hundred bytes: startup without a password, and simple queries.
//!
//! PostgreSQL manual, "Message Formats". Thousands of these must cost the measuring process little.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::endpoint::{Endpoint, USER};

/// Protocol 3.0.
const PROTOCOL_VERSION: u32 = 3 << 16;

pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub async fn connect(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port)).await?;
        stream.set_nodelay(true)?;
        stream
            .write_all(&startup_message(&endpoint.database))
            .await?;
        let mut client = Self { stream };
        client.read_until_ready().await?;
        Ok(client)
    }

    /// Runs `statement` and drops its rows; the server's error is the error.
    pub async fn query(&mut self, statement: &str) -> anyhow::Result<()> {
        let mut message = vec![b'Q'];
        message.extend_from_slice(&message_length(statement.len() + 1)?);
        message.extend_from_slice(statement.as_bytes());
        message.push(0);
        self.stream.write_all(&message).await?;
        self.read_until_ready().await
    }

    async fn read_until_ready(&mut self) -> anyhow::Result<()> {
        let mut error = None;
        let mut buffer = Vec::new();
        loop {
            while let Some((kind, body, length)) = first_message(&buffer) {
                match kind {
                    b'Z' => return error.map_or(Ok(()), |text: String| bail!(text)),
                    b'E' => error = Some(error_text(body)),
                    _ => {}
                }
                buffer.drain(..length);
            }
            if self.stream.read_buf(&mut buffer).await? == 0 {
                bail!(
                    "{}",
                    error.unwrap_or_else(|| "the server closed the connection".to_owned())
                );
            }
        }
    }
}

fn startup_message(database: &str) -> Vec<u8> {
    let mut body = PROTOCOL_VERSION.to_be_bytes().to_vec();
    for text in ["user", USER, "database", database, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = body.len() as u32 + 4;
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// The length word counts itself.
fn message_length(body: usize) -> anyhow::Result<[u8; 4]> {
    Ok(u32::try_from(body + 4)
        .context("statement too long")?
        .to_be_bytes())
}

/// Kind, body and whole length of the first message, when all of it is there.
fn first_message(buffer: &[u8]) -> Option<(u8, &[u8], usize)> {
    let word: [u8; 4] = buffer.get(1..5)?.try_into().ok()?;
    let length = u32::from_be_bytes(word) as usize + 1;
    Some((buffer[0], buffer.get(5..length)?, length))
}

/// SQLSTATE and text of an ErrorResponse.
fn error_text(body: &[u8]) -> String {
    let field = |wanted: u8| {
        body.split(|&byte| byte == 0)
            .find(|field| field.first() == Some(&wanted))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_only_whole() {
        let ready = [b'Z', 0, 0, 0, 5, b'I', b'X'];
        assert_eq!(first_message(&ready), Some((b'Z', b"I".as_slice(), 6)));
        assert_eq!(first_message(&ready[..5]), None);
        assert_eq!(first_message(&[]), None);
    }

    #[test]
    fn an_error_shows_its_sqlstate() {
        assert_eq!(
            error_text(b"SFATAL\0C53300\0Mtoo many\0\0"),
            "53300 too many"
        );
    }
}
