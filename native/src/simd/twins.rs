//! Owns: the proof that every table of kernels computes what the scalar one computes.
//! Refuses to know: operations. Where only the order of f32 sums may differ, the bound is that of such sums.

use super::blocks::{half, to_half};
use super::weave::{SHORTS, shorten, weave32, weave256};
use super::{Floats, Kernels, Row, SCALED_STEP, Scaled, available, scalar};
use crate::formats::{Family, Format};
use crate::map::{Buffer, Mat, MatMut};
use crate::pool::Pool;

/// SplitMix64: the same numbers on every machine.
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// Tables other than the scalar one.
fn others() -> Vec<&'static Kernels> {
    available().into_iter().filter(|table| table.isa != "scalar").collect()
}

/// Where a block keeps f16 scales; all other bytes of quantized blocks may be anything.
fn halves_in(format: Format) -> &'static [usize] {
    match format {
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 | Format::Iq4Nl | Format::Iq4Xs => &[0],
        Format::Iq2Xxs | Format::Iq2Xs | Format::Iq2S | Format::Iq3Xxs | Format::Iq3S | Format::Iq1S => &[0],
        Format::Tq1_0 => &[52],
        Format::Tq2_0 => &[64],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
        _ => &[],
    }
}

/// A block of any bytes that stand for finite numbers.
fn block(noise: &mut Noise, format: Format) -> Vec<u8> {
    match format {
        Format::F32 => return noise.float().to_le_bytes().to_vec(),
        Format::F16 => return to_half(noise.float()).to_vec(),
        Format::Bf16 => return noise.float().to_le_bytes()[2..].to_vec(),
        Format::F8E4M3 => return vec![(noise.word() % 0x7f) as u8 | (noise.word() as u8 & 0x80)],
        _ => {}
    }
    let mut bytes: Vec<u8> = (0..format.block_bytes()).map(|_| noise.word() as u8).collect();
    for &at in halves_in(format) {
        bytes[at..at + 2].copy_from_slice(&to_half(noise.float() / 64.0));
    }
    if format == Format::Iq1M {
        // The highest nibbles of the last four words are an f16.
        let [low, high] = to_half(noise.float() / 64.0);
        for (i, nibble) in [low & 15, low >> 4, high & 15, high >> 4].into_iter().enumerate() {
            bytes[49 + 2 * i] = bytes[49 + 2 * i] & 15 | nibble << 4;
        }
    }
    if format == Format::Mxfp4 {
        bytes[0] = 120 + (noise.word() % 8) as u8;
    }
    bytes
}

fn rows_of(noise: &mut Noise, format: Format, rows: usize, cols: usize) -> Vec<u8> {
    (0..rows * cols / format.block_numbers()).flat_map(|_| block(noise, format)).collect()
}

/// Activations in all forms at once.
struct Activations {
    floats: Vec<f32>,
    q: Vec<i8>,
    scale: Vec<f32>,
    sums: Vec<i32>,
    scaled_sums: Vec<f32>,
    woven: Vec<i8>,
    short_sums: Vec<i16>,
}

impl Activations {
    fn of(kernels: &Kernels, family: Family, floats: Vec<f32>) -> Self {
        let n = floats.len();
        let mut to = Self {
            q: vec![0; n.next_multiple_of(512)],
            scale: vec![0.0; n.div_ceil(32).next_multiple_of(16)],
            sums: vec![0; n.div_ceil(16).next_multiple_of(32)],
            scaled_sums: vec![0.0; n.div_ceil(32).next_multiple_of(16)],
            woven: vec![0; n.next_multiple_of(512)],
            short_sums: vec![0; n.div_ceil(256) * SHORTS],
            floats,
        };
        match family {
            Family::Floats => {}
            Family::Blocks32 => {
                (kernels.quantize32)(&to.floats, &mut to.q, &mut to.scale, &mut to.sums, &mut to.scaled_sums);
                weave32(&to.q, &mut to.woven);
            }
            Family::Blocks256 => {
                (kernels.quantize256)(&to.floats, &mut to.q, &mut to.scale, &mut to.sums);
                weave256(&to.q, &mut to.woven);
                shorten(&to.sums, &mut to.short_sums);
            }
        }
        to
    }

