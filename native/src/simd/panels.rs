//! Owns: the way through products of weight rows with many rows of activations that lie side by side, sixteen to a set:
//! weights are unpacked to bytes once for all sets, in panels of a few rows.
//! Refuses to know: instruction sets: how blocks are unpacked and multiplied.

use super::Lanes;
use crate::map::{Buffer, as_ints_mut, as_unsigned_mut};

/// Rows of activations in a set.
pub(super) const LANES: usize = 16;
/// Weight rows that are multiplied together.
pub(super) const QUAD: usize = 4;
/// Weight rows that are unpacked together: few enough that they stay in a core's second cache.
const PANEL_ROWS: usize = 32;

/// Weight rows unpacked: bytes, and what multiplies and offsets them.
pub(super) struct Panel<'a> {
    /// Of a row.
    pub blocks: usize,
    /// [rows, blocks, BLOCK_BYTES]
    pub bytes: &'a mut [u8],
    /// [rows, blocks]
    pub d: &'a mut [f32],
    /// m or dmin: [rows, blocks]
    pub m: &'a mut [f32],
    /// [rows, blocks, SCALES]
    pub scales: &'a mut [i32],
    /// [rows, blocks, MINS]
    pub mins: &'a mut [i32],
}

/// Sums of four rows with all lanes.
pub(super) type Sums = [[f32; LANES]; QUAD];

/// A format's way through a panel.
pub(super) trait Unpack {
    /// Numbers of a block, its bytes, and its words in `scales` and `mins`.
    const BLOCK: usize;
    const BLOCK_BYTES: usize = Self::BLOCK;
    const SCALES: usize = 0;
    const MINS: usize = 0;
    /// Unpacks a row to row `r` of the panel.
    ///
    /// # Safety
    /// The processor has the features of the implementation; the panel has the row and as many blocks as it.
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize);
    /// Products of four rows from `r` on with the first `count` lanes, or with more of them.
    ///
    /// # Safety
    /// The processor has the features of the implementation; the panel has the rows, the lanes as many blocks as it.
    unsafe fn multiply(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums);
}

/// out[t][r] = weight row r . lane t for t below `count`.
///
/// # Safety
/// The processor has the features of the implementation.
pub(super) unsafe fn product<U: Unpack>(
    weights: &[u8],
    lanes: &[Lanes],
    count: usize,
    work: &mut Buffer<f32>,
    out: &mut [f32],
) {
    let rows = out.len() / count;
    let row_bytes = weights.len() / rows;
    let blocks = lanes[0].scale.len() / LANES;
    assert!(lanes.len() * LANES >= count && lanes.iter().all(|lanes| lanes.fits(blocks, U::BLOCK)));
    let mut sums = [[0.0; LANES]; QUAD];
    for from in (0..rows).step_by(PANEL_ROWS) {
        let here = PANEL_ROWS.min(rows - from);
        let mut panel = panel_in::<U>(work, here.next_multiple_of(QUAD), blocks);
        for (r, row) in weights[from * row_bytes..].chunks_exact(row_bytes).take(here).enumerate() {
            // SAFETY: the caller's promise; the panel was made for these rows and blocks.
            unsafe { U::unpack(&mut panel, row, r) };
        }
        for (lanes, t) in lanes.iter().zip((0..count).step_by(LANES)) {
            let some = LANES.min(count - t);
            for r in (0..here).step_by(QUAD) {
                // SAFETY: as above; rows beyond the last are padded, and what they give is not kept.
                unsafe { U::multiply(&panel, r, lanes, some, &mut sums) };
                for lane in 0..some {
                    for (sums, out) in sums.iter().zip(&mut out[(t + lane) * rows + from + r..][..QUAD.min(here - r)]) {
                        *out = sums[lane];
                    }
                }
            }
        }
    }
}

fn panel_in<U: Unpack>(work: &mut Buffer<f32>, rows: usize, blocks: usize) -> Panel<'_> {
    let all = rows * blocks;
    let sizes = [all * U::BLOCK_BYTES / 4, all, all, all * U::SCALES, all * U::MINS];
    let mut rest = work.ensure(sizes.iter().map(|size| size.next_multiple_of(LANES)).sum());
    let [bytes, d, m, scales, mins] = sizes.map(|size| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(size.next_multiple_of(LANES));
        rest = others;
        &mut part[..size]
    });
    Panel { blocks, bytes: as_unsigned_mut(bytes), d, m, scales: as_ints_mut(scales), mins: as_ints_mut(mins) }
}
