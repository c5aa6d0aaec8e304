//! Colours, mixed.

use image::Rgb;

/// Red, green and blue from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour(pub [f32; 3]);

impl Colour {
    /// As in `0xrrggbb`.
    pub const fn hex(code: u32) -> Colour {
        Colour([
            (code >> 16 & 0xff) as f32 / 255.0,
            (code >> 8 & 0xff) as f32 / 255.0,
            (code & 0xff) as f32 / 255.0,
        ])
    }

    /// Hue from 0 to 1 around the circle; saturation and lightness from 0 to 1.
    pub fn hsl(hue: f32, saturation: f32, lightness: f32) -> Colour {
        let reach = saturation * lightness.min(1.0 - lightness);
        let part = |offset: f32| {
            let place = (offset + hue.rem_euclid(1.0) * 12.0) % 12.0;
            lightness - reach * (place - 3.0).min(9.0 - place).clamp(-1.0, 1.0)
        };
        Colour([part(0.0), part(8.0), part(4.0)])
    }

    /// So much of the other, 0 to 1.
    pub fn mix(self, other: Colour, share: f32) -> Colour {
        let share = share.clamp(0.0, 1.0);
        let [a, b] = [self.0, other.0];
        Colour([0, 1, 2].map(|part| a[part] + (b[part] - a[part]) * share))
    }

    pub fn pixel(self) -> Rgb<u8> {
        Rgb(self
            .0
            .map(|part| (part.clamp(0.0, 1.0) * 255.0 + 0.5) as u8))
    }
}

/// How much of a pixel is inside, where `distance` (in pixels) is below 0 inside and above 0 outside.
pub fn inside(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// From 0 to 1 between two values, smoothly.
pub fn step(from: f32, to: f32, value: f32) -> f32 {
    let part = ((value - from) / (to - from)).clamp(0.0, 1.0);
    part * part * (3.0 - 2.0 * part)
}
