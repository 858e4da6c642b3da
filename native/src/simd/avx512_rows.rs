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

/// Asks for the lines of a block that will be read some blocks later.
#[inline(always)]
fn ask_ahead<B>(block: &B) {
    let at = std::ptr::from_ref(block).cast::<i8>().wrapping_add(AHEAD_BYTES);
    for line in 0..size_of::<B>().div_ceil(64) {
        // SAFETY: asking for memory never faults, wherever it is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64 * line)) };
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
    let zero = _mm512_setzero_si512();
    for r in 0..rows {
        let blocks = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [_mm512_setzero_ps(); M];
        for (c, blocks) in blocks.chunks(16).enumerate() {
            let mut products = [[zero; 8]; M];
            let (mut d, mut m) = ([0u16; 16], [0u16; 16]);
            for (p, pair) in blocks.chunks(2).enumerate() {
                let (first, second) = (&pair[0], &pair[pair.len() - 1]);
                ask_ahead(first);
                // SAFETY: this function has the features.
                let (low, high) = unsafe { (first.numbers(), second.numbers()) };
                let u = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
                d[2 * p] = first.d();
                m[2 * p] = first.m();
                if let [_, second] = pair {
                    d[2 * p + 1] = second.d();
                    m[2 * p + 1] = second.m();
                }
                for (x, products) in xs.iter().zip(&mut products) {
                    let q = &x.q[512 * c + 64 * p..][..64];
                    // SAFETY: 64 bytes are there.
                    products[p] = _mm512_dpbusd_epi32(zero, u, unsafe { _mm512_loadu_si512(q.as_ptr().cast()) });
                }
            }
            // SAFETY: 16 halves are there.
            let d = _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(d.as_ptr().cast()) });
            for ((x, products), sum) in xs.iter().zip(&products).zip(&mut sums) {
                let scale: &[f32] = &x.scale[16 * c..][..16];
                let mut exact = sixteen(products);
                if B::MINUS != 0 {
                    let offsets: &[i32] = &x.sums[16 * c..][..16];
                    // SAFETY: 16 numbers are there.
                    let offsets = unsafe { _mm512_loadu_si512(offsets.as_ptr().cast()) };
                    exact = _mm512_sub_epi32(exact, _mm512_mullo_epi32(offsets, _mm512_set1_epi32(B::MINUS)));
                }
                // SAFETY: 16 numbers are there.
                let factor = _mm512_mul_ps(d, unsafe { _mm512_loadu_ps(scale.as_ptr()) });
                *sum = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(exact), *sum);
                if B::MINS {
                    let offsets: &[f32] = &x.scaled_sums[16 * c..][..16];
                    // SAFETY: 16 halves and 16 numbers are there.
                    let (m, offsets) = unsafe {
                        (_mm256_loadu_si256(m.as_ptr().cast()), _mm512_loadu_ps(offsets.as_ptr()))
                    };
                    *sum = _mm512_fmadd_ps(_mm512_cvtph_ps(m), offsets, *sum);
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

/// For each quarter of a block, which of 16 scales each pair of its numbers has.
const QUARTERS: [[u8; 32]; 4] = {
    let mut all = [[0; 32]; 4];
    let mut i = 0;
    while i < 128 {
        all[i / 32][i % 32] = (i / 8) as u8;
        i += 1;
    }
    all
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn few256<B: Wide256, const M: usize>(weights: &[u8], xs: [Row; M], out: &mut [f32]) {
    let rows = out.len() / M;
    let row_bytes = weights.len() / rows.max(1);
    let zero = _mm512_setzero_si512();
    // SAFETY: 32 bytes are there.
    let quarters = QUARTERS.map(|which| unsafe { _mm256_loadu_si256(which.as_ptr().cast()) });
    for r in 0..rows {
        let blocks = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let mut sums = [_mm256_setzero_ps(); M];
        for (c, blocks) in blocks.chunks(8).enumerate() {
            let (mut products, mut offsets) = ([[zero; 8]; M], [[zero; 8]; M]);
            let mut factors = [0u32; 8];
            for (b, block) in blocks.iter().enumerate() {
                ask_ahead(block);
                factors[b] = block.factors();
                // SAFETY: this function has the features.
                let (scales, mins) = unsafe { (block.scales(), block.mins()) };
                let mut exact = [zero; M];
                for (quarter, which) in quarters.iter().enumerate() {
                    // SAFETY: this function has the features, and a block has four quarters.
                    let u = unsafe { block.numbers(quarter) };
                    let own = _mm256_permutexvar_epi8(*which, _mm256_castsi128_si256(scales));
                    let own = _mm512_cvtepi8_epi16(own);
                    for (x, exact) in xs.iter().zip(&mut exact) {
                        let q = &x.q[256 * (8 * c + b) + 64 * quarter..][..64];
                        // SAFETY: 64 bytes are there.
                        let q = unsafe { _mm512_loadu_si512(q.as_ptr().cast()) };
                        *exact = _mm512_dpwssd_epi32(*exact, _mm512_maddubs_epi16(u, q), own);
                    }
                }
                let minus = match B::MINUS {
                    0 => zero,
                    minus => _mm512_mullo_epi32(_mm512_cvtepi8_epi32(scales), _mm512_set1_epi32(minus)),
                };
                for (m, x) in xs.iter().enumerate() {
                    let of16: &[i32] = &x.sums[16 * (8 * c + b)..][..16];
                    // SAFETY: 16 numbers are there.
                    let of16 = unsafe { _mm512_loadu_si512(of16.as_ptr().cast()) };
                    products[m][b] = match B::MINUS {
                        0 => exact[m],
                        _ => _mm512_sub_epi32(exact[m], _mm512_mullo_epi32(minus, of16)),
                    };
                    if B::MINS {
                        offsets[m][b] = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(mins), of16);
                    }
                }
            }
            // SAFETY: 8 numbers are there.
            let factors = unsafe { _mm256_loadu_si256(factors.as_ptr().cast()) };
            let d = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(factors));
            let dmin = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(factors, 16)));
            let present = ((1u32 << blocks.len()) - 1) as u8;
            for (m, x) in xs.iter().enumerate() {
                let scale: &[f32] = &x.scale[8 * c..][..8];
                // SAFETY: 8 numbers are there.
                let scale = unsafe { _mm256_maskz_loadu_ps(present, scale.as_ptr()) };
                let mut part = _mm256_mul_ps(d, _mm256_cvtepi32_ps(eight(&products[m])));
                if B::MINS {
                    part = _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(eight(&offsets[m])), part);
                }
                sums[m] = _mm256_fmadd_ps(scale, part, sums[m]);
            }
        }
        for (m, sum) in sums.into_iter().enumerate() {
            out[m * rows + r] = sum_of(sum);
        }
    }
}
