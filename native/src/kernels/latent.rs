//! Owns: latent attention: its shape, which rows take which form, the absorbed form.
//! Refuses to know: the expanded form, who gives out pages, who picks positions, layers, models.
//!
//! Absorbed: q_nope is carried through the key half of kv_b once, so that all heads score and sum the cached latents
//! themselves. Positions are cut into segments; every segment gives, for each head, a largest score, a sum of
//! exponentials and a weighted sum of latents; they are merged in order. So a row's bits do not depend on how segments
//! and heads are shared among threads.

use super::attention::{Batch, Paging};
use super::blockwise::{Part, take_in};
use super::cache_rows::read_part;
use super::linear::same;
use super::multiply::{List, Piece, Rows, multiply};
use super::{Activations, expanded, index};
use crate::context::{Cache, State, Weight, cache_of};
use crate::error::{Outcome, misfit};
use crate::formats::Format;
use crate::map::{Buffer, Mat, MatMut, View};
use crate::pool::{Grid, Pool};
use crate::simd::{Floats, Kernels};
use std::ops::Range;
use std::sync::Arc;

/// Positions that are reduced together in the absorbed form.
const SEGMENT: usize = 128;
/// Segments of all rows that are worked on before they are merged: what bounds the memory of a long context.
const ROUND: usize = 64;
/// Rows of a prompt that are worked on together in the absorbed form.
const TOGETHER: usize = 16;

/// Heads and their columns: q is [n, heads * (nope + rope)], a cache row [latent | rope].
#[derive(Clone, Copy)]
pub struct Shape {
    pub heads: usize,
    pub nope: usize,
    pub rope: usize,
    pub value: usize,
    pub latent: usize,
    pub scale: f32,
}

/// The two halves of kv_b.
pub enum Halves {
    /// Rows of one matrix [heads * (nope + value), latent], k rows first inside each head.
    Merged(Arc<Weight>),
    /// k [heads, latent, nope] transposed, v [heads, value, latent].
    Split { k: Arc<Weight>, v: Arc<Weight> },
}

impl Halves {
    /// The format that whole rows of the key half are multiplied in.
    fn key_format(&self) -> Vec<Format> {
        match self {
            Self::Merged(_) => Vec::new(),
            Self::Split { k, .. } => vec![k.format],
        }
    }

    /// The value half of a head.
    pub fn value(&self, head: usize, shape: &Shape) -> Piece<'_> {
        match self {
            Self::Merged(kv) => {
                let first = head * (shape.nope + shape.value) + shape.nope;
                Piece { weight: kv, expert: 0, rows: first..first + shape.value }
            }
            Self::Split { v, .. } => Piece { weight: v, expert: head, rows: 0..shape.value },
        }
    }
}

/// Memory that is kept from step to step.
#[derive(Default)]
pub struct Workspace {
    /// q without rope: [rows * heads, nope].
    queries: Buffer<f32>,
    /// [rows, heads * (latent + rope)]
    absorbed: Buffer<f32>,
    /// [round, heads * (latent + 2)]: the weighted sum of latents, the largest score, the sum of exponentials.
    partial: Buffer<f32>,
    /// [rows * heads, latent + 2]
    merged: Buffer<f32>,
    /// Means of latents: [rows * heads, latent].
    means: Buffer<f32>,
    rounded: Activations,
}

