//! Pictures that a seed draws: landscapes and faces, so that a new town has something to look at. The same number draws the same
//! picture, of any size. Pure computation: some 10 ns a pixel.

mod avatar;
mod land;
mod noise;
mod paint;

pub use avatar::avatar;
pub use land::{describe, landscape};
