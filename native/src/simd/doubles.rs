//! Owns: eight f64 side by side, each of another of eight independent things: by plain code, AVX2 and AVX-512.
//! Refuses to know: what the things are. All three give the same bits.

use std::ops::{Add, Div, Mul, Sub};

/// Lanes side by side.
pub const LANES: usize = 8;

/// Eight numbers; an operation is done in every lane.
pub trait Doubles:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Which lanes.
    type Mask: Copy;

    fn load(numbers: &[f64; LANES]) -> Self;
    fn store(self) -> [f64; LANES];
    fn splat(number: f64) -> Self;
    fn root(self) -> Self;
    fn floor(self) -> Self;
    fn size(self) -> Self;
    fn negative(self) -> Self;
    /// self > other ? self : other
    fn larger(self, other: Self) -> Self;
    /// self < other ? self : other
    fn smaller(self, other: Self) -> Self;
    fn above(self, other: Self) -> Self::Mask;
    fn same(self, other: Self) -> Self::Mask;
    fn pick(mask: Self::Mask, yes: Self, no: Self) -> Self;
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn any(mask: Self::Mask) -> bool;
    /// Entries of a table at whole numbers, which the caller has put inside it.
    fn look_up(table: &[f64], at: Self) -> Self;

    /// The nearest whole number, halves upwards.
    #[inline(always)]
    fn rounded(self) -> Self {
        (self + Self::splat(0.5)).floor()
    }

    /// 1 / self; 0 for 0.
    #[inline(always)]
    fn inverse(self) -> Self {
        let zero = Self::splat(0.0);
        Self::pick(self.same(zero), zero, Self::splat(1.0) / self)
    }
}

/// By plain code.
#[derive(Clone, Copy)]
pub struct Plain([f64; LANES]);

macro_rules! plain_operator {
    ($trait:ident $name:ident $operator:tt) => {
        impl $trait for Plain {
            type Output = Self;
            #[inline(always)]
            fn $name(mut self, other: Self) -> Self {
                for lane in 0..LANES {
                    self.0[lane] = self.0[lane] $operator other.0[lane];
                }
                self
            }
        }
    };
}
plain_operator!(Add add +);
plain_operator!(Sub sub -);
plain_operator!(Mul mul *);
plain_operator!(Div div /);

impl Doubles for Plain {
    type Mask = [bool; LANES];

    #[inline(always)]
    fn load(numbers: &[f64; LANES]) -> Self {
        Self(*numbers)
    }
    #[inline(always)]
    fn store(self) -> [f64; LANES] {
        self.0
    }
    #[inline(always)]
    fn splat(number: f64) -> Self {
        Self([number; LANES])
    }
    #[inline(always)]
    fn root(self) -> Self {
        Self(self.0.map(f64::sqrt))
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Self(self.0.map(f64::floor))
    }
    #[inline(always)]
    fn size(self) -> Self {
        Self(self.0.map(f64::abs))
    }
    #[inline(always)]
    fn negative(self) -> Self {
        Self(self.0.map(|number| -number))
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        Self::pick(self.above(other), self, other)
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        Self::pick(other.above(self), self, other)
    }
    #[inline(always)]
    fn above(self, other: Self) -> Self::Mask {
        std::array::from_fn(|lane| self.0[lane] > other.0[lane])
    }
    #[inline(always)]
    fn same(self, other: Self) -> Self::Mask {
        std::array::from_fn(|lane| self.0[lane] == other.0[lane])
    }
    #[inline(always)]
    fn pick(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|lane| if mask[lane] { yes.0[lane] } else { no.0[lane] }))
    }
    #[inline(always)]
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        std::array::from_fn(|lane| a[lane] && b[lane])
    }
    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        mask.contains(&true)
    }
    #[inline(always)]
    fn look_up(table: &[f64], at: Self) -> Self {
        Self(at.0.map(|at| table[at as usize]))
    }
}

#[cfg(target_arch = "x86_64")]
pub use by_hand::{Pair, Wide};

#[cfg(target_arch = "x86_64")]
mod by_hand {
    use super::{Add, Div, Doubles, LANES, Mul, Sub};
    use std::arch::x86_64::*;

    /// By AVX-512.
    #[derive(Clone, Copy)]
    pub struct Wide(__m512d);

    /// By AVX2.
    #[derive(Clone, Copy)]
    pub struct Pair(__m256d, __m256d);

    macro_rules! operator {
        ($trait:ident $name:ident $wide:ident $pair:ident) => {
            impl $trait for Wide {
                type Output = Self;
                #[inline(always)]
                fn $name(self, other: Self) -> Self {
                    // SAFETY: `Wide` is used only in kernels of tables for processors with AVX-512.
                    Self(unsafe { $wide(self.0, other.0) })
                }
            }
            impl $trait for Pair {
                type Output = Self;
                #[inline(always)]
                fn $name(self, other: Self) -> Self {
                    // SAFETY: `Pair` is used only in kernels of tables for processors with AVX2.
                    unsafe { Self($pair(self.0, other.0), $pair(self.1, other.1)) }
                }
            }
        };
    }
    operator!(Add add _mm512_add_pd _mm256_add_pd);
    operator!(Sub sub _mm512_sub_pd _mm256_sub_pd);
    operator!(Mul mul _mm512_mul_pd _mm256_mul_pd);
    operator!(Div div _mm512_div_pd _mm256_div_pd);

    impl Doubles for Wide {
        type Mask = __mmask8;

