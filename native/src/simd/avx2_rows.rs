//! Owns: products of quantized weight rows with a few rows of activations by AVX2: weights are unpacked once for all.
//! Refuses to know: tensors, threads, operations.
//!
//! Blocks are taken eight at a time, block b adding to running sum b mod 8 (16) with the operations that are written here;
//! the sums are added at last by halves. `avx2_lanes` does the same operations in the same order, lane by lane.

use super::Row;
use super::avx2::{eight, sum_of};
use super::avx2_blocks::{Block, Factor, SIGNED};
use super::avx2_k::{Factors, Runs};
use super::blocks::blocks_of;
use super::unpack::Unpacked256;
use std::arch::x86_64::*;

/// How far ahead of the block being multiplied memory is asked for.
const AHEAD: usize = 4 << 10;

/// Asks for the lines of `blocks` blocks that lie ahead of `at`.
#[inline(always)]
fn ask_ahead<B>(at: *const B, blocks: usize) {
    for line in (0..blocks * size_of::<B>()).step_by(64) {
        // SAFETY: asking for memory never faults, wherever it is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(AHEAD + line)) };
    }
}

macro_rules! for_each_few {
    ($few:ident::<$block:ident>, $weights:ident, $xs:ident, $out:ident) => {
        let rows = $out.len() / $xs.len().max(1);
        let (mut xs, mut out) = ($xs, $out);
        while let Some(&first) = xs.first() {
            let some = match *xs {
                [a, b, c, d, ..] => {
                    $few::<$block, 4>($weights, [a, b, c, d], &mut out[..4 * rows]);
                    4
                }
                [a, b, ..] => {
                    $few::<$block, 2>($weights, [a, b], &mut out[..2 * rows]);
                    2
                }
                _ => {
                    $few::<$block, 1>($weights, [first], &mut out[..rows]);
                    1
                }
            };
            xs = &xs[some..];
            out = &mut out[some * rows..];
        }
    };
}

/// out[x][r] = weight row r . x, for formats of blocks of 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows32<B: Block>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few32::<B>, weights, xs, out);
}

/// out[x][r] = weight row r . x, for formats of blocks of 256.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows256<B: Runs>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few256::<B>, weights, xs, out);
}

/// Sums of two neighbouring products; no such sum leaves i16.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs<const LARGEST: i32>(u: __m256i, x: __m256i) -> __m256i {
    if LARGEST == SIGNED {
        // The sign moves from u to x, so that one factor is unsigned: 128 * 127 * 2 still fits.
        _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(x, u))
    } else {
        _mm256_maddubs_epi16(u, x)
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn floats(x: &[f32; 8]) -> __m256 {
    // SAFETY: eight numbers are there.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

/// A factor of every block that is there, zero in place of the others.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn factors<B>(blocks: &[B], factor: impl Fn(&B) -> Factor) -> __m256 {
    match blocks.first().map(&factor) {
        Some(Factor::Half(_)) => {
            let half = |n: usize| match blocks.get(n).map(&factor) {
                Some(Factor::Half(half)) => half.cast_signed(),
                _ => 0,
            };
            let eight = _mm_setr_epi16(half(0), half(1), half(2), half(3), half(4), half(5), half(6), half(7));
            _mm256_cvtph_ps(eight)
        }
        _ => {
            let float = |n: usize| match blocks.get(n).map(&factor) {
                Some(Factor::Float(float)) => float,
                _ => 0.0,
            };
            floats(&std::array::from_fn(float))
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn few32<B: Block, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let row_bytes = weights.len() / rows.max(1);
    let padded = (row_bytes / size_of::<B>()).next_multiple_of(8);
    for x in &xs {
        assert!(x.q.len() >= 32 * padded && x.scale.len() >= padded);
        assert!(x.sums.len() >= padded && x.scaled_sums.len() >= padded);
    }
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [[_mm256_setzero_ps(); 2]; M];
        let (whole, rest) = row.as_chunks::<8>();
        // SAFETY: this function has AVX2, FMA and F16C; the rows have `padded` blocks of everything.
        unsafe {
            for (c, blocks) in whole.iter().enumerate() {
                chunk32::<B, M>(blocks, &xs, c, &mut sums);
            }
            if !rest.is_empty() {
                chunk32::<B, M>(rest, &xs, whole.len(), &mut sums);
            }
        }
        for (m, [a, b]) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(_mm256_add_ps(a, b));
        }
    }
}

/// Adds the products of up to eight blocks, those from 8 * c on, to the running sums.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; the rows have eight blocks of everything there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn chunk32<B: Block, const M: usize>(blocks: &[B], xs: &[Row; M], c: usize, sums: &mut [[__m256; 2]; M]) {
    let ones = _mm256_set1_epi16(1);
    let mut products = [[_mm256_setzero_si256(); 8]; M];
    ask_ahead(blocks.as_ptr(), blocks.len());
    for (n, block) in blocks.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let u = block.numbers();
            for (x, products) in xs.iter().zip(&mut products) {
                let x = _mm256_loadu_si256(x.q.as_ptr().add(32 * (8 * c + n)).cast());
                let pairs = if B::LARGEST == SIGNED { pairs::<SIGNED>(u, x) } else { pairs::<0>(u, x) };
                products[n] = _mm256_madd_epi16(pairs, ones);
            }
        }
    }
    let d = factors(blocks, B::d);
    let m = if B::MINS { factors(blocks, |block| Factor::Half(block.m())) } else { _mm256_setzero_ps() };
    for ((x, products), sums) in xs.iter().zip(products).zip(sums) {
        let sum = &mut sums[c % 2];
        let mut exact = eight(products);
        // SAFETY: the caller's promise.
        unsafe {
            if B::MINUS != 0 {
                let offsets = _mm256_loadu_si256(x.sums.as_ptr().add(8 * c).cast());
                exact = _mm256_sub_epi32(exact, _mm256_mullo_epi32(offsets, _mm256_set1_epi32(B::MINUS)));
            }
            let factor = _mm256_mul_ps(d, _mm256_loadu_ps(x.scale.as_ptr().add(8 * c)));
            *sum = _mm256_fmadd_ps(factor, _mm256_cvtepi32_ps(exact), *sum);
            if B::MINS {
                *sum = _mm256_fmadd_ps(m, _mm256_loadu_ps(x.scaled_sums.as_ptr().add(8 * c)), *sum);
            }
        }
    }
}

