//! Owns: every kernel in plain loops: what runs where no better table fits, and the judge of the others.
//! Refuses to know: instruction sets.

use super::blocks::*;
use super::unpack::*;
use super::doubles::Plain;
use super::featured::featured_search;
use super::{Floats, Kernels, Row, RowsFn};
use crate::encode::encode;
use crate::encode::grid_fit::{FittedGrid, GridKind, fit_grid};
use crate::encode::search::{Affine, Levels, Search, Whole, fit_affine, fit_scale};
use crate::encode::shifted_grid::{FittedShifts, ShiftedKind, fit_shifted};
use crate::encode::super_blocks::{AffineGroups, ScaledGroups, fit_affine_groups, fit_scaled};
use crate::formats::Format;

featured_search!(Plain);

/// The plain kernels.
pub static KERNELS: Kernels = Kernels {
    isa: "scalar",
    rows: ROWS,
    woven: false,
    lanes: [None; Format::ALL.len()],
    panels: [None; Format::ALL.len()],
    floats_as_dots: false,
    scaled: None,
    quantize32,
    quantize256,
    squares,
    swiglu,
    exponentials,
    add,
    add_scaled,
    dots,
    sums,
    from_half,
    to_half: to_halves,
    multiply_bytes,
    round_operations: 2 * ROUND_PRODUCTS,
    decode,
    encode: encode::<Plain>,
};

/// The scalar row kernels; faster tables replace the entries that they have.
pub const ROWS: [RowsFn; Format::ALL.len()] = {
    let mut rows: [RowsFn; Format::ALL.len()] = [rows_f32; Format::ALL.len()];
    rows[Format::F16 as usize] = rows_f16;
    rows[Format::Bf16 as usize] = rows_bf16;
    rows[Format::F8E4M3 as usize] = rows_f8;
    rows[Format::Q8_0 as usize] = rows32::<BlockQ8_0>;
    rows[Format::Q4_0 as usize] = rows32::<BlockQ4_0>;
    rows[Format::Q4_1 as usize] = rows32::<BlockQ4_1>;
    rows[Format::Q5_0 as usize] = rows32::<BlockQ5_0>;
    rows[Format::Q5_1 as usize] = rows32::<BlockQ5_1>;
    rows[Format::Iq4Nl as usize] = rows32::<BlockIq4Nl>;
    rows[Format::Mxfp4 as usize] = rows32::<BlockMxfp4>;
    rows[Format::Q2K as usize] = rows256::<BlockQ2K>;
    rows[Format::Q3K as usize] = rows256::<BlockQ3K>;
    rows[Format::Q4K as usize] = rows256::<BlockQ4K>;
    rows[Format::Q5K as usize] = rows256::<BlockQ5K>;
    rows[Format::Q6K as usize] = rows256::<BlockQ6K>;
    rows[Format::Iq4Xs as usize] = rows256::<BlockIq4Xs>;
    rows[Format::Iq2Xxs as usize] = rows256::<BlockIq2Xxs>;
    rows[Format::Iq2Xs as usize] = rows256::<BlockIq2Xs>;
    rows[Format::Iq2S as usize] = rows256::<BlockIq2S>;
    rows[Format::Iq3Xxs as usize] = rows256::<BlockIq3Xxs>;
    rows[Format::Iq3S as usize] = rows256::<BlockIq3S>;
    rows[Format::Iq1S as usize] = rows256::<BlockIq1S>;
    rows[Format::Iq1M as usize] = rows256::<BlockIq1M>;
    rows[Format::Tq1_0 as usize] = rows256::<BlockTq1_0>;
    rows[Format::Tq2_0 as usize] = rows256::<BlockTq2_0>;
    rows
};

/// Running sums of a float dot product; their order is part of the result.
const LANES: usize = 16;

#[inline(always)]
fn floats_dot(n: usize, product: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let whole = n - n % LANES;
    for i in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += product(i + lane);
        }
    }
    for i in whole..n {
        sums[i - whole] += product(i);
    }
    by_halves(sums)
}

/// The sum of running sums.
#[inline(always)]
fn by_halves(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    floats_dot(n, |i| a[i] * b[i])
}

#[inline(always)]
pub fn squares(x: &[f32]) -> f32 {
    floats_dot(x.len(), |i| x[i] * x[i])
}

/// out[x][r] = one(bytes of weight row r, xs[x]).
#[inline(always)]
pub fn each_product(weights: &[u8], xs: &[Row], out: &mut [f32], one: impl Fn(&[u8], &Row) -> f32) {
    let rows = out.len() / xs.len().max(1);
    let row_bytes = weights.len() / rows.max(1);
    for r in 0..rows {
        for (m, x) in xs.iter().enumerate() {
            out[m * rows + r] = one(&weights[r * row_bytes..(r + 1) * row_bytes], x);
        }
    }
}

#[inline(always)]
pub fn rows_f32(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| {
        let (row, _) = row.as_chunks::<4>();
        floats_dot(row.len(), |i| f32::from_le_bytes(row[i]) * x.floats[i])
    });
}

