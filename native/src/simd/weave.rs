//! Owns: the order in which products of a few rows meet activations, so that weights are used as they are loaded.
//! Refuses to know: weights, instruction sets.
//!
//! A vector holds sixteen numbers of each of four blocks (or groups), so that a block's products lie in four neighbours.

/// Blocks of 32: of every four blocks the first halves, then the second halves.
pub fn weave32(q: &[i8], woven: &mut [i8]) {
    let (fours, _) = q.as_chunks::<128>();
    let (to, _) = woven.as_chunks_mut::<128>();
    for (four, to) in fours.iter().zip(to) {
        for block in 0..4 {
            for half in 0..2 {
                to[64 * half + 16 * block..][..16].copy_from_slice(&four[32 * block + 16 * half..][..16]);
            }
        }
    }
}

/// Blocks of 256 in groups of 32: the first halves of even groups, their second halves, then those of odd groups.
pub fn weave256(q: &[i8], woven: &mut [i8]) {
    let (blocks, _) = q.as_chunks::<256>();
    let (to, _) = woven.as_chunks_mut::<256>();
    for (block, to) in blocks.iter().zip(to) {
        for group in 0..8 {
            for half in 0..2 {
                let at = 128 * (group % 2) + 64 * half + 16 * (group / 2);
                to[at..at + 16].copy_from_slice(&block[32 * group + 16 * half..][..16]);
            }
        }
    }
}

/// Short sums of a block of 256: 16 of 16 numbers, 8 of 32.
pub const SHORTS: usize = 24;

/// Blocks of 256: the sums of 16 as short words, those of 32 after them.
pub fn shorten(sums: &[i32], shorts: &mut [i16]) {
    let (sums, _) = sums.as_chunks::<16>();
    let (shorts, _) = shorts.as_chunks_mut::<SHORTS>();
    for (sums, shorts) in sums.iter().zip(shorts) {
        for (short, sum) in shorts.iter_mut().zip(sums) {
            *short = *sum as i16;
        }
        for (pair, of32) in sums.as_chunks::<2>().0.iter().zip(&mut shorts[16..]) {
            *of32 = (pair[0] + pair[1]) as i16;
        }
    }
}
