//! Owns: encoding eight blocks of 256 at a time: where the bits of Q2_K to Q6_K and IQ4_XS lie.
//! Refuses to know: the search for scales.
//!
//! Layouts as in `src/dtypes`, whose bytes these are.

use super::levels::{nibble_of, scale_code_of_levels};
use super::search::{Code, Levels, Search, Whole};
use super::super_blocks::{AffineGroups, ScaledGroups, half_bytes, put_codes, quantized};
use super::weighting::{Batch, PlainWeight, Surroundings, Weighted};
use crate::simd::doubles::{Doubles, LANES};

/// Where the eight blocks go; those that are only there to fill the lanes are None.
pub type Places<'a> = [Option<&'a mut [u8]>; LANES];

type Numbers<D> = Weighted<D, 256>;
type Codes = [[u8; 256]; LANES];

/// The pair of bits of number i: each 32 bytes hold 128 numbers, from the low pair to the high one.
#[inline(always)]
pub fn put_pair(pairs: &mut [u8], i: usize, pair: u8) {
    pairs[(i >> 7) * 32 + (i & 31)] |= pair << (((i >> 5) & 3) * 2);
}

#[inline(always)]
fn affine_codes<D: Doubles>(x: &[D; 256], size: usize, groups: &AffineGroups<D>, most: f64) -> Codes {
    let mut codes = [[0; 256]; LANES];
    for (i, &x) in x.iter().enumerate() {
        let (scale, min) = (groups.scales[i / size], groups.mins[i / size]);
        let q = quantized(x, (groups.d * scale).inverse(), groups.dmin * min, most);
        put_codes(&mut codes, i, q, 0.0);
    }
    codes
}

#[inline(always)]
fn scaled_codes<D: Doubles>(x: &[D; 256], size: usize, groups: &ScaledGroups<D>, code: &impl Code, shift: f64) -> Codes {
    let mut codes = [[0; 256]; LANES];
    for (i, &x) in x.iter().enumerate() {
        let inverse = (groups.d * groups.scales[i / size]).inverse();
        put_codes(&mut codes, i, code.nearest(x * inverse), shift);
    }
    codes
}

/// `of[group]` of one lane, as bytes with `shift` added.
#[inline(always)]
fn bytes_of<D: Doubles>(of: &[D; 16], lane: usize, shift: f64) -> [u8; 16] {
    of.map(|all| (all.store()[lane] + shift) as u8)
}

/// u8 scale[16]; u8 q[64]; f16 d, dmin
#[inline(always)]
pub fn q2_k<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(1), PlainWeight::Magnitude);
    let groups = D::affine_groups(&all.x, &all.w, 16, 3.0, 15.0);
    let codes = affine_codes(&all.x, 16, &groups, 3.0);
    let (d, dmin) = (groups.d.store(), groups.dmin.store());
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        let (scales, mins) = (bytes_of(&groups.scales, lane, 0.0), bytes_of(&groups.mins, lane, 0.0));
        for (g, out) in out[..16].iter_mut().enumerate() {
            *out = scales[g] | (mins[g] << 4);
        }
        for (i, &pair) in codes[lane].iter().enumerate() {
            put_pair(&mut out[16..80], i, pair);
        }
        out[80..82].copy_from_slice(&half_bytes(d[lane]));
        out[82..84].copy_from_slice(&half_bytes(dmin[lane]));
    }
}

/// u8 mask[32]; u8 q[64]; u8 scale[12]; f16 d
#[inline(always)]
pub fn q3_k<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(2), PlainWeight::Square);
    let code = Whole::signed(4.0);
    let groups = D::scaled_whole(&all.x, &all.w, 16, &code, &Whole::signed(32.0));
    let codes = scaled_codes(&all.x, 16, &groups, &code, 4.0);
    let d = groups.d.store();
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        for (g, scale) in bytes_of(&groups.scales, lane, 32.0).into_iter().enumerate() {
            out[96 + (g & 7)] |= (scale & 15) << if g < 8 { 0 } else { 4 };
            out[104 + (g & 3)] |= (scale >> 4) << ((g >> 2) * 2);
        }
        for (i, &q) in codes[lane].iter().enumerate() {
            put_pair(&mut out[32..96], i, q & 3);
            out[i & 31] |= (q >> 2) << (i >> 5);
        }
        out[108..110].copy_from_slice(&half_bytes(d[lane]));
    }
}

