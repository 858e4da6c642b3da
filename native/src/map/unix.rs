//! Owns: mapping on Unix, and the handler that keeps the process alive when a mapped file loses pages.
//! Refuses to know: who reads the mapping.
//!
//! Reading a page that a shrunken file no longer has raises SIGBUS. The handler puts a page of zeros in its place and
//! marks the mapping; the step that read it then fails with a sentence. Faults elsewhere go to the previous handler.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_SHARED: c_int = 1;
const MAP_PRIVATE: c_int = 2;
const MAP_FIXED: c_int = 0x10;
#[cfg(target_os = "linux")]
const MAP_ANONYMOUS: c_int = 0x20;
#[cfg(not(target_os = "linux"))]
const MAP_ANONYMOUS: c_int = 0x1000;
#[cfg(target_os = "linux")]
const MAP_NORESERVE: c_int = 0x4000;
#[cfg(not(target_os = "linux"))]
const MAP_NORESERVE: c_int = 0x40;
#[cfg(target_os = "linux")]
const MADV_HUGEPAGE: c_int = 14;
#[cfg(target_os = "linux")]
const MADV_POPULATE_READ: c_int = 22;
#[cfg(target_os = "linux")]
const POSIX_FADV_WILLNEED: c_int = 3;
#[cfg(target_os = "linux")]
const SIGBUS: c_int = 7;
#[cfg(not(target_os = "linux"))]
const SIGBUS: c_int = 10;
#[cfg(target_os = "linux")]
const SA_SIGINFO: c_int = 4;
#[cfg(not(target_os = "linux"))]
const SA_SIGINFO: c_int = 0x40;
#[cfg(target_os = "linux")]
const SA_ONSTACK: c_int = 0x0800_0000;
#[cfg(not(target_os = "linux"))]
const SA_ONSTACK: c_int = 1;
/// Where `si_addr` is in `siginfo_t`.
#[cfg(target_os = "linux")]
const SI_ADDR: usize = 16;
#[cfg(not(target_os = "linux"))]
const SI_ADDR: usize = 24;

#[cfg(target_os = "linux")]
#[repr(C)]
struct SigAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}
#[cfg(target_os = "linux")]
const NO_MASK: [u64; 16] = [0; 16];

#[cfg(not(target_os = "linux"))]
#[repr(C)]
struct SigAction {
    handler: usize,
    mask: u32,
    flags: c_int,
}
#[cfg(not(target_os = "linux"))]
const NO_MASK: u32 = 0;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const _: () = assert!(size_of::<SigAction>() == 152);

unsafe extern "C" {
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
    #[cfg(target_os = "linux")]
    fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int;
    #[cfg(target_os = "linux")]
    fn posix_fadvise(fd: c_int, offset: i64, len: i64, advice: c_int) -> c_int;
    fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
}

/// Maps a whole file for reading. What has to come from the disk comes in large pages, where the file system has them.
pub fn map_file(file: &File, len: usize) -> std::io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the system's choice.
    let ptr = unsafe { mmap(std::ptr::null_mut(), len.max(1), PROT_READ, MAP_SHARED, file.as_raw_fd(), 0) };
    let ptr = mapped(ptr).ok_or_else(std::io::Error::last_os_error)?;
    #[cfg(target_os = "linux")]
    // SAFETY: advice about pages of the mapping above; a refusal changes nothing.
    unsafe {
        madvise(ptr.as_ptr().cast(), len.max(1), MADV_HUGEPAGE);
    }
    Ok(ptr)
}

/// Maps the pages of a range that begins at a page, as reading each of them would; false where the system does not, or the
/// file has lost one.
pub fn populate(at: usize, bytes: usize) -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: advice that changes no byte; pages that cannot be had are reported, and raise no signal.
    return unsafe { madvise(at as *mut c_void, bytes, MADV_POPULATE_READ) } == 0;
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (at, bytes);
        false
    }
}

/// Has a part of a file fetched into the system's memory while others are asked for, where the system does that.
pub fn ask_for(file: &File, offset: usize, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: advice about a file that is open; nothing of this process's memory is touched, and a refusal changes nothing.
    unsafe {
        posix_fadvise(file.as_raw_fd(), offset as i64, bytes as i64, POSIX_FADV_WILLNEED);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, bytes);
}

pub fn map_anonymous(bytes: usize) -> Option<NonNull<u8>> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    // SAFETY: as above.
    mapped(unsafe { mmap(std::ptr::null_mut(), bytes, PROT_READ | PROT_WRITE, flags, -1, 0) })
}

