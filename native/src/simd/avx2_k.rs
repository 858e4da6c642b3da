//! Owns: integer dot products of the 256-blocks with AVX2, by hand; AVX-512 uses them too.
//! Refuses to know: tensors, threads, operations. Layouts are those of `unpack`.

use super::Row;
use super::blocks::*;
use super::unpack::{Block256, IQ4_LEVELS, Unpacked256};
use std::arch::x86_64::*;

/// A block of 256 in eight runs of 32 signed bytes.
pub(super) trait Runs: Block256 + AnyBytes {
    /// Numbers 32 * run to 32 * run + 31.
    ///
    /// # Safety
    /// The processor has AVX2, and run is below 8.
    unsafe fn run(&self, run: usize) -> __m256i;
}

/// 32 bytes from `at` on.
#[target_feature(enable = "avx2")]
pub(super) fn bytes32(bytes: &[u8], at: usize) -> __m256i {
    let bytes: &[u8] = &bytes[at..at + 32];
    // SAFETY: 32 bytes are there; the load may lie at any address.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Bits [shift, shift + width) of every byte, moved to bit `to`; `mask` is those bits in their new place.
#[target_feature(enable = "avx2")]
pub(super) fn bits(x: __m256i, shift: usize, to: usize, mask: i8) -> __m256i {
    let moved = _mm256_sll_epi16(_mm256_srl_epi16(x, count(shift)), count(to));
    _mm256_and_si256(moved, _mm256_set1_epi8(mask))
}

#[target_feature(enable = "avx2")]
fn count(n: usize) -> __m128i {
    _mm_cvtsi32_si128(n as i32)
}

impl Runs for BlockQ2K {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        bits(bytes32(&self.q, run / 4 * 32), run % 4 * 2, 0, 3)
    }
}

impl Runs for BlockQ3K {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let low = bits(bytes32(&self.q, run / 4 * 32), run % 4 * 2, 0, 3);
        // A set bit of the mask takes nothing away, an unset one 4.
        let high = bits(bytes32(&self.hmask, 0), run, 2, 4);
        _mm256_sub_epi8(_mm256_add_epi8(low, high), _mm256_set1_epi8(4))
    }
}

impl Runs for BlockQ4K {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        bits(bytes32(&self.q, run / 2 * 32), run % 2 * 4, 0, 15)
    }
}

impl Runs for BlockQ5K {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let low = bits(bytes32(&self.q, run / 2 * 32), run % 2 * 4, 0, 15);
        _mm256_or_si256(low, bits(bytes32(&self.qh, 0), run, 4, 16))
    }
}

impl Runs for BlockQ6K {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let (n, part) = (run / 4, run % 4);
        let low = bits(bytes32(&self.ql, 64 * n + part % 2 * 32), part / 2 * 4, 0, 15);
        let high = bits(bytes32(&self.qh, 32 * n), 2 * part, 4, 48);
        _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32))
    }
}

impl Runs for BlockIq4Xs {
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let (nibbles, _) = self.q.as_chunks::<16>();
        levels(&IQ4_LEVELS, super::avx2::nibbles(&nibbles[run]))
    }
}

/// Bytes below 16 looked up in a table.
#[target_feature(enable = "avx2")]
pub(super) fn levels(table: &[i8; 16], at: __m256i) -> __m256i {
    // SAFETY: 16 bytes are there; the load may lie at any address.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), at)
}

/// As `scalar::rows256`: inside a block all is exact in i32; eight running sums over the blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows256<B: Runs>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    super::scalar::each_product(weights, xs, out, |row, x| row256::<B>(row, x));
}

#[target_feature(enable = "avx2,fma,f16c")]
fn row256<B: Runs>(row: &[u8], x: &Row) -> f32 {
    let mut w = Unpacked256::ZERO;
    let mut sum = _mm256_setzero_ps();
    for (b, block) in blocks_of::<B>(row).iter().enumerate() {
        block.factors(&mut w);
        let (quants, sums) = (&x.q[256 * b..256 * b + 256], &x.sums[16 * b..16 * b + 16]);
        let mut product = _mm256_setzero_si256();
        for run in 0..8 {
            // SAFETY: this function has AVX2, and 32 bytes of the 256 are there.
            let (q, x) = unsafe {
                (block.run(run), _mm256_loadu_si256(quants[32 * run..32 * run + 32].as_ptr().cast()))
            };
            // The sign moves from q to x, so that one factor is unsigned: 127 * 127 * 2 fits i16.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
            let scales = _mm256_set_m128i(_mm_set1_epi16(w.scale[2 * run + 1]), _mm_set1_epi16(w.scale[2 * run]));
            product = _mm256_add_epi32(product, _mm256_madd_epi16(pairs, scales));
        }
        let product = _mm256_mul_ps(_mm256_set1_ps(w.d), _mm256_cvtepi32_ps(product));
        let mut offset = _mm256_setzero_si256();
        for (min, sums) in w.min.as_chunks::<8>().0.iter().zip(sums.as_chunks::<8>().0) {
            // SAFETY: 8 numbers of each are there; the loads may lie at any address.
            let (min, sums) =
                unsafe { (_mm_loadu_si128(min.as_ptr().cast()), _mm256_loadu_si256(sums.as_ptr().cast())) };
            offset = _mm256_add_epi32(offset, _mm256_mullo_epi32(_mm256_cvtepi16_epi32(min), sums));
        }
        let block_sum = _mm256_fnmadd_ps(_mm256_set1_ps(w.dmin), _mm256_cvtepi32_ps(offset), product);
        sum = _mm256_fmadd_ps(_mm256_set1_ps(x.scale[b]), block_sum, sum);
    }
    super::avx2::sum_of(sum)
}
