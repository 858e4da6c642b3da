//! Owns: products of weight rows with a few rows of activations by AVX-512 VNNI; blocks are read where they lie.
//! Refuses to know: tensors, threads, operations; products with many rows (`avx512_lanes`).
//!
//! A product's bits depend on its two rows alone. Inside a block everything is exact in i32. Blocks are taken 8 (of 256)
//! or 16 (of 32) at a time, block b adding to running sum b mod 8 (16) with the operations that are written here; the
//! sums are added at last by halves. `avx512_lanes` does the same operations in the same order, lane by lane.

use super::Row;
use super::avx2::{eight, half_quads, sum_of};
use super::avx512_blocks::{Wide32, Wide256};
use super::blocks::blocks_of;
use super::weave::SHORTS;
use std::arch::x86_64::*;

/// Rows of activations that share one reading of the weights.
const AT_ONCE: usize = 4;
/// How far ahead of the block being multiplied memory is asked for: into the second cache where blocks are read about as
/// fast as they come, into the first where they take longer. Measured: 21 against 18 GB/s for Q4_K, 25 against 23 for
/// Q8_0; the other way round 20.6 against 19.7 for Q5_0.
const FAR_AHEAD: usize = 8 << 10;
const AHEAD: usize = 3 << 10;

/// Asks for the lines of `blocks` blocks that lie ahead of `at`.
#[inline(always)]
fn ask_ahead<B>(at: *const B, blocks: usize) {
    for line in (0..blocks * size_of::<B>()).step_by(64) {
        let at = at.cast::<u8>();
        // SAFETY: asking for memory never faults, wherever it is.
        unsafe {
            if size_of::<B>() > 32 {
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(FAR_AHEAD + line).cast());
            } else {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD + line).cast());
            }
        }
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
        assert!(x.woven.len() >= 32 * padded && x.scale.len() >= padded);
        assert!(x.sums.len() >= padded && x.scaled_sums.len() >= padded);
    }
    let whole = blocks / 16 * 16;
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]).as_ptr();
        let mut sums = [_mm512_setzero_ps(); M];
        // SAFETY: the blocks are there; the rows have `padded` blocks of everything.
        unsafe {
            for c in (0..whole).step_by(16) {
                chunk32::<B, M, true>(row.add(c), 16, &xs, c, &mut sums);
            }
            if whole < blocks {
                chunk32::<B, M, false>(row.add(whole), blocks - whole, &xs, whole, &mut sums);
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            let halves = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
            out[m * rows + r] = sum_of(halves);
        }
    }
}

