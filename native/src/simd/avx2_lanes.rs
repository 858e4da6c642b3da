//! Owns: products of weight rows with many rows of activations by AVX2, one in each lane.
//! Refuses to know: tensors, threads, operations.
//!
//! A lane does what `avx2_rows` does for its two rows, in the same order, so products have the same bits here and there.
//! Unsigned bytes are multiplied as they are, as many products in a word as cannot leave it; of signed ones the magnitudes,
//! with the signs moved to the activations.

use super::Lanes;
use super::avx2::one_half;
use super::avx2_blocks::{Block, Factor, SIGNED};
use super::avx2_k::Runs;
use super::blocks::blocks_of;
use super::panels::{LANES, Panel, QUAD, Sums, Unpack, product};
use super::unpack::Unpacked256;
use crate::map::Buffer;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Sums of four rows with V vectors of eight lanes.
type Exact<const V: usize> = [[__m256i; V]; QUAD];
type Running<const V: usize> = [[__m256; V]; QUAD];

struct Of32<B>(PhantomData<B>);
struct Of256<B>(PhantomData<B>);

/// out[t][r] = weight row r . lane t, for formats of blocks of 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn lanes32<B: Block>(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    // SAFETY: this function has the features.
    unsafe { product::<Of32<B>>(weights, lanes, count, work, out) };
}

/// out[t][r] = weight row r . lane t, for formats of blocks of 256.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn lanes256<B: Runs>(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    const { assert!(B::LARGEST != SIGNED) };
    // SAFETY: this function has the features.
    unsafe { product::<Of256<B>>(weights, lanes, count, work, out) };
}

/// How many sums of two products of a number up to `largest` with an int8 fit a word together: a power of two.
const fn together(largest: i32) -> usize {
    let mut most = 8;
    while most * 2 * 127 * largest > 32767 {
        most /= 2;
    }
    assert!(most > 0);
    most as usize
}

/// words[i][v] = sums of two products of four rows of unsigned bytes, `stride` apart, with STEPS words of the lanes.
///
/// # Safety
/// The processor has AVX2; the bytes and the words are there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pairs<const V: usize, const STEPS: usize>(bytes: *const u8, stride: usize, q: *const i32) -> Exact<V> {
    let mut words = [[_mm256_setzero_si256(); V]; QUAD];
    for step in 0..STEPS {
        // SAFETY: the caller's promise.
        unsafe {
            let x: [__m256i; V] = std::array::from_fn(|v| _mm256_loadu_si256(q.add(LANES * step + 8 * v).cast()));
            for (i, words) in words.iter_mut().enumerate() {
                let u = _mm256_set1_epi32(bytes.add(i * stride + 4 * step).cast::<i32>().read_unaligned());
                for (words, x) in words.iter_mut().zip(x) {
                    let two = _mm256_maddubs_epi16(u, x);
                    *words = if step == 0 { two } else { _mm256_add_epi16(*words, two) };
                }
            }
        }
    }
    words
}

/// exact[i][v] += products of 32 unsigned bytes of each row.
///
/// # Safety
/// As `pairs`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot_bytes<const V: usize, const STEPS: usize>(bytes: *const u8, stride: usize, q: *const i32, exact: &mut Exact<V>) {
    let ones = _mm256_set1_epi16(1);
    for part in 0..8 / STEPS {
        // SAFETY: the caller's promise.
        let words = unsafe { pairs::<V, STEPS>(bytes.add(4 * STEPS * part), stride, q.add(LANES * STEPS * part)) };
        for (exact, words) in exact.as_flattened_mut().iter_mut().zip(words.as_flattened()) {
            *exact = _mm256_add_epi32(*exact, _mm256_madd_epi16(*words, ones));
        }
    }
}

