//! Owns: activations rounded to int8, once for all products of a matrix multiplication.
//! Refuses to know: weights.

use crate::formats::Family;
use crate::map::{Buffer, Mat, MatMut, as_bytes, as_bytes_mut, as_ints, as_ints_mut};
use crate::pool::{Grid, Pool};
use crate::simd::{Kernels, Row};

/// Rows [q | scale | sums | scaled sums], each part beginning at a cache line; rounded anew by every `fill`.
#[derive(Default)]
pub struct Activations {
    by32: Rounded,
    by256: Rounded,
}

#[derive(Default)]
struct Rounded {
    words: Buffer<f32>,
    layout: Layout,
}

/// Words of the parts of a row.
#[derive(Clone, Copy, Default)]
struct Layout {
    q: usize,
    scale: usize,
    sums: usize,
    scaled_sums: usize,
}

const LINE_WORDS: usize = 16;

impl Layout {
    fn of(family: Family, cols: usize) -> Self {
        let lines = |words: usize| words.next_multiple_of(LINE_WORDS);
        match family {
            Family::Blocks256 => {
                Self { q: lines(cols / 4), scale: lines(cols / 256), sums: lines(cols / 16), scaled_sums: 0 }
            }
            // Kernels may take 16 blocks at once: blocks beyond the last are zeros.
            _ => {
                let blocks = lines(cols / 32);
                Self { q: blocks * 8, scale: blocks, sums: blocks, scaled_sums: blocks }
            }
        }
    }

    fn words(&self) -> usize {
        self.q + self.scale + self.sums + self.scaled_sums
    }
}

/// Rows are rounded by several threads from this many numbers on.
const SHARED_NUMBERS: usize = 1 << 14;

impl Activations {
    /// Rounds the rows of x for the families that are wanted.
    pub fn fill(&mut self, pool: &mut Pool, kernels: &Kernels, x: Mat<'_>, want32: bool, want256: bool) {
        if want32 {
            self.by32.fill(pool, kernels, x, Family::Blocks32);
        }
        if want256 {
            self.by256.fill(pool, kernels, x, Family::Blocks256);
        }
    }

    /// Row i of x in the form that a family wants.
    pub fn row<'a>(&'a self, family: Family, x: &Mat<'a>, i: usize) -> Row<'a> {
        match family {
            Family::Floats => Row { floats: x.row(i), ..Row::default() },
            Family::Blocks32 => self.by32.row(i),
            Family::Blocks256 => self.by256.row(i),
        }
    }
}

impl Rounded {
    fn fill(&mut self, pool: &mut Pool, kernels: &Kernels, x: Mat<'_>, family: Family) {
        let layout = Layout::of(family, x.cols());
        self.layout = layout;
        let words = self.words.ensure(layout.words() * x.rows());
        let one = |row: &mut [f32], x: &[f32]| {
            let (q, rest) = row.split_at_mut(layout.q);
            let (scale, rest) = rest.split_at_mut(layout.scale);
            let (sums, scaled_sums) = rest.split_at_mut(layout.sums);
            let (q, sums) = (as_bytes_mut(q), as_ints_mut(sums));
            if family == Family::Blocks256 {
                (kernels.quantize256)(x, q, scale, sums);
                return;
            }
            (kernels.quantize32)(x, q, scale, sums, scaled_sums);
            q[x.len()..].fill(0);
            scale[x.len() / 32..].fill(0.0);
            sums[x.len() / 32..].fill(0);
            scaled_sums[x.len() / 32..].fill(0.0);
        };
        if x.rows() * x.cols() < SHARED_NUMBERS {
            for (i, row) in words.chunks_exact_mut(layout.words()).enumerate() {
                one(row, x.row(i));
            }
            return;
        }
        let out = MatMut::over(words, layout.words());
        let tile_rows = (SHARED_NUMBERS / 2).div_ceil(x.cols());
        pool.grids(vec![Grid { out, tile_rows, tile_cols: layout.words() }], &|tile, _| {
            for i in tile.rows.clone() {
                one(tile.out.row(i - tile.rows.start), x.row(i));
            }
        });
    }

    fn row(&self, i: usize) -> Row<'_> {
        let row = &self.words[i * self.layout.words()..(i + 1) * self.layout.words()];
        let (q, rest) = row.split_at(self.layout.q);
        let (scale, rest) = rest.split_at(self.layout.scale);
        let (sums, scaled_sums) = rest.split_at(self.layout.sums);
        Row { floats: &[], q: as_bytes(q), scale, sums: as_ints(sums), scaled_sums }
    }
}
