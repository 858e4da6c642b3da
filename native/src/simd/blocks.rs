//! Owns: the byte layouts of quantized blocks, as GGUF defines them, and seeing bytes as blocks.
//! Refuses to know: how blocks are multiplied. All fields are bytes, so a block may lie at any address.

macro_rules! blocks {
    ($($(#[$doc:meta])* $name:ident $bytes:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy)]
            #[repr(C)]
            pub struct $name { $(pub $field: $type),* }
            const _: () = assert!(size_of::<$name>() == $bytes && align_of::<$name>() == 1);
            impl AnyBytes for $name {}
        )*
    };
}

pub use sealed::AnyBytes;

mod sealed {
    /// Structures of bytes alone: every bit pattern is valid, at any address.
    pub trait AnyBytes: Copy {}
}

blocks! {
    /// y = d * q
    BlockQ8_0 34 { d: [u8; 2], q: [u8; 32] }
    /// y[j] = d * ((q[j] & 15) - 8), y[j + 16] = d * ((q[j] >> 4) - 8)
    BlockQ4_0 18 { d: [u8; 2], q: [u8; 16] }
    /// As Q4_0, but the nibble is looked up among 16 levels.
    BlockIq4Nl 18 { d: [u8; 2], q: [u8; 16] }
    /// y = d * nibble + m
    BlockQ4_1 20 { d: [u8; 2], m: [u8; 2], q: [u8; 16] }
    /// As Q4_0 with a fifth bit in h, minus 16.
    BlockQ5_0 22 { d: [u8; 2], h: [u8; 4], q: [u8; 16] }
    /// As Q4_1 with a fifth bit in h.
    BlockQ5_1 24 { d: [u8; 2], m: [u8; 2], h: [u8; 4], q: [u8; 16] }
    /// y = 2^(e - 127) * code
    BlockMxfp4 17 { e: u8, q: [u8; 16] }
    BlockQ2K 84 { scales: [u8; 16], q: [u8; 64], d: [u8; 2], dmin: [u8; 2] }
    BlockQ3K 110 { hmask: [u8; 32], q: [u8; 64], scales: [u8; 12], d: [u8; 2] }
    BlockQ4K 144 { d: [u8; 2], dmin: [u8; 2], scales: [u8; 12], q: [u8; 128] }
    BlockQ5K 176 { d: [u8; 2], dmin: [u8; 2], scales: [u8; 12], qh: [u8; 32], q: [u8; 128] }
    BlockQ6K 210 { ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: [u8; 2] }
    BlockIq4Xs 136 { d: [u8; 2], scales_h: [u8; 2], scales_l: [u8; 4], q: [u8; 128] }
    BlockIq2Xxs 66 { d: [u8; 2], q: [u8; 64] }
    BlockIq2Xs 74 { d: [u8; 2], q: [u8; 64], scales: [u8; 8] }
    BlockIq2S 82 { d: [u8; 2], q: [u8; 32], signs: [u8; 32], qh: [u8; 8], scales: [u8; 8] }
    BlockIq3Xxs 98 { d: [u8; 2], q: [u8; 64], scales_signs: [u8; 32] }
    BlockIq3S 110 { d: [u8; 2], q: [u8; 64], qh: [u8; 8], signs: [u8; 32], scales: [u8; 4] }
    BlockIq1S 50 { d: [u8; 2], q: [u8; 32], qh: [u8; 16] }
    BlockIq1M 56 { q: [u8; 32], qh: [u8; 16], scales: [u8; 8] }
    BlockTq1_0 54 { q: [u8; 48], qh: [u8; 4], d: [u8; 2] }
    BlockTq2_0 66 { q: [u8; 64], d: [u8; 2] }
}

/// Bytes seen as whole blocks; bytes after the last whole one are left out.
pub fn blocks_of<B: AnyBytes>(bytes: &[u8]) -> &[B] {
    // SAFETY: AnyBytes structures have alignment 1 and no invalid bit pattern; the count stays inside the slice.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<B>()) }
}

/// An f16 as f32, exactly.
pub fn half(bytes: [u8; 2]) -> f32 {
    let h = u16::from_le_bytes(bytes) as u32;
    let sign = (h & 0x8000) << 16;
    let magnitude = h & 0x7fff;
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13);
    }
    // The exponent is rebased by a multiplication, which also makes subnormals right.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(scaled.to_bits() | sign)
}

/// An f32 rounded to the nearest f16, ties to even; too large becomes infinity.
pub fn to_half(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: rebias the exponent, add half of the last place (and its parity), cut 13 bits.
        let rebiased = magnitude - 0x3800_0000;
        ((rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13) as u16
    } else {
        // Subnormal: adding 0.5 leaves the wanted 10 bits, rounded, at the end of the mantissa.
        ((f32::from_bits(magnitude) + 0.5).to_bits() - 0x3f00_0000) as u16
    };
    (sign | half).to_le_bytes()
}

/// A bfloat16 as f32.
pub fn brain(bytes: [u8; 2]) -> f32 {
    f32::from_bits((u16::from_le_bytes(bytes) as u32) << 16)
}

/// An f32 rounded to the nearest bfloat16, ties to even; NaN stays NaN.
pub fn to_brain(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    if x.is_nan() {
        return ((bits >> 16) as u16 | 0x40).to_le_bytes();
    }
    // A finite number rounds to infinity at most, which does not overflow.
    (((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes()
}

/// An E4M3 byte as f32 (no infinities; 0x7f and 0xff are NaN).
pub fn e4m3(byte: u8) -> f32 {
    if byte & 0x7f == 0x7f {
        return f32::NAN;
    }
    // Exponent and mantissa at the top of an f32, rebased from bias 7 to 127 by a multiplication.
    let magnitude = f32::from_bits((byte as u32 & 0x7f) << 20) * f32::from_bits((127 + 120) << 23);
    f32::from_bits(magnitude.to_bits() | (byte as u32 & 0x80) << 24)
}

/// An f32 rounded to the nearest E4M3, ties to even; beyond 448 it saturates.
pub fn to_e4m3(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    if x.is_nan() {
        return sign | 0x7f;
    }
    let x = x.abs().min(448.0);
    let magnitude = if x >= 0.015_625 {
        let bits = x.to_bits();
        let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
        (rounded >> 20) as i32 - (120 << 3)
    } else {
        (x * 512.0).round_ties_even() as i32
    };
    sign | magnitude.min(0x7e) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_there_and_back() {
        for h in 0..=u16::MAX {
            let x = half(h.to_le_bytes());
            if !x.is_nan() {
                assert_eq!(u16::from_le_bytes(to_half(x)), h, "{x}");
            }
        }
        assert_eq!(half([0x00, 0x3c]), 1.0);
        assert_eq!(half([0x01, 0x00]), 2f32.powi(-24));
        assert_eq!(to_half(65520.0), 0x7c00u16.to_le_bytes());
        assert_eq!(to_half(65519.0), 0x7bffu16.to_le_bytes());
        assert_eq!(to_half(1.0 + 2f32.powi(-11)), 0x3c00u16.to_le_bytes());
    }

    #[test]
    fn e4m3_goes_there_and_back() {
        for byte in 0..=u8::MAX {
            let x = e4m3(byte);
            if !x.is_nan() {
                assert_eq!(to_e4m3(x), byte, "{x}");
            }
        }
        assert_eq!((e4m3(0x7e), e4m3(0x01), e4m3(0x38)), (448.0, 2f32.powi(-9), 1.0));
        assert_eq!((to_e4m3(1e9), to_e4m3(1.0625)), (0x7e, 0x38));
    }
}
