//! Owns: everything that handles stand for: tensors, weights, caches, mapped files; and the threads that use them.
//! Refuses to know: JavaScript, programs, what operations mean.

use crate::error::{Fault, Outcome, misfit};
use crate::formats::{CacheFormat, Format};
use crate::kernels::{Activations, attention, latent, linear, moe, pick, rows};
use crate::map::{Buffer, Bytes, Mapping, Tensors, refuse_beyond_memory};
use crate::pool::Pool;
use crate::simd::{self, Kernels, SCALED_STEP, Scaled};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

/// Weights in their number format: [experts, rows, cols].
#[derive(Clone)]
pub struct Weight {
    pub name: String,
    pub format: Format,
    pub experts: usize,
    pub rows: usize,
    pub cols: usize,
    pub row_bytes: usize,
    /// One run of rows * row_bytes for each expert.
    parts: Vec<Bytes>,
    pub scales: Option<Scales>,
    decoded: Decoded,
}

/// The numbers of a small weight, once they were wanted. What is made out of a weight has other ones.
#[derive(Default)]
struct Decoded(OnceLock<Vec<f32>>);

impl Clone for Decoded {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The companion of block-scaled weights: value [r, c] is multiplied by `values[r / rows][c / cols]`.
#[derive(Clone)]
pub struct Scales {
    /// [experts, ceil(weight rows / rows), ceil(weight cols / cols)]
    pub values: Vec<f32>,
    pub rows: usize,
    pub cols: usize,
}

impl Weight {
    fn new(name: &str, format: Format, [experts, rows, cols]: [usize; 3], bytes: Bytes) -> Outcome<Self> {
        let row_bytes = format.row_bytes(cols).ok_or_else(|| {
            misfit(format!("weight \"{name}\""), format!("rows of whole blocks of {}", format.block_numbers()), cols)
        })?;
        let sizes = rows.checked_mul(row_bytes).and_then(|size| Some((size, experts.checked_mul(size)?)));
        // A shape without numbers would make handles of nothing, as many as a file likes to ask for.
        let Some((expert_bytes, all)) = sizes.filter(|&(_, all)| all > 0) else {
            let shape = format!("[{experts}, {rows}, {cols}]");
            return Err(misfit(format!("weight \"{name}\""), "a shape of numbers that fit in memory", shape));
        };
        if bytes.all().len() != all {
            return Err(misfit(format!("weight \"{name}\""), format!("{all} bytes"), bytes.all().len()));
        }
        let parts = (0..experts).map(|e| bytes.part(e * expert_bytes..(e + 1) * expert_bytes)).collect();
        Ok(Self { name: name.to_owned(), format, experts, rows, cols, row_bytes, parts, scales: None, decoded: Decoded::default() })
    }

    /// Bytes of rows [from, to) of an expert.
    pub fn rows_of(&self, expert: usize, from: usize, to: usize) -> &[u8] {
        &self.parts[expert].all()[from * self.row_bytes..to * self.row_bytes]
    }

    /// Row `row` of an expert as floats, block scales applied.
    pub fn decode_row(&self, kernels: &Kernels, expert: usize, row: usize, out: &mut [f32]) {
        self.decode_bytes(kernels, expert, row, self.rows_of(expert, row, row + 1), out);
    }

    /// As [`Weight::decode_row`] of the first expert, by a copy of the row's bytes in `copy` (`row_bytes` long); refuses a file
    /// that they cannot be read from.
    pub fn decode_copied_row(&self, kernels: &Kernels, row: usize, copy: &mut [u8], out: &mut [f32]) -> Outcome<()> {
        self.parts[0].copy(row * self.row_bytes, copy)?;
        self.decode_bytes(kernels, 0, row, copy, out);
        Ok(())
    }

    /// Asks for a row that [`Weight::decode_copied_row`] is to read soon.
    pub fn ask_for_row(&self, row: usize) {
        self.parts[0].ask_for(row * self.row_bytes, self.row_bytes);
    }

