//! Owns: encoding eight blocks of 32 at a time: Q8_0, Q4_0 to Q5_1, IQ4_NL and MXFP4.
//! Refuses to know: the search for scales.
//!
//! Layouts and bytes as in `src/dtypes`; without an importance matrix Q8_0 and Q4_0 to Q5_1 are ggml's to the bit.

use super::k_blocks::Places;
use super::levels::{code_of, nibble_of};
use super::search::{Code, Levels, Search, Whole};
use super::super_blocks::{half_bytes, nearest_half, put_codes, quantized};
use super::weighting::{Batch, PlainWeight, Surroundings, Weighted};
use crate::simd::blocks::to_half;
use crate::simd::doubles::{Doubles, LANES};

type Numbers<D> = Weighted<D, 32>;
type Codes = [[u8; 32]; LANES];

/// f16 d; i8 q[32]
#[inline(always)]
pub fn q8_0(batch: &Batch<'_>, out: Places<'_>) {
    for (x, out) in batch.x.iter().zip(out) {
        let Some(out) = out else { continue };
        let largest = x.iter().fold(0.0f32, |most, x| if x.abs() > most { x.abs() } else { most });
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out[..2].copy_from_slice(&half_bytes(f64::from(d)));
        for (out, x) in out[2..].iter_mut().zip(*x) {
            let scaled = f64::from(x * inverse);
            let size = (scaled.abs() + 0.5).floor() as i32;
            *out = (if scaled < 0.0 { -size } else { size }) as u8;
        }
    }
}

/// How the codes of a format of 32 numbers under a scale, or a scale and a minimum, are kept.
#[derive(Clone, Copy)]
pub struct Legacy {
    /// Codes from 0 to this.
    pub most: u8,
    pub minimum: bool,
}

/// f16 d, and m where there is a minimum; u32 of fifth bits where codes have one; u8 q[16]
#[inline(always)]
pub fn legacy<D: Search>(batch: &Batch<'_>, out: Places<'_>, kind: Legacy) {
    let (heads, codes) = if batch.importance[0].is_empty() {
        plain_codes(batch, kind)
    } else if kind.minimum {
        affine_codes::<D>(batch, f64::from(kind.most))
    } else {
        scaled_codes::<D>(batch, f64::from(kind.most.div_ceil(2)))
    };
    for (lane, out) in out.into_iter().enumerate() {
        let Some(mut out) = out else { continue };
        for head in &heads[lane][..1 + usize::from(kind.minimum)] {
            out[..2].copy_from_slice(head);
            out = &mut out[2..];
        }
        let codes = &codes[lane];
        if kind.most > 15 {
            for (j, q) in codes.iter().enumerate() {
                out[j >> 3] |= (q >> 4) << (j & 7);
            }
            out = &mut out[4..];
        }
        for j in 0..16 {
            out[j] = (codes[j] & 15) | (codes[j + 16] << 4);
        }
    }
}

type Heads = [[[u8; 2]; 2]; LANES];

/// As ggml does, step by step in single precision.
#[inline(always)]
fn plain_codes(batch: &Batch<'_>, kind: Legacy) -> (Heads, Codes) {
    let (mut heads, mut codes) = ([[[0; 2]; 2]; LANES], [[0; 32]; LANES]);
    for lane in 0..LANES {
        let x = batch.x[lane];
        let (d, least, shift) = if kind.minimum {
            let least = x.iter().copied().fold(x[0], |low, x| if x < low { x } else { low });
            let highest = x.iter().copied().fold(x[0], |high, x| if x > high { x } else { high });
            ((highest - least) / f32::from(kind.most), least, 0.5)
        } else {
            // The number of largest magnitude, with its sign, gets the lowest code.
            let extreme = x.iter().copied().fold(0.0f32, |most, x| if x.abs() > most.abs() { x } else { most });
            let size = f32::from(kind.most.div_ceil(2));
            (extreme / -size, 0.0, size + 0.5)
        };
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        heads[lane] = [half_bytes(f64::from(d)), half_bytes(f64::from(least))];
        for (code, &x) in codes[lane].iter_mut().zip(x) {
            let x = if kind.minimum { x - least } else { x };
            *code = ((x * inverse + shift) as i32).clamp(0, i32::from(kind.most)) as u8;
        }
    }
    (heads, codes)
}

