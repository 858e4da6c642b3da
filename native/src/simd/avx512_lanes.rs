//! Owns: products of weight rows with many rows of activations by AVX-512 VNNI: sixteen rows lie side by side, one in
//! each lane, and weights are unpacked to bytes once for all of them.
//! Refuses to know: tensors, threads, operations.
//!
//! A lane does what `avx512_rows` does for its two rows, in the same order, so products have the same bits here and
//! there: exact in i32 inside a block, block b adding to running sum b mod 8 (16), the sums added at last by halves.

use super::Lanes;
use super::avx512_blocks::{Wide32, Wide256};
use super::blocks::blocks_of;
use crate::map::Buffer;
use std::arch::x86_64::*;

/// Rows of activations in one set of lanes.
const LANES: usize = 16;
/// Weight rows that are unpacked together: few enough that they stay in a core's second cache.
const PANEL_ROWS: usize = 32;
/// Weight rows whose sums are kept in registers together.
const QUAD: usize = 4;

/// Vectors of lanes: all sixteen, or the first eight where no more are wanted.
trait Width {
    type I: Copy;
    type F: Copy;
    unsafe fn zero() -> Self::I;
    unsafe fn load(at: *const i32) -> Self::I;
    unsafe fn same(x: i32) -> Self::I;
    unsafe fn dpbusd(sum: Self::I, u: Self::I, q: Self::I) -> Self::I;
    unsafe fn dpwssd(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    unsafe fn add(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn mul(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn to_floats(x: Self::I) -> Self::F;
    unsafe fn zero_f() -> Self::F;
    unsafe fn load_f(at: *const f32) -> Self::F;
    unsafe fn store_f(at: *mut f32, x: Self::F);
    unsafe fn same_f(x: f32) -> Self::F;
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn fmadd(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn fnmadd(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}

macro_rules! width {
    ($name:ident $i:ty, $f:ty; $(fn $fn:ident($($arg:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {
        struct $name;
        impl Width for $name {
            type I = $i;
            type F = $f;
            $(
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
                unsafe fn $fn($($arg: $type),*) -> $result {
                    // SAFETY: the caller has the features, and its pointers have room for a vector.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            )*
        }
    };
}

width! {
    All __m512i, __m512;
    fn zero() -> __m512i = _mm512_setzero_si512();
    fn load(at: *const i32) -> __m512i = _mm512_loadu_si512(at.cast());
    fn same(x: i32) -> __m512i = _mm512_set1_epi32(x);
    fn dpbusd(sum: __m512i, u: __m512i, q: __m512i) -> __m512i = _mm512_dpbusd_epi32(sum, u, q);
    fn dpwssd(sum: __m512i, a: __m512i, b: __m512i) -> __m512i = _mm512_dpwssd_epi32(sum, a, b);
    fn add(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
    fn mul(a: __m512i, b: __m512i) -> __m512i = _mm512_mullo_epi32(a, b);
    fn to_floats(x: __m512i) -> __m512 = _mm512_cvtepi32_ps(x);
    fn zero_f() -> __m512 = _mm512_setzero_ps();
    fn load_f(at: *const f32) -> __m512 = _mm512_loadu_ps(at);
    fn store_f(at: *mut f32, x: __m512) -> () = _mm512_storeu_ps(at, x);
    fn same_f(x: f32) -> __m512 = _mm512_set1_ps(x);
    fn mul_f(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
    fn fmadd(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
    fn fnmadd(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
}

width! {
    Half __m256i, __m256;
    fn zero() -> __m256i = _mm256_setzero_si256();
    fn load(at: *const i32) -> __m256i = _mm256_loadu_si256(at.cast());
    fn same(x: i32) -> __m256i = _mm256_set1_epi32(x);
    fn dpbusd(sum: __m256i, u: __m256i, q: __m256i) -> __m256i = _mm256_dpbusd_epi32(sum, u, q);
    fn dpwssd(sum: __m256i, a: __m256i, b: __m256i) -> __m256i = _mm256_dpwssd_epi32(sum, a, b);
    fn add(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
    fn mul(a: __m256i, b: __m256i) -> __m256i = _mm256_mullo_epi32(a, b);
    fn to_floats(x: __m256i) -> __m256 = _mm256_cvtepi32_ps(x);
    fn zero_f() -> __m256 = _mm256_setzero_ps();
    fn load_f(at: *const f32) -> __m256 = _mm256_loadu_ps(at);
    fn store_f(at: *mut f32, x: __m256) -> () = _mm256_storeu_ps(at, x);
    fn same_f(x: f32) -> __m256 = _mm256_set1_ps(x);
    fn mul_f(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
    fn fmadd(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
    fn fnmadd(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
}

/// Weight rows unpacked: bytes, and what multiplies and offsets them.
struct Panel<'a> {
    /// [rows, cols]
    bytes: &'a mut [u8],
    /// [rows, blocks]
    d: &'a mut [f32],
    /// m or dmin: [rows, blocks]
    m: &'a mut [f32],
    /// Blocks of 256: scales of groups [rows, cols / GROUP].
    scales: &'a mut [i32],
    /// Blocks of 256: two i16 for each two groups (mins), or for each 32 numbers (offsets): [rows, pairs].
    pairs: &'a mut [i32],
    /// Running sums: [running sums, rows, 32].
    running: &'a mut [f32],
}

/// A format's way through a panel.
trait Unpack {
    const RUNNING: usize;
    const BLOCK: usize;
    /// Scales and pairs of a block.
    const SCALES: usize;
    const PAIRS: usize;
    /// Unpacks block b of a row to row `r` of the panel.
    ///
    /// # Safety
    /// The processor has the features of this file.
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize);
    /// Products of four rows from `r` on with V vectors of lanes, blocks b = j mod RUNNING.
    ///
    /// # Safety
    /// The processor has the features of this file; the panel has the rows, all lanes as many columns as the panel.
    unsafe fn multiply<W: Width, const V: usize>(panel: &Panel, r: usize, j: usize, lanes: [&Lanes; V]) -> [[W::F; V]; QUAD];
}

struct Of32<B>(std::marker::PhantomData<B>);
struct Of256<B>(std::marker::PhantomData<B>);

impl<B: Wide32> Unpack for Of32<B> {
    const RUNNING: usize = 16;
    const BLOCK: usize = 32;
    const SCALES: usize = 0;
    const PAIRS: usize = 0;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        let blocks = blocks_of::<B>(row);
        let n = blocks.len();
        let (bytes, _) = panel.bytes[r * 32 * n..(r + 1) * 32 * n].as_chunks_mut::<32>();
        let (d, m) = (&mut panel.d[r * n..(r + 1) * n], &mut panel.m[r * n..(r + 1) * n]);
        for ((block, bytes), (d, m)) in blocks.iter().zip(bytes).zip(d.iter_mut().zip(m)) {
            // SAFETY: 32 bytes are there; this function has the features.
            unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), block.numbers()) };
            *d = half_of(block.d());
            if B::MINS {
                *m = half_of(block.m());
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn multiply<W: Width, const V: usize>(panel: &Panel, r: usize, j: usize, lanes: [&Lanes; V]) -> [[W::F; V]; QUAD] {
        let n = lanes[0].scale.len() / LANES;
        // SAFETY: the caller's promises: rows r to r + 3 of the panel and n blocks of all lanes are there.
        unsafe {
            let mut sums = [[W::zero_f(); V]; QUAD];
            for b in (j..n).step_by(Self::RUNNING) {
                let mut exact = [[W::zero(); V]; QUAD];
                if B::MINUS != 0 {
                    for v in 0..V {
                        let offset = W::mul(W::load(lanes[v].sums.as_ptr().add(LANES * b)), W::same(-B::MINUS));
                        for exact in &mut exact {
                            exact[v] = offset;
                        }
                    }
                }
                dot_bytes::<W, V, 8>(panel.bytes.as_ptr().add(32 * (r * n + b)), 32 * n, lanes, 8 * b, &mut exact);
                for v in 0..V {
                    let scale = W::load_f(lanes[v].scale.as_ptr().add(LANES * b));
                    for i in 0..QUAD {
                        let factor = W::mul_f(W::same_f(*panel.d.as_ptr().add((r + i) * n + b)), scale);
                        sums[i][v] = W::fmadd(factor, W::to_floats(exact[i][v]), sums[i][v]);
                    }
                    if B::MINS {
                        let offset = W::load_f(lanes[v].scaled_sums.as_ptr().add(LANES * b));
                        for i in 0..QUAD {
                            sums[i][v] = W::fmadd(W::same_f(*panel.m.as_ptr().add((r + i) * n + b)), offset, sums[i][v]);
                        }
                    }
                }
            }
            sums
        }
    }
}

/// exact[i][v] += bytes of row i . bytes of the lanes, over STEPS times four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn dot_bytes<W: Width, const V: usize, const STEPS: usize>(
    bytes: *const u8,
    stride: usize,
    lanes: [&Lanes; V],
    from: usize,
    exact: &mut [[W::I; V]; QUAD],
) {
    for step in 0..STEPS {
        // SAFETY: the caller's promise: STEPS words of four rows of bytes, and of all lanes from word `from` on.
        unsafe {
            let q: [W::I; V] = std::array::from_fn(|v| W::load(lanes[v].q.as_ptr().add(LANES * (from + step))));
            for (i, exact) in exact.iter_mut().enumerate() {
                let u = W::same(bytes.add(i * stride + 4 * step).cast::<i32>().read_unaligned());
                for v in 0..V {
                    exact[v] = W::dpbusd(exact[v], u, q[v]);
                }
            }
        }
    }
}

#[target_feature(enable = "f16c")]
fn half_of(bits: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

impl<B: Wide256> Unpack for Of256<B> {
    const RUNNING: usize = 8;
    const BLOCK: usize = 256;
    const SCALES: usize = 256 / B::GROUP;
    const PAIRS: usize = if B::MINS || B::MINUS != 0 { if B::GROUP == 32 { 4 } else { 8 } } else { 0 };

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn unpack(panel: &mut Panel, row: &[u8], r: usize) {
        let blocks = blocks_of::<B>(row);
        let n = blocks.len();
        for (b, block) in blocks.iter().enumerate() {
            let at = r * n + b;
            let bytes = &mut panel.bytes[256 * at..256 * at + 256];
            for quarter in 0..4 {
                let to: &mut [u8] = &mut bytes[64 * quarter..64 * quarter + 64];
                // SAFETY: 64 bytes are there; this function has the features.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), block.numbers(quarter)) };
            }
            let factors = block.factors();
            panel.d[at] = half_of(factors as u16);
            panel.m[at] = half_of((factors >> 16) as u16);
            // SAFETY: this function has the features.
            let (scales, mins) = unsafe { (block.scales(), block.mins()) };
            let scales_to: &mut [i32] = &mut panel.scales[Self::SCALES * at..Self::SCALES * (at + 1)];
            // SAFETY: 8 or 16 numbers are there.
            unsafe {
                if B::GROUP == 32 {
                    // Each scale stands there twice: every second byte is wanted.
                    let own = _mm256_srai_epi32(_mm256_slli_epi32(_mm256_cvtepu16_epi32(scales), 24), 24);
                    _mm256_storeu_si256(scales_to.as_mut_ptr().cast(), own);
                } else {
                    _mm512_storeu_si512(scales_to.as_mut_ptr().cast(), _mm512_cvtepi8_epi32(scales));
                }
            }
            let pairs_to: &mut [i32] = &mut panel.pairs[Self::PAIRS * at..Self::PAIRS * (at + 1)];
            // SAFETY: 4 or 8 numbers are there.
            unsafe {
                if B::MINS && B::GROUP == 32 {
                    let own = _mm_and_si128(mins, _mm_set1_epi16(255));
                    _mm_storeu_si128(pairs_to.as_mut_ptr().cast(), own);
                } else if B::MINS {
                    _mm256_storeu_si256(pairs_to.as_mut_ptr().cast(), _mm256_cvtepu8_epi16(mins));
                } else if B::MINUS != 0 {
                    let minus = _mm256_set1_epi16(-(B::MINUS as i16));
                    let own = _mm256_mullo_epi16(_mm256_cvtepi8_epi16(scales), minus);
                    _mm256_storeu_si256(pairs_to.as_mut_ptr().cast(), own);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
    unsafe fn multiply<W: Width, const V: usize>(panel: &Panel, r: usize, j: usize, lanes: [&Lanes; V]) -> [[W::F; V]; QUAD] {
        const { assert!(!(B::MINS && B::MINUS != 0)) };
        let n = lanes[0].scale.len() / LANES;
        // SAFETY: the caller's promises: rows r to r + 3 of the panel and n blocks of all lanes are there.
        unsafe {
            let mut sums = [[W::zero_f(); V]; QUAD];
            for b in (j..n).step_by(Self::RUNNING) {
                let mut exact = [[W::zero(); V]; QUAD];
                for g in 0..Self::SCALES {
                    let mut group = [[W::zero(); V]; QUAD];
                    let bytes = panel.bytes.as_ptr().add(256 * (r * n + b) + B::GROUP * g);
                    let from = 64 * b + B::GROUP / 4 * g;
                    if B::GROUP == 32 {
                        dot_bytes::<W, V, 8>(bytes, 256 * n, lanes, from, &mut group);
                    } else {
                        dot_bytes::<W, V, 4>(bytes, 256 * n, lanes, from, &mut group);
                    }
                    for i in 0..QUAD {
                        let scale = W::same(*panel.scales.as_ptr().add(Self::SCALES * ((r + i) * n + b) + g));
                        for v in 0..V {
                            exact[i][v] = W::add(exact[i][v], W::mul(group[i][v], scale));
                        }
                    }
                }
                // Mins are multiplied apart, offsets belong to the exact sum.
                let mut apart = if B::MINS { [[W::zero(); V]; QUAD] } else { exact };
                for pair in 0..Self::PAIRS {
                    for v in 0..V {
                        let (sums, at) = match B::GROUP {
                            32 => (lanes[v].sums_of_32, 4 * b + pair),
                            _ => (lanes[v].sums, 8 * b + pair),
                        };
                        let sums = W::load(sums.as_ptr().add(LANES * at));
                        for (i, apart) in apart.iter_mut().enumerate() {
                            let own = *panel.pairs.as_ptr().add(Self::PAIRS * ((r + i) * n + b) + pair);
                            apart[v] = W::dpwssd(apart[v], W::same(own), sums);
                        }
                    }
                }
                for v in 0..V {
                    let scale = W::load_f(lanes[v].scale.as_ptr().add(LANES * b));
                    for i in 0..QUAD {
                        let d = W::same_f(*panel.d.as_ptr().add((r + i) * n + b));
                        let mut part;
                        if B::MINS {
                            part = W::mul_f(d, W::to_floats(exact[i][v]));
                            let dmin = W::same_f(*panel.m.as_ptr().add((r + i) * n + b));
                            part = W::fnmadd(dmin, W::to_floats(apart[i][v]), part);
                        } else {
                            part = W::mul_f(d, W::to_floats(apart[i][v]));
                        }
                        sums[i][v] = W::fmadd(scale, part, sums[i][v]);
                    }
                }
            }
            sums
        }
    }
}

/// out[t][r] = weight row r . lane t, for formats of blocks of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn lanes32<B: Wide32>(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    product::<Of32<B>>(weights, lanes, count, work, out);
}

/// out[t][r] = weight row r . lane t, for formats of blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) fn lanes256<B: Wide256>(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    product::<Of256<B>>(weights, lanes, count, work, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn product<U: Unpack>(weights: &[u8], lanes: &[Lanes], count: usize, work: &mut Buffer<f32>, out: &mut [f32]) {
    let rows = out.len() / count;
    let row_bytes = weights.len() / rows;
    let blocks = lanes[0].scale.len() / LANES;
    assert!(lanes.len() * LANES >= count && lanes.iter().all(|l| l.fits(blocks, U::BLOCK)));
    for from in (0..rows).step_by(PANEL_ROWS) {
        let here = PANEL_ROWS.min(rows - from);
        let mut panel = panel_in::<U>(work, here.next_multiple_of(QUAD), blocks);
        for r in 0..here {
            let row = &weights[(from + r) * row_bytes..(from + r + 1) * row_bytes];
            // SAFETY: this function has the features.
            unsafe { U::unpack(&mut panel, row, r) };
        }
        for (pair, lanes) in lanes.chunks(2).enumerate() {
            let at = 2 * LANES * pair;
            let left = (count - at).min(2 * LANES);
            let to = Out { out: &mut *out, rows, at: (at, from), here };
            match (lanes, left) {
                ([a, b], _) if left > LANES => tile::<U, All, 2>(&mut panel, [a, b], left, to),
                ([a, ..], 9..) => tile::<U, All, 1>(&mut panel, [a], left, to),
                ([a, ..], _) => tile::<U, Half, 1>(&mut panel, [a], left, to),
                _ => {}
            }
        }
    }
}

/// Where a tile's products go: out[at.0 + t][at.1 + r] for r below `here`.
struct Out<'a> {
    out: &'a mut [f32],
    rows: usize,
    at: (usize, usize),
    here: usize,
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
fn tile<U: Unpack, W: Width, const V: usize>(panel: &mut Panel, lanes: [&Lanes; V], count: usize, to: Out) {
    let blocks = lanes[0].scale.len() / LANES;
    let across = V * LANES;
    let used = U::RUNNING.min(blocks);
    let padded = to.here.next_multiple_of(QUAD);
    let size = padded * across;
    assert!(panel.running.len() >= U::RUNNING * size);
    for j in 0..used {
        for r in (0..padded).step_by(QUAD) {
            // SAFETY: this function has the features; `product` has checked the sizes of panel and lanes, and the
            // running sums have room for `across` numbers of every row.
            unsafe {
                let sums = U::multiply::<W, V>(panel, r, j, lanes);
                let at = panel.running.as_mut_ptr().add(j * size + r * across);
                for (i, sums) in sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        W::store_f(at.add(i * across + v * LANES), *sum);
                    }
                }
            }
        }
    }
    panel.running[used * size..U::RUNNING * size].fill(0.0);
    let mut halves = U::RUNNING / 2;
    while halves > 0 {
        let (low, high) = panel.running.split_at_mut(halves * size);
        for (low, high) in low.iter_mut().zip(&*high) {
            *low += high;
        }
        halves /= 2;
    }
    let sums = &panel.running[..size];
    for t in 0..count {
        let row = &mut to.out[(to.at.0 + t) * to.rows + to.at.1..][..to.here];
        for (r, out) in row.iter_mut().enumerate() {
            *out = sums[r * across + t];
        }
    }
}

fn panel_in<U: Unpack>(work: &mut Buffer<f32>, rows: usize, blocks: usize) -> Panel<'_> {
    let sizes = [
        rows * blocks * U::BLOCK / 4,
        rows * blocks,
        rows * blocks,
        rows * blocks * U::SCALES,
        rows * blocks * U::PAIRS,
        U::RUNNING * rows * 2 * LANES,
    ];
    let all = work.ensure(sizes.iter().map(|size| size.next_multiple_of(LANES)).sum());
    let mut rest = all;
    let mut parts = sizes.map(|size| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(size.next_multiple_of(LANES));
        rest = others;
        Some(&mut part[..size])
    });
    let mut part = |n: usize| parts[n].take().unwrap_or_default();
    Panel {
        bytes: crate::map::as_unsigned_mut(part(0)),
        d: part(1),
        m: part(2),
        scales: crate::map::as_ints_mut(part(3)),
        pairs: crate::map::as_ints_mut(part(4)),
        running: part(5),
    }
}
