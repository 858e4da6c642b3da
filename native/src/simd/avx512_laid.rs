//! Owns: quantized blocks of sixteen weight rows side by side, one row in each lane, as AVX-512 kernels multiply them.
//! Refuses to know: activations, tensors. Layouts of blocks are those of `unpack`.

use super::blocks::*;
use std::arch::x86_64::*;

/// Weight rows of a panel.
pub(super) const LANES: usize = 16;

/// A format whose blocks are laid side by side as `LINES` vectors.
pub(super) trait Laid: AnyBytes {
    const LINES: usize;
    /// How many pairs a block has.
    const PAIRS: usize;
    /// Lays a block of each row.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VBMI; the blocks are there, and room for the lines.
    unsafe fn lay(rows: Rows, to: *mut __m512i);
    /// Numbers 4 i to 4 i + 3 of the first half of what belongs together, and the same of the second.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VBMI; the lines are there.
    unsafe fn pair(lines: *const __m512i, i: usize) -> [__m512i; 2];
}

/// Where the blocks of sixteen rows begin: every fourth row's, and how far a row is from the next.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    fours: [*const u8; 4],
    stride: usize,
}

impl Rows {
    /// The first blocks of rows that lie one after the other.
    pub fn new(first: *const u8, stride: usize) -> Self {
        Self { fours: [0, 4, 8, 12].map(|row| first.wrapping_add(row * stride)), stride }
    }

    /// Goes on by so many bytes.
    #[inline(always)]
    pub fn step(&mut self, bytes: usize) {
        for at in &mut self.fours {
            *at = at.wrapping_add(bytes);
        }
    }

    /// Byte `from` of a row's block.
    #[inline(always)]
    fn at(self, row: usize, from: usize) -> *const u8 {
        self.fours[row / 4].wrapping_add(row % 4 * self.stride + from)
    }
}

/// A block of 32: y = d * (u - MINUS) + m; halves of 16 belong together.
pub(super) trait Laid32: Laid {
    /// log2 of MINUS; 0 where nothing is taken away.
    const MINUS_BITS: u32;
    const MINS: bool;
    /// Line of d, halves; that of m follows.
    const D: usize;
}

/// A block of 256 in groups: y = d * scale[g] * (u - MINUS) - dmin * min[g].
pub(super) trait Laid256: Laid {
    const MINUS_BITS: u32;
    const MINS: bool;
    /// Numbers that share a scale.
    const GROUP: usize;
    /// Line of d, halves; that of dmin follows.
    const D: usize;
    /// The two groups that pairs GROUP / 4 * t and those after it belong to.
    fn groups(t: usize) -> [usize; 2];
    /// The scale of a group.
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW; the lines are there.
    unsafe fn scale(lines: *const __m512i, group: usize) -> __m512i;
    /// Of what is taken away: two shorts that belong to two neighbours among the sums of GROUP numbers.
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW; the lines are there.
    unsafe fn minus(lines: *const __m512i, pair: usize) -> __m512i;
}

/// Lays N runs of sixteen bytes of every row from byte `from` of a block on, a word of every row in a line; XOR is for all
/// bytes. Vectors of half a line: their parts are moved twice as fast.
///
/// # Safety
/// As `Laid::lay`.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn lay_runs<const N: usize, const XOR: i8>(rows: Rows, from: usize, to: *mut __m512i) {
    for run in 0..N {
        for half in 0..2 {
            let from = from + 16 * run;
            // Row r lies in 128 bits number r / 4 of vector r mod 4.
            let mut z = [_mm256_setzero_si256(); 4];
            for (k, z) in z.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let [low, high] = unsafe {
                    let at = [rows.at(8 * half + k, from), rows.at(8 * half + 4 + k, from)];
                    [_mm_loadu_si128(at[0].cast()), _mm_loadu_si128(at[1].cast())]
                };
                *z = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
            }
            let (a, b) = (_mm256_unpacklo_epi32(z[0], z[1]), _mm256_unpackhi_epi32(z[0], z[1]));
            let (c, d) = (_mm256_unpacklo_epi32(z[2], z[3]), _mm256_unpackhi_epi32(z[2], z[3]));
            let words = [
                _mm256_unpacklo_epi64(a, c),
                _mm256_unpackhi_epi64(a, c),
                _mm256_unpacklo_epi64(b, d),
                _mm256_unpackhi_epi64(b, d),
            ];
            for (w, word) in words.into_iter().enumerate() {
                let word = if XOR == 0 { word } else { _mm256_xor_si256(word, _mm256_set1_epi8(XOR)) };
                // SAFETY: as above.
                unsafe { _mm256_storeu_si256(to.cast::<__m256i>().add(2 * (4 * run + w) + half), word) };
            }
        }
    }
}

/// Lays a number of every row, from byte `from` of a block on, as it is: sixteen of them side by side.
///
/// # Safety
/// As `Laid::lay`.
#[inline]
unsafe fn lay_numbers<T: Copy>(rows: Rows, from: usize, to: *mut __m512i) {
    for row in 0..LANES {
        // SAFETY: the caller's promise. Volatile, lest they be gathered in a vector first, which takes twice as long.
        unsafe { to.cast::<T>().add(row).write_volatile(rows.at(row, from).cast::<T>().read_unaligned()) };
    }
}

