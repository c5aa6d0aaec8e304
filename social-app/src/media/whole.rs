//! Whether a picture's file is whole and nothing else: decoders take a cut-off JPEG for a grey one, and never look behind
//! the end.

use std::io::{Read, Seek, SeekFrom};

use super::kind::Kind;
use super::refusal::Refusal;

type Outcome = Result<(), Refusal>;

/// Looks at the structure of a picture's file of `length` bytes, from its start.
pub fn check(kind: Kind, file: &mut (impl Read + Seek), length: u64) -> Outcome {
    file.rewind().map_err(Refusal::damaged)?;
    let outcome = match kind {
        Kind::Jpeg => jpeg(file),
        Kind::Png => png(file, length),
        Kind::WebP => webp(file, length),
        // Decoding finds what is missing; the other kinds are no pictures.
        Kind::Gif | Kind::Mp4 | Kind::WebM => Ok(()),
    };
    outcome.map_err(|error| match error {
        Trouble::Refused(refusal) => refusal,
        Trouble::Read(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Refusal::damaged("it ends too early")
        }
        Trouble::Read(error) => Refusal::damaged(error),
    })
}

enum Trouble {
    Refused(Refusal),
    Read(std::io::Error),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Read(error)
    }
}

fn more_behind() -> Trouble {
    Trouble::Refused(Refusal::damaged("something else follows the picture's end"))
}

/// To the marker EOI of the first picture. Cameras append more pictures, so what follows is not looked at (and never served).
fn jpeg(file: &mut impl Read) -> Result<(), Trouble> {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let mut file = std::io::BufReader::with_capacity(64 << 10, file);
    skip(&mut file, 2)?;
    let mut marker = next_marker(&mut file)?;
    loop {
        match marker {
            END => return Ok(()),
            // Without a body.
            0x01 | 0xd0..=0xd8 => marker = next_marker(&mut file)?,
            _ => {
                let length = u64::from(u16::from_be_bytes(take(&mut file)?));
                let body = length.checked_sub(2).ok_or_else(no_length)?;
                skip(&mut file, body)?;
                marker = if marker == SCAN {
                    after_scan(&mut file)?
                } else {
                    next_marker(&mut file)?
                };
            }
        }
    }
}

fn no_length() -> Trouble {
    Trouble::Refused(Refusal::damaged("a segment has no length"))
}

/// A marker is FF, any number of FF, and a byte that is not 0.
fn next_marker(file: &mut impl Read) -> Result<u8, Trouble> {
    let [byte] = take(file)?;
    if byte != 0xff {
        return Err(Trouble::Refused(Refusal::damaged(
            "a segment does not begin where it should",
        )));
    }
    loop {
        match take(file)? {
            [0xff] => {}
            [marker] => return Ok(marker),
        }
    }
}

/// The marker that ends entropy-coded data, in which FF is followed by 0 or a restart marker.
fn after_scan(file: &mut impl Read) -> Result<u8, Trouble> {
    loop {
        let [byte] = take(file)?;
        if byte != 0xff {
            continue;
        }
        loop {
            match take(file)? {
                [0xff] => {}
                [0x00 | 0xd0..=0xd7] => break,
                [marker] => return Ok(marker),
            }
        }
    }
}

/// Chunks to IEND, which ends the file.
fn png(file: &mut (impl Read + Seek), length: u64) -> Result<(), Trouble> {
    let mut at: u64 = 8;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let size = u32::from_be_bytes(take(file)?);
        let name: [u8; 4] = take(file)?;
        at += 12 + u64::from(size);
        if at > length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if name == *b"IEND" {
            return if at == length {
                Ok(())
            } else {
                Err(more_behind())
            };
        }
    }
}

/// A RIFF file says how long it is; a byte may be added to make it even.
fn webp(file: &mut (impl Read + Seek), length: u64) -> Result<(), Trouble> {
    file.seek(SeekFrom::Start(4))?;
    let said = u64::from(u32::from_le_bytes(take(file)?)) + 8;
    if said > length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    if said + said % 2 < length {
        Err(more_behind())
    } else {
        Ok(())
    }
}

fn take<const N: usize>(file: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(file: &mut impl Read, count: u64) -> std::io::Result<()> {
    let skipped = std::io::copy(&mut file.by_ref().take(count), &mut std::io::sink())?;
    if skipped < count {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = DynamicImage::ImageRgb8(crate::seed::pictures::landscape(3, 64, 48));
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn checked(kind: Kind, bytes: &[u8]) -> Outcome {
        check(kind, &mut Cursor::new(bytes), bytes.len() as u64)
    }

    const FORMATS: [(Kind, ImageFormat); 3] = [
        (Kind::Jpeg, ImageFormat::Jpeg),
        (Kind::Png, ImageFormat::Png),
        (Kind::WebP, ImageFormat::WebP),
    ];

    #[test]
    fn whole_pictures_pass() {
        for (kind, format) in FORMATS {
            assert_eq!(checked(kind, &encoded(format)), Ok(()), "{kind:?}");
        }
    }

    #[test]
    fn a_picture_cut_off_anywhere_is_damaged() {
        for (kind, format) in FORMATS {
            let bytes = encoded(format);
            for length in [12, 40, bytes.len() / 2, bytes.len() - 1] {
                let outcome = checked(kind, &bytes[..length]);
                assert!(
                    matches!(outcome, Err(Refusal::Damaged(_))),
                    "{kind:?} {length}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_follows_the_end_of_a_png_or_webp() {
        for (kind, format) in &FORMATS[1..] {
            let mut bytes = encoded(*format);
            bytes.extend_from_slice(b"<script>alert(1)</script>");
            assert!(
                matches!(checked(*kind, &bytes), Err(Refusal::Damaged(_))),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_camera_may_append_to_a_jpeg() {
        let mut bytes = encoded(ImageFormat::Jpeg);
        bytes.extend_from_within(..);
        assert_eq!(checked(Kind::Jpeg, &bytes), Ok(()));
    }
}
