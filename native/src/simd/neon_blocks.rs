//! Owns: quantized blocks as NEON kernels multiply them: signed bytes, 32 at a time.
//! Refuses to know: activations, tensors. Layouts are those of `unpack` and `lattice`, which are the scalar twins.

use super::blocks::*;
use super::lattice::Lattice;
use super::neon_instructions::*;
use super::unpack::{Block256, FP4_DOUBLED, IQ4_LEVELS, halved_e8m0};
use std::arch::asm;

/// Numbers 0 to 15 and 16 to 31.
pub(super) type Pair = [int8x16_t; 2];

/// A block of 32: y = d * q + m.
pub(super) trait Signed32: AnyBytes {
    /// Whether the format has an m.
    const MINS: bool = false;
    fn numbers(&self) -> Pair;
    fn d(&self) -> f32;
    fn m(&self) -> f32 {
        0.0
    }
}

/// A block of 256 in eight runs of 32 numbers.
pub(super) trait Signed256: Block256 + AnyBytes {
    /// Whether the format has mins.
    const MINS: bool = false;
    /// Numbers that share a scale and a min: 16 or 32.
    const GROUP: usize;
    /// Numbers 32 * run to 32 * run + 31; run is below 8.
    fn run(&self, run: usize) -> Pair;
}

