//! Owns: kernels for AVX2 with FMA and F16C.
//! Refuses to know: tensors, threads, operations.

use super::{Kernels, scalar};

static KERNELS: Kernels = Kernels { isa: "avx2", ..scalar::TABLE };

/// The table, when this processor can run it.
pub fn kernels() -> Option<&'static Kernels> {
    let fits = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    fits.then_some(&KERNELS)
}