    fn row(&self) -> Row<'_> {
        Row {
            floats: &self.floats,
            q: &self.q,
            scale: &self.scale,
            sums: &self.sums,
            scaled_sums: &self.scaled_sums,
            woven: &self.woven,
            short_sums: &self.short_sums,
        }
    }
}

/// Lengths that leave every kind of rest.
fn lengths(format: Format) -> Vec<usize> {
    match format.family() {
        Family::Floats => (1..70).chain([576, 1000]).collect(),
        Family::Blocks32 => (1..20).map(|blocks| blocks * 32).collect(),
        Family::Blocks256 => (1..6).chain([8, 11, 16, 17]).map(|blocks| blocks * 256).collect(),
    }
}

/// Two orders of the same f32 sum differ by at most this part of the sum of magnitudes.
fn order_bound(terms: usize) -> f32 {
    (terms as f32 + 8.0) * f32::EPSILON
}

#[test]
fn rows_of_every_format_multiply_as_in_the_scalar_table() {
    let mut noise = Noise(1);
    for table in others() {
        for &format in Format::ALL {
            for cols in lengths(format) {
                let weights = rows_of(&mut noise, format, 3, cols);
                let x = Activations::of(&scalar::KERNELS, format.family(), noise.floats(cols));
                let (mut got, mut expected) = ([0.0f32; 3], [0.0f32; 3]);
                (table.rows[format as usize])(&weights, &[x.row()], &mut got);
                (scalar::KERNELS.rows[format as usize])(&weights, &[x.row()], &mut expected);
                for (r, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let row_bytes = format.row_bytes(cols).unwrap();
                    let mut row = vec![0.0; cols];
                    scalar::decode(format, &weights[r * row_bytes..(r + 1) * row_bytes], &mut row);
                    // Blocks multiply q and offsets apart, so their magnitudes may be larger than the product's.
                    let largest = row.iter().fold(0.0f32, |most, w| most.max(w.abs()));
                    let bound = order_bound(cols) * largest * cols as f32;
                    assert!(
                        (got - expected).abs() <= bound,
                        "{} {} {cols}: {got} {expected}",
                        table.isa,
                        format.name()
                    );
                }
            }
        }
    }
}

#[test]
fn rows_of_numbers_by_themselves_give_the_bits_of_their_floats() {
    let mut noise = Noise(12);
    for table in available().into_iter().filter(|table| table.floats_as_dots) {
        for format in [Format::F32, Format::F16, Format::Bf16, Format::F8E4M3] {
            for (rows, cols, count) in [(1, 1, 1), (3, 33, 2), (4, 64, 3), (7, 100, 4), (32, 515, 6), (5, 16, 9)] {
                let weights = rows_of(&mut noise, format, rows, cols);
                let mut floats = vec![0.0; rows * cols];
                for (bytes, row) in weights.chunks_exact(cols * format.block_bytes()).zip(floats.chunks_exact_mut(cols)) {
                    scalar::decode(format, bytes, row);
                }
                let xs = noise.floats(count * cols);
                let of = |numbers, rows| Floats { numbers, stride: cols, rows, cols };
                let (mut got, mut expected) = (vec![0.0; count * rows], vec![0.0; count * rows]);
                let views: Vec<Row> = xs.chunks_exact(cols).map(|floats| Row { floats, ..Row::default() }).collect();
                (table.rows[format as usize])(&weights, &views, &mut got);
                (table.dots)(of(&xs, count), of(&floats, rows), &mut expected, rows);
                assert_eq!(bits(&got), bits(&expected), "{} {} {rows} x {cols}", table.isa, format.name());
            }
        }
    }
}

