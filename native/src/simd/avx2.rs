//! Owns: the table of AVX2 with FMA and F16C: products by hand (beside it), the rest compiled for it.
//! Refuses to know: tensors, threads, operations.

use super::blocks::*;
use super::x86_floats as floats;
use super::avx2_lanes::{lanes32, lanes256};
use super::avx2_rows::{rows32, rows256};
use super::doubles::Pair;
use super::featured::{featured, featured_search, featured_table};
use super::{Floats, Kernels, Lanes, LanesFn, Row, RowsFn, Scaled, products, scalar};
use crate::encode::encode;
use crate::encode::grid_fit::{FittedGrid, GridKind, fit_grid};
use crate::encode::search::{Affine, Levels, Search, Whole, fit_affine, fit_scale};
use crate::encode::shifted_grid::{FittedShifts, ShiftedKind, fit_shifted};
use crate::encode::super_blocks::{AffineGroups, ScaledGroups, fit_affine_groups, fit_scaled};
use crate::formats::Format;
use crate::map::Buffer;
use std::arch::x86_64::*;

featured_table!("avx2", "avx2,fma,f16c");
featured_search!(Pair, "avx2,fma,f16c");

static KERNELS: Kernels = Kernels {
    rows: ROWS,
    lanes: LANES,
    squares: by_hand_squares,
    floats_as_dots: true,
    scaled: Some(by_hand_scaled),
    dots: by_hand_dots,
    sums: by_hand_sums,
    decode: by_hand_decode,
    encode: by_hand_encode,
    ..TABLE
};

/// The row kernels by hand, for AVX-512 to begin from.
pub(super) const ROWS: [RowsFn; Format::ALL.len()] = {
    let mut rows = TABLE.rows;
    rows[Format::F32 as usize] = by_hand_f32;
    rows[Format::F16 as usize] = by_hand_f16;
    rows[Format::Bf16 as usize] = by_hand_bf16;
    rows[Format::F8E4M3 as usize] = by_hand_f8;
    rows[Format::Q8_0 as usize] = by_hand_q8_0;
    rows[Format::Q4_0 as usize] = by_hand_q4_0;
    rows[Format::Q4_1 as usize] = by_hand_q4_1;
    rows[Format::Q5_0 as usize] = by_hand_q5_0;
    rows[Format::Q5_1 as usize] = by_hand_q5_1;
    rows[Format::Iq4Nl as usize] = by_hand_iq4_nl;
    rows[Format::Mxfp4 as usize] = by_hand_mxfp4;
    rows[Format::Q2K as usize] = by_hand_q2_k;
    rows[Format::Q3K as usize] = by_hand_q3_k;
    rows[Format::Q4K as usize] = by_hand_q4_k;
    rows[Format::Q5K as usize] = by_hand_q5_k;
    rows[Format::Q6K as usize] = by_hand_q6_k;
    rows[Format::Iq4Xs as usize] = by_hand_iq4_xs;
    rows[Format::Iq2Xxs as usize] = by_hand_iq2_xxs;
    rows[Format::Iq2Xs as usize] = by_hand_iq2_xs;
    rows[Format::Iq2S as usize] = by_hand_iq2_s;
    rows[Format::Iq3Xxs as usize] = by_hand_iq3_xxs;
    rows[Format::Iq3S as usize] = by_hand_iq3_s;
    rows[Format::Iq1S as usize] = by_hand_iq1_s;
    rows[Format::Iq1M as usize] = by_hand_iq1_m;
    rows[Format::Tq1_0 as usize] = by_hand_tq1_0;
    rows[Format::Tq2_0 as usize] = by_hand_tq2_0;
    rows
};

/// The lane kernels by hand, for AVX-512 to begin from.
pub(super) const LANES: [Option<LanesFn>; Format::ALL.len()] = {
    let mut lanes: [Option<LanesFn>; Format::ALL.len()] = [None; Format::ALL.len()];
    lanes[Format::Q8_0 as usize] = Some(lanes_q8_0);
    lanes[Format::Q4_0 as usize] = Some(lanes_q4_0);
    lanes[Format::Q4_1 as usize] = Some(lanes_q4_1);
    lanes[Format::Q5_0 as usize] = Some(lanes_q5_0);
    lanes[Format::Q5_1 as usize] = Some(lanes_q5_1);
    lanes[Format::Iq4Nl as usize] = Some(lanes_iq4_nl);
    lanes[Format::Mxfp4 as usize] = Some(lanes_mxfp4);
    lanes[Format::Q2K as usize] = Some(lanes_q2_k);
    lanes[Format::Q3K as usize] = Some(lanes_q3_k);
    lanes[Format::Q4K as usize] = Some(lanes_q4_k);
    lanes[Format::Q5K as usize] = Some(lanes_q5_k);
    lanes[Format::Q6K as usize] = Some(lanes_q6_k);
    lanes[Format::Iq2Xxs as usize] = Some(lanes_iq2_xxs);
    lanes[Format::Iq2Xs as usize] = Some(lanes_iq2_xs);
    lanes[Format::Iq2S as usize] = Some(lanes_iq2_s);
    lanes[Format::Iq3Xxs as usize] = Some(lanes_iq3_xxs);
    lanes[Format::Iq3S as usize] = Some(lanes_iq3_s);
    lanes[Format::Iq1S as usize] = Some(lanes_iq1_s);
    lanes[Format::Iq1M as usize] = Some(lanes_iq1_m);
    lanes[Format::Tq1_0 as usize] = Some(lanes_tq1_0);
    lanes[Format::Tq2_0 as usize] = Some(lanes_tq2_0);
    lanes
};

