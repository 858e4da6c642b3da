//! Owns: products of weight rows with many rows of activations on NEON, one in each lane.
//! Refuses to know: tensors, threads, operations.
//!
//! A lane does what `neon_rows` does for its two rows, in the same order, so products have the same bits here and there.

use super::Lanes;
use super::blocks::blocks_of;
use super::neon_blocks::{Signed32, Signed256};
use super::neon_dots::Dot;
use super::neon_instructions::*;
use super::panels::{LANES, Panel, QUAD, Sums, Unpack, product};
use super::unpack::Unpacked256;
use crate::map::Buffer;
use std::marker::PhantomData;

/// Vectors of four lanes that are multiplied together.
const VECTORS: usize = 2;

/// Exact sums of four rows with eight lanes.
type Exact = [[int32x4_t; VECTORS]; QUAD];
/// Running sums of them.
type Running = [[float32x4_t; VECTORS]; QUAD];

struct Of32<D, B>(PhantomData<(D, B)>);
struct Of256<D, B>(PhantomData<(D, B)>);

/// out[t][r] = weight row r . lane t, for formats of blocks of 32.
pub(super) fn lanes32<D: Dot, B: Signed32>(w: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    // SAFETY: every processor of this kind has NEON; a table with SDOT is given out only where the processor has it.
    unsafe { product::<Of32<D, B>>(w, lanes, count, work, out) };
}

/// out[t][r] = weight row r . lane t, for formats of blocks of 256.
pub(super) fn lanes256<D: Dot, B: Signed256>(w: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    // SAFETY: as above.
    unsafe { product::<Of256<D, B>>(w, lanes, count, work, out) };
}

/// exact[i][v] += sixteen bytes of four rows, `stride` apart, . four words of the lanes from word `from` on.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn dot_sixteen<D: Dot>(bytes: *const u8, stride: usize, q: *const i32, exact: &mut Exact) {
    // SAFETY: the caller's promise.
    unsafe {
        let w: [int8x16_t; QUAD] = std::array::from_fn(|i| vld1q_s8(bytes.add(i * stride).cast()));
        let x = |word: usize| [0, 1].map(|v| vld1q_s8(q.add(LANES * word + 4 * v).cast()));
        let words = [x(0), x(1), x(2), x(3)];
        for (exact, w) in exact.iter_mut().zip(w) {
            for (v, exact) in exact.iter_mut().enumerate() {
                *exact = D::dot_word::<0>(*exact, words[0][v], w);
                *exact = D::dot_word::<1>(*exact, words[1][v], w);
                *exact = D::dot_word::<2>(*exact, words[2][v], w);
                *exact = D::dot_word::<3>(*exact, words[3][v], w);
            }
        }
    }
}

/// Running sums added by halves.
#[inline(always)]
fn by_halves<const N: usize>(mut running: [Running; N]) -> Running {
    let mut half = N / 2;
    while half > 0 {
        for j in 0..half {
            for i in 0..QUAD {
                for v in 0..VECTORS {
                    running[j][i][v] = vaddq_f32(running[j][i][v], running[j + half][i][v]);
                }
            }
        }
        half /= 2;
    }
    running[0]
}

#[inline(always)]
fn keep(running: Running, sums: &mut Sums, lane: usize) {
    for (sums, running) in sums.iter_mut().zip(running) {
        for (to, x) in sums[lane..].as_chunks_mut::<4>().0.iter_mut().zip(running) {
            // SAFETY: there is room for four numbers.
            unsafe { vst1q_f32(to.as_mut_ptr(), x) };
        }
    }
}

