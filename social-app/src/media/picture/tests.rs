use std::io::Write as _;

use image::{ImageEncoder as _, Rgb, RgbImage};
use tempfile::NamedTempFile;

use super::*;
use crate::seed::pictures;

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn jpeg(picture: &RgbImage, exif: Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).unwrap();
    }
    encoder.encode_image(picture).unwrap();
    bytes
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = vec![0; (width * height) as usize];
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder
        .write_image(&pixels, width, height, image::ExtendedColorType::L8)
        .unwrap();
    bytes
}

fn open_bytes(bytes: &[u8], kind: Kind) -> Result<Picture, Refusal> {
    let (file, limits) = (file(bytes), Limits::default());
    pixels(file.path(), kind, &limits)?;
    open(file.path(), kind, &limits)
}

/// EXIF with an orientation and a place on earth in its bytes.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"GPS 60.1699 N 24.9384 E");
    bytes
}

#[test]
fn a_photograph_gets_all_sizes_in_webp() {
    let picture = open_bytes(&jpeg(&pictures::landscape(2, 1500, 1000), None), Kind::Jpeg).unwrap();
    assert_eq!(picture.dimensions(), (1500, 1000));
    let sizes = picture.sizes().unwrap();
    let dimensions: Vec<_> = sizes.iter().map(|size| (size.width, size.height)).collect();
    assert_eq!(dimensions, [(320, 213), (640, 427), (1280, 853)]);
    for size in sizes {
        assert_eq!(
            &size.bytes[12..16],
            b"VP8 ",
            "a still picture, not an animation"
        );
        let read = image::load_from_memory_with_format(&size.bytes, ImageFormat::WebP).unwrap();
        assert_eq!((read.width(), read.height()), (size.width, size.height));
    }
}

#[test]
fn nothing_is_made_larger_than_it_came() {
    for (width, expected) in [
        (100, vec![100]),
        (320, vec![320]),
        (500, vec![320, 500]),
        (1280, vec![320, 640, 1280]),
    ] {
        let picture = open_bytes(&png(width, 40), Kind::Png).unwrap();
        let widths: Vec<_> = picture
            .sizes()
            .unwrap()
            .iter()
            .map(|size| size.width)
            .collect();
        assert_eq!(widths, expected);
    }
}

#[test]
fn a_picture_is_turned_upright_and_forgets_where_it_was_taken() {
    // The left half red, the right half blue; orientation 6 says: turn it clockwise.
    let picture = RgbImage::from_fn(400, 200, |x, _| {
        if x < 200 {
            Rgb([220, 0, 0])
        } else {
            Rgb([0, 0, 220])
        }
    });
    let bytes = jpeg(&picture, Some(exif(6)));
    assert!(
        bytes.windows(3).any(|window| window == b"GPS"),
        "the test's picture has its place in it"
    );
    let picture = open_bytes(&bytes, Kind::Jpeg).unwrap();
    assert_eq!(picture.dimensions(), (200, 400));
    let [size] = picture
        .sizes()
        .unwrap()
        .try_into()
        .unwrap_or_else(|_| panic!("one size"));
    assert!(!size.bytes.windows(3).any(|window| window == b"GPS"));
    let read = image::load_from_memory(&size.bytes).unwrap().into_rgb8();
    assert!(read.get_pixel(100, 50)[0] > 150 && read.get_pixel(100, 350)[2] > 150);
}

#[test]
fn a_bomb_is_refused_by_what_its_head_says() {
    let mut bomb = png(4, 4);
    // Width and height of the head, and its checksum.
    bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    let checksum = crc(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let outcome = open_bytes(&bomb, Kind::Png).map(|picture| picture.dimensions());
    assert!(
        matches!(outcome, Err(Refusal::TooManyPixels { width: 50_000, .. })),
        "{outcome:?}"
    );
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            0xedb8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[test]
fn what_only_begins_like_a_picture_is_damaged() {
    for (kind, bytes) in [
        (Kind::Jpeg, &b"\xff\xd8\xff<script>alert(1)</script>"[..]),
        (Kind::Png, b"\x89PNG\r\n\x1a\n<html>"),
        (Kind::Gif, b"GIF89a/*......*/=1;alert(1)"),
        (Kind::WebP, b"RIFF\x10\0\0\0WEBPVP8 ........"),
    ] {
        let outcome = open_bytes(bytes, kind).map(|picture| picture.dimensions());
        assert!(
            matches!(
                outcome,
                Err(Refusal::Damaged(_) | Refusal::TooManyPixels { .. })
            ),
            "{kind:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_transparent_picture_stays_transparent() {
    let mut bytes = Vec::new();
    let pixels = [255, 0, 0, 0].repeat(50 * 50);
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder
        .write_image(&pixels, 50, 50, image::ExtendedColorType::Rgba8)
        .unwrap();
    let picture = open_bytes(&bytes, Kind::Png).unwrap();
    assert_eq!(picture.placeholder().unwrap().len(), 28);
    let sizes = picture.sizes().unwrap();
    let read = image::load_from_memory(&sizes[0].bytes)
        .unwrap()
        .into_rgba8();
    assert_eq!(read.get_pixel(25, 25)[3], 0);
}
