//! Owns: exact sums of products of bytes on NEON, by the instruction for them and without it.
//! Refuses to know: blocks, activations.

use super::neon_instructions::*;
use std::arch::asm;

/// Sums of four neighbouring products of signed bytes.
pub(super) trait Dot {
    /// sum[i] + a[4i..4i + 4] . b[4i..4i + 4]
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;
    /// sum[i] + a[4i..4i + 4] . b[4 * WORD..4 * WORD + 4]
    fn dot_word<const WORD: i32>(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;
}

/// By SDOT, where the processor has it.
pub(super) struct Single;
/// By widening multiplications.
pub(super) struct Widened;

impl Dot for Single {
    #[inline(always)]
    fn dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: registers alone; tables with these kernels are given out only where the processor has the instruction.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }
    #[inline(always)]
    fn dot_word<const WORD: i32>(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: as above.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{word}]",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                word = const WORD,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }
}

impl Dot for Widened {
    #[inline(always)]
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        let high = vpaddlq_s16(vmull_high_s8(a, b));
        vaddq_s32(sum, vpaddq_s32(low, high))
    }
    #[inline(always)]
    fn dot_word<const WORD: i32>(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        Self::dot(sum, a, vreinterpretq_s8_s32(vdupq_laneq_s32::<WORD>(vreinterpretq_s32_s8(b))))
    }
}
