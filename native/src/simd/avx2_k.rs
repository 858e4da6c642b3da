//! Owns: blocks of 256 as AVX2 kernels multiply them: runs of 32 bytes, scales, what the bytes are too large by.
//! Refuses to know: activations, tensors. Layouts are those of `unpack`.

use super::avx2::one_half;
use super::avx2_blocks::SIGNED;
use super::avx512_blocks::six_bits;
use super::blocks::*;
use super::unpack::{Block256, IQ4_LEVELS, Unpacked256};
use std::arch::x86_64::*;

/// A block of 256 in eight runs of 32: y = d * scale * (u - MINUS) - dmin * min.
pub(super) trait Runs: Block256 + AnyBytes {
    /// Largest u: below 130, or `SIGNED`.
    const LARGEST: i32;
    const MINUS: i32 = 0;
    /// Whether the format has mins.
    const MINS: bool = false;
    /// Numbers that share a scale and a min: 16 or 32.
    const GROUP: usize;
    /// Numbers u from 32 * run to 32 * run + 31; signed where `LARGEST` says so.
    ///
    /// # Safety
    /// The processor has AVX2, and run is below 8.
    unsafe fn run(&self, run: usize) -> __m256i;
    /// All but the numbers; `work` is where the plain unpacking puts them.
    ///
    /// # Safety
    /// The processor has AVX2, FMA and F16C.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn all_factors(&self, work: &mut Unpacked256) -> Factors {
        self.factors(work);
        // SAFETY: sixteen words of each are there.
        let [scales, mins] = [&work.scale, &work.min].map(|all| unsafe { _mm256_loadu_si256(all.as_ptr().cast()) });
        Factors { scales, mins, d: work.d, dmin: work.dmin }
    }
}

/// Words of the sixteen scales and mins, and what they are multiplied by.
pub(super) struct Factors {
    pub scales: __m256i,
    pub mins: __m256i,
    pub d: f32,
    pub dmin: f32,
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

/// Factors of Q4_K and Q5_K: eight scales and eight mins of six bits, each for two groups.
///
/// # Safety
/// `head` is the first sixteen bytes of a block: d, dmin and the scales.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn six_bit_factors(head: *const u8, d: [u8; 2], dmin: [u8; 2]) -> Factors {
    // SAFETY: the caller's promise.
    let bytes = six_bits(unsafe { _mm_loadu_si128(head.cast()) });
    Factors {
        scales: _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes)),
        mins: _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(bytes, bytes)),
        d: one_half(d),
        dmin: one_half(dmin),
    }
}

macro_rules! six_bit_factors {
    () => {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn all_factors(&self, _: &mut Unpacked256) -> Factors {
            // SAFETY: a block begins with d, dmin and the scales: sixteen bytes.
            unsafe { six_bit_factors(std::ptr::from_ref(self).cast(), self.d, self.dmin) }
        }
    };
}

impl Runs for BlockQ2K {
    const LARGEST: i32 = 3;
    const MINS: bool = true;
    const GROUP: usize = 16;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        bits(bytes32(&self.q, run / 4 * 32), run % 4 * 2, 0, 3)
    }
}

impl Runs for BlockQ3K {
    const LARGEST: i32 = 7;
    const MINUS: i32 = 4;
    const GROUP: usize = 16;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let low = bits(bytes32(&self.q, run / 4 * 32), run % 4 * 2, 0, 3);
        _mm256_or_si256(low, bits(bytes32(&self.hmask, 0), run, 2, 4))
    }
}

impl Runs for BlockQ4K {
    const LARGEST: i32 = 15;
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        bits(bytes32(&self.q, run / 2 * 32), run % 2 * 4, 0, 15)
    }
    six_bit_factors!();
}

impl Runs for BlockQ5K {
    const LARGEST: i32 = 31;
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let low = bits(bytes32(&self.q, run / 2 * 32), run % 2 * 4, 0, 15);
        _mm256_or_si256(low, bits(bytes32(&self.qh, 0), run, 4, 16))
    }
    six_bit_factors!();
}

impl Runs for BlockQ6K {
    const LARGEST: i32 = 63;
    const MINUS: i32 = 32;
    const GROUP: usize = 16;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let (n, part) = (run / 4, run % 4);
        let low = bits(bytes32(&self.ql, 64 * n + part % 2 * 32), part / 2 * 4, 0, 15);
        _mm256_or_si256(low, bits(bytes32(&self.qh, 32 * n), 2 * part, 4, 48))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn all_factors(&self, _: &mut Unpacked256) -> Factors {
        // SAFETY: sixteen bytes are there, at any address.
        let scales = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(self.scales.as_ptr().cast()) });
        Factors { scales, mins: _mm256_setzero_si256(), d: one_half(self.d), dmin: 0.0 }
    }
}

impl Runs for BlockIq4Xs {
    const LARGEST: i32 = SIGNED;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        let (nibbles, _) = self.q.as_chunks::<16>();
        levels(&IQ4_LEVELS, super::avx2_blocks::nibbles(&nibbles[run]))
    }
}

/// Bytes below 16 looked up in a table.
#[target_feature(enable = "avx2")]
pub(super) fn levels(table: &[i8; 16], at: __m256i) -> __m256i {
    // SAFETY: 16 bytes are there; the load may lie at any address.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), at)
}
