//! Owns: the expanded form of latent attention, for the prefill class.
//! Refuses to know: the absorbed form, who gives out pages, layers, models.
//!
//! One thread takes one head of one sequence's rows. It goes over the positions in segments, makes keys and values of
//! a segment out of its latents, and merges what every row sees of it, in order. So memory is bounded by the segment,
//! whatever the context: for each thread the head's two matrices and SEGMENT rows of latents, keys and values.

use super::blockwise::{self, BLOCK, SEGMENT, Segment, see, take_in};
use super::latent::{Halves, Latents, Shape};
use crate::map::{Mat, MatMut};
use crate::pool::{Grid, Pool, Scratch, Tile};
use crate::simd::Floats;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// out = attention of batch rows that see all positions up to their own; row 0 of `out` is the first of them.
pub fn attend(of: &Latents<'_>, pool: &mut Pool, rows: Range<usize>, out: MatMut<'_>, q: Mat<'_>) {
    let value = of.shape.value;
    let runs = of.paging.runs(rows); // rows of one sequence each
    let mut rest = out;
    let mut grids = Vec::with_capacity(runs.len());
    for run in &runs {
        let (rows, others) = rest.split_rows(run.len());
        grids.push(Grid { out: rows, tile_rows: run.len(), tile_cols: value });
        rest = others;
    }
    let abort = pool.abort_flag();
    pool.grids(grids, &|tile, scratch| {
        Head { of, run: runs[tile.grid].clone(), abort: &abort }.attend(q, tile, scratch);
    });
}

/// A head's share of the rows of one sequence.
struct Head<'a> {
    of: &'a Latents<'a>,
    run: Range<usize>,
    /// A long context takes long: it is looked at between segments too.
    abort: &'a AtomicBool,
}

/// The thread's memory, cut up.
struct Work<'a> {
    /// [nope, latent] when kv_b is merged, [latent, nope] when it is split.
    key_half: &'a mut [f32],
    /// [value, latent]
    value_half: &'a mut [f32],
    /// [segment, latent + rope]
    cached: &'a mut [f32],
    /// [segment, nope + rope]
    keys: &'a mut [f32],
    /// [segment, value]
    values: &'a mut [f32],
    /// [block, nope + rope]
    queries: &'a mut [f32],
    /// [block, segment]
    scores: &'a mut [f32],
    /// [block, value]
    sums: &'a mut [f32],
    /// [rows], twice
    largest: &'a mut [f32],
    total: &'a mut [f32],
}

impl<'a> Work<'a> {
    fn cut(scratch: &'a mut Scratch, shape: &Shape, rows: usize) -> Self {
        let Shape { nope, rope, value, latent, .. } = *shape;
        let sizes = [
            nope * latent,
            value * latent,
            SEGMENT * (latent + rope),
            SEGMENT * (nope + rope),
            SEGMENT * value,
            BLOCK * (nope + rope),
            BLOCK * SEGMENT,
            BLOCK * value,
            rows,
            rows,
        ];
        let mut rest = scratch.floats.ensure(sizes.iter().sum());
        let [key_half, value_half, cached, keys, values, queries, scores, sums, largest, total] = sizes.map(|size| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            part
        });
        Self { key_half, value_half, cached, keys, values, queries, scores, sums, largest, total }
    }
}

