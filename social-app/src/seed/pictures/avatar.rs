//! A friendly face of few shapes: hair, head, eyes, a mouth, on a coloured ground.

use image::RgbImage;

use super::noise::random;
use super::paint::{Colour, inside};

const SKIN: [u32; 7] = [
    0xffe0c8, 0xf5cda7, 0xe8b48a, 0xcd9269, 0xa86f4a, 0x7d4f33, 0x56351f,
];
const HAIR: [u32; 9] = [
    0x1d1512, 0x3a2418, 0x6b4226, 0xa0622d, 0xd9a55b, 0xe9d3a0, 0x9b2f1f, 0xb9b9bd, 0x2a2f4a,
];

struct Face {
    ground: [Colour; 2],
    skin: Colour,
    hair: Colour,
    shirt: Colour,
    /// 0 bald, 1 short, 2 parted, 3 long, 4 curls, 5 a bun.
    style: u32,
    smile: f32,
    wide: f32,
    glasses: bool,
    beard: bool,
}

/// Draws a square portrait.
pub fn avatar(seed: u64, size: u32) -> RgbImage {
    let chance = |which: i64| random(seed ^ 0xface, which);
    let pick = |which: i64, colours: &[u32]| {
        Colour::hex(colours[(chance(which) * colours.len() as f32) as usize])
    };
    let hue = chance(1);
    let style = (chance(4) * 6.0) as u32;
    let face = Face {
        ground: [
            Colour::hsl(hue, 0.55, 0.78),
            Colour::hsl(hue + 0.08, 0.55, 0.62),
        ],
        skin: pick(2, &SKIN),
        hair: pick(3, &HAIR),
        shirt: Colour::hsl(hue + 0.45 + 0.2 * chance(5), 0.5, 0.45),
        style,
        smile: 0.35 + chance(6) * 0.65,
        wide: 0.92 + chance(7) * 0.16,
        glasses: chance(8) < 0.25,
        beard: style < 3 && chance(9) < 0.35,
    };
    let scale = size as f32 / 2.0;
    RgbImage::from_fn(size, size, |x, y| {
        let place = [
            (x as f32 + 0.5) / scale - 1.0,
            (y as f32 + 0.5) / scale - 1.0,
        ];
        face.colour(place, 1.0 / scale).pixel()
    })
}

/// Roughly how far a place is from an ellipse's edge; below 0 inside.
fn ellipse([x, y]: [f32; 2], [cx, cy]: [f32; 2], [rx, ry]: [f32; 2]) -> f32 {
    let [dx, dy] = [(x - cx) / rx, (y - cy) / ry];
    (dx.hypot(dy) - 1.0) * rx.min(ry)
}

impl Face {
    /// `place` is -1 to 1 in both directions.
    fn colour(&self, place: [f32; 2], pixel: f32) -> Colour {
        let [x, y] = place;
        let mut colour = self.ground[0].mix(self.ground[1], (x + y + 2.0) / 4.0);
        let mut lay =
            |over: Colour, distance: f32| colour = colour.mix(over, inside(distance / pixel));
        let dark = Colour::hex(0x2a1d1a);
        if let Some(distance) = self.hair_behind(place) {
            lay(self.hair.mix(dark, 0.15), distance);
        }
        lay(self.shirt, ellipse(place, [0.0, 1.12], [0.72, 0.52]));
        lay(
            self.skin.mix(dark, 0.12),
            ellipse(place, [0.0, 0.58], [0.17, 0.3]),
        );
        for side in [-1.0, 1.0] {
            lay(
                self.skin.mix(dark, 0.07),
                ellipse(place, [side * 0.44 * self.wide, 0.04], [0.09, 0.13]),
            );
        }
        let head = ellipse(place, [0.0, 0.02], [0.44 * self.wide, 0.54]);
        lay(self.skin, head);
        if self.beard {
            let chin = head.max(0.18 + 0.12 * (x * 6.0).cos() - y).max(-ellipse(
                place,
                [0.0, 0.27],
                [0.17, 0.08],
            ));
            lay(self.hair, chin);
        }
        for side in [-1.0, 1.0] {
            lay(
                Colour::hex(0xf2a0a0).mix(self.skin, 0.72),
                ellipse(place, [side * 0.25, 0.2], [0.1, 0.07]),
            );
            lay(dark, ellipse(place, [side * 0.18, 0.02], [0.045, 0.06]));
            lay(
                Colour::hex(0xffffff),
                ellipse(place, [side * 0.18 + 0.015, 0.0], [0.014, 0.018]),
            );
            lay(
                self.hair.mix(dark, 0.4),
                ellipse(
                    place,
                    [side * 0.18, -0.11 - 0.02 * self.smile],
                    [0.085, 0.018],
                ),
            );
            if self.glasses {
                lay(
                    dark,
                    (ellipse(place, [side * 0.18, 0.02], [0.135, 0.135])).abs() - 0.012,
                );
            }
        }
        lay(
            self.skin.mix(dark, 0.2),
            ellipse(place, [0.0, 0.14], [0.03, 0.022]),
        );
        lay(Colour::hex(0x9c3b3b).mix(dark, 0.2), self.mouth(place));
        if let Some(distance) = self.hair_before(place) {
            lay(self.hair, distance);
        }
        colour
    }

    fn mouth(&self, [x, y]: [f32; 2]) -> f32 {
        let curve = 0.29 - self.smile * 0.9 * x * x;
        ((y - curve).abs() - 0.016).max(x.abs() - 0.13)
    }

    fn hair_behind(&self, place: [f32; 2]) -> Option<f32> {
        let [x, y] = place;
        match self.style {
            3 => Some(
                ellipse(place, [0.0, 0.05], [0.56, 0.68])
                    .min((x.abs() - 0.55).max(-y).max(y - 0.72)),
            ),
            4 => Some(ellipse(place, [0.0, -0.1], [0.6, 0.58]) + 0.035 * (x.atan2(y) * 14.0).sin()),
            5 => Some(ellipse(place, [0.0, -0.66], [0.2, 0.19])),
            _ => None,
        }
    }

    /// What covers the head's upper part: within a slightly larger head, above the hairline.
    fn hair_before(&self, place: [f32; 2]) -> Option<f32> {
        let [x, y] = place;
        let cap = ellipse(place, [0.0, -0.02], [0.48 * self.wide, 0.57]);
        let line = match self.style {
            0 => return None,
            1 => -0.27 + 0.25 * x * x,
            2 => -0.34 + 0.3 * (x + 0.25),
            3 => -0.3 + 1.1 * x * x,
            4 => -0.26 + 0.03 * (x * 28.0).sin() + 0.5 * x * x,
            _ => -0.3 + 0.6 * x * x,
        };
        Some(cap.max(y - line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_are_the_same_for_the_same_seed_only() {
        let faces: Vec<_> = (0..30).map(|seed| avatar(seed, 24)).collect();
        assert_eq!(avatar(7, 24), faces[7]);
        for (place, face) in faces.iter().enumerate() {
            assert!(!faces[..place].contains(face), "{place}");
        }
    }
}
