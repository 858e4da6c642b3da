//! Owns: choosing experts and counting what was chosen.
//! Refuses to know: gates of particular models, what an expert is.

use super::index;
use super::linear::same;
use crate::context::State;
use crate::error::{Outcome, misfit};
use crate::map::{Mat, MatMut, View};
use crate::pool::Grid;

/// How a logit becomes a score; numbered as in `native.node.ts`.
#[derive(Clone, Copy)]
pub enum Scoring {
    Softmax,
    Sigmoid,
    SqrtSoftplus,
}

impl Scoring {
    pub fn numbered(n: usize) -> Option<Self> {
        [Self::Softmax, Self::Sigmoid, Self::SqrtSoftplus].get(n).copied()
    }

    /// Scores of a row of logits, in f64 and rounded to f32 before anything is compared.
    fn scores(self, logits: &[f32], scores: &mut Vec<f32>) {
        scores.clear();
        match self {
            Self::Softmax => {
                let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let power = |l: &f32| (f64::from(*l) - most).exp();
                let sum: f64 = logits.iter().map(power).sum();
                scores.extend(logits.iter().map(|l| (power(l) / sum) as f32));
            }
            Self::Sigmoid => scores.extend(logits.iter().map(|l| (1.0 / (1.0 + (-f64::from(*l)).exp())) as f32)),
            Self::SqrtSoftplus => scores.extend(logits.iter().map(|l| {
                let l = f64::from(*l);
                (l.max(0.0) + (-l.abs()).exp().ln_1p()).sqrt() as f32
            })),
        }
    }
}

/// A router.
pub struct Gate {
    pub scoring: Scoring,
    pub used: usize,
    pub groups: usize,
    pub groups_used: usize,
    /// How many of a group's best scores are summed to judge it: 1 or 2.
    pub judged_by: usize,
    pub normalise: bool,
    pub scale: f32,
}

/// Rows are shared among threads from this many logits on.
const SHARED_NUMBERS: usize = 1 << 11;

/// What choosing for one row needs.
#[derive(Default)]
struct Work {
    scores: Vec<f32>,
    /// Scores with the bias, -inf outside the groups that are open.
    judged: Vec<f32>,
    group_scores: Vec<f32>,
    best: Vec<usize>,
}

/// Chooses experts for every row: best first, ties to the lower id; the bias has a say in the choice alone.
pub fn route(
    state: &mut State,
    ids: View,
    weights: View,
    logits: View,
    bias: Option<usize>,
    gate: &Gate,
) -> Outcome<()> {
    let experts = logits.cols;
    let bias = bias.map(|bias| state.weight(bias)).transpose()?;
    let bias = bias.as_ref().map(|bias| bias.numbers(state.kernels));
    same(gate.used, ids.cols, "route: ids")?;
    same(gate.used, weights.cols, "route: weights")?;
    same(experts, bias.map_or(experts, <[f32]>::len), "route: bias")?;
    let open = if experts.is_multiple_of(gate.groups.max(1)) { experts / gate.groups.max(1) * gate.groups_used } else { 0 };
    if gate.groups_used > gate.groups || gate.used > open || gate.used == 0 {
        return Err(misfit("route: used", format!("1 to {open} experts"), gate.used));
    }
    let mut claim = state.tensors.claim(&[ids, weights], &[logits])?;
    let (mut ids, mut weights, logits): (MatMut<i32>, MatMut, Mat) = (claim.write()?, claim.write()?, claim.read()?);
    // Rows [weights | ids as bits]: threads write into one matrix.
    let chosen = state.experts.chosen.ensure(logits.rows() * 2 * gate.used);
    let row_at_once = |out: &mut [f32], row: &[f32], work: &mut Work| {
        let (weights, ids) = out.split_at_mut(gate.used);
        gate.choose(row, bias, work, |k, id, weight| {
            weights[k] = weight;
            ids[k] = f32::from_bits(id as u32);
        });
    };
    if logits.rows() * experts < SHARED_NUMBERS {
        let mut work = Work::default();
        for (i, out) in chosen.chunks_exact_mut(2 * gate.used).enumerate() {
            row_at_once(out, logits.row(i), &mut work);
        }
    } else {
        let out = MatMut::over(chosen, 2 * gate.used);
        let tile_rows = (SHARED_NUMBERS / 2).div_ceil(experts);
        state.pool.grids(vec![Grid { out, tile_rows, tile_cols: 2 * gate.used }], &|tile, _| {
            let mut work = Work::default();
            for i in tile.rows.clone() {
                row_at_once(tile.out.row(i - tile.rows.start), logits.row(i), &mut work);
            }
        });
    }
    for (i, chosen) in state.experts.chosen.chunks_exact(2 * gate.used).take(logits.rows()).enumerate() {
        weights.row(i).copy_from_slice(&chosen[..gate.used]);
        for (id, bits) in ids.row(i).iter_mut().zip(&chosen[gate.used..]) {
            *id = bits.to_bits().cast_signed();
        }
    }
    Ok(())
}

