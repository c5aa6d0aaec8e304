//! Hills behind hills under a sky, with a sun or moon, and often a lake.

use image::RgbImage;

use super::noise::{clouds, random, ridge};
use super::paint::{Colour, inside, step};

/// A time of day: the sky from top to horizon, the light, and the nearest and farthest hills.
struct Palette {
    sky: [Colour; 3],
    light: Colour,
    far: Colour,
    near: Colour,
    stars: bool,
}

const fn palette(sky: [u32; 3], light: u32, far: u32, near: u32, stars: bool) -> Palette {
    Palette {
        sky: [
            Colour::hex(sky[0]),
            Colour::hex(sky[1]),
            Colour::hex(sky[2]),
        ],
        light: Colour::hex(light),
        far: Colour::hex(far),
        near: Colour::hex(near),
        stars,
    }
}

const PALETTES: [Palette; 8] = [
    // Noon, dawn, dusk, night, autumn, winter, north light, heath.
    palette(
        [0x2f7fc9, 0x7fbbe8, 0xdcf0f7],
        0xfff8dc,
        0x8fb4c9,
        0x2f5d3a,
        false,
    ),
    palette(
        [0x5b6fb5, 0xe8a7a0, 0xffe3b8],
        0xfff0c8,
        0xb79bb5,
        0x3c3f5c,
        false,
    ),
    palette(
        [0x2b2a55, 0xb0508a, 0xffa860],
        0xffe0a0,
        0x8a5a86,
        0x241f3a,
        false,
    ),
    palette(
        [0x060a1f, 0x14234d, 0x35507f],
        0xf2f4ff,
        0x2e4470,
        0x080d1d,
        true,
    ),
    palette(
        [0x6fa3c7, 0xbcd6dd, 0xf7ead0],
        0xfff4d0,
        0xc7a27c,
        0x7a3b1e,
        false,
    ),
    palette(
        [0x7f9fc4, 0xc3d4e6, 0xf6f3f1],
        0xffffff,
        0xc2d0e0,
        0x51657f,
        false,
    ),
    palette(
        [0x041a2b, 0x0e4a52, 0x3fa58a],
        0xe6fff2,
        0x1f5a5c,
        0x06161c,
        true,
    ),
    palette(
        [0x4d6aa8, 0xa9a5d6, 0xf3d9e6],
        0xfff2e0,
        0xa891bd,
        0x4a2f55,
        false,
    ),
];

/// Of each palette.
const TIMES: [&str; 8] = [
    "at noon",
    "at dawn",
    "at dusk",
    "at night",
    "in autumn",
    "in winter",
    "under northern lights",
    "over the heath in the evening",
];

/// What one picture has, chosen by its seed. Lengths are in parts of the picture's height, places across in parts of its width.
struct Scene {
    seed: u64,
    palette: &'static Palette,
    light: [f32; 2],
    light_size: f32,
    hills: u64,
    /// Where the lake begins; none: there is land to the lower edge.
    shore: Option<f32>,
    trees: bool,
    ratio: f32,
}

fn scene(seed: u64, ratio: f32) -> (Scene, &'static str) {
    let chance = |which: i64| random(seed, which);
    let time = (chance(1) * PALETTES.len() as f32) as usize;
    let scene = Scene {
        seed,
        palette: &PALETTES[time],
        light: [0.15 + 0.7 * chance(2), 0.12 + 0.3 * chance(3)],
        light_size: 0.03 + 0.05 * chance(4),
        hills: 4 + (chance(5) * 3.0) as u64,
        shore: (chance(6) < 0.5).then(|| 0.7 + 0.1 * chance(7)),
        trees: chance(8) < 0.75,
        ratio,
    };
    (scene, TIMES[time])
}

/// In words, for those who do not see it.
pub fn describe(seed: u64) -> String {
    let (scene, time) = scene(seed, 1.5);
    let hills = if scene.trees {
        "Wooded hills"
    } else {
        "Bare hills"
    };
    let lake = if scene.shore.is_some() {
        ", seen across a lake"
    } else {
        ""
    };
    format!("{hills} {time}{lake}")
}

/// Draws a landscape; sizes of the same seed show the same place.
pub fn landscape(seed: u64, width: u32, height: u32) -> RgbImage {
    let (scene, _) = scene(seed, width as f32 / height as f32);
    RgbImage::from_fn(width, height, |x, y| {
        let pixel = 1.0 / height as f32;
        let place = [(x as f32 + 0.5) / width as f32, (y as f32 + 0.5) * pixel];
        let colour = match scene.shore {
            Some(shore) if place[1] > shore => scene.lake(place, shore, pixel),
            _ => scene.land(place, pixel),
        };
        // A grain, so that soft colours have no bands.
        let grain = random(seed ^ 77, i64::from(y) * 70_001 + i64::from(x)) - 0.5;
        Colour(colour.0.map(|part| part + grain / 90.0)).pixel()
    })
}

