//! Owns: the search for the scales of groups as small integers under the one or two halves of a super-block, in eight
//! super-blocks side by side.
//! Refuses to know: where integers and codes lie in a block.
//!
//! The same operations in the same order as `src/dtypes/super-blocks.ts`; a lane that is done there is done here.

use super::search::{Affine, Code, Search, Whole, clamped};
use crate::simd::blocks::{half, to_half};
use crate::simd::doubles::{Doubles, LANES};

const ROUNDS: usize = 3;
/// Groups of a super-block at most.
pub const GROUPS: usize = 16;
const LARGEST_HALF: f64 = 65_504.0;

/// The finite half nearest to a number.
pub fn nearest_half(value: f64) -> f64 {
    f64::from(half(to_half(value.clamp(-LARGEST_HALF, LARGEST_HALF) as f32)))
}

/// The bytes of the finite half nearest to a number.
pub fn half_bytes(value: f64) -> [u8; 2] {
    to_half(nearest_half(value) as f32)
}

/// The nearest half in every lane, but not zero for what is not.
#[inline(always)]
pub fn half_for<D: Doubles>(value: D) -> D {
    let mut lanes = value.store();
    for lane in &mut lanes {
        let nearest = nearest_half(*lane);
        let least = if *lane > 0.0 { LEAST_HALF } else if *lane < 0.0 { -LEAST_HALF } else { 0.0 };
        *lane = if nearest == 0.0 { least } else { nearest };
    }
    D::load(&lanes)
}

const LEAST_HALF: f64 = 1.0 / 16_777_216.0;

/// y = d * scales[group] * code.
pub struct ScaledGroups<D> {
    pub d: D,
    pub scales: [D; GROUPS],
}

/// The scaled groups of `size` that make the sum of w (x - y)^2 small.
#[inline(always)]
pub fn fit_scaled<D: Search>(x: &[D], w: &[D], size: usize, code: &impl Code, scale_code: &Whole) -> ScaledGroups<D> {
    let zero = D::splat(0.0);
    let count = x.len() / size;
    let (mut exact, mut weight) = ([zero; GROUPS], [zero; GROUPS]);
    for (g, (x, w)) in x.chunks_exact(size).zip(w.chunks_exact(size)).enumerate() {
        exact[g] = code.scale(x, w);
        let inverse = exact[g].inverse();
        for (&x, &w) in x.iter().zip(w) {
            let q = code.nearest(x * inverse);
            weight[g] = weight[g] + w * q * q;
        }
    }
    let mut best = ScaledGroups { d: zero, scales: [zero; GROUPS] };
    let mut best_error = D::splat(f64::INFINITY);
    let mut d = scale_code.scale(&exact[..count], &weight[..count]);
    let mut open = zero.same(zero);
    for _ in 0..ROUNDS {
        d = half_for(d);
        open = D::both(open, d.size().above(zero));
        if !D::any(open) {
            break;
        }
        let mut scales = [zero; GROUPS];
        let (mut error, mut xy, mut yy) = (zero, zero, zero);
        for (g, (x, w)) in x.chunks_exact(size).zip(w.chunks_exact(size)).enumerate() {
            let (scale, group_error) = nearby_scale(x, w, code, scale_code, d, exact[g] / d);
            scales[g] = scale;
            error = error + group_error;
            let inverse = (d * scale).inverse();
            for (&x, &w) in x.iter().zip(w) {
                let y = scale * code.nearest(x * inverse);
                let wy = w * y;
                xy = xy + wy * x;
                yy = yy + wy * y;
            }
        }
        open = D::both(open, best_error.above(error));
        if !D::any(open) {
            break;
        }
        best_error = D::pick(open, error, best_error);
        best.d = D::pick(open, d, best.d);
        for (best, &scale) in best.scales.iter_mut().zip(&scales) {
            *best = D::pick(open, scale, *best);
        }
        d = D::pick(yy.above(zero), xy / yy, zero);
    }
    best
}

/// The integer next to `wanted` under which a group loses least, and what it loses.
#[inline(always)]
fn nearby_scale<D: Doubles>(x: &[D], w: &[D], code: &impl Code, scale_code: &Whole, d: D, wanted: D) -> (D, D) {
    let mut best = D::splat(0.0);
    let mut best_error = D::splat(f64::INFINITY);
    for offset in [-1.0, 0.0, 1.0] {
        let scale = scale_code.nearest(wanted + D::splat(offset));
        let step = d * scale;
        let inverse = step.inverse();
        let mut error = D::splat(0.0);
        for (&x, &w) in x.iter().zip(w) {
            let e = x - step * code.nearest(x * inverse);
            error = error + w * e * e;
        }
        let better = best_error.above(error);
        best_error = D::pick(better, error, best_error);
        best = D::pick(better, scale, best);
    }
    (best, best_error)
}

/// y = d * scales[group] * q - dmin * mins[group].
pub struct AffineGroups<D> {
    pub d: D,
    pub dmin: D,
    pub scales: [D; GROUPS],
    pub mins: [D; GROUPS],
}

