//! Owns: what is done row by row: norms of both kinds, rope, add, gather, argmax.
//! Refuses to know: what the rows are.

use super::index;
use super::linear::same;
use crate::context::{State, Weight};
use crate::error::{Outcome, misfit};
use crate::map::{Mat, MatMut, View};
use crate::pool::Grid;
use crate::simd::Kernels;
use std::sync::Arc;

/// Rows are shared among threads from this many numbers on; below it the caller is faster alone.
const SHARED_NUMBERS: usize = 1 << 15;

fn each_row(state: &mut State, writes: View, reads: &[View], one: impl Fn(usize, &mut [f32], &[Mat]) + Sync) -> Outcome<()> {
    let mut claim = state.tensors.claim(&[writes], reads)?;
    let mut out: MatMut = claim.write()?;
    let inputs = reads.iter().map(|_| claim.read()).collect::<Outcome<Vec<Mat>>>()?;
    if out.rows() * out.cols() < SHARED_NUMBERS {
        for i in 0..out.rows() {
            one(i, out.row(i), &inputs);
        }
        return Ok(());
    }
    let tile_cols = out.cols();
    let tile_rows = (SHARED_NUMBERS / 4).div_ceil(tile_cols);
    state.pool.grids(vec![Grid { out, tile_rows, tile_cols }], &|tile, _| {
        for i in tile.rows.clone() {
            one(i, tile.out.row(i - tile.rows.start), &inputs);
        }
    });
    Ok(())
}

/// out = x / sqrt(mean(x^2) + eps) * weight for each run of the weight's columns; out may be x.
pub fn rms_norm(state: &mut State, out: View, x: View, weight: usize, eps: f32) -> Outcome<()> {
    let kernels = state.kernels;
    let weight = state.weight(weight)?;
    let weight = weight.numbers(kernels);
    same(out.cols, x.cols, "rmsNorm")?;
    if !out.cols.is_multiple_of(weight.len()) {
        return Err(misfit("rmsNorm", format!("a multiple of {} columns", weight.len()), out.cols));
    }
    let n = weight.len() as f32;
    let norm = |to: &mut [f32]| {
        for run in to.chunks_exact_mut(weight.len()) {
            let scale = 1.0 / ((kernels.squares)(run) / n + eps).sqrt();
            for (x, w) in run.iter_mut().zip(weight) {
                *x = *x * scale * w;
            }
        }
    };
    let reads: &[View] = if out == x { &[] } else { &[x] };
    each_row(state, out, reads, |i, to, inputs| {
        if let [x] = inputs {
            to.copy_from_slice(x.row(i));
        }
        norm(to);
    })
}

/// out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias for each run of the weight's columns; out may be x.
pub fn layer_norm(state: &mut State, out: View, x: View, (weight, bias): (usize, usize), eps: f32) -> Outcome<()> {
    let (weight, bias) = (state.weight(weight)?, state.weight(bias)?);
    let (weight, bias) = (weight.numbers(state.kernels), bias.numbers(state.kernels));
    same(out.cols, x.cols, "layerNorm")?;
    same(weight.len(), bias.len(), "layerNorm: bias")?;
    if !out.cols.is_multiple_of(weight.len()) {
        return Err(misfit("layerNorm", format!("a multiple of {} columns", weight.len()), out.cols));
    }
    let n = weight.len() as f64;
    let norm = |to: &mut [f32]| {
        for run in to.chunks_exact_mut(weight.len()) {
            let mean = run.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let variance = run.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (variance + f64::from(eps)).sqrt();
            for ((x, w), b) in run.iter_mut().zip(weight).zip(bias) {
                *x = ((f64::from(*x) - mean) * scale * f64::from(*w) + f64::from(*b)) as f32;
            }
        }
    };
    let reads: &[View] = if out == x { &[] } else { &[x] };
    each_row(state, out, reads, |i, to, inputs| {
        if let [x] = inputs {
            to.copy_from_slice(x.row(i));
        }
        norm(to);
    })
}

/// How heads lie in a row and which of their columns are rotated.
pub struct Rope {
    pub heads: usize,
    pub head_dim: usize,
    pub offset: usize,
    pub rope_dim: usize,
    /// Pairs (i, i + rope_dim / 2) rather than (2i, 2i + 1).
    pub neox: bool,
    pub magnitude: f32,
}

/// Cosines and sines of some rows' angles, kept for the next operation: all layers turn by the same ones. They are worked
/// out anew, on one thread, wherever frequencies or positions differ from those of the operation before.
#[derive(Default)]
pub struct Turns {
    frequencies: Option<Arc<Weight>>,
    magnitude: f32,
    positions: Vec<i32>,
    /// [rows, pairs, 2]
    numbers: Vec<f32>,
}

