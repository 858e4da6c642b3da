//! Owns: products with weights: embed, matmul.
//! Refuses to know: what the weights are for.

use super::multiply::{List, Piece, Rows, multiply};
use super::{Span, index, tile_bytes, tile_rows};
use crate::context::{State, Weight};
use crate::error::{Outcome, misfit};
use crate::formats::{Family, Format};
use crate::map::{Mat, MatMut, View};
use crate::pool::{Grid, Tile};
use std::sync::Arc;

/// One product of a matmul.
pub struct Product {
    pub weight: usize,
    pub out: View,
    pub bias: Option<usize>,
    pub add: bool,
}


/// out[i] = table[tokens[i]]
pub fn embed(state: &mut State, out: View, table: usize, tokens: View) -> Outcome<()> {
    let table = state.weight(table)?;
    let mut claim = state.tensors.claim(&[out], &[tokens])?;
    let (mut out, tokens): (MatMut, Mat<i32>) = (claim.write()?, claim.read()?);
    same(table.cols, out.cols(), "embed")?;
    let wanted = (0..out.rows()).map(|i| index(tokens.first(i), table.rows, "embed: token")).collect::<Outcome<Vec<_>>>()?;
    // One row is read at once; of many the disk fetches one beside the other.
    if wanted.len() > 1 {
        wanted.iter().for_each(|&token| table.ask_for_row(token));
    }
    let mut copy = vec![0; table.row_bytes];
    for (i, token) in wanted.into_iter().enumerate() {
        table.decode_copied_row(state.kernels, token, &mut copy, out.row(i))?;
    }
    Ok(())
}

/// A product with its weight at hand.
struct Ready {
    weight: Arc<Weight>,
    bias: Option<Arc<Weight>>,
    add: bool,
}

/// out = x * weight^T (+ bias), or out += that, for all products in one region.
pub fn matmul(state: &mut State, span: Span, x: View, products: &[Product]) -> Outcome<()> {
    let mut ready = Vec::with_capacity(products.len());
    for product in products {
        let weight = state.weight(product.weight)?;
        let bias = product.bias.map(|bias| state.weight(bias)).transpose()?;
        same(weight.cols, x.cols, &weight.name)?;
        same(weight.rows, product.out.cols, &weight.name)?;
        let biases = bias.as_ref().map_or(weight.rows, |bias| bias.numbers(state.kernels).len());
        same(biases, weight.rows, &weight.name)?;
        ready.push(Ready { weight, bias, add: product.add });
    }
    if span.rows == 0 {
        return Ok(());
    }
    let outs: Vec<View> = products.iter().map(|product| product.out).collect();
    let mut claim = state.tensors.claim(&outs, &[x])?;
    let x: Mat = claim.read()?;
    let wants = |family: Family| ready.iter().any(|r| r.weight.family() == family);
    let kernels = state.kernels;
    let all: Vec<usize> = (0..span.rows).collect();
    let few = !List::is_long(&all);
    state.activations.fill(&mut state.pool, kernels, x, wants, few);
    let formats: Vec<Format> = ready.iter().map(|r| r.weight.format).collect();
    let lists = state.activations.lay(&mut state.pool, kernels, &formats, [&*all].into_iter());
    let rows = Rows { x, rounded: &state.activations };
    let total: usize = ready.iter().map(|r| r.weight.rows * r.weight.row_bytes).sum();
    let tile_bytes = tile_bytes(total, state.pool.threads(), formats.iter().all(|&f| List::is_streamed(&all, kernels, f)));
    let grids = ready
        .iter()
        .map(|r| {
            let out: MatMut = claim.write()?;
            let tile_cols = tile_rows(tile_bytes, r.weight.rows, r.weight.row_bytes);
            Ok(Grid { tile_rows: out.rows(), tile_cols, out })
        })
        .collect::<Outcome<Vec<_>>>()?;
    state.pool.grids(grids, &|tile: &mut Tile, scratch| {
        let Ready { weight, bias, add } = &ready[tile.grid];
        let cols = tile.cols.clone();
        let mut floats = std::mem::take(&mut scratch.floats);
        let answers = floats.ensure(all.len() * cols.len()); // [rows, tile]
        let piece = Piece { weight, expert: 0, rows: cols.clone() };
        multiply(kernels, piece, rows, &lists[0], answers, scratch);
        for (i, answers) in answers.chunks_exact_mut(cols.len()).enumerate() {
            if let Some(bias) = bias {
                (kernels.add)(answers, &bias.numbers(kernels)[cols.clone()]);
            }
            let out = tile.out.row(i);
            if *add {
                (kernels.add)(out, answers);
            } else {
                out.copy_from_slice(answers);
            }
        }
        scratch.floats = floats;
    });
    Ok(())
}

impl Weight {
    /// How activations meet this weight; block-scaled weights are decoded to floats.
    pub fn family(&self) -> Family {
        if self.scales.is_some() { Family::Floats } else { self.format.family() }
    }
}

/// Refuses columns that do not match.
pub fn same(expected: usize, got: usize, what: &str) -> Outcome<()> {
    if expected == got { Ok(()) } else { Err(misfit(what, format!("{expected} columns"), got)) }
}
