//! Owns: the place of the NEON kernels in the choice. There is no NEON table, so aarch64 runs the scalar one.

use super::Kernels;

/// The NEON table of this processor, when there is one.
pub fn kernels() -> Option<&'static Kernels> {
    None
}
