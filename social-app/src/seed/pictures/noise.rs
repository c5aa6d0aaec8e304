//! Randomness that is smooth, and that needs no state: a number for each place.

/// A number from 0 up to 1 that belongs to `seed` and `place`.
pub fn random(seed: u64, place: i64) -> f32 {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (place as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

/// A smooth line through random heights at whole places, 0 to 1.
fn smooth(seed: u64, place: f32) -> f32 {
    let whole = place.floor();
    let part = place - whole;
    let ease = part * part * (3.0 - 2.0 * part);
    let (left, right) = (random(seed, whole as i64), random(seed, whole as i64 + 1));
    left + (right - left) * ease
}

/// Hills upon hills: `layers` smooth lines, each half as high and twice as fine as the one before; 0 to 1.
pub fn ridge(seed: u64, place: f32, layers: u32) -> f32 {
    let (mut height, mut total, mut weight, mut fine) = (0.0, 0.0, 1.0, 1.0);
    for layer in 0..u64::from(layers) {
        height += weight * smooth(seed.wrapping_add(layer * 7919), place * fine);
        total += weight;
        weight *= 0.5;
        fine *= 2.03;
    }
    height / total
}

/// The same in two dimensions: clouds.
pub fn clouds(seed: u64, x: f32, y: f32) -> f32 {
    let (mut value, mut total, mut weight, mut fine) = (0.0, 0.0, 1.0, 1.0);
    for layer in 0..4u64 {
        value += weight * plane(seed.wrapping_add(layer * 104_729), x * fine, y * fine);
        total += weight;
        weight *= 0.5;
        fine *= 2.0;
    }
    value / total
}

fn plane(seed: u64, x: f32, y: f32) -> f32 {
    let (row, part) = (y.floor(), y - y.floor());
    let ease = part * part * (3.0 - 2.0 * part);
    let line = |row: f32| {
        smooth(
            seed.wrapping_add((row as i64 as u64).wrapping_mul(0x51_7cc1_b727)),
            x,
        )
    };
    let (above, below) = (line(row), line(row + 1.0));
    above + (below - above) * ease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_lines_are_smooth() {
        let mean = (0..1000).map(|place| random(5, place)).sum::<f32>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        for step in 0..500 {
            let place = step as f32 / 50.0;
            let (here, there) = (ridge(3, place, 4), ridge(3, place + 0.001, 4));
            assert!((0.0..=1.0).contains(&here) && (here - there).abs() < 0.02);
        }
    }
}
