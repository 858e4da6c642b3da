//! Owns: writing and reading cache rows in each cache format.
//! Refuses to know: pages, attention.

use super::linear::same;
use super::{Span, index};
use crate::context::{State, cache_of};
use crate::error::{Outcome, misfit};
use crate::formats::{CACHE_BLOCK, CacheFormat, Format};
use crate::map::{Mat, View};
use crate::simd::{Kernels, LINE_BYTES, ask_for};
use crate::simd::blocks::{BlockQ8_0, to_e4m3, to_half};

/// Writes x into the cache rows slots[i].
pub fn store(state: &mut State, span: Span, cache: usize, x: View, slots: View) -> Outcome<()> {
    let cols = cache_of(&state.caches, cache)?.cols;
    same(cols, x.cols, "store")?;
    let mut claim = state.tensors.claim(&[], &[x, slots])?;
    let (x, slots): (Mat, Mat<i32>) = (claim.read()?, claim.read()?);
    let Some(Some(cache)) = state.caches.get_mut(cache) else { return Err(misfit("store", "a cache", cache)) };
    for i in 0..span.rows {
        let slot = index(slots.first(i), cache.pages * cache.page_rows, "store: slot")?;
        let bytes = &mut cache.bytes[slot * cache.row_bytes..(slot + 1) * cache.row_bytes];
        write_row(state.kernels, cache.format, x.row(i), bytes);
    }
    Ok(())
}

fn write_row(kernels: &Kernels, format: CacheFormat, x: &[f32], bytes: &mut [u8]) {
    match format {
        CacheFormat::F32 => {
            for (x, bytes) in x.iter().zip(bytes.as_chunks_mut::<4>().0) {
                *bytes = x.to_le_bytes();
            }
        }
        CacheFormat::F16 => (kernels.to_half)(x, bytes),
        CacheFormat::Q8_0 => {
            for (x, bytes) in x.chunks_exact(CACHE_BLOCK).zip(bytes.chunks_exact_mut(34)) {
                let d = largest(x) / 127.0;
                let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
                bytes[..2].copy_from_slice(&to_half(d));
                for (x, q) in x.iter().zip(&mut bytes[2..]) {
                    // Halves are rounded away from zero, as in GGUF's own Q8_0.
                    *q = (x * inverse).round() as i8 as u8;
                }
            }
        }
        CacheFormat::F8E4M3 => {
            let (codes, scales) = bytes.split_at_mut(x.len());
            for ((x, codes), scale) in x.chunks_exact(CACHE_BLOCK).zip(codes.chunks_exact_mut(CACHE_BLOCK)).zip(scales) {
                let exponent = scale_exponent(largest(x));
                *scale = (exponent + 127) as u8;
                let factor = 2f64.powi(-exponent);
                for (x, code) in x.iter().zip(codes) {
                    *code = to_e4m3((f64::from(*x) * factor) as f32);
                }
            }
        }
    }
}

/// The largest magnitude; no number where one of x is none.
fn largest(x: &[f32]) -> f32 {
    if x.iter().any(|x| x.is_nan()) {
        return f32::NAN;
    }
    x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()))
}

/// The smallest e in -127..=127 with largest <= 448 * 2^e.
fn scale_exponent(largest: f32) -> i32 {
    let largest = f64::from(largest);
    if largest.is_nan() || largest <= 0.0 {
        return 0;
    }
    let fits = |e: i32| largest <= 448.0 * 2f64.powi(e);
    let mut e = ((largest / 448.0).log2().ceil() as i32).clamp(-127, 127);
    while e < 127 && !fits(e) {
        e += 1;
    }
    while e > -127 && fits(e - 1) {
        e -= 1;
    }
    e
}

/// Numbers [start, start + count) of a cache row as they lie, without the scales at its end; in block formats they are
/// whole blocks.
fn part_of(format: CacheFormat, row: &[u8], start: usize, count: usize) -> &[u8] {
    let bytes = |numbers: usize| match format {
        CacheFormat::F32 => 4 * numbers,
        CacheFormat::F16 => 2 * numbers,
        CacheFormat::Q8_0 => numbers / CACHE_BLOCK * size_of::<BlockQ8_0>(),
        CacheFormat::F8E4M3 => numbers,
    };
    &row[bytes(start)..bytes(start + count)]
}

/// Asks memory for what `read_part` will read.
pub fn ask_for_part(format: CacheFormat, row: &[u8], start: usize, count: usize) {
    for line in part_of(format, row, start, count).chunks(LINE_BYTES) {
        ask_for(line.as_ptr());
    }
}

/// Reads numbers [start, start + out.len()) of a cache row; in block formats they are whole blocks.
pub fn read_part(kernels: &Kernels, format: CacheFormat, row: &[u8], start: usize, out: &mut [f32]) {
    let part = part_of(format, row, start, out.len());
    match format {
        CacheFormat::F32 => {
            for (out, &x) in out.iter_mut().zip(part.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(x);
            }
        }
        CacheFormat::F16 => (kernels.from_half)(part, out),
        CacheFormat::Q8_0 => (kernels.decode)(Format::Q8_0, part, out),
        CacheFormat::F8E4M3 => {
            (kernels.decode)(Format::F8E4M3, part, out);
            let scales = &row[row.len() / 33 * CACHE_BLOCK + start / CACHE_BLOCK..];
            for (out, scale) in out.chunks_exact_mut(CACHE_BLOCK).zip(scales) {
                let factor = 2f64.powi(i32::from(*scale) - 127) as f32;
                out.iter_mut().for_each(|x| *x *= factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar;

    #[test]
    fn what_is_no_number_comes_back_as_none() {
        for format in [CacheFormat::F32, CacheFormat::F16, CacheFormat::Q8_0, CacheFormat::F8E4M3] {
            for broken in [0, 17, 31] {
                let mut x = [1.0; 64];
                x[broken] = f32::NAN;
                let mut bytes = vec![0; format.row_bytes(64).unwrap()];
                write_row(&scalar::KERNELS, format, &x, &mut bytes);
                let mut back = [0.0; 64];
                read_part(&scalar::KERNELS, format, &bytes, 0, &mut back);
                assert!(back[broken].is_nan(), "{format:?}");
                assert!(back[32..].iter().all(|x| (x - 1.0).abs() < 0.1), "{format:?}");
            }
        }
    }

    #[test]
    fn rows_come_back_within_their_format() {
        let x: Vec<f32> = (0..64).map(|i| ((i * 37) % 101) as f32 / 7.0 - 6.0).collect();
        for (format, relative) in [
            (CacheFormat::F32, 0.0),
            (CacheFormat::F16, 1.0 / 2048.0),
            (CacheFormat::Q8_0, 1.0 / 127.0),
            (CacheFormat::F8E4M3, 1.0 / 14.0),
        ] {
            let mut bytes = vec![0; format.row_bytes(64).unwrap()];
            write_row(&scalar::KERNELS, format, &x, &mut bytes);
            let mut back = [0.0; 32];
            read_part(&scalar::KERNELS, format, &bytes, 32, &mut back);
            for (a, b) in x[32..].iter().zip(back) {
                assert!((a - b).abs() <= relative * 8.3, "{format:?}: {a} {b}");
            }
        }
    }
}
