//! Owns: products of matrices of floats by AVX-512 and by AVX2 with FMA, in tiles that stay in registers; those of weight
//! rows in formats of numbers by themselves, which become floats in registers.
//! Refuses to know: tensors, threads, operations; what the matrices are.
//!
//! An element's bits depend on its own row and column alone: `dots` adds every lane's products in order and the lanes
//! at last, always by the same halves; `sums` adds in the order of k. How many rows share a tile changes nothing.

use super::x86_floats::{F8E4M3, Numbers};
use super::blocks::e4m3;
use super::{Floats, Row, Scaled};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Rows of b (`dots`) or vectors of columns (`sums`) in a tile.
const SIDE: usize = 4;

/// Asks for memory of the next four rows while the line at byte `at` of each of four is multiplied: four lines one after
/// the other, so that it is read in the order in which it lies.
#[inline(always)]
fn ask_ahead(first: *const u8, at: usize, row_bytes: usize) {
    for n in 0..SIDE {
        // SAFETY: asking for memory never faults, wherever it is.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(SIDE * (row_bytes + at) + 64 * n).cast()) };
    }
}

macro_rules! products {
    ($module:ident, $features:literal, $width:literal, $down:literal, $vector:ty, $mask:ty;
     $mask_of:ident, $zero:ident, $load:ident, $load_part:ident, $store:ident, $store_part:ident, $same:ident, $fmadd:ident,
     $mul:ident, $numbers:ident, $four_sums:ident) => {
        pub(super) mod $module {
            use super::*;

            const WIDTH: usize = $width;
            /// Rows of a in a tile: as many as leave no sum without a register.
            const DOWN: usize = $down;

            /// Four rows of the right side, as vectors of floats.
            trait Right: Copy {
                /// What columns share until the next `enter`.
                type Shared: Copy;
                /// Columns after which `enter` is called again: a multiple of WIDTH, or all.
                fn step(self) -> usize;
                fn enter(self, k: usize) -> Self::Shared;
                /// # Safety
                /// The processor has the features; the rows have WIDTH columns from k on.
                unsafe fn load(self, k: usize, shared: Self::Shared) -> [$vector; SIDE];
                /// # Safety
                /// The processor has the features; the rows have `count` columns from k on, fewer than WIDTH.
                unsafe fn load_part(self, k: usize, count: usize, shared: Self::Shared) -> [$vector; SIDE];
            }

            impl Right for [&[f32]; SIDE] {
                type Shared = ();
                fn step(self) -> usize {
                    self[0].len()
                }
                fn enter(self, _: usize) {}
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load(self, k: usize, (): ()) -> [$vector; SIDE] {
                    // SAFETY: the caller's promise.
                    self.map(|row| unsafe { $load(row.as_ptr().add(k)) })
                }
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load_part(self, k: usize, count: usize, (): ()) -> [$vector; SIDE] {
                    let mask: $mask = $mask_of(count);
                    // SAFETY: the caller's promise; lanes beyond `count` are not read.
                    self.map(|row| unsafe { $load_part(row.as_ptr().add(k), mask) })
                }
            }

            /// Rows of numbers by themselves.
            struct Plain<'a, const BYTES: usize, F>([&'a [[u8; BYTES]]; SIDE], PhantomData<F>);

            impl<const BYTES: usize, F> Clone for Plain<'_, BYTES, F> {
                fn clone(&self) -> Self {
                    *self
                }
            }
            impl<const BYTES: usize, F> Copy for Plain<'_, BYTES, F> {}

            impl<const BYTES: usize, F: Numbers<BYTES>> Right for Plain<'_, BYTES, F> {
                type Shared = ();
                fn step(self) -> usize {
                    self.0[0].len()
                }
                fn enter(self, _: usize) {}
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load(self, k: usize, (): ()) -> [$vector; SIDE] {
                    if (k * BYTES).is_multiple_of(64) {
                        ask_ahead(self.0[0].as_ptr().cast(), k * BYTES, self.0[0].len() * BYTES);
                    }
                    // SAFETY: the caller's promise.
                    self.0.map(|row| unsafe { F::$numbers(row.as_ptr().add(k).cast()) })
                }
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load_part(self, k: usize, count: usize, (): ()) -> [$vector; SIDE] {
                    self.0.map(|row| {
                        let mut last = [[0; BYTES]; WIDTH];
                        last[..count].copy_from_slice(&row[k..k + count]);
                        // SAFETY: WIDTH numbers are there.
                        unsafe { F::$numbers(last.as_ptr().cast()) }
                    })
                }
            }

            /// out[x][r] = weight row r . xs[x], with the bits that `dots` gives with the weights as floats.
            #[target_feature(enable = $features)]
            pub fn rows<const BYTES: usize, F: Numbers<BYTES>>(weights: &[u8], xs: &[Row], out: &mut [f32]) {
                let rows = out.len() / xs.len().max(1);
                if rows == 0 {
                    return;
                }
                let (weights, _) = weights.as_chunks::<BYTES>();
                let cols = weights.len() / rows;
                assert!(xs.iter().all(|x| x.floats.len() == cols));
                for j in (0..rows).step_by(SIDE) {
                    let right = std::array::from_fn(|n| {
                        let r = (j + n).min(rows - 1);
                        &weights[r * cols..(r + 1) * cols]
                    });
                    let count = SIDE.min(rows - j);
                    down(xs.len(), |i| xs[i].floats, Plain::<BYTES, F>(right, PhantomData), &mut out[j..], rows, count);
                }
            }

            /// Rows of codes, a factor for every `block` of them.
            #[derive(Clone, Copy)]
            struct Codes<'a> {
                codes: [&'a [u8]; SIDE],
                factors: [&'a [f32]; SIDE],
                block: usize,
            }

            impl Right for Codes<'_> {
                type Shared = [f32; SIDE];
                fn step(self) -> usize {
                    self.block
                }
                fn enter(self, k: usize) -> [f32; SIDE] {
                    self.factors.map(|factors| factors[k / self.block])
                }
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load(self, k: usize, factors: [f32; SIDE]) -> [$vector; SIDE] {
                    if k.is_multiple_of(64) {
                        ask_ahead(self.codes[0].as_ptr(), k, self.codes[0].len());
                    }
                    std::array::from_fn(|n| {
                        // SAFETY: the caller's promise.
                        unsafe { $mul(F8E4M3::$numbers(self.codes[n].as_ptr().add(k)), $same(factors[n])) }
                    })
                }
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load_part(self, k: usize, count: usize, factors: [f32; SIDE]) -> [$vector; SIDE] {
                    std::array::from_fn(|n| {
                        let mut last = [0; WIDTH];
                        last[..count].copy_from_slice(&self.codes[n][k..k + count]);
                        // SAFETY: WIDTH codes are there.
                        unsafe { $mul(F8E4M3::$numbers(last.as_ptr()), $same(factors[n])) }
                    })
                }
            }

            /// out[i][j] = a[i] . b[j]
            #[target_feature(enable = $features)]
            pub fn dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) {
                for j in (0..b.rows).step_by(SIDE) {
                    let count = SIDE.min(b.rows - j);
                    // A row beyond the last is the last once more; what it gives is not kept.
                    let right: [&[f32]; SIDE] = std::array::from_fn(|n| b.row((j + n).min(b.rows - 1)));
                    down(a.rows, |i| a.row(i), right, &mut out[j..], stride, count);
                }
            }

            /// out[x][r] = weight row r . xs[x], with the bits that `dots` gives with the weights as floats.
            #[target_feature(enable = $features)]
            pub fn scaled(weights: Scaled, xs: &[Row], out: &mut [f32]) {
                let rows = weights.codes.len() / weights.cols;
                assert!(weights.block_cols.is_multiple_of(WIDTH) && out.len() == rows * xs.len());
                for j in (0..rows).step_by(SIDE) {
                    let row = |n: usize| (j + n).min(rows - 1);
                    let right = Codes {
                        codes: std::array::from_fn(|n| weights.row(row(n))),
                        factors: std::array::from_fn(|n| weights.factors_of(row(n))),
                        block: weights.block_cols,
                    };
                    down(xs.len(), |i| xs[i].floats, right, &mut out[j..], rows, SIDE.min(rows - j));
                }
            }

            /// E4M3 codes as floats.
            #[target_feature(enable = $features)]
            pub fn floats_of(codes: &[u8], out: &mut [f32]) {
                let (whole, rest) = codes.as_chunks::<WIDTH>();
                let (out_whole, out_rest) = out.as_chunks_mut::<WIDTH>();
                for (codes, out) in whole.iter().zip(out_whole) {
                    // SAFETY: WIDTH codes are there, and room for as many floats.
                    unsafe { $store(out.as_mut_ptr(), F8E4M3::$numbers(codes.as_ptr())) };
                }
                for (code, out) in rest.iter().zip(out_rest) {
                    *out = e4m3(*code);
                }
            }

            /// All rows of the left side with four of the right.
            #[inline]
            #[target_feature(enable = $features)]
            fn down<'a, R: Right>(
                rows: usize,
                left: impl Fn(usize) -> &'a [f32],
                right: R,
                out: &mut [f32],
                stride: usize,
                count: usize,
            ) {
                let mut i = 0;
                while i + DOWN <= rows {
                    // Not `from_fn`: it would be called.
                    let mut rows = [&[][..]; DOWN];
                    for (m, row) in rows.iter_mut().enumerate() {
                        *row = left(i + m);
                    }
                    dots_tile::<DOWN, R>(rows, right, &mut out[i * stride..], stride, count);
                    i += DOWN;
                }
                // The right side is read once for all that are left.
                let at = (i * stride).min(out.len());
                let out = &mut out[at..];
                match rows - i {
                    3 => dots_tile::<3, R>([left(i), left(i + 1), left(i + 2)], right, out, stride, count),
                    2 => dots_tile::<2, R>([left(i), left(i + 1)], right, out, stride, count),
                    1 => dots_tile::<1, R>([left(i)], right, out, stride, count),
                    _ => {}
                }
            }

            #[target_feature(enable = $features)]
            fn dots_tile<const M: usize, R: Right>(a: [&[f32]; M], b: R, out: &mut [f32], stride: usize, count: usize) {
                let n = a[0].len();
                assert!(a.iter().all(|row| row.len() == n));
                let mut sums = [[$zero(); SIDE]; M];
                let step = b.step().max(1);
                for first in (0..n).step_by(step) {
                    let shared = b.enter(first);
                    let end = n.min(first + step);
                    for k in (first..end).step_by(WIDTH) {
                        // SAFETY: every row has n numbers, and no lane beyond them is read.
                        unsafe {
                            let (right, left): ([$vector; SIDE], [$vector; M]) = if k + WIDTH <= end {
                                (b.load(k, shared), a.map(|row| $load(row.as_ptr().add(k))))
                            } else {
                                let mask: $mask = $mask_of(end - k);
                                (b.load_part(k, end - k, shared), a.map(|row| $load_part(row.as_ptr().add(k), mask)))
                            };
                            for (sums, left) in sums.iter_mut().zip(left) {
                                for (sum, right) in sums.iter_mut().zip(right) {
                                    *sum = $fmadd(left, right, *sum);
                                }
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
                    let at = out.as_mut_ptr().add(i * stride + c);
                    let mut sums = [[$zero(); N]; M];
                    for (m, sums) in sums.iter_mut().enumerate() {
                        load(at.add(m * stride), mask, sums);
                    }
                    let mut right = [$zero(); N];
                    for k in 0..b.rows {
                        load(b.numbers.as_ptr().add(k * b.stride + c), mask, &mut right);
                        for (sums, left) in sums.iter_mut().zip(&left) {
                            let factor = $same(*left.get_unchecked(k));
                            for (sum, right) in sums.iter_mut().zip(right) {
                                *sum = $fmadd(factor, right, *sum);
                            }
                        }
                    }
                    for (m, sums) in sums.into_iter().enumerate() {
                        for (v, sum) in sums.into_iter().enumerate() {
                            if N > 1 {
                                $store(at.add(m * stride + v * WIDTH), sum);
                            } else {
                                $store_part(at.add(m * stride), mask, sum);
                            }
                        }
                    }
                }
            }

            /// N whole vectors, or a single one of the lanes of a mask.
            ///
            /// # Safety
            /// They can be read.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn load<const N: usize>(from: *const f32, mask: $mask, to: &mut [$vector; N]) {
                for (v, to) in to.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *to = unsafe { if N > 1 { $load(from.add(v * WIDTH)) } else { $load_part(from, mask) } };
                }
            }
        }
    };
}

products!(
    wide, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c", 16, 4, __m512, __mmask16;
    first_of_16, _mm512_setzero_ps, _mm512_loadu_ps, part_of_16, _mm512_storeu_ps,
    _mm512_mask_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_mul_ps, sixteen, four_sums_of_16
);
products!(
    narrow, "avx2,fma,f16c", 8, 2, __m256, __m256i;
    first_of_8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps,
    _mm256_maskstore_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_mul_ps, eight, four_sums_of_8
);

#[inline]
#[target_feature(enable = "avx512f")]
fn first_of_16(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as u16
}

/// The lanes of a mask, zeros in the others.
///
/// # Safety
/// The lanes can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn part_of_16(at: *const f32, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_ps(mask, at) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn first_of_8(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The sums of four vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
fn four_sums_of_16(v: [__m512; 4]) -> __m128 {
    let mut halves = [_mm256_setzero_ps(); 4];
    for (half, v) in halves.iter_mut().zip(v) {
        *half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    }
    four_sums_of_8(halves)
}

/// The sums of four vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn four_sums_of_8(v: [__m256; 4]) -> __m128 {
    let [a, b, c, d] = v;
    let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1))
}
