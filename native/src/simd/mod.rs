//! Owns: which kernels run on this processor: one table for each instruction set, chosen at run time.
//! Refuses to know: tensors, threads, operations.

pub mod blocks;
pub mod doubles;
mod featured;
pub mod iq_grids;
pub mod lattice;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_blocks;
#[cfg(target_arch = "aarch64")]
mod neon_dots;
#[cfg(target_arch = "aarch64")]
mod neon_floats;
#[cfg(target_arch = "aarch64")]
mod neon_instructions;
#[cfg(target_arch = "aarch64")]
mod neon_lanes;
#[cfg(target_arch = "aarch64")]
mod neon_rows;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod panels;
pub mod scalar;
pub mod unpack;
pub mod weave;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_blocks;
#[cfg(target_arch = "x86_64")]
mod x86_floats;
#[cfg(target_arch = "x86_64")]
mod avx2_k;
#[cfg(target_arch = "x86_64")]
mod avx2_lanes;
#[cfg(target_arch = "x86_64")]
mod avx2_lattice;
#[cfg(target_arch = "x86_64")]
mod avx2_rows;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_blocks;
#[cfg(target_arch = "x86_64")]
mod avx512_laid;
#[cfg(target_arch = "x86_64")]
mod avx512_panels;
#[cfg(target_arch = "x86_64")]
mod avx512_rounding;
#[cfg(target_arch = "x86_64")]
mod avx512_rows;
#[cfg(target_arch = "x86_64")]
mod products;

/// Bytes that memory gives at once.
pub const LINE_BYTES: usize = 64;

/// Asks memory for the line at an address, whatever is there; does nothing on processors that are asked in another way.
pub fn ask_for(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: asking for memory never faults, wherever it is.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod twins;

use crate::error::{Fault, Outcome};
use crate::formats::Format;
use crate::map::{Buffer, MatMut};

/// One row of activations in the forms that kernels want; only those that were asked for are filled.
#[derive(Clone, Copy, Default)]
pub struct Row<'a> {
    /// [cols]
    pub floats: &'a [f32],
    /// [cols], int8
    pub q: &'a [i8],
    /// One for every 32 (or 256) numbers.
    pub scale: &'a [f32],
    /// Sum of the int8 of every 32 (or, for blocks of 256, 16) numbers.
    pub sums: &'a [i32],
    /// scale * sum for every 32 numbers; empty for blocks of 256.
    pub scaled_sums: &'a [f32],
    /// q once more, as `weave` orders it, where `Kernels::woven` wants it.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub woven: &'a [i8],
    /// Blocks of 256: the sums as `weave` shortens them.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub short_sums: &'a [i16],
}

/// A matrix of floats: row i is `numbers[i * stride..][..cols]`.
#[derive(Clone, Copy)]
pub struct Floats<'a> {
    pub numbers: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub cols: usize,
}

impl<'a> Floats<'a> {
    fn row(&self, i: usize) -> &'a [f32] {
        &self.numbers[i * self.stride..][..self.cols]
    }
}

/// A product of matrices: (a, b, out, stride of out). An element's bits depend on its own row and column alone.
pub type ProductFn = fn(a: Floats, b: Floats, out: &mut [f32], stride: usize);
/// Sixteen rows of activations side by side: number t of every sixteen belongs to row t.
#[derive(Clone, Copy)]
pub struct Lanes<'a> {
    /// [cols / 4][16], four int8 each
    pub q: &'a [i32],
    /// [blocks][16]
    pub scale: &'a [f32],
    /// Blocks of 32: sums of int8, [blocks][16]. Blocks of 256: those of every 32 numbers, two i16 of 16 numbers each.
    pub sums: &'a [i32],
    /// Blocks of 256: those of every 64 numbers, two i16 of 32 numbers each.
    pub sums_of_32: &'a [i32],
    /// Blocks of 32: scale * sum, [blocks][16].
    pub scaled_sums: &'a [f32],
}

impl Lanes<'_> {
    /// Whether there is all that `blocks` blocks of `numbers` numbers need.
    fn fits(&self, blocks: usize, numbers: usize) -> bool {
        let lines = |len: usize| len / 16;
        let sums = if numbers == 32 {
            lines(self.sums.len()) >= blocks && lines(self.scaled_sums.len()) >= blocks
        } else {
            lines(self.sums.len()) >= 8 * blocks && lines(self.sums_of_32.len()) >= 4 * blocks
        };
        sums && lines(self.scale.len()) == blocks && lines(self.q.len()) >= blocks * numbers / 4
    }
}

/// out[t][r] = weight row r . row t of the lanes, for t below the count, with the bits that `RowsFn` gives.
pub type LanesFn = fn(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]);
/// Rows of E4M3 codes that lie one after the other; every block of them has a factor.
#[derive(Clone, Copy)]
pub struct Scaled<'a> {
    pub codes: &'a [u8],
    pub cols: usize,
    /// [row blocks, col blocks]
    pub factors: &'a [f32],
    /// Rows of the first block of rows that come before the first row here.
    pub before: usize,
    pub block_rows: usize,
    pub block_cols: usize,
}

