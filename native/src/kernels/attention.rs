//! Owns: causal grouped-query attention over paged cache rows.
//! Refuses to know: who gives out pages, layers, models.
//!
//! A row's positions are cut into segments of 256. Each segment gives a largest score, a sum of exponentials and a
//! weighted sum of values by itself; segments are merged in order. So the result is the same however rows and
//! segments are shared among threads.

use super::cache_rows::read_part;
use super::linear::same;
use super::{Span, index};
use crate::context::{Cache, State, cache_of};
use crate::error::{Outcome, misfit};
use crate::map::{Mat, MatMut, View};
use crate::pool::Grid;
use crate::simd::Kernels;
use std::ops::Range;

/// Positions that are reduced together.
const SEGMENT: usize = 256;

/// The ragged batch as views.
pub struct Batch {
    pub span: Span,
    pub positions: View,
    pub sequences: View,
    pub pages: View,
}

/// Heads of q, of the cache, and their columns.
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    pub scale: f32,
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
    let kernels = state.kernels;
    let tile_cols = heads.heads / heads.kv_heads * heads.value_dim;
    state.pool.grids(vec![Grid { out, tile_rows: 1, tile_cols }], &|tile, scratch| {
        let (i, group) = (tile.rows.start, tile.cols.start / tile_cols);
        let one = Group { kernels, heads, keys, values, paging: &paging, group };
        one.attend(i, q.row(i), tile.out.row(0), &mut scratch.floats, &mut scratch.more_floats);
    });
    Ok(())
}

/// The heads that share one head of the cache.
struct Group<'a> {
    kernels: &'a Kernels,
    heads: &'a Heads,
    keys: &'a Cache,
    values: &'a Cache,
    paging: &'a Paging<'a>,
    group: usize,
}

impl Group<'_> {
    /// out [heads of the group, value_dim] for batch row i.
    fn attend(
        &self,
        i: usize,
        q: &[f32],
        out: &mut [f32],
        cached: &mut crate::map::Buffer<f32>,
        work: &mut crate::map::Buffer<f32>,
    ) {
        let Heads { heads, kv_heads, head_dim, value_dim, scale } = *self.heads;
        let members = heads / kv_heads;
        let q = &q[self.group * members * head_dim..(self.group + 1) * members * head_dim];
        let cached = cached.ensure(SEGMENT * head_dim.max(value_dim)); // [segment, dim]
        let work = work.ensure(members * (SEGMENT + value_dim + 2));
        let (scores, work) = work.split_at_mut(members * SEGMENT); // [members, segment]
        let (sums, totals) = work.split_at_mut(members * value_dim); // [members, value_dim], [members] x 2
        let (largest, total) = totals.split_at_mut(members);
        let positions = self.paging.positions(i);
        for from in (0..positions).step_by(SEGMENT) {
            let n = SEGMENT.min(positions - from);
            for (t, key) in cached.chunks_exact_mut(head_dim).take(n).enumerate() {
                let row = self.keys.row(self.paging.cache_row(i, from + t));
                read_part(self.kernels, self.keys.format, row, self.group * head_dim, key);
                for (h, q) in q.chunks_exact(head_dim).enumerate() {
                    scores[h * SEGMENT + t] = (self.kernels.dot)(q, key) * scale;
                }
            }
            for (t, value) in cached.chunks_exact_mut(value_dim).take(n).enumerate() {
                let row = self.values.row(self.paging.cache_row(i, from + t));
                read_part(self.kernels, self.values.format, row, self.group * value_dim, value);
            }
            for h in 0..members {
                let scores = &mut scores[h * SEGMENT..h * SEGMENT + n];
                let most = scores.iter().fold(f32::NEG_INFINITY, |most, s| most.max(*s));
                let weight = (self.kernels.exponentials)(scores, most);
                let sum = &mut sums[h * value_dim..(h + 1) * value_dim];
                sum.fill(0.0);
                for (p, value) in scores.iter().zip(cached.chunks_exact(value_dim)) {
                    (self.kernels.add_scaled)(sum, *p, value);
                }
                let out = &mut out[h * value_dim..(h + 1) * value_dim];
                if from == 0 {
                    (largest[h], total[h]) = (most, weight);
                    out.copy_from_slice(sum);
                } else {
                    merge((&mut largest[h], &mut total[h], out), (most, weight, sum));
                }
            }
        }
        for (out, total) in out.chunks_exact_mut(value_dim).zip(total) {
            out.iter_mut().for_each(|x| *x /= *total);
        }
    }
}

/// Adds a later segment to what came before it: largest score, sum of exponentials, weighted sum of values.
pub fn merge(before: (&mut f32, &mut f32, &mut [f32]), (largest, total, sum): (f32, f32, &[f32])) {
    let most = before.0.max(largest);
    let (old, new) = (crate::simd::scalar::exp(*before.0 - most), crate::simd::scalar::exp(largest - most));
    *before.0 = most;
    *before.1 = *before.1 * old + total * new;
    for (x, sum) in before.2.iter_mut().zip(sum) {
        *x = *x * old + sum * new;
    }
}
