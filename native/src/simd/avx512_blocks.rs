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
    /// The numbers u of two blocks.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn pair(first: &Self, second: &Self) -> __m512i {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { (first.numbers(), second.numbers()) };
        _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
    }
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

/// The nibbles of two times 16 bytes, for each the low ones first.
#[target_feature(enable = "avx512f,avx512bw")]
fn two_nibbles(first: &[u8; 16], second: &[u8; 16]) -> __m512i {
    // SAFETY: 16 bytes of each are there; the loads may lie at any address.
    let (first, second) =
        unsafe { (_mm_loadu_si128(first.as_ptr().cast()), _mm_loadu_si128(second.as_ptr().cast())) };
    let both = _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(first), 0xff00, second);
    let shifts = _mm512_set_epi64(0x4_0004_0004_0004, 0x4_0004_0004_0004, 0, 0, 0x4_0004_0004_0004, 0x4_0004_0004_0004, 0, 0);
    _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15))
}

impl Wide32 for BlockQ4_0 {
    const MINUS: i32 = 8;
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn pair(first: &Self, second: &Self) -> __m512i {
        two_nibbles(&first.q, &second.q)
    }
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
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn pair(first: &Self, second: &Self) -> __m512i {
        two_nibbles(&first.q, &second.q)
    }
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

/// As `two_nibbles`, with fifth bits.
#[target_feature(enable = "avx512f,avx512bw")]
fn two_five_bits(first: (&[u8; 16], [u8; 4]), second: (&[u8; 16], [u8; 4])) -> __m512i {
    let nibbles = two_nibbles(first.0, second.0);
    let bits = _mm512_kunpackd(u64::from(u32::from_le_bytes(second.1)), u64::from(u32::from_le_bytes(first.1)));
    _mm512_mask_add_epi8(nibbles, bits, nibbles, _mm512_set1_epi8(16))
}

impl Wide32 for BlockQ5_0 {
    const MINUS: i32 = 16;
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    unsafe fn pair(first: &Self, second: &Self) -> __m512i {
        two_five_bits((&first.q, first.h), (&second.q, second.h))
    }
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
    unsafe fn pair(first: &Self, second: &Self) -> __m512i {
        two_five_bits((&first.q, first.h), (&second.q, second.h))
    }
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
    /// The processor has AVX-512 F and VL.
    unsafe fn scales(&self) -> __m128i;
    /// The 16 mins, unsigned.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VL.
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

/// The eight scales and, after them, the eight mins of Q4_K and Q5_K as bytes.
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn six_bits(s: &[u8; 12]) -> __m128i {
    let word = |i: usize| i32::from_le_bytes([s[i], s[i + 1], s[i + 2], s[i + 3]]);
    let words = _mm_setr_epi32(word(0), word(4), word(8), 0); // a, b, c
    // The first four of each are the low six bits of a and b, the others a nibble of c under two high bits of a and b.
    let low = _mm_srlv_epi32(_mm_shuffle_epi32(words, 0b10_01_10_00), _mm_setr_epi32(0, 0, 0, 4));
    let low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f));
    let high = _mm_srli_epi32(_mm_shuffle_epi32(words, 0b01_01_00_00), 2);
    _mm_or_si128(low, _mm_and_si128(high, _mm_setr_epi32(0, 0x3030_3030, 0, 0x3030_3030)))
}

impl Wide256 for BlockQ4K {
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn numbers(&self, quarter: usize) -> __m512i {
        _mm512_and_si512(twice_shifted(&self.q[32 * quarter..], 0, 4), _mm512_set1_epi8(15))
    }
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn scales(&self) -> __m128i {
        let eight = six_bits(&self.scales);
        _mm_unpacklo_epi8(eight, eight)
    }
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn mins(&self) -> __m128i {
        let eight = six_bits(&self.scales);
        _mm_unpackhi_epi8(eight, eight)
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
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn scales(&self) -> __m128i {
        let eight = six_bits(&self.scales);
        _mm_unpacklo_epi8(eight, eight)
    }
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn mins(&self) -> __m128i {
        let eight = six_bits(&self.scales);
        _mm_unpackhi_epi8(eight, eight)
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