/// For each run of 32, where its two scales stand: even groups' scales lie in the low half, odd ones' in the high half.
const SCALES_OF_RUN: [[u16; 16]; 8] = {
    let mut all = [[0; 16]; 8];
    let mut i = 0;
    while i < 128 {
        let run = (i / 16) as u16;
        all[i / 16][i % 16] = 2 * run | (2 * run + 1) << 8;
        i += 1;
    }
    all
};

/// Sixteen words, those at even places before those at odd ones.
#[inline]
#[target_feature(enable = "avx2")]
fn even_then_odd(words: __m256i) -> __m256i {
    let apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(words, apart))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn few256<B: Runs, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let row_bytes = weights.len() / rows.max(1);
    let blocks = row_bytes / size_of::<B>();
    let mut work = Unpacked256::ZERO;
    for x in &xs {
        assert!(x.q.len() >= 256 * blocks && x.sums.len() >= 16 * blocks && x.scale.len() >= blocks.next_multiple_of(8));
    }
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [_mm256_setzero_ps(); M];
        let (whole, rest) = row.as_chunks::<8>();
        // SAFETY: this function has AVX2, FMA and F16C; the rows have `blocks` blocks of everything.
        unsafe {
            for (c, blocks) in whole.iter().enumerate() {
                chunk256::<B, M>(blocks, &xs, c, &mut work, &mut sums);
            }
            if !rest.is_empty() {
                chunk256::<B, M>(rest, &xs, whole.len(), &mut work, &mut sums);
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(sum);
        }
    }
}

/// Adds the products of up to eight blocks, those from 8 * c on, to the running sums.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; the rows have these blocks of everything, and eight scales.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn chunk256<B: Runs, const M: usize>(
    blocks: &[B],
    xs: &[Row; M],
    c: usize,
    work: &mut Unpacked256,
    sums: &mut [__m256; M],
) {
    const { assert!(!(B::MINS && B::MINUS != 0)) };
    let zero = _mm256_setzero_si256();
    let (mut products, mut offsets) = ([[zero; 8]; M], [[zero; 8]; M]);
    let (mut d, mut dmin) = ([0.0; 8], [0.0; 8]);
    ask_ahead(blocks.as_ptr(), blocks.len());
    for (n, block) in blocks.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let at = 8 * c + n;
            let Factors { scales, mins, .. } = {
                let all = block.all_factors(work);
                (d[n], dmin[n]) = (all.d, all.dmin);
                all
            };
            let apart = even_then_odd(scales);
            for run in 0..8 {
                let u = block.run(run);
                let which = _mm256_loadu_si256(SCALES_OF_RUN[run].as_ptr().cast());
                let scale = _mm256_shuffle_epi8(apart, which);
                for (x, products) in xs.iter().zip(&mut products) {
                    let x = _mm256_loadu_si256(x.q.as_ptr().add(256 * at + 32 * run).cast());
                    let pairs = if B::LARGEST == SIGNED { pairs::<SIGNED>(u, x) } else { pairs::<0>(u, x) };
                    products[n] = _mm256_add_epi32(products[n], _mm256_madd_epi16(pairs, scale));
                }
            }
            if B::MINS || B::MINUS != 0 {
                // Sums of 16 numbers as words, in the order that packing gives them.
                let factors = _mm256_permute4x64_epi64::<0b11_01_10_00>(if B::MINS { mins } else { scales });
                for (m, x) in xs.iter().enumerate() {
                    let of16 = x.sums.as_ptr().add(16 * at).cast::<__m256i>();
                    let words = _mm256_packs_epi32(_mm256_loadu_si256(of16), _mm256_loadu_si256(of16.add(1)));
                    let offset = _mm256_madd_epi16(factors, words);
                    if B::MINS {
                        offsets[m][n] = offset;
                    } else {
                        let offset = _mm256_mullo_epi32(offset, _mm256_set1_epi32(B::MINUS));
                        products[m][n] = _mm256_sub_epi32(products[m][n], offset);
                    }
                }
            }
        }
    }
    let (d, dmin) = (floats(&d), floats(&dmin));
    let count = _mm256_set1_epi32(blocks.len() as i32);
    let there = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    for (m, x) in xs.iter().enumerate() {
        // SAFETY: the caller's promise; scales of no block are not read.
        let scale = unsafe { _mm256_maskload_ps(x.scale.as_ptr().add(8 * c), there) };
        let mut part = _mm256_mul_ps(d, _mm256_cvtepi32_ps(eight(products[m])));
        if B::MINS {
            part = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(eight(offsets[m])), part);
        }
        sums[m] = _mm256_fmadd_ps(scale, part, sums[m]);
    }
}
