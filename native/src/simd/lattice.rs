//! Owns: IQ1, IQ2, IQ3, TQ1_0 and TQ2_0 unpacked to the plain form of 256-blocks, in obvious loops.
//! Refuses to know: activations, the points themselves. Layouts after ggml; each unpacking is one line of its formula.

use super::blocks::*;
use super::iq_grids::*;
use super::unpack::{Block256, Unpacked256};

/// Eight signs of seven bits: bit j is set for a minus at j, and an eighth makes the number of minus signs even.
pub fn even_signs(seven: u8) -> u8 {
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// The `at`-th u16 of little-endian bytes.
pub fn word16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])
}

/// The `at`-th u32 of little-endian bytes.
pub fn word32(bytes: &[u8], at: usize) -> u32 {
    word16(bytes, 2 * at) as u32 | (word16(bytes, 2 * at + 1) as u32) << 16
}

/// A block of points with signs: D coordinates a point, a sign byte for every 8 numbers, scales for 16 groups.
pub trait Lattice<const D: usize>: Copy {
    /// Coordinates of point `k`, numbers D * k to D * k + D - 1.
    fn point(&self, k: usize) -> &'static [i8; D];
    /// Bit j is set for a minus at number 8 * k + j.
    fn signs(&self, k: usize) -> u8;
    fn factors(&self, to: &mut Unpacked256);
}

/// The numbers of a block of points.
#[inline(always)]
fn quants<const D: usize>(block: &impl Lattice<D>) -> [i8; 256] {
    let mut q = [0; 256];
    for (k, eight) in q.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let signs = block.signs(k);
        for (j, q) in eight.iter_mut().enumerate() {
            let coordinate = block.point((8 * k + j) / D)[j % D];
            *q = if signs >> j & 1 == 1 { -coordinate } else { coordinate };
        }
    }
    q
}

macro_rules! lattice_blocks {
    ($($name:ident $dimensions:literal;)*) => {
        $(
            impl Block256 for $name {
                #[inline(always)]
                fn quants(&self) -> [i8; 256] {
                    quants::<$dimensions>(self)
                }
                #[inline(always)]
                fn factors(&self, to: &mut Unpacked256) {
                    to.min = [0; 16];
                    to.dmin = 0.0;
                    Lattice::factors(self, to);
                }
            }
        )*
    };
}

lattice_blocks! {
    BlockIq2Xxs 8;
    BlockIq2Xs 8;
    BlockIq2S 8;
    BlockIq3Xxs 4;
    BlockIq3S 4;
}

/// (1/2 + scale) as an odd integer; the half goes into d.
fn odd(scale: u32) -> i16 {
    (2 * scale + 1) as i16
}

/// Nibble `at` of bytes.
fn nibble(bytes: &[u8], at: usize) -> u32 {
    (bytes[at / 2] >> (4 * (at % 2)) & 15) as u32
}

impl Lattice<8> for BlockIq2Xxs {
    #[inline(always)]
    fn point(&self, k: usize) -> &'static [i8; 8] {
        &IQ2XXS[self.q[k / 4 * 8 + k % 4] as usize]
    }
    #[inline(always)]
    fn signs(&self, k: usize) -> u8 {
        even_signs((word32(&self.q, k / 4 * 2 + 1) >> (7 * (k % 4)) & 127) as u8)
    }
    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd(word32(&self.q, g / 2 * 2 + 1) >> 28));
        to.d = half(self.d) * 0.125;
    }
}

impl Lattice<8> for BlockIq2Xs {
    #[inline(always)]
    fn point(&self, k: usize) -> &'static [i8; 8] {
        &IQ2XS[(word16(&self.q, k) & 511) as usize]
    }
    #[inline(always)]
    fn signs(&self, k: usize) -> u8 {
        even_signs((word16(&self.q, k) >> 9) as u8)
    }
    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd(nibble(&self.scales, g)));
        to.d = half(self.d) * 0.125;
    }
}

impl Lattice<8> for BlockIq2S {
    #[inline(always)]
    fn point(&self, k: usize) -> &'static [i8; 8] {
        let high = self.qh[k / 4] >> (2 * (k % 4)) & 3;
        &IQ2S[self.q[k] as usize | (high as usize) << 8]
    }
    #[inline(always)]
    fn signs(&self, k: usize) -> u8 {
        self.signs[k]
    }
    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd(nibble(&self.scales, g)));
        to.d = half(self.d) * 0.125;
    }
}

