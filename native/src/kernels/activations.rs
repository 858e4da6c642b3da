//! Owns: activations rounded to int8, once for all products of a matrix multiplication.
//! Refuses to know: weights.

use super::multiply::List;
use crate::formats::{Family, Format};
use crate::map::{Buffer, Mat, MatMut, as_bytes, as_bytes_mut, as_ints, as_ints_mut, as_shorts, as_shorts_mut};
use crate::pool::{Grid, Pool};
use crate::simd::weave::{SHORTS, shorten, weave32, weave256};
use crate::simd::{Kernels, Lanes, Row};
use std::ops::Range;

/// Rows [q | scale | sums | scaled sums | woven q | short sums], each part beginning at a cache line; rounded anew by every `fill`.
#[derive(Default)]
pub struct Activations {
    by32: Rounded,
    by256: Rounded,
}

#[derive(Default)]
struct Rounded {
    words: Buffer<f32>,
    layout: Layout,
    /// Sets of sixteen rows side by side, of `set_words` each.
    laid: Buffer<f32>,
    cols: usize,
}

/// Rows in a set.
const LANES: usize = 16;

/// Words of the parts of a row.
#[derive(Clone, Copy, Default)]
struct Layout {
    q: usize,
    scale: usize,
    sums: usize,
    scaled_sums: usize,
    woven: usize,
    short_sums: usize,
}

const LINE_WORDS: usize = 16;

impl Layout {
    fn of(family: Family, cols: usize, woven: bool, shortened: bool) -> Self {
        let lines = |words: usize| words.next_multiple_of(LINE_WORDS);
        let blocks = lines(cols / 32);
        let mut layout = match family {
            Family::Blocks256 => {
                Self { q: lines(cols / 4), scale: lines(cols / 256), sums: lines(cols / 16), ..Self::default() }
            }
            // Kernels may take 16 blocks at once: blocks beyond the last are zeros.
            _ => Self { q: blocks * 8, scale: blocks, sums: blocks, scaled_sums: blocks, ..Self::default() },
        };
        if woven {
            layout.woven = layout.q;
        }
        if shortened && family == Family::Blocks256 {
            layout.short_sums = lines(cols / 256 * SHORTS / 2);
        }
        layout
    }

    fn words(&self) -> usize {
        self.q + self.scale + self.sums + self.scaled_sums + self.woven + self.short_sums
    }
}

/// Rows are rounded by several threads from this many numbers on.
const SHARED_NUMBERS: usize = 1 << 14;

impl Activations {
    /// Rounds the rows of x for the families that are wanted; `few` where some of its lists are not long.
    pub fn fill(&mut self, pool: &mut Pool, kernels: &Kernels, x: Mat<'_>, wants: impl Fn(Family) -> bool, few: bool) {
        let woven = few && kernels.woven;
        if wants(Family::Blocks32) {
            self.by32.fill(pool, kernels, x, Family::Blocks32, woven);
        }
        if wants(Family::Blocks256) {
            self.by256.fill(pool, kernels, x, Family::Blocks256, woven);
        }
    }

    /// Lays the rows of long lists side by side, for the families whose weights profit; call after `fill`.
    pub fn lay<'a>(
        &mut self,
        pool: &mut Pool,
        kernels: &Kernels,
        formats: &[Format],
        lists: impl Iterator<Item = &'a [usize]>,
    ) -> Vec<List<'a>> {
        let profits = |family: Family| {
            formats.iter().any(|&f| f.family() == family && kernels.lanes[f as usize].is_some())
        };
        let (lay32, lay256) = (profits(Family::Blocks32), profits(Family::Blocks256));
        let mut sets: Vec<&[usize]> = Vec::new();
        let lists = lists
            .map(|rows| {
                let first = sets.len();
                if (lay32 || lay256) && List::is_long(rows) {
                    sets.extend(rows.chunks(LANES));
                }
                List { rows, sets: first..sets.len() }
            })
            .collect();
        if lay32 {
            self.by32.lay(pool, &sets, Family::Blocks32);
        }
        if lay256 {
            self.by256.lay(pool, &sets, Family::Blocks256);
        }
        lists
    }

    /// Row i of x in the form that a family wants.
    pub fn row<'a>(&'a self, family: Family, x: &Mat<'a>, i: usize) -> Row<'a> {
        match family {
            Family::Floats => Row { floats: x.row(i), ..Row::default() },
            Family::Blocks32 => self.by32.row(i),
            Family::Blocks256 => self.by256.row(i),
        }
    }

    /// A set of lanes that `lay` has laid.
    pub fn lanes(&self, family: Family, set: usize) -> Lanes<'_> {
        if family == Family::Blocks256 { self.by256.lanes(set, family) } else { self.by32.lanes(set, family) }
    }
}

