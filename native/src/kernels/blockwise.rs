//! Owns: what some queries see of one segment of positions, and how segments are merged.
//! Refuses to know: caches, pages, where keys and values come from; which heads are whose.
//!
//! Each segment gives a query a largest score, a sum of exponentials and a weighted sum of values by itself; segments
//! are merged in order. So a query's bits do not depend on which queries are beside it or which thread takes it.

use crate::simd::scalar::exp;
use crate::simd::{Floats, Kernels};

/// Positions that are reduced together.
pub const SEGMENT: usize = 256;
/// Queries that are scored together.
pub const BLOCK: usize = 16;

/// Memory for a block.
pub struct Work<'a> {
    /// [BLOCK, SEGMENT]
    pub scores: &'a mut [f32],
    /// [BLOCK, value]
    pub sums: &'a mut [f32],
}

/// What a query has of one segment or of several.
pub struct Part<'a> {
    pub largest: f32,
    pub total: f32,
    /// Weighted sum of values, not yet divided by `total`.
    pub sum: &'a [f32],
}

/// Keys and values of a segment's positions.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pub keys: Floats<'a>,
    pub values: Floats<'a>,
}

/// Calls `with(query, part)` for every query of a block that sees some of the segment; query b sees its first `seen(b)`
/// positions.
pub fn see(
    kernels: &Kernels,
    queries: Floats<'_>,
    Segment { keys, values }: Segment<'_>,
    scale: f32,
    seen: impl Fn(usize) -> usize,
    work: &mut Work<'_>,
    mut with: impl FnMut(usize, Part<'_>),
) {
    let most = (0..queries.rows).map(&seen).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    (kernels.dots)(queries, Floats { rows: most, ..keys }, work.scores, SEGMENT);
    let mut largest = [f32::NEG_INFINITY; BLOCK];
    let mut total = [0.0f32; BLOCK];
    for (b, scores) in work.scores.chunks_exact_mut(SEGMENT).take(queries.rows).enumerate() {
        let (scores, beyond) = scores[..most].split_at_mut(seen(b));
        beyond.fill(0.0);
        (largest[b], total[b]) = (kernels.exponentials)(scores, scale);
    }
    let sums = &mut work.sums[..queries.rows * values.cols];
    sums.fill(0.0);
    let weights = Floats { numbers: work.scores, stride: SEGMENT, rows: queries.rows, cols: most };
    (kernels.sums)(weights, Floats { rows: most, ..values }, sums, values.cols);
    for (b, sum) in sums.chunks_exact(values.cols).enumerate().filter(|&(b, _)| seen(b) > 0) {
        with(b, Part { largest: largest[b], total: total[b], sum });
    }
}

/// Adds a segment, unless it is the first, to what came before it: largest score, sum of exponentials, weighted sum.
pub fn take_in(
    first: bool,
    before: (&mut f32, &mut f32, &mut [f32]),
    Part { largest, total, sum }: Part<'_>,
) {
    if first {
        (*before.0, *before.1) = (largest, total);
        before.2.copy_from_slice(sum);
        return;
    }
    let most = before.0.max(largest);
    let (old, new) = (exp(*before.0 - most), exp(largest - most));
    *before.0 = most;
    *before.1 = *before.1 * old + total * new;
    for (x, sum) in before.2.iter_mut().zip(sum) {
        *x = *x * old + sum * new;
    }
}
