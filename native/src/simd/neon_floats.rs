//! Owns: products of floats on NEON: of rows of float formats, and of matrices in tiles that stay in registers.
//! Refuses to know: tensors, threads, operations; what the matrices are.
//!
//! An element's bits depend on its own row and column alone: `dots` adds every lane's products in order and the lanes
//! at last, always by the same halves; `sums` adds in the order of k. How many rows share a tile changes nothing.

use super::blocks::{brain, e4m3, half};
use super::neon_instructions::*;
use super::{Floats, Row, Scaled, scalar};
use crate::formats::Format;
use std::arch::asm;

/// Rows of b (`dots`) or vectors of columns (`sums`) in a tile.
const SIDE: usize = 4;
/// Rows of a in a tile.
const DOWN: usize = 4;
/// Numbers of a vector.
const WIDTH: usize = 4;

/// A format of numbers by themselves.
pub(super) trait Numbers<const BYTES: usize> {
    fn four(bytes: &[[u8; BYTES]; WIDTH]) -> float32x4_t;
    fn one(bytes: [u8; BYTES]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;
pub(super) struct F8E4M3;

#[inline(always)]
fn of_halves(halves: uint16x4_t) -> float32x4_t {
    let floats: float32x4_t;
    // SAFETY: one register to another.
    unsafe {
        asm!(
            "fcvtl {to:v}.4s, {from:v}.4h",
            from = in(vreg) halves,
            to = lateout(vreg) floats,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    floats
}

#[inline(always)]
fn to_halves(floats: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: one register to another.
    unsafe {
        asm!(
            "fcvtn {to:v}.4h, {from:v}.4s",
            from = in(vreg) floats,
            to = lateout(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}

#[inline(always)]
fn four_shorts(bytes: &[[u8; 2]; WIDTH]) -> uint16x4_t {
    // SAFETY: eight bytes are there, at any address.
    vreinterpret_u16_u8(unsafe { vld1_u8(bytes.as_flattened().as_ptr()) })
}

impl Numbers<4> for F32 {
    #[inline(always)]
    fn four(bytes: &[[u8; 4]; WIDTH]) -> float32x4_t {
        // SAFETY: 16 bytes are there, at any address.
        vreinterpretq_f32_u8(unsafe { vld1q_u8(bytes.as_flattened().as_ptr()) })
    }
    #[inline(always)]
    fn one(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

impl Numbers<2> for F16 {
    #[inline(always)]
    fn four(bytes: &[[u8; 2]; WIDTH]) -> float32x4_t {
        of_halves(four_shorts(bytes))
    }
    #[inline(always)]
    fn one(bytes: [u8; 2]) -> f32 {
        half(bytes)
    }
}

impl Numbers<2> for Bf16 {
    #[inline(always)]
    fn four(bytes: &[[u8; 2]; WIDTH]) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(four_shorts(bytes)))
    }
    #[inline(always)]
    fn one(bytes: [u8; 2]) -> f32 {
        brain(bytes)
    }
}

impl Numbers<1> for F8E4M3 {
    #[inline(always)]
    fn four(bytes: &[[u8; 1]; WIDTH]) -> float32x4_t {
        let word = u32::from_le_bytes(bytes.map(|[code]| code));
        let codes = vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(word))));
        let magnitude = vand_u16(codes, vdup_n_u16(0x7f));
        let sign = vshl_n_u16::<8>(vand_u16(codes, vdup_n_u16(0x80)));
        let nan = vand_u16(vceq_u16(magnitude, vdup_n_u16(0x7f)), vdup_n_u16(0x7fff));
        // Exponent and mantissa in the places of a half, whose bias is 8 more.
        let half = vorr_u16(vorr_u16(vshl_n_u16::<7>(magnitude), sign), nan);
        vmulq_n_f32(of_halves(half), 256.0)
    }
    #[inline(always)]
    fn one([code]: [u8; 1]) -> f32 {
        e4m3(code)
    }
}

/// Lanes added by halves.
#[inline(always)]
pub(super) fn sum_of(x: float32x4_t) -> f32 {
    let two = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

/// The first four numbers.
#[inline(always)]
pub(super) fn four(x: &[f32]) -> float32x4_t {
    let x: &[f32] = &x[..WIDTH];
    // SAFETY: four numbers are there.
    unsafe { vld1q_f32(x.as_ptr()) }
}

/// Up to four numbers, and zeros.
#[inline(always)]
fn up_to_four(x: &[f32]) -> float32x4_t {
    let mut all = [0.0; WIDTH];
    all[..x.len()].copy_from_slice(x);
    four(&all)
}

/// As the scalar rows of these formats; four times four running sums.
pub(super) fn rows<const BYTES: usize, F: Numbers<BYTES>>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    scalar::each_product(weights, xs, out, |row, x| {
        let (numbers, _) = row.as_chunks::<BYTES>();
        let mut sums = [vdupq_n_f32(0.0); 4];
        let (sixteens, numbers_left) = numbers.as_chunks::<16>();
        let (x_sixteens, x_left) = x.floats[..numbers.len()].as_chunks::<16>();
        for (numbers, x) in sixteens.iter().zip(x_sixteens) {
            let fours = numbers.as_chunks::<WIDTH>().0.iter().zip(x.as_chunks::<WIDTH>().0);
            for (sum, (numbers, x)) in sums.iter_mut().zip(fours) {
                *sum = vfmaq_f32(*sum, F::four(numbers), four(x));
            }
        }
        let [a, b, c, d] = sums;
        let whole = sum_of(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));
        numbers_left.iter().zip(x_left).fold(whole, |sum, (&number, &x)| F::one(number).mul_add(x, sum))
    });
}

pub(super) fn squares(x: &[f32]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); 4];
    let (sixteens, left) = x.as_chunks::<16>();
    for x in sixteens {
        for (sum, x) in sums.iter_mut().zip(x.as_chunks::<WIDTH>().0) {
            *sum = vfmaq_f32(*sum, four(x), four(x));
        }
    }
    let [a, b, c, d] = sums;
    let whole = sum_of(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));
    left.iter().fold(whole, |sum, x| x.mul_add(*x, sum))
}

