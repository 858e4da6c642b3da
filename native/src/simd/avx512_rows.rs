//! Owns: products of weight rows with a few rows of activations by AVX-512 VNNI; blocks are read where they lie.
//! Refuses to know: tensors, threads, operations; products with many rows (`avx512_panels`).
//!
//! A product's bits depend on its two rows alone. Inside a block everything is exact in i32. Blocks are taken 8 (of 256)
//! or 16 (of 32) at a time, block b adding to running sum b mod 8 (16) with the operations that are written here; the
//! sums are added at last by halves. `avx512_panels` does the same operations in the same order, lane by lane.

use super::Row;
use super::avx2::{eight, half_quads};
use super::avx512_blocks::{Wide32, Wide256};
use super::blocks::{AnyBytes, blocks_of};
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

/// Bytes and blocks of each of `rows` rows. Opaque: they would be divided out anew for every block.
fn shape<B>(weights: &[u8], rows: usize) -> (usize, usize) {
    let row_bytes = weights.len() / rows.max(1);
    std::hint::black_box((row_bytes, row_bytes / size_of::<B>()))
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
    match shape::<B>(weights, out.len() / M).1 {
        4 => together32::<B, M, 4>(weights, xs, out),
        8 => together32::<B, M, 2>(weights, xs, out),
        _ => together32::<B, M, 1>(weights, xs, out),
    }
}

/// N rows of weights at a time, whose running sums lie one row after the other in a vector: sixteen of a row, or those of
/// rows that have exactly 16 / N blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn together32<B: Wide32, const M: usize, const N: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let (row_bytes, blocks) = shape::<B>(weights, rows);
    let (padded, each) = (blocks.next_multiple_of(16), 16 / N);
    assert!(N == 1 || blocks == each);
    for x in &xs {
        assert!(x.woven.len() >= 32 * padded && x.scale.len() >= padded);
        assert!(x.sums.len() >= padded && x.scaled_sums.len() >= padded);
    }
    let whole = blocks / each * each;
    for r in (0..rows).step_by(N) {
        let first: [*const B; N] = rows_from(weights, row_bytes, rows, r);
        let mut sums = [_mm512_setzero_ps(); M];
        // SAFETY: the blocks are there; the rows have `padded` blocks of everything.
        unsafe {
            for c in (0..whole).step_by(each) {
                chunk32::<B, M, N, true>(first.map(|row| row.add(c)), each, &xs, c, &mut sums);
            }
            if whole < blocks {
                chunk32::<B, M, N, false>(first.map(|row| row.add(whole)), blocks - whole, &xs, whole, &mut sums);
            }
        }
        keep::<M, N>(sums, r, out);
    }
}

/// The blocks of N rows from row r on. A row beyond the last is the last once more; what it gives is not kept.
fn rows_from<B: AnyBytes, const N: usize>(weights: &[u8], row_bytes: usize, rows: usize, r: usize) -> [*const B; N] {
    std::array::from_fn(|n| {
        let r = (r + n).min(rows - 1);
        blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]).as_ptr()
    })
}

/// out[m][r...] = the sums of M times N rows of running sums, of rows r to r + N or the last.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
fn keep<const M: usize, const N: usize>(sums: [__m512; M], r: usize, out: &mut [f32]) {
    let rows = out.len() / M;
    let here = N.min(rows - r);
    for (m, sum) in sums.into_iter().enumerate() {
        let out = &mut out[m * rows + r..][..here];
        // SAFETY: there is room for as many numbers as the mask has lanes.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), ((1u32 << here) - 1) as u16, sums_of::<N>(sum)) };
    }
}