impl Turns {
    /// Cosine and sine, in f64 of the f32 angle, of every pair of a row.
    fn of(&mut self, kernels: &Kernels, frequencies: Arc<Weight>, magnitude: f32, positions: Mat<i32>) -> &[f32] {
        let known = self.frequencies.as_ref().is_some_and(|before| Arc::ptr_eq(before, &frequencies));
        let here = || (0..positions.rows()).map(|i| positions.first(i));
        if known && self.magnitude.to_bits() == magnitude.to_bits() && here().eq(self.positions.iter().copied()) {
            return &self.numbers;
        }
        (self.magnitude, self.positions) = (magnitude, here().collect());
        self.numbers.clear();
        for &position in &self.positions {
            for frequency in frequencies.numbers(kernels) {
                let angle = f64::from(position as f32 * frequency);
                self.numbers.extend([angle.cos() as f32 * magnitude, angle.sin() as f32 * magnitude]);
            }
        }
        self.frequencies = Some(frequencies);
        &self.numbers
    }
}

/// Rotates x in place by f32(position) * frequency.
pub fn rope(state: &mut State, x: View, positions: View, frequencies: usize, rope: &Rope) -> Outcome<()> {
    let frequencies = state.weight(frequencies)?;
    let Rope { heads, head_dim, offset, rope_dim, neox, magnitude } = *rope;
    same(heads * head_dim, x.cols, "rope")?;
    same(rope_dim / 2, frequencies.numbers(state.kernels).len(), "rope: frequencies")?;
    if offset + rope_dim > head_dim {
        return Err(misfit("rope: offset + ropeDim", format!("at most {head_dim}"), offset + rope_dim));
    }
    let mut claim = state.tensors.claim(&[x], &[positions])?;
    let (mut out, positions): (MatMut, Mat<i32>) = (claim.write()?, claim.read()?);
    let turns = state.turns.of(state.kernels, frequencies, magnitude, positions);
    let across = rope_dim / 2 * 2;
    let rotate = |i: usize, row: &mut [f32]| {
        let turns = &turns[i * across..(i + 1) * across];
        let (step, second) = if neox { (1, rope_dim / 2) } else { (2, 1) };
        for head in row.chunks_exact_mut(head_dim) {
            let head = &mut head[offset..offset + rope_dim];
            for (pair, turn) in turns.chunks_exact(2).enumerate() {
                let (a, b) = (head[pair * step], head[pair * step + second]);
                head[pair * step] = a * turn[0] - b * turn[1];
                head[pair * step + second] = a * turn[1] + b * turn[0];
            }
        }
    };
    if out.rows() * out.cols() < SHARED_NUMBERS {
        for i in 0..out.rows() {
            rotate(i, out.row(i));
        }
        return Ok(());
    }
    state.pool.grids(vec![Grid { out, tile_rows: 8, tile_cols: x.cols }], &|tile, _| {
        for i in tile.rows.clone() {
            rotate(i, tile.out.row(i - tile.rows.start));
        }
    });
    Ok(())
}

/// out += x
pub fn add(state: &mut State, out: View, x: View) -> Outcome<()> {
    let kernels = state.kernels;
    same(out.cols, x.cols, "add")?;
    if out == x {
        return each_row(state, out, &[], |_, to, _| to.iter_mut().for_each(|x| *x += *x));
    }
    each_row(state, out, &[x], |i, to, inputs| (kernels.add)(to, inputs[0].row(i)))
}

/// out[i] = x[rows[i]]
pub fn gather(state: &mut State, out: View, x: View, rows: View) -> Outcome<()> {
    same(out.cols, x.cols, "gather")?;
    let mut claim = state.tensors.claim(&[out], &[x, rows])?;
    let (mut out, x, rows): (MatMut, Mat, Mat<i32>) = (claim.write()?, claim.read()?, claim.read()?);
    for i in 0..out.rows() {
        out.row(i).copy_from_slice(x.row(index(rows.first(i), x.rows(), "gather: row")?));
    }
    Ok(())
}

/// Numbers that are compared side by side.
const SIDE_BY_SIDE: usize = 32;

/// Index of the largest number, the lowest one on ties; none where it is infinite or one is NaN.
fn largest(row: &[f32]) -> Option<usize> {
    let (whole, rest) = row.as_chunks::<SIDE_BY_SIDE>();
    let mut last = [f32::NEG_INFINITY; SIDE_BY_SIDE];
    last[..rest.len()].copy_from_slice(rest);
    let (mut most, mut nans) = ([f32::NEG_INFINITY; SIDE_BY_SIDE], [0; SIDE_BY_SIDE]);
    for some in whole.iter().chain([&last]) {
        for ((most, nans), x) in most.iter_mut().zip(&mut nans).zip(some) {
            *most = if *x > *most { *x } else { *most };
            *nans |= i32::from(x.is_nan());
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let sound = most.is_finite() && nans.iter().all(|&n| n == 0);
    if sound { row.iter().position(|&x| x == most) } else { None }
}

/// out[i] = index of the largest number of row i, the lowest one on ties.
pub fn argmax(state: &mut State, out: View, logits: View) -> Outcome<()> {
    let mut claim = state.tensors.claim(&[out], &[logits])?;
    let (mut out, logits): (MatMut<i32>, Mat) = (claim.write()?, claim.read()?);
    for i in 0..out.rows() {
        out.row(i)[0] = largest(logits.row(i)).map_or(-1, |c| c as i32);
    }
    Ok(())
}