#[inline(always)]
pub fn rows_f16(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| {
        let (row, _) = row.as_chunks::<2>();
        floats_dot(row.len(), |i| half(row[i]) * x.floats[i])
    });
}

#[inline(always)]
pub fn rows_bf16(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| {
        let (row, _) = row.as_chunks::<2>();
        floats_dot(row.len(), |i| brain(row[i]) * x.floats[i])
    });
}

#[inline(always)]
pub fn rows_f8(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| floats_dot(row.len(), |i| e4m3(row[i]) * x.floats[i]));
}

#[inline(always)]
fn int_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| a as i32 * b as i32).sum()
}

/// Sum over blocks of d * scale * (q . x) + m * scale * sum(x).
#[inline(always)]
pub fn rows32<B: Block32 + AnyBytes>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| {
        let (mut products, mut offsets) = (0.0f32, 0.0f32);
        for (b, block) in blocks_of::<B>(row).iter().enumerate() {
            let Unpacked32 { q, d, m } = block.unpack();
            products += d * x.scale[b] * int_dot(&q, &x.q[32 * b..32 * b + 32]) as f32;
            offsets += m * x.scaled_sums[b];
        }
        products + offsets
    });
}

/// Sum over blocks of scale * (d * (scaled q . x) - dmin * (min . sums of x)); all inside a block is exact in i32.
#[inline(always)]
pub fn rows256<B: Block256 + AnyBytes>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    each_product(weights, xs, out, |row, x| {
        let mut w = Unpacked256::ZERO;
        let mut sum = 0.0f32;
        for (b, block) in blocks_of::<B>(row).iter().enumerate() {
            block.unpack(&mut w);
            let (mut product, mut offset) = (0i32, 0i32);
            for g in 0..16 {
                let at = 256 * b + 16 * g;
                product += w.scale[g] as i32 * int_dot(&w.q[16 * g..16 * g + 16], &x.q[at..at + 16]);
                offset += w.min[g] as i32 * x.sums[16 * b + g];
            }
            sum += x.scale[b] * (w.d * product as f32 - w.dmin * offset as f32);
        }
        sum
    });
}

/// int8 nearest to x / scale, where scale = largest magnitude / 127; the scale, not yet rounded: no number where one of x
/// is none, so that nothing multiplied by it looks right.
#[inline(always)]
fn quantize_block(x: &[f32], q: &mut [i8]) -> f32 {
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even() as i8;
    }
    let broken = x.iter().fold(false, |broken, x| broken | x.is_nan());
    if broken { f32::NAN } else { largest / 127.0 }
}

#[inline(always)]
fn sum_of(q: &[i8]) -> i32 {
    q.iter().map(|&q| q as i32).sum()
}

/// Scales and sums are rounded to halves, as ggml keeps them in its Q8_1 blocks: with the same rounding our logits stay
/// near those of llama.cpp. A scale too large for a half stays as it is.
#[inline(always)]
pub fn quantize32(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32], scaled_sums: &mut [f32]) {
    let rounded = |x: f32| Some(half(to_half(x))).filter(|x| x.is_finite()).unwrap_or(x);
    for (b, x) in x.chunks_exact(32).enumerate() {
        let q = &mut q[32 * b..32 * b + 32];
        let exact = quantize_block(x, q);
        scale[b] = rounded(exact);
        sums[b] = sum_of(q);
        scaled_sums[b] = rounded(exact * sums[b] as f32);
    }
}

#[inline(always)]
pub fn quantize256(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32]) {
    for (b, x) in x.chunks_exact(256).enumerate() {
        let q = &mut q[256 * b..256 * b + 256];
        scale[b] = quantize_block(x, q);
        for (g, q) in q.chunks_exact(16).enumerate() {
            sums[16 * b + g] = sum_of(q);
        }
    }
}

/// e^x to about 1 ulp for x <= 88; below -87.3 it is 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    if x < -87.3 {
        return 0.0;
    }
    // A conversion of n would be made number by number, for what is no integer. Its low bits are n in a float this large.
    const LARGE: f32 = 12_582_912.0;
    let n = (x.min(88.0) * LOG2E).round_ties_even();
    let r = (x.min(88.0) - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r + 1.0;
    y * f32::from_bits((n + LARGE).to_bits().wrapping_sub(LARGE.to_bits()).wrapping_add(127) << 23)
}

#[inline(always)]
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * u;
    }
}

/// Of scores times a scale the largest, NaN aside; x becomes exp(score - largest), whose sum comes second.
#[inline(always)]
pub fn exponentials(x: &mut [f32], scale: f32) -> (f32, f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    let scaled = |x: &mut f32, most: &mut f32| {
        *x *= scale;
        *most = if *x > *most { *x } else { *most };
    };
    for x in whole.iter_mut() {
        for (x, most) in x.iter_mut().zip(&mut most) {
            scaled(x, most);
        }
    }
    for (x, most) in rest.iter_mut().zip(&mut most) {
        scaled(x, most);
    }
    let largest = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for x in whole.iter_mut() {
        for (x, sum) in x.iter_mut().zip(&mut sums) {
            *x = exp(*x - largest);
            *sum += *x;
        }
    }
    for (x, sum) in rest.iter_mut().zip(&mut sums) {
        *x = exp(*x - largest);
        *sum += *x;
    }
    (largest, by_halves(sums))
}

