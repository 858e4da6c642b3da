//! Owns: the lightning indexer's choice of cached rows.
//! Refuses to know: who attends to them, who gives out pages, models.
//!
//! A row that sees no more positions than it may pick takes them all, unscored. The others of one sequence that lie
//! together share each reading of keys, a segment of positions at a time. A score is made of whole products, summed over
//! the heads in order, so its bits do not depend on which rows are beside it or which thread takes the segment.

use super::attention::{Batch, Paging};
use super::cache_rows::read_part;
use super::linear::same;
use crate::context::{Cache, State, cache_of};
use crate::error::Outcome;
use crate::map::{Buffer, Mat, MatMut, View};
use crate::pool::{Grid, Pool};
use crate::simd::{Floats, Kernels};
use std::ops::Range;

/// Positions that are scored together.
const SEGMENT: usize = 128;
/// Rows of a sequence that are scored before they choose: what bounds the memory of a long context.
const TOGETHER: usize = 16;

/// Memory that is kept from step to step.
#[derive(Default)]
pub struct Workspace {
    /// [together, positions in whole segments]
    scores: Buffer<f32>,
    /// Picks as bits: [together, picks].
    chosen: Buffer<f32>,
}

/// picks[i] = the positions with the largest sum over heads of weights[i, h] * max(0, q[i, h] . key), ascending, ties
/// to the lower one; all of them and then -1 where there are fewer; -1 alone where a score is no number.
pub fn pick(
    state: &mut State,
    batch: &Batch,
    picks: View,
    q: View,
    weights: View,
    keys: usize,
    heads: usize,
) -> Outcome<()> {
    let keys = cache_of(&state.caches, keys)?;
    same(heads * keys.cols, q.cols, "pickRows: q")?;
    same(heads, weights.cols, "pickRows: weights")?;
    let mut claim =
        state.tensors.claim(&[picks], &[q, weights, batch.positions, batch.sequences, batch.pages])?;
    let (mut picks, q, weights): (MatMut<i32>, Mat, Mat) = (claim.write()?, claim.read()?, claim.read()?);
    let paging = Paging::new(batch.span, claim.read()?, claim.read()?, claim.read()?, keys)?;
    let indexer = Indexer { kernels: state.kernels, keys, paging, heads, most: picks.cols() };
    for run in indexer.paging.runs(0..batch.span.rows) {
        for first in run.clone().step_by(TOGETHER) {
            let rows = first..run.end.min(first + TOGETHER);
            indexer.choose(&mut state.pool, &mut state.picking, rows, q, weights, &mut picks);
        }
    }
    Ok(())
}

struct Indexer<'a> {
    kernels: &'a Kernels,
    keys: &'a Cache,
    paging: Paging<'a>,
    heads: usize,
    /// Positions that a row may pick.
    most: usize,
}

