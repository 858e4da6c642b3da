//! Owns: the search for the scale, or the scale and minimum, under which a run of numbers loses least, in eight lanes.
//! Refuses to know: block layouts; how scales themselves are kept.
//!
//! The same operations in the same order as `src/dtypes/scale-search.ts`, which says why; what ends a loop there ends
//! it here for a lane, whose results stay from then on.

use super::grid_fit::{FittedGrid, GridKind};
use super::shifted_grid::{FittedShifts, ShiftedKind};
use super::super_blocks::{AffineGroups, ScaledGroups};
use crate::simd::doubles::Doubles;

/// The searches as an instruction set has them, compiled once each: the formats share them.
pub trait Search: Doubles {
    fn scale_of_whole(x: &[Self], w: &[Self], code: &Whole) -> Self;
    fn scale_of_levels(x: &[Self], w: &[Self], code: &Levels) -> Self;
    fn affine(x: &[Self], w: &[Self], most: f64, signed_min: bool) -> Affine<Self>;
    fn scaled_whole(x: &[Self], w: &[Self], size: usize, code: &Whole, scale_code: &Whole) -> ScaledGroups<Self>;
    fn scaled_levels(x: &[Self], w: &[Self], size: usize, code: &Levels, scale_code: &Whole) -> ScaledGroups<Self>;
    fn affine_groups(x: &[Self], w: &[Self], size: usize, most: f64, most_scale: f64) -> AffineGroups<Self>;
    fn grid(x: &[Self], w: &[Self], kind: &GridKind) -> FittedGrid<Self>;
    fn shifted(x: &[Self], w: &[Self], kind: &ShiftedKind) -> FittedShifts<Self>;
}

/// Numbers that a code can stand for, before any scale.
pub trait Code {
    /// The scale under which a run loses least.
    fn scale<D: Search>(&self, x: &[D], w: &[D]) -> D;
    /// The member nearest to a number.
    fn nearest<D: Doubles>(&self, value: D) -> D;
    /// Where to try to put the largest number.
    fn tops(&self) -> &[f64];
}

/// Up to so many places for the largest number.
const MOST_TOPS: usize = 82;

/// Places in a row.
struct Tops {
    places: [f64; MOST_TOPS],
    count: usize,
}

impl Tops {
    fn around(middles: &[f64], step: f64, count: usize) -> Self {
        let mut tops = Self { places: [0.0; MOST_TOPS], count: 0 };
        for &middle in middles {
            for i in 0..2 * count + 1 {
                tops.places[tops.count] = middle + (i as f64 - count as f64) * step;
                tops.count += 1;
            }
        }
        tops
    }
}

/// Integers from `low` to `high`.
pub struct Whole {
    low: f64,
    high: f64,
    tops: Tops,
}

impl Whole {
    /// From -size to size - 1.
    pub fn signed(size: f64) -> Self {
        Self { low: -size, high: size - 1.0, tops: Tops::around(&[-size, size - 1.0], 0.1, 9) }
    }

    /// From 0 to `most`.
    pub fn unsigned(most: f64) -> Self {
        Self { low: 0.0, high: most, tops: Tops::around(&[most], 0.1, 9) }
    }
}

impl Code for Whole {
    #[inline(always)]
    fn scale<D: Search>(&self, x: &[D], w: &[D]) -> D {
        D::scale_of_whole(x, w, self)
    }
    #[inline(always)]
    fn nearest<D: Doubles>(&self, value: D) -> D {
        clamped(value.rounded(), D::splat(self.low), D::splat(self.high))
    }
    #[inline(always)]
    fn tops(&self) -> &[f64] {
        &self.tops.places[..self.tops.count]
    }
}

/// Odd integers from 1 on, which is what the bits of scale of a block of points stand for.
pub struct Odd {
    last: f64,
    tops: Tops,
}

impl Odd {
    /// From 1 to `most`.
    pub fn new(most: f64) -> Self {
        Self { last: (most - 1.0) / 2.0, tops: Tops::around(&[most], 0.5, 4) }
    }
}

