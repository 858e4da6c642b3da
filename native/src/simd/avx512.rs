//! Owns: kernels for AVX-512 (F, BW, DQ, VL, VBMI) with VNNI.
//! Refuses to know: tensors, threads, operations.

use super::{Kernels, scalar};

static KERNELS: Kernels = Kernels { isa: "avx512", ..scalar::TABLE };

/// The table, when this processor can run it.
pub fn kernels() -> Option<&'static Kernels> {
    let fits = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    fits.then_some(&KERNELS)
}
