//! A picture decoded within limits, turned upright, and made into sizes. What is encoded has pixels only: no EXIF, no place,
//! no name of a camera.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use webp_animation::{ColorMode, Encoder, EncoderOptions, EncodingConfig};

use super::kind::Kind;
use super::limits::Limits;
use super::refusal::Refusal;
use super::{placeholder, whole};

/// Widths of what is served, in pixels.
pub const WIDTHS: [u32; 3] = [320, 640, 1280];
/// A size is at most this many times as high as it is wide.
const HIGHEST: u32 = 3;
const QUALITY: f32 = 78.0;

pub struct Picture(DynamicImage);

/// One size of a picture as it is served.
pub struct Size {
    pub width: u32,
    pub height: u32,
    /// WebP.
    pub bytes: Vec<u8>,
}

/// Looks whether the file is whole and within the limits; gives how many pixels it has. Nothing is decoded yet.
pub fn pixels(path: &Path, kind: Kind, limits: &Limits) -> Result<u64, Refusal> {
    let mut file = File::open(path).map_err(Refusal::damaged)?;
    let length = file.metadata().map_err(Refusal::damaged)?.len();
    whole::check(kind, &mut file, length)?;
    std::io::Seek::rewind(&mut file).map_err(Refusal::damaged)?;
    within(&decoder(file, kind, limits)?, limits)
}

/// Decodes a file that was looked at; takes up to `limits.memory` bytes and a core for up to a second or so, so call it where
/// blocking is allowed.
pub fn open(path: &Path, kind: Kind, limits: &Limits) -> Result<Picture, Refusal> {
    let file = File::open(path).map_err(Refusal::damaged)?;
    let mut decoder = decoder(file, kind, limits)?;
    within(&decoder, limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(Refusal::damaged)?;
    // Deep colours are more than a screen shows and twice the memory.
    let mut picture = match picture.color().has_alpha() {
        true => DynamicImage::ImageRgba8(picture.into_rgba8()),
        false => DynamicImage::ImageRgb8(picture.into_rgb8()),
    };
    picture.apply_orientation(orientation);
    Ok(Picture(picture))
}

fn decoder(file: File, kind: Kind, limits: &Limits) -> Result<impl ImageDecoder, Refusal> {
    let format = match kind {
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Png => ImageFormat::Png,
        Kind::Gif => ImageFormat::Gif,
        Kind::WebP => ImageFormat::WebP,
        Kind::Mp4 | Kind::WebM => return Err(Refusal::NotMedia),
    };
    let mut reader = ImageReader::with_format(BufReader::new(file), format);
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.memory);
    reader.limits(allowed);
    reader.into_decoder().map_err(Refusal::damaged)
}

/// A file of some kilobytes can say that it has a billion pixels: nothing is decoded before this is looked at.
fn within(decoder: &impl ImageDecoder, limits: &Limits) -> Result<u64, Refusal> {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Refusal::damaged("it has no pixels"));
    }
    let side = width.max(height);
    if pixels > limits.pixels || side > limits.side || decoder.total_bytes() > limits.memory {
        return Err(Refusal::TooManyPixels {
            width,
            height,
            pixels: limits.pixels,
            side: limits.side,
        });
    }
    Ok(pixels)
}

impl From<RgbImage> for Picture {
    fn from(picture: RgbImage) -> Picture {
        Picture(DynamicImage::ImageRgb8(picture))
    }
}

impl Picture {
    /// Width and height, upright.
    pub fn dimensions(&self) -> (u32, u32) {
        (self.0.width(), self.0.height())
    }

    /// Its blurhash.
    pub fn placeholder(&self) -> Result<String, Refusal> {
        placeholder::of(&self.0.thumbnail_exact(32, 32).into_rgba8())
    }

    /// Each of [`WIDTHS`] that is not wider than the picture, ascending; a picture smaller than all of them has one size, its own.
    pub fn sizes(self) -> Result<Vec<Size>, Refusal> {
        let mut sizes = Vec::new();
        let whole = self.dimensions();
        let (width, _) = whole;
        let mut picture = self.0;
        let mut widths: Vec<u32> = WIDTHS.into_iter().filter(|wide| *wide < width).collect();
        if width <= WIDTHS[WIDTHS.len() - 1] {
            widths.push(width);
        }
        for wide in widths.into_iter().rev() {
            picture = shrink(picture, whole, wide);
            sizes.push(encode(&picture)?);
        }
        sizes.reverse();
        Ok(sizes)
    }
}

/// Coarsely to twice the width, which costs little memory, then finely. `whole`: the sides at first, of which the new
/// ones are a part, lest rounding adds up.
fn shrink(picture: DynamicImage, whole: (u32, u32), width: u32) -> DynamicImage {
    let high = width * HIGHEST;
    if picture.width() <= width && picture.height() <= high {
        return picture;
    }
    let coarse = if picture.width() > 2 * width || picture.height() > 2 * high {
        picture.thumbnail(2 * width, 2 * high)
    } else {
        picture
    };
    let (wide, tall) = fitting(whole, width, high);
    coarse.resize_exact(wide, tall, FilterType::CatmullRom)
}

/// The largest sides of the same shape that are not above these.
fn fitting((wide, tall): (u32, u32), width: u32, high: u32) -> (u32, u32) {
    let part = |side: u32, of: u32, to: u32| {
        let rounded = (u64::from(side) * u64::from(to) + u64::from(of) / 2) / u64::from(of.max(1));
        u32::try_from(rounded).unwrap_or(to).max(1)
    };
    let by_width = part(tall, wide, width);
    if by_width <= high {
        (width, by_width)
    } else {
        (part(wide, tall, high), high)
    }
}

/// By the system's libwebp, an animation of one frame: that is a still picture.
fn encode(picture: &DynamicImage) -> Result<Size, Refusal> {
    let (width, height) = (picture.width(), picture.height());
    let color_mode = match picture {
        DynamicImage::ImageRgb8(_) => ColorMode::Rgb,
        DynamicImage::ImageRgba8(_) => ColorMode::Rgba,
        _ => return Err(Refusal::damaged("its colours are not understood")),
    };
    let options = EncoderOptions {
        color_mode,
        encoding_config: Some(EncodingConfig::new_lossy(QUALITY)),
        ..EncoderOptions::default()
    };
    let encoded = Encoder::new_with_options((width, height), options).and_then(|mut encoder| {
        encoder.add_frame(picture.as_bytes(), 0)?;
        encoder.finalize(1)
    });
    let bytes = encoded
        .map_err(|error| Refusal::damaged(format_args!("it cannot be made into WebP: {error}")))?;
    Ok(Size {
        width,
        height,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests;