impl Indexer<'_> {
    /// Fills the picks of some rows of one sequence.
    fn choose(
        &self,
        pool: &mut Pool,
        work: &mut Workspace,
        rows: Range<usize>,
        q: Mat<'_>,
        weights: Mat<'_>,
        picks: &mut MatMut<'_, i32>,
    ) {
        let most = self.most;
        for i in rows.clone() {
            for (t, pick) in (0i32..).zip(picks.row(i)) {
                *pick = if (t as usize) < self.paging.positions(i) { t } else { -1 };
            }
        }
        let longest = self.paging.longest(rows.clone());
        if longest <= most {
            return;
        }
        let width = longest.next_multiple_of(SEGMENT);
        let scores = work.scores.ensure(rows.len() * width);
        let out = MatMut::over(scores, width);
        pool.grids(vec![Grid { out, tile_rows: rows.len(), tile_cols: SEGMENT }], &|tile, scratch| {
            let (from, dim) = (tile.cols.start, self.keys.cols);
            let n = SEGMENT.min(longest - from);
            let keys = scratch.floats.ensure(n * dim); // [n, dim]
            for (t, key) in keys.chunks_exact_mut(dim).enumerate() {
                let row = self.keys.row(self.paging.cache_row(rows.start, from + t));
                read_part(self.kernels, self.keys.format, row, 0, key);
            }
            let keys = Floats { numbers: keys, stride: dim, rows: n, cols: dim };
            let matches = scratch.more_floats.ensure(self.heads * SEGMENT); // [heads, segment]
            for (r, i) in rows.clone().enumerate().filter(|&(_, i)| self.paging.positions(i) > from.max(most)) {
                let queries = Floats { numbers: q.row(i), stride: dim, rows: self.heads, cols: dim };
                (self.kernels.dots)(queries, keys, matches, SEGMENT);
                let scores = tile.out.row(r);
                scores.fill(0.0);
                // Whole segments, whatever is behind the last position: the sum of a column is its own.
                for (weight, matches) in weights.row(i).iter().zip(matches.chunks_exact_mut(SEGMENT)) {
                    // What is no number stays so, unlike under `max`.
                    matches.iter_mut().for_each(|m| *m = if *m < 0.0 { 0.0 } else { *m });
                    (self.kernels.add_scaled)(scores, *weight, matches);
                }
            }
        });
        let scores = Mat::over(scores, width);
        let chosen = work.chosen.ensure(rows.len() * most);
        let out = MatMut::over(&mut *chosen, most);
        pool.grids(vec![Grid { out, tile_rows: 1, tile_cols: most }], &|tile, _| {
            let r = tile.rows.start;
            let seen = self.paging.positions(rows.start + r);
            if seen > most {
                best(&scores.row(r)[..seen], tile.out.row(0));
            }
        });
        for (i, chosen) in rows.clone().zip(chosen.chunks_exact(most)) {
            if self.paging.positions(i) > most {
                for (pick, bits) in picks.row(i).iter_mut().zip(chosen) {
                    *pick = bits.to_bits().cast_signed();
                }
            }
        }
    }
}

/// Indices, as bits, of the out.len() largest of more scores than that, ascending, ties to the lower index; -1 where one
/// is no number.
fn best(scores: &[f32], out: &mut [f32]) {
    if scores.iter().any(|score| score.is_nan()) {
        return out.fill(f32::from_bits(u32::MAX));
    }
    let mut ranks: Vec<u32> = scores.iter().map(|score| rank(*score)).collect();
    let (above, &mut least, _) = ranks.select_nth_unstable_by(out.len() - 1, |a, b| b.cmp(a));
    let mut ties = 1 + above.iter().filter(|&&rank| rank == least).count();
    let mut taken = 0;
    for (t, score) in (0u32..).zip(scores) {
        let rank = rank(*score);
        if rank > least || (rank == least && ties > 0) {
            ties -= usize::from(rank == least);
            out[taken] = f32::from_bits(t);
            taken += 1;
        }
    }
}

/// A number in the order of scores; both zeros are equal.
fn rank(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(scores: &[f32], count: usize) -> Vec<u32> {
        let mut out = vec![0.0; count];
        best(scores, &mut out);
        out.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn the_best_come_in_order_and_ties_go_to_the_lower_index() {
        assert_eq!(best_of(&[1.0, 3.0, -2.0, 3.0, 2.0, 3.0], 2), [1, 3]);
        assert_eq!(best_of(&[1.0, 3.0, -2.0, 3.0, 2.0, 3.0], 4), [1, 3, 4, 5]);
        assert_eq!(best_of(&[-1.0, -0.0, 0.0, -0.0, -3.0], 2), [1, 2]);
        assert_eq!(best_of(&[-5.0, -7.0, -6.0, -8.0], 3), [0, 1, 2]);
        assert_eq!(best_of(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 1.0], 3), [0, 1, 3]);
        assert_eq!(best_of(&[1.0, f32::NAN, 2.0], 2), [u32::MAX; 2]);
        assert_eq!(best_of(&[f32::INFINITY, 1.0, 2.0], 1), [0]);
    }
}