#[test]
fn rows_side_by_side_multiply_to_the_same_bits() {
    let mut noise = Noise(9);
    let mut pool = Pool::new(2).unwrap();
    for table in available() {
        for &format in Format::ALL {
            let shapes = [(1, 1, 5), (2, 3, 8), (3, 40, 9), (4, 19, 5), (7, 33, 16), (8, 21, 6), (17, 8, 17), (20, 5, 33), (9, 4, 70)];
            for (cols, rows, count) in shapes {
                let cols = cols * format.block_numbers();
                let weights = rows_of(&mut noise, format, rows, cols);
                let floats = noise.floats(count * cols);
                let x = Mat::over(&floats, cols);
                let mut activations = crate::kernels::Activations::default();
                activations.fill(&mut pool, table, x, |family| family == format.family(), true);
                // Not in their order, for lists of experts' rows are gathered.
                let list: Vec<usize> = (0..count).map(|i| i * 3 % count).collect();
                let lists = activations.lay(&mut pool, table, &[format], [&*list].into_iter());
                let xs: Vec<_> = list.iter().map(|&i| activations.row(format.family(), &x, i)).collect();
                let mut expected = vec![0.0; rows * count];
                (table.rows[format as usize])(&weights, &xs, &mut expected);
                if let Some(lanes_kernel) = table.lanes[format as usize] {
                    let sets = lists[0].sets.clone();
                    let lanes: Vec<_> = sets.map(|set| activations.lanes(format.family(), set)).collect();
                    let mut got = vec![0.0; rows * count];
                    lanes_kernel(&weights, &lanes, count, &mut Buffer::default(), &mut got);
                    assert_eq!(bits(&got), bits(&expected), "{} {} {cols} {rows} {count}", table.isa, format.name());
                }
                for (m, x) in xs.iter().enumerate() {
                    let mut alone = vec![0.0; rows];
                    (table.rows[format as usize])(&weights, &[*x], &mut alone);
                    assert_eq!(bits(&alone), bits(&expected[m * rows..(m + 1) * rows]));
                }
            }
        }
    }
}

#[test]
fn weight_rows_side_by_side_multiply_to_the_same_bits() {
    let mut noise = Noise(10);
    for table in available() {
        for &format in Format::ALL {
            let Some(panels) = table.panels[format as usize] else { continue };
            let short = [(1, 1, 2), (2, 3, 5), (3, 40, 9), (4, 19, 3), (7, 33, 1), (8, 21, 2)];
            let long = [(16, 7, 4), (17, 16, 6), (20, 5, 3), (43, 50, 23), (9, 81, 70)];
            for (cols, rows, count) in short.into_iter().chain(long) {
                let cols = cols * format.block_numbers();
                let weights = rows_of(&mut noise, format, rows, cols);
                let x: Vec<_> =
                    (0..count).map(|_| Activations::of(table, format.family(), noise.floats(cols))).collect();
                let xs: Vec<_> = x.iter().map(Activations::row).collect();
                let mut products = vec![0.0; rows * count];
                (table.rows[format as usize])(&weights, &xs, &mut products);
                // Columns 3 to 3 + rows of rows that are longer; nothing beside them is touched.
                let before = noise.floats(count * (rows + 5));
                for add in [false, true] {
                    let (mut got, mut expected) = (before.clone(), before.clone());
                    for (to, products) in expected.chunks_exact_mut(rows + 5).zip(products.chunks_exact(rows)) {
                        for (to, product) in to[3..].iter_mut().zip(products) {
                            *to = if add { *to + product } else { *product };
                        }
                    }
                    let mut all = MatMut::over(&mut got, rows + 5);
                    (panels.run)(&weights, &xs, &mut Buffer::default(), &mut all.columns(3..3 + rows), add);
                    assert_eq!(bits(&got), bits(&expected), "{} {} {cols} {rows} {count}", table.isa, format.name());
                }
            }
        }
    }
}

#[test]
fn extremes_of_a_byte_do_not_overflow() {
    let x = Activations::of(&scalar::KERNELS, Family::Blocks32, vec![1.0; 96]);
    assert!(x.q[..96].iter().all(|&q| q == 127));
    for (byte, value) in [(0x80u8, -128.0f32), (0x7f, 127.0)] {
        let mut weights = Vec::new();
        for _ in 0..3 {
            weights.extend([0x00, 0x3c]);
            weights.extend([byte; 32]);
        }
        let expected = 96.0 * 127.0 * value * x.scale[0];
        for table in available() {
            let mut got = [0.0];
            (table.rows[Format::Q8_0 as usize])(&weights, &[x.row()], &mut got);
            assert!((got[0] - expected).abs() <= expected.abs() * order_bound(8), "{}: {got:?}", table.isa);
        }
    }
}