/// out[i][j] = a[i] . b[j]
pub(super) fn dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
    for j in (0..b.rows).step_by(SIDE) {
        // A row beyond the last is the last once more; what it gives is not kept.
        let right: [&[f32]; SIDE] = std::array::from_fn(|n| b.row((j + n).min(b.rows - 1)));
        let load = |n: usize, k: usize| if k + WIDTH <= a.cols { four(&right[n][k..]) } else { up_to_four(&right[n][k..]) };
        down(a.rows, |i| a.row(i), load, &mut out[j..], stride, SIDE.min(b.rows - j));
    }
}

/// out[x][r] = weight row r . xs[x], with the bits that `dots` gives with the weights as floats.
pub(super) fn scaled(weights: Scaled, xs: &[Row], out: &mut [f32]) {
    let rows = weights.codes.len() / weights.cols;
    assert!(weights.block_cols.is_multiple_of(WIDTH) && out.len() == rows * xs.len());
    for j in (0..rows).step_by(SIDE) {
        let right: [_; SIDE] = std::array::from_fn(|n| {
            let r = (j + n).min(rows - 1);
            (weights.row(r).as_chunks::<1>().0, weights.factors_of(r))
        });
        let load = |n: usize, k: usize| {
            let (codes, factors) = right[n];
            let four = match codes[k..].first_chunk() {
                Some(four) => F8E4M3::four(four),
                None => {
                    let mut last = [[0]; WIDTH];
                    last[..codes.len() - k].copy_from_slice(&codes[k..]);
                    F8E4M3::four(&last)
                }
            };
            vmulq_n_f32(four, factors[k / weights.block_cols])
        };
        down(xs.len(), |i| &xs[i].floats[..weights.cols], load, &mut out[j..], rows, SIDE.min(rows - j));
    }
}

/// All rows of the left side with four of the right.
#[inline(always)]
fn down<'a>(
    rows: usize,
    left: impl Fn(usize) -> &'a [f32],
    right: impl Fn(usize, usize) -> float32x4_t,
    out: &mut [f32],
    stride: usize,
    count: usize,
) {
    let whole = rows / DOWN * DOWN;
    for i in (0..whole).step_by(DOWN) {
        let left: [&[f32]; DOWN] = std::array::from_fn(|m| left(i + m));
        dots_tile(left, &right, &mut out[i * stride..], stride, count);
    }
    for i in whole..rows {
        dots_tile([left(i)], &right, &mut out[i * stride..], stride, count);
    }
}

