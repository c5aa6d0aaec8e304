//! Whether a video's file is the container that it begins as, whole and with nothing else in it: videos are served as they
//! came. Codecs are left to the browser.

mod mp4;
mod webm;

use std::io::{Read, Seek, SeekFrom};

use super::kind::Kind;
use super::refusal::Refusal;

/// What a page needs to know of a video before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Video {
    /// Width and height in pixels, upright; `None`: the file does not say.
    pub dimensions: Option<(u32, u32)>,
}

/// Parts of a file that are looked at before it is given up.
const MOST_PARTS: usize = 20_000;

/// Reads the structure of a video's file of `length` bytes; not its pictures and sound.
pub fn check(kind: Kind, file: &mut (impl Read + Seek), length: u64) -> Result<Video, Refusal> {
    match kind {
        Kind::Mp4 => mp4::check(file, length),
        Kind::WebM => webm::check(file, length),
        _ => Err(Refusal::NotMedia),
    }
}

/// Reads `N` bytes at `place`.
fn at<const N: usize>(file: &mut (impl Read + Seek), place: u64) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(place))
        .map_err(Refusal::damaged)?;
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(too_short()),
        Err(error) => Err(Refusal::damaged(error)),
    }
}

fn too_short() -> Refusal {
    Refusal::damaged("it ends too early")
}

fn something_else() -> Refusal {
    Refusal::damaged("something that is no video is in it")
}