#[test]
fn the_largest_codes_of_super_blocks_do_not_overflow() {
    for format in [Format::Q2K, Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq4Xs] {
        // Every code and every scale is the largest; d and dmin are one.
        let mut block = vec![0xff; format.block_bytes()];
        for &at in halves_in(format) {
            block[at..at + 2].copy_from_slice(&[0x00, 0x3c]);
        }
        if format == Format::Q6K {
            // Scales are signed.
            block[192..208].fill(0x80);
        }
        let weights = block.repeat(3);
        let mut numbers = vec![0.0; 768];
        scalar::decode(format, &weights, &mut numbers);
        for sign in [1.0, -1.0] {
            let x = Activations::of(&scalar::KERNELS, format.family(), vec![sign; 768]);
            let expected: f64 = numbers.iter().map(|&w| f64::from(w) * f64::from(sign)).sum();
            let largest = numbers.iter().fold(0.0f32, |most, w| most.max(w.abs()));
            for table in available() {
                let mut got = [0.0];
                (table.rows[format as usize])(&weights, &[x.row()], &mut got);
                let off = (f64::from(got[0]) - expected).abs();
                let bound = f64::from(largest) * 768.0 * f64::from(order_bound(768));
                assert!(off <= bound, "{} {}: {got:?} {expected}", table.isa, format.name());
            }
        }
    }
}

#[test]
fn small_weights_keep_their_bits_under_activations_of_one_sign() {
    let mut noise = Noise(7);
    let x = Activations::of(&scalar::KERNELS, Family::Blocks32, noise.floats(160).iter().map(|x| x.abs()).collect());
    for (format, plus, minus) in [(Format::Q8_0, 0x01, 0xff), (Format::Q4_0, 0x99, 0x77)] {
        let bytes = format.block_bytes() - 2;
        let weights: Vec<u8> = (0..5)
            .flat_map(|_| [0x00, 0x3c].into_iter().chain((0..bytes).map(|i| if i % 2 == 0 { plus } else { minus })))
            .collect();
        let mut expected = [0.0];
        (scalar::KERNELS.rows[format as usize])(&weights, &[x.row()], &mut expected);
        let bound = order_bound(5) * x.floats.iter().sum::<f32>();
        for table in others() {
            let mut got = [0.0];
            (table.rows[format as usize])(&weights, &[x.row()], &mut got);
            assert!((got[0] - expected[0]).abs() <= bound, "{} {}: {got:?} {expected:?}", table.isa, format.name());
        }
    }
}

#[test]
fn activations_are_rounded_to_the_same_bytes() {
    let mut noise = Noise(2);
    let mut inputs = vec![noise.floats(1024), vec![0.0; 512], vec![-0.0; 512], vec![f32::MIN_POSITIVE / 4.0; 512]];
    inputs.push(noise.floats(512).iter().map(|x| x * 1e30).collect());
    inputs.push((0..512).map(|i| [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY][(i / 64 + i % 7 % 2) % 4]).collect());
    inputs.push((0..512).map(|i| if i % 5 == 0 { f32::NAN } else { i as f32 }).collect());
    // Halves between two bytes go to the even one.
    inputs.push((0..512).map(|i| if i % 32 == 0 { 127.0 } else { i as f32 % 200.0 / 2.0 - 50.0 }).collect());
    for table in others() {
        for x in &inputs {
            for family in [Family::Blocks32, Family::Blocks256] {
                let got = Activations::of(table, family, x.clone());
                let expected = Activations::of(&scalar::KERNELS, family, x.clone());
                assert_eq!(got.q, expected.q, "{}", table.isa);
                assert_eq!(got.sums, expected.sums, "{}", table.isa);
                assert_eq!(bits(&got.scale), bits(&expected.scale), "{}", table.isa);
                assert_eq!(bits(&got.scaled_sums), bits(&expected.scaled_sums), "{}", table.isa);
                let of = if family == Family::Blocks32 { 32 } else { 256 };
                for (x, scale) in x.chunks_exact(of).zip(&got.scale) {
                    assert_eq!(x.iter().any(|x| x.is_nan()), scale.is_nan(), "{} blocks of {of}", table.isa);
                }
            }
        }
    }
}

#[test]
fn sums_of_squares_differ_by_their_order_alone() {
    let mut noise = Noise(3);
    for table in others() {
        for n in (0..70).chain([576, 4097]) {
            let a = noise.floats(n);
            let (got, expected) = ((table.squares)(&a), scalar::squares(&a));
            assert!((got - expected).abs() <= order_bound(n) * expected, "{} squares {n}", table.isa);
        }
    }
}