#[inline(always)]
fn dots_tile<const M: usize>(
    a: [&[f32]; M],
    right: impl Fn(usize, usize) -> float32x4_t,
    out: &mut [f32],
    stride: usize,
    count: usize,
) {
    let n = a[0].len();
    let mut sums = [[vdupq_n_f32(0.0); SIDE]; M];
    for k in (0..n).step_by(WIDTH) {
        let right: [float32x4_t; SIDE] = std::array::from_fn(|n| right(n, k));
        for (sums, a) in sums.iter_mut().zip(a) {
            let left = if k + WIDTH <= n { four(&a[k..]) } else { up_to_four(&a[k..]) };
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = vfmaq_f32(*sum, left, right);
            }
        }
    }
    for (m, sums) in sums.into_iter().enumerate() {
        for (out, sum) in out[m * stride..][..count].iter_mut().zip(sums) {
            *out = sum_of(sum);
        }
    }
}

/// out[i] += sum over k of a[i][k] * b[k]
pub(super) fn sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
    assert!(a.cols == b.rows);
    let wide = b.cols / (SIDE * WIDTH) * (SIDE * WIDTH);
    let whole = b.cols / WIDTH * WIDTH;
    for c in (0..wide).step_by(SIDE * WIDTH) {
        columns::<SIDE>(a, b, out, stride, c);
    }
    for c in (wide..whole).step_by(WIDTH) {
        columns::<1>(a, b, out, stride, c);
    }
    for i in 0..a.rows {
        for c in whole..b.cols {
            let out = &mut out[i * stride + c];
            *out = a.row(i).iter().enumerate().fold(*out, |sum, (k, factor)| factor.mul_add(b.row(k)[c], sum));
        }
    }
}

#[inline(always)]
fn columns<const N: usize>(a: Floats, b: Floats, out: &mut [f32], stride: usize, c: usize) {
    let whole = a.rows / DOWN * DOWN;
    for i in (0..whole).step_by(DOWN) {
        sums_tile::<DOWN, N>(a, b, out, stride, (i, c));
    }
    for i in whole..a.rows {
        sums_tile::<1, N>(a, b, out, stride, (i, c));
    }
}

/// M rows and N vectors of columns from (i, c) on.
#[inline(always)]
fn sums_tile<const M: usize, const N: usize>(a: Floats, b: Floats, out: &mut [f32], stride: usize, (i, c): (usize, usize)) {
    let left: [&[f32]; M] = std::array::from_fn(|m| a.row(i + m));
    let at = |m: usize, v: usize| (i + m) * stride + c + WIDTH * v;
    let mut sums: [[float32x4_t; N]; M] = std::array::from_fn(|m| std::array::from_fn(|v| four(&out[at(m, v)..])));
    for k in 0..b.rows {
        let row: &[f32] = &b.row(k)[c..];
        let right: [float32x4_t; N] = std::array::from_fn(|v| four(&row[WIDTH * v..]));
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = vfmaq_n_f32(*sum, right, left[k]);
            }
        }
    }
    for (m, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            let out: &mut [f32] = &mut out[at(m, v)..][..WIDTH];
            // SAFETY: there is room for four numbers.
            unsafe { vst1q_f32(out.as_mut_ptr(), sum) };
        }
    }
}

/// Numbers to f32.
#[inline(always)]
fn decoded<const BYTES: usize, F: Numbers<BYTES>>(bytes: &[u8], out: &mut [f32]) {
    let (fours, left) = bytes.as_chunks::<BYTES>().0.as_chunks::<WIDTH>();
    let (out_fours, out_left) = out.as_chunks_mut::<WIDTH>();
    for (four, out) in fours.iter().zip(out_fours) {
        // SAFETY: there is room for four numbers.
        unsafe { vst1q_f32(out.as_mut_ptr(), F::four(four)) };
    }
    for (one, out) in left.iter().zip(out_left) {
        *out = F::one(*one);
    }
}

pub(super) fn from_half(bytes: &[u8], out: &mut [f32]) {
    decoded::<2, F16>(bytes, out);
}

pub(super) fn to_half(x: &[f32], bytes: &mut [u8]) {
    let (fours, left) = x.as_chunks::<WIDTH>();
    let (halves, tail) = bytes.split_at_mut(fours.len() * 2 * WIDTH);
    for (x, halves) in fours.iter().zip(halves.as_chunks_mut::<{ 2 * WIDTH }>().0) {
        // SAFETY: there is room for eight bytes.
        unsafe { vst1_u8(halves.as_mut_ptr(), vreinterpret_u8_u16(to_halves(four(x)))) };
    }
    scalar::to_halves(left, tail);
}

/// Numbers of these formats by hand, blocks as they are compiled.
pub(super) fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F16 => from_half(bytes, out),
        Format::F8E4M3 => decoded::<1, F8E4M3>(bytes, out),
        _ => scalar::decode(format, bytes, out),
    }
}