impl<D: Dot, B: Signed32> Unpack for Of32<D, B> {
    const BLOCK: usize = 32;

    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        let (n, blocks) = (panel.blocks, blocks_of::<B>(row));
        let (bytes, _) = panel.bytes[32 * r * n..32 * (r + 1) * n].as_chunks_mut::<32>();
        for ((b, block), bytes) in blocks.iter().enumerate().zip(bytes) {
            let [low, high] = block.numbers();
            // SAFETY: there is room for 32 bytes.
            unsafe {
                vst1q_s8(bytes.as_mut_ptr().cast(), low);
                vst1q_s8(bytes.as_mut_ptr().add(16).cast(), high);
            }
            panel.d[r * n + b] = block.d();
            panel.m[r * n + b] = block.m();
        }
    }

    unsafe fn multiply(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums) {
        let multiply = if B::MINS { multiply32::<D, true> } else { multiply32::<D, false> };
        // SAFETY: the caller's promise.
        unsafe { multiply(panel, r, lanes, count, sums) };
    }
}

impl<D: Dot, B: Signed256> Of256<D, B> {
    const GROUPS: usize = 256 / B::GROUP;
}

impl<D: Dot, B: Signed256> Unpack for Of256<D, B> {
    const BLOCK: usize = 256;
    const SCALES: usize = Self::GROUPS;
    const MINS: usize = if B::MINS { Self::GROUPS } else { 0 };

    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        let mut w = Unpacked256::ZERO;
        for (b, block) in blocks_of::<B>(row).iter().enumerate() {
            let at = r * panel.blocks + b;
            let (bytes, _) = panel.bytes[256 * at..256 * (at + 1)].as_chunks_mut::<32>();
            for (run, bytes) in bytes.iter_mut().enumerate() {
                let [low, high] = block.run(run);
                // SAFETY: there is room for 32 bytes.
                unsafe {
                    vst1q_s8(bytes.as_mut_ptr().cast(), low);
                    vst1q_s8(bytes.as_mut_ptr().add(16).cast(), high);
                }
            }
            block.factors(&mut w);
            (panel.d[at], panel.m[at]) = (w.d, w.dmin);
            let groups = |all: &[i16; 16], to: &mut [i32]| {
                for (to, x) in to.iter_mut().zip(all.iter().step_by(B::GROUP / 16)) {
                    *to = i32::from(*x);
                }
            };
            groups(&w.scale, &mut panel.scales[Self::SCALES * at..Self::SCALES * (at + 1)]);
            groups(&w.min, &mut panel.mins[Self::MINS * at..Self::MINS * (at + 1)]);
        }
    }

    unsafe fn multiply(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums) {
        let multiply = match (B::GROUP, B::MINS) {
            (32, true) => multiply256::<D, 32, true>,
            (32, false) => multiply256::<D, 32, false>,
            (_, true) => multiply256::<D, 16, true>,
            (_, false) => multiply256::<D, 16, false>,
        };
        // SAFETY: the caller's promise.
        unsafe { multiply(panel, r, lanes, count, sums) };
    }
}

/// Four rows of the panel from `r` on with the first `count` lanes, for blocks of 32.
///
/// # Safety
/// As `Unpack::multiply`.
unsafe fn multiply32<D: Dot, const MINS: bool>(panel: &Panel, r: usize, lanes: &Lanes, count: usize, sums: &mut Sums) {
    let n = panel.blocks;
    for lane in (0..count).step_by(4 * VECTORS) {
        let mut running = [[[vdupq_n_f32(0.0); VECTORS]; QUAD]; 16];
        for b in 0..n {
            let mut exact = [[vdupq_n_s32(0); VECTORS]; QUAD];
            // SAFETY: rows r to r + 3 of the panel and n blocks of all lanes are there.
            unsafe {
                for half in 0..2 {
                    let bytes = panel.bytes.as_ptr().add(32 * (r * n + b) + 16 * half);
                    let q = lanes.q.as_ptr().add(LANES * (8 * b + 4 * half) + lane);
                    dot_sixteen::<D>(bytes, 32 * n, q, &mut exact);
                }
            }
            let running = &mut running[b % 16];
            for v in 0..VECTORS {
                let at = LANES * b + lane + 4 * v;
                // SAFETY: as above.
                let scale = unsafe { vld1q_f32(lanes.scale.as_ptr().add(at)) };
                for i in 0..QUAD {
                    let factor = vmulq_n_f32(scale, panel.d[(r + i) * n + b]);
                    running[i][v] = vfmaq_f32(running[i][v], factor, vcvtq_f32_s32(exact[i][v]));
                }
                if MINS {
                    // SAFETY: as above.
                    let offset = unsafe { vld1q_f32(lanes.scaled_sums.as_ptr().add(at)) };
                    for i in 0..QUAD {
                        running[i][v] = vfmaq_n_f32(running[i][v], offset, panel.m[(r + i) * n + b]);
                    }
                }
            }
        }
        keep(by_halves(running), sums, lane);
    }
}