/// The sums of N rows of running sums, each added by halves, as those of one long row are: zeros stand where a row has none.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
fn sums_of<const N: usize>(x: __m512) -> __m512 {
    let x = if N == 1 { _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0b01_00_11_10)) } else { x };
    let x = if N <= 2 { _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0b10_11_00_01)) } else { x };
    let x = if N <= 4 { _mm512_add_ps(x, _mm512_permute_ps(x, 0b01_00_11_10)) } else { x };
    let x = _mm512_add_ps(x, _mm512_permute_ps(x, 0b10_11_00_01));
    let firsts: [i32; 16] = std::array::from_fn(|n| (n * (16 / N) % 16) as i32);
    // SAFETY: sixteen numbers are there.
    _mm512_permutexvar_ps(unsafe { _mm512_loadu_si512(firsts.as_ptr().cast()) }, x)
}

/// 16 / N numbers, for each of N rows.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
unsafe fn for_each<const N: usize>(numbers: *const f32) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        match N {
            1 => _mm512_loadu_ps(numbers),
            2 => _mm512_broadcast_f32x8(_mm256_loadu_ps(numbers)),
            4 => _mm512_broadcast_f32x4(_mm_loadu_ps(numbers)),
            _ => _mm512_castsi512_ps(_mm512_broadcastq_epi64(_mm_loadl_epi64(numbers.cast()))),
        }
    }
}

/// The lanes of the first `here` blocks of each of N rows.
fn lanes_of<const N: usize>(here: usize) -> u16 {
    let own = (1u32 << here) - 1;
    (0..N).fold(0, |all, n| all | own << (n * 16 / N)) as u16
}

