//! Owns: weight files in memory: mapped where the system can, and what happens when such a file shrinks.
//! Refuses to know: formats, tensors.

use super::Buffer;
#[cfg(unix)]
use super::buffer::available_bytes;
use crate::error::{Fault, Outcome};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::OnceLock;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::thread::JoinHandle;

/// Bytes that are brought near at a time: what closing a file may have to wait for.
#[cfg(unix)]
const NEAR_BYTES: usize = 16 << 20;
/// A multiple of every system's pages.
#[cfg(unix)]
const PAGE: usize = 64 << 10;

/// A whole file as bytes, for as long as somebody holds it.
pub struct Mapping {
    path: String,
    file: File,
    len: usize,
    #[cfg(unix)]
    ptr: std::ptr::NonNull<u8>,
    #[cfg(unix)]
    near: OnceLock<Option<Near>>,
    #[cfg(not(unix))]
    bytes: Buffer<u8>,
}

// SAFETY: the mapping is read-only memory that lives until the Mapping is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file for reading. `size` is what the caller was told.
    pub fn open(path: &str, size: u64) -> Outcome<Self> {
        Self::whole(path, size, File::open(path).map_err(|error| unreadable(path, error))?)
    }

    /// Maps the file that the caller has open under a number, whatever is at its path by now.
    #[cfg(unix)]
    pub fn held(path: &str, size: u64, number: usize) -> Outcome<Self> {
        use std::os::fd::{BorrowedFd, RawFd};
        let number = RawFd::try_from(number).map_err(|_| unreadable(path, "the number of no open file"))?;
        // SAFETY: the caller keeps the file open for the length of this call; what is kept is a copy of its number.
        let held = unsafe { BorrowedFd::borrow_raw(number) };
        let file = held.try_clone_to_owned().map_err(|error| unreadable(path, error))?;
        Self::whole(path, size, File::from(file))
    }

    #[cfg(not(unix))]
    pub fn held(path: &str, size: u64, _number: usize) -> Outcome<Self> {
        Self::open(path, size)
    }

    fn whole(path: &str, size: u64, file: File) -> Outcome<Self> {
        let found = file.metadata().map_err(|error| unreadable(path, error))?.len();
        if found < size {
            return Err(shrank(path, size, format!("{found} bytes")));
        }
        let len = usize::try_from(found).map_err(|_| {
            Fault::new("out-of-memory", path).expected("a file that fits the address space").got(found.to_string())
        })?;
        Self::over(path, file, len)
    }

    #[cfg(unix)]
    fn over(path: &str, file: File, len: usize) -> Outcome<Self> {
        let ptr = unix::map_file(&file, len).map_err(|error| unreadable(path, error))?;
        unix::watch(ptr, len);
        Ok(Self { path: path.to_owned(), file, len, ptr, near: OnceLock::new() })
    }

    #[cfg(not(unix))]
    fn over(path: &str, mut file: File, len: usize) -> Outcome<Self> {
        use std::io::Read;
        super::refuse_beyond_memory(path, len as u64)?;
        let mut bytes = Buffer::zeroed(len, path)?;
        file.read_exact(&mut bytes).map_err(|error| unreadable(path, error))?;
        Ok(Self { path: path.to_owned(), file, len, bytes })
    }

    /// Brings near what does not lie in a range of `apart`, beside what the caller goes on with; once. What does not fit into
    /// what is left of memory comes by what is asked of it alone.
    pub fn bring_near(&self, mut apart: Vec<Range<usize>>) {
        apart.sort_unstable_by_key(|range| range.start);
        #[cfg(unix)]
        self.near.get_or_init(|| {
            let runs = runs_near(self.len, &apart);
            let wanted = runs.iter().map(Range::len).sum::<usize>() as u64;
            let fits = available_bytes().is_none_or(|available| wanted <= available);
            if fits { Near::begin(self.ptr, runs) } else { None }
        });
    }

    /// Asks the disk for a part of the file that [`Mapping::read`] is to read soon.
    fn ask_for(&self, range: Range<usize>) {
        #[cfg(unix)]
        unix::ask_for(&self.file, range.start, range.len());
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Reads a part of the file without touching its mapping.
    fn read(&self, range: Range<usize>, into: &mut [u8]) -> Outcome<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileExt;
            self.file.read_exact_at(into, range.start as u64).map_err(|error| {
                let found = || self.file.metadata().map(|found| format!("{} bytes in all", found.len()));
                let fault = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        shrank(&self.path, self.len as u64, found().unwrap_or_else(|_| "an end before them".to_owned()))
                    }
                    _ => unreadable(&self.path, error),
                };
                fault.expected(format!("{} bytes at {}", range.len(), range.start))
            })
        }
        #[cfg(not(unix))]
        {
            into.copy_from_slice(&self.bytes[range]);
            Ok(())
        }
    }

    fn bytes(&self) -> &[u8] {
        #[cfg(unix)]
        // SAFETY: the mapping covers `len` bytes until drop; a page that the file has lost is replaced by the
        // handler of `unix`.
        return unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) };
        #[cfg(not(unix))]
        return &self.bytes;
    }

    /// Refuses to go on with a file that has become smaller than its mapping, or whose lost pages were read.
    pub fn check(&self) -> Outcome<()> {
        let found = self.file.metadata().map_err(|error| unreadable(&self.path, error))?.len();
        if found < self.len as u64 {
            return Err(shrank(&self.path, self.len as u64, format!("{found} bytes")));
        }
        #[cfg(unix)]
        if unix::was_hit(self.ptr) {
            return Err(shrank(&self.path, self.len as u64, "pages that could not be read"));
        }
        Ok(())
    }
}

