//! Owns: products with weights: embed, matmul.
//! Refuses to know: what the weights are for.

use super::multiply::{List, Piece, Rows, multiply, multiply_gated};
use super::{Span, index, tile_bytes, tile_rows};
use crate::context::{State, Weight};
use crate::error::{Outcome, misfit};
use crate::formats::{Family, Format};
use crate::map::{Buffer, Mat, MatMut, View};
use crate::pool::{Grid, Tile};
use std::sync::Arc;

/// One product of a matmul.
pub struct Product {
    pub weight: usize,
    pub out: View,
    pub bias: Option<usize>,
    pub add: bool,
    /// A weight of the same shape: out = silu(x * gate^T) * (x * weight^T).
    pub gate: Option<usize>,
}

/// Memory that is kept from step to step.
#[derive(Default)]
pub struct Workspace {
    /// Of every product that is gated after its region: gates, then what they are for, [rows, cols] each.
    apart: Buffer<f32>,
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

/// A product with its weights at hand.
struct Ready {
    weight: Arc<Weight>,
    bias: Option<Arc<Weight>>,
    add: bool,
    gate: Option<Arc<Weight>>,
}

impl Ready {
    fn weights(&self) -> impl Iterator<Item = &Arc<Weight>> {
        self.gate.iter().chain([&self.weight])
    }
}

/// What one grid of a region computes.
#[derive(Clone, Copy)]
struct Part<'a> {
    weight: &'a Weight,
    bias: Option<&'a Weight>,
    add: bool,
    gate: Option<&'a Weight>,
}

/// out = x * weight^T (+ bias), or out += that, or out = silu(x * gate^T) * (x * weight^T), for all products in one region. For
/// few rows each of a gated product's weights is a stream of its own, and it is gated at last; for more a tile's answers are
/// gated before they leave a core's cache.
pub fn matmul(state: &mut State, span: Span, x: View, products: &[Product]) -> Outcome<()> {
    let mut ready = Vec::with_capacity(products.len());
    for product in products {
        let of = Ready {
            weight: state.weight(product.weight)?,
            bias: product.bias.map(|bias| state.weight(bias)).transpose()?,
            add: product.add,
            gate: product.gate.map(|gate| state.weight(gate)).transpose()?,
        };
        for weight in of.weights() {
            same(weight.cols, x.cols, &weight.name)?;
            same(weight.rows, product.out.cols, &weight.name)?;
        }
        if of.gate.is_some() && (of.add || of.bias.is_some()) {
            return Err(misfit(&of.weight.name, "a gate, or what is added", "both"));
        }
        let biases = of.bias.as_ref().map_or(product.out.cols, |bias| bias.numbers(state.kernels).len());
        same(biases, product.out.cols, &of.weight.name)?;
        ready.push(of);
    }
    if span.rows == 0 {
        return Ok(());
    }
    let writes: Vec<View> = products.iter().map(|product| product.out).collect();
    let mut claim = state.tensors.claim(&writes, &[x])?;
    let x: Mat = claim.read()?;
    let wants = |family: Family| ready.iter().flat_map(Ready::weights).any(|weight| weight.family() == family);
    let kernels = state.kernels;
    let all: Vec<usize> = (0..span.rows).collect();
    let few = !List::is_long(&all);
    state.activations.fill(&mut state.pool, kernels, x, wants, few);
    let formats: Vec<Format> = ready.iter().flat_map(Ready::weights).map(|weight| weight.format).collect();
    let lists = state.activations.lay(&mut state.pool, kernels, &formats, [&*all].into_iter());
    let rows = Rows { x, rounded: &state.activations };
    let total: usize = ready.iter().flat_map(Ready::weights).map(|weight| weight.rows * weight.row_bytes).sum();
    let tile_bytes = tile_bytes(total, state.pool.threads(), formats.iter().all(|&f| List::is_streamed(&all, kernels, f)));
    let apart = |of: &&Ready| few && of.gate.is_some();
    let numbers = ready.iter().filter(apart).map(|of| 2 * span.rows * of.weight.rows).sum();
    let numbers = state.products.apart.ensure(numbers);
    let (mut parts, mut outs, mut gated_at_last) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = &mut *numbers;
    for of in &ready {
        let out: MatMut = claim.write()?;
        let Ready { weight, bias, add, gate } = of;
        let alone = Part { weight, bias: bias.as_deref(), add: *add, gate: None };
        match gate {
            Some(gate) if few => {
                let [gates, ups] = two_of(&mut rest, span.rows * weight.rows);
                parts.extend([Part { weight: gate, ..alone }, alone]);
                outs.extend([gates, ups].map(|out| MatMut::over(out, weight.rows)));
                gated_at_last.push(out);
            }
            gate => {
                parts.push(Part { gate: gate.as_deref(), ..alone });
                outs.push(out);
            }
        }
    }
    let grid = |(part, out): (&Part, _)| {
        let row_bytes = part.weight.row_bytes + part.gate.map_or(0, |gate| gate.row_bytes);
        Grid { out, tile_rows: span.rows, tile_cols: tile_rows(tile_bytes, part.weight.rows, row_bytes) }
    };
    let grids = parts.iter().zip(outs).map(grid).collect();
    state.pool.grids(grids, &|tile: &mut Tile, scratch| {
        let Part { weight, bias, add, gate } = parts[tile.grid];
        let piece = |weight| Piece { weight, expert: 0, rows: tile.cols.clone() };
        if let Some(gate) = gate {
            return multiply_gated(kernels, [piece(gate), piece(weight)], rows, &lists[0], &mut tile.out, scratch);
        }
        multiply(kernels, piece(weight), rows, &lists[0], (&mut tile.out, add), scratch);
        if let Some(bias) = bias {
            let bias = &bias.numbers(kernels)[tile.cols.clone()];
            (0..span.rows).for_each(|i| (kernels.add)(tile.out.row(i), bias));
        }
    });
    let mut rest = numbers;
    for mut out in gated_at_last {
        let [gates, ups] = two_of(&mut rest, span.rows * out.cols());
        for (i, (gate, up)) in gates.chunks_exact_mut(out.cols()).zip(ups.chunks_exact(out.cols())).enumerate() {
            (kernels.swiglu)(gate, up);
            out.row(i).copy_from_slice(gate);
        }
    }
    Ok(())
}

/// The next two runs of so many numbers.
fn two_of<'a>(rest: &mut &'a mut [f32], numbers: usize) -> [&'a mut [f32]; 2] {
    let (two, others) = std::mem::take(rest).split_at_mut(2 * numbers);
    *rest = others;
    two.split_at_mut(numbers).into()
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
