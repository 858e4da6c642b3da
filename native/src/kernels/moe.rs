//! Owns: running the chosen experts: rows grouped by expert, gate and up in one region, down in another.
//! Refuses to know: how experts are chosen, layers, models.
//!
//! A row's answers are added in the order of expert ids, so its bits do not depend on who else is in the batch.

use super::linear::same;
use super::multiply::{List, Piece, Rows, multiply, multiply_gated};
use super::{Activations, Span, index, tile_bytes, tile_rows};
use crate::context::State;
use crate::error::{Outcome, misfit};
use crate::formats::Family;
use crate::map::{Buffer, Mat, MatMut, View};
use crate::pool::Grid;

/// Memory that is kept from step to step.
#[derive(Default)]
pub struct Workspace {
    /// What the router chose: [n, 2 * used].
    pub chosen: Buffer<f32>,
    /// silu(gate x) * up x for every choice: [n * used, inter].
    hidden: Buffer<f32>,
    rounded: Activations,
}

/// Row `row` of the batch has chosen `expert`.
struct Choice {
    expert: usize,
    row: usize,
    weight: f32,
}

/// Choices by expert, rows in order.
fn choices(ids: Mat<'_, i32>, weights: Mat<'_>, experts: usize) -> Outcome<Vec<Choice>> {
    let mut all = Vec::with_capacity(ids.rows() * ids.cols());
    for row in 0..ids.rows() {
        for (&id, &weight) in ids.row(row).iter().zip(weights.row(row)) {
            all.push(Choice { expert: index(id, experts, "experts: id")?, row, weight });
        }
    }
    all.sort_by_key(|choice| (choice.expert, choice.row));
    Ok(all)
}

/// out += sum over the chosen experts of weight * down(silu(gate x) * up x).
pub fn experts(
    state: &mut State,
    span: Span,
    out: View,
    x: View,
    (ids, weights): (View, View),
    of: [usize; 3],
) -> Outcome<()> {
    let [gate, up, down] = of.map(|id| state.weight(id));
    let (gate, up, down) = (gate?, up?, down?);
    let inter = gate.rows;
    same(gate.cols, x.cols, &gate.name)?;
    same(gate.cols, out.cols, &down.name)?;
    same(ids.cols, weights.cols, "experts: weights")?;
    if (up.experts, up.rows, up.cols) != (gate.experts, inter, gate.cols)
        || (down.experts, down.rows, down.cols) != (gate.experts, gate.cols, inter)
    {
        let expected = format!("{} experts of {inter} x {}", gate.experts, gate.cols);
        return Err(misfit(format!("experts: {} and {}", up.name, down.name), expected, "other shapes"));
    }
    if span.rows == 0 {
        return Ok(());
    }
    let mut claim = state.tensors.claim(&[out], &[x, ids, weights])?;
    let (out, x): (MatMut, Mat) = (claim.write()?, claim.read()?);
    let choices = choices(claim.read()?, claim.read()?, gate.experts)?;
    let groups: Vec<&[Choice]> = choices.chunk_by(|a, b| a.expert == b.expert).collect();
    let (threads, kernels) = (state.pool.threads(), state.kernels);
    let pool = &mut state.pool;

    let wants = |family: Family| gate.family() == family || up.family() == family;
    let rows_of_groups: Vec<Vec<usize>> = groups.iter().map(|g| g.iter().map(|choice| choice.row).collect()).collect();
    let few = rows_of_groups.iter().any(|rows| !List::is_long(rows));
    state.activations.fill(pool, kernels, x, wants, few);
    let lists = rows_of_groups.iter().map(Vec::as_slice);
    let lists = state.activations.lay(pool, kernels, &[gate.format, up.format], lists);
    let activations = Rows { x, rounded: &state.activations };
    let Workspace { hidden, rounded, .. } = &mut state.experts;
    let hidden = hidden.ensure(choices.len() * inter);
    let row_bytes = gate.row_bytes + up.row_bytes;
    let total = groups.len() * inter * row_bytes;
    let tile_cols = |rows: &[usize]| tile_rows(tile_bytes(total, threads, List::is_streamed(rows, kernels, gate.format)), inter, row_bytes);
    let mut rest = &mut *hidden;
    let grids = groups
        .iter()
        .zip(&rows_of_groups)
        .map(|(group, rows)| {
            let (of_group, others) = std::mem::take(&mut rest).split_at_mut(group.len() * inter);
            rest = others;
            Grid { out: MatMut::over(of_group, inter), tile_rows: group.len(), tile_cols: tile_cols(rows) }
        })
        .collect();
    pool.grids(grids, &|tile, scratch| {
        let group = groups[tile.grid];
        let piece = |weight| Piece { weight, expert: group[0].expert, rows: tile.cols.clone() };
        let pieces = [piece(&*gate), piece(&*up)];
        multiply_gated(kernels, pieces, activations, &lists[tile.grid], &mut tile.out, scratch);
    });

    let hidden = Mat::over(hidden, inter); // [choices, inter]
    rounded.fill(pool, kernels, hidden, |family| down.family() == family, few);
    let all: Vec<usize> = (0..choices.len()).collect();
    let lists = all.chunk_by(|&a, &b| choices[a].expert == choices[b].expert);
    let lists = rounded.lay(pool, kernels, &[down.format], lists);
    let hidden = Rows { x: hidden, rounded };
    let streamed = rows_of_groups.iter().all(|rows| List::is_streamed(rows, kernels, down.format));
    let tile_bytes = tile_bytes(down.rows * down.row_bytes, threads, streamed);
    let (tile_rows, tile_cols) = (out.rows(), tile_rows(tile_bytes, down.rows, down.row_bytes));
    pool.grids(vec![Grid { out, tile_rows, tile_cols }], &|tile, scratch| {
        let mut floats = std::mem::take(&mut scratch.floats);
        for (group, list) in groups.iter().zip(&lists) {
            let answers = floats.ensure(group.len() * tile.cols.len()); // [choices, tile]
            let piece = Piece { weight: &down, expert: group[0].expert, rows: tile.cols.clone() };
            multiply(kernels, piece, hidden, list, (&mut MatMut::over(answers, tile.cols.len()), false), scratch);
            for (choice, answer) in group.iter().zip(answers.chunks_exact(tile.cols.len())) {
                (kernels.add_scaled)(tile.out.row(choice.row), choice.weight, answer);
            }
        }
        scratch.floats = floats;
    });
    Ok(())
}
