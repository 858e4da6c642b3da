//! Owns: the threads that compute, how they take tiles, and the lease that lets one program compute at a time.
//! Refuses to know: what is computed in a tile.
//!
//! A region is one parallel piece of work. Every thread has a part of the tiles of its own and takes them in order, so that
//! weights come to it in one stream; a thread that has no more takes those of others, so a late or slow one takes fewer. The
//! caller works too; when no tile is left it closes the region and waits only for workers that are inside, so a
//! worker that the system has not yet woken costs nothing. Idle workers spin for at most 50 us and then park.
//! A region that is aborted hands out no more tiles and ends in unwinding, so that nothing uses half of an answer.

use crate::error::Fault;
use crate::map::{Buffer, MatMut};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

const SPIN: Duration = Duration::from_micros(50);

/// Buffers that a thread keeps from tile to tile; every kernel sizes what it uses.
#[derive(Default)]
pub struct Scratch {
    pub floats: Buffer<f32>,
    pub more_floats: Buffer<f32>,
    /// Products that are not yet where they belong.
    pub products: Buffer<f32>,
    /// Unpacked weights.
    pub panel: Buffer<f32>,
}

type Job<'a> = dyn Fn(usize, &mut Scratch) + Sync + 'a;

/// Bits of `gate`: whether workers may enter, how many are inside, which region it is.
const OPEN: u32 = 1 << 15;
const INSIDE: u32 = OPEN - 1;
const REGION: u32 = !(OPEN | INSIDE);

/// The next tile of a thread's part; threads that work in their own parts share no line.
#[repr(align(128))]
struct Next(AtomicUsize);

struct Shared {
    gate: AtomicU32,
    /// Of every thread.
    next: Vec<Next>,
    tiles: AtomicUsize,
    job: UnsafeCell<Option<*const Job<'static>>>,
    stop: AtomicBool,
    panicked: AtomicBool,
    abort: Arc<AtomicBool>,
    caller: Mutex<Option<Thread>>,
}

// SAFETY: `job` is written only by the thread that owns the pool while the gate is shut and nobody is inside, and read
// only by workers that entered through the gate; the gate's release and acquire order the two.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Worker threads; the caller of a region is thread 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    own: Scratch,
}

/// One output matrix of a region and the size of the tiles that it is cut into.
pub struct Grid<'a> {
    pub out: MatMut<'a>,
    pub tile_rows: usize,
    pub tile_cols: usize,
}

/// A part of one grid's output; no other tile of the region has any of it.
pub struct Tile<'a> {
    /// Index of the grid.
    pub grid: usize,
    pub rows: Range<usize>,
    pub cols: Range<usize>,
    /// The part itself: row 0 is `rows.start`, column 0 is `cols.start`.
    pub out: MatMut<'a>,
}

static LEASE: Mutex<()> = Mutex::new(());

