//! Owns: the runs of 32 bytes of IQ1, IQ2, IQ3, TQ1_0 and TQ2_0 with AVX2.
//! Refuses to know: tensors, threads, operations. Layouts are those of `lattice`, which is the scalar twin.

use super::avx2_k::{Runs, bits, bytes32};
use super::blocks::*;
use super::lattice::Lattice;
use std::arch::x86_64::*;

/// Bytes of all ones where number j of eight, in the eight of its sign byte, is to be negative.
#[target_feature(enable = "avx2")]
fn minus(signs: [u8; 4]) -> __m256i {
    let which = _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0);
    let spread = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(signs)), which);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
    _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit)
}

/// Points of eight coordinates side by side.
#[target_feature(enable = "avx2")]
fn eights(point: impl Fn(usize) -> &'static [i8; 8]) -> __m256i {
    let word = |k| i64::from_le_bytes(point(k).map(i8::cast_unsigned));
    _mm256_set_epi64x(word(3), word(2), word(1), word(0))
}

/// Points of four coordinates side by side.
#[target_feature(enable = "avx2")]
fn fours(point: impl Fn(usize) -> &'static [i8; 4]) -> __m256i {
    let word = |k| i32::from_le_bytes(point(k).map(i8::cast_unsigned));
    _mm256_set_epi32(word(7), word(6), word(5), word(4), word(3), word(2), word(1), word(0))
}

/// The bytes of `q`, negative where the bit of their sign byte is set, plus `more`.
#[target_feature(enable = "avx2")]
fn signed(q: __m256i, sign: impl Fn(usize) -> u8, more: i32) -> __m256i {
    let minus = minus(std::array::from_fn(sign));
    _mm256_sub_epi8(_mm256_xor_si256(q, minus), _mm256_sub_epi8(minus, _mm256_set1_epi8(more as i8)))
}

macro_rules! lattice_runs {
    ($($name:ident $points:ident $count:literal, up to $largest:literal, groups of $group:literal;)*) => {
        $(
            impl Runs for $name {
                const LARGEST: i32 = 2 * $largest;
                const MINUS: i32 = $largest;
                const GROUP: usize = $group;
                #[inline]
                #[target_feature(enable = "avx2")]
                unsafe fn run(&self, run: usize) -> __m256i {
                    let q = $points(|k| self.point($count * run + k));
                    signed(q, |k| Lattice::signs(self, 4 * run + k), $largest)
                }
            }
        )*
    };
}

lattice_runs! {
    BlockIq2Xxs eights 4, up to 43, groups of 32;
    BlockIq2Xs eights 4, up to 43, groups of 16;
    BlockIq2S eights 4, up to 43, groups of 16;
    BlockIq3Xxs fours 8, up to 62, groups of 32;
    BlockIq3S fours 8, up to 15, groups of 32;
}

/// What makes the numbers of IQ1 unsigned.
const MOVED: i32 = 9;

/// 8 * coordinate + 1, or - 1 in an eight that is moved down; plus `MOVED`.
#[target_feature(enable = "avx2")]
fn moved(point: impl Fn(usize) -> (&'static [i8; 8], bool)) -> __m256i {
    let points = [point(0), point(1), point(2), point(3)];
    let two = eights(|k| points[k].0);
    let two = _mm256_add_epi8(two, two);
    let four = _mm256_add_epi8(two, two);
    let delta = |k: usize| {
        let delta = MOVED as i8 + if points[k].1 { -1 } else { 1 };
        i64::from_le_bytes([delta.cast_unsigned(); 8])
    };
    let deltas = _mm256_set_epi64x(delta(3), delta(2), delta(1), delta(0));
    _mm256_add_epi8(_mm256_add_epi8(four, four), deltas)
}

impl Runs for BlockIq1S {
    const LARGEST: i32 = 2 * MOVED;
    const MINUS: i32 = MOVED;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        moved(|k| self.point(4 * run + k))
    }
}

impl Runs for BlockIq1M {
    const LARGEST: i32 = 2 * MOVED;
    const MINUS: i32 = MOVED;
    const GROUP: usize = 16;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        moved(|k| self.point(4 * run + k))
    }
}

/// The digits of 16 bytes that are fractions in base 3, each at the place of its power of 3.
#[target_feature(enable = "avx2")]
fn digits(bytes: __m128i, powers: __m256i) -> __m128i {
    let rest = _mm256_and_si256(_mm256_mullo_epi16(_mm256_cvtepu8_epi16(bytes), powers), _mm256_set1_epi16(255));
    let digits = _mm256_srli_epi16(_mm256_mullo_epi16(rest, _mm256_set1_epi16(3)), 8);
    _mm_packus_epi16(_mm256_castsi256_si128(digits), _mm256_extracti128_si256(digits, 1))
}

impl BlockTq1_0 {
    /// Numbers 16 * part to 16 * part + 15.
    #[target_feature(enable = "avx2")]
    fn part(&self, part: usize) -> __m128i {
        const POWERS: [i16; 5] = [1, 3, 9, 27, 81];
        let (sixteens, _) = self.q.as_chunks::<16>();
        let (bytes, power) = match part {
            0..10 => (&sixteens[part % 2], POWERS[part / 2]),
            10..15 => (&sixteens[2], POWERS[part - 10]),
            _ => {
                let powers = _mm256_set_epi64x(
                    0x001b_001b_001b_001b,
                    0x0009_0009_0009_0009,
                    0x0003_0003_0003_0003,
                    0x0001_0001_0001_0001,
                );
                return digits(_mm_set1_epi32(i32::from_le_bytes(self.qh)), powers);
            }
        };
        // SAFETY: 16 bytes are there; the load may lie at any address.
        digits(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, _mm256_set1_epi16(power))
    }
}

impl Runs for BlockTq1_0 {
    const LARGEST: i32 = 2;
    const MINUS: i32 = 1;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        _mm256_set_m128i(self.part(2 * run + 1), self.part(2 * run))
    }
}

impl Runs for BlockTq2_0 {
    const LARGEST: i32 = 2;
    const MINUS: i32 = 1;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, run: usize) -> __m256i {
        bits(bytes32(&self.q, run / 4 * 32), run % 4 * 2, 0, 3)
    }
}