/// Adds the products of the `here` blocks (16 / N, or fewer where they are not `WHOLE`) of each of N rows to their running
/// sums; c is the first block's number.
///
/// # Safety
/// The processor has the features of this file; the blocks are there, and all of the activations for sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn chunk32<B: Wide32, const M: usize, const N: usize, const WHOLE: bool>(
    first: [*const B; N],
    here: usize,
    xs: &[Row; M],
    c: usize,
    sums: &mut [__m512; M],
) {
    const { assert!(N == 1 || N == 2 || N == 4) };
    let (each, zero) = (16 / N, _mm512_setzero_si512());
    // A block beyond the last is the last once more, and meets factors of zero.
    let block = |b: usize| if WHOLE { b } else { b.min(here - 1) };
    let (mut d, mut both) = ([0u16; 16], [0u32; 16]);
    let mut products = [[zero; 4]; M];
    // SAFETY: the caller's promise.
    unsafe {
        for row in first {
            ask_ahead(row, each);
        }
        for four in 0..4 {
            // Its row, and its first block in it.
            let (n, b) = (4 * four / each, 4 * four % each);
            if !WHOLE && b >= here {
                break;
            }
            let at = [0, 1, 2, 3].map(|i| &*first[n].add(block(b + i)));
            for (i, block) in at.iter().enumerate() {
                if B::MINS {
                    both[4 * four + i] = block.factors();
                } else {
                    d[4 * four + i] = block.d();
                }
            }
            let [u, v] = B::four(at);
            for (x, products) in xs.iter().zip(&mut products) {
                let q = x.woven.as_ptr().add(32 * (c + b));
                let halves = _mm512_dpbusd_epi32(zero, u, _mm512_loadu_si512(q.cast()));
                products[four] = _mm512_dpbusd_epi32(halves, v, _mm512_loadu_si512(q.add(64).cast()));
            }
        }
        let present = if WHOLE { u16::MAX } else { lanes_of::<N>(here) };
        let both = _mm512_loadu_si512(both.as_ptr().cast());
        let d = if B::MINS { _mm512_cvtepi32_epi16(both) } else { _mm256_loadu_si256(d.as_ptr().cast()) };
        let d = _mm512_maskz_cvtph_ps(present, d);
        let m = _mm512_maskz_cvtph_ps(present, _mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
        for ((x, products), sum) in xs.iter().zip(products).zip(sums) {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let mut exact = _mm512_permutexvar_epi32(order, quads(products));
            if B::MINUS != 0 {
                let offsets = _mm512_castps_si512(for_each::<N>(x.sums.as_ptr().add(c).cast()));
                exact = _mm512_sub_epi32(exact, _mm512_mullo_epi32(offsets, _mm512_set1_epi32(B::MINUS)));
            }
            let factor = _mm512_mul_ps(d, for_each::<N>(x.scale.as_ptr().add(c)));
            *sum = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(exact), *sum);
            if B::MINS {
                *sum = _mm512_fmadd_ps(m, for_each::<N>(x.scaled_sums.as_ptr().add(c)), *sum);
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

/// Of woven groups of 32, packed words of even and odd ones: which scale they have; the high byte of a word is beyond the
/// scales, where a zero stands.
const SCALES_OF_32: [u8; 64] = {
    let mut all = [63; 64];
    let mut word = 0;
    while word < 32 {
        all[2 * word] = (word / 4) as u8;
        word += 1;
    }
    all
};

/// Of two quarters of a block, packed words: which scale of a group of 16 they have.
const SCALES_OF_16: [[u16; 32]; 2] = {
    let mut all = [[0; 32]; 2];
    let mut word = 0;
    while word < 64 {
        all[word / 32][word % 32] = (word / 32 * 8 + word % 8 / 4 * 4 + word % 32 / 8) as u16;
        word += 1;
    }
    all
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn few256<B: Wide256, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    match shape::<B>(weights, out.len() / M).1 {
        0..=2 => together256::<B, M, 8>(weights, xs, out),
        3..=4 => together256::<B, M, 4>(weights, xs, out),
        _ => together256::<B, M, 2>(weights, xs, out),
    }
}

/// N rows of weights at a time, whose running sums lie one row after the other in a vector of sixteen: eight of a row, or
/// as many as a short row has blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn together256<B: Wide256, const M: usize, const N: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let (row_bytes, blocks) = shape::<B>(weights, rows);
    assert!(N == 2 || blocks <= 16 / N);
    for x in &xs {
        assert!(x.q.len() >= 256 * blocks && x.woven.len() >= 256 * blocks);
        assert!(x.short_sums.len() >= SHORTS * blocks && x.scale.len() >= blocks.next_multiple_of(8));
    }
    let each = 16 / N;
    let whole = blocks / each * each;
    let mut work = Work256 { products: [[[_mm256_setzero_si256(); 8]; 2]; M], offsets: [[[_mm256_setzero_si256(); 8]; 2]; M] };
    for r in (0..rows).step_by(N) {
        let first: [*const B; N] = rows_from(weights, row_bytes, rows, r);
        let mut sums = [_mm512_setzero_ps(); M];
        // SAFETY: the blocks are there; the rows have `blocks` blocks of everything, and scales for eight at a time.
        unsafe {
            for c in (0..whole).step_by(each) {
                chunk256::<B, M, N, true>(first.map(|row| row.add(c)), each, &xs, c, &mut work, &mut sums);
            }
            if whole < blocks {
                chunk256::<B, M, N, false>(first.map(|row| row.add(whole)), blocks - whole, &xs, whole, &mut work, &mut sums);
            }
        }
        keep::<M, N>(sums, r, out);
    }
}

/// Exact sums of sixteen blocks. What is left of an earlier chunk beyond a row's last block meets factors of zero.
struct Work256<const M: usize> {
    products: [[[__m256i; 8]; 2]; M],
    /// In the low halves: a vector that is read as it was written is not waited for.
    offsets: [[[__m256i; 8]; 2]; M],
}

/// Adds the products of the `here` blocks (16 / N, or fewer where they are not `WHOLE`) of each of N rows to their running
/// sums; c is the first block's number.
///
/// # Safety
/// The processor has the features of this file; the blocks are there, and all of the activations for them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn chunk256<B: Wide256, const M: usize, const N: usize, const WHOLE: bool>(
    first: [*const B; N],
    here: usize,
    xs: &[Row; M],
    c: usize,
    Work256 { products, offsets }: &mut Work256<M>,
    sums: &mut [__m512; M],
) {
    const { assert!(B::MINS == (B::GROUP == 32) && B::MINS == (B::MINUS == 0)) };
    let (each, zero) = (16 / N, _mm512_setzero_si512());
    let mut factors = [0u32; 16];
    // SAFETY: the caller's promise.
    unsafe {
        for n in 0..N {
            ask_ahead(first[n], each);
            for b in 0..each {
                if !WHOLE && b >= here {
                    break;
                }
                let (block, lane) = (&*first[n].add(b), n * each + b);
                factors[lane] = block.factors();
                let (bytes, u) = (block.scale_bytes(), block.woven());
                if B::MINS {
                    let own = _mm512_permutexvar_epi8(
                        _mm512_loadu_si512(SCALES_OF_32.as_ptr().cast()),
                        _mm512_zextsi128_si512(bytes),
                    );
                    let mins = _mm_unpackhi_epi8(bytes, _mm_setzero_si128());
                    for (m, x) in xs.iter().enumerate() {
                        let q = x.woven.as_ptr().add(256 * (c + b));
                        let dot = |sum, n: usize| _mm512_dpbusd_epi32(sum, u[n], _mm512_loadu_si512(q.add(64 * n).cast()));
                        // Sums of eight products: at most 8 * 31 * 127.
                        let (even, odd) = (dot(dot(zero, 0), 1), dot(dot(zero, 2), 3));
                        let odd = if !B::ODD_HIGH { odd } else { _mm512_srai_epi32(odd, 4) };
                        products[m][lane / 8][lane % 8] = folded(_mm512_madd_epi16(_mm512_packs_epi32(even, odd), own));
                        let of32 = _mm_loadu_si128(x.short_sums.as_ptr().add(SHORTS * (c + b) + 16).cast());
                        offsets[m][lane / 8][lane % 8] = _mm256_zextsi128_si256(_mm_madd_epi16(mins, of32));
                    }
                } else {
                    let scales = _mm256_cvtepi8_epi16(bytes);
                    let own = [0, 1].map(|half: usize| {
                        let which = _mm512_loadu_si512(SCALES_OF_16[half].as_ptr().cast());
                        _mm512_permutexvar_epi16(which, _mm512_castsi256_si512(scales))
                    });
                    for (m, x) in xs.iter().enumerate() {
                        let q = x.q.as_ptr().add(256 * (c + b));
                        // Sums of four products: at most 4 * 63 * 127.
                        let dot = |n: usize| _mm512_dpbusd_epi32(zero, u[n], _mm512_loadu_si512(q.add(64 * n).cast()));
                        let exact = _mm512_madd_epi16(_mm512_packs_epi32(dot(0), dot(1)), own[0]);
                        let exact = _mm512_dpwssd_epi32(exact, _mm512_packs_epi32(dot(2), dot(3)), own[1]);
                        let of16 = _mm256_loadu_si256(x.short_sums.as_ptr().add(SHORTS * (c + b)).cast());
                        let offset = _mm256_mullo_epi32(_mm256_madd_epi16(scales, of16), _mm256_set1_epi32(B::MINUS));
                        products[m][lane / 8][lane % 8] = _mm256_sub_epi32(folded(exact), offset);
                    }
                }
            }
        }
        let factors = _mm512_loadu_si512(factors.as_ptr().cast());
        let d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(factors));
        let dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(factors, 16)));
        for (m, x) in xs.iter().enumerate() {
            let [low, high] = products[m];
            let exact = _mm512_inserti64x4(_mm512_castsi256_si512(eight(low)), eight(high), 1);
            let mut part = _mm512_mul_ps(d, _mm512_cvtepi32_ps(exact));
            if B::MINS {
                let [low, high] = offsets[m];
                let exact = _mm512_inserti64x4(_mm512_castsi256_si512(eight_small(low)), eight_small(high), 1);
                part = _mm512_fnmadd_ps(dmin, _mm512_cvtepi32_ps(exact), part);
            }
            let scale = _mm512_maskz_mov_ps(lanes_of::<N>(here), for_each::<N>(x.scale.as_ptr().add(c)));
            sums[m] = _mm512_fmadd_ps(scale, part, sums[m]);
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