#[test]
fn products_of_matrices_differ_by_the_order_of_their_sums_and_by_nothing_that_is_beside_them() {
    let mut noise = Noise(7);
    for table in others() {
        for (rows, across, n) in [(1, 1, 1), (3, 5, 7), (4, 4, 16), (9, 70, 64), (16, 256, 128), (2, 33, 200)] {
            let (stride, beside) = (n + 3, across + 2);
            let (a, b) = (noise.floats(rows * stride), noise.floats(across * stride));
            let of = |numbers, rows| Floats { numbers, stride, rows, cols: n };
            let mut dots = vec![0.5; rows * beside];
            (table.dots)(of(&a, rows), of(&b, across), &mut dots, beside);
            // a's rows as factors of as many rows of b as they have columns.
            let wide = noise.floats(n * beside);
            let factors = Floats { numbers: &wide, stride: beside, rows: n, cols: across };
            let mut sums = vec![0.5; rows * beside];
            (table.sums)(of(&a, rows), factors, &mut sums, beside);
            for i in 0..rows {
                let a = &a[i * stride..][..n];
                let (dots, sums) = (&dots[i * beside..][..beside], &sums[i * beside..][..beside]);
                for (j, (&dot, &sum)) in dots.iter().zip(sums).enumerate().take(across) {
                    let b = &b[j * stride..][..n];
                    let bound = 2.0 * order_bound(n);
                    let magnitude: f32 = a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum();
                    assert!((dot - scalar::dot(a, b)).abs() <= bound * magnitude, "{} {rows} {across} {n}", table.isa);
                    let column: Vec<f32> = (0..n).map(|k| wide[k * beside + j]).collect();
                    let magnitude: f32 = 0.5 + a.iter().zip(&column).map(|(a, b)| (a * b).abs()).sum::<f32>();
                    let expected = a.iter().zip(&column).fold(0.5, |sum, (a, b)| sum + a * b);
                    assert!((sum - expected).abs() <= bound * magnitude, "{} {rows} {across} {n}", table.isa);
                    let mut alone = [0.0, 0.5];
                    let one = |numbers, cols| Floats { numbers, stride: cols, rows: 1, cols };
                    (table.dots)(one(a, n), one(b, n), &mut alone[..1], 1);
                    (table.sums)(one(a, n), Floats { numbers: &column, stride: 1, rows: n, cols: 1 }, &mut alone[1..], 1);
                    assert_eq!(bits(&alone), bits(&[dot, sum]), "{} {rows} {across} {n}", table.isa);
                }
                assert_eq!((&dots[across..], &sums[across..]), (&[0.5; 2][..], &[0.5; 2][..]), "{}", table.isa);
            }
        }
    }
}