impl<'a> Scaled<'a> {
    pub fn row(&self, r: usize) -> &'a [u8] {
        &self.codes[r * self.cols..(r + 1) * self.cols]
    }

    /// The factors of a row, one for each `block_cols` columns.
    pub fn factors_of(&self, r: usize) -> &'a [f32] {
        let across = self.cols.div_ceil(self.block_cols);
        &self.factors[(self.before + r) / self.block_rows * across..][..across]
    }
}

/// out[x][r] = weight row r . xs[x] with the bits that `dots` gives with the weights as floats; blocks are as wide as
/// some vectors of `SCALED_STEP` columns.
pub type ScaledFn = fn(weights: Scaled, xs: &[Row], out: &mut [f32]);
/// What columns of blocks are a multiple of where `ScaledFn` multiplies them.
pub const SCALED_STEP: usize = 16;
/// out[x][r] = weight row r . xs[x]; the weight rows lie one after the other. A product's bits depend on its two rows.
pub type RowsFn = fn(weights: &[u8], xs: &[Row], out: &mut [f32]);
/// out[x][r] = weight row r . xs[x], or out += that: to the bits of `RowsFn`, in `work`. Activations need not be woven.
pub type PanelsFn = fn(weights: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool);
/// Products with several rows of activations by `run`, faster than `rows` and `lanes` from so many rows on.
#[derive(Clone, Copy)]
pub struct Panels {
    pub from: usize,
    pub run: PanelsFn,
}
/// Rounds x to int8 with a scale for every 32 numbers: (x, q, scale, sums of 32, scale * sum).
pub type Quantize32Fn = fn(&[f32], &mut [i8], &mut [f32], &mut [i32], &mut [f32]);
/// Rounds x to int8 with a scale for every 256 numbers: (x, q, scale, sums of 16).
pub type Quantize256Fn = fn(&[f32], &mut [i8], &mut [f32], &mut [i32]);

/// Encodes rows of `cols` numbers: (format, x, importance, cols, bytes).
pub type EncodeFn = fn(Format, &[f32], &[f32], usize, &mut [u8]);

/// The kernels of one instruction set. All compute what those of `scalar` compute, up to the order of f32 sums.
pub struct Kernels {
    pub isa: &'static str,
    /// By `Format as usize`.
    pub rows: [RowsFn; Format::ALL.len()],
    /// Whether `rows` want activations woven.
    pub woven: bool,
    /// By `Format as usize`; faster than `rows` from a few rows on, where there is one.
    pub lanes: [Option<LanesFn>; Format::ALL.len()],
    /// By `Format as usize`.
    pub panels: [Option<Panels>; Format::ALL.len()],
    /// Whether `rows` of numbers by themselves give the bits that `dots` gives with the weights as floats.
    pub floats_as_dots: bool,
    /// Products of block-scaled E4M3 that are decoded in registers.
    pub scaled: Option<ScaledFn>,
    pub quantize32: Quantize32Fn,
    pub quantize256: Quantize256Fn,
    /// Sum of x[i]^2.
    pub squares: fn(x: &[f32]) -> f32,
    /// gate[i] = silu(gate[i]) * up[i]
    pub swiglu: fn(gate: &mut [f32], up: &[f32]),
    /// x[i] = exp(x[i] * scale - largest), where `largest` is the largest x[i] * scale; it and their sum.
    pub exponentials: fn(x: &mut [f32], scale: f32) -> (f32, f32),
    /// out[i] += x[i]
    pub add: fn(out: &mut [f32], x: &[f32]),
    /// out[i] += factor * x[i]
    pub add_scaled: fn(out: &mut [f32], factor: f32, x: &[f32]),
    /// out[i][j] = a[i] . b[j]
    pub dots: ProductFn,
    /// out[i] += sum over k of a[i][k] * b[k]
    pub sums: ProductFn,
    /// Numbers of f16 to f32.
    pub from_half: fn(bytes: &[u8], out: &mut [f32]),
    /// Numbers of f32 to f16, nearest even.
    pub to_half: fn(x: &[f32], bytes: &mut [u8]),
    /// So many rounds of products of bytes, each round of `round_operations`: the limit of integer kernels.
    pub multiply_bytes: fn(rounds: usize) -> i32,
    pub round_operations: usize,
    /// Decodes a row of weights.
    pub decode: fn(format: Format, bytes: &[u8], out: &mut [f32]),
    /// Encodes rows of numbers, see `crate::encode`.
    pub encode: EncodeFn,
}

/// The tables that this processor can run, best first.
pub fn available() -> Vec<&'static Kernels> {
    let mut tables: Vec<&'static Kernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        tables.extend(avx512::kernels());
        tables.extend(avx2::kernels());
    }
    #[cfg(target_arch = "aarch64")]
    tables.extend(neon::kernels());
    tables.push(&scalar::KERNELS);
    tables
}

/// The table of a name, or the best one for an empty name.
pub fn choose(isa: &str) -> Outcome<&'static Kernels> {
    let tables = available();
    let found = if isa.is_empty() { tables.first() } else { tables.iter().find(|table| table.isa == isa) };
    found.copied().ok_or_else(|| {
        let names: Vec<_> = tables.iter().map(|table| table.isa).collect();
        Fault::new("isa-unsupported", "HADAL_ISA")
            .expected(format!("one of {}", names.join(", ")))
            .got(isa)
            .next("unset it to let Hadal choose")
    })
}