#[cfg(unix)]
impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.near.take());
        unix::forget(self.ptr);
        unmap(self.ptr, self.len.max(1));
    }
}

/// Runs of pages of [0, len) of at most [`NEAR_BYTES`], without pages that lie in a range of `apart` whole. `apart` is in order.
#[cfg(unix)]
fn runs_near(len: usize, apart: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut at = 0;
    let ends = apart.iter().map(|range| (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE));
    for (from, to) in ends.filter(|(from, to)| from < to).chain([(len, len)]) {
        runs.extend((at..from).step_by(NEAR_BYTES).map(|start| start..from.min(start + NEAR_BYTES)));
        at = at.max(to);
    }
    runs
}

/// A thread that brings a mapping near from its beginning to its end, so that steps meet neither the disk nor page faults;
/// it ends when this is dropped.
#[cfg(unix)]
struct Near {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[cfg(unix)]
impl Near {
    /// The mapping has to outlive what is returned. Without the thread everything is as right, and slower at first.
    fn begin(ptr: std::ptr::NonNull<u8>, runs: Vec<Range<usize>>) -> Option<Self> {
        let (stop, from) = (Arc::new(AtomicBool::new(false)), ptr.as_ptr() as usize);
        let stopped = Arc::clone(&stop);
        let work = move || {
            for run in runs {
                if stopped.load(Ordering::Relaxed) || !unix::populate(from + run.start, run.len()) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("hadal-near".to_owned()).spawn(work).ok()?;
        Some(Self { stop, thread: Some(thread) })
    }
}

#[cfg(unix)]
impl Drop for Near {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

fn unreadable(path: &str, error: impl ToString) -> Fault {
    Fault::new("file-unreadable", path)
        .expected("a readable file")
        .got(error.to_string())
        .next("see whether the file and its disk can be read, then load the model again")
}

fn shrank(path: &str, expected: u64, got: impl Into<String>) -> Fault {
    Fault::new("file-shrank", path)
        .expected(format!("{expected} bytes"))
        .got(got)
        .next("restore the file and load the model again")
}

/// Bytes of weights that keep their owner alive.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
    /// Whether [`Bytes::copy`] reads the file rather than its mapping.
    apart: bool,
}

#[derive(Clone)]
enum Owner {
    Mapped(Arc<Mapping>),
    Held(Arc<Buffer<u8>>),
}

impl Bytes {
    /// A range of a mapped file; refuses one that is not inside it.
    pub fn mapped(file: &Arc<Mapping>, offset: usize, len: usize) -> Outcome<Self> {
        match offset.checked_add(len) {
            Some(end) if end <= file.len => {
                Ok(Self { owner: Owner::Mapped(Arc::clone(file)), range: offset..end, apart: false })
            }
            _ => Err(Fault::new("file-truncated", &*file.path)
                .expected(format!("{len} bytes of weights at {offset}"))
                .got(format!("{} bytes in all", file.len))
                .next("download it again")),
        }
    }

    /// The same bytes, of which few are wanted at a time: they are not brought near with the rest of their file.
    pub fn kept_apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// Where these bytes lie in `file`, if they are of it and kept apart.
    pub fn apart_in(&self, file: &Arc<Mapping>) -> Option<Range<usize>> {
        let here = matches!(&self.owner, Owner::Mapped(of) if Arc::ptr_eq(of, file));
        (self.apart && here).then(|| self.range.clone())
    }

    /// Copies `into.len()` bytes from `start` on; of bytes that are kept apart, from the file, so that the process does not hold
    /// what lies around them.
    pub fn copy(&self, start: usize, into: &mut [u8]) -> Outcome<()> {
        match &self.owner {
            Owner::Mapped(file) if self.apart => {
                let from = self.range.start + start;
                assert!(from + into.len() <= self.range.end);
                file.read(from..from + into.len(), into)
            }
            _ => {
                into.copy_from_slice(&self.all()[start..start + into.len()]);
                Ok(())
            }
        }
    }

    /// Asks for bytes that [`Bytes::copy`] is to copy soon: where it reads the file, so that the disk fetches many at once.
    pub fn ask_for(&self, start: usize, len: usize) {
        if let (Owner::Mapped(file), true) = (&self.owner, self.apart) {
            file.ask_for(self.range.start + start..self.range.start + start + len);
        }
    }

    /// A copy of bytes.
    pub fn copied(bytes: &[u8], what: &str) -> Outcome<Self> {
        let mut buffer = Buffer::zeroed(bytes.len(), what)?;
        buffer.copy_from_slice(bytes);
        Ok(Self { owner: Owner::Held(Arc::new(buffer)), range: 0..bytes.len(), apart: false })
    }

    /// A part of these bytes.
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len());
        let range = self.range.start + range.start..self.range.start + range.end;
        Self { owner: self.owner.clone(), range, apart: self.apart }
    }