/// f16 d, dmin; u8 scale[12]: six bits of the scales and minima of eight groups.
#[inline(always)]
fn put_heads<D: Doubles>(out: &mut [u8], groups: &AffineGroups<D>, lane: usize) {
    out[..2].copy_from_slice(&half_bytes(groups.d.store()[lane]));
    out[2..4].copy_from_slice(&half_bytes(groups.dmin.store()[lane]));
    let (scales, mins) = (bytes_of(&groups.scales, lane, 0.0), bytes_of(&groups.mins, lane, 0.0));
    for g in 0..4 {
        out[4 + g] = scales[g] | ((scales[g + 4] >> 4) << 6);
        out[8 + g] = mins[g] | ((mins[g + 4] >> 4) << 6);
        out[12 + g] = (scales[g + 4] & 15) | ((mins[g + 4] & 15) << 4);
    }
}

/// Each 32 bytes hold two groups, the first in the low nibbles.
#[inline(always)]
fn put_nibbles(out: &mut [u8], codes: &[u8; 256]) {
    for (out, codes) in out.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = (codes[j] & 15) | (codes[j + 32] << 4);
        }
    }
}

/// f16 d, dmin; u8 scale[12]; u8 q[128]
#[inline(always)]
pub fn q4_k<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(2), PlainWeight::MagnitudeAndMeanOf32);
    let groups = D::affine_groups(&all.x, &all.w, 32, 15.0, 63.0);
    let codes = affine_codes(&all.x, 32, &groups, 15.0);
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        put_heads(out, &groups, lane);
        put_nibbles(&mut out[16..], &codes[lane]);
    }
}

/// f16 d, dmin; u8 scale[12]; u8 high[32]; u8 q[128]
#[inline(always)]
pub fn q5_k<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(2), PlainWeight::MagnitudeAndMeanOf32);
    let groups = D::affine_groups(&all.x, &all.w, 32, 31.0, 63.0);
    let codes = affine_codes(&all.x, 32, &groups, 31.0);
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        put_heads(out, &groups, lane);
        put_nibbles(&mut out[48..], &codes[lane]);
        for (i, &q) in codes[lane].iter().enumerate() {
            out[16 + (i & 31)] |= (q >> 4) << (i >> 5);
        }
    }
}

/// u8 low[128]; u8 high[64]; i8 scale[16]; f16 d
#[inline(always)]
pub fn q6_k<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let all = Numbers::<D>::new(batch, Surroundings::None, PlainWeight::Square);
    let code = Whole::signed(32.0);
    let groups = D::scaled_whole(&all.x, &all.w, 16, &code, &Whole::signed(128.0));
    let codes = scaled_codes(&all.x, 16, &groups, &code, 32.0);
    let d = groups.d.store();
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        for (i, &q) in codes[lane].iter().enumerate() {
            let (part, quarter, l) = (i >> 7, (i >> 5) & 3, i & 31);
            out[part * 64 + (quarter & 1) * 32 + l] |= (q & 15) << ((quarter >> 1) * 4);
            out[128 + part * 32 + l] |= (q >> 4) << (quarter * 2);
        }
        for (g, scale) in groups.scales.iter().enumerate() {
            out[192 + g] = (scale.store()[lane] as i8).cast_unsigned();
        }
        out[208..210].copy_from_slice(&half_bytes(d[lane]));
    }
}

/// f16 d; u16 high; u8 low[4]; u8 q[128]
#[inline(always)]
pub fn iq4_xs<D: Search>(batch: &Batch<'_>, out: Places<'_>, code: &Levels) {
    let all = Numbers::<D>::new(batch, Surroundings::Block(2), PlainWeight::Square);
    let groups = D::scaled_levels(&all.x, &all.w, 32, code, &scale_code_of_levels());
    let codes = scaled_codes(&all.x, 32, &groups, code, 127.0);
    let d = groups.d.store();
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        out[..2].copy_from_slice(&half_bytes(d[lane]));
        for (g, scale) in bytes_of(&groups.scales, lane, 32.0)[..8].iter().enumerate() {
            out[2 + (g >> 2)] |= (scale >> 4) << ((g & 3) * 2);
            out[4 + (g >> 1)] |= (scale & 15) << ((g & 1) * 4);
        }
        for (i, &level) in codes[lane].iter().enumerate() {
            out[8 + (i >> 5) * 16 + (i & 15)] |= nibble_of(level) << if i & 16 == 0 { 0 } else { 4 };
        }
    }
}
