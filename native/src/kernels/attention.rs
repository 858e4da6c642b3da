//! Owns: causal grouped-query attention over paged cache rows.
//! Refuses to know: who gives out pages, layers, models.
//!
//! A row's positions are cut into segments, each reduced by itself and merged in order (`blockwise`). So the result is
//! the same however rows and segments are shared among threads.

use super::blockwise::{BLOCK, Part, SEGMENT, Segment, Work, see, take_in};
use super::cache_rows::{ask_for_part, read_part};
use super::linear::same;
use super::{Span, index};
use crate::context::{Cache, State, cache_of};
use crate::error::{Outcome, misfit};
use crate::map::{Buffer, Mat, MatMut, View};
use crate::pool::{Grid, Pool};
use crate::simd::{Floats, Kernels};
use std::ops::Range;

/// Rows of a prompt that share one reading of keys and values.
const TOGETHER: usize = 64;

/// Positions between the one that is read and the one whose rows memory is asked for.
const AHEAD: usize = 8;

/// The ragged batch as views.
pub struct Batch {
    pub span: Span,
    pub positions: View,
    pub sequences: View,
    pub pages: View,
}

/// Heads of q, of the cache, and their columns.
#[derive(Clone, Copy)]
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    pub scale: f32,
}

/// Memory that is kept from step to step.
#[derive(Default)]
pub struct Workspace {
    /// [segments, heads * (value_dim + 2)]
    partials: Buffer<f32>,
    /// [heads], twice
    totals: Buffer<f32>,
}

/// Where the cached positions of every batch row are.
pub struct Paging<'a> {
    pages: Mat<'a, i32>,
    page_rows: usize,
    /// For every batch row: its row of `pages` and its number of positions.
    rows: Vec<(usize, usize)>,
}

impl<'a> Paging<'a> {
    /// Checks every index that the rows will use.
    pub fn new(
        span: Span,
        positions: Mat<'_, i32>,
        sequences: Mat<'_, i32>,
        pages: Mat<'a, i32>,
        cache: &Cache,
    ) -> Outcome<Self> {
        let mut longest = vec![0; pages.rows()];
        let mut rows = Vec::with_capacity(span.rows);
        for i in 0..span.rows {
            let sequence = index(sequences.first(i), pages.rows(), "attend: sequence")?;
            let position = index(positions.first(i), pages.cols() * cache.page_rows, "attend: position")?;
            longest[sequence] = longest[sequence].max(position + 1);
            rows.push((sequence, position + 1));
        }
        for (sequence, &longest) in longest.iter().enumerate() {
            for &page in &pages.row(sequence)[..longest.div_ceil(cache.page_rows)] {
                index(page, cache.pages, "attend: page")?;
            }
        }
        Ok(Self { pages, page_rows: cache.page_rows, rows })
    }

    /// Positions that batch row i sees.
    pub fn positions(&self, i: usize) -> usize {
        self.rows[i].1
    }

    /// The most positions that one of some batch rows sees.
    pub fn longest(&self, rows: Range<usize>) -> usize {
        rows.map(|i| self.positions(i)).max().unwrap_or(0)
    }

    /// Neighbouring batch rows of one sequence.
    pub fn runs(&self, rows: Range<usize>) -> Vec<Range<usize>> {
        let first = rows.start;
        let mut runs = Vec::new();
        for run in self.rows[rows].chunk_by(|a, b| a.0 == b.0) {
            let from = runs.last().map_or(first, |run: &Range<usize>| run.end);
            runs.push(from..from + run.len());
        }
        runs
    }

    /// The cache row of position t in the sequence of batch row i.
    pub fn cache_row(&self, i: usize, t: usize) -> usize {
        self.pages.row(self.rows[i].0)[t / self.page_rows] as usize * self.page_rows + t % self.page_rows
    }
}

