//! Owns: products of weight rows with a few rows of activations by AVX-512 VNNI; blocks are read where they lie.
//! Refuses to know: tensors, threads, operations; products with many rows (`avx512_lanes`).
//!
//! A product's bits depend on its two rows alone. Inside a block everything is exact in i32. Blocks are taken 8 (of 256)
//! or 16 (of 32) at a time, block b adding to running sum b mod 8 (16) with the operations that are written here; the
//! sums are added at last by halves. `avx512_lanes` does the same operations in the same order, lane by lane.

use super::Row;
use super::avx2::sum_of;
use super::avx512_blocks::{Wide32, Wide256};
use super::blocks::blocks_of;
use std::arch::x86_64::*;

/// Rows of activations that share one reading of the weights.
const AT_ONCE: usize = 4;
/// How far ahead of the block being multiplied memory is asked for.
const AHEAD_BYTES: usize = 3 << 10;

/// Asks for the lines of `bytes` bytes that lie `AHEAD_BYTES` after `at`.
#[inline(always)]
fn ask_ahead(at: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: asking for memory never faults, wherever it is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD_BYTES + line).cast()) };
    }
}

macro_rules! for_each_few {
    ($few:ident::<$block:ident>, $weights:ident, $xs:ident, $out:ident) => {
        let rows = $out.len() / $xs.len().max(1);
        for (xs, out) in $xs.chunks(AT_ONCE).zip($out.chunks_mut(AT_ONCE * rows)) {
            match *xs {
                [a] => $few::<$block, 1>($weights, [a], out),
                [a, b] => $few::<$block, 2>($weights, [a, b], out),
                [a, b, c] => $few::<$block, 3>($weights, [a, b, c], out),
                [a, b, c, d] => $few::<$block, 4>($weights, [a, b, c, d], out),
                _ => {}
            }
        }
    };
}

/// out[x][r] = weight row r . x, for formats of blocks of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn rows32<B: Wide32>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few32::<B>, weights, xs, out);
}

/// out[x][r] = weight row r . x, for formats of blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn rows256<B: Wide256>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    for_each_few!(few256::<B>, weights, xs, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn few32<B: Wide32, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let row_bytes = weights.len() / rows.max(1);
    let blocks = row_bytes / size_of::<B>();
    let padded = blocks.next_multiple_of(16);
    for x in &xs {
        assert!(x.q.len() >= 32 * padded && x.scale.len() >= padded);
        assert!(x.sums.len() >= padded && x.scaled_sums.len() >= padded);
    }
    let zero = _mm512_setzero_si512();
    let mut products = [[zero; 8]; M];
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]).as_ptr();
        let mut sums = [_mm512_setzero_ps(); M];
        for c in (0..blocks).step_by(16) {
            let here = (blocks - c).min(16);
            // What is left of an earlier chunk in products beyond the last block meets factors of zero.
            let (mut d, mut m) = ([0u16; 16], [0u16; 16]);
            // SAFETY: `here` blocks are there from block c on; the rows have `padded` blocks of everything.
            unsafe {
                ask_ahead(row.add(c).cast(), 16 * size_of::<B>());
                for p in 0..here.div_ceil(2) {
                    let first = &*row.add(c + 2 * p);
                    let second = &*row.add(c + (2 * p + 1).min(here - 1));
                    d[2 * p] = first.d();
                    d[2 * p + 1] = second.d();
                    if B::MINS {
                        m[2 * p] = first.m();
                        m[2 * p + 1] = second.m();
                    }
                    let u = B::pair(first, second);
                    for (x, products) in xs.iter().zip(&mut products) {
                        let q = _mm512_loadu_si512(x.q.as_ptr().add(32 * c + 64 * p).cast());
                        products[p] = _mm512_dpbusd_epi32(zero, u, q);
                    }
                }
                let present = ((1u32 << here) - 1) as u16;
                let d = _mm512_maskz_cvtph_ps(present, _mm256_loadu_si256(d.as_ptr().cast()));
                let m = _mm512_maskz_cvtph_ps(present, _mm256_loadu_si256(m.as_ptr().cast()));
                for ((x, products), sum) in xs.iter().zip(&products).zip(&mut sums) {
                    let mut exact = sixteen(products);
                    if B::MINUS != 0 {
                        let offsets = _mm512_loadu_si512(x.sums.as_ptr().add(c).cast());
                        exact = _mm512_sub_epi32(exact, _mm512_mullo_epi32(offsets, _mm512_set1_epi32(B::MINUS)));
                    }
                    let factor = _mm512_mul_ps(d, _mm512_loadu_ps(x.scale.as_ptr().add(c)));
                    *sum = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(exact), *sum);
                    if B::MINS {
                        *sum = _mm512_fmadd_ps(m, _mm512_loadu_ps(x.scaled_sums.as_ptr().add(c)), *sum);
                    }
                }
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            let halves = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
            out[m * rows + r] = sum_of(halves);
        }
    }
}