    fn decode_bytes(&self, kernels: &Kernels, expert: usize, row: usize, bytes: &[u8], out: &mut [f32]) {
        (kernels.decode)(self.format, bytes, out);
        if let Some(Scales { values, rows, cols }) = &self.scales {
            let across = self.cols.div_ceil(*cols);
            let first = (expert * self.rows.div_ceil(*rows) + row / rows) * across;
            for (out, scale) in out.chunks_mut(*cols).zip(&values[first..]) {
                out.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }

    /// Rows of an expert as block-scaled codes, where kernels may multiply them as they are.
    pub fn scaled_rows(&self, expert: usize, rows: std::ops::Range<usize>) -> Option<Scaled<'_>> {
        let Scales { values, rows: block_rows, cols: block_cols } = self.scales.as_ref()?;
        let of_expert = self.rows.div_ceil(*block_rows) * self.cols.div_ceil(*block_cols);
        let first = rows.start / block_rows * self.cols.div_ceil(*block_cols);
        (self.format == Format::F8E4M3 && block_cols.is_multiple_of(SCALED_STEP)).then(|| Scaled {
            codes: self.rows_of(expert, rows.start, rows.end),
            cols: self.cols,
            factors: &values[expert * of_expert + first..(expert + 1) * of_expert],
            before: rows.start % block_rows,
            block_rows: *block_rows,
            block_cols: *block_cols,
        })
    }

    /// All numbers of a small weight (a norm, a bias, frequencies), decoded when they are wanted first.
    pub fn numbers(&self, kernels: &Kernels) -> &[f32] {
        self.decoded.0.get_or_init(|| self.decode_all(kernels))
    }

    fn decode_all(&self, kernels: &Kernels) -> Vec<f32> {
        let mut all = vec![0.0; self.experts * self.rows * self.cols];
        for (r, out) in all.chunks_exact_mut(self.cols).enumerate() {
            self.decode_row(kernels, r / self.rows, r % self.rows, out);
        }
        all
    }
}

/// Paged rows of one cache stream.
pub struct Cache {
    pub format: CacheFormat,
    pub pages: usize,
    pub page_rows: usize,
    pub cols: usize,
    pub row_bytes: usize,
    pub bytes: Buffer<u8>,
}

impl Cache {
    /// Bytes of a page.
    pub fn page(&self, page: usize) -> Outcome<&[u8]> {
        let size = self.page_rows * self.row_bytes;
        if page >= self.pages {
            return Err(misfit("a cache page", "one that the cache has", page));
        }
        Ok(&self.bytes[page * size..(page + 1) * size])
    }

    pub fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }
}

/// All that a program works on. Held by one thread at a time.
pub struct State {
    pub tensors: Tensors,
    pub weights: Vec<Option<Arc<Weight>>>,
    pub caches: Vec<Option<Cache>>,
    pub files: Vec<Option<Arc<Mapping>>>,
    pub pool: Pool,
    pub kernels: &'static Kernels,
    pub activations: Activations,
    pub products: linear::Workspace,
    pub attention: attention::Workspace,
    pub experts: moe::Workspace,
    pub latent: latent::Workspace,
    pub picking: pick::Workspace,
    pub turns: rows::Turns,
}

/// A backend's native half.
pub struct Context {
    state: Mutex<State>,
    /// Set to stop the program at its next tile.
    pub abort: Arc<AtomicBool>,
}

impl Context {
    /// `threads` 0 means as many as the machine or container gives; an empty `isa` means the best.
    pub fn new(threads: usize, isa: &str) -> Outcome<Self> {
        let kernels = simd::choose(isa)?;
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let pool = Pool::new(threads).map_err(|error| {
            Fault::new("out-of-memory", format!("{threads} threads"))
                .expected("to start them")
                .got(error.to_string())
                .next("set HADAL_THREADS lower")
        })?;
        let state = State {
            tensors: Tensors::default(),
            weights: Vec::new(),
            caches: Vec::new(),
            files: Vec::new(),
            pool,
            kernels,
            activations: Activations::default(),
            products: linear::Workspace::default(),
            attention: attention::Workspace::default(),
            experts: moe::Workspace::default(),
            latent: latent::Workspace::default(),
            picking: pick::Workspace::default(),
            turns: rows::Turns::default(),
        };
        Ok(Self { abort: state.pool.abort_flag(), state: Mutex::new(state) })
    }