    /// Whether `next` begins where these bytes end, in the same owner.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        let same = match (&self.owner, &next.owner) {
            (Owner::Mapped(a), Owner::Mapped(b)) => Arc::ptr_eq(a, b),
            (Owner::Held(a), Owner::Held(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        same && self.range.end == next.range.start
    }

    /// Bytes from the beginning of these to the end of `last`, which has the same owner.
    pub fn up_to(&self, last: &Self) -> Self {
        Self { owner: self.owner.clone(), range: self.range.start..last.range.end, apart: self.apart }
    }

    pub fn all(&self) -> &[u8] {
        match &self.owner {
            Owner::Mapped(file) => &file.bytes()[self.range.clone()],
            Owner::Held(buffer) => &buffer[self.range.clone()],
        }
    }
}

/// Anonymous memory that costs nothing until it is written; None when it cannot be had.
#[cfg(unix)]
pub fn map_anonymous(bytes: usize) -> Option<std::ptr::NonNull<u8>> {
    unix::map_anonymous(bytes)
}

/// Asks for large pages under memory that was not written yet, where the system has them.
pub fn prefer_large_pages(memory: &mut [f32]) {
    #[cfg(unix)]
    unix::prefer_large_pages(memory);
    #[cfg(not(unix))]
    let _ = memory;
}

/// Gives mapped memory back.
#[cfg(unix)]
pub fn unmap(ptr: std::ptr::NonNull<u8>, bytes: usize) {
    unix::unmap(ptr, bytes);
}

#[cfg(unix)]
#[path = "unix.rs"]
mod unix;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_whole_pages_that_are_kept_apart() {
        assert_eq!(runs_near(100, &[]), [0..100]);
        assert_eq!(runs_near(NEAR_BYTES + 5, &[]), [0..NEAR_BYTES, NEAR_BYTES..NEAR_BYTES + 5]);
        // Too short to hold a whole page.
        assert_eq!(runs_near(4 * PAGE, &[5..PAGE + 7]), [0..4 * PAGE]);
        assert_eq!(runs_near(9 * PAGE, &[PAGE - 1..3 * PAGE + 1]), [0..PAGE, 3 * PAGE..9 * PAGE]);
        assert_eq!(runs_near(9 * PAGE, &[0..2 * PAGE, 4 * PAGE..9 * PAGE]), [2 * PAGE..4 * PAGE]);
        // Named twice, and inside each other.
        let twice = [PAGE..6 * PAGE, PAGE..6 * PAGE, 2 * PAGE..3 * PAGE];
        assert_eq!(runs_near(7 * PAGE, &twice), [0..PAGE, 6 * PAGE..7 * PAGE]);
    }

