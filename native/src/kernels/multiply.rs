//! Owns: the product of some rows of a weight with some rows of activations, whatever the weight's format.
//! Refuses to know: what the rows are for, threads.
//!
//! Weights that activations meet as floats become a panel of floats where rows are more than a few. Of others
//! one row is multiplied where it lies; for more, rows of weights are laid side by side, or rows of activations
//! (`Activations::lay`), as the processor's kernels are. A product's bits are the same either way.

use super::Activations;
use crate::context::Weight;
use crate::formats::{Family, Format};
use crate::map::{Mat, MatMut};
use crate::pool::Scratch;
use crate::simd::{Floats, Kernels, Lanes, Row};
use std::ops::Range;

/// Up to so many rows are multiplied where they lie.
const FEW: usize = 4;

/// Up to so many rows, weights are worth reading in long streams, where they are read once.
const STREAMED: usize = 16;

/// Rows of activations, as floats and as what they were rounded to.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub x: Mat<'a>,
    pub rounded: &'a Activations,
}

/// One piece of a product: rows `rows` of an expert's matrix.
pub struct Piece<'a> {
    pub weight: &'a Weight,
    pub expert: usize,
    pub rows: Range<usize>,
}

/// Rows of activations that meet the same weights, and the sets of lanes that they were laid in, if they were.
pub struct List<'a> {
    pub rows: &'a [usize],
    pub sets: Range<usize>,
}

impl List<'_> {
    /// Whether so many rows are worth laying side by side.
    pub fn is_long(rows: &[usize]) -> bool {
        rows.len() > FEW
    }

    /// Whether so many rows meet weights that are read once, as they come, rather than kept in a cache.
    pub fn is_streamed(rows: &[usize], kernels: &Kernels, format: Format) -> bool {
        !Self::is_long(rows) || (rows.len() <= STREAMED && kernels.panels[format as usize].is_some())
    }
}

