//! A file that comes in piece by piece, written to a temporary file: in memory there is one piece at a time.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::kind::{HEAD, Kind};
use super::limits::Limits;
use super::refusal::Refusal;

const BUFFER: usize = 64 << 10;

/// A file of an accepted kind, within the limits; gone when this is dropped.
#[derive(Debug)]
pub struct Received {
    pub path: TempPath,
    pub kind: Kind,
    pub length: u64,
    /// SHA-256 in hexadecimal.
    pub hash: String,
}

/// Takes a file to its end, or refuses it as early as it can. `directory` holds the temporary file. Errors of the stream mean
/// that the sender is gone.
pub async fn receive<E>(
    pieces: impl Stream<Item = Result<Bytes, E>>,
    limits: &Limits,
    directory: &Path,
) -> Result<Received, crate::Error> {
    let mut pieces = std::pin::pin!(pieces);
    let mut head = Vec::with_capacity(HEAD);
    // Pieces may be small: as many as tell the kind.
    while head.len() < HEAD {
        match next(&mut pieces, limits.stall).await? {
            Some(piece) => head.extend_from_slice(&piece),
            None => break,
        }
    }
    if head.is_empty() {
        return Err(Refusal::Empty.into());
    }
    let kind = Kind::of(&head).ok_or(Refusal::NotMedia)?;
    let limit = match kind.is_video() {
        true => ("a video", limits.video),
        false => ("a picture", limits.picture),
    };
    let (file, path) = NamedTempFile::new_in(directory)
        .map_err(anyhow::Error::from)?
        .into_parts();
    let mut file = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
    let mut hasher = Sha256::new();
    let mut length = 0;
    let mut piece = Bytes::from(head);
    loop {
        length += piece.len() as u64;
        if length > limit.1 {
            let (what, limit) = limit;
            return Err(Refusal::TooLarge { what, limit }.into());
        }
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(anyhow::Error::from)?;
        match next(&mut pieces, limits.stall).await? {
            Some(another) => piece = another,
            None => break,
        }
    }
    file.flush().await.map_err(anyhow::Error::from)?;
    Ok(Received {
        path,
        kind,
        length,
        hash: hexadecimal(&hasher.finalize()),
    })
}

async fn next<E>(
    pieces: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    stall: Duration,
) -> Result<Option<Bytes>, Refusal> {
    match tokio::time::timeout(stall, pieces.next()).await {
        Err(_) => Err(Refusal::Stalled(stall.as_secs())),
        Ok(Some(Err(_))) => Err(Refusal::Interrupted),
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(None) => Ok(None),
    }
}

/// Two digits for each byte, in lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::Error;

    type Piece = Result<Bytes, std::io::Error>;

    async fn received(pieces: Vec<Piece>, limits: &Limits) -> (Result<Received, Error>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let outcome = receive(stream::iter(pieces), limits, directory.path()).await;
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        (outcome, files)
    }

    fn png(length: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(length, 7);
        bytes
    }

    fn kind_of(outcome: Result<Received, Error>) -> &'static str {
        outcome.map(|received| received.length).unwrap_err().kind()
    }

    #[tokio::test]
    async fn a_file_in_small_pieces_is_whole() {
        let bytes = png(100_000);
        let pieces = bytes
            .chunks(7)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let (outcome, files) = received(pieces, &Limits::default()).await;
        let received = outcome.unwrap();
        assert_eq!(
            (received.kind, received.length, files),
            (Kind::Png, 100_000, 1)
        );
        assert_eq!(received.hash, hexadecimal(&Sha256::digest(&bytes)));
    }

    #[tokio::test]
    async fn a_file_too_large_is_refused_and_leaves_nothing() {
        let limits = Limits {
            picture: 1000,
            ..Limits::default()
        };
        let pieces = png(2000)
            .chunks(100)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let (outcome, files) = received(pieces, &limits).await;
        assert_eq!((kind_of(outcome), files), ("media-too-large", 0));
    }

    #[tokio::test]
    async fn another_format_is_refused_at_its_first_bytes() {
        let page = Bytes::from_static(b"<html><body>I am holiday.jpg, honestly</body></html>");
        let (outcome, files) = received(vec![Ok(page)], &Limits::default()).await;
        assert_eq!((kind_of(outcome), files), ("media-unknown-format", 0));
        let (outcome, _) = received(vec![], &Limits::default()).await;
        assert_eq!(kind_of(outcome), "media-empty");
    }

    #[tokio::test]
    async fn a_sender_that_is_gone_leaves_nothing() {
        let gone = std::io::ErrorKind::ConnectionReset.into();
        let (outcome, files) =
            received(vec![Ok(png(100).into()), Err(gone)], &Limits::default()).await;
        assert_eq!((kind_of(outcome), files), ("media-interrupted", 0));
    }

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pieces = stream::iter([Piece::Ok(png(100).into())]).chain(stream::pending());
        let limits = Limits {
            stall: std::time::Duration::from_millis(20),
            ..Limits::default()
        };
        let outcome = receive(pieces, &limits, directory.path()).await;
        assert_eq!(kind_of(outcome), "media-stalled");
    }
}
