//! Owns: blocks of 32 as AVX2 kernels multiply them: bytes, factors, what the bytes are too large by.
//! Refuses to know: activations, tensors. Layouts are those of `unpack`.

use super::avx2_k::levels;
use super::blocks::*;
use super::unpack::{FP4_DOUBLED, IQ4_LEVELS, halved_e8m0};
use std::arch::x86_64::*;

/// A block of 32: y = d * (u - MINUS) + m.
pub(super) trait Block: AnyBytes {
    /// Largest u: below 128, or `SIGNED`.
    const LARGEST: i32;
    const MINUS: i32 = 0;
    /// Whether the format has an m.
    const MINS: bool = false;
    /// The 32 numbers u; signed where they do not fit seven bits.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn numbers(&self) -> __m256i;
    fn d(&self) -> Factor;
    /// 0 where the format has none.
    fn m(&self) -> u16 {
        0
    }
}

/// `LARGEST` of formats whose numbers are signed bytes.
pub(super) const SIGNED: i32 = 128;

/// A factor as it is kept.
#[derive(Clone, Copy)]
pub(super) enum Factor {
    Half(u16),
    Float(f32),
}

/// The 32 nibbles of 16 bytes, low ones first.
#[target_feature(enable = "avx2")]
pub(super) fn nibbles(q: &[u8; 16]) -> __m256i {
    // SAFETY: 16 bytes are there; the load may lie at any address.
    let q = unsafe { _mm_loadu_si128(q.as_ptr().cast()) };
    let both = _mm256_set_m128i(_mm_srli_epi16(q, 4), q);
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// Bit j of h as 16 in byte j.
#[target_feature(enable = "avx2")]
fn fifth_bits(h: [u8; 4]) -> __m256i {
    let which = _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0);
    let spread = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(h)), which);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
    _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), _mm256_set1_epi8(16))
}

#[target_feature(enable = "avx2")]
fn five_bits(q: &[u8; 16], h: [u8; 4]) -> __m256i {
    _mm256_or_si256(nibbles(q), fifth_bits(h))
}

#[target_feature(enable = "avx2")]
fn thirty_two(q: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are there; the load may lie at any address.
    unsafe { _mm256_loadu_si256(q.as_ptr().cast()) }
}

const FP4_LARGEST: i8 = 12;
/// The FP4 codes' levels, made unsigned.
const FP4_UNSIGNED: [i8; 16] = {
    let mut levels = FP4_DOUBLED;
    let mut i = 0;
    while i < 16 {
        levels[i] += FP4_LARGEST;
        i += 1;
    }
    levels
};

fn half_in(bytes: [u8; 2]) -> Factor {
    Factor::Half(u16::from_le_bytes(bytes))
}

macro_rules! blocks {
    ($($name:ident up to $largest:expr, minus $minus:expr, |$block:ident| $numbers:expr, $d:expr $(, $m:expr)?;)*) => {
        $(
            impl Block for $name {
                const LARGEST: i32 = $largest;
                const MINUS: i32 = $minus;
                $(
                    const MINS: bool = true;
                    fn m(&self) -> u16 {
                        let $block = self;
                        u16::from_le_bytes($m)
                    }
                )?
                #[inline]
                #[target_feature(enable = "avx2")]
                unsafe fn numbers(&self) -> __m256i {
                    let $block = self;
                    $numbers
                }
                #[inline]
                fn d(&self) -> Factor {
                    let $block = self;
                    $d
                }
            }
        )*
    };
}

blocks! {
    BlockQ8_0 up to SIGNED, minus 0, |block| thirty_two(&block.q), half_in(block.d);
    BlockQ4_0 up to 15, minus 8, |block| nibbles(&block.q), half_in(block.d);
    BlockQ4_1 up to 15, minus 0, |block| nibbles(&block.q), half_in(block.d), block.m;
    BlockQ5_0 up to 31, minus 16, |block| five_bits(&block.q, block.h), half_in(block.d);
    BlockQ5_1 up to 31, minus 0, |block| five_bits(&block.q, block.h), half_in(block.d), block.m;
    BlockIq4Nl up to SIGNED, minus 0, |block| levels(&IQ4_LEVELS, nibbles(&block.q)), half_in(block.d);
    BlockMxfp4 up to 2 * FP4_LARGEST as i32, minus FP4_LARGEST as i32,
        |block| levels(&FP4_UNSIGNED, nibbles(&block.q)), Factor::Float(halved_e8m0(block.e));
}
