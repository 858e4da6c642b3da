//! Owns: products of weight rows with several rows of activations by AVX-512 VNNI: sixteen weight rows lie side by side,
//! one in each lane, laid once for all activations.
//! Refuses to know: tensors, threads, operations; how blocks are laid (`avx512_laid`).
//!
//! A lane does what `avx512_rows` does for its two rows, in the same order, so products have the same bits here and
//! there: exact in i32 inside a block, block b adding to running sum b mod 8 (16), the sums added at last by halves.

use super::Row;
use super::avx512_laid::{LANES, Laid, Laid32, Laid256, Rows, halves_of};
use super::weave::SHORTS;
use crate::map::{Buffer, MatMut};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of activations whose sums are kept in registers together.
const AT_ONCE: usize = 4;
/// From so many rows of activations on, numbers are unpacked once for all of them, and several panels are laid before
/// they are multiplied, so that activations are read less often: as many as stay in a core's second cache.
const MANY: usize = 24;
const PANELS: usize = 4;
/// For fewer, about so many lines are laid and at once multiplied with all rows: a whole panel does not stay in a core's
/// first cache.
const LINES_AT_ONCE: usize = 96;

/// Running sums of up to AT_ONCE rows.
type Running<const X: usize> = [MaybeUninit<[__m512; X]>; 16];

/// A family's way through a panel.
trait Panel {
    type Block: Laid;
    const RUNNING: usize;
    /// Whether x has all that `blocks` blocks need.
    fn fits(x: &Row, blocks: usize) -> bool;
    /// Adds the products of block b to the sums.
    ///
    /// # Safety
    /// The processor has the features of this file; the lines are there, and the block in every row of xs.
    unsafe fn add<L: Lines<Self::Block>, const X: usize>(lines: L, xs: &[Row; X], b: usize, sums: [__m512; X]) -> [__m512; X];
}

/// A block of a panel.
trait Lines<B: Laid>: Copy {
    /// The lines of block b of a panel that begins here.
    fn of_block(self, b: usize) -> Self;
    fn laid(self) -> *const __m512i;
    /// As `Laid::pair`.
    ///
    /// # Safety
    /// As there.
    unsafe fn pair(self, i: usize) -> [__m512i; 2];
}

/// Pairs are unpacked where they are multiplied.
#[derive(Clone, Copy)]
struct Packed(*const __m512i);

/// Pairs are unpacked beforehand, once for all activations, to the second pointer.
#[derive(Clone, Copy)]
struct Unpacked(*const __m512i, *const __m512i);

impl<B: Laid> Lines<B> for Packed {
    fn of_block(self, b: usize) -> Self {
        Self(self.0.wrapping_add(b * B::LINES))
    }
    fn laid(self) -> *const __m512i {
        self.0
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn pair(self, i: usize) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { B::pair(self.0, i) }
    }
}

impl<B: Laid> Lines<B> for Unpacked {
    fn of_block(self, b: usize) -> Self {
        Self(self.0.wrapping_add(b * B::LINES), self.1.wrapping_add(b * 2 * B::PAIRS))
    }
    fn laid(self) -> *const __m512i {
        self.0
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn pair(self, i: usize) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { [self.1.add(2 * i).read_unaligned(), self.1.add(2 * i + 1).read_unaligned()] }
    }
}

struct Of32<B>(std::marker::PhantomData<B>);
struct Of256<B>(std::marker::PhantomData<B>);

/// A word, four bytes or two shorts, in every lane.
///
/// # Safety
/// It is there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn same(word: *const i32) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { word.read_unaligned() })
}

impl<B: Laid32> Panel for Of32<B> {
    type Block = B;
    const RUNNING: usize = 16;