/// The sixteen halves that a line begins with, as floats.
///
/// # Safety
/// The line is there.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn halves_of(lines: *const __m512i, n: usize) -> __m512 {
    // SAFETY: the caller's promise.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(lines.add(n).cast()) })
}

/// # Safety
/// The line is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn line(lines: *const __m512i, n: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(lines.add(n).cast()) }
}

/// The low nibbles, then the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibbles(both: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    [_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16(both, 4), low)]
}

/// a | (b & mask)
#[inline]
#[target_feature(enable = "avx512f")]
fn or_some(a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32(a, b, mask, 0xf8)
}

impl Laid for BlockQ8_0 {
    const LINES: usize = 9;
    const PAIRS: usize = 4;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
    unsafe fn lay(rows: Rows, to: *mut __m512i) {
        // SAFETY: the caller's promise.
        unsafe {
            lay_numbers::<u16>(rows, 0, to.add(8));
            lay_runs::<2, -128>(rows, 2, to);
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn pair(lines: *const __m512i, i: usize) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { [line(lines, i), line(lines, 4 + i)] }
    }
}

impl Laid32 for BlockQ8_0 {
    const MINUS_BITS: u32 = 7;
    const MINS: bool = false;
    const D: usize = 8;
}

/// Bit 4 i and those after it of each row's word as bits 4 of four bytes; a vector's words share 64 bits by twos.
const FIFTH: [[u8; 64]; 8] = {
    let mut all = [[0; 64]; 8];
    let mut n = 0;
    while n < 512 {
        let (i, byte) = (n / 64, n % 64);
        all[i][byte] = ((60 + 4 * i + byte % 4 + byte / 4 % 2 * 32) % 64) as u8;
        n += 1;
    }
    all
};

/// Nibbles with a fifth bit out of each row's word of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn with_fifth(both: __m512i, bits: __m512i, i: usize) -> [__m512i; 2] {
    let [low, high] = nibbles(both);
    let fifth = |n: usize| {
        // SAFETY: 64 bytes are there.
        _mm512_multishift_epi64_epi8(unsafe { _mm512_loadu_si512(FIFTH[n].as_ptr().cast()) }, bits)
    };
    let sixteen = _mm512_set1_epi8(16);
    [or_some(low, fifth(i), sixteen), or_some(high, fifth(4 + i), sixteen)]
}

macro_rules! laid32 {
    ($block:ident, $minus_bits:literal, $fifth:literal, $mins:literal) => {
        impl Laid for $block {
            const LINES: usize = Self::D + 1 + $mins as usize;
            const PAIRS: usize = 4;
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
            unsafe fn lay(rows: Rows, to: *mut __m512i) {
                // SAFETY: the caller's promise.
                unsafe {
                    lay_numbers::<u16>(rows, 0, to.add(Self::D));
                    if $mins {
                        lay_numbers::<u16>(rows, 2, to.add(Self::D + 1));
                    }
                    if $fifth {
                        lay_numbers::<u32>(rows, size_of::<Self>() - 20, to.add(4));
                    }
                    lay_runs::<1, 0>(rows, size_of::<Self>() - 16, to);
                }
            }
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
            unsafe fn pair(lines: *const __m512i, i: usize) -> [__m512i; 2] {
                // SAFETY: the caller's promise.
                unsafe {
                    if $fifth { with_fifth(line(lines, i), line(lines, 4), i) } else { nibbles(line(lines, i)) }
                }
            }
        }

        impl Laid32 for $block {
            const MINUS_BITS: u32 = $minus_bits;
            const MINS: bool = $mins;
            const D: usize = 4 + $fifth as usize;
        }
    };
}

laid32!(BlockQ4_0, 3, false, false);
laid32!(BlockQ4_1, 0, false, true);
laid32!(BlockQ5_0, 4, true, false);
laid32!(BlockQ5_1, 0, true, true);

/// Lays d, dmin and the 6-bit scales and mins of Q4_K and Q5_K, out of their first 16 bytes: scales (two lines of four
/// bytes), mins (two), d, dmin.
///
/// # Safety
/// As `Laid::lay`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
unsafe fn lay_head(rows: Rows, to: *mut __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        lay_runs::<1, 0>(rows, 0, to);
        let [both, first, second, third] = [line(to, 0), line(to, 1), line(to, 2), line(to, 3)];
        let (six, four, two) =
            (_mm512_set1_epi32(0x3f3f_3f3f), _mm512_set1_epi32(0x0f0f_0f0f), _mm512_set1_epi32(0x3030_3030));
        let high = |low: __m512i, word: __m512i| or_some(_mm512_and_si512(low, four), _mm512_srli_epi32(word, 2), two);
        let head = [
            _mm512_and_si512(first, six),
            high(third, first),
            _mm512_and_si512(second, six),
            high(_mm512_srli_epi32(third, 4), second),
            _mm512_castsi256_si512(_mm512_cvtepi32_epi16(both)),
            _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16))),
        ];
        for (n, line) in head.into_iter().enumerate() {
            _mm512_storeu_si512(to.add(n).cast(), line);
        }
    }
}