impl Head<'_> {
    fn attend(&self, q: Mat<'_>, tile: &mut Tile<'_>, scratch: &mut Scratch) {
        let of = self.of;
        let Shape { latent, rope, value, .. } = of.shape;
        let head = tile.cols.start / value;
        let mut work = Work::cut(scratch, &of.shape, self.run.len());
        self.decode_halves(head, &mut work);
        let longest = of.paging.longest(self.run.clone());
        for from in (0..longest).step_by(SEGMENT).take_while(|_| !self.abort.load(Ordering::Relaxed)) {
            let n = SEGMENT.min(longest - from);
            of.read(self.run.start, from, &mut work.cached[..n * (latent + rope)]);
            self.expand(n, &mut work);
            for block in self.run.clone().step_by(BLOCK) {
                self.block(q, head, block..self.run.end.min(block + BLOCK), from..from + n, &mut work, tile);
            }
        }
        for (r, total) in work.total.iter().enumerate() {
            tile.out.row(r).iter_mut().for_each(|x| *x /= *total);
        }
    }

    fn decode_halves(&self, head: usize, work: &mut Work<'_>) {
        let Latents { kernels, halves, shape, .. } = self.of;
        let Shape { nope, value, latent, .. } = *shape;
        let (weight, expert, first, cols) = match halves {
            Halves::Merged(kv) => (kv, 0, head * (nope + value), latent),
            Halves::Split { k, .. } => (k, head, 0, nope),
        };
        for (r, row) in work.key_half.chunks_exact_mut(cols).enumerate() {
            weight.decode_row(kernels, expert, first + r, row);
        }
        let piece = halves.value(head, shape);
        for (r, row) in piece.rows.zip(work.value_half.chunks_exact_mut(latent)) {
            piece.weight.decode_row(kernels, piece.expert, r, row);
        }
    }

    /// Keys [n, nope + rope] and values [n, value] of the cached latents.
    fn expand(&self, n: usize, work: &mut Work<'_>) {
        let Latents { kernels, halves, shape, .. } = self.of;
        let Shape { nope, rope, value, latent, .. } = *shape;
        let latents = Floats { numbers: work.cached, stride: latent + rope, rows: n, cols: latent };
        for (key, cached) in work.keys.chunks_exact_mut(nope + rope).zip(work.cached.chunks_exact(latent + rope)).take(n) {
            key[..nope].fill(0.0);
            key[nope..].copy_from_slice(&cached[latent..]);
        }
        match halves {
            Halves::Merged(_) => {
                let up = Floats { numbers: work.key_half, stride: latent, rows: nope, cols: latent };
                (kernels.dots)(latents, up, work.keys, nope + rope);
            }
            Halves::Split { .. } => {
                let up = Floats { numbers: work.key_half, stride: nope, rows: latent, cols: nope };
                (kernels.sums)(latents, up, work.keys, nope + rope);
            }
        }
        let down = Floats { numbers: work.value_half, stride: latent, rows: value, cols: latent };
        (kernels.dots)(latents, down, work.values, value);
    }

    /// What batch rows `rows` see of the segment `positions`, merged into their outputs.
    fn block(
        &self,
        q: Mat<'_>,
        head: usize,
        rows: Range<usize>,
        positions: Range<usize>,
        work: &mut Work<'_>,
        tile: &mut Tile<'_>,
    ) {
        let Latents { kernels, paging, shape, .. } = self.of;
        let Shape { nope, rope, value, scale, .. } = *shape;
        // How many of the segment's positions a row sees.
        let seen = |i: usize| paging.positions(i).min(positions.end).saturating_sub(positions.start);
        let width = nope + rope;
        for (i, query) in rows.clone().zip(work.queries.chunks_exact_mut(width)) {
            query.copy_from_slice(&q.row(i)[head * width..(head + 1) * width]);
        }
        let queries = Floats { numbers: work.queries, stride: width, rows: rows.len(), cols: width };
        let segment = Segment {
            keys: Floats { numbers: work.keys, stride: width, rows: positions.len(), cols: width },
            values: Floats { numbers: work.values, stride: value, rows: positions.len(), cols: value },
        };
        let mut block = blockwise::Work { scores: &mut *work.scores, sums: &mut *work.sums };
        see(kernels, queries, segment, scale, |b| seen(rows.start + b), &mut block, |b, part| {
            let r = rows.start + b - self.run.start;
            let out = tile.out.row(r);
            take_in(positions.start == 0, (&mut work.largest[r], &mut work.total[r], out), part);
        });
    }
}