        #[inline(always)]
        fn load(numbers: &[f64; LANES]) -> Self {
            // SAFETY: eight numbers are there; AVX-512 as above, also in what follows.
            Self(unsafe { _mm512_loadu_pd(numbers.as_ptr()) })
        }
        #[inline(always)]
        fn store(self) -> [f64; LANES] {
            let mut numbers = [0.0; LANES];
            // SAFETY: there is room for eight numbers.
            unsafe { _mm512_storeu_pd(numbers.as_mut_ptr(), self.0) };
            numbers
        }
        #[inline(always)]
        fn splat(number: f64) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_set1_pd(number) })
        }
        #[inline(always)]
        fn root(self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_sqrt_pd(self.0) })
        }
        #[inline(always)]
        fn floor(self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn size(self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_abs_pd(self.0) })
        }
        #[inline(always)]
        fn negative(self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_xor_pd(_mm512_set1_pd(-0.0), self.0) })
        }
        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_max_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn smaller(self, other: Self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_min_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn above(self, other: Self) -> Self::Mask {
            // SAFETY: registers alone.
            unsafe { _mm512_cmp_pd_mask::<_CMP_GT_OQ>(self.0, other.0) }
        }
        #[inline(always)]
        fn same(self, other: Self) -> Self::Mask {
            // SAFETY: registers alone.
            unsafe { _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0) }
        }
        #[inline(always)]
        fn pick(mask: Self::Mask, yes: Self, no: Self) -> Self {
            // SAFETY: registers alone.
            Self(unsafe { _mm512_mask_blend_pd(mask, no.0, yes.0) })
        }
        #[inline(always)]
        fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
            a & b
        }
        #[inline(always)]
        fn any(mask: Self::Mask) -> bool {
            mask != 0
        }
        #[inline(always)]
        fn look_up(table: &[f64], at: Self) -> Self {
            // SAFETY: the mask leaves out lanes whose index is not in the table.
            unsafe {
                let index = _mm512_cvttpd_epi32(at.0);
                let end = _mm256_set1_epi32(table.len() as i32);
                let inside = _mm256_cmplt_epu32_mask(index, end);
                Self(_mm512_mask_i32gather_pd::<8>(_mm512_setzero_pd(), inside, index, table.as_ptr()))
            }
        }
    }

    impl Doubles for Pair {
        type Mask = [__m256d; 2];

        #[inline(always)]
        fn load(numbers: &[f64; LANES]) -> Self {
            // SAFETY: eight numbers are there; AVX2 as above, also in what follows.
            unsafe { Self(_mm256_loadu_pd(numbers.as_ptr()), _mm256_loadu_pd(numbers[4..].as_ptr())) }
        }
        #[inline(always)]
        fn store(self) -> [f64; LANES] {
            let mut numbers = [0.0; LANES];
            // SAFETY: there is room for eight numbers.
            unsafe {
                _mm256_storeu_pd(numbers.as_mut_ptr(), self.0);
                _mm256_storeu_pd(numbers[4..].as_mut_ptr(), self.1);
            }
            numbers
        }
        #[inline(always)]
        fn splat(number: f64) -> Self {
            // SAFETY: registers alone.
            let four = unsafe { _mm256_set1_pd(number) };
            Self(four, four)
        }
        #[inline(always)]
        fn root(self) -> Self {
            // SAFETY: registers alone.
            unsafe { Self(_mm256_sqrt_pd(self.0), _mm256_sqrt_pd(self.1)) }
        }
        #[inline(always)]
        fn floor(self) -> Self {
            // SAFETY: registers alone.
            unsafe { Self(_mm256_floor_pd(self.0), _mm256_floor_pd(self.1)) }
        }
        #[inline(always)]
        fn size(self) -> Self {
            // SAFETY: registers alone.
            unsafe {
                let sign = _mm256_set1_pd(-0.0);
                Self(_mm256_andnot_pd(sign, self.0), _mm256_andnot_pd(sign, self.1))
            }
        }
        #[inline(always)]
        fn negative(self) -> Self {
            // SAFETY: registers alone.
            unsafe {
                let sign = _mm256_set1_pd(-0.0);
                Self(_mm256_xor_pd(sign, self.0), _mm256_xor_pd(sign, self.1))
            }
        }
        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            // SAFETY: registers alone.
            unsafe { Self(_mm256_max_pd(self.0, other.0), _mm256_max_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn smaller(self, other: Self) -> Self {
            // SAFETY: registers alone.
            unsafe { Self(_mm256_min_pd(self.0, other.0), _mm256_min_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn above(self, other: Self) -> Self::Mask {
            // SAFETY: registers alone.
            unsafe { [_mm256_cmp_pd::<_CMP_GT_OQ>(self.0, other.0), _mm256_cmp_pd::<_CMP_GT_OQ>(self.1, other.1)] }
        }
        #[inline(always)]
        fn same(self, other: Self) -> Self::Mask {
            // SAFETY: registers alone.
            unsafe { [_mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0), _mm256_cmp_pd::<_CMP_EQ_OQ>(self.1, other.1)] }
        }
        #[inline(always)]
        fn pick(mask: Self::Mask, yes: Self, no: Self) -> Self {
            // SAFETY: registers alone.
            unsafe { Self(_mm256_blendv_pd(no.0, yes.0, mask[0]), _mm256_blendv_pd(no.1, yes.1, mask[1])) }
        }
        #[inline(always)]
        fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
            // SAFETY: registers alone.
            unsafe { [_mm256_and_pd(a[0], b[0]), _mm256_and_pd(a[1], b[1])] }
        }
        #[inline(always)]
        fn any(mask: Self::Mask) -> bool {
            // SAFETY: registers alone.
            unsafe { _mm256_movemask_pd(_mm256_or_pd(mask[0], mask[1])) != 0 }
        }
        #[inline(always)]
        fn look_up(table: &[f64], at: Self) -> Self {
            Self::load(&at.store().map(|at| table[at as usize]))
        }
    }
}