/// exact[i][v] += products of 32 signed bytes of each row, which follow their magnitudes.
///
/// # Safety
/// As `pairs`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot_signed<const V: usize>(bytes: *const u8, stride: usize, q: *const i32, exact: &mut Exact<V>) {
    let ones = _mm256_set1_epi16(1);
    for step in 0..8 {
        // SAFETY: the caller's promise.
        unsafe {
            let x: [__m256i; V] = std::array::from_fn(|v| _mm256_loadu_si256(q.add(LANES * step + 8 * v).cast()));
            for (i, exact) in exact.iter_mut().enumerate() {
                let at = bytes.add(i * stride + 4 * step).cast::<i32>();
                let (size, sign) = (_mm256_set1_epi32(at.read_unaligned()), _mm256_set1_epi32(at.add(8).read_unaligned()));
                for (exact, x) in exact.iter_mut().zip(x) {
                    // 128 * 127 * 2 still fits a word.
                    let two = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x, sign));
                    *exact = _mm256_add_epi32(*exact, _mm256_madd_epi16(two, ones));
                }
            }
        }
    }
}

/// Running sums added by halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn keep<const V: usize, const N: usize>(mut running: [Running<V>; N], sums: &mut Sums) {
    let mut half = N / 2;
    while half > 0 {
        let (low, high) = running.split_at_mut(half);
        for (low, high) in low.as_flattened_mut().as_flattened_mut().iter_mut().zip(high.as_flattened().as_flattened()) {
            *low = _mm256_add_ps(*low, *high);
        }
        half /= 2;
    }
    for (sums, running) in sums.iter_mut().zip(running[0]) {
        for (to, x) in sums.as_chunks_mut::<8>().0.iter_mut().zip(running) {
            // SAFETY: there is room for eight numbers.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) };
        }
    }
}

/// Eight numbers of a set of lanes.
///
/// # Safety
/// The processor has AVX2, and they are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn eight_ints(part: &[i32], at: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(part.as_ptr().add(at).cast()) }
}

/// As `eight_ints`.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn eight_floats(part: &[f32], at: usize) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(part.as_ptr().add(at)) }
}

impl<B: Block> Unpack for Of32<B> {
    const BLOCK: usize = 32;
    const BLOCK_BYTES: usize = if B::LARGEST == SIGNED { 64 } else { 32 };

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        for (b, block) in blocks_of::<B>(row).iter().enumerate() {
            let at = r * panel.blocks + b;
            let to = panel.bytes[Self::BLOCK_BYTES * at..Self::BLOCK_BYTES * (at + 1)].as_mut_ptr().cast::<__m256i>();
            // SAFETY: this function has AVX2; there is room for 32 bytes, or twice as many.
            unsafe {
                let u = block.numbers();
                if B::LARGEST == SIGNED {
                    _mm256_storeu_si256(to, _mm256_abs_epi8(u));
                    _mm256_storeu_si256(to.add(1), u);
                } else {
                    _mm256_storeu_si256(to, u);
                }
            }
            panel.d[at] = match block.d() {
                Factor::Half(half) => one_half(half.to_le_bytes()),
                Factor::Float(float) => float,
            };
            panel.m[at] = one_half(block.m().to_le_bytes());
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            if count > 8 {
                multiply32::<B, 2>(panel, r, lanes, sums);
            } else {
                multiply32::<B, 1>(panel, r, lanes, sums);
            }
        }
    }
}

