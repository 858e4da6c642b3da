//! Owns: encoding eight blocks of ternary points at a time: where points, moves and scales of IQ1 lie.
//! Refuses to know: the search for them.
//!
//! Layouts as in `src/dtypes/iq1.ts`, whose bytes these are.

use super::grid_search::Grid;
use super::k_blocks::Places;
use super::search::Search;
use super::shifted_grid::{FittedShifts, ShiftedKind};
use super::super_blocks::half_bytes;
use super::weighting::{Batch, PlainWeight, Surroundings, Weighted};
use crate::simd::iq_grids::IQ1S;
use std::sync::LazyLock;

const SHIFT: f64 = 0.125;

static KIND_IQ1_S: LazyLock<ShiftedKind> =
    LazyLock::new(|| ShiftedKind { grid: Grid::new(&IQ1S), size: 32, run: 32, shift: SHIFT });
static KIND_IQ1_M: LazyLock<ShiftedKind> =
    LazyLock::new(|| ShiftedKind { grid: Grid::new(&IQ1S), size: 16, run: 8, shift: SHIFT });

#[inline(always)]
fn fitted<D: Search>(batch: &Batch<'_>, kind: &ShiftedKind) -> FittedShifts<D> {
    let all = Weighted::<D, 256>::new(batch, Surroundings::Block(2), PlainWeight::Square);
    D::shifted(&all.x, &all.w, kind)
}

/// f16 d; u8 q[32]; u16 high[8]
#[inline(always)]
pub fn iq1_s<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let FittedShifts { d, scales, down, entries } = fitted::<D>(batch, &KIND_IQ1_S);
    let (d, scales, down) = (d.store(), scales.map(D::store), down.map(D::store));
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        out[..2].copy_from_slice(&half_bytes(d[lane]));
        for (g, entries) in entries[lane].as_chunks::<4>().0.iter().enumerate() {
            let mut high = (scales[g][lane] as u16) << 12 | (down[g][lane] as u16) << 15;
            for (l, &entry) in entries.iter().enumerate() {
                out[2 + 4 * g + l] = entry as u8;
                high |= (entry >> 8) << (3 * l);
            }
            out[34 + 2 * g..36 + 2 * g].copy_from_slice(&high.to_le_bytes());
        }
    }
}

/// u8 q[32]; u8 high[16]; u16 c[4]
#[inline(always)]
pub fn iq1_m<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    let FittedShifts { d, scales, down, entries } = fitted::<D>(batch, &KIND_IQ1_M);
    let (d, scales, down) = (d.store(), scales.map(D::store), down.map(D::store));
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        for (k, &entry) in entries[lane].iter().enumerate() {
            out[k] = entry as u8;
            out[32 + k / 2] |= ((entry >> 8) as u8 | (down[k][lane] as u8) << 3) << (k % 2 * 4);
        }
        let half = u16::from_le_bytes(half_bytes(d[lane]));
        for (i, scales) in scales.as_chunks::<4>().0.iter().enumerate() {
            let nibble = (half >> (4 * i) & 15) << 12;
            let c = scales.iter().rev().fold(0, |c, scale| c << 3 | scale[lane] as u16) | nibble;
            out[48 + 2 * i..50 + 2 * i].copy_from_slice(&c.to_le_bytes());
        }
    }
}
