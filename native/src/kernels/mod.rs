//! Owns: the operations of the waist, each over matrices, on the threads of the pool.
//! Refuses to know: JavaScript, instruction sets.

mod activations;
pub mod attention;
mod blockwise;
pub mod cache_rows;
mod expanded;
pub mod latent;
pub mod linear;
pub mod moe;
mod multiply;
pub mod pick;
pub mod probe;
pub mod route;
pub mod rows;

pub use activations::Activations;

use crate::error::{Fault, Outcome};

/// How many leading rows an operation covers; those of the decode class come first.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub rows: usize,
    pub decode_rows: usize,
}

/// Weight bytes of a tile of a region that reads `total`: so few that threads end at about the same time, and that they stay
/// in a core's cache where they are used more than once. A thread's tiles follow each other, so that all of them are one
/// stream to it.
fn tile_bytes(total: usize, threads: usize, streamed: bool) -> usize {
    (total / (TILES * threads)).clamp(8 << 10, if streamed { 128 << 10 } else { 96 << 10 })
}

/// Tiles for every thread of a region that has few of them.
const TILES: usize = 8;

/// Rows of each of the tiles, of about so many bytes and about as long as each other, that `rows` rows are cut into: a
/// multiple of sixteen.
fn tile_rows(tile_bytes: usize, rows: usize, row_bytes: usize) -> usize {
    let tiles = (rows * row_bytes).div_ceil(tile_bytes).max(1);
    rows.div_ceil(tiles).next_multiple_of(16)
}

/// An index as usize, or the fault `index` naming what it points into.
pub fn index(value: i32, below: usize, what: &str) -> Outcome<usize> {
    usize::try_from(value).ok().filter(|&i| i < below).ok_or_else(|| {
        Fault::new("index", what).expected(format!("an index below {below}")).got(value.to_string())
    })
}