impl Rounded {
    fn fill(&mut self, pool: &mut Pool, kernels: &Kernels, x: Mat<'_>, family: Family, woven: bool) {
        let layout = Layout::of(family, x.cols(), woven, kernels.woven);
        self.layout = layout;
        self.cols = x.cols();
        let words = self.words.ensure(layout.words() * x.rows());
        let one = |row: &mut [f32], x: &[f32]| {
            let (q, rest) = row.split_at_mut(layout.q);
            let (scale, rest) = rest.split_at_mut(layout.scale);
            let (sums, rest) = rest.split_at_mut(layout.sums);
            let (scaled_sums, rest) = rest.split_at_mut(layout.scaled_sums);
            let (woven_q, shorts) = rest.split_at_mut(layout.woven);
            let (q, sums, woven_q) = (as_bytes_mut(q), as_ints_mut(sums), as_bytes_mut(woven_q));
            if family == Family::Blocks256 {
                (kernels.quantize256)(x, q, scale, sums);
                if woven {
                    weave256(q, woven_q);
                }
                if kernels.woven {
                    shorten(sums, as_shorts_mut(shorts));
                }
                return;
            }
            (kernels.quantize32)(x, q, scale, sums, scaled_sums);
            q[x.len()..].fill(0);
            scale[x.len() / 32..].fill(0.0);
            sums[x.len() / 32..].fill(0);
            scaled_sums[x.len() / 32..].fill(0.0);
            if woven {
                weave32(q, woven_q);
            }
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
        let (sums, rest) = rest.split_at(self.layout.sums);
        let (scaled_sums, rest) = rest.split_at(self.layout.scaled_sums);
        let (woven, shorts) = rest.split_at(self.layout.woven);
        let (q, sums, woven, short_sums) = (as_bytes(q), as_ints(sums), as_bytes(woven), as_shorts(shorts));
        Row { floats: &[], q, scale, sums, scaled_sums, woven, short_sums }
    }

    fn lay(&mut self, pool: &mut Pool, sets: &[&[usize]], family: Family) {
        if sets.is_empty() {
            return;
        }
        let parts = set_parts(self.cols, family);
        let set_words = parts[4].end;
        let mut laid = std::mem::take(&mut self.laid);
        let out = MatMut::over(laid.ensure(set_words * sets.len()), set_words);
        pool.grids(vec![Grid { out, tile_rows: 1, tile_cols: set_words }], &|tile, _| {
            let set = tile.out.row(0);
            for lane in 0..LANES {
                match sets[tile.rows.start].get(lane) {
                    Some(&i) => lay_row(&self.row(i), set, lane, &parts, family),
                    None => set[lane..].iter_mut().step_by(LANES).for_each(|x| *x = 0.0),
                }
            }
        });
        self.laid = laid;
    }

    fn lanes(&self, set: usize, family: Family) -> Lanes<'_> {
        let [q, scale, sums, sums_of_32, scaled_sums] = set_parts(self.cols, family);
        let words = &self.laid[set * scaled_sums.end..(set + 1) * scaled_sums.end];
        Lanes {
            q: as_ints(&words[q]),
            scale: &words[scale],
            sums: as_ints(&words[sums]),
            sums_of_32: as_ints(&words[sums_of_32]),
            scaled_sums: &words[scaled_sums],
        }
    }
}

/// Where q, scale, sums, sums of 32 and scaled sums lie in a set.
fn set_parts(cols: usize, family: Family) -> [Range<usize>; 5] {
    let lines = match family {
        Family::Blocks256 => [cols / 4, cols / 256, cols / 32, cols / 64, 0],
        _ => [cols / 4, cols / 32, cols / 32, 0, cols / 32],
    };
    let mut end = 0;
    lines.map(|lines| {
        end += lines * LANES;
        end - lines * LANES..end
    })
}

fn lay_row(row: &Row, set: &mut [f32], lane: usize, parts: &[Range<usize>; 5], family: Family) {
    let [q, scale, sums, sums_of_32, scaled_sums] = parts;
    let bits = |x: i32| f32::from_bits(x.cast_unsigned());
    let pair = |low: i32, high: i32| bits((low & 0xffff) | high << 16);
    let (words, _) = row.q.as_chunks::<4>();
    side_by_side(&mut set[q.clone()], lane, words.iter().map(|&[a, b, c, d]| bits(i32::from_le_bytes([a, b, c, d].map(i8::cast_unsigned)))));
    side_by_side(&mut set[scale.clone()], lane, row.scale.iter().copied());
    if family == Family::Blocks256 {
        side_by_side(&mut set[sums.clone()], lane, row.sums.as_chunks::<2>().0.iter().map(|&[a, b]| pair(a, b)));
        side_by_side(&mut set[sums_of_32.clone()], lane, row.sums.as_chunks::<4>().0.iter().map(|&[a, b, c, d]| pair(a + b, c + d)));
    } else {
        side_by_side(&mut set[sums.clone()], lane, row.sums.iter().map(|&sum| bits(sum)));
        side_by_side(&mut set[scaled_sums.clone()], lane, row.scaled_sums.iter().copied());
    }
}

fn side_by_side(part: &mut [f32], lane: usize, numbers: impl Iterator<Item = f32>) {
    for (to, x) in part.chunks_exact_mut(LANES).zip(numbers) {
        to[lane] = x;
    }
}