impl Scene {
    fn sky(&self, [x, y]: [f32; 2], pixel: f32) -> Colour {
        let [top, middle, horizon] = self.palette.sky;
        let mut colour = top
            .mix(middle, step(0.0, 0.42, y))
            .mix(horizon, step(0.3, 0.68, y));
        if self.palette.stars {
            let (column, row) = ((x * self.ratio * 160.0) as i64, (y * 160.0) as i64);
            let star = random(self.seed ^ 9, column * 997 + row);
            if star > 0.985 {
                colour = colour.mix(self.palette.light, (star - 0.985) * 55.0 * (0.75 - y));
            }
        } else {
            let cloud = clouds(self.seed ^ 5, x * self.ratio * 2.2, y * 7.0);
            colour = colour.mix(
                Colour::hex(0xffffff),
                step(0.52, 0.85, cloud) * 0.55 * (1.0 - y),
            );
        }
        let [dx, dy] = [(x - self.light[0]) * self.ratio, y - self.light[1]];
        let distance = dx.hypot(dy);
        let glow = (-distance * 5.0).exp() * 0.55;
        colour = colour.mix(self.palette.light, glow);
        colour.mix(
            self.palette.light,
            inside((distance - self.light_size) / pixel),
        )
    }

    fn land(&self, place: [f32; 2], pixel: f32) -> Colour {
        let mut colour = self.sky(place, pixel);
        for hill in 0..self.hills {
            let depth = hill as f32 / (self.hills - 1) as f32;
            let distance = self.crest(hill, depth, place[0]) - place[1];
            let share = inside(distance / pixel);
            if share > 0.0 {
                // Haze lies in the valleys, and farther hills are paler.
                let haze = step(0.0, 0.28, -distance) * (1.0 - depth) * 0.6;
                let own = self.palette.far.mix(self.palette.near, depth);
                let shade =
                    ridge(self.seed ^ (hill + 90), place[0] * 30.0 + place[1] * 9.0, 3) * 0.10;
                let own = own
                    .mix(self.palette.sky[2], haze)
                    .mix(Colour::hex(0), shade * depth);
                colour = colour.mix(own, share);
            }
        }
        colour
    }

    /// The height of a hill's edge.
    fn crest(&self, hill: u64, depth: f32, x: f32) -> f32 {
        let seed = self.seed.wrapping_mul(31).wrapping_add(hill);
        let across = x * self.ratio;
        let rough = 5 - (depth * 3.0) as u32;
        let height = ridge(
            seed,
            across * (1.2 + 1.6 * (1.0 - depth)) + hill as f32 * 17.0,
            rough,
        );
        let base = 0.52 + 0.34 * depth;
        let edge = base - (height - 0.35) * (0.42 - 0.2 * depth);
        if self.trees && depth > 0.45 {
            edge - self.trees(seed, across, depth)
        } else {
            edge
        }
    }

    /// Firs along a hill's edge: how far they stand out.
    fn trees(&self, seed: u64, across: f32, depth: f32) -> f32 {
        let wide = 0.012 + 0.02 * depth;
        let number = (across / wide).floor();
        let there = random(seed ^ 55, number as i64);
        let wood = ridge(seed ^ 66, across * 2.0, 2);
        if there < 0.75 - wood * 0.6 {
            return 0.0;
        }
        let from_middle = (across / wide - number - 0.5).abs() * 2.0;
        let tall = wide * (1.6 + 1.7 * there);
        // Branches: a triangle with steps.
        let steps = ((1.0 - from_middle) * 5.0).floor() / 5.0;
        tall * (0.35 * (1.0 - from_middle) + 0.65 * steps).max(0.0)
    }

    /// The land and sky upside down, darker and shaken by the wind.
    fn lake(&self, [x, y]: [f32; 2], shore: f32, pixel: f32) -> Colour {
        let deep = (y - shore) / (1.0 - shore);
        let wave = ridge(self.seed ^ 8, y * 160.0 / (0.35 + deep), 2) - 0.5;
        let shaken = x + wave * 0.014 * (0.3 + deep);
        let mirrored = (shore - (y - shore) * 1.5 + wave * 0.012).clamp(0.0, shore);
        let seen = self.land([shaken, mirrored], pixel);
        let water = self.palette.sky[1].mix(self.palette.near, 0.35);
        let glint = step(0.36, 0.5, wave) * (1.0 - ((x - self.light[0]).abs() * 5.0).min(1.0));
        seen.mix(water, 0.22 + 0.3 * deep)
            .mix(self.palette.light, glint * 0.6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_place_in_every_size() {
        let (small, large) = (landscape(11, 60, 40), landscape(11, 240, 160));
        let shrunk = image::imageops::thumbnail(&large, 60, 40);
        let difference: u64 = small
            .iter()
            .zip(shrunk.iter())
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        assert!(
            difference / (60 * 40 * 3) < 16,
            "{}",
            difference / (60 * 40 * 3)
        );
        assert_eq!(landscape(11, 60, 40), small);
    }

    #[test]
    fn seeds_draw_different_places() {
        let pictures: Vec<_> = (0..20).map(|seed| landscape(seed, 30, 20)).collect();
        for (place, picture) in pictures.iter().enumerate() {
            assert!(!pictures[..place].contains(picture));
        }
    }
}
