//! Owns: memory: aligned buffers, matrices over them, mapped weight files.
//! Refuses to know: what the numbers mean.

mod buffer;
mod file;
mod tensors;

pub use buffer::{Buffer, as_bytes, as_bytes_mut, as_ints, as_ints_mut, as_shorts, as_shorts_mut, as_unsigned_mut, refuse_beyond_memory};
pub use file::{Bytes, Mapping, prefer_large_pages};
pub use tensors::{Mat, MatMut, Tensors, View};