/// Asks for large pages under memory of [`map_anonymous`] that was not written yet, where the system has them.
pub fn prefer_large_pages(memory: &mut [f32]) {
    #[cfg(target_os = "linux")]
    // SAFETY: advice about pages of a mapping; what is in them stays as it is, and a refusal changes nothing.
    unsafe {
        madvise(memory.as_mut_ptr().cast(), size_of_val(memory), MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

pub fn unmap(ptr: NonNull<u8>, bytes: usize) {
    // SAFETY: callers give back exactly what one of the two functions above gave them, and keep no reference to it.
    unsafe { munmap(ptr.as_ptr().cast(), bytes) };
}

fn mapped(ptr: *mut c_void) -> Option<NonNull<u8>> {
    if ptr as isize == -1 { None } else { NonNull::new(ptr.cast()) }
}

/// A mapping that the handler knows: [start, start + len), and whether a lost page of it was read.
struct Watched {
    start: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

const SLOTS: usize = 1024;
static WATCHED: [Watched; SLOTS] =
    [const { Watched { start: AtomicUsize::new(0), len: AtomicUsize::new(0), hit: AtomicBool::new(false) } }; SLOTS];
static INSTALL: Once = Once::new();
static PREVIOUS_HANDLER: AtomicUsize = AtomicUsize::new(0);
static PREVIOUS_FLAGS: AtomicUsize = AtomicUsize::new(0);

/// Makes the handler answer for a mapping. Beyond 1024 mappings a lost page ends the process as it would without us.
pub fn watch(ptr: NonNull<u8>, len: usize) {
    INSTALL.call_once(install);
    for slot in &WATCHED {
        if slot.start.compare_exchange(0, ptr.as_ptr() as usize, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            slot.hit.store(false, Ordering::Relaxed);
            slot.len.store(len, Ordering::Release);
            return;
        }
    }
}

pub fn forget(ptr: NonNull<u8>) {
    if let Some(slot) = slot_of(ptr) {
        slot.len.store(0, Ordering::Release);
        slot.start.store(0, Ordering::Release);
    }
}

/// Whether a lost page of this mapping was read.
pub fn was_hit(ptr: NonNull<u8>) -> bool {
    slot_of(ptr).is_some_and(|slot| slot.hit.load(Ordering::Acquire))
}

fn slot_of(ptr: NonNull<u8>) -> Option<&'static Watched> {
    WATCHED.iter().find(|slot| slot.start.load(Ordering::Acquire) == ptr.as_ptr() as usize)
}

fn install() {
    let ours = SigAction {
        handler: on_fault as *const () as usize,
        mask: NO_MASK,
        flags: SA_SIGINFO | SA_ONSTACK,
        #[cfg(target_os = "linux")]
        restorer: 0,
    };
    let mut previous = SigAction { handler: 0, ..ours };
    // SAFETY: both structures have the system's layout; the handler only calls what a signal handler may call.
    if unsafe { sigaction(SIGBUS, &ours, &mut previous) } == 0 {
        PREVIOUS_FLAGS.store(previous.flags as usize, Ordering::Release);
        PREVIOUS_HANDLER.store(previous.handler, Ordering::Release);
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut c_void, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the system passes a siginfo_t, whose si_addr is at this offset.
    let address = unsafe { info.cast::<u8>().add(SI_ADDR).cast::<usize>().read_unaligned() };
    for slot in &WATCHED {
        let start = slot.start.load(Ordering::Acquire);
        if start != 0 && address >= start && address - start < slot.len.load(Ordering::Acquire) {
            slot.hit.store(true, Ordering::Release);
            const PAGE: usize = if cfg!(all(target_os = "macos", target_arch = "aarch64")) { 16384 } else { 4096 };
            let page = address & !(PAGE - 1);
            let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            // SAFETY: the page belongs to a mapping of ours, which nobody unmaps while it is read.
            let put = unsafe { mmap(page as *mut c_void, PAGE, PROT_READ, flags, -1, 0) };
            if put as isize != -1 {
                return;
            }
        }
    }
    let previous = PREVIOUS_HANDLER.load(Ordering::Acquire);
    if previous <= 1 {
        let default = SigAction {
            handler: 0,
            mask: NO_MASK,
            flags: 0,
            #[cfg(target_os = "linux")]
            restorer: 0,
        };
        // SAFETY: the default action is restored; the fault then happens again and ends the process.
        unsafe { sigaction(SIGBUS, &default, std::ptr::null_mut()) };
    } else if PREVIOUS_FLAGS.load(Ordering::Acquire) & SA_SIGINFO as usize != 0 {
        // SAFETY: the previous handler was installed with SA_SIGINFO and so has this signature.
        let handler: extern "C" fn(c_int, *mut c_void, *mut c_void) = unsafe { std::mem::transmute(previous) };
        handler(signal, info, context);
    } else {
        // SAFETY: the previous handler was installed without SA_SIGINFO and so has this signature.
        let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(previous) };
        handler(signal);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::map::{Bytes, Mapping};
    use std::io::Write;
    use std::sync::Arc;

    #[test]
    fn a_file_that_shrinks_while_it_is_mapped_reads_as_zeros_and_is_reported() {
        let path = std::env::temp_dir().join(format!("hadal-shrink-{}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(&[7; 20_000]).unwrap();
        let file = Arc::new(Mapping::open(path.to_str().unwrap(), 20_000).unwrap());
        let bytes = Bytes::mapped(&file, 0, 20_000).unwrap();
        assert!(bytes.all()[19_999] == 7 && file.check().is_ok());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        assert_eq!(bytes.all()[19_999], 0);
        assert_eq!(file.check().unwrap_err().code, "file-shrank");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_range_outside_the_file_is_refused() {
        let path = std::env::temp_dir().join(format!("hadal-range-{}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(&[1; 10]).unwrap();
        let file = Arc::new(Mapping::open(path.to_str().unwrap(), 10).unwrap());
        assert!(Bytes::mapped(&file, 5, 6).is_err());
        assert!(Bytes::mapped(&file, usize::MAX, 2).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
