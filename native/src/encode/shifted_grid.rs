//! Owns: the search for the scales of groups of ternary points under the one half of a super-block, and for whether points
//! are moved up or down, in eight super-blocks side by side.
//! Refuses to know: where points, moves and scales lie in a block.
//!
//! The same operations in the same order as `src/dtypes/shifted-grid.ts`, which says why.

use super::grid_search::{Grid, GridSearch};
use super::search::{Code, Odd, clamped, fit_scale};
use super::super_blocks::{GROUPS, half_for};
use crate::simd::doubles::{Doubles, LANES};

const TOPS: [f64; 9] = [1.0, 1.2, 1.45, 1.75, 2.1, 2.5, 3.0, 3.8, 5.0];
/// Points of a super-block.
pub const POINTS: usize = 32;
/// Runs of a super-block at most.
pub const RUNS: usize = 32;

/// How a format puts numbers on a grid of -1, 0 and 1.
pub struct ShiftedKind {
    pub grid: Grid,
    /// Numbers that have a scale in common.
    pub size: usize,
    /// Numbers that are moved together.
    pub run: usize,
    /// How far.
    pub shift: f64,
}

/// What eight blocks of points hold: y = d * (2 * scale + 1) * (point ± shift).
pub struct FittedShifts<D> {
    pub d: D,
    /// From 0 to 7, one for each group.
    pub scales: [D; GROUPS],
    /// 1 where the points of a run are moved down.
    pub down: [D; RUNS],
    pub entries: [[u16; POINTS]; LANES],
}

/// Sums over numbers under a step: w (x - step q)^2, w x q and w q q.
#[derive(Clone, Copy)]
struct Sums<D> {
    error: D,
    xq: D,
    qq: D,
}

impl<D: Doubles> Sums<D> {
    #[inline(always)]
    fn none() -> Self {
        let zero = D::splat(0.0);
        Self { error: zero, xq: zero, qq: zero }
    }

    #[inline(always)]
    fn add(&mut self, x: D, w: D, q: D, step: D) {
        let e = x - step * q;
        let wq = w * q;
        self.error = self.error + w * e * e;
        self.xq = self.xq + wq * x;
        self.qq = self.qq + wq * q;
    }
}

/// Numbers of a run and their weights.
type Run<'a, D> = (&'a [D], &'a [D]);

/// A run with each number by itself.
#[inline(always)]
fn alone<D: Doubles>((x, w): Run<'_, D>, step: D, shift: D) -> Sums<D> {
    let (one, mut sums) = (D::splat(1.0), Sums::none());
    let inverse = step.inverse();
    for (&x, &w) in x.iter().zip(w) {
        let ternary = clamped((x * inverse - shift).rounded(), one.negative(), one);
        sums.add(x, w, ternary + shift, step);
    }
    sums
}

/// A run with each number by itself, moved to where less is lost; and where that is down.
#[inline(always)]
fn moved<D: Doubles>(run: Run<'_, D>, step: D, shift: D) -> (Sums<D>, D::Mask) {
    let (up, down) = (alone(run, step, shift), alone(run, step, shift.negative()));
    let below = up.error.above(down.error);
    let picked = Sums {
        error: D::pick(below, down.error, up.error),
        xq: D::pick(below, down.xq, up.xq),
        qq: D::pick(below, down.qq, up.qq),
    };
    (picked, below)
}

/// A run on points, which are told one after the other.
#[inline(always)]
fn on_grid<D: Doubles>(
    (search, grid): (&mut GridSearch, &Grid),
    (x, w): Run<'_, D>,
    step: D,
    shift: D,
    mut tell: impl FnMut(usize, [u16; LANES]),
) -> Sums<D> {
    let mut sums = Sums::none();
    let points = x.chunks_exact(grid.dimensions).zip(w.chunks_exact(grid.dimensions));
    for (k, (x, w)) in points.enumerate() {
        let found = search.nearest(grid, x, w, step, shift);
        for (j, (&x, &w)) in x.iter().zip(w).enumerate() {
            sums.add(x, w, grid.coordinate::<D>(&found.entries, j) + shift, step);
        }
        tell(k, found.entries);
    }
    sums
}

