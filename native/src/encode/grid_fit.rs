//! Owns: the search for the scales of groups of points under the one half of a super-block, in eight super-blocks side by
//! side, and for the signs of numbers.
//! Refuses to know: where points, signs and scales lie in a block.
//!
//! The same operations in the same order as `src/dtypes/grid-fit.ts`; a lane that is done there is done here.

use super::grid_search::{Grid, GridSearch};
use super::search::{Code, Odd, fit_scale};
use super::super_blocks::{GROUPS, half_for};
use crate::simd::doubles::{Doubles, LANES};

const TRIALS: [f64; 7] = [0.7, 0.78, 0.86, 0.95, 1.05, 1.15, 1.27];
/// Points of a super-block at most.
pub const POINTS: usize = 64;

/// How a format puts numbers on a grid.
pub struct GridKind {
    pub grid: Grid,
    /// Numbers that have a scale in common.
    pub size: usize,
    /// y = d * unit * (2 * scale + 1) * coordinate.
    pub unit: f64,
}

/// What eight blocks of points hold.
pub struct FittedGrid<D> {
    pub d: D,
    /// From 0 to 15, one for each group.
    pub scales: [D; GROUPS],
    pub entries: [[u16; POINTS]; LANES],
}

/// Makes all numbers positive and says which were not: a byte for each eight. `even`: an even number of them, so that the
/// number that is lost least with the wrong sign is kept below zero where there would be an odd one.
#[inline(always)]
pub fn take_signs<D: Doubles>(x: &mut [D; 256], w: &[D; 256], even: bool) -> [[u8; 32]; LANES] {
    let mut signs = [[0; 32]; LANES];
    for (k, (eight, weights)) in x.as_chunks_mut::<8>().0.iter_mut().zip(w.as_chunks::<8>().0).enumerate() {
        let sizes = eight.map(D::size);
        let (numbers, mut positive) = (eight.map(D::store), sizes.map(D::store));
        let mut weighed = [[0.0; LANES]; 8];
        for (weighed, (&w, &x)) in weighed.iter_mut().zip(weights.iter().zip(&sizes)) {
            *weighed = (w * x).store();
        }
        for (lane, signs) in signs.iter_mut().enumerate() {
            let (mut byte, mut least) = (0u8, 0);
            for j in 0..8 {
                byte |= u8::from(numbers[j][lane] < 0.0) << j;
                if weighed[j][lane] < weighed[least][lane] {
                    least = j;
                }
            }
            if even && byte.count_ones() % 2 == 1 {
                positive[least][lane] = -positive[least][lane];
                byte ^= 1 << least;
            }
            signs[k] = byte;
        }
        *eight = positive.map(|lanes| D::load(&lanes));
    }
    signs
}

/// Sums over the points of a group under a step: w (x - step p)^2, w x p and w p p.
struct Sums<D> {
    error: D,
    xp: D,
    pp: D,
}

/// The points nearest to a group, and their sums.
#[inline(always)]
fn under<D: Doubles>(
    search: &mut GridSearch,
    grid: &Grid,
    (x, w): (&[D], &[D]),
    step: D,
    mut found: impl FnMut(usize, [u16; LANES]),
) -> Sums<D> {
    let zero = D::splat(0.0);
    let mut sums = Sums { error: zero, xp: zero, pp: zero };
    for (k, (x, w)) in x.chunks_exact(grid.dimensions).zip(w.chunks_exact(grid.dimensions)).enumerate() {
        let nearest = search.nearest(grid, x, w, step, zero);
        sums.error = sums.error + nearest.error;
        for (j, (&x, &w)) in x.iter().zip(w).enumerate() {
            let p = grid.coordinate::<D>(&nearest.entries, j);
            let wp = w * p;
            sums.xp = sums.xp + wp * x;
            sums.pp = sums.pp + wp * p;
        }
        found(k, nearest.entries);
    }
    sums
}

/// The scales and points that make the sum of w (x - y)^2 small, of numbers that are not below zero but for signs that
/// cannot be kept.
#[inline(always)]
pub fn fit_grid<D: Doubles>(x: &[D], w: &[D], kind: &GridKind) -> FittedGrid<D> {
    let GridKind { grid, size, unit } = kind;
    let (zero, one, two) = (D::splat(0.0), D::splat(1.0), D::splat(2.0));
    let (count, unit) = (x.len() / size, D::splat(*unit));
    let mut search = GridSearch::new();
    let groups = || x.chunks_exact(*size).zip(w.chunks_exact(*size)).enumerate();
    let (mut exact, mut weight) = ([zero; GROUPS], [zero; GROUPS]);
    for (g, group) in groups() {
        let largest = group.0.iter().fold(zero, |largest, x| x.larger(largest));
        let (mut least, mut best) = (D::splat(f64::INFINITY), zero);
        for trial in TRIALS {
            let step = largest / D::splat(grid.top() * trial);
            let points = group.0.chunks_exact(grid.dimensions).zip(group.1.chunks_exact(grid.dimensions));
            let error = points.fold(zero, |error, (x, w)| error + search.least(grid, x, w, step, zero));
            let better = least.above(error);
            least = D::pick(better, error, least);
            best = D::pick(better, step, best);
        }
        let Sums { xp, pp, .. } = under(&mut search, grid, group, best, |_, _| {});
        let there = xp.above(zero);
        exact[g] = D::pick(there, xp / pp, zero);
        weight[g] = D::pick(there, pp, zero);
    }
    let odd = Odd::new(31.0);
    let first = half_for(fit_scale(&exact[..count], &weight[..count], &odd) / unit);
    let mut scales = [zero; GROUPS];
    let (mut error, mut xy, mut yy) = (zero, zero, zero);
    for (g, group) in groups() {
        let (mut least, mut best_xp, mut best_pp) = (D::splat(f64::INFINITY), zero, zero);
        for offset in [-2.0, 0.0, 2.0] {
            let scale = odd.nearest(exact[g] / (first * unit) + D::splat(offset));
            let sums = under(&mut search, grid, group, first * unit * scale, |_, _| {});
            let better = least.above(sums.error);
            least = D::pick(better, sums.error, least);
            scales[g] = D::pick(better, (scale - one) / two, scales[g]);
            best_xp = D::pick(better, scale * sums.xp, best_xp);
            best_pp = D::pick(better, scale * scale * sums.pp, best_pp);
        }
        error = error + least;
        xy = xy + best_xp;
        yy = yy + best_pp;
    }
    let mut all = zero;
    for (&x, &w) in x.iter().zip(w) {
        all = all + w * x * x;
    }
    let kept = D::both(first.above(zero), all.above(error));
    let d = half_for(D::pick(kept, xy / yy / unit, zero));
    let mut entries = [[0; POINTS]; LANES];
    for (g, group) in groups() {
        scales[g] = D::pick(kept, scales[g], zero);
        under(&mut search, grid, group, d * unit * (two * scales[g] + one), |k, found| {
            for (entries, entry) in entries.iter_mut().zip(found) {
                entries[g * size / grid.dimensions + k] = entry;
            }
        });
    }
    FittedGrid { d, scales, entries }
}
