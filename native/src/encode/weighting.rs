//! Owns: eight blocks side by side: their numbers, and what an error in each weighs while scales are searched.
//! Refuses to know: the search, block layouts.
//!
//! The weights are those of `src/dtypes/weighting.ts`, which says why.

use crate::simd::doubles::{Doubles, LANES};

/// How a number weighs when no importance is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PlainWeight {
    Magnitude,
    Square,
    MagnitudeAndMeanOf32,
}

/// What is added to the square of a number under the root that its importance is multiplied by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// The mean of the squares of the block, so many times.
    Block(u8),
    /// That of the row.
    Row,
    /// The importance alone is the weight.
    None,
}

/// Eight blocks of the same format: where each begins.
pub struct Batch<'a> {
    /// The numbers of a block.
    pub x: [&'a [f32]; LANES],
    /// The importance of the columns of a block; empty without.
    pub importance: [&'a [f32]; LANES],
    /// The mean of the squares of the row that the block lies in.
    pub row_mean_square: [f64; LANES],
}

const SQUARE_FLOOR: f64 = 1.5;

/// Number i of the eight blocks, and its weight.
pub struct Weighted<D, const N: usize> {
    pub x: [D; N],
    pub w: [D; N],
}

impl<D: Doubles, const N: usize> Weighted<D, N> {
    #[inline(always)]
    pub fn new(batch: &Batch<'_>, surroundings: Surroundings, plain: PlainWeight) -> Self {
        let zero = D::splat(0.0);
        let mut all = Self { x: [zero; N], w: [zero; N] };
        side_by_side(&batch.x, &mut all.x);
        let mean = mean_square(&all.x);
        if !batch.importance[0].is_empty() {
            side_by_side(&batch.importance, &mut all.w);
            let around = match surroundings {
                Surroundings::Block(times) => D::splat(f64::from(times)) * mean,
                Surroundings::Row => D::load(&batch.row_mean_square),
                Surroundings::None => return all,
            };
            for (w, &x) in all.w.iter_mut().zip(&all.x) {
                *w = *w * (around + x * x).root();
            }
            return all;
        }
        match plain {
            PlainWeight::Magnitude => {
                for (w, &x) in all.w.iter_mut().zip(&all.x) {
                    *w = x.size();
                }
            }
            PlainWeight::Square => {
                let floor = D::splat(SQUARE_FLOOR) * mean;
                for (w, &x) in all.w.iter_mut().zip(&all.x) {
                    *w = x * x + floor;
                }
            }
            PlainWeight::MagnitudeAndMeanOf32 => {
                for (w, x) in all.w.chunks_mut(32).zip(all.x.chunks(32)) {
                    let mean = mean_square(x).root();
                    for (w, &x) in w.iter_mut().zip(x) {
                        *w = mean + x.size();
                    }
                }
            }
        }
        all
    }
}

#[inline(always)]
fn side_by_side<D: Doubles>(from: &[&[f32]; LANES], to: &mut [D]) {
    let count = to.len();
    let [a, b, c, d, e, f, g, h] = from.map(|block| &block[..count]);
    for (i, to) in to.iter_mut().enumerate() {
        *to = D::load(&[a[i], b[i], c[i], d[i], e[i], f[i], g[i], h[i]].map(f64::from));
    }
}

#[inline(always)]
fn mean_square<D: Doubles>(x: &[D]) -> D {
    let mut sum = D::splat(0.0);
    for &x in x {
        sum = sum + x * x;
    }
    sum / D::splat(x.len() as f64)
}