/// Sums over the halves of eight vectors: lane 2p is the low half of vector p, lane 2p + 1 its high half.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sixteen(v: &[__m512i; 8]) -> __m512i {
    let low = quads([v[0], v[1], v[2], v[3]]);
    let high = quads([v[4], v[5], v[6], v[7]]);
    // Lanes of 128 bits: even blocks of v0..v3, odd ones, then those of v4..v7.
    let sums = _mm512_add_epi32(
        _mm512_shuffle_i32x4(low, high, 0b10_00_10_00),
        _mm512_shuffle_i32x4(low, high, 0b11_01_11_01),
    );
    let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    _mm512_permutexvar_epi32(order, sums)
}

/// Of four vectors, the sums of each 128 bits: a lane of 128 bits holds those of all four.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quads([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

/// Sums of eight vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
fn eight(v: &[__m512i; 8]) -> __m256i {
    let low = quads([v[0], v[1], v[2], v[3]]);
    let high = quads([v[4], v[5], v[6], v[7]]);
    let sums = _mm512_add_epi32(
        _mm512_shuffle_i32x4(low, high, 0b10_00_10_00),
        _mm512_shuffle_i32x4(low, high, 0b11_01_11_01),
    );
    let sums = _mm512_add_epi32(
        _mm512_shuffle_i32x4(sums, sums, 0b10_00_10_00),
        _mm512_shuffle_i32x4(sums, sums, 0b11_01_11_01),
    );
    _mm512_castsi512_si256(sums)
}

/// For each quarter of a block, which of 16 scales each pair of its numbers has; in the low byte of every word. The high
/// byte is one beyond the scales, where a zero stands.
const QUARTERS: [[u8; 64]; 4] = {
    let mut all = [[63; 64]; 4];
    let mut i = 0;
    while i < 128 {
        all[i / 32][i % 32 * 2] = (i / 8) as u8;
        i += 1;
    }
    all
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn few256<B: Wide256, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let row_bytes = weights.len() / rows.max(1);
    let blocks = row_bytes / size_of::<B>();
    for x in &xs {
        assert!(x.q.len() >= 256 * blocks && x.sums.len() >= 16 * blocks);
        assert!(x.scale.len() >= blocks.next_multiple_of(8));
    }
    let zero = _mm512_setzero_si512();
    // SAFETY: 64 bytes are there.
    let quarters = QUARTERS.map(|which| unsafe { _mm512_loadu_si512(which.as_ptr().cast()) });
    let (mut products, mut offsets) = ([[zero; 8]; M], [[zero; 8]; M]);
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]).as_ptr();
        let mut sums = [_mm256_setzero_ps(); M];
        for c in (0..blocks).step_by(8) {
            let here = (blocks - c).min(8);
            // What is left of an earlier chunk in products beyond the last block meets factors of zero.
            let mut factors = [0u32; 8];
            // SAFETY: `here` blocks are there from block c on; the rows have `blocks` blocks of everything.
            unsafe {
                ask_ahead(row.add(c).cast(), 8 * size_of::<B>());
                for b in 0..here {
                    let block = &*row.add(c + b);
                    factors[b] = block.factors();
                    let (scales, mins) = (block.scales(), block.mins());
                    let mut exact = [zero; M];
                    for (quarter, which) in quarters.iter().enumerate() {
                        let u = block.numbers(quarter);
                        let mut own = _mm512_permutexvar_epi8(*which, _mm512_zextsi128_si512(scales));
                        if B::MINUS != 0 {
                            // These may be negative.
                            own = _mm512_srai_epi16(_mm512_slli_epi16(own, 8), 8);
                        }
                        for (x, exact) in xs.iter().zip(&mut exact) {
                            let q = _mm512_loadu_si512(x.q.as_ptr().add(256 * (c + b) + 64 * quarter).cast());
                            *exact = _mm512_dpwssd_epi32(*exact, _mm512_maddubs_epi16(u, q), own);
                        }
                    }
                    for (m, x) in xs.iter().enumerate() {
                        let of16 = _mm512_loadu_si512(x.sums.as_ptr().add(16 * (c + b)).cast());
                        products[m][b] = match B::MINUS {
                            0 => exact[m],
                            minus => {
                                let scales = _mm512_cvtepi8_epi32(scales);
                                let minus = _mm512_mullo_epi32(scales, _mm512_set1_epi32(minus));
                                _mm512_sub_epi32(exact[m], _mm512_mullo_epi32(minus, of16))
                            }
                        };
                        if B::MINS {
                            offsets[m][b] = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(mins), of16);
                        }
                    }
                }
                let present = ((1u32 << here) - 1) as u8;
                let factors = _mm256_loadu_si256(factors.as_ptr().cast());
                let d = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(factors));
                let dmin = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(factors, 16)));
                for (m, x) in xs.iter().enumerate() {
                    let scale = _mm256_maskz_loadu_ps(present, x.scale.as_ptr().add(c));
                    let mut part = _mm256_mul_ps(d, _mm256_cvtepi32_ps(eight(&products[m])));
                    if B::MINS {
                        part = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(eight(&offsets[m])), part);
                    }
                    sums[m] = _mm256_fmadd_ps(scale, part, sums[m]);
                }
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(sum);
        }
    }
}