/// Causal grouped-query attention over cached rows 0..positions[i].
pub fn attend(
    state: &mut State,
    batch: &Batch,
    out: View,
    q: View,
    keys: usize,
    values: usize,
    heads: &Heads,
) -> Outcome<()> {
    let (keys, values) = (cache_of(&state.caches, keys)?, cache_of(&state.caches, values)?);
    same(heads.heads * heads.head_dim, q.cols, "attend: q")?;
    same(heads.heads * heads.value_dim, out.cols, "attend: out")?;
    same(heads.kv_heads * heads.head_dim, keys.cols, "attend: keys")?;
    same(heads.kv_heads * heads.value_dim, values.cols, "attend: values")?;
    if heads.kv_heads == 0 || !heads.heads.is_multiple_of(heads.kv_heads) {
        return Err(misfit("attend: heads", format!("a multiple of {}", heads.kv_heads), heads.heads));
    }
    if (keys.pages, keys.page_rows) != (values.pages, values.page_rows) {
        return Err(misfit("attend: values", "pages like those of the keys", values.pages));
    }
    let mut claim = state.tensors.claim(&[out], &[q, batch.positions, batch.sequences, batch.pages])?;
    let (out, q): (MatMut, Mat) = (claim.write()?, claim.read()?);
    let paging = Paging::new(batch.span, claim.read()?, claim.read()?, claim.read()?, keys)?;
    let of = Cached { kernels: state.kernels, heads, keys, values, paging };
    let (decoding, reading) = out.split_rows(batch.span.decode_rows);
    of.decode(&mut state.pool, &mut state.attention, decoding, q);
    of.read(&mut state.pool, batch.span, reading, q);
    Ok(())
}

/// What all tiles work with.
struct Cached<'a> {
    kernels: &'a Kernels,
    heads: &'a Heads,
    keys: &'a Cache,
    values: &'a Cache,
    paging: Paging<'a>,
}

/// One head of the cache and the heads of q that share it, for some rows of one sequence.
struct Group<'a> {
    of: &'a Cached<'a>,
    rows: Range<usize>,
    group: usize,
}

/// A thread's memory, cut up.
struct Memory<'a> {
    /// [segment, head_dim]
    keys: &'a mut [f32],
    /// [segment, value_dim]
    values: &'a mut [f32],
    /// [block, head_dim]
    queries: &'a mut [f32],
    block: Work<'a>,
}

impl<'a> Memory<'a> {
    fn cut(buffer: &'a mut Buffer<f32>, &Heads { head_dim, value_dim, .. }: &Heads) -> Self {
        let sizes = [SEGMENT * head_dim, SEGMENT * value_dim, BLOCK * head_dim, BLOCK * SEGMENT, BLOCK * value_dim];
        let mut rest = buffer.ensure(sizes.iter().sum());
        let [keys, values, queries, scores, sums] = sizes.map(|size| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            part
        });
        Self { keys, values, queries, block: Work { scores, sums } }
    }
}

impl Cached<'_> {
    /// Heads of q that share a head of the cache.
    fn members(&self) -> usize {
        self.heads.heads / self.heads.kv_heads
    }

    /// Rows of the decode class: every segment is a tile, so that one long context keeps all threads at work.
    fn decode(&self, pool: &mut Pool, work: &mut Workspace, mut out: MatMut<'_>, q: Mat<'_>) {
        let (Heads { heads, kv_heads, value_dim, .. }, members) = (*self.heads, self.members());
        let segments: Vec<(usize, usize)> = (0..out.rows())
            .flat_map(|i| (0..self.paging.positions(i)).step_by(SEGMENT).map(move |from| (i, from)))
            .collect();
        let width = value_dim + 2; // sum, largest, total
        let partials = work.partials.ensure(segments.len() * heads * width);
        let (tile_rows, tile_cols) = (1, members * width);
        let grid = Grid { out: MatMut::over(partials, kv_heads * tile_cols), tile_rows, tile_cols };
        pool.grids(vec![grid], &|tile, scratch| {
            let (i, from) = segments[tile.rows.start];
            let group = Group { of: self, rows: i..i + 1, group: tile.cols.start / tile_cols };
            let partials = tile.out.row(0);
            group.segment(q, from, &mut Memory::cut(&mut scratch.floats, self.heads), |m, part| {
                let (sum, totals) = partials[m * width..(m + 1) * width].split_at_mut(value_dim);
                sum.copy_from_slice(part.sum);
                totals.copy_from_slice(&[part.largest, part.total]);
            });
        });
        let totals = work.totals.ensure(2 * heads);
        let (largest, total) = totals.split_at_mut(heads);
        for (&(i, from), partials) in segments.iter().zip(partials.chunks_exact(heads * width)) {
            for (h, (partial, out)) in partials.chunks_exact(width).zip(out.row(i).chunks_exact_mut(value_dim)).enumerate() {
                let part = Part { largest: partial[value_dim], total: partial[value_dim + 1], sum: &partial[..value_dim] };
                take_in(from == 0, (&mut largest[h], &mut total[h], out), part);
            }
            if from + SEGMENT >= self.paging.positions(i) {
                divide(out.row(i), total);
            }
        }
    }

    /// Rows of the prefill class: some rows of a sequence meet each segment together.
    fn read(&self, pool: &mut Pool, span: Span, out: MatMut<'_>, q: Mat<'_>) {
        let (value_dim, members) = (self.heads.value_dim, self.members());
        let runs = self.paging.runs(span.decode_rows..span.rows);
        let mut rest = out;
        let mut grids = Vec::with_capacity(runs.len());
        for run in &runs {
            let (rows, others) = rest.split_rows(run.len());
            grids.push(Grid { out: rows, tile_rows: TOGETHER, tile_cols: members * value_dim });
            rest = others;
        }
        pool.grids(grids, &|tile, scratch| {
            let first = runs[tile.grid].start;
            let rows = first + tile.rows.start..first + tile.rows.end;
            let longest = self.paging.longest(rows.clone());
            let group = Group { of: self, rows, group: tile.cols.start / (members * value_dim) };
            let mut memory = Memory::cut(&mut scratch.floats, self.heads);
            let queries = tile.rows.len() * members;
            let (largest, total) = scratch.more_floats.ensure(2 * queries).split_at_mut(queries);
            for from in (0..longest).step_by(SEGMENT) {
                group.segment(q, from, &mut memory, |n, part| {
                    let out = &mut tile.out.row(n / members)[n % members * value_dim..][..value_dim];
                    take_in(from == 0, (&mut largest[n], &mut total[n], out), part);
                });
            }
            for (r, total) in total.chunks_exact(members).enumerate() {
                divide(tile.out.row(r), total);
            }
        });
    }
}