    #[test]
    fn bytes_that_are_kept_apart_are_read_from_their_file_and_missed_where_it_has_shrunk() {
        let path = std::env::temp_dir().join(format!("hadal-apart-{}", std::process::id()));
        let all: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &all).unwrap();
        let file = Arc::new(Mapping::open(path.to_str().unwrap(), 300_000).unwrap());
        let bytes = Bytes::mapped(&file, 1000, 250_000).unwrap().kept_apart();
        let other = Arc::new(Mapping::open(path.to_str().unwrap(), 300_000).unwrap());
        assert_eq!((bytes.apart_in(&file), bytes.apart_in(&other)), (Some(1000..251_000), None));
        assert_eq!(Bytes::mapped(&file, 0, 10).unwrap().apart_in(&file), None);
        file.bring_near(vec![1000..251_000]);
        let mut copy = [0; 700];
        bytes.part(100..200_000).ask_for(50, 700);
        bytes.part(100..200_000).copy(50, &mut copy).unwrap();
        assert_eq!(copy, all[1150..1850]);
        assert_eq!(bytes.all(), &all[1000..251_000]);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2000).unwrap();
        let fault = bytes.copy(900, &mut copy).unwrap_err();
        assert_eq!((fault.code, &*fault.expected), ("file-shrank", "700 bytes at 1900"));
        assert_eq!((&*fault.got, &*fault.next), ("2000 bytes in all", "restore the file and load the model again"));
        bytes.copy(0, &mut copy).unwrap();
        assert_eq!(copy, all[1000..1700]);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_do() {
        let path = std::env::temp_dir();
        let name = path.to_str().unwrap();
        let next = "see whether the file and its disk can be read, then load the model again";
        // A folder can be opened, and not be mapped.
        let fault = Mapping::open(name, 0).map(|_| ()).unwrap_err();
        assert_eq!((fault.code, &*fault.what, &*fault.next), ("file-unreadable", name, next));
        let path = path.join(format!("hadal-unreadable-{}", std::process::id()));
        std::fs::write(&path, [0; 100]).unwrap();
        let file = Mapping::open(path.to_str().unwrap(), 100).unwrap();
        // No system takes an offset below zero.
        let fault = file.read(usize::MAX - 4..usize::MAX, &mut [0; 4]).unwrap_err();
        assert_eq!((fault.code, &*fault.next), ("file-unreadable", next));
        assert_eq!(fault.expected, format!("4 bytes at {}", usize::MAX - 4));
        std::fs::remove_file(&path).unwrap();
    }
}
