//! Owns: products of matrices of floats by AVX-512 and by AVX2 with FMA, in tiles that stay in registers.
//! Refuses to know: tensors, threads, operations; what the matrices are.
//!
//! An element's bits depend on its own row and column alone: `dots` adds every lane's products in order and the lanes
//! at last, always by the same halves; `sums` adds in the order of k. How many rows share a tile changes nothing.

use super::Floats;
use std::arch::x86_64::*;

/// Rows of b (`dots`) or vectors of columns (`sums`) in a tile.
const SIDE: usize = 4;

macro_rules! products {
    ($module:ident, $features:literal, $width:literal, $down:literal, $vector:ty, $mask:ty;
     $mask_of:ident, $zero:ident, $load:ident, $load_part:ident, $store:ident, $store_part:ident, $same:ident, $fmadd:ident,
     $four_sums:ident) => {
        pub(super) mod $module {
            use super::*;

            const WIDTH: usize = $width;
            /// Rows of a in a tile: as many as leave no sum without a register.
            const DOWN: usize = $down;

            /// out[i][j] = a[i] . b[j]
            #[target_feature(enable = $features)]
            pub fn dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
                for j in (0..b.rows).step_by(SIDE) {
                    let count = SIDE.min(b.rows - j);
                    // A row beyond the last is the last once more; what it gives is not kept.
                    let right: [&[f32]; SIDE] = std::array::from_fn(|n| b.row((j + n).min(b.rows - 1)));
                    let mut i = 0;
                    while i + DOWN <= a.rows {
                        let left = std::array::from_fn(|m| a.row(i + m));
                        dots_tile::<DOWN>(left, right, &mut out[i * stride + j..], stride, count);
                        i += DOWN;
                    }
                    for i in i..a.rows {
                        dots_tile::<1>([a.row(i)], right, &mut out[i * stride + j..], stride, count);
                    }
                }
            }

            #[target_feature(enable = $features)]
            fn dots_tile<const M: usize>(a: [&[f32]; M], b: [&[f32]; SIDE], out: &mut [f32], stride: usize, count: usize) {
                let n = a[0].len();
                assert!(a.iter().chain(&b).all(|row| row.len() == n));
                let mut sums = [[$zero(); SIDE]; M];
                for k in (0..n).step_by(WIDTH) {
                    // SAFETY: every row has n numbers, and no lane beyond them is read.
                    unsafe {
                        let (right, left): ([$vector; SIDE], [$vector; M]) = if k + WIDTH <= n {
                            (b.map(|row| $load(row.as_ptr().add(k))), a.map(|row| $load(row.as_ptr().add(k))))
                        } else {
                            let mask: $mask = $mask_of(n - k);
                            (b.map(|row| $load_part(row.as_ptr().add(k), mask)), a.map(|row| $load_part(row.as_ptr().add(k), mask)))
                        };
                        for (sums, left) in sums.iter_mut().zip(left) {
                            for (sum, right) in sums.iter_mut().zip(right) {
                                *sum = $fmadd(left, right, *sum);
                            }
                        }
                    }
                }
                for (m, sums) in sums.into_iter().enumerate() {
                    let mut four = [0.0; SIDE];
                    // SAFETY: there is room for four numbers.
                    unsafe { _mm_storeu_ps(four.as_mut_ptr(), $four_sums(sums)) };
                    out[m * stride..m * stride + count].copy_from_slice(&four[..count]);
                }
            }

            /// out[i] += sum over k of a[i][k] * b[k]
            #[target_feature(enable = $features)]
            pub fn sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
                assert!(a.cols == b.rows);
                let mut c = 0;
                while c < b.cols {
                    let left = b.cols - c;
                    if left >= SIDE * WIDTH {
                        columns::<SIDE>(a, b, out, stride, c, SIDE * WIDTH);
                        c += SIDE * WIDTH;
                    } else {
                        let here = left.min(WIDTH);
                        columns::<1>(a, b, out, stride, c, here);
                        c += here;
                    }
                }
            }

            #[target_feature(enable = $features)]
            fn columns<const N: usize>(a: Floats, b: Floats, out: &mut [f32], stride: usize, c: usize, count: usize) {
                let mut i = 0;
                while i + DOWN <= a.rows {
                    sums_tile::<DOWN, N>(a, b, out, stride, (i, c), count);
                    i += DOWN;
                }
                for i in i..a.rows {
                    sums_tile::<1, N>(a, b, out, stride, (i, c), count);
                }
            }

            /// N vectors of columns: whole ones, or a single one of `count` columns.
            #[target_feature(enable = $features)]
            fn sums_tile<const M: usize, const N: usize>(
                a: Floats,
                b: Floats,
                out: &mut [f32],
                stride: usize,
                (i, c): (usize, usize),
                count: usize,
            ) {
                let left: [&[f32]; M] = std::array::from_fn(|m| a.row(i + m));
                assert!(left[0].len() == b.rows && c + count <= b.cols);
                assert!(b.rows == 0 || (b.rows - 1) * b.stride + b.cols <= b.numbers.len());
                assert!((i + M - 1) * stride + c + count <= out.len());
                let mask: $mask = $mask_of(count.min(WIDTH));
                // SAFETY: the asserts: `out` has a tile of M rows and `count` columns at (i, c), every row of b has those
                // columns; no lane beyond them is read or written.
                unsafe {
                    let at: [*mut f32; M] = std::array::from_fn(|m| out.as_mut_ptr().add((i + m) * stride + c));
                    let load = |from: *const f32| -> [$vector; N] {
                        std::array::from_fn(|v| if N > 1 { $load(from.add(v * WIDTH)) } else { $load_part(from, mask) })
                    };
                    let mut sums = at.map(|at| load(at));
                    for k in 0..b.rows {
                        let right = load(b.numbers.as_ptr().add(k * b.stride + c));
                        for (sums, left) in sums.iter_mut().zip(&left) {
                            let factor = $same(*left.get_unchecked(k));
                            for (sum, right) in sums.iter_mut().zip(right) {
                                *sum = $fmadd(factor, right, *sum);
                            }
                        }
                    }
                    for (at, sums) in at.into_iter().zip(sums) {
                        for (v, sum) in sums.into_iter().enumerate() {
                            if N > 1 {
                                $store(at.add(v * WIDTH), sum);
                            } else {
                                $store_part(at, mask, sum);
                            }
                        }
                    }
                }
            }
        }
    };
}