impl Group<'_> {
    /// Calls `with(n, part)` for what head n % members of row n / members sees of the segment that begins at `from`.
    fn segment(&self, q: Mat<'_>, from: usize, memory: &mut Memory<'_>, mut with: impl FnMut(usize, Part<'_>)) {
        let Cached { kernels, keys, values, ref paging, .. } = *self.of;
        let (Heads { head_dim, value_dim, scale, .. }, members) = (*self.of.heads, self.of.members());
        let positions = SEGMENT.min(paging.longest(self.rows.clone()) - from);
        // A head has little of every row, and rows lie far apart.
        let at = |t: usize| paging.cache_row(self.rows.start, from + t);
        let ask = |t: usize| {
            if t < positions {
                ask_for_part(keys.format, keys.row(at(t)), self.group * head_dim, head_dim);
            } else if t < 2 * positions {
                ask_for_part(values.format, values.row(at(t - positions)), self.group * value_dim, value_dim);
            }
        };
        (0..AHEAD).for_each(ask);
        for (t, key) in memory.keys.chunks_exact_mut(head_dim).take(positions).enumerate() {
            ask(t + AHEAD);
            read_part(kernels, keys.format, keys.row(at(t)), self.group * head_dim, key);
        }
        for (t, value) in memory.values.chunks_exact_mut(value_dim).take(positions).enumerate() {
            ask(positions + t + AHEAD);
            read_part(kernels, values.format, values.row(at(t)), self.group * value_dim, value);
        }
        let segment = Segment {
            keys: Floats { numbers: memory.keys, stride: head_dim, rows: positions, cols: head_dim },
            values: Floats { numbers: memory.values, stride: value_dim, rows: positions, cols: value_dim },
        };
        let seen = |n: usize| {
            let positions = paging.positions(self.rows.start + n / members);
            positions.saturating_sub(from).min(SEGMENT)
        };
        let all = self.rows.len() * members;
        for first in (0..all).step_by(BLOCK) {
            let rows = BLOCK.min(all - first);
            for (n, query) in (first..first + rows).zip(memory.queries.chunks_exact_mut(head_dim)) {
                let head = self.group * members + n % members;
                query.copy_from_slice(&q.row(self.rows.start + n / members)[head * head_dim..(head + 1) * head_dim]);
            }
            let queries = Floats { numbers: memory.queries, stride: head_dim, rows, cols: head_dim };
            let seen = |b: usize| seen(first + b);
            see(kernels, queries, segment, scale, seen, &mut memory.block, |b, part| with(first + b, part));
        }
    }
}

/// Divides every head's sum by its total.
fn divide(sums: &mut [f32], total: &[f32]) {
    let value_dim = sums.len() / total.len();
    for (sum, total) in sums.chunks_exact_mut(value_dim).zip(total) {
        sum.iter_mut().for_each(|x| *x /= *total);
    }
}
