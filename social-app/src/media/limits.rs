//! How much one file may cost.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a picture.
    pub picture: u64,
    /// Bytes of a video.
    pub video: u64,
    /// Pixels of a picture; decoded, each takes 3 to 8 bytes.
    pub pixels: u64,
    /// Pixels on one side.
    pub side: u32,
    /// Bytes that decoding one picture may take.
    pub memory: u64,
    /// Longest wait for the next piece of a file.
    pub stall: Duration,
    /// Files that are received at the same time; one more waits.
    pub uploads: usize,
    /// Longest wait of a file for its turn.
    pub queue: Duration,
    /// Threads that decode pictures.
    pub decoders: usize,
    /// Pixels of all pictures that are decoded at the same time.
    pub pixels_at_once: u64,
    /// Files of one person that no post uses.
    pub unused: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            picture: 20 << 20,
            video: 200 << 20,
            pixels: 40_000_000,
            side: 16_384,
            memory: 256 << 20,
            stall: Duration::from_secs(30),
            uploads: 32,
            queue: Duration::from_secs(60),
            decoders: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(4),
            pixels_at_once: 48_000_000,
            unused: 200,
        }
    }
}
