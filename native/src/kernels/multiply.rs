//! Owns: the product of some rows of a weight with some rows of activations, whatever the weight's format.
//! Refuses to know: what the rows are for, threads.
//!
//! Few rows are multiplied where they lie; more are laid side by side first (`Activations::lay`). A product's bits are
//! the same either way.

use super::Activations;
use crate::context::Weight;
use crate::map::Mat;
use crate::pool::Scratch;
use crate::simd::{Kernels, Lanes, Row};
use std::ops::Range;

/// Up to so many rows are multiplied where they lie.
const FEW: usize = 4;

/// Rows of activations, as floats and as what they were rounded to.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub x: Mat<'a>,
    pub rounded: &'a Activations,
}

/// One piece of a product: rows `rows` of an expert's matrix.
pub struct Piece<'a> {
    pub weight: &'a Weight,
    pub expert: usize,
    pub rows: Range<usize>,
}

/// Rows of activations that meet the same weights, and the sets of lanes that they were laid in, if they were.
pub struct List<'a> {
    pub rows: &'a [usize],
    pub sets: Range<usize>,
}

impl List<'_> {
    /// Whether so many rows are worth laying side by side.
    pub fn is_long(rows: &[usize]) -> bool {
        rows.len() > FEW
    }
}

/// out[n][r] = weight row rows.start + r . the n-th row of the list; scratch's `floats` stay the caller's.
pub fn multiply(
    kernels: &Kernels,
    Piece { weight, expert, rows }: Piece<'_>,
    activations: Rows<'_>,
    list: &List<'_>,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    if weight.scales.is_some() {
        let decoded = scratch.more_floats.ensure(weight.cols);
        let across = rows.len();
        for (r, row) in rows.enumerate() {
            weight.decode_row(kernels, expert, row, decoded);
            for (n, &i) in list.rows.iter().enumerate() {
                out[n * across + r] = (kernels.dot)(decoded, activations.x.row(i));
            }
        }
        return;
    }
    let family = weight.family();
    let bytes = weight.rows_of(expert, rows.start, rows.end);
    if let Some(lanes_kernel) = kernels.lanes[weight.format as usize]
        && !list.sets.is_empty()
    {
        let sets: Vec<Lanes> = list.sets.clone().map(|set| activations.rounded.lanes(family, set)).collect();
        return lanes_kernel(bytes, &sets, list.rows.len(), &mut scratch.panel, out);
    }
    let rows_kernel = kernels.rows[weight.format as usize];
    for (some, out) in list.rows.chunks(FEW).zip(out.chunks_mut(FEW * rows.len())) {
        let mut xs = [Row::default(); FEW];
        for (x, &i) in xs.iter_mut().zip(some) {
            *x = activations.rounded.row(family, &activations.x, i);
        }
        rows_kernel(bytes, &xs[..some.len()], out);
    }
}