impl Lattice<4> for BlockIq3Xxs {
    #[inline(always)]
    fn point(&self, k: usize) -> &'static [i8; 4] {
        &IQ3XXS[self.q[k] as usize]
    }
    #[inline(always)]
    fn signs(&self, k: usize) -> u8 {
        even_signs((word32(&self.scales_signs, k / 4) >> (7 * (k % 4)) & 127) as u8)
    }
    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd(word32(&self.scales_signs, g / 2) >> 28));
        to.d = half(self.d) * 0.25;
    }
}

impl Lattice<4> for BlockIq3S {
    #[inline(always)]
    fn point(&self, k: usize) -> &'static [i8; 4] {
        let high = self.qh[k / 8] >> (k % 8) & 1;
        &IQ3S[self.q[k] as usize | (high as usize) << 8]
    }
    #[inline(always)]
    fn signs(&self, k: usize) -> u8 {
        self.signs[k]
    }
    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd(nibble(&self.scales, g / 2)));
        to.d = half(self.d);
    }
}

/// Eight numbers 8 * coordinate + 1, or - 1: coordinate ± 1/8 with the eighth in d.
#[inline(always)]
fn moved(point: &[i8; 8], minus: bool) -> [i8; 8] {
    point.map(|x| 8 * x + if minus { -1 } else { 1 })
}

impl BlockIq1S {
    /// Point `k`, and whether it is moved down.
    #[inline(always)]
    pub fn point(&self, k: usize) -> (&'static [i8; 8], bool) {
        let high = word16(&self.qh, k / 4);
        (&IQ1S[self.q[k] as usize | (high as usize >> (3 * (k % 4)) & 7) << 8], high & 0x8000 != 0)
    }
}

impl Block256 for BlockIq1S {
    #[inline(always)]
    fn quants(&self) -> [i8; 256] {
        let mut q = [0; 256];
        for (k, eight) in q.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let (point, minus) = self.point(k);
            *eight = moved(point, minus);
        }
        q
    }

    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        to.scale = std::array::from_fn(|g| odd((word16(&self.qh, g / 2) >> 12 & 7) as u32));
        to.min = [0; 16];
        (to.d, to.dmin) = (half(self.d) * 0.125, 0.0);
    }
}

impl BlockIq1M {
    /// Point `k`, and whether it is moved down.
    #[inline(always)]
    pub fn point(&self, k: usize) -> (&'static [i8; 8], bool) {
        let high = nibble(&self.qh, k) as usize;
        (&IQ1S[self.q[k] as usize | (high & 7) << 8], high & 8 != 0)
    }
}

impl Block256 for BlockIq1M {
    #[inline(always)]
    fn quants(&self) -> [i8; 256] {
        let mut q = [0; 256];
        for (k, eight) in q.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let (point, minus) = self.point(k);
            *eight = moved(point, minus);
        }
        q
    }

    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        let word = |i: usize| word16(&self.scales, i);
        to.scale = std::array::from_fn(|g| odd((word(g / 4) >> (3 * (g % 4)) & 7) as u32));
        to.min = [0; 16];
        // The top nibbles of the four words are the half d.
        let d = word(0) >> 12 | word(1) >> 12 << 4 | word(2) >> 12 << 8 | word(3) >> 12 << 12;
        (to.d, to.dmin) = (half(d.to_le_bytes()) * 0.125, 0.0);
    }
}

/// Digit n of a byte that is a fraction in base 3, minus 1.
#[inline(always)]
fn ternary(byte: u8, n: usize) -> i8 {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    ((byte.wrapping_mul(POWERS[n]) as u16 * 3) >> 8) as i8 - 1
}

/// The factors of a format whose groups have no scales of their own.
#[inline(always)]
fn only_d(to: &mut Unpacked256, d: [u8; 2]) {
    *to = Unpacked256 { scale: [1; 16], min: [0; 16], d: half(d), dmin: 0.0, ..*to };
}

impl Block256 for BlockTq1_0 {
    #[inline(always)]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| match i {
            0..160 => ternary(self.q[i % 32], i / 32),
            160..240 => ternary(self.q[32 + i % 16], (i - 160) / 16),
            _ => ternary(self.qh[i % 4], (i - 240) / 4),
        })
    }

    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        only_d(to, self.d);
    }
}

impl Block256 for BlockTq2_0 {
    #[inline(always)]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| (self.q[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) as i8 - 1)
    }

    #[inline(always)]
    fn factors(&self, to: &mut Unpacked256) {
        only_d(to, self.d);
    }
}
