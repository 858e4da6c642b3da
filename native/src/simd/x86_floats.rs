//! Owns: numbers by themselves as vectors of floats, by AVX2 and by AVX-512; sums of squares.
//! Refuses to know: tensors, threads, operations; products of matrices (`products`).

use super::avx2::sum_of;
use std::arch::x86_64::*;

/// A format of numbers by themselves.
pub(super) trait Numbers<const BYTES: usize> {
    /// # Safety
    /// The processor has AVX2, FMA and F16C; 8 numbers can be read from `at` on.
    unsafe fn eight(at: *const u8) -> __m256;
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ and VL; 16 numbers can be read from `at` on.
    unsafe fn sixteen(at: *const u8) -> __m512;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;
pub(super) struct F8E4M3;

impl Numbers<4> for F32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(at.cast()) }
    }
}

impl Numbers<2> for F16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
    }
}

impl Numbers<2> for Bf16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let eight = unsafe { _mm_loadu_si128(at.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        let sixteen = unsafe { _mm256_loadu_si256(at.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16))
    }
}

impl Numbers<1> for F8E4M3 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let codes = _mm_cvtepu8_epi16(unsafe { _mm_loadl_epi64(at.cast()) });
        let magnitude = _mm_and_si128(codes, _mm_set1_epi16(0x7f));
        let sign = _mm_slli_epi16(_mm_and_si128(codes, _mm_set1_epi16(0x80)), 8);
        let nan = _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7fff));
        // Exponent and mantissa in the places of a half, whose bias is 8 more.
        let half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), nan);
        _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        let codes = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(at.cast()) });
        let magnitude = _mm256_and_si256(codes, _mm256_set1_epi16(0x7f));
        let sign = _mm256_slli_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0x80)), 8);
        let nan = _mm256_and_si256(_mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f)), _mm256_set1_epi16(0x7fff));
        let half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign), nan);
        _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut sums = [_mm256_setzero_ps(); 4];
    let (a_rows, a_rest) = a[..n].as_chunks::<32>();
    let (b_rows, b_rest) = b[..n].as_chunks::<32>();
    for (a, b) in a_rows.iter().zip(b_rows) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 8 of 32 numbers are there.
            let (a, b) = unsafe { (_mm256_loadu_ps(&raw const a[8 * lane]), _mm256_loadu_ps(&raw const b[8 * lane])) };
            *sum = _mm256_fmadd_ps(a, b, *sum);
        }
    }
    let [s0, s1, s2, s3] = sums;
    let whole = sum_of(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    a_rest.iter().zip(b_rest).fold(whole, |sum, (a, b)| sum + a * b)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn squares(x: &[f32]) -> f32 {
    dot(x, x)
}