/// Adds the products of the `here` blocks (16, or fewer where they are not `WHOLE`) from block c on to the running sums.
///
/// # Safety
/// The processor has the features of this file; the blocks are there, and all of the rows for sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn chunk32<B: Wide32, const M: usize, const WHOLE: bool>(
    first: *const B,
    here: usize,
    xs: &[Row; M],
    c: usize,
    sums: &mut [__m512; M],
) {
    let zero = _mm512_setzero_si512();
    // A block beyond the last is the last once more, and meets factors of zero.
    let block = |b: usize| if WHOLE { b } else { b.min(here - 1) };
    let (mut d, mut both) = ([0u16; 16], [0u32; 16]);
    let mut products = [[zero; 4]; M];
    // SAFETY: the caller's promise.
    unsafe {
        ask_ahead(first, 16);
        for four in 0..4 {
            if !WHOLE && 4 * four >= here {
                break;
            }
            let at = [0, 1, 2, 3].map(|n| &*first.add(block(4 * four + n)));
            for (n, block) in at.iter().enumerate() {
                if B::MINS {
                    both[4 * four + n] = block.factors();
                } else {
                    d[4 * four + n] = block.d();
                }
            }
            let [u, v] = B::four(at);
            for (x, products) in xs.iter().zip(&mut products) {
                let q = x.woven.as_ptr().add(32 * c + 128 * four);
                let halves = _mm512_dpbusd_epi32(zero, u, _mm512_loadu_si512(q.cast()));
                products[four] = _mm512_dpbusd_epi32(halves, v, _mm512_loadu_si512(q.add(64).cast()));
            }
        }
        let present = if WHOLE { u16::MAX } else { ((1u32 << here) - 1) as u16 };
        let both = _mm512_loadu_si512(both.as_ptr().cast());
        let d = if B::MINS { _mm512_cvtepi32_epi16(both) } else { _mm256_loadu_si256(d.as_ptr().cast()) };
        let d = _mm512_maskz_cvtph_ps(present, d);
        let m = _mm512_maskz_cvtph_ps(present, _mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
        for ((x, products), sum) in xs.iter().zip(products).zip(sums) {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let mut exact = _mm512_permutexvar_epi32(order, quads(products));
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

/// Of four vectors, the sums of each 128 bits: a lane of 128 bits holds those of all four.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quads([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

/// For each vector of woven groups of 32, even ones and odd ones, which scale its words have; the high byte of a word is
/// beyond the scales, where a zero stands.
const SCALES_OF_32: [[u8; 64]; 2] = {
    let mut all = [[63; 64]; 2];
    let mut i = 0;
    while i < 64 {
        all[i / 32][i % 32 * 2] = (i % 32 / 8 * 2 + i / 32) as u8;
        i += 1;
    }
    all
};

/// For each quarter of a block, which scale of a group of 16 its words have.
const SCALES_OF_16: [[u16; 32]; 4] = {
    let mut all = [[0; 32]; 4];
    let mut i = 0;
    while i < 128 {
        all[i / 32][i % 32] = (i / 8) as u16;
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
        assert!(x.q.len() >= 256 * blocks && x.woven.len() >= 256 * blocks);
        assert!(x.short_sums.len() >= SHORTS * blocks && x.scale.len() >= blocks.next_multiple_of(8));
    }
    let whole = blocks / 8 * 8;
    let mut work = Work256 { products: [[_mm256_setzero_si256(); 8]; M], offsets: [[_mm256_setzero_si256(); 8]; M] };
    for r in 0..rows {
        let row = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]).as_ptr();
        let mut sums = [_mm256_setzero_ps(); M];
        // SAFETY: the blocks are there; the rows have `blocks` blocks of everything, and scales for eight at a time.
        unsafe {
            for c in (0..whole).step_by(8) {
                chunk256::<B, M, true>(row.add(c), 8, &xs, c, &mut work, &mut sums);
            }
            if whole < blocks {
                chunk256::<B, M, false>(row.add(whole), blocks - whole, &xs, whole, &mut work, &mut sums);
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(sum);
        }
    }
}

/// Exact sums of eight blocks. What is left of an earlier chunk beyond the last block meets factors of zero.
struct Work256<const M: usize> {
    products: [[__m256i; 8]; M],
    /// In the low halves: a vector that is read as it was written is not waited for.
    offsets: [[__m256i; 8]; M],
}

/// Adds the products of the `here` blocks (8, or fewer where they are not `WHOLE`) from block c on to the running sums.
///
/// # Safety
/// The processor has the features of this file; the blocks are there, and all of the rows for them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn chunk256<B: Wide256, const M: usize, const WHOLE: bool>(
    first: *const B,
    here: usize,
    xs: &[Row; M],
    c: usize,
    Work256 { products, offsets }: &mut Work256<M>,
    sums: &mut [__m256; M],
) {
    const { assert!(B::MINS == (B::GROUP == 32) && B::MINS == (B::MINUS == 0)) };
    let mut factors = [0u32; 8];
    // SAFETY: the caller's promise.
    unsafe {
        ask_ahead(first, 8);
        for b in 0..8 {
            if !WHOLE && b >= here {
                break;
            }
            let block = &*first.add(b);
            factors[b] = block.factors();
            let (bytes, u) = (block.scale_bytes(), block.woven());
            if B::MINS {
                let own = |odd: usize| {
                    let which = _mm512_loadu_si512(SCALES_OF_32[odd].as_ptr().cast());
                    _mm512_permutexvar_epi8(which, _mm512_zextsi128_si512(bytes))
                };
                let (even, odd) = (own(0), own(1));
                let mins = _mm_unpackhi_epi8(bytes, _mm_setzero_si128());
                for (m, x) in xs.iter().enumerate() {
                    let q = x.woven.as_ptr().add(256 * (c + b));
                    // Words hold two pairs of products: at most 4 * 31 * 127.
                    let pairs = |n: usize| _mm512_maddubs_epi16(u[n], _mm512_loadu_si512(q.add(64 * n).cast()));
                    let exact = _mm512_madd_epi16(_mm512_add_epi16(pairs(0), pairs(1)), even);
                    products[m][b] = folded(_mm512_dpwssd_epi32(exact, _mm512_add_epi16(pairs(2), pairs(3)), odd));
                    let of32 = _mm_loadu_si128(x.short_sums.as_ptr().add(SHORTS * (c + b) + 16).cast());
                    offsets[m][b] = _mm256_zextsi128_si256(_mm_madd_epi16(mins, of32));
                }
            } else {
                let scales = _mm256_cvtepi8_epi16(bytes);
                let own = |quarter: usize| {
                    let which = _mm512_loadu_si512(SCALES_OF_16[quarter].as_ptr().cast());
                    _mm512_permutexvar_epi16(which, _mm512_castsi256_si512(scales))
                };
                let own = [own(0), own(1), own(2), own(3)];
                for (m, x) in xs.iter().enumerate() {
                    let q = x.q.as_ptr().add(256 * (c + b));
                    let pairs = |n: usize| _mm512_maddubs_epi16(u[n], _mm512_loadu_si512(q.add(64 * n).cast()));
                    let mut exact = _mm512_madd_epi16(pairs(0), own[0]);
                    for n in 1..4 {
                        exact = _mm512_dpwssd_epi32(exact, pairs(n), own[n]);
                    }
                    let of16 = _mm256_loadu_si256(x.short_sums.as_ptr().add(SHORTS * (c + b)).cast());
                    let offset = _mm256_mullo_epi32(_mm256_madd_epi16(scales, of16), _mm256_set1_epi32(B::MINUS));
                    products[m][b] = _mm256_sub_epi32(folded(exact), offset);
                }
            }
        }
        let present = if WHOLE { u8::MAX } else { ((1u32 << here) - 1) as u8 };
        let factors = _mm256_loadu_si256(factors.as_ptr().cast());
        let d = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(factors));
        let dmin = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(factors, 16)));
        for (m, x) in xs.iter().enumerate() {
            let scale = _mm256_maskz_loadu_ps(present, x.scale.as_ptr().add(c));
            let mut part = _mm256_mul_ps(d, _mm256_cvtepi32_ps(eight(products[m])));
            if B::MINS {
                part = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(eight_small(offsets[m])), part);
            }
            sums[m] = _mm256_fmadd_ps(scale, part, sums[m]);
        }
    }
}

/// The sum of both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx2")]
fn folded(x: __m512i) -> __m256i {
    _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1))
}

/// Sums of the low halves of eight vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn eight_small([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> __m256i {
    let two = |low: __m256i, high: __m256i| _mm256_inserti128_si256(low, _mm256_castsi256_si128(high), 1);
    half_quads(two(a, e), two(b, f), two(c, g), two(d, h))
}
