//! Owns: compiling the plain kernels once more with the instructions of a processor, so that the compiler may use them.
//! Refuses to know: which kernels; what deserves to be written by hand.

/// Kernels with wider instructions: each `name` is the plain function `body`, inlined and compiled with `$features`.
#[cfg(target_arch = "x86_64")]
macro_rules! featured {
    ($features:literal; $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(
            pub(super) fn $name($($argument: $type),*) $(-> $result)? {
                #[target_feature(enable = $features)]
                fn inner($($argument: $type),*) $(-> $result)? {
                    ($body)($($argument),*)
                }
                // SAFETY: the table that holds this function is given out only where the processor has the features.
                unsafe { inner($($argument),*) }
            }
        )*
    };
}

/// The whole table of plain kernels, compiled with `$features`, under the name `TABLE`.
#[cfg(target_arch = "x86_64")]
macro_rules! featured_table {
    ($isa:literal, $features:literal) => {
        featured! {
            $features;
            fn rows_f32(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows_f32;
            fn rows_f16(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows_f16;
            fn rows_bf16(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows_bf16;
            fn rows_f8(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows_f8;
            fn rows_q8_0(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockQ8_0>;
            fn rows_q4_0(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockQ4_0>;
            fn rows_q4_1(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockQ4_1>;
            fn rows_q5_0(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockQ5_0>;
            fn rows_q5_1(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockQ5_1>;
            fn rows_iq4_nl(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockIq4Nl>;
            fn rows_mxfp4(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows32::<BlockMxfp4>;
            fn rows_q2_k(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockQ2K>;
            fn rows_q3_k(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockQ3K>;
            fn rows_q4_k(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockQ4K>;
            fn rows_q5_k(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockQ5K>;
            fn rows_q6_k(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockQ6K>;
            fn rows_iq4_xs(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq4Xs>;
            fn rows_iq2_xxs(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq2Xxs>;
            fn rows_iq2_xs(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq2Xs>;
            fn rows_iq2_s(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq2S>;
            fn rows_iq3_xxs(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq3Xxs>;
            fn rows_iq3_s(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq3S>;
            fn rows_iq1_s(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq1S>;
            fn rows_iq1_m(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockIq1M>;
            fn rows_tq1_0(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockTq1_0>;
            fn rows_tq2_0(w: &[u8], xs: &[Row], out: &mut [f32]) = scalar::rows256::<BlockTq2_0>;
            fn quantize32(
                x: &[f32],
                q: &mut [i8],
                scale: &mut [f32],
                sums: &mut [i32],
                scaled_sums: &mut [f32]
            ) = scalar::quantize32;
            fn quantize256(x: &[f32], q: &mut [i8], scale: &mut [f32], sums: &mut [i32]) = scalar::quantize256;
            fn squares(x: &[f32]) -> f32 = scalar::squares;
            fn swiglu(gate: &mut [f32], up: &[f32]) = scalar::swiglu;
            fn exponentials(x: &mut [f32], scale: f32) -> (f32, f32) = scalar::exponentials;
            fn add(out: &mut [f32], x: &[f32]) = scalar::add;
            fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) = scalar::add_scaled;
            fn dots(a: Floats, b: Floats, out: &mut [f32], stride: usize) = scalar::dots;
            fn sums(a: Floats, b: Floats, out: &mut [f32], stride: usize) = scalar::sums;
            fn multiply_bytes(rounds: usize) -> i32 = scalar::multiply_bytes;
            fn decode(format: Format, bytes: &[u8], out: &mut [f32]) = scalar::decode;
        }

        /// Every plain kernel with this instruction set; kernels by hand replace entries.
        const TABLE: Kernels = {
            let mut rows = scalar::ROWS;
            rows[Format::F32 as usize] = rows_f32;
            rows[Format::F16 as usize] = rows_f16;
            rows[Format::Bf16 as usize] = rows_bf16;
            rows[Format::F8E4M3 as usize] = rows_f8;
            rows[Format::Q8_0 as usize] = rows_q8_0;
            rows[Format::Q4_0 as usize] = rows_q4_0;
            rows[Format::Q4_1 as usize] = rows_q4_1;
            rows[Format::Q5_0 as usize] = rows_q5_0;
            rows[Format::Q5_1 as usize] = rows_q5_1;
            rows[Format::Iq4Nl as usize] = rows_iq4_nl;
            rows[Format::Mxfp4 as usize] = rows_mxfp4;
            rows[Format::Q2K as usize] = rows_q2_k;
            rows[Format::Q3K as usize] = rows_q3_k;
            rows[Format::Q4K as usize] = rows_q4_k;
            rows[Format::Q5K as usize] = rows_q5_k;
            rows[Format::Q6K as usize] = rows_q6_k;
            rows[Format::Iq4Xs as usize] = rows_iq4_xs;
            rows[Format::Iq2Xxs as usize] = rows_iq2_xxs;
            rows[Format::Iq2Xs as usize] = rows_iq2_xs;
            rows[Format::Iq2S as usize] = rows_iq2_s;
            rows[Format::Iq3Xxs as usize] = rows_iq3_xxs;
            rows[Format::Iq3S as usize] = rows_iq3_s;
            rows[Format::Iq1S as usize] = rows_iq1_s;
            rows[Format::Iq1M as usize] = rows_iq1_m;
            rows[Format::Tq1_0 as usize] = rows_tq1_0;
            rows[Format::Tq2_0 as usize] = rows_tq2_0;
            Kernels {
                isa: $isa,
                rows,
                woven: false,
                lanes: [None; Format::ALL.len()],
                panels: [None; Format::ALL.len()],
                floats_as_dots: false,
                scaled: None,
                quantize32,
                quantize256,
                squares,
                swiglu,
                exponentials,
                add,
                add_scaled,
                dots,
                sums,
                from_half,
                to_half,
                multiply_bytes,
                round_operations: 2 * scalar::ROUND_PRODUCTS,
                decode,
                encode: scalar::KERNELS.encode,
            }
        };
    };
}

/// The searches of `crate::encode` on `$doubles`, compiled with `$features`.
macro_rules! featured_search {
    ($doubles:ident $(, $features:literal)?) => {
        impl Search for $doubles {
            featured_search! {
                @each $doubles [$($features)?]
                fn scale_of_whole(x: &[$doubles], w: &[$doubles], code: &Whole) -> $doubles = fit_scale;
                fn scale_of_levels(x: &[$doubles], w: &[$doubles], code: &Levels) -> $doubles = fit_scale;
                fn affine(x: &[$doubles], w: &[$doubles], most: f64, signed_min: bool) -> Affine<$doubles> = fit_affine;
                fn scaled_whole(
                    x: &[$doubles],
                    w: &[$doubles],
                    size: usize,
                    code: &Whole,
                    scale_code: &Whole
                ) -> ScaledGroups<$doubles> = fit_scaled;
                fn scaled_levels(
                    x: &[$doubles],
                    w: &[$doubles],
                    size: usize,
                    code: &Levels,
                    scale_code: &Whole
                ) -> ScaledGroups<$doubles> = fit_scaled;
                fn affine_groups(
                    x: &[$doubles],
                    w: &[$doubles],
                    size: usize,
                    most: f64,
                    most_scale: f64
                ) -> AffineGroups<$doubles> = fit_affine_groups;
                fn grid(x: &[$doubles], w: &[$doubles], kind: &GridKind) -> FittedGrid<$doubles> = fit_grid;
                fn shifted(x: &[$doubles], w: &[$doubles], kind: &ShiftedKind) -> FittedShifts<$doubles> = fit_shifted;
            }
        }
    };
    (@each $doubles:ident $features:tt
        $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:ident;)*
    ) => {
        $(featured_search! { @one $features fn $name($($argument: $type),*) -> $result = $body; })*
    };
    (@one [] fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:ident;) => {
        #[inline(never)]
        fn $name($($argument: $type),*) -> $result {
            $body($($argument),*)
        }
    };
    (@one [$features:literal] fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:ident;) => {
        fn $name($($argument: $type),*) -> $result {
            #[target_feature(enable = $features)]
            #[inline(never)]
            fn inner($($argument: $type),*) -> $result {
                $body($($argument),*)
            }
            // SAFETY: lanes of this kind are used only in kernels of tables for processors with the features.
            unsafe { inner($($argument),*) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use {featured, featured_table};
pub(super) use featured_search;
