//! Owns: encoding blocks of 256 numbers as -1, 0, 1 under their largest magnitude: TQ1_0 and TQ2_0.
//! Refuses to know: the search for scales; there is none.
//!
//! Layouts and bytes as in `src/dtypes/tq.ts`, which are ggml's to the bit.

use super::k_blocks::{Places, put_pair};
use super::super_blocks::half_bytes;
use super::weighting::Batch;

/// The digits 0, 1, 2 of a block, and the bytes of its scale.
fn ternary(x: &[f32]) -> ([u8; 256], [u8; 2]) {
    let largest = x.iter().fold(
        0.0f32,
        |most, x| if x.abs() > most { x.abs() } else { most },
    );
    let inverse = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    let mut codes = [1; 256];
    for (code, &x) in codes.iter_mut().zip(x) {
        let part = x * inverse;
        *code = if part >= 0.5 {
            2
        } else if part <= -0.5 {
            0
        } else {
            1
        };
    }
    (codes, half_bytes(f64::from(largest)))
}

const DIGITS: usize = 5;

/// A byte is the fraction 0.digits in base 3, rounded up.
fn put_digits(out: &mut [u8], codes: &[u8]) {
    let bytes = out.len();
    for (m, out) in out.iter_mut().enumerate() {
        let digit = |n: usize| codes.get(n * bytes + m).map_or(0, |&code| u32::from(code));
        let number = (0..DIGITS).fold(0, |number, n| number * 3 + digit(n));
        *out = (number * 256).div_ceil(243) as u8;
    }
}

/// u8 q[48]; u8 qh[4]; f16 d
#[inline(always)]
pub fn tq1_0(batch: &Batch<'_>, out: Places<'_>) {
    for (x, out) in batch.x.iter().zip(out) {
        let Some(out) = out else { continue };
        let (codes, d) = ternary(x);
        put_digits(&mut out[..32], &codes[..160]);
        put_digits(&mut out[32..48], &codes[160..240]);
        put_digits(&mut out[48..52], &codes[240..]);
        out[52..].copy_from_slice(&d);
    }
}

/// u8 q[64]; f16 d
#[inline(always)]
pub fn tq2_0(batch: &Batch<'_>, out: Places<'_>) {
    for (x, out) in batch.x.iter().zip(out) {
        let Some(out) = out else { continue };
        let (codes, d) = ternary(x);
        for (i, &code) in codes.iter().enumerate() {
            put_pair(&mut out[..64], i, code);
        }
        out[64..].copy_from_slice(&d);
    }
}