/// # Safety
/// As `Unpack::multiply`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply32<B: Block, const V: usize>(panel: &Panel, r: usize, lanes: &Lanes, sums: &mut Sums) {
    let n = panel.blocks;
    let size = Of32::<B>::BLOCK_BYTES;
    let mut running = [[[_mm256_setzero_ps(); V]; QUAD]; 16];
    for b in 0..n {
        let mut exact = [[_mm256_setzero_si256(); V]; QUAD];
        // SAFETY: rows r to r + 3 of the panel and n blocks of all lanes are there.
        unsafe {
            if B::MINUS != 0 {
                for v in 0..V {
                    let minus = _mm256_set1_epi32(-B::MINUS);
                    let offset = _mm256_mullo_epi32(eight_ints(lanes.sums, LANES * b + 8 * v), minus);
                    for exact in &mut exact {
                        exact[v] = offset;
                    }
                }
            }
            let bytes = panel.bytes.as_ptr().add(size * (r * n + b));
            let q = lanes.q.as_ptr().add(LANES * 8 * b);
            match B::LARGEST {
                SIGNED => dot_signed::<V>(bytes, size * n, q, &mut exact),
                largest if together(largest) == 8 => dot_bytes::<V, 8>(bytes, size * n, q, &mut exact),
                largest if together(largest) == 4 => dot_bytes::<V, 4>(bytes, size * n, q, &mut exact),
                _ => dot_bytes::<V, 1>(bytes, size * n, q, &mut exact),
            }
            let running = &mut running[b % 16];
            for v in 0..V {
                let scale = eight_floats(lanes.scale, LANES * b + 8 * v);
                for i in 0..QUAD {
                    let factor = _mm256_mul_ps(_mm256_set1_ps(*panel.d.get_unchecked((r + i) * n + b)), scale);
                    running[i][v] = _mm256_fmadd_ps(factor, _mm256_cvtepi32_ps(exact[i][v]), running[i][v]);
                }
                if B::MINS {
                    let offset = eight_floats(lanes.scaled_sums, LANES * b + 8 * v);
                    for i in 0..QUAD {
                        let m = _mm256_set1_ps(*panel.m.get_unchecked((r + i) * n + b));
                        running[i][v] = _mm256_fmadd_ps(m, offset, running[i][v]);
                    }
                }
            }
        }
    }
    keep(running, sums);
}

impl<B: Runs> Of256<B> {
    const GROUPS: usize = 256 / B::GROUP;
}

impl<B: Runs> Unpack for Of256<B> {
    const BLOCK: usize = 256;
    /// Of every group its scale twice, as words.
    const SCALES: usize = Self::GROUPS;
    /// Of every two groups what multiplies their sums, as words: mins, or scales times -MINUS.
    const MINS: usize = if B::MINS || B::MINUS != 0 { Self::GROUPS / 2 } else { 0 };

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        let mut work = Unpacked256::ZERO;
        for (b, block) in blocks_of::<B>(row).iter().enumerate() {
            let at = r * panel.blocks + b;
            let (bytes, _) = panel.bytes[256 * at..256 * (at + 1)].as_chunks_mut::<32>();
            for (run, bytes) in bytes.iter_mut().enumerate() {
                // SAFETY: there is room for 32 bytes; this function has AVX2.
                unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), block.run(run)) };
            }
            // SAFETY: this function has the features.
            let all = unsafe { block.all_factors(&mut work) };
            (panel.d[at], panel.m[at]) = (all.d, all.dmin);
            let offsets = if B::MINS { all.mins } else { _mm256_mullo_epi16(all.scales, _mm256_set1_epi16(-B::MINUS as i16)) };
            let (mut scales, mut pairs) = ([0i16; 16], [0i16; 16]);
            // SAFETY: there is room for sixteen words.
            unsafe {
                _mm256_storeu_si256(scales.as_mut_ptr().cast(), all.scales);
                _mm256_storeu_si256(pairs.as_mut_ptr().cast(), offsets);
            }
            let word = |low: i16, high: i16| i32::from(low.cast_unsigned()) | i32::from(high) << 16;
            let step = B::GROUP / 16;
            for (g, to) in panel.scales[Self::SCALES * at..Self::SCALES * (at + 1)].iter_mut().enumerate() {
                *to = word(scales[step * g], scales[step * g]);
            }
            for (pair, to) in panel.mins[Self::MINS * at..Self::MINS * (at + 1)].iter_mut().enumerate() {
                *to = word(pairs[2 * step * pair], pairs[2 * step * pair + step]);
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            match (count > 8, together(B::LARGEST).min(B::GROUP / 4)) {
                (true, 8) => multiply256::<B, 2, 8>(panel, r, lanes, sums),
                (true, 4) => multiply256::<B, 2, 4>(panel, r, lanes, sums),
                (true, 2) => multiply256::<B, 2, 2>(panel, r, lanes, sums),
                (true, _) => multiply256::<B, 2, 1>(panel, r, lanes, sums),
                (false, 8) => multiply256::<B, 1, 8>(panel, r, lanes, sums),
                (false, 4) => multiply256::<B, 1, 4>(panel, r, lanes, sums),
                (false, 2) => multiply256::<B, 1, 2>(panel, r, lanes, sums),
                (false, _) => multiply256::<B, 1, 1>(panel, r, lanes, sums),
            }
        }
    }
}