/// Holds the processor for one program: two contexts of this process never compute at once.
pub fn lease() -> MutexGuard<'static, ()> {
    LEASE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lease`], but none while another program has the processor.
pub fn lease_if_free() -> Option<MutexGuard<'static, ()>> {
    match LEASE.try_lock() {
        Ok(lease) => Some(lease),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Pool {
    /// Starts `threads - 1` workers.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            gate: AtomicU32::new(0),
            next: (0..threads.max(1)).map(|_| Next(AtomicUsize::new(0))).collect(),
            tiles: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            abort: Arc::default(),
            caller: Mutex::new(None),
        });
        let mut pool = Self { shared, workers: Vec::new(), own: Scratch::default() };
        for n in 1..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new().name(format!("hadal-{n}")).spawn(move || work(&shared, n))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Ends regions while it is set.
    pub fn abort_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.abort)
    }

    /// Calls `job(tile, scratch)` once for every tile in 0..tiles, on all threads; returns when all are done. Unwinds with
    /// the fault `aborted` while the flag is set, whether or not tiles were left.
    pub fn run(&mut self, tiles: usize, job: &Job<'_>) {
        if tiles <= 1 || self.workers.is_empty() {
            for tile in (0..tiles).take_while(|_| !self.shared.abort.load(Ordering::Relaxed)) {
                job(tile, &mut self.own);
            }
        } else {
            self.share(tiles, job);
        }
        if self.shared.abort.load(Ordering::Relaxed) {
            // Not a panic: nothing is wrong, and nothing is to be printed.
            std::panic::resume_unwind(Box::new(Fault::aborted()));
        }
    }

    /// A region on all threads.
    fn share(&mut self, tiles: usize, job: &Job<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; the pointer is dropped below, before `job` goes out of scope, and no
        // worker can hold it then because the gate is shut and empty.
        let erased: *const Job<'static> = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: the gate is shut and empty between regions, so nobody reads `job` now.
        unsafe { *shared.job.get() = Some(erased) };
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(part_of(thread, tiles, shared.next.len()).start, Ordering::Relaxed);
        }
        shared.tiles.store(tiles, Ordering::Relaxed);
        let region = (shared.gate.load(Ordering::Relaxed) & REGION).wrapping_add(INSIDE + OPEN + 1);
        shared.gate.store(region | OPEN, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        let own = &mut self.own;
        let outcome = catch_unwind(AssertUnwindSafe(|| take(shared, 0, job, own)));
        shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        wait_until_empty(shared);
        // SAFETY: the gate is shut and empty again.
        unsafe { *shared.job.get() = None };
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a worker thread panicked");
    }

    /// Cuts every grid into tiles and calls `job` once for each, on all threads.
    pub fn grids(&mut self, grids: Vec<Grid<'_>>, job: &(dyn Fn(&mut Tile<'_>, &mut Scratch) + Sync)) {
        let mut first = Vec::with_capacity(grids.len() + 1); // first tile of each grid
        let mut tiles = 0;
        for grid in &grids {
            first.push(tiles);
            tiles += grid.out.rows().div_ceil(grid.tile_rows) * grid.out.cols().div_ceil(grid.tile_cols);
        }
        self.run(tiles, &|tile, scratch| {
            let which = first.partition_point(|&f| f <= tile) - 1;
            let grid = &grids[which];
            let across = grid.out.cols().div_ceil(grid.tile_cols);
            let (down, right) = ((tile - first[which]) / across, (tile - first[which]) % across);
            let rows = down * grid.tile_rows..((down + 1) * grid.tile_rows).min(grid.out.rows());
            let cols = right * grid.tile_cols..((right + 1) * grid.tile_cols).min(grid.out.cols());
            // SAFETY: `run` hands out every tile index once, and different indices cover different parts.
            let out = unsafe { grid.out.part(rows.clone(), cols.clone()) };
            job(&mut Tile { grid: which, rows, cols, out }, scratch);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches panics of its jobs, so joining cannot fail in a way that matters here.
            let _ = worker.join();
        }
    }
}

/// The tiles of a thread's own part.
fn part_of(thread: usize, tiles: usize, threads: usize) -> Range<usize> {
    tiles * thread / threads..tiles * (thread + 1) / threads
}

/// Takes the tiles of the thread's part, then those that other threads have not begun.
fn take(shared: &Shared, thread: usize, job: &Job<'_>, scratch: &mut Scratch) {
    let (tiles, threads) = (shared.tiles.load(Ordering::Relaxed), shared.next.len());
    for owner in (thread..threads).chain(0..thread) {
        let end = part_of(owner, tiles, threads).end;
        while !shared.abort.load(Ordering::Relaxed) {
            let tile = shared.next[owner].0.fetch_add(1, Ordering::Relaxed);
            if tile >= end {
                break;
            }
            job(tile, scratch);
        }
    }
}

fn wait_until_empty(shared: &Shared) {
    let empty = || shared.gate.load(Ordering::Acquire) & INSIDE == 0;
    if spin(&empty) {
        return;
    }
    *shared.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
    while !empty() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    *shared.caller.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Waits up to 50 us for a condition; true when it came.
fn spin(condition: &dyn Fn() -> bool) -> bool {
    let mut end = None;
    loop {
        for _ in 0..64 {
            if condition() {
                return true;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now >= *end.get_or_insert(now + SPIN) {
            return false;
        }
    }
}

fn work(shared: &Shared, thread: usize) {
    let mut scratch = Scratch::default();
    let mut done = 0;
    let wanted = |done: u32| {
        let gate = shared.gate.load(Ordering::Acquire);
        (gate & OPEN != 0 && gate & REGION != done) || shared.stop.load(Ordering::Acquire)
    };
    loop {
        while !spin(&|| wanted(done)) {
            std::thread::park();
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let gate = shared.gate.load(Ordering::Acquire);
        if gate & OPEN == 0 || gate & REGION == done {
            continue;
        }
        if shared.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        done = gate & REGION;
        // SAFETY: this thread is inside the region, so the caller keeps the job alive until it leaves.
        let job = unsafe { (*shared.job.get()).map(|job| &*job) };
        if let Some(job) = job
            && catch_unwind(AssertUnwindSafe(|| take(shared, thread, job, &mut scratch))).is_err()
        {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        if shared.gate.fetch_sub(1, Ordering::AcqRel) & (OPEN | INSIDE) == 1
            && let Ok(caller) = shared.caller.try_lock()
            && let Some(caller) = &*caller
        {
            caller.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_runs_once_on_any_number_of_threads() {
        for threads in 1..=4 {
            let mut pool = Pool::new(threads).unwrap();
            for tiles in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicU32> = (0..tiles).map(|_| AtomicU32::new(0)).collect();
                pool.run(tiles, &|tile, _| {
                    counts[tile].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_regions_in_a_row_all_finish() {
        let mut pool = Pool::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        for _ in 0..100_000 {
            pool.run(3, &|tile, _| {
                sum.fetch_add(tile, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 300_000);
    }

    #[test]
    fn a_panic_in_a_tile_reaches_the_caller_and_the_pool_survives() {
        let mut pool = Pool::new(2).unwrap();
        for _ in 0..20 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|tile, _| assert!(tile != 5, "on purpose"));
            }));
            assert!(panicked.is_err());
        }
        pool.run(8, &|_, _| {});
    }

    #[test]
    fn an_abort_hands_out_no_more_tiles_and_unwinds_with_its_fault() {
        for threads in [1, 3] {
            let mut pool = Pool::new(threads).unwrap();
            let (abort, begun) = (pool.abort_flag(), AtomicUsize::new(0));
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                pool.run(1000, &|_, _| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    abort.store(true, Ordering::Relaxed);
                });
            }));
            assert_eq!(unwound.unwrap_err().downcast_ref::<Fault>().unwrap().code, "aborted");
            assert!(begun.load(Ordering::Relaxed) <= threads);
            abort.store(false, Ordering::Relaxed);
            pool.run(8, &|_, _| {});
        }
    }
}
