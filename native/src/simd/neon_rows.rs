//! Owns: products of quantized weight rows with a few rows of activations on NEON: weights are unpacked once for all.
//! Refuses to know: tensors, threads, operations.
//!
//! Blocks are taken four at a time, block b adding to running sum b mod 8 (16) with the operations that are written here;
//! the sums are added at last by halves. `neon_lanes` does the same operations in the same order, lane by lane.

use super::Row;
use super::blocks::blocks_of;
use super::neon_blocks::{Signed32, Signed256};
use super::neon_dots::Dot;
use super::neon_floats::{four, sum_of};
use super::neon_instructions::*;
use super::unpack::Unpacked256;

macro_rules! for_each_few {
    ($few:ident::<$dot:ident, $block:ident>, $weights:ident, $xs:ident, $out:ident) => {
        let rows = $out.len() / $xs.len().max(1);
        let (mut xs, mut out) = ($xs, $out);
        while let Some(&first) = xs.first() {
            let some = match *xs {
                [a, b, c, d, ..] => {
                    $few::<$dot, $block, 4>($weights, [a, b, c, d], &mut out[..4 * rows]);
                    4
                }
                [a, b, ..] => {
                    $few::<$dot, $block, 2>($weights, [a, b], &mut out[..2 * rows]);
                    2
                }
                _ => {
                    $few::<$dot, $block, 1>($weights, [first], &mut out[..rows]);
                    1
                }
            };
            xs = &xs[some..];
            out = &mut out[some * rows..];
        }
    };
}

/// out[x][r] = weight row r . x, for formats of blocks of 32.
pub(super) fn rows32<D: Dot, B: Signed32>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few32::<D, B>, weights, xs, out);
}

/// out[x][r] = weight row r . x, for formats of blocks of 256.
pub(super) fn rows256<D: Dot, B: Signed256>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few256::<D, B>, weights, xs, out);
}

/// Sums of each of four vectors.
#[inline(always)]
fn four_sums([a, b, c, d]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

/// Sixteen bytes of each half.
#[inline(always)]
fn thirty_two(q: &[i8]) -> [int8x16_t; 2] {
    let q: &[i8] = &q[..32];
    // SAFETY: 32 bytes are there.
    unsafe { [vld1q_s8(q.as_ptr()), vld1q_s8(q.as_ptr().add(16))] }
}

fn few32<D: Dot, B: Signed32, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let (rows, zero) = (out.len() / M, vdupq_n_s32(0));
    let row_bytes = weights.len() / rows.max(1);
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [[vdupq_n_f32(0.0); 4]; M];
        for (c, blocks) in row.chunks(4).enumerate() {
            // What stands for blocks beyond the last has factors of zero.
            let (mut d, mut m) = ([0.0; 4], [0.0; 4]);
            let mut products = [[zero; 4]; M];
            for (n, block) in blocks.iter().enumerate() {
                d[n] = block.d();
                m[n] = block.m();
                let [low, high] = block.numbers();
                for (x, products) in xs.iter().zip(&mut products) {
                    let q = thirty_two(&x.q[32 * (4 * c + n)..]);
                    products[n] = D::dot(D::dot(zero, low, q[0]), high, q[1]);
                }
            }
            for ((x, products), sums) in xs.iter().zip(products).zip(&mut sums) {
                let sum = &mut sums[c % 4];
                let factor = vmulq_f32(four(&d), four(&x.scale[4 * c..]));
                *sum = vfmaq_f32(*sum, factor, vcvtq_f32_s32(four_sums(products)));
                if B::MINS {
                    *sum = vfmaq_f32(*sum, four(&m), four(&x.scaled_sums[4 * c..]));
                }
            }
        }
        for (m, [a, b, c, d]) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d)));
        }
    }
}

fn few256<D: Dot, B: Signed256, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let (rows, zero) = (out.len() / M, vdupq_n_s32(0));
    let row_bytes = weights.len() / rows.max(1);
    let mut w = Unpacked256::ZERO;
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [[vdupq_n_f32(0.0); 2]; M];
        for (c, blocks) in row.chunks(4).enumerate() {
            // What stands for blocks beyond the last has factors of zero.
            let (mut d, mut dmin, mut scale) = ([0.0; 4], [0.0; 4], [[0.0; 4]; M]);
            let (mut products, mut offsets) = ([[zero; 4]; M], [[zero; 4]; M]);
            for (n, block) in blocks.iter().enumerate() {
                let b = 4 * c + n;
                block.factors(&mut w);
                (d[n], dmin[n]) = (w.d, w.dmin);
                for run in 0..8 {
                    let [low, high] = block.run(run);
                    let [first, second] = [0, 1].map(|half| i32::from(w.scale[2 * run + half]));
                    for (x, products) in xs.iter().zip(&mut products) {
                        let q = thirty_two(&x.q[256 * b + 32 * run..]);
                        let exact = &mut products[n];
                        if B::GROUP == 32 {
                            *exact = vmlaq_n_s32(*exact, D::dot(D::dot(zero, low, q[0]), high, q[1]), first);
                        } else {
                            *exact = vmlaq_n_s32(*exact, D::dot(zero, low, q[0]), first);
                            *exact = vmlaq_n_s32(*exact, D::dot(zero, high, q[1]), second);
                        }
                    }
                }
                for ((x, offsets), scale) in xs.iter().zip(&mut offsets).zip(&mut scale) {
                    scale[n] = x.scale[b];
                    if B::MINS {
                        let sums: &[i32] = &x.sums[16 * b..16 * b + 16];
                        for (min, sums) in w.min.as_chunks::<4>().0.iter().zip(sums.as_chunks::<4>().0) {
                            // SAFETY: four numbers of each are there.
                            let (min, sums) = unsafe { (vld1_s16(min.as_ptr()), vld1q_s32(sums.as_ptr())) };
                            offsets[n] = vmlaq_s32(offsets[n], vmovl_s16(min), sums);
                        }
                    }
                }
            }
            for m in 0..M {
                let mut part = vmulq_f32(four(&d), vcvtq_f32_s32(four_sums(products[m])));
                if B::MINS {
                    part = vfmsq_f32(part, four(&dmin), vcvtq_f32_s32(four_sums(offsets[m])));
                }
                let sum = &mut sums[m][c % 2];
                *sum = vfmaq_f32(*sum, four(&scale[m]), part);
            }
        }
        for (m, [a, b]) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(vaddq_f32(a, b));
        }
    }
}
