//! Files as people and attackers send them.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};
use social_app::seed::pictures;

pub const WIDTH: u32 = 1600;
pub const HEIGHT: u32 = 1200;

/// Photographs, no two the same.
pub fn good(count: usize) -> Vec<Bytes> {
    let bases: Vec<DynamicImage> = (0..5).map(photograph).collect();
    (0..count)
        .map(|number| {
            let base = &bases[number % bases.len()];
            match number % 8 {
                0 => encoded(&base.thumbnail(700, 700), ImageFormat::Png),
                1 => encoded(&base.thumbnail(600, 600), ImageFormat::WebP),
                _ => {
                    let mut bytes = Vec::new();
                    let quality = 60 + u8::try_from(number % 35).unwrap();
                    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
                    base.write_with_encoder(encoder).unwrap();
                    bytes.into()
                }
            }
        })
        .collect()
}

fn photograph(seed: u64) -> DynamicImage {
    let small = DynamicImage::ImageRgb8(pictures::landscape(seed, 200, 150));
    small.resize_exact(WIDTH, HEIGHT, FilterType::Triangle)
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner().into()
}

/// What it is, the file, the status and the kind of the problem that it must get.
pub type Hostile = (&'static str, Bytes, u16, &'static str);

pub fn hostile() -> Vec<Hostile> {
    let small = photograph(1).thumbnail(300, 300);
    let (jpeg, png) = (
        encoded(&small, ImageFormat::Jpeg),
        encoded(&small, ImageFormat::Png),
    );
    let webp = encoded(&small, ImageFormat::WebP);
    let page = b"<html><script>alert(document.cookie)</script></html>";
    let (unknown, damaged) = ((415, "media-unknown-format"), (422, "media-damaged"));
    let bomb = (422, "media-too-many-pixels");
    let large = (413, "media-too-large");
    let cases: Vec<(&'static str, Vec<u8>, (u16, &'static str))> = vec![
        ("nothing", vec![], (422, "media-empty")),
        ("a page named holiday.jpg", page.to_vec(), unknown),
        (
            "a drawing with a script",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>".to_vec(),
            unknown,
        ),
        (
            "a document",
            b"%PDF-1.7 and so on and so on and so on".to_vec(),
            unknown,
        ),
        (
            "an archive",
            b"PK\x03\x04................................".to_vec(),
            unknown,
        ),
        (
            "a program",
            b"\x7fELF\x02\x01\x01................................".to_vec(),
            unknown,
        ),
        (
            "a HEIC picture",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic........".to_vec(),
            unknown,
        ),
        ("a JPEG cut off", jpeg[..jpeg.len() / 2].to_vec(), damaged),
        ("a PNG cut off", png[..png.len() - 20].to_vec(), damaged),
        ("a WebP cut off", webp[..webp.len() / 2].to_vec(), damaged),
        (
            "a JPEG of garbage",
            [b"\xff\xd8\xff\xe0".as_slice(), &[7; 5000]].concat(),
            damaged,
        ),
        (
            "a script that is a GIF",
            b"GIF89a/*..................*/=1;alert(1)//".to_vec(),
            bomb,
        ),
        ("a page behind a PNG", [&png[..], page].concat(), damaged),
        ("a page behind a WebP", [&webp[..], page].concat(), damaged),
        (
            "a page in an MP4",
            [film(), boxed(b"html", page)].concat(),
            damaged,
        ),
        (
            "an MP4 that is mostly an archive",
            [film(), boxed(b"free", &[b'P'; 150_000])].concat(),
            damaged,
        ),
        ("a PNG of 50,000 x 50,000", bombed(&png, 50_000), bomb),
        ("a GIF of 65,535 x 65,535", gif(u16::MAX), bomb),
        ("a JPEG of 60,000 x 60,000", tall(&jpeg, 60_000), bomb),
        (
            "a PNG of 21 MiB",
            [&png[..33], &vec![0; 21 << 20]].concat(),
            large,
        ),
    ];
    cases
        .into_iter()
        .map(|(what, bytes, (status, kind))| (what, bytes.into(), status, kind))
        .collect()
}

fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap();
    [&length.to_be_bytes()[..], name, content].concat()
}

/// An MP4 with a head, of 640 x 360, and something in place of a film.
pub fn film() -> Vec<u8> {
    long_film(100_000)
}

/// The same, so many bytes long.
pub fn long_film(length: u32) -> Vec<u8> {
    let mut head = vec![0; 40];
    let numbers = [
        0x1_0000u32,
        0,
        0,
        0,
        0x1_0000,
        0,
        0,
        0,
        0x4000_0000,
        640 << 16,
        360 << 16,
    ];
    head.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    let track = boxed(b"trak", &boxed(b"tkhd", &head));
    let film: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
    [
        boxed(b"ftyp", b"isom\0\0\0\0isommp41"),
        boxed(b"moov", &[boxed(b"mvhd", &[0; 100]), track].concat()),
        boxed(b"mdat", &film),
    ]
    .concat()
}

/// The PNG with another size in its head.
fn bombed(png: &[u8], side: u32) -> Vec<u8> {
    let mut bytes = png.to_vec();
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let step = |crc: u32| {
        if crc & 1 == 1 {
            0xedb8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    let crc = !bytes[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    });
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The JPEG with another size in its frame's head.
fn tall(jpeg: &[u8], side: u16) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let frame = bytes
        .windows(2)
        .position(|two| two == [0xff, 0xc0])
        .expect("a baseline JPEG");
    bytes[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
    bytes
}

fn gif(side: u16) -> Vec<u8> {
    let side = side.to_le_bytes();
    let descriptor = [&[0x2c, 0, 0, 0, 0][..], &side, &side, &[0]].concat();
    let picture = [&descriptor[..], &[2, 2, 0x4c, 0x01, 0, 0x3b]].concat();
    [
        b"GIF89a".as_slice(),
        &side,
        &side,
        &[0x80, 0, 0, 0, 0, 0, 255, 255, 255],
        &picture,
    ]
    .concat()
}