/// A half as f32.
#[inline(always)]
fn one_half(bytes: [u8; 2]) -> f32 {
    let x: f32;
    // SAFETY: one register to another.
    unsafe {
        asm!(
            "fcvt {x:s}, {h:h}",
            h = in(vreg) u16::from_le_bytes(bytes),
            x = lateout(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    x
}

#[inline(always)]
fn sixteen(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are there, at any address.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline(always)]
fn sixteen_signed(bytes: &[i8; 16]) -> int8x16_t {
    // SAFETY: 16 bytes are there, at any address.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// Sixteens `at` and `at + 1` of some bytes.
#[inline(always)]
fn two(bytes: &[u8], at: usize) -> [uint8x16_t; 2] {
    let (sixteens, _) = bytes.as_chunks::<16>();
    [sixteen(&sixteens[at]), sixteen(&sixteens[at + 1])]
}

#[inline(always)]
fn signed(u: [uint8x16_t; 2], minus: i8) -> Pair {
    u.map(|u| vsubq_s8(vreinterpretq_s8_u8(u), vdupq_n_s8(minus)))
}

#[inline(always)]
fn nibbles(q: &[u8; 16]) -> [uint8x16_t; 2] {
    let q = sixteen(q);
    [vandq_u8(q, vdupq_n_u8(15)), vshrq_n_u8::<4>(q)]
}

/// Bits [shift, shift + width) of every byte, moved to bit `to`; `mask` is those bits in their new place.
#[inline(always)]
fn bits(x: uint8x16_t, shift: usize, to: usize, mask: u8) -> uint8x16_t {
    let moved = vshlq_u8(x, vdupq_n_s8(to as i8 - shift as i8));
    vandq_u8(moved, vdupq_n_u8(mask))
}

#[inline(always)]
fn levels(table: &[i8; 16], at: [uint8x16_t; 2]) -> Pair {
    let table = sixteen_signed(table);
    at.map(|at| vqtbl1q_s8(table, at))
}

/// Bit j of 32 as all ones in byte j.
#[inline(always)]
fn bytes_of(bits: [u8; 4]) -> [uint8x16_t; 2] {
    const EACH: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    let each = sixteen(&EACH);
    [0, 2].map(|n| vtstq_u8(vcombine_u8(vdup_n_u8(bits[n]), vdup_n_u8(bits[n + 1])), each))
}

#[inline(always)]
fn five_bits(q: &[u8; 16], h: [u8; 4]) -> [uint8x16_t; 2] {
    let ([low, high], fifth) = (nibbles(q), bytes_of(h).map(|h| vandq_u8(h, vdupq_n_u8(16))));
    [vorrq_u8(low, fifth[0]), vorrq_u8(high, fifth[1])]
}

macro_rules! blocks32 {
    ($($name:ident |$block:ident| $numbers:expr, $d:expr $(, $m:expr)?;)*) => {
        $(
            impl Signed32 for $name {
                $(
                    const MINS: bool = true;
                    #[inline(always)]
                    fn m(&self) -> f32 {
                        let $block = self;
                        $m
                    }
                )?
                #[inline(always)]
                fn numbers(&self) -> Pair {
                    let $block = self;
                    $numbers
                }
                #[inline(always)]
                fn d(&self) -> f32 {
                    let $block = self;
                    $d
                }
            }
        )*
    };
}

blocks32! {
    BlockQ8_0 |block| signed(two(&block.q, 0), 0), one_half(block.d);
    BlockQ4_0 |block| signed(nibbles(&block.q), 8), one_half(block.d);
    BlockQ4_1 |block| signed(nibbles(&block.q), 0), one_half(block.d), one_half(block.m);
    BlockQ5_0 |block| signed(five_bits(&block.q, block.h), 16), one_half(block.d);
    BlockQ5_1 |block| signed(five_bits(&block.q, block.h), 0), one_half(block.d), one_half(block.m);
    BlockIq4Nl |block| levels(&IQ4_LEVELS, nibbles(&block.q)), one_half(block.d);
    BlockMxfp4 |block| levels(&FP4_DOUBLED, nibbles(&block.q)), halved_e8m0(block.e);
}

macro_rules! blocks256 {
    ($($name:ident $group:literal $(with $mins:ident)? |$block:ident, $run:ident| $numbers:expr;)*) => {
        $(
            impl Signed256 for $name {
                $(const MINS: bool = stringify!($mins).len() > 0;)?
                const GROUP: usize = $group;
                #[inline(always)]
                fn run(&self, $run: usize) -> Pair {
                    let $block = self;
                    $numbers
                }
            }
        )*
    };
}

blocks256! {
    BlockQ2K 16 with mins |block, run| signed(two_bits(&block.q, run), 0);
    BlockQ3K 16 |block, run| {
        // A set bit of the mask takes nothing away, an unset one 4.
        let (low, high) = (two_bits(&block.q, run), two(&block.hmask, 0));
        signed([0, 1].map(|n| vorrq_u8(low[n], bits(high[n], run, 2, 4))), 4)
    };
    BlockQ4K 32 with mins |block, run| signed(four_bits(&block.q, run), 0);
    BlockQ5K 32 with mins |block, run| {
        let (low, high) = (four_bits(&block.q, run), two(&block.qh, 0));
        signed([0, 1].map(|n| vorrq_u8(low[n], bits(high[n], run, 4, 16))), 0)
    };
    BlockQ6K 16 |block, run| {
        let (n, part) = (run / 4, run % 4);
        let (low, high) = (two(&block.ql, 4 * n + part % 2 * 2), two(&block.qh, 2 * n));
        signed([0, 1].map(|n| vorrq_u8(bits(low[n], part / 2 * 4, 0, 15), bits(high[n], 2 * part, 4, 48))), 32)
    };
    BlockIq4Xs 32 |block, run| levels(&IQ4_LEVELS, nibbles(&block.q.as_chunks::<16>().0[run]));
    BlockIq2Xxs 32 |block, run| lattice(block, run);
    BlockIq2Xs 16 |block, run| lattice(block, run);
    BlockIq2S 16 |block, run| lattice(block, run);
    BlockIq3Xxs 32 |block, run| lattice(block, run);
    BlockIq3S 32 |block, run| lattice(block, run);
    BlockIq1S 32 |block, run| moved(|k| block.point(4 * run + k));
    BlockIq1M 16 |block, run| moved(|k| block.point(4 * run + k));
    BlockTq1_0 32 |block, run| [digits(block, 2 * run), digits(block, 2 * run + 1)];
    BlockTq2_0 32 |block, run| signed(two_bits(&block.q, run), 1);
}

/// Runs of two bits, four runs to every 32 bytes.
#[inline(always)]
fn two_bits(q: &[u8; 64], run: usize) -> [uint8x16_t; 2] {
    two(q, run / 4 * 2).map(|x| bits(x, run % 4 * 2, 0, 3))
}

/// Runs of nibbles, two runs to every 32 bytes.
#[inline(always)]
fn four_bits(q: &[u8; 128], run: usize) -> [uint8x16_t; 2] {
    two(q, run / 2 * 2).map(|x| bits(x, run % 2 * 4, 0, 15))
}

/// Points of D coordinates side by side, negative where the bits of their sign bytes are set.
#[inline(always)]
fn lattice<const D: usize>(block: &impl Lattice<D>, run: usize) -> Pair {
    let mut points = [[0; 16]; 2];
    for (k, to) in points.as_flattened_mut().as_chunks_mut::<D>().0.iter_mut().enumerate() {
        *to = *block.point(32 / D * run + k);
    }
    let minus = bytes_of(std::array::from_fn(|k| block.signs(4 * run + k))).map(|bits| vreinterpretq_s8_u8(bits));
    [0, 1].map(|n| vsubq_s8(veorq_s8(sixteen_signed(&points[n]), minus[n]), minus[n]))
}

/// 8 * coordinate + 1, or - 1 in an eight that is moved down.
#[inline(always)]
fn moved(point: impl Fn(usize) -> (&'static [i8; 8], bool)) -> Pair {
    let half = |k: usize| {
        let (point, minus) = point(k);
        // SAFETY: eight bytes are there.
        let eights = vshl_n_s8::<3>(unsafe { vld1_s8(point.as_ptr()) });
        vadd_s8(eights, vdup_n_s8(if minus { -1 } else { 1 }))
    };
    [vcombine_s8(half(0), half(1)), vcombine_s8(half(2), half(3))]
}

/// The digits, minus 1, of numbers 16 * part to 16 * part + 15: bytes are fractions in base 3.
#[inline(always)]
fn digits(block: &BlockTq1_0, part: usize) -> int8x16_t {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    const LAST: [u8; 16] = [1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27];
    let (sixteens, _) = block.q.as_chunks::<16>();
    let (bytes, powers) = match part {
        0..10 => (sixteen(&sixteens[part % 2]), vdupq_n_u8(POWERS[part / 2])),
        10..15 => (sixteen(&sixteens[2]), vdupq_n_u8(POWERS[part - 10])),
        _ => (vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(block.qh))), sixteen(&LAST)),
    };
    let (rest, three) = (vmulq_u8(bytes, powers), vdupq_n_u8(3));
    let low = vshrn_n_u16::<8>(vmull_u8(vget_low_u8(rest), vget_low_u8(three)));
    let both = vshrn_high_n_u16::<8>(low, vmull_high_u8(rest, three));
    vsubq_s8(vreinterpretq_s8_u8(both), vdupq_n_s8(1))
}