    fn fits(x: &Row, blocks: usize) -> bool {
        x.q.len() >= 32 * blocks && [x.scale.len(), x.sums.len(), x.scaled_sums.len()].iter().all(|&n| n >= blocks)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn add<L: Lines<B>, const X: usize>(lines: L, xs: &[Row; X], b: usize, mut sums: [__m512; X]) -> [__m512; X] {
        let mut halves = [[_mm512_setzero_si512(); 2]; X];
        // SAFETY: the caller's promise.
        unsafe {
            for i in 0..4 {
                let u = lines.pair(i);
                for (x, halves) in xs.iter().zip(&mut halves) {
                    let q = x.q.as_ptr().add(32 * b + 4 * i);
                    halves[0] = _mm512_dpbusd_epi32(halves[0], u[0], same(q.cast()));
                    halves[1] = _mm512_dpbusd_epi32(halves[1], u[1], same(q.add(16).cast()));
                }
            }
            let d = halves_of(lines.laid(), B::D);
            for ((x, halves), sum) in xs.iter().zip(halves).zip(&mut sums) {
                let mut exact = _mm512_add_epi32(halves[0], halves[1]);
                if B::MINUS_BITS > 0 {
                    let minus = _mm512_sllv_epi32(same(x.sums.as_ptr().add(b)), _mm512_set1_epi32(B::MINUS_BITS as i32));
                    exact = _mm512_sub_epi32(exact, minus);
                }
                let factor = _mm512_mul_ps(d, _mm512_set1_ps(*x.scale.as_ptr().add(b)));
                *sum = _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(exact), *sum);
                if B::MINS {
                    let m = halves_of(lines.laid(), B::D + 1);
                    *sum = _mm512_fmadd_ps(m, _mm512_set1_ps(*x.scaled_sums.as_ptr().add(b)), *sum);
                }
            }
        }
        sums
    }
}

impl<B: Laid256> Panel for Of256<B> {
    type Block = B;
    const RUNNING: usize = 8;

    fn fits(x: &Row, blocks: usize) -> bool {
        x.q.len() >= 256 * blocks && x.scale.len() >= blocks && x.short_sums.len() >= SHORTS * blocks
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn add<L: Lines<B>, const X: usize>(lines: L, xs: &[Row; X], b: usize, mut sums: [__m512; X]) -> [__m512; X] {
        const { assert!(!(B::MINS && B::MINUS_BITS > 0)) };
        let zero = _mm512_setzero_si512();
        let steps = B::GROUP / 4;
        let (mut exact, mut apart) = ([zero; X], [zero; X]);
        // SAFETY: the caller's promise.
        unsafe {
            for t in 0..32 / steps {
                let groups = B::groups(t);
                let mut of_groups = [[zero; 2]; X];
                for step in 0..steps {
                    let u = lines.pair(steps * t + step);
                    for (x, of_groups) in xs.iter().zip(&mut of_groups) {
                        let q = x.q.as_ptr().add(256 * b + 4 * step);
                        for n in 0..2 {
                            let q = q.add(B::GROUP * groups[n]);
                            of_groups[n] = _mm512_dpbusd_epi32(of_groups[n], u[n], same(q.cast()));
                        }
                    }
                }
                let scales = groups.map(|group| B::scale(lines.laid(), group));
                for (exact, of_groups) in exact.iter_mut().zip(of_groups) {
                    for n in 0..2 {
                        *exact = _mm512_add_epi32(*exact, _mm512_mullo_epi32(of_groups[n], scales[n]));
                    }
                }
            }
            for pair in 0..128 / B::GROUP {
                let minus = B::minus(lines.laid(), pair);
                let first = if B::GROUP == 32 { 16 } else { 0 };
                for (x, apart) in xs.iter().zip(&mut apart) {
                    let sums = x.short_sums.as_ptr().add(SHORTS * b + first + 2 * pair);
                    *apart = _mm512_dpwssd_epi32(*apart, minus, same(sums.cast()));
                }
            }
            let d = halves_of(lines.laid(), B::D);
            for (((x, exact), apart), sum) in xs.iter().zip(exact).zip(apart).zip(&mut sums) {
                let part = if B::MINS {
                    let dmin = halves_of(lines.laid(), B::D + 1);
                    let part = _mm512_mul_ps(d, _mm512_cvtepi32_ps(exact));
                    _mm512_fnmadd_ps(dmin, _mm512_cvtepi32_ps(apart), part)
                } else {
                    let minus = _mm512_sllv_epi32(apart, _mm512_set1_epi32(B::MINUS_BITS as i32));
                    _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_sub_epi32(exact, minus)))
                };
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(*x.scale.as_ptr().add(b)), part, *sum);
            }
        }
        sums
    }
}

/// out[x][r] = weight row r . x, or out += that, for formats of blocks of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn panels32<B: Laid32>(weights: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) {
    product::<Of32<B>>(weights, xs, work, out, add);
}

