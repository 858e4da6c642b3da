//! Owns: quantized blocks as AVX-512 kernels multiply them: unsigned bytes, scales, what the bytes are too large by.
//! Refuses to know: activations, tensors. Layouts are those of `unpack`.

use super::blocks::*;
use std::arch::x86_64::*;

/// A block of 32: y = d * (u - MINUS) + m.
pub(super) trait Wide32: AnyBytes {
    const MINUS: i32;
    /// Whether the format has an m.
    const MINS: bool = false;
    /// The numbers u of four blocks: the first sixteen of all, then the last of all.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VBMI.
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2];
    /// A half.
    fn d(&self) -> u16;
    /// A half.
    fn m(&self) -> u16 {
        0
    }
    /// d in the low 16 bits, m above them.
    fn factors(&self) -> u32 {
        u32::from(self.d()) | u32::from(self.m()) << 16
    }
}

/// Sixteen bytes of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn four_times_sixteen(bytes: [&[u8; 16]; 4]) -> __m512i {
    // SAFETY: 16 bytes of each are there; the loads may lie at any address.
    let [a, b, c, d] = bytes.map(|bytes| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    let low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    let high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
}

impl Wide32 for BlockQ8_0 {
    const MINUS: i32 = 128;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2] {
        // SAFETY: 32 bytes are there; the loads may lie at any address.
        let [a, b, c, d] = blocks.map(|block| unsafe { _mm256_loadu_si256(block.q.as_ptr().cast()) });
        let (x, y) = (
            _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1),
            _mm512_inserti64x4(_mm512_castsi256_si512(c), d, 1),
        );
        let (first, second) = (_mm512_shuffle_i32x4(x, y, 0b10_00_10_00), _mm512_shuffle_i32x4(x, y, 0b11_01_11_01));
        let signs = _mm512_set1_epi8(-128);
        [_mm512_xor_si512(first, signs), _mm512_xor_si512(second, signs)]
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

/// The low nibbles of four times sixteen bytes, then the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn four_nibbles(bytes: [&[u8; 16]; 4]) -> [__m512i; 2] {
    let (both, low) = (four_times_sixteen(bytes), _mm512_set1_epi8(15));
    [_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16(both, 4), low)]
}

impl Wide32 for BlockQ4_0 {
    const MINUS: i32 = 8;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2] {
        four_nibbles(blocks.map(|block| &block.q))
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

impl Wide32 for BlockQ4_1 {
    const MINUS: i32 = 0;
    const MINS: bool = true;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2] {
        four_nibbles(blocks.map(|block| &block.q))
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
    fn m(&self) -> u16 {
        u16::from_le_bytes(self.m)
    }
    fn factors(&self) -> u32 {
        two(self.d, self.m)
    }
}

/// From which bit of its block's 32 each byte takes eight, so that its own is the fifth; first halves, then last ones.
const FIFTH: [[u8; 64]; 2] = {
    let mut all = [[0; 64]; 2];
    let mut i = 0;
    while i < 128 {
        all[i / 64][i % 64] = (60 + i % 16 + i / 64 * 16) as u8 % 64;
        i += 1;
    }
    all
};

/// As `four_nibbles`, with fifth bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
fn four_five_bits(q: [&[u8; 16]; 4], h: [[u8; 4]; 4]) -> [__m512i; 2] {
    let [a, b, c, d] = h.map(i32::from_le_bytes);
    let bits = _mm512_castsi128_si512(_mm_setr_epi32(a, b, c, d));
    // Each of the two times 64 bits of a block begins with its bits.
    let bits = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), bits);
    let (mut u, sixteen) = (four_nibbles(q), _mm512_set1_epi8(16));
    for (u, from) in u.iter_mut().zip(&FIFTH) {
        // SAFETY: 64 bytes are there.
        let from = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
        let fifth = _mm512_multishift_epi64_epi8(from, bits);
        *u = _mm512_or_si512(*u, _mm512_and_si512(fifth, sixteen));
    }
    u
}