/// Absorbed for the rows of the decode class, expanded for those of the prefill class; but absorbed for any row whose
/// picks leave positions out: keys and values that are expanded for one row alone are dearer.
pub fn attend(
    state: &mut State,
    batch: &Batch,
    (out, q, picks): (View, View, Option<View>),
    latents: usize,
    (first, second): (usize, Option<usize>),
    shape: Shape,
) -> Outcome<()> {
    let cache = cache_of(&state.caches, latents)?;
    let Shape { heads, nope, rope, value, latent, .. } = shape;
    same(heads * (nope + rope), q.cols, "latentAttend: q")?;
    same(heads * value, out.cols, "latentAttend: out")?;
    same(latent + rope, cache.cols, "latentAttend: latents")?;
    let first = state.weight(first)?;
    let halves = match second {
        None => {
            fits(&first, [1, heads * (nope + value), latent])?;
            Halves::Merged(first)
        }
        Some(second) => {
            let (k, v) = (first, state.weight(second)?);
            fits(&k, [heads, latent, nope])?;
            fits(&v, [heads, value, latent])?;
            Halves::Split { k, v }
        }
    };
    let mut reads = vec![q, batch.positions, batch.sequences, batch.pages];
    reads.extend(picks);
    let mut claim = state.tensors.claim(&[out], &reads)?;
    let (out, q): (MatMut, Mat) = (claim.write()?, claim.read()?);
    let paging = Paging::new(batch.span, claim.read()?, claim.read()?, claim.read()?, cache)?;
    let picks = picks.map(|_| Picks::new(claim.read()?, &paging)).transpose()?;
    let (pool, work) = (&mut state.pool, &mut state.latent);
    let of = Latents { kernels: state.kernels, cache, paging, picks, halves, shape };
    let (decoding, mut rest) = out.split_rows(batch.span.decode_rows);
    of.absorbed(pool, work, 0, decoding, q);
    let mut from = batch.span.decode_rows;
    while from < batch.span.rows {
        let whole = of.sees_all(from);
        let most = if whole { batch.span.rows } else { batch.span.rows.min(from + TOGETHER) };
        let to = (from..most).find(|&i| of.sees_all(i) != whole).unwrap_or(most);
        let (part, others) = rest.split_rows(to - from);
        if whole {
            expanded::attend(&of, pool, from..to, part, q);
        } else {
            of.absorbed(pool, work, from, part, q);
        }
        (from, rest) = (to, others);
    }
    Ok(())
}

fn fits(weight: &Weight, shape: [usize; 3]) -> Outcome<()> {
    let got = [weight.experts, weight.rows, weight.cols];
    if got == shape { Ok(()) } else { Err(misfit(&weight.name, format!("{shape:?}"), format!("{got:?}"))) }
}

/// What both forms work with.
pub struct Latents<'a> {
    pub kernels: &'a Kernels,
    pub cache: &'a Cache,
    pub paging: Paging<'a>,
    picks: Option<Picks<'a>>,
    pub halves: Halves,
    pub shape: Shape,
}

/// The positions that each batch row attends to.
struct Picks<'a> {
    positions: Mat<'a, i32>,
    /// How many of its row's columns are picks; the others are -1.
    counts: Vec<usize>,
}

impl<'a> Picks<'a> {
    /// Checks that a row's picks ascend among the positions that it sees.
    fn new(positions: Mat<'a, i32>, paging: &Paging<'_>) -> Outcome<Self> {
        let mut counts = Vec::with_capacity(positions.rows());
        for i in 0..positions.rows() {
            let mut before = -1;
            let row = positions.row(i);
            let count = row.iter().take_while(|&&t| t >= 0).count();
            for &t in &row[..count] {
                index(t, paging.positions(i), "latentAttend: pick")?;
                if t <= before {
                    return Err(misfit("latentAttend: picks", format!("a position above {before}"), t));
                }
                before = t;
            }
            counts.push(count);
        }
        Ok(Self { positions, counts })
    }
}

/// Positions [from, from + n) of those that row `row` attends to.
struct Segment {
    row: usize,
    from: usize,
    n: usize,
}