products!(
    wide, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", 16, 4, __m512, __mmask16;
    first_of_16, _mm512_setzero_ps, _mm512_loadu_ps, part_of_16, _mm512_storeu_ps,
    _mm512_mask_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, four_sums_of_16
);
products!(
    narrow, "avx2,fma", 8, 2, __m256, __m256i;
    first_of_8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps,
    _mm256_maskstore_ps, _mm256_set1_ps, _mm256_fmadd_ps, four_sums_of_8
);

#[target_feature(enable = "avx512f")]
fn first_of_16(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as u16
}

/// The lanes of a mask, zeros in the others.
///
/// # Safety
/// The lanes can be read.
#[target_feature(enable = "avx512f")]
unsafe fn part_of_16(at: *const f32, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_ps(mask, at) }
}

#[target_feature(enable = "avx2")]
fn first_of_8(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The sums of four vectors.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
fn four_sums_of_16(v: [__m512; 4]) -> __m128 {
    four_sums_of_8(v.map(|v| _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1))))
}

/// The sums of four vectors.
#[target_feature(enable = "avx2")]
fn four_sums_of_8(v: [__m256; 4]) -> __m128 {
    let [a, b, c, d] = v.map(|v| _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
    let (ab, cd) = (_mm_hadd_ps(a, b), _mm_hadd_ps(c, d));
    _mm_hadd_ps(ab, cd)
}