impl Wide32 for BlockQ5_0 {
    const MINUS: i32 = 16;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2] {
        four_five_bits(blocks.map(|block| &block.q), blocks.map(|block| block.h))
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
}

impl Wide32 for BlockQ5_1 {
    const MINUS: i32 = 0;
    const MINS: bool = true;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
    unsafe fn four(blocks: [&Self; 4]) -> [__m512i; 2] {
        four_five_bits(blocks.map(|block| &block.q), blocks.map(|block| block.h))
    }
    fn d(&self) -> u16 {
        u16::from_le_bytes(self.d)
    }
    fn m(&self) -> u16 {
        u16::from_le_bytes(self.m)
    }
    fn factors(&self) -> u32 {
        two(self.d, self.m)
    }
}

/// A block of 256 in 16 groups of 16: y = d * scale[g] * (u - MINUS) - dmin * min[g]; u below 64.
pub(super) trait Wide256: AnyBytes {
    const MINUS: i32 = 0;
    /// Whether the format has mins.
    const MINS: bool = false;
    /// Numbers that share a scale and a min: 16 or 32.
    const GROUP: usize;
    /// Whether `woven` gives the numbers of odd groups 16 times as large.
    const ODD_HIGH: bool = false;
    /// The numbers u, 64 at a time; for groups of 32 in the order of `weave256`.
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW.
    unsafe fn woven(&self) -> [__m512i; 4];
    /// Groups of 32: bytes of the eight scales, then of the eight mins. Groups of 16: those of the scales.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VL.
    unsafe fn scale_bytes(&self) -> __m128i;
    /// d, a half, in the low 16 bits, dmin above them.
    fn factors(&self) -> u32;
}

fn two(low: [u8; 2], high: [u8; 2]) -> u32 {
    u32::from_le_bytes([low[0], low[1], high[0], high[1]])
}

/// 32 bytes twice; the low 32 shifted right by `low` in words of 16 bits, the high 32 by `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn twice_shifted(bytes: &[u8], low: i16, high: i16) -> __m512i {
    let bytes: &[u8] = &bytes[..32];
    // SAFETY: 32 bytes are there; the load may lie at any address.
    let both = _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) });
    let counts = _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
    _mm512_srlv_epi16(both, counts)
}

/// The eight scales and, after them, the eight mins of Q4_K and Q5_K as bytes, out of [d, dmin, scales].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn six_bits(head: __m128i) -> __m128i {
    // Words a, b, c follow d and dmin. The first four of each are the low six bits of a and b, the others a nibble of c
    // under two high bits of a and b.
    let low = _mm_srlv_epi32(_mm_shuffle_epi32(head, 0b11_10_11_01), _mm_setr_epi32(0, 0, 0, 4));
    let low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f_3f3f, 0x0f0f_0f0f, 0x3f3f_3f3f, 0x0f0f_0f0f));
    let high = _mm_srli_epi32(_mm_shuffle_epi32(head, 0b10_10_01_01), 2);
    _mm_or_si128(low, _mm_and_si128(high, _mm_setr_epi32(0, 0x3030_3030, 0, 0x3030_3030)))
}

/// Of 128 bytes of nibbles, two groups to every 32: the first halves of groups, their second halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn woven_bytes(bytes: &[u8; 128]) -> [__m512i; 2] {
    let two = bytes.as_chunks::<64>().0;
    // SAFETY: 64 bytes of each are there; the loads may lie at any address.
    let [x, y] = [0, 1].map(|n| unsafe { _mm512_loadu_si512(two[n].as_ptr().cast()) });
    [_mm512_shuffle_i32x4(x, y, 0b10_00_10_00), _mm512_shuffle_i32x4(x, y, 0b11_01_11_01)]
}

