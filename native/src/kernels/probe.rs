//! Owns: what this machine gives: how fast memory is read and bytes are multiplied, by all threads of the pool.
//! Refuses to know: models, what the rates are compared with.

use crate::context::State;
use crate::error::Outcome;
use crate::map::{MatMut, View};
use std::hint::black_box;
use std::time::Instant;

const PAGE_NUMBERS: usize = 1024;
/// Rounds of `Kernels::multiply_bytes` for each thread: about 20 ms.
const ROUNDS: usize = 4 << 20;

/// Bytes per second at which all threads together read a tensor once, each a contiguous part of its rows.
pub fn read_rate(state: &mut State, of: View) -> Outcome<f64> {
    let mut claim = state.tensors.claim(&[of], &[])?;
    let mut out: MatMut = claim.write()?;
    // Pages that were never written all share one page of zeros.
    for i in 0..out.rows() {
        out.row(i).iter_mut().step_by(PAGE_NUMBERS).for_each(|x| *x = 1.0);
    }
    let mut claim = state.tensors.claim(&[], &[of])?;
    let mat = claim.read::<f32>()?;
    let threads = state.pool.threads();
    let start = Instant::now();
    state.pool.run(threads, &|part, _| {
        let rows = part * mat.rows() / threads..(part + 1) * mat.rows() / threads;
        for i in rows {
            black_box(xor(mat.row(i)));
        }
    });
    Ok((mat.rows() * mat.cols() * 4) as f64 / start.elapsed().as_secs_f64())
}

fn xor(row: &[f32]) -> u32 {
    let mut sums = [0u32; 64];
    let (lines, rest) = row.as_chunks::<64>();
    for line in lines {
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
    state.pool.run(threads, &|_, _| {
        black_box((kernels.multiply_bytes)(black_box(ROUNDS)));
    });
    (threads * ROUNDS * kernels.round_operations) as f64 / start.elapsed().as_secs_f64()
}