#[test]
fn block_scaled_codes_give_the_bits_of_their_floats() {
    let mut noise = Noise(8);
    for table in others() {
        let Some(kernel) = table.scaled else { continue };
        for (rows, before, cols, few) in [(1, 0, 16, 1), (7, 126, 128, 3), (32, 5, 512, 4), (5, 127, 200, 2), (4, 0, 77, 1)] {
            let (block_rows, block_cols) = (128, SCALED_STEP * 8);
            let codes = rows_of(&mut noise, Format::F8E4M3, rows, cols);
            let factors = noise.floats((before + rows).div_ceil(block_rows) * cols.div_ceil(block_cols));
            let weights = Scaled { codes: &codes, cols, factors: &factors, before, block_rows, block_cols };
            let mut floats = vec![0.0; rows * cols];
            for (r, row) in floats.chunks_exact_mut(cols).enumerate() {
                scalar::decode(Format::F8E4M3, weights.row(r), row);
                for (row, factor) in row.chunks_mut(block_cols).zip(weights.factors_of(r)) {
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            let xs = noise.floats(few * cols);
            let of = |numbers, rows| Floats { numbers, stride: cols, rows, cols };
            let (mut got, mut expected) = (vec![0.0; few * rows], vec![0.0; few * rows]);
            let views: Vec<Row> = xs.chunks_exact(cols).map(|floats| Row { floats, ..Row::default() }).collect();
            kernel(weights, &views, &mut got);
            (table.dots)(of(&xs, few), of(&floats, rows), &mut expected, rows);
            assert_eq!(bits(&got), bits(&expected), "{} {rows} x {cols}", table.isa);
        }
    }
}

#[test]
fn numbers_one_by_one_differ_by_a_rounding_at_most() {
    let mut noise = Noise(4);
    for table in others() {
        for n in (0..40).chain([1000]) {
            let (a, b) = (noise.floats(n), noise.floats(n));
            let wide: Vec<f32> = a.iter().map(|x| x * 90.0).collect();
            let twins = |of: &dyn Fn(&Kernels, &mut [f32])| {
                let (mut got, mut expected) = (wide.clone(), wide.clone());
                of(table, &mut got);
                of(&scalar::KERNELS, &mut expected);
                (got, expected)
            };
            for (what, (got, expected)) in [
                ("swiglu", twins(&|kernels, x| (kernels.swiglu)(x, &b))),
                ("add", twins(&|kernels, x| (kernels.add)(x, &b))),
                ("add_scaled", twins(&|kernels, x| (kernels.add_scaled)(x, 0.37, &b))),
                ("largest", twins(&|kernels, x| x.fill((kernels.exponentials)(&mut x.to_vec(), 0.7).0))),
                ("exponentials", twins(&|kernels, x| x.fill((kernels.exponentials)(&mut x.to_vec(), 0.7).1))),
                ("exponentials' numbers", twins(&|kernels, x| _ = (kernels.exponentials)(x, 0.7))),
            ] {
                for (got, expected) in got.iter().zip(&expected) {
                    let bound = 1e-5 * expected.abs() + f32::MIN_POSITIVE;
                    assert!((got - expected).abs() <= bound, "{} {what} {n}: {got} {expected}", table.isa);
                }
            }
        }
    }
}

#[test]
fn halves_are_converted_bit_by_bit() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut noise = Noise(5);
    let mut floats: Vec<f32> = (0..100_000).map(|_| f32::from_bits(noise.word() as u32)).collect();
    // Halfway between two halves, and beside it.
    floats.extend(all.as_chunks::<2>().0.iter().flat_map(|&h| {
        let middle = half(h).to_bits() | 1 << 12;
        [middle - 1, middle, middle + 1].map(f32::from_bits)
    }));
    floats.retain(|x| !x.is_nan());
    for table in others() {
        for n in [0, 1, 7, 8, 9, 31, 1 << 16] {
            let (mut got, mut expected) = (vec![0.0; n], vec![0.0; n]);
            (table.from_half)(&all[..2 * n], &mut got);
            scalar::from_half(&all[..2 * n], &mut expected);
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            assert!(got.iter().zip(&expected).all(same), "{} {n}", table.isa);
        }
        let (mut got, mut expected) = (vec![0; floats.len() * 2], vec![0; floats.len() * 2]);
        (table.to_half)(&floats, &mut got);
        scalar::to_halves(&floats, &mut expected);
        assert!(got == expected, "{}", table.isa);
    }
}

#[test]
fn rows_are_decoded_bit_by_bit() {
    let mut noise = Noise(6);
    for table in others() {
        for &format in Format::ALL {
            let cols = 3 * format.block_numbers().max(16);
            let bytes = rows_of(&mut noise, format, 1, cols);
            let (mut got, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
            (table.decode)(format, &bytes, &mut got);
            scalar::decode(format, &bytes, &mut expected);
            assert_eq!(bits(&got), bits(&expected), "{} {}", table.isa, format.name());
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_exponential_is_near_the_truth_from_end_to_end() {
    for n in 0..=1_753_000 {
        let x = (-87.3 + f64::from(n) * 1e-4) as f32;
        let (got, expected) = (f64::from(scalar::exp(x)), f64::from(x.min(88.0)).exp());
        assert!((got / expected - 1.0).abs() < 2.5e-7, "{x}: {got} {expected}");
    }
    assert_eq!([scalar::exp(0.0), scalar::exp(-88.0), scalar::exp(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
    assert_eq!(scalar::exp(f32::INFINITY), scalar::exp(88.0));
    for table in available() {
        assert_eq!((table.exponentials)(&mut [], 3.0), (f32::NEG_INFINITY, 0.0));
        let mut x = [f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY];
        assert_eq!((table.exponentials)(&mut x, 3.0), (6.0, 1.0));
        assert_eq!(x, [0.0, 1.0, 0.0]);
    }
}