/// Of 128 bytes of nibbles, two groups to every 32: the first halves of even groups, their second halves, those of odd.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn woven_nibbles(bytes: &[u8; 128]) -> [__m512i; 4] {
    let ([first, second], low) = (woven_bytes(bytes), _mm512_set1_epi8(15));
    let odd = [_mm512_srli_epi16(first, 4), _mm512_srli_epi16(second, 4)];
    [
        _mm512_and_si512(first, low),
        _mm512_and_si512(second, low),
        _mm512_and_si512(odd[0], low),
        _mm512_and_si512(odd[1], low),
    ]
}

impl Wide256 for BlockQ4K {
    const MINS: bool = true;
    const GROUP: usize = 32;
    const ODD_HIGH: bool = true;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn woven(&self) -> [__m512i; 4] {
        let ([first, second], low) = (woven_bytes(&self.q), _mm512_set1_epi8(15));
        let high = _mm512_set1_epi8(-16);
        [
            _mm512_and_si512(first, low),
            _mm512_and_si512(second, low),
            _mm512_and_si512(first, high),
            _mm512_and_si512(second, high),
        ]
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn scale_bytes(&self) -> __m128i {
        // SAFETY: a block begins with d, dmin and the scales: 16 bytes, at any address.
        six_bits(unsafe { _mm_loadu_si128(std::ptr::from_ref(self).cast()) })
    }
    fn factors(&self) -> u32 {
        two(self.d, self.dmin)
    }
}

impl Wide256 for BlockQ5K {
    const MINS: bool = true;
    const GROUP: usize = 32;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn woven(&self) -> [__m512i; 4] {
        let (nibbles, sixteen) = (woven_nibbles(&self.q), _mm512_set1_epi8(16));
        // Bit g of a byte is the fifth of group g: four even groups are two bits apart.
        let apart = _mm512_set_epi64(
            0x6_0006_0006_0006,
            0x6_0006_0006_0006,
            0x4_0004_0004_0004,
            0x4_0004_0004_0004,
            0x2_0002_0002_0002,
            0x2_0002_0002_0002,
            0,
            0,
        );
        let halves = self.qh.as_chunks::<16>().0;
        let even = [0, 1].map(|n| {
            // SAFETY: 16 bytes are there; the load may lie at any address.
            let half = unsafe { _mm_loadu_si128(halves[n].as_ptr().cast()) };
            _mm512_srlv_epi16(_mm512_broadcast_i32x4(half), apart)
        });
        let fifth = [
            _mm512_slli_epi16(even[0], 4),
            _mm512_slli_epi16(even[1], 4),
            _mm512_slli_epi16(even[0], 3),
            _mm512_slli_epi16(even[1], 3),
        ];
        [0, 1, 2, 3].map(|n| _mm512_or_si512(nibbles[n], _mm512_and_si512(fifth[n], sixteen)))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    unsafe fn scale_bytes(&self) -> __m128i {
        // SAFETY: a block begins with d, dmin and the scales: 16 bytes, at any address.
        six_bits(unsafe { _mm_loadu_si128(std::ptr::from_ref(self).cast()) })
    }
    fn factors(&self) -> u32 {
        two(self.d, self.dmin)
    }
}

impl BlockQ6K {
    /// Numbers 64 * quarter to 64 * quarter + 63.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn numbers(&self, quarter: usize) -> __m512i {
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
}

impl Wide256 for BlockQ6K {
    const MINUS: i32 = 32;
    const GROUP: usize = 16;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn woven(&self) -> [__m512i; 4] {
        [self.numbers(0), self.numbers(1), self.numbers(2), self.numbers(3)]
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn scale_bytes(&self) -> __m128i {
        // SAFETY: 16 bytes are there; the load may lie at any address.
        unsafe { _mm_loadu_si128(self.scales.as_ptr().cast()) }
    }
    fn factors(&self) -> u32 {
        two(self.d, [0; 2])
    }
}
