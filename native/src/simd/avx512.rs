//! Owns: the table of AVX-512 (F, BW, DQ, VL, VBMI) with VNNI: products of the common formats by hand (beside it),
//! those of other formats as with AVX2, the rest compiled for it.
//! Refuses to know: tensors, threads, operations.

use super::x86_floats as floats;
use super::avx512_panels::{panels32, panels256};
use super::avx512_rows::{rows32, rows256};
use super::blocks::*;
use super::featured::{featured, featured_search, featured_table};
use super::{Floats, Kernels, Panels, Row, Scaled, avx2, avx512_rounding, products, scalar};
use super::doubles::Wide;
use crate::encode::encode;
use crate::encode::grid_fit::{FittedGrid, GridKind, fit_grid};
use crate::encode::search::{Affine, Levels, Search, Whole, fit_affine, fit_scale};
use crate::encode::shifted_grid::{FittedShifts, ShiftedKind, fit_shifted};
use crate::encode::super_blocks::{AffineGroups, ScaledGroups, fit_affine_groups, fit_scaled};
use crate::formats::Format;
use crate::map::{Buffer, MatMut};
use std::arch::x86_64::*;

featured_table!("avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c");
featured_search!(Wide, "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c");

static KERNELS: Kernels = {
    let mut rows = avx2::ROWS;
    rows[Format::F32 as usize] = by_hand_f32;
    rows[Format::F16 as usize] = by_hand_f16;
    rows[Format::Bf16 as usize] = by_hand_bf16;
    rows[Format::F8E4M3 as usize] = by_hand_f8;
    rows[Format::Q8_0 as usize] = by_hand_q8_0;
    rows[Format::Q4_0 as usize] = by_hand_q4_0;
    rows[Format::Q4_1 as usize] = by_hand_q4_1;
    rows[Format::Q5_0 as usize] = by_hand_q5_0;
    rows[Format::Q5_1 as usize] = by_hand_q5_1;
    rows[Format::Q4K as usize] = by_hand_q4_k;
    rows[Format::Q5K as usize] = by_hand_q5_k;
    rows[Format::Q6K as usize] = by_hand_q6_k;
    // Laying costs as much as multiplying so many rows where they lie.
    let mut panels: [Option<Panels>; Format::ALL.len()] = [None; Format::ALL.len()];
    panels[Format::Q8_0 as usize] = Some(Panels { from: 5, run: panels_q8_0 });
    panels[Format::Q4_0 as usize] = Some(Panels { from: 5, run: panels_q4_0 });
    panels[Format::Q4_1 as usize] = Some(Panels { from: 5, run: panels_q4_1 });
    panels[Format::Q5_0 as usize] = Some(Panels { from: 5, run: panels_q5_0 });
    panels[Format::Q5_1 as usize] = Some(Panels { from: 5, run: panels_q5_1 });
    panels[Format::Q4K as usize] = Some(Panels { from: 2, run: panels_q4_k });
    panels[Format::Q5K as usize] = Some(Panels { from: 2, run: panels_q5_k });
    panels[Format::Q6K as usize] = Some(Panels { from: 4, run: panels_q6_k });
    // Formats without panels have lanes, as with AVX2.
    let mut lanes = avx2::LANES;
    let mut format = 0;
    while format < panels.len() {
        if panels[format].is_some() {
            lanes[format] = None;
        }
        format += 1;
    }
    Kernels {
        rows,
        woven: true,
        lanes,
        panels,
        squares: avx2::by_hand_squares,
        floats_as_dots: true,
        scaled: Some(by_hand_scaled),
        dots: by_hand_dots,
        sums: by_hand_sums,
        quantize32: by_hand_quantize32,
        quantize256: by_hand_quantize256,
        decode: by_hand_decode,
        encode: by_hand_encode,
        multiply_bytes: by_hand_multiply_bytes,
        round_operations: 2 * 64 * CHAINS,
        ..TABLE
    }
};

/// The table, when this processor can run it.
pub fn kernels() -> Option<&'static Kernels> {
    let fits = avx2::kernels().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni");
    fits.then_some(&KERNELS)
}

/// Codes by hand, other formats as they are compiled.
fn by_hand_decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    if format == Format::F8E4M3 { by_hand_codes(bytes, out) } else { decode(format, bytes, out) }
}

featured! {
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c";
    fn by_hand_q8_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ8_0>;
    fn by_hand_q4_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ4_0>;
    fn by_hand_q4_1(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ4_1>;
    fn by_hand_q5_0(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ5_0>;
    fn by_hand_q5_1(w: &[u8], xs: &[Row], out: &mut [f32]) = rows32::<BlockQ5_1>;
    fn by_hand_q4_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ4K>;
    fn by_hand_q5_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ5K>;
    fn by_hand_q6_k(w: &[u8], xs: &[Row], out: &mut [f32]) = rows256::<BlockQ6K>;
    fn by_hand_f32(w: &[u8], xs: &[Row], out: &mut [f32]) = products::wide::rows::<4, floats::F32>;
    fn by_hand_f16(w: &[u8], xs: &[Row], out: &mut [f32]) = products::wide::rows::<2, floats::F16>;
    fn by_hand_bf16(w: &[u8], xs: &[Row], out: &mut [f32]) = products::wide::rows::<2, floats::Bf16>;
    fn by_hand_f8(w: &[u8], xs: &[Row], out: &mut [f32]) = products::wide::rows::<1, floats::F8E4M3>;
    fn panels_q8_0(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels32::<BlockQ8_0>;
    fn panels_q4_0(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels32::<BlockQ4_0>;
    fn panels_q4_1(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels32::<BlockQ4_1>;
    fn panels_q5_0(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels32::<BlockQ5_0>;
    fn panels_q5_1(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels32::<BlockQ5_1>;
    fn panels_q4_k(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels256::<BlockQ4K>;
    fn panels_q5_k(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels256::<BlockQ5K>;
    fn panels_q6_k(w: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) = panels256::<BlockQ6K>;
    fn by_hand_dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) = products::wide::dots;
    fn by_hand_scaled(weights: Scaled, xs: &[Row], out: &mut [f32]) = products::wide::scaled;
    fn by_hand_codes(codes: &[u8], out: &mut [f32]) = products::wide::floats_of;
    fn by_hand_sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) = products::wide::sums;
    fn by_hand_quantize32(
        x: &[f32],
        q: &mut [i8],
        scale: &mut [f32],
        sums: &mut [i32],
        scaled_sums: &mut [f32]
    ) = avx512_rounding::quantize32;
    fn by_hand_quantize256(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32]) = avx512_rounding::quantize256;
    fn by_hand_encode(format: Format, x: &[f32], importance: &[f32], cols: usize, out: &mut [u8]) = encode::<Wide>;
    fn by_hand_multiply_bytes(rounds: usize) -> i32 = vnni_rounds;
    fn from_half(bytes: &[u8], out: &mut [f32]) = avx2::halves_to_floats;
    fn to_half(x: &[f32], bytes: &mut [u8]) = avx2::floats_to_halves;
}

/// Sums that grow side by side, so that none waits for itself.
const CHAINS: usize = 12;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn vnni_rounds(rounds: usize) -> i32 {
    let (u, q) = (std::hint::black_box(_mm512_set1_epi8(3)), std::hint::black_box(_mm512_set1_epi8(-5)));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, u, q);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
}
