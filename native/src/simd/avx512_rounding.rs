//! Owns: activations rounded to int8 by AVX-512, to the bits of the plain kernels.
//! Refuses to know: weights, tensors, threads.

use super::blocks::{half, to_half};
use std::arch::x86_64::*;

/// Sixteen numbers.
const LANES: usize = 16;

/// As `scalar::quantize32`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
pub(super) fn quantize32(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32], scaled_sums: &mut [f32]) {
    let rounded = |x: f32| Some(half(to_half(x))).filter(|x| x.is_finite()).unwrap_or(x);
    for (b, x) in x.as_chunks::<32>().0.iter().enumerate() {
        let q: &mut [i8] = &mut q[32 * b..32 * b + 32];
        // SAFETY: 32 numbers and 32 bytes are there.
        let (exact, sum) = unsafe {
            let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES)));
            let broken = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(low, high);
            let largest = larger(high, larger(low, _mm512_setzero_ps()));
            let largest = _mm512_reduce_max_ps(largest);
            let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let (low, high) = (to_ints(low, inverse), to_ints(high, inverse));
            _mm_storeu_si128(q.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(low));
            _mm_storeu_si128(q.as_mut_ptr().add(LANES).cast(), _mm512_cvtepi32_epi8(high));
            (scale_of(largest, broken), _mm512_reduce_add_epi32(_mm512_add_epi32(low, high)))
        };
        scale[b] = rounded(exact);
        sums[b] = sum;
        scaled_sums[b] = rounded(exact * sum as f32);
    }
}

/// As `scalar::quantize256`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub(super) fn quantize256(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32]) {
    for (b, x) in x.as_chunks::<256>().0.iter().enumerate() {
        let (q, sums): (&mut [i8], &mut [i32]) = (&mut q[256 * b..256 * b + 256], &mut sums[16 * b..16 * b + 16]);
        let mut largest = _mm512_setzero_ps();
        let mut broken = 0;
        for g in 0..LANES {
            // SAFETY: 16 numbers are there.
            let x = unsafe { _mm512_loadu_ps(x.as_ptr().add(LANES * g)) };
            broken |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            largest = larger(x, largest);
        }
        let largest = _mm512_reduce_max_ps(largest);
        let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        scale[b] = scale_of(largest, broken);
        for (g, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 16 numbers and 16 bytes are there.
            unsafe {
                let ints = to_ints(_mm512_loadu_ps(x.as_ptr().add(LANES * g)), inverse);
                _mm_storeu_si128(q.as_mut_ptr().add(LANES * g).cast(), _mm512_cvtepi32_epi8(ints));
                *sum = _mm512_reduce_add_epi32(ints);
            }
        }
    }
}

/// The scale of a block, by its largest magnitude and where it holds no numbers.
fn scale_of(largest: f32, broken: __mmask16) -> f32 {
    if broken == 0 { largest / 127.0 } else { f32::NAN }
}

/// The larger of |x| and what there is; what there is where x is no number.
#[inline]
#[target_feature(enable = "avx512f")]
fn larger(x: __m512, than: __m512) -> __m512 {
    // The instruction gives its second operand when one is no number.
    _mm512_max_ps(_mm512_abs_ps(x), than)
}

/// Nearest integers of x * inverse, ties to even, within those of a byte; 0 where the product is no number.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_ints(x: __m512, inverse: __m512) -> __m512i {
    let product = _mm512_mul_ps(x, inverse);
    let within = _mm512_min_ps(_mm512_max_ps(product, _mm512_set1_ps(-128.0)), _mm512_set1_ps(127.0));
    _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask::<_CMP_ORD_Q>(product, product), within)
}
