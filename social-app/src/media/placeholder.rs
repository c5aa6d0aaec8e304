//! What is shown until a picture is there: its blurhash, a text of some 28 characters, and that as a tiny picture in a page.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, RgbaImage};

use super::refusal::Refusal;

const ACROSS: u32 = 4;
const DOWN: u32 = 3;
/// Pixels of the tiny picture on its longer side; a browser blurs it when it makes it large.
const TINY: u32 = 16;
/// No blurhash with at most 9 x 9 parts is longer.
const LONGEST: usize = 170;

/// The blurhash of a (small) picture.
pub fn of(picture: &RgbaImage) -> Result<String, Refusal> {
    blurhash::encode(ACROSS, DOWN, picture.width(), picture.height(), picture)
        .map_err(Refusal::damaged)
}

/// A `data:` address of a PNG of some hundred bytes, in the shape of the picture. `None`: not a blurhash.
pub fn data_url(hash: &str, width: u32, height: u32) -> Option<String> {
    if hash.len() > LONGEST || !hash.is_ascii() {
        return None;
    }
    let (wide, high) = tiny(width, height);
    let pixels = blurhash::decode(hash, wide, high, 1.0).ok()?;
    let picture = DynamicImage::ImageRgba8(RgbaImage::from_raw(wide, high, pixels)?).into_rgb8();
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).ok()?;
    Some(format!(
        "data:image/png;base64,{}",
        STANDARD.encode(png.get_ref())
    ))
}

fn tiny(width: u32, height: u32) -> (u32, u32) {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let longer = width.max(height);
    // At most TINY, so it fits.
    let side = |length: u64| (length * u64::from(TINY)).div_ceil(longer) as u32;
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::pictures;

    #[test]
    fn a_picture_becomes_a_short_text_and_a_tiny_picture() {
        let picture = DynamicImage::ImageRgb8(pictures::landscape(1, 60, 40)).into_rgba8();
        let hash = of(&picture).unwrap();
        assert_eq!(hash.len(), 28);
        let url = data_url(&hash, 1200, 800).unwrap();
        assert!(url.len() < 1200, "{} bytes", url.len());
        let png = STANDARD.decode(url.split_once(',').unwrap().1).unwrap();
        let tiny = image::load_from_memory(&png).unwrap();
        assert_eq!((tiny.width(), tiny.height()), (16, 11));
    }

    #[test]
    fn the_tiny_picture_has_the_colours_of_the_large_one() {
        let red = RgbaImage::from_pixel(32, 32, image::Rgba([200, 10, 10, 255]));
        let url = data_url(&of(&red).unwrap(), 5, 5).unwrap();
        let png = STANDARD.decode(url.split_once(',').unwrap().1).unwrap();
        let [r, g, b] = image::load_from_memory(&png)
            .unwrap()
            .into_rgb8()
            .get_pixel(8, 8)
            .0;
        assert!(r > 180 && g < 40 && b < 40, "{r} {g} {b}");
    }

    #[test]
    fn what_is_no_blurhash_is_none() {
        for text in ["", "x", "ä".repeat(20).as_str(), "L".repeat(500).as_str()] {
            assert_eq!(data_url(text, 3, 2), None, "{text}");
        }
    }
}
