//! Owns: rows of numbers to blocks of a format: eight blocks at a time, each with its part of an importance matrix.
//! Refuses to know: files, threads, where blocks lie in a tensor.
//!
//! `src/dtypes` says what each block becomes; the bytes are the same.

pub mod grid_fit;
mod grid_search;
mod iq1_blocks;
mod k_blocks;
mod lattice_blocks;
mod levels;
pub mod search;
pub mod shifted_grid;
mod small_blocks;
pub mod super_blocks;
mod ternary;
mod weighting;

use crate::formats::Format;
use crate::simd::Kernels;
use crate::simd::blocks::{to_brain, to_half};
use crate::simd::doubles::LANES;
use search::Search;
use small_blocks::Legacy;
use weighting::Batch;

/// Whether `encode` knows a format.
pub fn encodes(format: Format) -> bool {
    use Format::*;
    matches!(
        format,
        F32 | F16
            | Bf16
            | Q8_0
            | Q4_0
            | Q4_1
            | Q5_0
            | Q5_1
            | Iq4Nl
            | Mxfp4
            | Q2K
            | Q3K
            | Q4K
            | Q5K
            | Q6K
            | Iq4Xs
            | Tq1_0
            | Tq2_0
            | Iq3Xxs
            | Iq3S
            | Iq2Xxs
            | Iq2Xs
            | Iq2S
            | Iq1S
            | Iq1M
    )
}

/// Encodes rows of `cols` finite numbers into zeroed bytes; `importance` [cols], all positive, or empty.
#[inline(always)]
pub fn encode<D: Search>(format: Format, x: &[f32], importance: &[f32], cols: usize, out: &mut [u8]) {
    match format {
        Format::F32 => each(x, out, f32::to_le_bytes),
        Format::F16 => each(x, out, to_half),
        Format::Bf16 => each(x, out, to_brain),
        _ => {
            let levels = if format == Format::Mxfp4 { levels::mxfp4_levels() } else { levels::iq4_levels() };
            let (numbers, bytes) = (format.block_numbers(), format.block_bytes());
            let mut blocks = out.chunks_exact_mut(bytes);
            let count = x.len() / numbers;
            for first in (0..count).step_by(LANES) {
                let there = LANES.min(count - first);
                let batch = batch_of(x, importance, cols, numbers, first, there);
                let places = std::array::from_fn(|lane| if lane < there { blocks.next() } else { None });
                match format {
                    Format::Q8_0 => small_blocks::q8_0(&batch, places),
                    Format::Q4_0 => small_blocks::legacy::<D>(&batch, places, Legacy { most: 15, minimum: false }),
                    Format::Q4_1 => small_blocks::legacy::<D>(&batch, places, Legacy { most: 15, minimum: true }),
                    Format::Q5_0 => small_blocks::legacy::<D>(&batch, places, Legacy { most: 31, minimum: false }),
                    Format::Q5_1 => small_blocks::legacy::<D>(&batch, places, Legacy { most: 31, minimum: true }),
                    Format::Iq4Nl => small_blocks::iq4_nl::<D>(&batch, places, &levels),
                    Format::Mxfp4 => small_blocks::mxfp4::<D>(&batch, places, &levels),
                    Format::Q2K => k_blocks::q2_k::<D>(&batch, places),
                    Format::Q3K => k_blocks::q3_k::<D>(&batch, places),
                    Format::Q4K => k_blocks::q4_k::<D>(&batch, places),
                    Format::Q5K => k_blocks::q5_k::<D>(&batch, places),
                    Format::Q6K => k_blocks::q6_k::<D>(&batch, places),
                    Format::Iq4Xs => k_blocks::iq4_xs::<D>(&batch, places, &levels),
                    Format::Tq1_0 => ternary::tq1_0(&batch, places),
                    Format::Tq2_0 => ternary::tq2_0(&batch, places),
                    Format::Iq3Xxs => lattice_blocks::iq3_xxs::<D>(&batch, places),
                    Format::Iq3S => lattice_blocks::iq3_s::<D>(&batch, places),
                    Format::Iq2Xxs => lattice_blocks::iq2_xxs::<D>(&batch, places),
                    Format::Iq2Xs => lattice_blocks::iq2_xs::<D>(&batch, places),
                    Format::Iq2S => lattice_blocks::iq2_s::<D>(&batch, places),
                    Format::Iq1S => iq1_blocks::iq1_s::<D>(&batch, places),
                    Format::Iq1M => iq1_blocks::iq1_m::<D>(&batch, places),
                    _ => {}
                }
            }
        }
    }
}

