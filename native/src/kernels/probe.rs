//! Owns: what this machine gives: how fast memory is read and bytes are multiplied, by all threads of the pool.
//! Refuses to know: models, what the rates are compared with.

use crate::context::State;
use crate::error::Outcome;
use crate::map::{MatMut, View, prefer_large_pages};
use crate::simd::ask_for;
use std::hint::black_box;
use std::time::Instant;

const PAGE_NUMBERS: usize = 1024;
/// How far ahead memory is asked for, as the kernels of weights do.
const AHEAD_NUMBERS: usize = 2048;
/// Streams of about so many bytes, as those that weights are read in: a thread that others hold up takes fewer.
const STREAM_BYTES: usize = 1 << 20;
/// Rounds of `Kernels::multiply_bytes` for each thread, about 20 ms, and how many of them are taken at a time.
const ROUNDS: usize = 4 << 20;
const ROUNDS_TOGETHER: usize = ROUNDS / 16;

/// Bytes per second at which all threads together read a tensor once.
pub fn read_rate(state: &mut State, of: View) -> Outcome<f64> {
    let mut claim = state.tensors.claim(&[of], &[])?;
    let mut out: MatMut = claim.write()?;
    // Files of weights lie in long runs of pages; single ones would be slower to find.
    let untouched = out.rows() > 0 && out.row(0).first().is_some_and(|x| x.to_bits() == 0);
    for i in (0..out.rows()).filter(|_| untouched) {
        prefer_large_pages(out.row(i));
    }
    // Pages that were never written all share one page of zeros.
    for i in (0..out.rows()).filter(|_| untouched) {
        out.row(i).iter_mut().step_by(PAGE_NUMBERS).for_each(|x| *x = 1.0);
    }
    let mut claim = state.tensors.claim(&[], &[of])?;
    let mat = claim.read::<f32>()?;
    let rows = (STREAM_BYTES / 4 / mat.cols()).max(1);
    let start = Instant::now();
    state.pool.run(mat.rows().div_ceil(rows), &|part, _| {
        for i in part * rows..((part + 1) * rows).min(mat.rows()) {
            black_box(xor(mat.row(i)));
        }
    });
    Ok((mat.rows() * mat.cols() * 4) as f64 / start.elapsed().as_secs_f64())
}

fn xor(row: &[f32]) -> u32 {
    let mut sums = [0u32; 64];
    let (lines, rest) = row.as_chunks::<64>();
    for line in lines {
        for numbers in line.as_chunks::<16>().0 {
            ask_for(numbers.as_ptr().wrapping_add(AHEAD_NUMBERS).cast());
        }
        for (sum, x) in sums.iter_mut().zip(line) {
            *sum ^= x.to_bits();
        }
    }
    sums.iter().copied().chain(rest.iter().map(|x| x.to_bits())).fold(0, |all, one| all ^ one)
}

/// Multiplications and additions of bytes per second, by all threads together, out of registers.
pub fn multiply_rate(state: &mut State) -> f64 {
    let (threads, kernels) = (state.pool.threads(), state.kernels);
    let start = Instant::now();
    state.pool.run(threads * (ROUNDS / ROUNDS_TOGETHER), &|_, _| {
        black_box((kernels.multiply_bytes)(black_box(ROUNDS_TOGETHER)));
    });
    (threads * ROUNDS * kernels.round_operations) as f64 / start.elapsed().as_secs_f64()
}