/// out[x][r] = weight row r . x, or out += that, for formats of blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn panels256<B: Laid256>(weights: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) {
    product::<Of256<B>>(weights, xs, work, out, add);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn product<P: Panel>(weights: &[u8], xs: &[Row], work: &mut Buffer<f32>, out: &mut MatMut, add: bool) {
    let rows = out.cols();
    let row_bytes = weights.len() / rows.max(1);
    let blocks = row_bytes / size_of::<P::Block>();
    assert!(out.rows() == xs.len() && xs.iter().all(|x| P::fits(x, blocks)) && weights.len() >= rows * row_bytes);
    if rows < LANES {
        let mut padded = weights.to_vec();
        padded.resize(LANES * row_bytes, 0);
        let mut answers = vec![0.0; LANES * xs.len()];
        product::<P>(&padded, xs, work, &mut MatMut::over(&mut answers, LANES), false);
        for (x, answers) in answers.chunks_exact(LANES).enumerate() {
            for (out, answer) in out.row(x).iter_mut().zip(answers) {
                *out = if add { *out + answer } else { *answer };
            }
        }
        return;
    }
    // The last panel has rows of the one before it too, where it must.
    let firsts: Vec<usize> = (0..rows).step_by(LANES).map(|first| first.min(rows - LANES)).collect();
    let panel_bytes = LANES * row_bytes;
    let steps = blocks * (1 + xs.len().div_ceil(AT_ONCE));
    let mut ahead = Ahead { at: weights.as_ptr(), end: weights[panel_bytes..].as_ptr(), step: panel_bytes };
    ahead.ask();
    ahead.step = panel_bytes.div_ceil(64 * steps) * 64;
    let panels = Panels { weights, row_bytes, blocks, firsts: &firsts };
    let mut out = Out { out, add };
    let out = &mut out;
    if xs.len() < MANY { panels.for_few::<P>(xs, work, out, ahead) } else { panels.for_many::<P>(xs, work, out, ahead) }
}

/// Rows of weights and where panels of them begin.
struct Panels<'a> {
    weights: &'a [u8],
    row_bytes: usize,
    blocks: usize,
    firsts: &'a [usize],
}

impl Panels<'_> {
    fn rows_from(&self, first: usize) -> Rows {
        Rows::new(self.weights[first * self.row_bytes..(first + LANES) * self.row_bytes].as_ptr(), self.row_bytes)
    }

    /// What follows `count` panels, the first of which begins at row `first`.
    fn after(&self, first: usize, count: usize, step: usize) -> Ahead {
        let panel_bytes = LANES * self.row_bytes;
        let next = self.weights.as_ptr().wrapping_add(first * self.row_bytes + count * panel_bytes);
        Ahead { at: next, end: next.wrapping_add(count * panel_bytes), step }
    }

    /// Lays some blocks and multiplies them with all rows, which are fewer than MANY, before it lays the next.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    fn for_few<P: Panel>(&self, xs: &[Row], work: &mut Buffer<f32>, out: &mut Out, ahead: Ahead) {
        let blocks = self.blocks;
        let together = (LINES_AT_ONCE / P::Block::LINES).max(1);
        let panel = work.ensure(together * P::Block::LINES * LANES).as_mut_ptr().cast::<__m512i>();
        let mut running = [const { [const { MaybeUninit::<[__m512; AT_ONCE]>::uninit() }; 16] }; MANY / AT_ONCE];
        for &first in self.firsts {
            let mut ahead = self.after(first, 1, ahead.step);
            let mut at = self.rows_from(first);
            out.ask_for(0..xs.len(), first..first + LANES);
            for from in (0..blocks).step_by(together) {
                let some = from..blocks.min(from + together);
                // SAFETY: this function has the features; every row has the blocks, the panel their lines.
                unsafe { lay::<P::Block>(&mut at, some.len(), panel, &mut ahead) };
                for (xs, running) in Groups(xs).zip(&mut running) {
                    add_few::<P, _>(Packed(panel), some.clone(), xs, running, &mut ahead);
                }
            }
            let mut x = 0;
            for (xs, running) in Groups(xs).zip(&running) {
                end_few::<P>(running, blocks, xs.len(), out, [x, first]);
                x += xs.len();
            }
        }
    }

    /// Lays several panels and unpacks their pairs before they are multiplied.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    fn for_many<P: Panel>(&self, xs: &[Row], work: &mut Buffer<f32>, out: &mut Out, ahead: Ahead) {
        let blocks = self.blocks;
        let lines = blocks * P::Block::LINES;
        let size = (lines + blocks * 2 * P::Block::PAIRS) * LANES;
        let work = work.ensure(PANELS * size);
        let mut running = [const { MaybeUninit::<[__m512; AT_ONCE]>::uninit() }; 16];
        for firsts in self.firsts.chunks(PANELS) {
            let mut ahead = self.after(firsts[0], firsts.len(), ahead.step);
            for (&first, panel) in firsts.iter().zip(work.chunks_exact_mut(size)) {
                let mut at = self.rows_from(first);
                let panel = panel.as_mut_ptr().cast::<__m512i>();
                // SAFETY: this function has the features; every row has the blocks, the panel their lines, and room for the
                // pairs.
                unsafe {
                    lay::<P::Block>(&mut at, blocks, panel, &mut ahead);
                    unpack::<P::Block>(panel, blocks);
                }
            }
            let mut x = 0;
            for xs in Groups(xs) {
                out.ask_for(x..x + xs.len(), firsts[0]..firsts[firsts.len() - 1] + LANES);
                for (first, panel) in firsts.iter().zip(work.chunks_exact(size)) {
                    let panel = panel.as_ptr().cast::<__m512i>();
                    let lines = Unpacked(panel, panel.wrapping_add(lines));
                    add_few::<P, _>(lines, 0..blocks, xs, &mut running, &mut ahead);
                    end_few::<P>(&running, blocks, xs.len(), out, [x, *first]);
                }
                x += xs.len();
            }
        }
    }
}

