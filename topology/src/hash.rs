//! PostgreSQL's extended hash functions for the types a shard key may have, with seed 0.
//!
//! Owns: the arithmetic of `src/common/hashfn.c` and `src/backend/access/hash/hashfunc.c`, so that a
//! shard computes the same bucket in plain SQL. Takes values; gives 64-bit hashes. Must never know:
//! buckets, shards. With seed 0 PostgreSQL skips the seed's mixing step, and so does this.

/// `hash_bytes` starts all three words at this constant plus the length of the key.
const INITIAL: u32 = 0x9e37_79b9_u32.wrapping_add(3_923_095);

/// `hashint8extended(value, 0)`; the same as `hashint4extended` and `hashint2extended` of an equal
/// value, because PostgreSQL folds the high half away where it only repeats the sign.
#[inline]
#[must_use]
pub fn integer(value: i64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    let folded = low ^ if value >= 0 { high } else { !high };
    let start = INITIAL.wrapping_add(4);
    finish(start.wrapping_add(folded), start, start)
}

/// `hashtextextended(value, 0)` under a deterministic collation, and `uuid_hash_extended(value, 0)`
/// of a uuid's 16 bytes: `hash_any_extended` over the bytes.
#[inline]
#[must_use]
pub fn bytes(key: &[u8]) -> u64 {
    let start = INITIAL.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut blocks = key.chunks_exact(12);
    for block in &mut blocks {
        a = a.wrapping_add(word(&block[0..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..12]));
        (a, b, c) = mix(a, b, c);
    }
    let tail = blocks.remainder();
    let part = |from: usize, to: usize| word(&tail[from.min(tail.len())..to.min(tail.len())]);
    a = a.wrapping_add(part(0, 4));
    b = b.wrapping_add(part(4, 8));
    // The lowest byte of `c` is kept for the length, which `start` already holds.
    c = c.wrapping_add(part(8, 11) << 8);
    finish(a, b, c)
}

/// Up to four bytes as a little-endian number.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

/// The macro `mix` of hashfn.c.
#[inline]
fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

/// The macro `final` of hashfn.c, and the two words of the 64-bit result.
#[inline]
fn finish(mut a: u32, mut b: u32, mut c: u32) -> u64 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (u64::from(b) << 32) | u64::from(c)
}