/// The table, when this processor can run it.
pub fn kernels() -> Option<&'static Kernels> {
    let fits = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    fits.then_some(&KERNELS)
}

/// Codes by hand, other formats as they are compiled.
fn by_hand_decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    if format == Format::F8E4M3 { by_hand_codes(bytes, out) } else { decode(format, bytes, out) }
}

featured! {
    "avx2,fma,f16c";
    fn by_hand_q8_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ8_0>;
    fn by_hand_q4_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ4_0>;
    fn by_hand_q4_1(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ4_1>;
    fn by_hand_q5_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ5_0>;
    fn by_hand_q5_1(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ5_1>;
    fn by_hand_iq4_nl(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockIq4Nl>;
    fn by_hand_mxfp4(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockMxfp4>;
    fn by_hand_q2_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ2K>;
    fn by_hand_q3_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ3K>;
    fn by_hand_q4_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ4K>;
    fn by_hand_q5_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ5K>;
    fn by_hand_q6_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ6K>;
    fn by_hand_iq4_xs(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq4Xs>;
    fn by_hand_iq2_xxs(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq2Xxs>;
    fn by_hand_iq2_xs(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq2Xs>;
    fn by_hand_iq2_s(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq2S>;
    fn by_hand_iq3_xxs(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq3Xxs>;
    fn by_hand_iq3_s(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq3S>;
    fn by_hand_iq1_s(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq1S>;
    fn by_hand_iq1_m(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockIq1M>;
    fn by_hand_tq1_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockTq1_0>;
    fn by_hand_tq2_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockTq2_0>;
    fn lanes_q8_0(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockQ8_0>;
    fn lanes_q4_0(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockQ4_0>;
    fn lanes_q4_1(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockQ4_1>;
    fn lanes_q5_0(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockQ5_0>;
    fn lanes_q5_1(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockQ5_1>;
    fn lanes_iq4_nl(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockIq4Nl>;
    fn lanes_mxfp4(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes32::<BlockMxfp4>;
    fn lanes_q2_k(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockQ2K>;
    fn lanes_q3_k(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockQ3K>;
    fn lanes_q4_k(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockQ4K>;
    fn lanes_q5_k(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockQ5K>;
    fn lanes_q6_k(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockQ6K>;
    fn lanes_iq2_xxs(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq2Xxs>;
    fn lanes_iq2_xs(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq2Xs>;
    fn lanes_iq2_s(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq2S>;
    fn lanes_iq3_xxs(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq3Xxs>;
    fn lanes_iq3_s(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq3S>;
    fn lanes_iq1_s(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq1S>;
    fn lanes_iq1_m(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockIq1M>;
    fn lanes_tq1_0(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockTq1_0>;
    fn lanes_tq2_0(w: &[u8], x: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) = lanes256::<BlockTq2_0>;
    fn by_hand_f32(w: &[u8], xs: &[Row], out: &mut [f32]) = products::narrow::rows::<4, floats::F32>;
    fn by_hand_f16(w: &[u8], xs: &[Row], out: &mut [f32]) = products::narrow::rows::<2, floats::F16>;
    fn by_hand_bf16(w: &[u8], xs: &[Row], out: &mut [f32]) = products::narrow::rows::<2, floats::Bf16>;
    fn by_hand_f8(w: &[u8], xs: &[Row], out: &mut [f32]) = products::narrow::rows::<1, floats::F8E4M3>;
    fn by_hand_encode(format: Format, x: &[f32], importance: &[f32], cols: usize, out: &mut [u8]) = encode::<Pair>;
    fn by_hand_squares(x: &[f32]) -> f32 = floats::squares;
    fn by_hand_dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) = products::narrow::dots;
    fn by_hand_scaled(weights: Scaled, xs: &[Row], out: &mut [f32]) = products::narrow::scaled;
    fn by_hand_codes(codes: &[u8], out: &mut [f32]) = products::narrow::floats_of;
    fn by_hand_sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) = products::narrow::sums;
    fn from_half(bytes: &[u8], out: &mut [f32]) = halves_to_floats;
    fn to_half(x: &[f32], bytes: &mut [u8]) = floats_to_halves;
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn one_half(bytes: [u8; 2]) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes(bytes)))))
}

/// Of four vectors, the sums of each 128 bits: a half holds those of all four.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn half_quads(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}

/// Sums of eight vectors.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn eight([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> __m256i {
    let (low, high) = (half_quads(a, b, c, d), half_quads(e, f, g, h));
    let (first, second) = (_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
    _mm256_add_epi32(first, second)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sum_of(x: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn halves_to_floats(bytes: &[u8], out: &mut [f32]) {
    let (eights, _) = bytes.as_chunks::<16>();
    let whole = (out.len() / 8).min(eights.len());
    for (eight, out) in eights.iter().zip(out.as_chunks_mut::<8>().0) {
        // SAFETY: 16 bytes and 8 floats are there.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(eight.as_ptr().cast()))) };
    }
    scalar::from_half(&bytes[whole * 16..], &mut out[whole * 8..]);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn floats_to_halves(x: &[f32], bytes: &mut [u8]) {
    let (eights, rest) = x.as_chunks::<8>();
    let (halves, tail) = bytes.split_at_mut(eights.len() * 16);
    for (eight, halves) in eights.iter().zip(halves.as_chunks_mut::<16>().0) {
        // SAFETY: 8 floats and 16 bytes are there.
        unsafe {
            let rounded = _mm256_cvtps_ph(_mm256_loadu_ps(eight.as_ptr()), _MM_FROUND_TO_NEAREST_INT);
            _mm_storeu_si128(halves.as_mut_ptr().cast(), rounded);
        }
    }
    scalar::to_halves(rest, tail);
}