/// Rows of activations as they are taken together.
struct Groups<'a, 'b>(&'a [Row<'b>]);

impl<'a, 'b> Iterator for Groups<'a, 'b> {
    type Item = &'a [Row<'b>];

    fn next(&mut self) -> Option<Self::Item> {
        let (some, rest) = self.0.split_at(at_once(self.0.len()));
        self.0 = rest;
        (!some.is_empty()).then_some(some)
    }
}

/// How many of `left` rows are taken next: no row is left alone.
fn at_once(left: usize) -> usize {
    match left {
        5 | 6 => 3,
        _ => left.min(AT_ONCE),
    }
}

/// Memory that is asked for a few lines at a time while what came before it is worked on: more at once than a core
/// keeps track of would hold up all that it reads meanwhile.
struct Ahead {
    at: *const u8,
    end: *const u8,
    /// Bytes of a step.
    step: usize,
}

impl Ahead {
    #[inline]
    fn ask(&mut self) {
        let to = self.end.min(self.at.wrapping_add(self.step));
        while self.at < to {
            // SAFETY: asking for memory never faults, wherever it is.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at.cast()) };
            self.at = self.at.wrapping_add(64);
        }
    }
}

/// Where products go, or what they are added to.
struct Out<'a, 'b> {
    out: &'a mut MatMut<'b>,
    add: bool,
}

impl Out<'_, '_> {
    /// Asks for where products will go, lest they wait for it and what is read next wait for them.
    #[inline]
    fn ask_for(&mut self, xs: Range<usize>, columns: Range<usize>) {
        for x in xs {
            for line in self.out.row(x)[columns.clone()].chunks(LANES) {
                // SAFETY: asking for memory never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
            }
        }
    }

    /// Takes the products of row x of the activations with sixteen rows of weights, of which `first` is the first. A last panel
    /// begins before its place; what its first lanes have to add was added before.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn take(&mut self, x: usize, first: usize, products: __m512) {
        let to = self.out.row(x)[first..first + LANES].as_mut_ptr();
        // SAFETY: there are sixteen numbers.
        unsafe {
            if self.add {
                let before = first.next_multiple_of(LANES) - first;
                _mm512_mask_storeu_ps(to, 0xffff << before, _mm512_add_ps(_mm512_loadu_ps(to), products));
            } else {
                _mm512_storeu_ps(to, products);
            }
        }
    }
}

/// Lays so many blocks of sixteen rows and goes on behind them.
///
/// # Safety
/// The processor has the features of this file; every row has the blocks, and there is room for their lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn lay<B: Laid>(at: &mut Rows, blocks: usize, to: *mut __m512i, ahead: &mut Ahead) {
    for b in 0..blocks {
        ahead.ask();
        // SAFETY: the caller's promise.
        unsafe { B::lay(*at, to.wrapping_add(b * B::LINES)) };
        at.step(size_of::<B>());
    }
}

/// Unpacks the pairs of a panel's blocks, to behind its lines.
///
/// # Safety
/// The processor has the features of this file; the lines are there, and room for the pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn unpack<B: Laid>(panel: *mut __m512i, blocks: usize) {
    for b in 0..blocks {
        for i in 0..B::PAIRS {
            // SAFETY: the caller's promise.
            unsafe {
                let to = panel.add(blocks * B::LINES + 2 * (b * B::PAIRS + i));
                let [u, v] = B::pair(panel.add(b * B::LINES), i);
                to.write_unaligned(u);
                to.add(1).write_unaligned(v);
            }
        }
    }
}