impl Code for Odd {
    #[inline(always)]
    fn scale<D: Search>(&self, x: &[D], w: &[D]) -> D {
        fit_scale(x, w, self)
    }
    #[inline(always)]
    fn nearest<D: Doubles>(&self, value: D) -> D {
        let two = D::splat(2.0);
        two * clamped((value / two).floor(), D::splat(0.0), D::splat(self.last)) + D::splat(1.0)
    }
    #[inline(always)]
    fn tops(&self) -> &[f64] {
        &self.tops.places[..self.tops.count]
    }
}

/// A few levels, integers in ascending order.
pub struct Levels {
    low: f64,
    /// The level nearest to the numbers between two neighbouring halves, from the lowest level on.
    halves: Vec<f64>,
    tops: Tops,
}

impl Levels {
    pub fn new(members: &[f64]) -> Self {
        let (low, high) = (members[0], members[members.len() - 1]);
        let halves = (0..2 * (high - low) as usize + 1).map(|i| {
            let value = low + (i as f64 + 0.5) / 2.0;
            members.iter().copied().reduce(|a, b| if (b - value).abs() < (a - value).abs() { b } else { a }).unwrap_or(low)
        });
        Self { low, halves: halves.collect(), tops: Tops::around(&[low, high], 1.0, 20) }
    }
}

impl Code for Levels {
    #[inline(always)]
    fn scale<D: Search>(&self, x: &[D], w: &[D]) -> D {
        D::scale_of_levels(x, w, self)
    }
    #[inline(always)]
    fn nearest<D: Doubles>(&self, value: D) -> D {
        let at = (value - D::splat(self.low)) * D::splat(2.0);
        let last = D::splat((self.halves.len() - 1) as f64);
        // A number that is none goes to the lowest.
        D::look_up(&self.halves, at.larger(D::splat(0.0)).smaller(last).floor())
    }
    #[inline(always)]
    fn tops(&self) -> &[f64] {
        &self.tops.places[..self.tops.count]
    }
}

#[inline(always)]
pub fn clamped<D: Doubles>(value: D, low: D, high: D) -> D {
    value.smaller(high).larger(low)
}

const REFITS: usize = 4;

/// Sums of w x q and w q q over a run.
#[inline(always)]
fn products<D: Doubles>(x: &[D], w: &[D], inverse: D, code: &impl Code) -> (D, D) {
    let (mut xq, mut qq) = (D::splat(0.0), D::splat(0.0));
    for (&x, &w) in x.iter().zip(w) {
        let q = code.nearest(x * inverse);
        let wq = w * q;
        xq = xq + wq * x;
        qq = qq + wq * q;
    }
    (xq, qq)
}

/// The scale s that makes the sum of w (x - s code)^2 small, its codes being the nearest ones.
#[inline(always)]
pub fn fit_scale<D: Doubles>(x: &[D], w: &[D], code: &impl Code) -> D {
    let zero = D::splat(0.0);
    let mut extreme = zero;
    for &x in x {
        extreme = D::pick(x.size().above(extreme.size()), x, extreme);
    }
    let (mut scale, mut gain) = (zero, zero);
    for &top in code.tops() {
        let (xq, qq) = products(x, w, D::splat(top) / extreme, code);
        let better = (xq * xq).above(gain * qq);
        gain = D::pick(better, xq * xq / qq, gain);
        scale = D::pick(better, xq / qq, scale);
    }
    let mut open = zero.same(zero);
    for _ in 0..REFITS {
        let (xq, qq) = products(x, w, D::splat(1.0) / scale, code);
        open = D::both(open, (xq * xq).above(gain * qq));
        if !D::any(open) {
            break;
        }
        gain = D::pick(open, xq * xq / qq, gain);
        scale = D::pick(open, xq / qq, scale);
    }
    D::pick(extreme.same(zero), zero, scale)
}

/// y = scale * q - min.
#[derive(Clone, Copy)]
pub struct Affine<D> {
    pub scale: D,
    pub min: D,
}