    /// The state, unless a program is running.
    pub fn idle(&self) -> Outcome<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Fault::new("busy", "the native backend")
                .expected("no program to be running")
                .next("await the read that was begun")),
        }
    }

    /// The state, when the program before has ended.
    pub fn wait(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn push<T>(all: &mut Vec<Option<T>>, one: T) -> usize {
    all.push(Some(one));
    all.len() - 1
}

impl State {
    /// Maps a file, by its path or by the number that it is open under; its id.
    pub fn open_file(&mut self, path: &str, size: u64, held: Option<usize>) -> Outcome<usize> {
        let file = match held {
            Some(number) => Mapping::held(path, size, number)?,
            None => Mapping::open(path, size)?,
        };
        Ok(push(&mut self.files, Arc::new(file)))
    }

    /// A weight over bytes [offset, offset + len) of a mapped file, which are kept apart where `apart` says so
    /// ([`Bytes::kept_apart`]); its id.
    pub fn file_weight(
        &mut self,
        name: &str,
        format: &str,
        shape: [usize; 3],
        file: usize,
        [offset, len]: [usize; 2],
        apart: bool,
    ) -> Outcome<usize> {
        let format = Format::named(format)?;
        let bytes = Bytes::mapped(self.file(file)?, offset, len)?;
        let weight = Weight::new(name, format, shape, if apart { bytes.kept_apart() } else { bytes })?;
        Ok(push(&mut self.weights, Arc::new(weight)))
    }

    /// Brings a file near but for its weights that are kept apart, all of which are known by now.
    pub fn bring_near(&self, file: usize) -> Outcome<()> {
        let file = self.file(file)?;
        let parts = self.weights.iter().flatten().flat_map(|weight| &weight.parts);
        file.bring_near(parts.filter_map(|bytes| bytes.apart_in(file)).collect());
        Ok(())
    }

    fn file(&self, id: usize) -> Outcome<&Arc<Mapping>> {
        self.files.get(id).and_then(Option::as_ref).ok_or_else(|| gone("file", id))
    }

    /// A weight over a copy of bytes; its id.
    pub fn constant(&mut self, name: &str, format: &str, shape: [usize; 3], bytes: &[u8]) -> Outcome<usize> {
        refuse_beyond_memory(name, bytes.len() as u64)?;
        let weight = Weight::new(name, Format::named(format)?, shape, Bytes::copied(bytes, name)?)?;
        Ok(push(&mut self.weights, Arc::new(weight)))
    }

    /// The same bytes under another shape; its id.
    pub fn reshape(&mut self, id: usize, [experts, rows, cols]: [usize; 3]) -> Outcome<usize> {
        let of = self.weight(id)?;
        let (old, new) = (of.rows * of.row_bytes, of.format.row_bytes(cols).map(|bytes| bytes * rows));
        let reshaped = match new {
            _ if of.scales.is_some() && cols != of.cols => None,
            Some(new) if new * experts == old * of.experts && (new == old || of.experts == 1 || of.one_run()) => {
                let run = of.run();
                let parts = (0..experts)
                    .map(|e| if new == old { of.parts[e].clone() } else { run.part(e * new..(e + 1) * new) })
                    .collect();
                let row_bytes = new / rows.max(1);
                Some(Weight { experts, rows, cols, row_bytes, parts, ..(*of).clone() })
            }
            _ => None,
        };
        let reshaped = reshaped.ok_or_else(|| {
            misfit(
                format!("weight \"{}\"", of.name),
                "a shape of the same bytes in whole blocks, before stacking and scaling",
                format!("[{experts}, {rows}, {cols}]"),
            )
        })?;
        Ok(push(&mut self.weights, Arc::new(reshaped)))
    }

    /// Weights of one expert each as one; its id.
    pub fn stack(&mut self, name: &str, ids: &[usize]) -> Outcome<usize> {
        let parts = ids.iter().map(|&id| self.weight(id)).collect::<Outcome<Vec<_>>>()?;
        let first = Arc::clone(parts.first().ok_or_else(|| misfit("stack", "at least one weight", 0))?);
        let alike = |w: &Arc<Weight>| {
            w.experts == 1
                && (w.format, w.rows, w.cols) == (first.format, first.rows, first.cols)
                && w.scales.as_ref().map(|s| (s.rows, s.cols)) == first.scales.as_ref().map(|s| (s.rows, s.cols))
        };
        if let Some(other) = parts.iter().find(|w| !alike(w)) {
            return Err(misfit(format!("stack \"{name}\""), "alike weights of one expert", &other.name));
        }
        let scales = first.scales.as_ref().map(|s| Scales {
            values: parts.iter().filter_map(|w| w.scales.as_ref()).flat_map(|s| s.values.iter().copied()).collect(),
            ..*s
        });
        let stacked = Weight {
            name: name.to_owned(),
            experts: parts.len(),
            parts: parts.iter().map(|w| w.parts[0].clone()).collect(),
            scales,
            ..(*first).clone()
        };
        Ok(push(&mut self.weights, Arc::new(stacked)))
    }

    /// A weight whose blocks of `rows` x `cols` are multiplied by the numbers of another weight; its id.
    pub fn scaled(&mut self, id: usize, scales: usize, rows: usize, cols: usize) -> Outcome<usize> {
        let (of, scales) = (self.weight(id)?, self.weight(scales)?);
        let values = scales.decode_all(self.kernels);
        let expected = of.experts * of.rows.div_ceil(rows.max(1)) * of.cols.div_ceil(cols.max(1));
        if rows == 0 || cols == 0 || values.len() != expected {
            return Err(misfit(format!("scales of \"{}\"", of.name), format!("{expected} numbers"), values.len()));
        }
        let scaled = Weight { scales: Some(Scales { values, rows, cols }), ..(*of).clone() };
        Ok(push(&mut self.weights, Arc::new(scaled)))
    }

    /// A cache whose memory is touched only when it is written; its id.
    pub fn cache(&mut self, format: &str, pages: usize, page_rows: usize, cols: usize) -> Outcome<usize> {
        let format = CacheFormat::named(format)?;
        let row_bytes =
            format.row_bytes(cols).ok_or_else(|| misfit("a cache row", "a multiple of 32 numbers", cols))?;
        let what = format!("a cache of {pages} pages of {page_rows} rows");
        let bytes = pages.checked_mul(page_rows).and_then(|rows| rows.checked_mul(row_bytes)).unwrap_or(usize::MAX);
        refuse_beyond_memory(&what, bytes as u64)?;
        let bytes = Buffer::zeroed(bytes, &what)?;
        Ok(push(&mut self.caches, Cache { format, pages, page_rows, cols, row_bytes, bytes }))
    }

    pub fn weight(&self, id: usize) -> Outcome<Arc<Weight>> {
        self.weights.get(id).and_then(Option::as_ref).cloned().ok_or_else(|| gone("weight", id))
    }

    /// Puts bytes into a page of a cache, as [`Cache::page`] gave them.
    pub fn write_page(&mut self, id: usize, page: usize, bytes: &[u8]) -> Outcome<()> {
        let cache = self.caches.get_mut(id).and_then(Option::as_mut).ok_or_else(|| gone("cache", id))?;
        let size = cache.page(page)?.len();
        if bytes.len() != size {
            return Err(misfit("bytes of a cache page", "as many as a page has", bytes.len()));
        }
        cache.bytes[page * size..(page + 1) * size].copy_from_slice(bytes);
        Ok(())
    }

    pub fn free_cache(&mut self, id: usize) {
        self.caches.get_mut(id).map(Option::take);
    }

    pub fn free_weight(&mut self, id: usize) {
        self.weights.get_mut(id).map(Option::take);
    }

    /// Lets a file go; its memory is unmapped when no weight is left in it.
    pub fn close_file(&mut self, id: usize) {
        self.files.get_mut(id).map(Option::take);
    }

    /// Refuses to compute with a file that has shrunk.
    pub fn check_files(&self) -> Outcome<()> {
        self.files.iter().flatten().try_for_each(|file| file.check())
    }
}

/// A cache by id.
pub fn cache_of(caches: &[Option<Cache>], id: usize) -> Outcome<&Cache> {
    caches.get(id).and_then(Option::as_ref).ok_or_else(|| gone("cache", id))
}

fn gone(kind: &str, id: usize) -> Fault {
    Fault::new("freed", format!("{kind} {id}")).expected("a handle in use").got("a freed or foreign one")
}

impl Weight {
    /// Whether all experts lie one after the other in memory.
    fn one_run(&self) -> bool {
        self.parts.windows(2).all(|pair| pair[0].is_followed_by(&pair[1]))
    }

    fn run(&self) -> Bytes {
        match (self.parts.first(), self.parts.last()) {
            (Some(first), Some(last)) if self.one_run() => first.up_to(last),
            _ => self.parts[0].clone(),
        }
    }
}