/// `add` for as many rows of activations as there are, up to AT_ONCE.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn add_few<P: Panel, L: Lines<P::Block>>(
    lines: L,
    blocks: Range<usize>,
    xs: &[Row],
    running: &mut Running<AT_ONCE>,
    ahead: &mut Ahead,
) {
    match *xs {
        [a] => add::<P, L, 1>(lines, blocks, [a], fewer_mut(running), ahead),
        [a, b] => add::<P, L, 2>(lines, blocks, [a, b], fewer_mut(running), ahead),
        [a, b, c] => add::<P, L, 3>(lines, blocks, [a, b, c], fewer_mut(running), ahead),
        [a, b, c, d] => add::<P, L, 4>(lines, blocks, [a, b, c, d], running, ahead),
        _ => {}
    }
}

/// `end` for as many rows of activations as there are, up to AT_ONCE.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn end_few<P: Panel>(running: &Running<AT_ONCE>, blocks: usize, xs: usize, out: &mut Out, at: [usize; 2]) {
    match xs {
        1 => end::<P, 1>(fewer(running), blocks, out, at),
        2 => end::<P, 2>(fewer(running), blocks, out, at),
        3 => end::<P, 3>(fewer(running), blocks, out, at),
        4 => end::<P, 4>(running, blocks, out, at),
        _ => {}
    }
}

/// The memory of more running sums for those of fewer rows.
fn fewer<const X: usize>(running: &Running<AT_ONCE>) -> &Running<X> {
    const { assert!(X <= AT_ONCE) };
    // SAFETY: as aligned and no larger; nothing in it is taken to be written.
    unsafe { &*std::ptr::from_ref(running).cast() }
}

fn fewer_mut<const X: usize>(running: &mut Running<AT_ONCE>) -> &mut Running<X> {
    const { assert!(X <= AT_ONCE) };
    // SAFETY: as above.
    unsafe { &mut *std::ptr::from_mut(running).cast() }
}

/// Adds the products of some blocks, whose lines are there, with X rows of activations to the running sums, which the first
/// blocks begin.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn add<P: Panel, L: Lines<P::Block>, const X: usize>(
    lines: L,
    blocks: Range<usize>,
    xs: [Row; X],
    running: &mut Running<X>,
    ahead: &mut Ahead,
) {
    let none = [_mm512_setzero_ps(); X];
    for (n, b) in blocks.enumerate() {
        ahead.ask();
        let sums = &mut running[b % P::RUNNING];
        // SAFETY: sums of earlier blocks were written; this function has the features; the callers have laid the lines, and
        // `product` has checked the rows.
        unsafe {
            let before = if b < P::RUNNING { none } else { sums.assume_init() };
            sums.write(P::add(lines.of_block(n), &xs, b, before));
        }
    }
}

/// Adds running sums of all blocks up by halves; zeros stand where there are fewer blocks than sums.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn end<P: Panel, const X: usize>(running: &Running<X>, blocks: usize, out: &mut Out, [first_x, first]: [usize; 2]) {
    const { assert!(P::RUNNING == 8 || P::RUNNING == 16) };
    for x in 0..X {
        let sum = match (P::RUNNING, blocks) {
            (16, 16..) => sum_of::<X, 16, true>(running, x, blocks),
            (16, _) => sum_of::<X, 16, false>(running, x, blocks),
            (_, 8..) => sum_of::<X, 8, true>(running, x, blocks),
            _ => sum_of::<X, 8, false>(running, x, blocks),
        };
        out.take(first_x + x, first, sum);
    }
}

/// The sum of N running sums of row x, of which the first `blocks` were written, or all.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_of<const X: usize, const N: usize, const ALL: bool>(running: &Running<X>, x: usize, blocks: usize) -> __m512 {
    let of = |j: usize| {
        if !ALL && j >= blocks {
            return _mm512_setzero_ps();
        }
        // SAFETY: the sums of the first blocks were written.
        unsafe { running[j].as_ptr().cast::<__m512>().add(x).read() }
    };
    let two = |j: usize| if N == 16 { _mm512_add_ps(of(j), of(j + 8)) } else { of(j) };
    let four = |j: usize| _mm512_add_ps(two(j), two(j + 4));
    let eight = |j: usize| _mm512_add_ps(four(j), four(j + 2));
    _mm512_add_ps(eight(0), eight(1))
}