/// What the trials of `fit_affine` know of a run.
struct Run<'a, D> {
    x: &'a [D],
    w: &'a [D],
    most: D,
    signed_min: bool,
    sw: D,
    sx: D,
    sxx: D,
}

impl<D: Doubles> Run<'_, D> {
    /// The scale and minimum that fit the codes under one trial best, their error, and where there are any.
    #[inline(always)]
    fn fitted(&self, bottom: D, inverse: D) -> (Affine<D>, D, D::Mask) {
        let zero = D::splat(0.0);
        let (mut sq, mut sqq, mut sxq) = (zero, zero, zero);
        for (&x, &w) in self.x.iter().zip(self.w) {
            let q = clamped(((x - bottom) * inverse).rounded(), zero, self.most);
            let wq = w * q;
            sq = sq + wq;
            sqq = sqq + wq * q;
            sxq = sxq + wq * x;
        }
        let Self { sw, sx, sxx, .. } = *self;
        let two = D::splat(2.0);
        let determinant = sw * sqq - sq * sq;
        let mut s = (sw * sxq - sx * sq) / determinant;
        let mut m = (sq * sxq - sqq * sx) / determinant;
        if !self.signed_min {
            let below = zero.above(m);
            s = D::pick(below, sxq / sqq, s);
            m = D::pick(below, zero, m);
        }
        let error = sxx - two * s * sxq + two * m * sx + s * s * sqq - two * s * m * sq + m * m * sw;
        (Affine { scale: s, min: m }, error, determinant.above(zero))
    }
}

/// The scale and minimum that make the sum of w (x - scale q + min)^2 small, q from 0 to `most`. `signed_min`: whether
/// min may be below 0.
#[inline(always)]
pub fn fit_affine<D: Doubles>(x: &[D], w: &[D], most: f64, signed_min: bool) -> Affine<D> {
    let zero = D::splat(0.0);
    let mut low = if signed_min { D::splat(f64::INFINITY) } else { zero };
    let mut high = D::splat(f64::NEG_INFINITY);
    let (mut sw, mut sx, mut sxx) = (zero, zero, zero);
    for (&x, &w) in x.iter().zip(w) {
        low = x.smaller(low);
        high = x.larger(high);
        sw = sw + w;
        sx = sx + w * x;
        sxx = sxx + w * x * x;
    }
    let mean = sx.negative() / sw;
    let mut min = D::pick(sw.above(zero), mean, low.negative());
    if !signed_min {
        min = min.larger(zero);
    }
    let flat = Affine { scale: zero, min };
    let mut scale = zero;
    let mut error = sxx + D::splat(2.0) * min * sx + min * min * sw;
    let most = D::splat(most);
    let run = Run { x, w, most, signed_min, sw, sx, sxx };
    for cut in [0.0, 1.0 / 3.0, 2.0 / 3.0] {
        let bottom = low + D::splat(cut) * (high - low) / most;
        for i in 0..13 {
            let over = 0.0 + (f64::from(i) - 6.0) * 0.15;
            let inverse = (most - D::splat(cut) + D::splat(over)) / (high - bottom);
            let (fit, e, solved) = run.fitted(bottom, inverse);
            let better = D::both(D::both(solved, fit.scale.above(zero)), error.above(e));
            error = D::pick(better, e, error);
            scale = D::pick(better, fit.scale, scale);
            min = D::pick(better, fit.min, min);
        }
    }
    let mut open = zero.same(zero);
    for _ in 0..REFITS {
        let (fit, e, solved) = run.fitted(min.negative(), D::splat(1.0) / scale);
        open = D::both(open, D::both(D::both(solved, fit.scale.above(zero)), error.above(e)));
        if !D::any(open) {
            break;
        }
        error = D::pick(open, e, error);
        scale = D::pick(open, fit.scale, scale);
        min = D::pick(open, fit.min, min);
    }
    let spread = high.above(low);
    Affine { scale: D::pick(spread, scale, flat.scale), min: D::pick(spread, min, flat.min) }
}