fn each<const N: usize>(x: &[f32], out: &mut [u8], bytes: fn(f32) -> [u8; N]) {
    for (out, &x) in out.as_chunks_mut::<N>().0.iter_mut().zip(x) {
        *out = bytes(x);
    }
}

/// Blocks `first` to `first + there`, and the last of them again in lanes that are left.
fn batch_of<'a>(
    x: &'a [f32],
    importance: &'a [f32],
    cols: usize,
    numbers: usize,
    first: usize,
    there: usize,
) -> Batch<'a> {
    let begin = |lane: usize| (first + lane.min(there - 1)) * numbers;
    let part = |lane: usize| {
        let col = begin(lane) % cols;
        if importance.is_empty() { importance } else { &importance[col..col + numbers] }
    };
    let mut row_mean_square = [0.0; LANES];
    if !importance.is_empty() && numbers == 32 {
        let mut known = None;
        for (lane, mean) in row_mean_square.iter_mut().enumerate() {
            let row = begin(lane) / cols;
            let of_row = match known {
                Some((same, mean)) if same == row => mean,
                _ => mean_square(&x[row * cols..(row + 1) * cols]),
            };
            known = Some((row, of_row));
            *mean = of_row;
        }
    }
    Batch {
        x: std::array::from_fn(|lane| &x[begin(lane)..begin(lane) + numbers]),
        importance: std::array::from_fn(part),
        row_mean_square,
    }
}

/// Numbers that are decoded and encoded at a time.
const AT_ONCE: usize = 1 << 14;

/// Rows of `cols` numbers from one format to zeroed bytes of another; Err is a number that is not finite.
pub fn transcode(
    kernels: &Kernels,
    (from, bytes): (Format, &[u8]),
    (to, out): (Format, &mut [u8]),
    cols: usize,
    importance: &[f32],
) -> Result<(), f32> {
    let (Some(from_row), Some(to_row)) = (from.row_bytes(cols), to.row_bytes(cols)) else { return Ok(()) };
    let importance = without_zeros(importance);
    let rows = (AT_ONCE / cols.max(1)).max(1);
    let mut x = vec![0.0f32; rows * cols];
    for (bytes, out) in bytes.chunks(rows * from_row).zip(out.chunks_mut(rows * to_row)) {
        let x = &mut x[..bytes.len() / from_row * cols];
        for (x, bytes) in x.chunks_exact_mut(cols).zip(bytes.chunks_exact(from_row)) {
            (kernels.decode)(from, bytes, x);
        }
        if let Some(&odd) = x.iter().find(|x| !x.is_finite()) {
            return Err(odd);
        }
        (kernels.encode)(to, x, &importance, cols, out);
    }
    Ok(())
}

fn mean_square(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)) / x.len() as f64
}

/// The part of the largest weight that columns have which no calibration text reached.
const LEAST: f64 = 1e-6;

/// Weights that are all positive; none when none is, for then nothing is known.
fn without_zeros(importance: &[f32]) -> Vec<f32> {
    let most = importance.iter().fold(0.0f32, |most, &weight| if weight > most { weight } else { most });
    let least = LEAST * f64::from(most);
    if least <= 0.0 {
        return Vec::new();
    }
    importance.iter().map(|&weight| if f64::from(weight) > least { weight } else { least as f32 }).collect()
}
