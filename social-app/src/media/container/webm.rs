//! WebM (EBML): elements of a number, a length and a content, in one another.

use std::io::{Read, Seek};
use std::ops::Range;

use super::{MOST_PARTS, Video, at, something_else, too_short};
use crate::media::refusal::Refusal;

const HEAD: u64 = 0x1a45_dfa3;
const DOC_TYPE: u64 = 0x4282;
const SEGMENT: u64 = 0x1853_8067;
const CLUSTER: u64 = 0x1f43_b675;
const TRACKS: u64 = 0x1654_ae6b;
const TRACK: u64 = 0xae;
const VIDEO: u64 = 0xe0;
const WIDTH: u64 = 0xb0;
const HEIGHT: u64 = 0xba;
/// Room that no player looks at.
const VOID: u64 = 0xec;

/// What may be in a segment beside tracks and clusters: seek head, information, cues, chapters, tags, room, checksum.
/// Attached files are something else.
const IN_SEGMENT: [u64; 7] = [
    0x114d_9b74,
    0x1549_a966,
    0x1c53_bb6b,
    0x1043_a770,
    0x1254_c367,
    VOID,
    0xbf,
];

struct Element {
    id: u64,
    content: Range<u64>,
}

pub fn check(file: &mut (impl Read + Seek), length: u64) -> Result<Video, Refusal> {
    let head = element(file, 0, length)?;
    if head.id != HEAD || !is_webm(file, head.content.clone())? {
        return Err(Refusal::NotMedia);
    }
    let segment = element(file, head.content.end, length)?;
    if segment.id != SEGMENT || segment.content.end != length {
        return Err(something_else());
    }
    let elements = elements(file, segment.content)?;
    let known = |element: &Element| {
        IN_SEGMENT.contains(&element.id) || [TRACKS, CLUSTER].contains(&element.id)
    };
    if !elements.iter().all(known) {
        return Err(something_else());
    }
    let room: u64 = elements
        .iter()
        .filter(|it| it.id == VOID)
        .map(|it| it.content.end - it.content.start)
        .sum();
    if room > length / 2 {
        return Err(something_else());
    }
    if !elements.iter().any(|element| element.id == CLUSTER) {
        return Err(Refusal::damaged("it has no film in it"));
    }
    let tracks = elements
        .into_iter()
        .find(|element| element.id == TRACKS)
        .ok_or_else(too_short)?;
    Ok(Video {
        dimensions: dimensions(file, tracks.content)?,
    })
}

fn is_webm(file: &mut (impl Read + Seek), head: Range<u64>) -> Result<bool, Refusal> {
    for element in elements(file, head)? {
        if element.id == DOC_TYPE && element.content.end - element.content.start == 4 {
            return Ok(at::<4>(file, element.content.start)? == *b"webm");
        }
    }
    Ok(false)
}

fn dimensions(
    file: &mut (impl Read + Seek),
    tracks: Range<u64>,
) -> Result<Option<(u32, u32)>, Refusal> {
    for track in elements(file, tracks)?
        .into_iter()
        .filter(|it| it.id == TRACK)
    {
        let inside = elements(file, track.content)?;
        let Some(video) = inside.into_iter().find(|it| it.id == VIDEO) else {
            continue;
        };
        let (mut width, mut height) = (None, None);
        for element in elements(file, video.content)? {
            match element.id {
                WIDTH => width = number(file, element.content)?,
                HEIGHT => height = number(file, element.content)?,
                _ => {}
            }
        }
        return Ok(width
            .zip(height)
            .filter(|(width, height)| *width > 0 && *height > 0));
    }
    Ok(None)
}

/// An unsigned number of up to four bytes; larger ones are no pixels.
fn number(file: &mut (impl Read + Seek), content: Range<u64>) -> Result<Option<u32>, Refusal> {
    let mut value = 0u64;
    for place in content {
        let [byte] = at(file, place)?;
        value = value << 8 | u64::from(byte);
        if value > u64::from(u16::MAX) {
            return Ok(None);
        }
    }
    Ok(u32::try_from(value).ok())
}

/// The elements that fill `range`. A segment or cluster of unknown length goes on to the end.
fn elements(file: &mut (impl Read + Seek), range: Range<u64>) -> Result<Vec<Element>, Refusal> {
    let mut elements = Vec::new();
    let mut place = range.start;
    while place < range.end {
        let element = element(file, place, range.end)?;
        place = element.content.end;
        elements.push(element);
        if elements.len() > MOST_PARTS {
            return Err(Refusal::damaged("it has too many parts"));
        }
    }
    Ok(elements)
}