/// out[n][r] = weight row rows.start + r . the n-th row of the list, or out += that; scratch's `floats` stay the caller's.
pub fn multiply(
    kernels: &Kernels,
    piece: Piece<'_>,
    activations: Rows<'_>,
    list: &List<'_>,
    (out, add): (&mut MatMut<'_>, bool),
    scratch: &mut Scratch,
) {
    let Piece { weight, expert, ref rows } = piece;
    if let Some(panels) = kernels.panels[weight.format as usize]
        && weight.scales.is_none()
        && list.rows.len() >= panels.from
    {
        let row = |&i: &usize| activations.rounded.row(weight.family(), &activations.x, i);
        let xs: Vec<Row> = list.rows.iter().map(row).collect();
        return (panels.run)(weight.rows_of(expert, rows.start, rows.end), &xs, &mut scratch.panel, out, add);
    }
    if let Some(out) = out.in_one_run().filter(|_| !add) {
        return multiply_in_one_run(kernels, piece, activations, list, out, scratch);
    }
    let mut products = std::mem::take(&mut scratch.products);
    let of_list = products.ensure(list.rows.len() * rows.len()); // [list, rows]
    let cols = rows.len();
    multiply_in_one_run(kernels, piece, activations, list, of_list, scratch);
    for (n, products) in of_list.chunks_exact(cols).enumerate() {
        if add {
            (kernels.add)(out.row(n), products);
        } else {
            out.row(n).copy_from_slice(products);
        }
    }
    scratch.products = products;
}

/// out[n][r] = silu(g) * u, where g and u are what `multiply` gives of the two pieces; scratch's `floats` are used.
pub fn multiply_gated(
    kernels: &Kernels,
    [gate, up]: [Piece<'_>; 2],
    activations: Rows<'_>,
    list: &List<'_>,
    out: &mut MatMut<'_>,
    scratch: &mut Scratch,
) {
    let mut floats = std::mem::take(&mut scratch.floats);
    let mut ups = MatMut::over(floats.ensure(out.rows() * out.cols()), out.cols());
    multiply(kernels, gate, activations, list, (out, false), scratch);
    multiply(kernels, up, activations, list, (&mut ups, false), scratch);
    for n in 0..out.rows() {
        (kernels.swiglu)(out.row(n), ups.row(n));
    }
    scratch.floats = floats;
}

/// As `multiply` without panels, to rows that lie one after the other.
fn multiply_in_one_run(
    kernels: &Kernels,
    Piece { weight, expert, rows }: Piece<'_>,
    activations: Rows<'_>,
    list: &List<'_>,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let family = weight.family();
    let as_dots = family == Family::Floats && kernels.floats_as_dots && List::is_long(list.rows);
    if weight.scales.is_some() || as_dots {
        return as_floats(kernels, Piece { weight, expert, rows }, activations.x, list.rows, out, scratch);
    }
    let bytes = weight.rows_of(expert, rows.start, rows.end);
    if let Some(lanes_kernel) = kernels.lanes[weight.format as usize]
        && !list.sets.is_empty()
    {
        let sets: Vec<Lanes> = list.sets.clone().map(|set| activations.rounded.lanes(family, set)).collect();
        return lanes_kernel(bytes, &sets, list.rows.len(), &mut scratch.panel, out);
    }
    let rows_kernel = kernels.rows[weight.format as usize];
    for (some, out) in list.rows.chunks(FEW).zip(out.chunks_mut(FEW * rows.len())) {
        let mut xs = [Row::default(); FEW];
        for (x, &i) in xs.iter_mut().zip(some) {
            *x = activations.rounded.row(family, &activations.x, i);
        }
        rows_kernel(bytes, &xs[..some.len()], out);
    }
}

/// Weight rows that are decoded together for many rows of activations, which take turns in blocks of so many.
const PANEL: usize = 32;
const BLOCK: usize = 16;

/// As `multiply_in_one_run`, for weights that become floats: block-scaled ones in registers for few rows, all into a panel
/// for more, to the same bits.
fn as_floats(
    kernels: &Kernels,
    Piece { weight, expert, rows }: Piece<'_>,
    x: Mat<'_>,
    list: &[usize],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    if let Some(kernel) = kernels.scaled
        && list.len() <= FEW
        && let Some(codes) = weight.scaled_rows(expert, rows.clone())
    {
        let mut xs = [Row::default(); FEW];
        for (x_row, &i) in xs.iter_mut().zip(list) {
            x_row.floats = x.row(i);
        }
        return kernel(codes, &xs[..list.len()], out);
    }
    let (cols, across) = (weight.cols, rows.len());
    let gathered = scratch.more_floats.ensure(BLOCK * cols);
    for from in (0..across).step_by(PANEL) {
        let here = PANEL.min(across - from);
        let panel = scratch.panel.ensure(here * cols);
        for (r, decoded) in panel.chunks_exact_mut(cols).enumerate() {
            weight.decode_row(kernels, expert, rows.start + from + r, decoded);
        }
        let panel = Floats { numbers: panel, stride: cols, rows: here, cols };
        for (block, some) in list.chunks(BLOCK).enumerate() {
            let numbers = together(x, some, gathered);
            let block_of = Floats { numbers, stride: cols, rows: some.len(), cols };
            (kernels.dots)(block_of, panel, &mut out[block * BLOCK * across + from..], across);
        }
    }
}

/// Rows of x one after the other: where they lie, or gathered.
fn together<'a>(x: Mat<'a>, rows: &[usize], gathered: &'a mut [f32]) -> &'a [f32] {
    let in_order = rows.windows(2).all(|two| two[1] == two[0] + 1);
    if let Some(numbers) = rows.first().filter(|_| in_order).and_then(|&first| x.run(first..first + rows.len())) {
        return numbers;
    }
    for (to, &i) in gathered.chunks_exact_mut(x.cols()).zip(rows) {
        to.copy_from_slice(x.row(i));
    }
    gathered
}
