//! MP4 (ISO base media): boxes of a length and a name, in one another.

use std::io::{Read, Seek};
use std::ops::Range;

use super::{MOST_PARTS, Video, at, something_else, too_short};
use crate::media::refusal::Refusal;

/// A box's name and the bytes of its content.
struct Part {
    name: [u8; 4],
    content: Range<u64>,
}

/// What may be at the top of a file. Anything else is something else.
const TOP: [&[u8; 4]; 15] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"free", b"skip",
    b"wide", b"pdin", b"meta", b"uuid", b"emsg",
];

pub fn check(file: &mut (impl Read + Seek), length: u64) -> Result<Video, Refusal> {
    let parts = parts(file, 0..length)?;
    if parts.iter().any(|part| !TOP.contains(&&part.name)) {
        return Err(something_else());
    }
    let has = |name: &[u8; 4]| parts.iter().any(|part| part.name == *name);
    if parts.first().is_none_or(|part| part.name != *b"ftyp") || !has(b"moov") || !has(b"mdat") {
        return Err(Refusal::damaged("it has no film in it"));
    }
    let free: u64 = parts
        .iter()
        .filter(|part| is_free(&part.name))
        .map(|part| part.content.end - part.content.start)
        .sum();
    if free > length / 2 {
        return Err(something_else());
    }
    let film = parts
        .into_iter()
        .find(|part| part.name == *b"moov")
        .ok_or_else(too_short)?;
    Ok(Video {
        dimensions: dimensions(file, film.content)?,
    })
}

/// Room that no player looks at.
fn is_free(name: &[u8; 4]) -> bool {
    [b"free", b"skip", b"uuid"].contains(&name)
}

/// The boxes that fill `range` exactly.
fn parts(file: &mut (impl Read + Seek), range: Range<u64>) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    let mut place = range.start;
    while place < range.end {
        let part = part(file, place, range.end)?;
        place = part.content.end;
        parts.push(part);
        if parts.len() > MOST_PARTS {
            return Err(Refusal::damaged("it has too many parts"));
        }
    }
    Ok(parts)
}

fn part(file: &mut (impl Read + Seek), place: u64, end: u64) -> Result<Part, Refusal> {
    let [a, b, c, d, name @ ..] = at::<8>(file, place)?;
    let (length, head) = match u32::from_be_bytes([a, b, c, d]) {
        // To the end of the file.
        0 => (end - place, 8),
        1 => (u64::from_be_bytes(at(file, place + 8)?), 16),
        length => (u64::from(length), 8),
    };
    if length < head {
        return Err(something_else());
    }
    match place.checked_add(length) {
        Some(stop) if stop <= end => Ok(Part {
            name,
            content: place + head..stop,
        }),
        _ => Err(too_short()),
    }
}

/// Of the first track that has a picture.
fn dimensions(
    file: &mut (impl Read + Seek),
    film: Range<u64>,
) -> Result<Option<(u32, u32)>, Refusal> {
    for track in parts(file, film)?
        .into_iter()
        .filter(|part| part.name == *b"trak")
    {
        let head = parts(file, track.content)?
            .into_iter()
            .find(|part| part.name == *b"tkhd");
        if let Some(head) = head
            && let found @ Some(_) = track_dimensions(file, head.content)?
        {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The last 44 bytes of a track's head: a matrix of nine numbers, the width and the height, all in 1/65536.
fn track_dimensions(
    file: &mut (impl Read + Seek),
    head: Range<u64>,
) -> Result<Option<(u32, u32)>, Refusal> {
    let Some(start) = head
        .end
        .checked_sub(44)
        .filter(|start| *start >= head.start)
    else {
        return Err(too_short());
    };
    let bytes: [u8; 44] = at(file, start)?;
    let number = |index: usize| {
        let at = index * 4;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let (width, height) = (number(9) >> 16, number(10) >> 16);
    // A quarter turn, as phones write it: the matrix's a and d are 0.
    let turned = number(0) == 0 && number(4) == 0;
    Ok(match (width, height) {
        (0, _) | (_, 0) => None,
        (width, height) if turned => Some((height, width)),
        upright => Some(upright),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes()[..], name, content].concat()
    }

    fn track(width: u32, height: u32, matrix: [u32; 2]) -> Vec<u8> {
        let mut head = vec![0; 40];
        let matrix = [matrix[0], 0, 0, 0, matrix[1], 0, 0, 0, 0x4000_0000];
        head.extend(
            matrix
                .iter()
                .chain(&[width << 16, height << 16])
                .flat_map(|number| number.to_be_bytes()),
        );
        boxed(b"trak", &boxed(b"tkhd", &head))
    }

    /// A file with a head and no pictures.
    pub(crate) fn file(tracks: &[Vec<u8>]) -> Vec<u8> {
        let film = [boxed(b"mvhd", &[0; 100]), tracks.concat()].concat();
        [
            boxed(b"ftyp", b"isom\0\0\0\0isommp41"),
            boxed(b"moov", &film),
            boxed(b"mdat", &[7; 1000]),
        ]
        .concat()
    }

    fn checked(bytes: &[u8]) -> Result<Video, Refusal> {
        check(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    const UPRIGHT: [u32; 2] = [0x1_0000, 0x1_0000];

    #[test]
    fn a_film_tells_its_dimensions() {
        let sound_first = file(&[track(0, 0, UPRIGHT), track(640, 360, UPRIGHT)]);
        assert_eq!(checked(&sound_first).unwrap().dimensions, Some((640, 360)));
        let turned = file(&[track(1920, 1080, [0, 0])]);
        assert_eq!(checked(&turned).unwrap().dimensions, Some((1080, 1920)));
        assert_eq!(checked(&file(&[])).unwrap().dimensions, None);
    }

    #[test]
    fn a_file_cut_off_or_longer_is_refused() {
        let bytes = file(&[track(640, 360, UPRIGHT)]);
        for length in [4, 30, bytes.len() - 1] {
            assert!(checked(&bytes[..length]).is_err(), "{length}");
        }
        let page = [&bytes[..], b"<html><script>alert(1)</script></html>"].concat();
        assert!(checked(&page).is_err());
    }

    #[test]
    fn a_file_that_is_mostly_something_else_is_refused() {
        let archive = boxed(b"free", &[b'P'; 100_000]);
        let bytes = [file(&[track(640, 360, UPRIGHT)]), archive].concat();
        assert!(checked(&bytes).is_err());
        let strange = [file(&[]), boxed(b"html", b"<script>")].concat();
        assert!(checked(&strange).is_err());
    }

    #[test]
    fn lengths_that_lead_nowhere_are_refused() {
        let mut endless = file(&[]);
        endless.extend([0, 0, 0, 1]);
        endless.extend(b"mdat");
        endless.extend(u64::MAX.to_be_bytes());
        assert!(checked(&endless).is_err());
        assert!(checked(&[0; 64]).is_err());
    }
}
