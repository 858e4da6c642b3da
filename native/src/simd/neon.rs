//! Owns: the tables of 64-bit ARM, all of which has NEON: with the instruction for products of bytes (SDOT) and without.
//! Refuses to know: tensors, threads, operations.

use super::blocks::*;
use super::neon_dots::{Dot, Single, Widened};
use super::neon_floats as floats;
use super::neon_instructions::*;
use super::neon_lanes::{lanes32, lanes256};
use super::neon_rows::{rows32, rows256};
use super::{Kernels, LanesFn, RowsFn, scalar};
use crate::formats::Format;
use std::arch::is_aarch64_feature_detected;

static WITH_DOT: Kernels = table::<Single>("neon-dotprod");
static WITHOUT: Kernels = table::<Widened>("neon");

/// The tables that this processor can run, best first.
pub fn kernels() -> impl Iterator<Item = &'static Kernels> {
    is_aarch64_feature_detected!("dotprod").then_some(&WITH_DOT).into_iter().chain([&WITHOUT])
}

/// What is not written by hand is compiled with NEON in the scalar table.
const fn table<D: Dot>(isa: &'static str) -> Kernels {
    let mut rows: [RowsFn; Format::ALL.len()] = [floats::rows::<4, floats::F32>; Format::ALL.len()];
    let mut lanes: [Option<LanesFn>; Format::ALL.len()] = [None; Format::ALL.len()];
    rows[Format::F16 as usize] = floats::rows::<2, floats::F16>;
    rows[Format::Bf16 as usize] = floats::rows::<2, floats::Bf16>;
    rows[Format::F8E4M3 as usize] = floats::rows::<1, floats::F8E4M3>;
    macro_rules! blocks {
        ($rows:ident $lanes:ident $($format:ident $block:ident)*) => {
            $(
                rows[Format::$format as usize] = $rows::<D, $block>;
                lanes[Format::$format as usize] = Some($lanes::<D, $block>);
            )*
        };
    }
    blocks!(rows32 lanes32 Q8_0 BlockQ8_0 Q4_0 BlockQ4_0 Q4_1 BlockQ4_1 Q5_0 BlockQ5_0 Q5_1 BlockQ5_1);
    blocks!(rows32 lanes32 Iq4Nl BlockIq4Nl Mxfp4 BlockMxfp4);
    blocks!(rows256 lanes256 Q2K BlockQ2K Q3K BlockQ3K Q4K BlockQ4K Q5K BlockQ5K Q6K BlockQ6K Iq4Xs BlockIq4Xs);
    blocks!(rows256 lanes256 Iq2Xxs BlockIq2Xxs Iq2Xs BlockIq2Xs Iq2S BlockIq2S Iq3Xxs BlockIq3Xxs Iq3S BlockIq3S);
    blocks!(rows256 lanes256 Iq1S BlockIq1S Iq1M BlockIq1M Tq1_0 BlockTq1_0 Tq2_0 BlockTq2_0);
    Kernels {
        isa,
        rows,
        lanes,
        scaled: Some(floats::scaled),
        squares: floats::squares,
        dots: floats::dots,
        sums: floats::sums,
        from_half: floats::from_half,
        to_half: floats::to_half,
        multiply_bytes: multiply_bytes::<D>,
        round_operations: 2 * 16 * CHAINS,
        decode: floats::decode,
        ..scalar::KERNELS
    }
}

/// Sums that grow side by side, so that none waits for itself.
const CHAINS: usize = 16;

fn multiply_bytes<D: Dot>(rounds: usize) -> i32 {
    let (a, b) = (std::hint::black_box(vdupq_n_s8(3)), std::hint::black_box(vdupq_n_s8(-5)));
    let mut sums = [vdupq_n_s32(0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = D::dot(*sum, a, b);
        }
    }
    sums.into_iter().map(|sum| vaddvq_s32(sum)).fold(0, i32::wrapping_add)
}