/// `value` as halves in every lane, and their bytes.
#[inline(always)]
fn halves<D: Doubles>(value: D) -> (D, [[u8; 2]; LANES]) {
    let lanes = value.store().map(nearest_half);
    (D::load(&lanes), lanes.map(|half| to_half(half as f32)))
}

#[inline(always)]
fn scaled_codes<D: Search>(batch: &Batch<'_>, size: f64) -> (Heads, Codes) {
    let all = Numbers::<D>::new(batch, Surroundings::Row, PlainWeight::Square);
    let code = Whole::signed(size);
    let (d, bytes) = halves(code.scale(&all.x, &all.w));
    let mut codes = [[0; 32]; LANES];
    let inverse = d.inverse();
    for (i, &x) in all.x.iter().enumerate() {
        put_codes(&mut codes, i, code.nearest(x * inverse), size);
    }
    (bytes.map(|d| [d, [0; 2]]), codes)
}

#[inline(always)]
fn affine_codes<D: Search>(batch: &Batch<'_>, most: f64) -> (Heads, Codes) {
    let all = Numbers::<D>::new(batch, Surroundings::Row, PlainWeight::Square);
    let fit = D::affine(&all.x, &all.w, most, true);
    let (d, d_bytes) = halves(fit.scale);
    let (m, m_bytes) = halves(fit.min.negative());
    let mut codes = [[0; 32]; LANES];
    let (inverse, min) = (d.inverse(), m.negative());
    for (i, &x) in all.x.iter().enumerate() {
        put_codes(&mut codes, i, quantized(x, inverse, min, most), 0.0);
    }
    (std::array::from_fn(|lane| [d_bytes[lane], m_bytes[lane]]), codes)
}

/// Sixteen bytes of nibbles: the first half of the codes in the low ones.
#[inline(always)]
fn put_nibbles(out: &mut [u8], codes: &[u8; 32], nibble: fn(u8) -> u8) {
    for j in 0..16 {
        out[j] = nibble(codes[j]) | (nibble(codes[j + 16]) << 4);
    }
}

/// f16 d; u8 q[16]
#[inline(always)]
pub fn iq4_nl<D: Search>(batch: &Batch<'_>, out: Places<'_>, code: &Levels) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(2), PlainWeight::Square);
    let (d, bytes) = halves(code.scale(&all.x, &all.w));
    let mut codes = [[0; 32]; LANES];
    let inverse = d.inverse();
    for (i, &x) in all.x.iter().enumerate() {
        put_codes(&mut codes, i, code.nearest(x * inverse), 127.0);
    }
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        out[..2].copy_from_slice(&bytes[lane]);
        put_nibbles(&mut out[2..], &codes[lane], nibble_of);
    }
}

/// u8 e; u8 q[16]
#[inline(always)]
pub fn mxfp4<D: Search>(batch: &Batch<'_>, out: Places<'_>, code: &Levels) {
    let zero = D::splat(0.0);
    let all = Numbers::<D>::new(&Batch { importance: [&[]; LANES], ..*batch }, Surroundings::None, PlainWeight::Magnitude);
    let mut largest = zero;
    for &x in &all.x {
        largest = x.size().larger(largest);
    }
    // The exponent of a double is the whole part of its logarithm.
    let first = largest.store().map(|size| if size > 0.0 { (size.to_bits() >> 52) as i32 - 1023 - 2 } else { -127 });
    let (mut half, mut least, mut kept) = (zero, D::splat(f64::INFINITY), zero);
    for more in [0, 1] {
        let exponents = first.map(|exponent| (exponent + more + 127).clamp(0, 254));
        let step = D::load(&exponents.map(|e| f64::from_bits(((e - 128 + 1023) as u64) << 52)));
        let inverse = step.inverse();
        let mut error = zero;
        for &x in &all.x {
            let e = x - step * code.nearest(x * inverse);
            error = error + e * e;
        }
        let better = least.above(error);
        least = D::pick(better, error, least);
        half = D::pick(better, step, half);
        kept = D::pick(better, D::load(&exponents.map(f64::from)), kept);
    }
    let inverse = half.inverse();
    let mut codes = [[0; 32]; LANES];
    for (i, &x) in all.x.iter().enumerate() {
        put_codes(&mut codes, i, code.nearest(x * inverse), 12.0);
    }
    let kept = kept.store();
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        out[0] = kept[lane] as u8;
        put_nibbles(&mut out[1..], &codes[lane], code_of);
    }
}
