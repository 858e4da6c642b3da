//! Owns: every quantized format unpacked to one of two plain forms, in obvious loops: the scalar twin of all kernels.
//! Refuses to know: activations. Layouts after ggml; each unpacking is one line of its formula.

use super::blocks::*;

/// 32 numbers: y = d * q + m.
#[derive(Clone, Copy)]
pub struct Unpacked32 {
    pub q: [i8; 32],
    pub d: f32,
    pub m: f32,
}

/// The m of formats that have none: adding it changes no bit, not even the sign of a zero.
pub const NO_MIN: f32 = -0.0;

/// 256 numbers in 16 groups of 16: y = d * scale[g] * q - dmin * min[g].
#[derive(Clone, Copy)]
pub struct Unpacked256 {
    pub q: [i8; 256],
    pub scale: [i16; 16],
    pub min: [i16; 16],
    pub d: f32,
    pub dmin: f32,
}

impl Unpacked256 {
    pub const ZERO: Self = Self { q: [0; 256], scale: [0; 16], min: [0; 16], d: 0.0, dmin: 0.0 };
}

/// A block of 32 numbers.
pub trait Block32: Copy {
    fn unpack(&self) -> Unpacked32;
}

/// A block of 256 numbers.
pub trait Block256: Copy {
    fn quants(&self) -> [i8; 256];
    /// All but the quants.
    fn factors(&self, to: &mut Unpacked256);
    #[inline(always)]
    fn unpack(&self, to: &mut Unpacked256) {
        to.q = self.quants();
        self.factors(to);
    }
}

/// The 16 levels of IQ4_NL and IQ4_XS.
pub const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of the FP4 codes.
pub const FP4_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Low nibbles are numbers 0 to 15, high nibbles 16 to 31.
fn nibbles(q: &[u8; 16], level: impl Fn(u8) -> i8) -> [i8; 32] {
    std::array::from_fn(|j| level(if j < 16 { q[j] & 15 } else { q[j - 16] >> 4 }))
}

/// Nibbles with a fifth bit: bit j of h belongs to number j.
fn five_bits(q: &[u8; 16], h: [u8; 4], minus: i8) -> [i8; 32] {
    let h = u32::from_le_bytes(h);
    std::array::from_fn(|j| {
        let nibble = if j < 16 { q[j] & 15 } else { q[j - 16] >> 4 };
        (nibble | ((h >> j & 1) as u8) << 4) as i8 - minus
    })
}

impl Block32 for BlockQ8_0 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: self.q.map(|q| q as i8), d: half(self.d), m: NO_MIN }
    }
}

impl Block32 for BlockQ4_0 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: nibbles(&self.q, |n| n as i8 - 8), d: half(self.d), m: NO_MIN }
    }
}

impl Block32 for BlockIq4Nl {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: nibbles(&self.q, |n| IQ4_LEVELS[n as usize]), d: half(self.d), m: NO_MIN }
    }
}

impl Block32 for BlockQ4_1 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: nibbles(&self.q, |n| n as i8), d: half(self.d), m: half(self.m) }
    }
}

impl Block32 for BlockQ5_0 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: five_bits(&self.q, self.h, 16), d: half(self.d), m: NO_MIN }
    }
}

impl Block32 for BlockQ5_1 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: five_bits(&self.q, self.h, 0), d: half(self.d), m: half(self.m) }
    }
}

/// 2^(e - 128): half the E8M0 scale, since the codes are doubled. Below f32's normal range it is a subnormal.
pub fn halved_e8m0(e: u8) -> f32 {
    match e {
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        _ => f32::from_bits((e as u32 - 1) << 23),
    }
}

impl Block32 for BlockMxfp4 {
    fn unpack(&self) -> Unpacked32 {
        Unpacked32 { q: nibbles(&self.q, |n| FP4_DOUBLED[n as usize]), d: halved_e8m0(self.e), m: NO_MIN }
    }
}

/// The eight 6-bit scales and mins of Q4_K and Q5_K, each for two groups of 16.
pub fn six_bit_pairs(s: &[u8; 12]) -> ([i16; 16], [i16; 16]) {
    let pair = |j: usize| match j {
        0..4 => (s[j] & 63, s[j + 4] & 63),
        _ => ((s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4),
    };
    (std::array::from_fn(|g| pair(g / 2).0 as i16), std::array::from_fn(|g| pair(g / 2).1 as i16))
}

impl Block256 for BlockQ2K {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let (n, shift, l) = (i / 128, i / 32 % 4 * 2, i % 32);
            (self.q[32 * n + l] >> shift & 3) as i8
        })
    }

    fn factors(&self, to: &mut Unpacked256) {
        to.scale = self.scales.map(|s| (s & 15) as i16);
        to.min = self.scales.map(|s| (s >> 4) as i16);
        (to.d, to.dmin) = (half(self.d), half(self.dmin));
    }
}

impl Block256 for BlockQ3K {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let (n, step, l) = (i / 128, i / 32 % 4, i % 32);
            let low = (self.q[32 * n + l] >> (2 * step) & 3) as i8;
            let high = self.hmask[l] >> (4 * n + step) & 1;
            low - if high == 1 { 0 } else { 4 }
        })
    }

    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| {
            let low = if g < 8 { self.scales[g] & 15 } else { self.scales[g - 8] >> 4 };
            let high = self.scales[8 + g % 4] >> (g / 4 * 2) & 3;
            (low | high << 4) as i16 - 32
        });
        to.min = [0; 16];
        (to.d, to.dmin) = (half(self.d), 0.0);
    }
}

impl Block256 for BlockQ4K {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| (self.q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) as i8)
    }

    fn factors(&self, to: &mut Unpacked256) {
        (to.scale, to.min) = six_bit_pairs(&self.scales);
        (to.d, to.dmin) = (half(self.d), half(self.dmin));
    }
}

impl Block256 for BlockQ5K {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let low = self.q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            let high = self.qh[i % 32] >> (i / 32) & 1;
            (low | high << 4) as i8
        })
    }

    fn factors(&self, to: &mut Unpacked256) {
        (to.scale, to.min) = six_bit_pairs(&self.scales);
        (to.d, to.dmin) = (half(self.d), half(self.dmin));
    }
}

impl Block256 for BlockQ6K {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let (n, part, l) = (i / 128, i / 32 % 4, i % 32);
            let low = self.ql[64 * n + part % 2 * 32 + l] >> (part / 2 * 4) & 15;
            let high = self.qh[32 * n + l] >> (2 * part) & 3;
            (low | high << 4) as i8 - 32
        })
    }

    fn factors(&self, to: &mut Unpacked256) {
        to.scale = self.scales.map(i16::from);
        to.min = [0; 16];
        (to.d, to.dmin) = (half(self.d), 0.0);
    }
}

impl Block256 for BlockIq4Xs {
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let (b, l) = (i / 32, i % 32);
            IQ4_LEVELS[(self.q[16 * b + l % 16] >> (l / 16 * 4) & 15) as usize]
        })
    }

    fn factors(&self, to: &mut Unpacked256) {
        let high = u16::from_le_bytes(self.scales_h);
        to.scale = std::array::from_fn(|g| {
            let b = g / 2;
            let low = self.scales_l[b / 2] >> (4 * (b % 2)) & 15;
            (low as i16 | ((high >> (2 * b) & 3) << 4) as i16) - 32
        });
        to.min = [0; 16];
        (to.d, to.dmin) = (half(self.d), 0.0);
    }
}