impl Gate {
    /// Calls `put(k, expert, weight)` for the k-th best expert.
    fn choose(&self, logits: &[f32], bias: Option<&[f32]>, work: &mut Work, mut put: impl FnMut(usize, usize, f32)) {
        let Work { scores, judged, group_scores, best } = work;
        self.scoring.scores(logits, scores);
        judged.clear();
        match bias {
            Some(bias) => judged.extend(scores.iter().zip(bias).map(|(s, b)| s + b)),
            None => judged.extend_from_slice(scores),
        }
        let per_group = logits.len() / self.groups;
        if self.groups_used < self.groups {
            group_scores.clear();
            for group in judged.chunks_exact(per_group) {
                best_of(group, self.judged_by, best);
                group_scores.push(best.iter().map(|&e| group[e]).sum());
            }
            best_of(group_scores, self.groups_used, best);
            for (g, group) in judged.chunks_exact_mut(per_group).enumerate() {
                if !best.contains(&g) {
                    group.fill(f32::NEG_INFINITY);
                }
            }
        }
        best_of(judged, self.used, best);
        let sum = if self.normalise { best.iter().map(|&e| f64::from(scores[e])).sum() } else { 1.0 };
        for (k, &e) in best.iter().enumerate() {
            put(k, e, (f64::from(scores[e]) / sum * f64::from(self.scale)) as f32);
        }
    }
}

/// Indices of the `count` largest, largest first, ties to the lower index.
fn best_of(scores: &[f32], count: usize, best: &mut Vec<usize>) {
    best.clear();
    for (e, score) in scores.iter().enumerate() {
        let at = best.iter().rposition(|&b| *score <= scores[b] || score.is_nan()).map_or(0, |before| before + 1);
        if at < count {
            best.truncate(count - 1);
            best.insert(at, e);
        }
    }
}

/// counts[0][id] += 1 for every chosen expert.
pub fn count(state: &mut State, counts: View, ids: View) -> Outcome<()> {
    let mut claim = state.tensors.claim(&[counts], &[ids])?;
    let (mut counts, ids): (MatMut<i32>, Mat<i32>) = (claim.write()?, claim.read()?);
    let counts = counts.row(0);
    for i in 0..ids.rows() {
        for &id in ids.row(i) {
            counts[index(id, counts.len(), "countExperts: id")?] += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_go_to_the_lower_index() {
        let mut best = Vec::new();
        best_of(&[1.0, 3.0, 3.0, 2.0, 3.0], 4, &mut best);
        assert_eq!(best, [1, 2, 4, 3]);
        best_of(&[f32::NEG_INFINITY; 3], 2, &mut best);
        assert_eq!(best, [0, 1]);
        best_of(&[f32::NAN, 1.0, f32::NAN], 2, &mut best);
        assert_eq!(best.len(), 2);
    }
}
