//! Owns: the few levels that the codes of IQ4_NL, IQ4_XS and MXFP4 name.
//! Refuses to know: the search, block layouts.

use super::search::{Levels, Whole};
use crate::simd::unpack::{FP4_DOUBLED, IQ4_LEVELS};

/// Twice the values of MXFP4, once each.
const MXFP4: [f64; 15] = [-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

pub fn iq4_levels() -> Levels {
    Levels::new(&IQ4_LEVELS.map(f64::from))
}

pub fn mxfp4_levels() -> Levels {
    Levels::new(&MXFP4)
}

/// The scales of IQ4_XS.
pub fn scale_code_of_levels() -> Whole {
    Whole::signed(32.0)
}

/// The nibble of a level of IQ4, of which 127 has been added to.
pub fn nibble_of(level: u8) -> u8 {
    NIBBLES[usize::from(level)]
}

/// The code of a value of MXFP4, of which 12 has been added to.
pub fn code_of(value: u8) -> u8 {
    CODES[usize::from(value)]
}

const NIBBLES: [u8; 241] = {
    let mut nibbles = [0; 241];
    let mut i = 0;
    while i < 241 {
        let mut below = 0;
        while below < 16 && (IQ4_LEVELS[below] as i32) < i as i32 - 127 {
            below += 1;
        }
        nibbles[i] = below as u8;
        i += 1;
    }
    nibbles
};

const CODES: [u8; 25] = {
    let mut codes = [0; 25];
    let mut code = 16;
    // The code of -0 is 0: the first of two codes of the same value wins.
    while code > 0 {
        code -= 1;
        codes[(FP4_DOUBLED[code] as i32 + 12) as usize] = code as u8;
    }
    codes
};