/// The groups with minima that make the sum of w (x - y)^2 small; q from 0 to `most`, scales and minima from 0 to
/// `most_scale`.
#[inline(always)]
pub fn fit_affine_groups<D: Search>(x: &[D], w: &[D], size: usize, most: f64, most_scale: f64) -> AffineGroups<D> {
    let zero = D::splat(0.0);
    let count = x.len() / size;
    let scale_code = Whole::unsigned(most_scale);
    let (mut exact_scales, mut exact_mins) = ([zero; GROUPS], [zero; GROUPS]);
    let (mut scale_weights, mut min_weights) = ([zero; GROUPS], [zero; GROUPS]);
    for (g, (x, w)) in x.chunks_exact(size).zip(w.chunks_exact(size)).enumerate() {
        let Affine { scale, min } = D::affine(x, w, most, false);
        (exact_scales[g], exact_mins[g]) = (scale, min);
        let inverse = scale.inverse();
        for (&x, &w) in x.iter().zip(w) {
            let q = quantized(x, inverse, min, most);
            scale_weights[g] = scale_weights[g] + w * q * q;
            min_weights[g] = min_weights[g] + w;
        }
    }
    let mut best = AffineGroups { d: zero, dmin: zero, scales: [zero; GROUPS], mins: [zero; GROUPS] };
    let mut best_error = D::splat(f64::INFINITY);
    let mut d = scale_code.scale(&exact_scales[..count], &scale_weights[..count]);
    let mut dmin = scale_code.scale(&exact_mins[..count], &min_weights[..count]);
    let mut open = zero.same(zero);
    for _ in 0..ROUNDS {
        d = half_for(d);
        dmin = half_for(dmin);
        let (mut scales, mut mins) = ([zero; GROUPS], [zero; GROUPS]);
        let mut error = zero;
        let (mut aa, mut ab, mut bb, mut xa, mut xb) = (zero, zero, zero, zero, zero);
        for (g, (x, w)) in x.chunks_exact(size).zip(w.chunks_exact(size)).enumerate() {
            let wanted = Affine { scale: exact_scales[g], min: exact_mins[g] };
            let (chosen, group_error) = nearby_affine(x, w, most, most_scale, (d, dmin), wanted);
            let Affine { scale, min } = chosen;
            (scales[g], mins[g]) = (scale, min);
            error = error + group_error;
            let (inverse, offset) = ((d * scale).inverse(), dmin * min);
            for (&x, &w) in x.iter().zip(w) {
                let a = scale * quantized(x, inverse, offset, most);
                let (wa, wb) = (w * a, w * min);
                aa = aa + wa * a;
                ab = ab + wa * min;
                bb = bb + wb * min;
                xa = xa + wa * x;
                xb = xb + wb * x;
            }
        }
        open = D::both(open, best_error.above(error));
        if !D::any(open) {
            break;
        }
        best_error = D::pick(open, error, best_error);
        best.d = D::pick(open, d, best.d);
        best.dmin = D::pick(open, dmin, best.dmin);
        for g in 0..count {
            best.scales[g] = D::pick(open, scales[g], best.scales[g]);
            best.mins[g] = D::pick(open, mins[g], best.mins[g]);
        }
        let determinant = aa * bb - ab * ab;
        let solved = determinant.above(zero);
        let fitted = (xa * bb - xb * ab) / determinant;
        let fitted_min = (xa * ab - xb * aa) / determinant;
        let alone = D::pick(aa.above(zero), xa / aa, zero);
        let below = zero.above(fitted_min);
        d = D::pick(solved, D::pick(below, alone, fitted), alone);
        dmin = D::pick(solved, D::pick(below, zero, fitted_min), zero);
    }
    best
}

/// The code of x under y = q / inverse - min.
#[inline(always)]
pub fn quantized<D: Doubles>(x: D, inverse: D, min: D, most: f64) -> D {
    clamped(((x + min) * inverse).rounded(), D::splat(0.0), D::splat(most))
}

/// The pair of integers next to the wanted scale and minimum under which a group loses least, and what it loses.
#[inline(always)]
fn nearby_affine<D: Doubles>(
    x: &[D],
    w: &[D],
    most: f64,
    most_scale: f64,
    (d, dmin): (D, D),
    wanted: Affine<D>,
) -> (Affine<D>, D) {
    let zero = D::splat(0.0);
    let mut best = Affine { scale: zero, min: zero };
    let mut best_error = D::splat(f64::INFINITY);
    for s in [-1.0, 0.0, 1.0] {
        let scale = near(wanted.scale / d + D::splat(s), d, most_scale);
        for m in [-1.0, 0.0, 1.0] {
            let min = near(wanted.min / dmin + D::splat(m), dmin, most_scale);
            let (step, offset) = (d * scale, dmin * min);
            let inverse = step.inverse();
            let mut error = zero;
            for (&x, &w) in x.iter().zip(w) {
                let e = x - (step * quantized(x, inverse, offset, most) - offset);
                error = error + w * e * e;
            }
            let better = best_error.above(error);
            best_error = D::pick(better, error, best_error);
            best.scale = D::pick(better, scale, best.scale);
            best.min = D::pick(better, min, best.min);
        }
    }
    (best, best_error)
}

/// The integer from 0 to `most` next to `wanted`; 0 where the half is.
#[inline(always)]
fn near<D: Doubles>(wanted: D, half: D, most: f64) -> D {
    let zero = D::splat(0.0);
    D::pick(half.same(zero), zero, clamped(wanted.rounded(), zero, D::splat(most)))
}

/// Codes of eight blocks, of one after the other: `codes[lane][i]`, each with `shift` added.
#[inline(always)]
pub fn put_codes<D: Doubles, const N: usize>(codes: &mut [[u8; N]; LANES], i: usize, q: D, shift: f64) {
    let q = (q + D::splat(shift)).store();
    for (codes, q) in codes.iter_mut().zip(q) {
        codes[i] = q as u8;
    }
}