impl Latents<'_> {
    /// Cached rows [latent | rope] of positions from `from` on in the sequence of batch row i.
    pub fn read(&self, i: usize, from: usize, out: &mut [f32]) {
        for (t, out) in out.chunks_exact_mut(self.cache.cols).enumerate() {
            let row = self.cache.row(self.paging.cache_row(i, from + t));
            read_part(self.kernels, self.cache.format, row, 0, out);
        }
    }

    /// How many positions batch row i attends to.
    fn seen(&self, i: usize) -> usize {
        self.picks.as_ref().map_or_else(|| self.paging.positions(i), |picks| picks.counts[i])
    }

    fn sees_all(&self, i: usize) -> bool {
        self.seen(i) == self.paging.positions(i)
    }

    /// Cached rows of the positions that batch row i attends to, from the one numbered `from` on.
    fn read_seen(&self, i: usize, from: usize, out: &mut [f32]) {
        let Some(picks) = &self.picks else { return self.read(i, from, out) };
        for (t, out) in picks.positions.row(i)[from..].iter().zip(out.chunks_exact_mut(self.cache.cols)) {
            self.read(i, *t as usize, out);
        }
    }

    /// Attention of the batch rows from `first` on, whose outputs `out` has.
    fn absorbed(&self, pool: &mut Pool, work: &mut Workspace, first: usize, out: MatMut<'_>, q: Mat<'_>) {
        let rows = out.rows();
        if rows == 0 {
            return;
        }
        let Shape { heads, latent, .. } = self.shape;
        self.absorb(pool, work, first..first + rows, q);
        let segments: Vec<Segment> = (0..rows)
            .flat_map(|row| {
                let positions = self.seen(first + row);
                (0..positions).step_by(SEGMENT).map(move |from| Segment { row, from, n: SEGMENT.min(positions - from) })
            })
            .collect();
        work.merged.ensure(rows * heads * (latent + 2));
        for round in segments.chunks(ROUND) {
            self.round(pool, work, first, round);
        }
        self.values(pool, work, first, out);
    }

    /// q_nope carried through the key half, then q_rope: [rows, heads * (latent + rope)].
    fn absorb(&self, pool: &mut Pool, work: &mut Workspace, of: Range<usize>, q: Mat<'_>) {
        let (first, rows) = (of.start, of.len());
        let Shape { heads, nope, rope, latent, .. } = self.shape;
        let kernels = self.kernels;
        let queries = work.queries.ensure(rows * heads * nope);
        for (n, query) in queries.chunks_exact_mut(nope).enumerate() {
            let at = n % heads * (nope + rope);
            query.copy_from_slice(&q.row(first + n / heads)[at..at + nope]);
        }
        let numbers: &[f32] = queries;
        let queries = Mat::over(numbers, nope);
        let rows_of_heads = rows_of_heads(rows, heads);
        let few = rows_of_heads.iter().any(|rows| !List::is_long(rows));
        if let Halves::Split { k, .. } = &self.halves {
            work.rounded.fill(pool, kernels, queries, |family| k.family() == family, few);
        }
        let format = self.halves.key_format();
        let lists = work.rounded.lay(pool, kernels, &format, rows_of_heads.iter().map(Vec::as_slice));
        let queries = Rows { x: queries, rounded: &work.rounded };
        let absorbed = work.absorbed.ensure(rows * heads * (latent + rope));
        let out = MatMut::over(absorbed, heads * (latent + rope));
        pool.grids(vec![Grid { out, tile_rows: rows, tile_cols: latent + rope }], &|tile, scratch| {
            let head = tile.cols.start / (latent + rope);
            match &self.halves {
                Halves::Split { k, .. } => {
                    let piece = Piece { weight: k, expert: head, rows: 0..latent };
                    let mut latents = tile.out.columns(0..latent);
                    multiply(kernels, piece, queries, &lists[head], (&mut latents, false), scratch);
                }
                Halves::Merged(kv) => {
                    let first = head * (nope + self.shape.value);
                    let half = scratch.floats.ensure(nope * latent); // [nope, latent]
                    for (r, row) in half.chunks_exact_mut(latent).enumerate() {
                        kv.decode_row(kernels, 0, first + r, row);
                    }
                    let half = Floats { numbers: half, stride: latent, rows: nope, cols: latent };
                    let queries = Floats { numbers: &numbers[head * nope..], stride: heads * nope, rows, cols: nope };
                    let answers = scratch.more_floats.ensure(rows * latent);
                    answers.fill(0.0);
                    (kernels.sums)(queries, half, answers, latent);
                    for (i, answer) in answers.chunks_exact(latent).enumerate() {
                        tile.out.row(i)[..latent].copy_from_slice(answer);
                    }
                }
            }
            for i in 0..rows {
                let at = head * (nope + rope) + nope;
                tile.out.row(i)[latent..].copy_from_slice(&q.row(first + i)[at..at + rope]);
            }
        });
    }

    /// Reduces some segments, for all heads, and merges them, in order, into what came before them.
    fn round(&self, pool: &mut Pool, work: &mut Workspace, first_row: usize, segments: &[Segment]) {
        let Shape { heads, rope, latent, .. } = self.shape;
        let kernels = self.kernels;
        let width = latent + rope;
        let absorbed: &[f32] = &work.absorbed;
        let partial = work.partial.ensure(segments.len() * heads * (latent + 2));
        // Heads are shared out only where there are too few segments to keep every thread at work.
        let shares = (2 * pool.threads()).div_ceil(segments.len()).min(heads);
        let heads_of_tile = heads.div_ceil(shares);
        let out = MatMut::over(partial, heads * (latent + 2));
        pool.grids(vec![Grid { out, tile_rows: 1, tile_cols: heads_of_tile * (latent + 2) }], &|tile, scratch| {
            let Segment { row, from, n } = segments[tile.rows.start];
            let cached = scratch.floats.ensure(n * width); // [n, latent + rope]
            self.read_seen(first_row + row, from, cached);
            let cached = Floats { numbers: cached, stride: width, rows: n, cols: width };
            let partials = tile.out.row(0).chunks_exact_mut(latent + 2);
            let (first, count) = (tile.cols.start / (latent + 2), partials.len());
            let q = &absorbed[(row * heads + first) * width..(row * heads + first + count) * width];
            let scores = scratch.more_floats.ensure(count * SEGMENT); // [heads of tile, segment]
            (kernels.dots)(Floats { numbers: q, stride: width, rows: count, cols: width }, cached, scores, SEGMENT);
            for (partial, scores) in partials.zip(scores.chunks_exact_mut(SEGMENT)) {
                let (largest, total) = (kernels.exponentials)(&mut scores[..n], self.shape.scale);
                partial[..latent].fill(0.0);
                partial[latent..].copy_from_slice(&[largest, total]);
            }
            let weights = Floats { numbers: scores, stride: SEGMENT, rows: count, cols: n };
            (kernels.sums)(weights, Floats { cols: latent, ..cached }, tile.out.row(0), latent + 2);
        });
        let partial: &[f32] = partial;
        let out = MatMut::over(&mut work.merged[..], latent + 2);
        let (rows, _) = out.split_rows(absorbed_rows(segments, heads));
        pool.grids(vec![Grid { out: rows, tile_rows: heads, tile_cols: latent + 2 }], &|tile, _| {
            let row = tile.rows.start / heads;
            for (s, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.row == row) {
                let partials = partial[s * heads * (latent + 2)..].chunks_exact(latent + 2).take(heads);
                for (h, partial) in partials.enumerate() {
                    let merged = tile.out.row(h);
                    let (sum, totals) = merged.split_at_mut(latent);
                    let (largest, total) = totals.split_at_mut(1);
                    let part = Part { largest: partial[latent], total: partial[latent + 1], sum: &partial[..latent] };
                    take_in(segment.from == 0, (&mut largest[0], &mut total[0], sum), part);
                }
            }
        });
    }

    /// out = value half . mean of latents, for every head; no numbers for a row that picks nothing.
    fn values(&self, pool: &mut Pool, work: &mut Workspace, first: usize, out: MatMut<'_>) {
        let Shape { heads, value, latent, .. } = self.shape;
        let (kernels, rows) = (self.kernels, out.rows());
        let means = work.means.ensure(rows * heads * latent);
        for (mean, merged) in means.chunks_exact_mut(latent).zip(work.merged.chunks_exact(latent + 2)) {
            let total = merged[latent + 1];
            for (mean, sum) in mean.iter_mut().zip(merged) {
                *mean = sum / total;
            }
        }
        let means = Mat::over(means, latent);
        let weight = self.halves.value(0, &self.shape).weight;
        let rows_of_heads = rows_of_heads(rows, heads);
        let few = rows_of_heads.iter().any(|rows| !List::is_long(rows));
        work.rounded.fill(pool, kernels, means, |family| weight.family() == family, few);
        let lists = work.rounded.lay(pool, kernels, &[weight.format], rows_of_heads.iter().map(Vec::as_slice));
        let means = Rows { x: means, rounded: &work.rounded };
        pool.grids(vec![Grid { out, tile_rows: rows, tile_cols: value }], &|tile, scratch| {
            let head = tile.cols.start / value;
            multiply(kernels, self.halves.value(head, &self.shape), means, &lists[head], (&mut tile.out, false), scratch);
            for i in (0..rows).filter(|&i| self.seen(first + i) == 0) {
                tile.out.row(i).fill(f32::NAN);
            }
        });
    }
}

/// For every head its rows among [rows * heads].
fn rows_of_heads(rows: usize, heads: usize) -> Vec<Vec<usize>> {
    (0..heads).map(|head| (0..rows).map(|i| i * heads + head).collect()).collect()
}

/// Rows [batch row * heads] up to the last one that a round touches.
fn absorbed_rows(segments: &[Segment], heads: usize) -> usize {
    segments.last().map_or(0, |segment| (segment.row + 1) * heads)
}
