//! Owns: kernels for AVX-512 (F, BW, DQ, VL, VBMI) with VNNI: integer dot products of the common 32-blocks by
//! hand, other rows as with AVX2, the rest compiled for it.
//! Refuses to know: tensors, threads, operations.

use super::blocks::*;
use super::featured::{featured, featured_table};
use super::{Kernels, Row, avx2, scalar};
use crate::formats::Format;
use std::arch::x86_64::*;

featured_table!("avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c");

static KERNELS: Kernels = {
    let mut rows = avx2::ROWS;
    rows[Format::Q8_0 as usize] = by_hand_q8_0;
    rows[Format::Q4_0 as usize] = by_hand_q4_0;
    rows[Format::Q4_1 as usize] = by_hand_q4_1;
    Kernels {
        rows,
        dot: avx2::by_hand_dot,
        squares: avx2::by_hand_squares,
        multiply_bytes: by_hand_multiply_bytes,
        round_operations: 2 * 64 * CHAINS,
        ..TABLE
    }
};

/// The table, when this processor can run it.
pub fn kernels() -> Option<&'static Kernels> {
    let fits = avx2::kernels().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni");
    fits.then_some(&KERNELS)
}

featured! {
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c";
    fn by_hand_q8_0(w: &[u8], x: &Row, out: &mut [f32]) = rows32::<BlockQ8_0>;
    fn by_hand_q4_0(w: &[u8], x: &Row, out: &mut [f32]) = rows32::<BlockQ4_0>;
    fn by_hand_q4_1(w: &[u8], x: &Row, out: &mut [f32]) = rows32::<BlockQ4_1>;
    fn by_hand_multiply_bytes(rounds: usize) -> i32 = vnni_rounds;
    fn from_half(bytes: &[u8], out: &mut [f32]) = avx2::halves_to_floats;
    fn to_half(x: &[f32], bytes: &mut [u8]) = avx2::floats_to_halves;
}

/// Sums that grow side by side, so that none waits for itself.
const CHAINS: usize = 12;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn vnni_rounds(rounds: usize) -> i32 {
    let (u, q) = (std::hint::black_box(_mm512_set1_epi8(3)), std::hint::black_box(_mm512_set1_epi8(-5)));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, u, q);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
}

/// A block of 32 as VNNI multiplies it: y = d * (u - MINUS) + m, u unsigned.
trait Block: AnyBytes {
    /// As the bits of a byte.
    const MINUS: i8;
    fn d(&self) -> [u8; 2];
    /// m, or zeros where the format has none.
    fn m(&self) -> [u8; 2];
    /// The numbers u.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn unsigned(&self) -> __m256i;
}

impl Block for BlockQ8_0 {
    const MINUS: i8 = 128u8.cast_signed();
    fn d(&self) -> [u8; 2] {
        self.d
    }
    fn m(&self) -> [u8; 2] {
        [0; 2]
    }
    #[target_feature(enable = "avx2")]
    unsafe fn unsigned(&self) -> __m256i {
        // SAFETY: 32 bytes are there; the load may lie at any address.
        let q = unsafe { _mm256_loadu_si256(self.q.as_ptr().cast()) };
        _mm256_xor_si256(q, _mm256_set1_epi8(-128))
    }
}

impl Block for BlockQ4_0 {
    const MINUS: i8 = 8;
    fn d(&self) -> [u8; 2] {
        self.d
    }
    fn m(&self) -> [u8; 2] {
        [0; 2]
    }
    #[target_feature(enable = "avx2")]
    unsafe fn unsigned(&self) -> __m256i {
        avx2::nibbles(&self.q)
    }
}

impl Block for BlockQ4_1 {
    const MINUS: i8 = 0;
    fn d(&self) -> [u8; 2] {
        self.d
    }
    fn m(&self) -> [u8; 2] {
        self.m
    }
    #[target_feature(enable = "avx2")]
    unsafe fn unsigned(&self) -> __m256i {
        avx2::nibbles(&self.q)
    }
}

/// Sums of four neighbouring products (u - MINUS) * q, exactly.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn products<B: Block>(u: __m512i, q: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let products = _mm512_dpbusd_epi32(zero, u, q);
    if B::MINUS == 0 {
        return products;
    }
    _mm512_sub_epi32(products, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(B::MINUS), q))
}

/// As `scalar::rows32`, two blocks at a time: sixteen running sums, eight for each block of a pair.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn rows32<B: Block>(weights: &[u8], x: &Row, out: &mut [f32]) {
    let row_bytes = weights.len() / out.len().max(1);
    let (quants, _) = x.q.as_chunks::<64>();
    for (r, y) in out.iter_mut().enumerate() {
        let blocks = blocks_of::<B>(&weights[r * row_bytes..(r + 1) * row_bytes]);
        let (pairs, last) = blocks.as_chunks::<2>();
        let mut sums = _mm512_setzero_ps();
        let mut offsets = 0.0f32;
        for (p, [first, second]) in pairs.iter().enumerate() {
            // SAFETY: this function has AVX2; 64 bytes are there.
            let (u, q) = unsafe {
                let u = _mm512_inserti64x4(_mm512_castsi256_si512(first.unsigned()), second.unsigned(), 1);
                (u, _mm512_loadu_si512(quants[p].as_ptr().cast()))
            };
            let products = _mm512_cvtepi32_ps(products::<B>(u, q));
            let (d0, d1) = (avx2::one_half(first.d()), avx2::one_half(second.d()));
            let (f0, f1) = (_mm256_set1_ps(d0 * x.scale[2 * p]), _mm256_set1_ps(d1 * x.scale[2 * p + 1]));
            let factors = _mm512_insertf32x8(_mm512_castps256_ps512(f0), f1, 1);
            sums = _mm512_fmadd_ps(factors, products, sums);
            offsets += avx2::one_half(first.m()) * x.scaled_sums[2 * p];
            offsets += avx2::one_half(second.m()) * x.scaled_sums[2 * p + 1];
        }
        if let [block] = last {
            let b = blocks.len() - 1;
            // SAFETY: this function has AVX2; the 32 bytes of the last block are there.
            let (u, q) = unsafe { (block.unsigned(), _mm256_loadu_si256(x.q[32 * b..32 * b + 32].as_ptr().cast())) };
            let (u, q) = (_mm512_castsi256_si512(u), _mm512_castsi256_si512(q));
            let products = _mm256_cvtepi32_ps(_mm512_castsi512_si256(products::<B>(u, q)));
            let d = avx2::one_half(block.d());
            let scaled = _mm256_mul_ps(_mm256_set1_ps(d * x.scale[b]), products);
            sums = _mm512_add_ps(sums, _mm512_insertf32x8(_mm512_setzero_ps(), scaled, 0));
            offsets += avx2::one_half(block.m()) * x.scaled_sums[b];
        }
        *y = _mm512_reduce_add_ps(sums) + offsets;
    }
}