/// Byte n of every word.
#[inline]
#[target_feature(enable = "avx512f")]
fn byte(words: __m512i, n: usize) -> __m512i {
    let down = _mm512_srlv_epi32(words, _mm512_set1_epi32(8 * n as i32));
    if n == 3 { down } else { _mm512_and_si512(down, _mm512_set1_epi32(255)) }
}

/// Bytes 2 n and 2 n + 1 of every word, each in the high half of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn two_high_bytes(words: __m512i, n: usize) -> __m512i {
    let of_word = |word: i32| ((2 * n as i32 + 4 * word) << 8 | 0x80) | ((2 * n as i32 + 1 + 4 * word) << 8 | 0x80) << 16;
    let which = _mm512_broadcast_i32x4(_mm_setr_epi32(of_word(0), of_word(1), of_word(2), of_word(3)));
    _mm512_shuffle_epi8(words, which)
}

macro_rules! laid_with_mins {
    ($block:ident, $head:literal, $fifth:literal) => {
        impl Laid for $block {
            const LINES: usize = $head + 6;
            const PAIRS: usize = 32;
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
            unsafe fn lay(rows: Rows, to: *mut __m512i) {
                // SAFETY: the caller's promise.
                unsafe {
                    lay_head(rows, to.add($head));
                    if $fifth {
                        lay_runs::<2, 0>(rows, 16, to.add(32));
                    }
                    lay_runs::<8, 0>(rows, size_of::<Self>() - 128, to);
                }
            }
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
            unsafe fn pair(lines: *const __m512i, i: usize) -> [__m512i; 2] {
                // SAFETY: the caller's promise.
                unsafe {
                    let [low, high] = nibbles(line(lines, i));
                    if !$fifth {
                        return [low, high];
                    }
                    // Bit g of a byte belongs to group g.
                    let down = _mm512_srlv_epi16(line(lines, 32 + i % 8), _mm512_set1_epi16((i / 8 * 2) as i16));
                    let sixteen = _mm512_set1_epi8(16);
                    [
                        or_some(low, _mm512_slli_epi16(down, 4), sixteen),
                        or_some(high, _mm512_slli_epi16(down, 3), sixteen),
                    ]
                }
            }
        }

        impl Laid256 for $block {
            const MINUS_BITS: u32 = 0;
            const MINS: bool = true;
            const GROUP: usize = 32;
            const D: usize = $head + 4;
            fn groups(t: usize) -> [usize; 2] {
                [2 * t, 2 * t + 1]
            }
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw")]
            unsafe fn scale(lines: *const __m512i, group: usize) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe { byte(line(lines, $head + group / 4), group % 4) }
            }
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw")]
            unsafe fn minus(lines: *const __m512i, pair: usize) -> __m512i {
                // SAFETY: the caller's promise.
                _mm512_srli_epi16(two_high_bytes(unsafe { line(lines, $head + 2 + pair / 2) }, pair % 2), 8)
            }
        }
    };
}

laid_with_mins!(BlockQ4K, 32, false);
laid_with_mins!(BlockQ5K, 40, true);

impl Laid for BlockQ6K {
    const LINES: usize = 53;
    const PAIRS: usize = 32;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx2")]
    unsafe fn lay(rows: Rows, to: *mut __m512i) {
        // SAFETY: the caller's promise.
        unsafe {
            lay_numbers::<u16>(rows, 208, to.add(52));
            // Low bits, high bits, scales.
            lay_runs::<8, 0>(rows, 0, to);
            lay_runs::<4, 0>(rows, 128, to.add(32));
            lay_runs::<1, 0>(rows, 192, to.add(48));
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn pair(lines: *const __m512i, i: usize) -> [__m512i; 2] {
        let (half, n) = (i / 16, i % 16);
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = nibbles(line(lines, i));
            // Two bits each for numbers n, n + 32, n + 64, n + 96 of a half.
            let down = _mm512_srlv_epi16(line(lines, 32 + 8 * half + n % 8), _mm512_set1_epi16((n / 8 * 2) as i16));
            let two = _mm512_set1_epi8(0x30);
            [or_some(low, _mm512_slli_epi16(down, 4), two), or_some(high, down, two)]
        }
    }
}

impl Laid256 for BlockQ6K {
    const MINUS_BITS: u32 = 5;
    const MINS: bool = false;
    const GROUP: usize = 16;
    const D: usize = 52;
    fn groups(t: usize) -> [usize; 2] {
        let first = t / 4 * 8 + t % 4;
        [first, first + 4]
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn scale(lines: *const __m512i, group: usize) -> __m512i {
        // SAFETY: the caller's promise.
        let words = unsafe { line(lines, 48 + group / 4) };
        let up = _mm512_sllv_epi32(words, _mm512_set1_epi32(24 - 8 * (group % 4) as i32));
        _mm512_srai_epi32(up, 24)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn minus(lines: *const __m512i, pair: usize) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_srai_epi16(two_high_bytes(unsafe { line(lines, 48 + pair / 2) }, pair % 2), 8)
    }
}