/// Four rows of the panel from `r` on with the first `count` lanes, for blocks of 256.
///
/// # Safety
/// As `Unpack::multiply`.
unsafe fn multiply256<D: Dot, const GROUP: usize, const MINS: bool>(
    panel: &Panel,
    r: usize,
    lanes: &Lanes,
    count: usize,
    sums: &mut Sums,
) {
    let n = panel.blocks;
    let groups = 256 / GROUP;
    let pairs = if MINS { groups / 2 } else { 0 };
    for lane in (0..count).step_by(4 * VECTORS) {
        let mut running = [[[vdupq_n_f32(0.0); VECTORS]; QUAD]; 8];
        for b in 0..n {
            let mut exact = [[vdupq_n_s32(0); VECTORS]; QUAD];
            for g in 0..groups {
                let mut group = [[vdupq_n_s32(0); VECTORS]; QUAD];
                for part in 0..GROUP / 16 {
                    let at = GROUP * g + 16 * part;
                    // SAFETY: rows r to r + 3 of the panel and n blocks of all lanes are there.
                    unsafe {
                        let bytes = panel.bytes.as_ptr().add(256 * (r * n + b) + at);
                        let q = lanes.q.as_ptr().add(LANES * (64 * b + at / 4) + lane);
                        dot_sixteen::<D>(bytes, 256 * n, q, &mut group);
                    }
                }
                for i in 0..QUAD {
                    let scale = panel.scales[groups * ((r + i) * n + b) + g];
                    for v in 0..VECTORS {
                        exact[i][v] = vmlaq_n_s32(exact[i][v], group[i][v], scale);
                    }
                }
            }
            let mut offsets = [[vdupq_n_s32(0); VECTORS]; QUAD];
            for pair in 0..pairs {
                for v in 0..VECTORS {
                    let all = if GROUP == 32 { lanes.sums_of_32 } else { lanes.sums };
                    // SAFETY: two groups' sums of all lanes are there.
                    let two = unsafe { vld1q_s32(all.as_ptr().add(LANES * (pairs * b + pair) + lane + 4 * v)) };
                    let (first, second) = (vshrq_n_s32::<16>(vshlq_n_s32::<16>(two)), vshrq_n_s32::<16>(two));
                    for i in 0..QUAD {
                        let mins = &panel.mins[groups * ((r + i) * n + b) + 2 * pair..][..2];
                        offsets[i][v] = vmlaq_n_s32(vmlaq_n_s32(offsets[i][v], first, mins[0]), second, mins[1]);
                    }
                }
            }
            let running = &mut running[b % 8];
            for v in 0..VECTORS {
                // SAFETY: as above.
                let scale = unsafe { vld1q_f32(lanes.scale.as_ptr().add(LANES * b + lane + 4 * v)) };
                for i in 0..QUAD {
                    let at = (r + i) * n + b;
                    let mut part = vmulq_n_f32(vcvtq_f32_s32(exact[i][v]), panel.d[at]);
                    if MINS {
                        part = vfmsq_f32(part, vdupq_n_f32(panel.m[at]), vcvtq_f32_s32(offsets[i][v]));
                    }
                    running[i][v] = vfmaq_f32(running[i][v], scale, part);
                }
            }
        }
        keep(by_halves(running), sums, lane);
    }
}
