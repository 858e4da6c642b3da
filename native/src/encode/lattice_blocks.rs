//! Owns: encoding eight blocks of points at a time: where points, signs and scales of IQ2 and IQ3 lie.
//! Refuses to know: the search for scales and points.
//!
//! Layouts as in `src/dtypes`, whose bytes these are.

use super::grid_fit::{GridKind, take_signs};
use super::grid_search::Grid;
use super::k_blocks::Places;
use super::search::Search;
use super::super_blocks::half_bytes;
use super::weighting::{Batch, PlainWeight, Surroundings, Weighted};
use crate::simd::doubles::LANES;
use crate::simd::iq_grids::{IQ2S, IQ2XS, IQ2XXS, IQ3S, IQ3XXS};
use std::sync::LazyLock;

static KIND_IQ3_XXS: LazyLock<GridKind> = LazyLock::new(|| GridKind { grid: Grid::new(&IQ3XXS), size: 32, unit: 0.25 });
static KIND_IQ3_S: LazyLock<GridKind> = LazyLock::new(|| GridKind { grid: Grid::new(&IQ3S), size: 32, unit: 1.0 });
static KIND_IQ2_XXS: LazyLock<GridKind> =
    LazyLock::new(|| GridKind { grid: Grid::new(&IQ2XXS), size: 32, unit: 0.125 });
static KIND_IQ2_XS: LazyLock<GridKind> = LazyLock::new(|| GridKind { grid: Grid::new(&IQ2XS), size: 16, unit: 0.125 });
static KIND_IQ2_S: LazyLock<GridKind> = LazyLock::new(|| GridKind { grid: Grid::new(&IQ2S), size: 16, unit: 0.125 });

/// What one block holds.
struct Held<'a> {
    half: [u8; 2],
    scales: [u8; 16],
    signs: [u8; 32],
    entries: &'a [u16],
}

/// The eight blocks one after the other, each with its place.
#[inline(always)]
fn each<D: Search>(
    batch: &Batch<'_>,
    out: Places<'_>,
    kind: &GridKind,
    (times, even): (u8, bool),
    put: impl Fn(&mut [u8], &Held<'_>),
) {
    let mut all = Weighted::<D, 256>::new(batch, Surroundings::Block(times), PlainWeight::Square);
    let signs = take_signs(&mut all.x, &all.w, even);
    let fitted = D::grid(&all.x, &all.w, kind);
    let (d, scales) = (fitted.d.store(), fitted.scales.map(D::store));
    for (lane, out) in out.into_iter().enumerate() {
        let Some(out) = out else { continue };
        let held = Held {
            half: half_bytes(d[lane]),
            scales: scales.map(|lanes: [f64; LANES]| lanes[lane] as u8),
            signs: signs[lane],
            entries: &fitted.entries[lane][..256 / kind.grid.dimensions],
        };
        put(out, &held);
    }
}

/// Four times seven bits of signs and four bits of scale.
fn even_signs(signs: &[u8], scale: u8) -> [u8; 4] {
    let signs = signs.iter().rev().fold(0, |word, &eight| word << 7 | u32::from(eight & 127));
    (signs | u32::from(scale) << 28).to_le_bytes()
}

/// Nibbles of scale, two in each byte.
fn put_scales(out: &mut [u8], scales: &[u8]) {
    for (out, two) in out.iter_mut().zip(scales.as_chunks::<2>().0) {
        *out = two[0] | two[1] << 4;
    }
}

/// f16 d; u8 point[64]; u32 w[8]
#[inline(always)]
pub fn iq3_xxs<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    each::<D>(batch, out, &KIND_IQ3_XXS, (2, true), |out, held| {
        out[..2].copy_from_slice(&held.half);
        for (out, &entry) in out[2..66].iter_mut().zip(held.entries) {
            *out = entry as u8;
        }
        for (g, out) in out[66..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *out = even_signs(&held.signs[4 * g..4 * g + 4], held.scales[g]);
        }
    });
}

/// f16 d; u8 q[64]; u8 high[8]; u8 signs[32]; u8 scale[4]
#[inline(always)]
pub fn iq3_s<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    each::<D>(batch, out, &KIND_IQ3_S, (2, false), |out, held| {
        out[..2].copy_from_slice(&held.half);
        for (k, &entry) in held.entries.iter().enumerate() {
            out[2 + k] = entry as u8;
            out[66 + k / 8] |= ((entry >> 8) as u8) << (k % 8);
        }
        out[74..106].copy_from_slice(&held.signs);
        put_scales(&mut out[106..], &held.scales);
    });
}

/// f16 d; for every 32 values u8 point[4] and u32 w
#[inline(always)]
pub fn iq2_xxs<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    each::<D>(batch, out, &KIND_IQ2_XXS, (1, true), |out, held| {
        out[..2].copy_from_slice(&held.half);
        for (g, out) in out[2..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            for (out, &entry) in out.iter_mut().zip(&held.entries[4 * g..4 * g + 4]) {
                *out = entry as u8;
            }
            out[4..].copy_from_slice(&even_signs(&held.signs[4 * g..4 * g + 4], held.scales[g]));
        }
    });
}

/// f16 d; u16 q[32]; u8 scale[8]
#[inline(always)]
pub fn iq2_xs<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    each::<D>(batch, out, &KIND_IQ2_XS, (1, true), |out, held| {
        out[..2].copy_from_slice(&held.half);
        for (k, out) in out[2..66].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *out = (held.entries[k] | u16::from(held.signs[k] & 127) << 9).to_le_bytes();
        }
        put_scales(&mut out[66..], &held.scales);
    });
}

/// f16 d; u8 q[32]; u8 signs[32]; u8 high[8]; u8 scale[8]
#[inline(always)]
pub fn iq2_s<D: Search>(batch: &Batch<'_>, out: Places<'_>) {
    each::<D>(batch, out, &KIND_IQ2_S, (2, false), |out, held| {
        out[..2].copy_from_slice(&held.half);
        for (k, &entry) in held.entries.iter().enumerate() {
            out[2 + k] = entry as u8;
            out[66 + k / 4] |= ((entry >> 8) as u8) << (k % 4 * 2);
        }
        out[34..66].copy_from_slice(&held.signs);
        put_scales(&mut out[74..], &held.scales);
    });
}
