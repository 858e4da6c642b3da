//! Owns: dot products of floats with AVX2 and FMA, by hand; AVX-512 uses them too.
//! Refuses to know: tensors, threads, operations.

use super::Row;
use super::avx2::sum_of;
use super::blocks::{brain, e4m3, half};
use std::arch::x86_64::*;

/// A format of numbers by themselves.
pub(super) trait Floats<const BYTES: usize> {
    /// # Safety
    /// The processor has AVX2 and F16C; 8 numbers can be read from `at` on.
    unsafe fn eight(at: *const u8) -> __m256;
    fn one(bytes: &[u8; BYTES]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;
pub(super) struct F8E4M3;

impl Floats<4> for F32 {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }
    fn one(bytes: &[u8; 4]) -> f32 {
        f32::from_le_bytes(*bytes)
    }
}

impl Floats<2> for F16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
    }
    fn one(bytes: &[u8; 2]) -> f32 {
        half(*bytes)
    }
}

impl Floats<2> for Bf16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let eight = unsafe { _mm_loadu_si128(at.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16))
    }
    fn one(bytes: &[u8; 2]) -> f32 {
        brain(*bytes)
    }
}

impl Floats<1> for F8E4M3 {
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
    fn one(bytes: &[u8; 1]) -> f32 {
        e4m3(bytes[0])
    }
}

/// Sum of numbers times x; four times eight running sums.
#[target_feature(enable = "avx2,fma,f16c")]
fn floats_dot<const BYTES: usize, F: Floats<BYTES>>(numbers: &[u8], x: &[f32]) -> f32 {
    let (numbers, _) = numbers.as_chunks::<BYTES>();
    let n = numbers.len().min(x.len());
    let (numbers, x) = (&numbers[..n], &x[..n]);
    let mut sums = [_mm256_setzero_ps(); 4];
    let (rows, rest) = x.as_chunks::<32>();
    for (i, row) in rows.iter().enumerate() {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let at = 32 * i + 8 * lane;
            // SAFETY: 8 numbers are there, for this row of 32 of x has as many beside it.
            let (a, b) = unsafe { (F::eight(numbers[at..at + 8].as_ptr().cast()), _mm256_loadu_ps(&raw const row[8 * lane])) };
            *sum = _mm256_fmadd_ps(a, b, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let whole = sum_of(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
    let rest = numbers[n - rest.len()..].iter().zip(rest);
    rest.fold(whole, |sum, (number, x)| sum + F::one(number) * x)
}

/// As the scalar rows of these formats.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows<const BYTES: usize, F: Floats<BYTES>>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
    super::scalar::each_product(weights, xs, out, |row, x| floats_dot::<BYTES, F>(row, x.floats));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
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
