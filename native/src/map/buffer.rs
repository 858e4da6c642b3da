//! Owns: zeroed memory aligned to cache lines, and how much of it the machine still has.
//! Refuses to know: what is kept in it.

use crate::error::{Fault, Outcome};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const LINE: usize = 64;
/// From this size on memory is mapped, so that pages cost nothing until they are written.
#[cfg(unix)]
const MAPPED_BYTES: usize = 1 << 20;

/// Numbers that every bit pattern is valid for.
pub trait Plain: Copy + Send + Sync + 'static {}
impl Plain for i8 {}
impl Plain for u8 {}
impl Plain for i16 {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for f32 {}

/// A slice of zeroed numbers that begins at a cache line.
pub struct Buffer<T: Plain> {
    ptr: NonNull<T>,
    len: usize,
    mapped: bool,
}

// SAFETY: a buffer owns its memory like a Vec.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Default for Buffer<T> {
    fn default() -> Self {
        Self { ptr: NonNull::dangling(), len: 0, mapped: false }
    }
}

impl<T: Plain> Buffer<T> {
    /// Zeroed memory, or `out-of-memory` naming what it was for.
    pub fn zeroed(len: usize, what: &str) -> Outcome<Self> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= isize::MAX as usize - LINE);
        let Some(bytes) = bytes else { return Err(no_memory(what, u64::MAX)) };
        if bytes == 0 {
            return Ok(Self::default());
        }
        #[cfg(unix)]
        if bytes >= MAPPED_BYTES {
            let ptr = super::file::map_anonymous(bytes).ok_or_else(|| no_memory(what, bytes as u64))?;
            return Ok(Self { ptr: ptr.cast(), len, mapped: true });
        }
        let layout = Layout::from_size_align(bytes, LINE).map_err(|_| no_memory(what, bytes as u64))?;
        // SAFETY: the layout is not empty.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(|| no_memory(what, bytes as u64))?;
        Ok(Self { ptr: ptr.cast(), len, mapped: false })
    }

    /// At least `len` numbers; what was in the buffer is lost when it has to grow.
    pub fn ensure(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            let grown = len.next_power_of_two();
            *self = match Self::zeroed(grown, "scratch memory") {
                Ok(buffer) => buffer,
                Err(fault) => std::panic::panic_any(fault),
            };
        }
        &mut self[..len]
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the buffer owns `len` initialised numbers (dangling only when len is 0).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes == 0 {
            return;
        }
        #[cfg(unix)]
        if self.mapped {
            super::file::unmap(self.ptr.cast(), bytes);
            return;
        }
        let _ = self.mapped;
        if let Ok(layout) = Layout::from_size_align(bytes, LINE) {
            // SAFETY: the memory came from `alloc_zeroed` with this layout.
            unsafe { dealloc(self.ptr.as_ptr().cast(), layout) };
        }
    }
}

/// Words seen as signed bytes.
pub fn as_bytes(words: &[f32]) -> &[i8] {
    // SAFETY: every byte of an f32 is a valid i8, and i8 has alignment 1.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// Words seen as signed bytes, to write.
pub fn as_bytes_mut(words: &mut [f32]) -> &mut [i8] {
    // SAFETY: as above; every bit pattern is a valid f32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Words seen as unsigned bytes, to write.
pub fn as_unsigned_mut(words: &mut [f32]) -> &mut [u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Words seen as integers.
pub fn as_ints(words: &[f32]) -> &[i32] {
    // SAFETY: f32 and i32 have the same size and alignment, and no invalid bit pattern.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// Words seen as integers, to write.
pub fn as_ints_mut(words: &mut [f32]) -> &mut [i32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

/// Words seen as short integers.
pub fn as_shorts(words: &[f32]) -> &[i16] {
    // SAFETY: every half of an f32 is a valid i16, and i16 has a smaller alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) }
}

/// Words seen as short integers, to write.
pub fn as_shorts_mut(words: &mut [f32]) -> &mut [i16] {
    // SAFETY: as above; every bit pattern is a valid f32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

fn no_memory(what: &str, bytes: u64) -> Fault {
    Fault::new("out-of-memory", what)
        .expected(format!("{bytes} bytes of memory"))
        .got("a failed allocation")
        .next("use a shorter context, fewer sequences or a smaller model")
}

/// Refuses an allocation that the machine (or the container) cannot hold.
pub fn refuse_beyond_memory(what: &str, bytes: u64) -> Outcome<()> {
    match available_bytes() {
        Some(available) if bytes > available => Err(Fault::new("out-of-memory", what)
            .expected(format!("at most the {available} bytes of memory that are available"))
            .got(format!("{bytes} bytes"))
            .next("use a shorter context, fewer sequences or a smaller model")),
        _ => Ok(()),
    }
}

/// Memory that can be had now: MemAvailable, or what the control group still allows, whichever is less.
pub fn available_bytes() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024;
    let group = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    let container = group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current").or_else(|| {
        group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
    });
    Some(container.map_or(machine, |limit| limit.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_and_aligned() {
        for len in [1, 63, 1 << 20] {
            let buffer = Buffer::<f32>::zeroed(len, "a test").unwrap();
            assert_eq!(buffer.as_ptr() as usize % LINE, 0);
            assert!(buffer.len() == len && buffer.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn impossible_sizes_are_refused_with_a_code() {
        let fault = Buffer::<f32>::zeroed(usize::MAX / 2, "a test").err().unwrap();
        assert_eq!(fault.code, "out-of-memory");
        assert!(refuse_beyond_memory("a test", 1 << 60).is_err());
    }
}