/// # Safety
/// As `Unpack::multiply`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply256<B: Runs, const V: usize, const STEPS: usize>(panel: &Panel, r: usize, lanes: &Lanes, sums: &mut Sums) {
    let (n, scales, mins) = (panel.blocks, Of256::<B>::SCALES, Of256::<B>::MINS);
    let sums_of_groups = if B::GROUP == 32 { lanes.sums_of_32 } else { lanes.sums };
    let mut running = [[[_mm256_setzero_ps(); V]; QUAD]; 8];
    for b in 0..n {
        // SAFETY: rows r to r + 3 of the panel and n blocks of all lanes are there.
        unsafe {
            let mut exact = [[_mm256_setzero_si256(); V]; QUAD];
            for g in 0..scales {
                for part in 0..B::GROUP / 4 / STEPS {
                    let from = B::GROUP / 4 * g + STEPS * part;
                    let bytes = panel.bytes.as_ptr().add(256 * (r * n + b) + 4 * from);
                    let words = pairs::<V, STEPS>(bytes, 256 * n, lanes.q.as_ptr().add(LANES * (64 * b + from)));
                    for (i, (exact, words)) in exact.iter_mut().zip(words).enumerate() {
                        let scale = _mm256_set1_epi32(*panel.scales.get_unchecked(scales * ((r + i) * n + b) + g));
                        for (exact, words) in exact.iter_mut().zip(words) {
                            *exact = _mm256_add_epi32(*exact, _mm256_madd_epi16(words, scale));
                        }
                    }
                }
            }
            // Mins are multiplied apart, offsets belong to the exact sum.
            let mut apart = if B::MINS { [[_mm256_setzero_si256(); V]; QUAD] } else { exact };
            for pair in 0..mins {
                for v in 0..V {
                    let two = eight_ints(sums_of_groups, LANES * (mins * b + pair) + 8 * v);
                    for (i, apart) in apart.iter_mut().enumerate() {
                        let own = _mm256_set1_epi32(*panel.mins.get_unchecked(mins * ((r + i) * n + b) + pair));
                        apart[v] = _mm256_add_epi32(apart[v], _mm256_madd_epi16(own, two));
                    }
                }
            }
            let running = &mut running[b % 8];
            for v in 0..V {
                let scale = eight_floats(lanes.scale, LANES * b + 8 * v);
                for i in 0..QUAD {
                    let at = (r + i) * n + b;
                    let d = _mm256_set1_ps(*panel.d.get_unchecked(at));
                    let part = if B::MINS {
                        let dmin = _mm256_set1_ps(*panel.m.get_unchecked(at));
                        let product = _mm256_mul_ps(d, _mm256_cvtepi32_ps(exact[i][v]));
                        _mm256_fnmadd_ps(dmin, _mm256_cvtepi32_ps(apart[i][v]), product)
                    } else {
                        _mm256_mul_ps(d, _mm256_cvtepi32_ps(apart[i][v]))
                    };
                    running[i][v] = _mm256_fmadd_ps(scale, part, running[i][v]);
                }
            }
        }
    }
    keep(running, sums);
}