/// The scales, moves and points that make the sum of w (x - y)^2 small.
#[inline(always)]
pub fn fit_shifted<D: Doubles>(x: &[D], w: &[D], kind: &ShiftedKind) -> FittedShifts<D> {
    let ShiftedKind { grid, size, run, shift } = kind;
    let (zero, one, two, shift) = (D::splat(0.0), D::splat(1.0), D::splat(2.0), D::splat(*shift));
    let (groups, runs) = (x.len() / size, size / run);
    let part = |r: usize| (&x[r * run..(r + 1) * run], &w[r * run..(r + 1) * run]);
    let mut search = GridSearch::new();
    let (mut exact, mut weight) = ([zero; GROUPS], [zero; GROUPS]);
    for g in 0..groups {
        let numbers = &x[g * size..(g + 1) * size];
        let largest = numbers.iter().fold(zero, |largest, x| x.size().larger(largest));
        let mut gain = zero;
        for top in TOPS {
            let (mut xq, mut qq) = (zero, zero);
            for r in g * runs..(g + 1) * runs {
                let (sums, _) = moved(part(r), largest / D::splat(top), shift);
                xq = xq + sums.xq;
                qq = qq + sums.qq;
            }
            let better = D::both(xq.above(zero), (xq * xq).above(gain * qq));
            gain = D::pick(better, xq * xq / qq, gain);
            exact[g] = D::pick(better, xq / qq, exact[g]);
            weight[g] = D::pick(better, qq, weight[g]);
        }
    }
    let odd = Odd::new(15.0);
    let first = half_for(fit_scale(&exact[..groups], &weight[..groups], &odd));
    let mut scales = [zero; GROUPS];
    let (mut error, mut xy, mut yy) = (zero, zero, zero);
    for g in 0..groups {
        let mut least = D::splat(f64::INFINITY);
        for offset in [-2.0, 0.0, 2.0] {
            let scale = odd.nearest(exact[g] / first + D::splat(offset));
            let mut sum = zero;
            for r in g * runs..(g + 1) * runs {
                sum = sum + moved(part(r), first * scale, shift).0.error;
            }
            let better = least.above(sum);
            least = D::pick(better, sum, least);
            scales[g] = D::pick(better, (scale - one) / two, scales[g]);
        }
        let scale = two * scales[g] + one;
        for r in g * runs..(g + 1) * runs {
            let (_, below) = moved(part(r), first * scale, shift);
            let move_by = D::pick(below, shift.negative(), shift);
            let sums = on_grid((&mut search, grid), part(r), first * scale, move_by, |_, _| {});
            error = error + sums.error;
            xy = xy + scale * sums.xq;
            yy = yy + scale * scale * sums.qq;
        }
    }
    let mut all = zero;
    for (&x, &w) in x.iter().zip(w) {
        all = all + w * x * x;
    }
    let kept = D::both(first.above(zero), all.above(error));
    let d = half_for(D::pick(kept, xy / yy, zero));
    let (mut down, mut entries) = ([zero; RUNS], [[0; POINTS]; LANES]);
    for r in 0..groups * runs {
        let g = r / runs;
        scales[g] = D::pick(kept, scales[g], zero);
        let step = d * (two * scales[g] + one);
        let (_, below) = moved(part(r), step, shift);
        down[r] = D::pick(below, one, zero);
        on_grid((&mut search, grid), part(r), step, D::pick(below, shift.negative(), shift), |k, found| {
            for (entries, entry) in entries.iter_mut().zip(found) {
                entries[r * run / grid.dimensions + k] = entry;
            }
        });
    }
    FittedShifts { d, scales, down, entries }
}
