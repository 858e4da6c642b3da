//! Owns: quantized blocks as AVX-512 kernels multiply them: unsigned bytes, scales, what the bytes are too large by.
//! Refuses to know: activations, tensors. Layouts are those of `unpack`.

use super::avx2;
use super::blocks::*;
use std::arch::x86_64::*;

/// A block of 32: y = d * (u - MINUS) + m.
pub(super) trait Wide32: AnyBytes {
    const MINUS: i32;
    /// Whether the format has an m.
    const MINS: bool = false;
    /// The numbers u.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn numbers(&self) -> __m256i;
    /// A half.
    fn d(&self) -> u16;
    /// A half.
    fn m(&self) -> u16 {
        0
    }
}

impl Wide32 for BlockQ8_0 {
    const MINUS: i32 = 128;
    #[target_feature(enable = "avx2")]
    unsafe fn numbers(&self) -> __m256i {
        // SAFETY: 32 bytes are there; the load may lie at any address.
        let q = unsafe { _mm256_loadu_si256(self.q.as_ptr().cast()) };
        _mm256_xor_si256(q, _mm256_set1_epi8(-128))
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

impl Wide32 for BlockQ4_0 {
    const MINUS: i32 = 8;
    #[target_feature(enable = "avx2")]
    unsafe fn numbers(&self) -> __m256i {
        avx2::nibbles(&self.q)
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

impl Wide32 for BlockQ4_1 {
    const MINUS: i32 = 0;
    const MINS: bool = true;
    #[target_feature(enable = "avx2")]
    unsafe fn numbers(&self) -> __m256i {
        avx2::nibbles(&self.q)
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
    fn m(&self) -> u16 {
        u16::from_le_bytes(self.m)
    }
}

/// Nibbles with a fifth bit: bit j of h belongs to number j.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn five_bits(q: &[u8; 16], h: [u8; 4]) -> __m256i {
    let nibbles = avx2::nibbles(q);
    _mm256_mask_add_epi8(nibbles, u32::from_le_bytes(h), nibbles, _mm256_set1_epi8(16))
}

impl Wide32 for BlockQ5_0 {
    const MINUS: i32 = 16;
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn numbers(&self) -> __m256i {
        five_bits(&self.q, self.h)
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

impl Wide32 for BlockQ5_1 {
    const MINUS: i32 = 0;
    const MINS: bool = true;
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn numbers(&self) -> __m256i {
        five_bits(&self.q, self.h)
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
    fn m(&self) -> u16 {
        u16::from_le_bytes(self.m)
    }
}

/// A block of 256 in 16 groups of 16: y = d * scale[g] * (u - MINUS) - dmin * min[g]; u below 64.
pub(super) trait Wide256: AnyBytes {
    const MINUS: i32 = 0;
    /// Whether the format has mins.
    const MINS: bool = false;
    /// Numbers that share a scale and a min: 16 or 32.
    const GROUP: usize;
    /// Numbers 64 * quarter to 64 * quarter + 63.
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW; quarter is below 4.
    unsafe fn numbers(&self, quarter: usize) -> __m512i;
    /// The 16 scales, signed.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn scales(&self) -> __m128i;
    /// The 16 mins, unsigned.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn mins(&self) -> __m128i {
        // SAFETY: the caller's promise.
        unsafe { _mm_setzero_si128() }
    }
    /// d, a half, in the low 16 bits, dmin above them.
    fn factors(&self) -> u32;
}

fn two(low: [u8; 2], high: [u8; 2]) -> u32 {
    u32::from_le_bytes([low[0], low[1], high[0], high[1]])
}

/// 32 bytes twice; the low 32 shifted right by `low` in words of 16 bits, the high 32 by `high`.
#[target_feature(enable = "avx512f,avx512bw")]
fn twice_shifted(bytes: &[u8], low: i16, high: i16) -> __m512i {
    let bytes: &[u8] = &bytes[..32];
    // SAFETY: 32 bytes are there; the load may lie at any address.
    let both = _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) });
    let counts = _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
    _mm512_srlv_epi16(both, counts)
}

/// The eight scales and the eight mins of Q4_K and Q5_K as 16 bytes.
fn six_bits(s: &[u8; 12]) -> [u32; 4] {
    let word = |i: usize| u32::from_le_bytes([s[i], s[i + 1], s[i + 2], s[i + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    [
        a & 0x3f3f_3f3f,
        (c & 0x0f0f_0f0f) | (a >> 6 & 0x0303_0303) << 4,
        b & 0x3f3f_3f3f,
        (c >> 4 & 0x0f0f_0f0f) | (b >> 6 & 0x0303_0303) << 4,
    ]
}

/// Eight bytes of `six_bits`, beginning at word `from`, each twice.
#[target_feature(enable = "avx2")]
fn each_twice(words: [u32; 4], from: usize) -> __m128i {
    let eight = u64::from(words[from]) | u64::from(words[from + 1]) << 32;
    let eight = _mm_cvtsi64_si128(eight.cast_signed());
    _mm_unpacklo_epi8(eight, eight)
}

impl Wide256 for BlockQ4K {
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn numbers(&self, quarter: usize) -> __m512i {
        _mm512_and_si512(twice_shifted(&self.q[32 * quarter..], 0, 4), _mm512_set1_epi8(15))
    }
    #[target_feature(enable = "avx2")]
    unsafe fn scales(&self) -> __m128i {
        each_twice(six_bits(&self.scales), 0)
    }
    #[target_feature(enable = "avx2")]
    unsafe fn mins(&self) -> __m128i {
        each_twice(six_bits(&self.scales), 2)
    }
    fn factors(&self) -> u32 {
        two(self.d, self.dmin)
    }
}

impl Wide256 for BlockQ5K {
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn numbers(&self, quarter: usize) -> __m512i {
        let low = _mm512_and_si512(twice_shifted(&self.q[32 * quarter..], 0, 4), _mm512_set1_epi8(15));
        let high = twice_shifted(&self.qh, 2 * quarter as i16, 2 * quarter as i16 + 1);
        let high = _mm512_and_si512(high, _mm512_set1_epi8(1));
        _mm512_or_si512(low, _mm512_slli_epi16(high, 4))
    }
    #[target_feature(enable = "avx2")]
    unsafe fn scales(&self) -> __m128i {
        each_twice(six_bits(&self.scales), 0)
    }
    #[target_feature(enable = "avx2")]
    unsafe fn mins(&self) -> __m128i {
        each_twice(six_bits(&self.scales), 2)
    }
    fn factors(&self) -> u32 {
        two(self.d, self.dmin)
    }
}

impl Wide256 for BlockQ6K {
    const MINUS: i32 = 32;
    const GROUP: usize = 16;
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn numbers(&self, quarter: usize) -> __m512i {
        let (half, upper) = (quarter / 2, quarter % 2);
        let bytes: &[u8] = &self.ql[64 * half..64 * half + 64];
        // SAFETY: 64 bytes are there; the load may lie at any address.
        let low = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        let low = if upper == 0 { low } else { _mm512_srli_epi16(low, 4) };
        let shift = 4 * upper as i16;
        let high = twice_shifted(&self.qh[32 * half..], shift, shift + 2);
        let high = _mm512_and_si512(high, _mm512_set1_epi8(3));
        _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(15)), _mm512_slli_epi16(high, 4))
    }
    #[target_feature(enable = "avx2")]
    unsafe fn scales(&self) -> __m128i {
        // SAFETY: 16 bytes are there; the load may lie at any address.
        unsafe { _mm_loadu_si128(self.scales.as_ptr().cast()) }
    }
    fn factors(&self) -> u32 {
        two(self.d, [0; 2])
    }
}