#[inline(always)]
pub fn add(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[inline(always)]
pub fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

#[inline(always)]
pub fn dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
    for i in 0..a.rows {
        for (j, out) in out[i * stride..][..b.rows].iter_mut().enumerate() {
            *out = dot(a.row(i), b.row(j));
        }
    }
}

#[inline(always)]
pub fn sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
    for i in 0..a.rows {
        for (k, factor) in a.row(i).iter().enumerate() {
            add_scaled(&mut out[i * stride..][..b.cols], *factor, b.row(k));
        }
    }
}

#[inline(always)]
pub fn from_half(bytes: &[u8], out: &mut [f32]) {
    for (out, &h) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *out = half(h);
    }
}

#[inline(always)]
pub fn to_halves(x: &[f32], bytes: &mut [u8]) {
    for (&x, h) in x.iter().zip(bytes.as_chunks_mut::<2>().0) {
        *h = to_half(x);
    }
}

/// Products of bytes in a round of `multiply_bytes`.
pub const ROUND_PRODUCTS: usize = 64;

#[inline(always)]
pub fn multiply_bytes(rounds: usize) -> i32 {
    let (mut a, b) = (std::hint::black_box([3i8; ROUND_PRODUCTS]), std::hint::black_box([-5i8; ROUND_PRODUCTS]));
    let mut sum = 0i32;
    for round in 0..rounds {
        a[round % ROUND_PRODUCTS] ^= 1;
        sum = sum.wrapping_add(int_dot(&a, &b));
    }
    sum
}

#[inline(always)]
fn decode32<B: Block32 + AnyBytes>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks_of::<B>(bytes).iter().zip(out.chunks_exact_mut(32)) {
        let Unpacked32 { q, d, m } = block.unpack();
        for (out, q) in out.iter_mut().zip(q) {
            *out = d * q as f32 + m;
        }
    }
}

#[inline(always)]
fn decode256<B: Block256 + AnyBytes>(bytes: &[u8], out: &mut [f32]) {
    let mut w = Unpacked256::ZERO;
    for (block, out) in blocks_of::<B>(bytes).iter().zip(out.chunks_exact_mut(256)) {
        block.unpack(&mut w);
        for (i, out) in out.iter_mut().enumerate() {
            *out = w.d * w.scale[i / 16] as f32 * w.q[i] as f32 - w.dmin * w.min[i / 16] as f32;
        }
    }
}

#[inline(always)]
pub fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (out, &x) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(x);
            }
        }
        Format::F16 => from_half(bytes, out),
        Format::Bf16 => {
            for (out, &x) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = brain(x);
            }
        }
        Format::F8E4M3 => {
            for (out, &x) in out.iter_mut().zip(bytes) {
                *out = e4m3(x);
            }
        }
        Format::Q8_0 => decode32::<BlockQ8_0>(bytes, out),
        Format::Q4_0 => decode32::<BlockQ4_0>(bytes, out),
        Format::Q4_1 => decode32::<BlockQ4_1>(bytes, out),
        Format::Q5_0 => decode32::<BlockQ5_0>(bytes, out),
        Format::Q5_1 => decode32::<BlockQ5_1>(bytes, out),
        Format::Iq4Nl => decode32::<BlockIq4Nl>(bytes, out),
        Format::Mxfp4 => decode32::<BlockMxfp4>(bytes, out),
        Format::Q2K => decode256::<BlockQ2K>(bytes, out),
        Format::Q3K => decode256::<BlockQ3K>(bytes, out),
        Format::Q4K => decode256::<BlockQ4K>(bytes, out),
        Format::Q5K => decode256::<BlockQ5K>(bytes, out),
        Format::Q6K => decode256::<BlockQ6K>(bytes, out),
        Format::Iq4Xs => decode256::<BlockIq4Xs>(bytes, out),
        Format::Iq2Xxs => decode256::<BlockIq2Xxs>(bytes, out),
        Format::Iq2Xs => decode256::<BlockIq2Xs>(bytes, out),
        Format::Iq2S => decode256::<BlockIq2S>(bytes, out),
        Format::Iq3Xxs => decode256::<BlockIq3Xxs>(bytes, out),
        Format::Iq3S => decode256::<BlockIq3S>(bytes, out),
        Format::Iq1S => decode256::<BlockIq1S>(bytes, out),
        Format::Iq1M => decode256::<BlockIq1M>(bytes, out),
        Format::Tq1_0 => decode256::<BlockTq1_0>(bytes, out),
        Format::Tq2_0 => decode256::<BlockTq2_0>(bytes, out),
    }
}
