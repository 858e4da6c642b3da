//! Owns: the NEON instructions that kernels use, safe to call, for every 64-bit ARM processor has them; what reads or writes
//! memory stays as it is.
//! Refuses to know: what they are used for.

pub(super) use std::arch::aarch64::{
    float32x2_t, float32x4_t, int8x8_t, int8x16_t, int16x4_t, int16x8_t, int32x4_t, uint8x8_t, uint8x16_t, uint16x4_t,
    uint16x8_t, uint32x2_t, uint32x4_t, vld1_s8, vld1_s16, vld1_u8, vld1q_f32, vld1q_s8, vld1q_s32, vld1q_u8, vst1_u8,
    vst1q_f32, vst1q_s8,
};

macro_rules! safe {
    ($($name:ident $(<$number:ident>)? ($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            #[inline(always)]
            pub(super) fn $name $(<const $number: i32>)? ($($argument: $type),*) -> $result {
                // SAFETY: registers alone, and every processor of this kind has the instruction.
                unsafe { std::arch::aarch64::$name $(::<$number>)? ($($argument),*) }
            }
        )*
    };
}

safe! {
    vdupq_n_f32(x: f32) -> float32x4_t;
    vdupq_n_s32(x: i32) -> int32x4_t;
    vdupq_n_u8(x: u8) -> uint8x16_t;
    vdupq_n_s8(x: i8) -> int8x16_t;
    vdupq_n_u32(x: u32) -> uint32x4_t;
    vdup_n_u16(x: u16) -> uint16x4_t;
    vdup_n_u8(x: u8) -> uint8x8_t;
    vdup_n_s8(x: i8) -> int8x8_t;
    vdup_n_u32(x: u32) -> uint32x2_t;
    vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vorrq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    vandq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    vsubq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    veorq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    vtstq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    vmulq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vadd_f32(a: float32x2_t, b: float32x2_t) -> float32x2_t;
    vadd_s8(a: int8x8_t, b: int8x8_t) -> int8x8_t;
    vand_u16(a: uint16x4_t, b: uint16x4_t) -> uint16x4_t;
    vorr_u16(a: uint16x4_t, b: uint16x4_t) -> uint16x4_t;
    vceq_u16(a: uint16x4_t, b: uint16x4_t) -> uint16x4_t;
    vfmaq_f32(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vfmsq_f32(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t;
    vfmaq_n_f32(sum: float32x4_t, a: float32x4_t, b: f32) -> float32x4_t;
    vmulq_n_f32(a: float32x4_t, b: f32) -> float32x4_t;
    vmlaq_s32(sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vmlaq_n_s32(sum: int32x4_t, a: int32x4_t, b: i32) -> int32x4_t;
    vcvtq_f32_s32(x: int32x4_t) -> float32x4_t;
    vaddvq_s32(x: int32x4_t) -> i32;
    vpaddlq_s16(x: int16x8_t) -> int32x4_t;
    vmull_s8(a: int8x8_t, b: int8x8_t) -> int16x8_t;
    vmull_high_s8(a: int8x16_t, b: int8x16_t) -> int16x8_t;
    vmull_u8(a: uint8x8_t, b: uint8x8_t) -> uint16x8_t;
    vmull_high_u8(a: uint8x16_t, b: uint8x16_t) -> uint16x8_t;
    vmovl_u8(x: uint8x8_t) -> uint16x8_t;
    vmovl_s16(x: int16x4_t) -> int32x4_t;
    vqtbl1q_s8(table: int8x16_t, at: uint8x16_t) -> int8x16_t;
    vshlq_u8(x: uint8x16_t, by: int8x16_t) -> uint8x16_t;
    vcombine_s8(low: int8x8_t, high: int8x8_t) -> int8x16_t;
    vcombine_u8(low: uint8x8_t, high: uint8x8_t) -> uint8x16_t;
    vget_low_u8(x: uint8x16_t) -> uint8x8_t;
    vget_low_s8(x: int8x16_t) -> int8x8_t;
    vget_low_u16(x: uint16x8_t) -> uint16x4_t;
    vget_low_f32(x: float32x4_t) -> float32x2_t;
    vget_high_f32(x: float32x4_t) -> float32x2_t;
    vreinterpretq_s8_u8(x: uint8x16_t) -> int8x16_t;
    vreinterpretq_u8_u32(x: uint32x4_t) -> uint8x16_t;
    vreinterpretq_s8_s32(x: int32x4_t) -> int8x16_t;
    vreinterpretq_s32_s8(x: int8x16_t) -> int32x4_t;
    vreinterpretq_f32_u8(x: uint8x16_t) -> float32x4_t;
    vreinterpretq_f32_u32(x: uint32x4_t) -> float32x4_t;
    vreinterpret_u8_u32(x: uint32x2_t) -> uint8x8_t;
    vreinterpret_u8_u16(x: uint16x4_t) -> uint8x8_t;
    vreinterpret_u16_u8(x: uint8x8_t) -> uint16x4_t;
    vshrq_n_u8<N>(x: uint8x16_t) -> uint8x16_t;
    vshrq_n_s32<N>(x: int32x4_t) -> int32x4_t;
    vshlq_n_s32<N>(x: int32x4_t) -> int32x4_t;
    vshl_n_u16<N>(x: uint16x4_t) -> uint16x4_t;
    vshl_n_s8<N>(x: int8x8_t) -> int8x8_t;
    vshll_n_u16<N>(x: uint16x4_t) -> uint32x4_t;
    vshrn_n_u16<N>(x: uint16x8_t) -> uint8x8_t;
    vshrn_high_n_u16<N>(low: uint8x8_t, x: uint16x8_t) -> uint8x16_t;
    vget_lane_f32<N>(x: float32x2_t) -> f32;
    vdupq_laneq_s32<N>(x: int32x4_t) -> int32x4_t;
}