fn element(file: &mut (impl Read + Seek), place: u64, end: u64) -> Result<Element, Refusal> {
    let (id, after_id) = variable(file, place, Marker::Kept)?;
    let (length, start) = variable(file, after_id, Marker::Removed)?;
    let unknown = length == (1 << (7 * (start - after_id))) - 1;
    let stop = match unknown {
        // As streams are recorded by browsers: nobody knew the length when it began.
        true if [SEGMENT, CLUSTER].contains(&id) => Some(end),
        true => None,
        false => start.checked_add(length),
    };
    match stop {
        Some(stop) if stop <= end => Ok(Element {
            id,
            content: start..stop,
        }),
        _ => Err(too_short()),
    }
}

#[derive(PartialEq)]
enum Marker {
    Kept,
    Removed,
}

/// A number whose first byte says by its leading zeros how many bytes follow; and the place behind it.
fn variable(
    file: &mut (impl Read + Seek),
    place: u64,
    marker: Marker,
) -> Result<(u64, u64), Refusal> {
    let [first] = at(file, place)?;
    let more = first.leading_zeros();
    if more > 7 || (marker == Marker::Kept && more > 3) {
        return Err(something_else());
    }
    let mut value = u64::from(first);
    if marker == Marker::Removed {
        value &= 0x7f >> more;
    }
    for offset in 1..=u64::from(more) {
        let [byte] = at(file, place + offset)?;
        value = value << 8 | u64::from(byte);
    }
    Ok((value, place + u64::from(more) + 1))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxed(id: u64, content: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id
            .to_be_bytes()
            .into_iter()
            .skip_while(|byte| *byte == 0)
            .collect();
        let length = 0x0100_0000_0000_0000u64 | content.len() as u64;
        [&id[..], &length.to_be_bytes(), content].concat()
    }

    fn head(kind: &[u8]) -> Vec<u8> {
        boxed(HEAD, &boxed(DOC_TYPE, kind))
    }

    fn tracks() -> Vec<u8> {
        let video = [boxed(WIDTH, &[0x02, 0x80]), boxed(HEIGHT, &[0x01, 0x68])].concat();
        let sound = boxed(TRACK, &boxed(0x83, &[2]));
        boxed(
            TRACKS,
            &[sound, boxed(TRACK, &boxed(VIDEO, &video))].concat(),
        )
    }

    fn file(inside: &[Vec<u8>]) -> Vec<u8> {
        [head(b"webm"), boxed(SEGMENT, &inside.concat())].concat()
    }

    fn checked(bytes: &[u8]) -> Result<Video, Refusal> {
        check(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn a_film_tells_its_dimensions() {
        let video = checked(&file(&[tracks(), boxed(CLUSTER, &[1; 500])])).unwrap();
        assert_eq!(video.dimensions, Some((640, 360)));
    }

    #[test]
    fn a_recording_of_unknown_length_passes() {
        let unknown = [
            &[0x18, 0x53, 0x80, 0x67, 0xff][..],
            &tracks(),
            &[0x1f, 0x43, 0xb6, 0x75, 0xff, 1, 2, 3],
        ]
        .concat();
        assert!(checked(&[head(b"webm"), unknown].concat()).is_ok());
    }

    #[test]
    fn a_file_cut_off_or_longer_or_with_files_attached_is_refused() {
        let bytes = file(&[tracks(), boxed(CLUSTER, &[1; 500])]);
        for length in [3, 20, bytes.len() - 1] {
            assert!(checked(&bytes[..length]).is_err(), "{length}");
        }
        assert!(checked(&[&bytes[..], b"<html>"].concat()).is_err());
        let attached = file(&[
            tracks(),
            boxed(CLUSTER, &[1; 5]),
            boxed(0x1941_a469, b"PK\x03\x04"),
        ]);
        assert!(checked(&attached).is_err());
    }

    #[test]
    fn other_matroska_is_no_webm() {
        let bytes = [head(b"matroska"), boxed(SEGMENT, &tracks())].concat();
        assert_eq!(checked(&bytes), Err(Refusal::NotMedia));
    }
}
