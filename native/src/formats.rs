//! Owns: the number formats of weights and cache rows by name: how many numbers and bytes a block has.
//! Refuses to know: files, how blocks are multiplied.

use crate::error::{Fault, Outcome};
use crate::simd::blocks::*;

/// How activations meet a format: as floats, or as int8 with a scale for every 32 or 256 numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Floats,
    Blocks32,
    Blocks256,
}

macro_rules! formats {
    ($($name:ident $text:literal $family:ident $numbers:literal $bytes:expr;)*) => {
        /// A number format of weights.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Format { $($name),* }

        impl Format {
            /// Every format, in the order of the kernel tables.
            pub const ALL: &[Format] = &[$(Format::$name),*];

            /// The name as GGUF and safetensors write it.
            pub fn name(self) -> &'static str {
                match self { $(Format::$name => $text),* }
            }

            pub fn family(self) -> Family {
                match self { $(Format::$name => Family::$family),* }
            }

            /// Numbers in a block.
            pub fn block_numbers(self) -> usize {
                match self { $(Format::$name => $numbers),* }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize {
                match self { $(Format::$name => $bytes),* }
            }
        }
    };
}

formats! {
    F32 "F32" Floats 1 4;
    F16 "F16" Floats 1 2;
    Bf16 "BF16" Floats 1 2;
    F8E4M3 "F8_E4M3" Floats 1 1;
    Q8_0 "Q8_0" Blocks32 32 size_of::<BlockQ8_0>();
    Q4_0 "Q4_0" Blocks32 32 size_of::<BlockQ4_0>();
    Q4_1 "Q4_1" Blocks32 32 size_of::<BlockQ4_1>();
    Q5_0 "Q5_0" Blocks32 32 size_of::<BlockQ5_0>();
    Q5_1 "Q5_1" Blocks32 32 size_of::<BlockQ5_1>();
    Iq4Nl "IQ4_NL" Blocks32 32 size_of::<BlockIq4Nl>();
    Mxfp4 "MXFP4" Blocks32 32 size_of::<BlockMxfp4>();
    Q2K "Q2_K" Blocks256 256 size_of::<BlockQ2K>();
    Q3K "Q3_K" Blocks256 256 size_of::<BlockQ3K>();
    Q4K "Q4_K" Blocks256 256 size_of::<BlockQ4K>();
    Q5K "Q5_K" Blocks256 256 size_of::<BlockQ5K>();
    Q6K "Q6_K" Blocks256 256 size_of::<BlockQ6K>();
    Iq4Xs "IQ4_XS" Blocks256 256 size_of::<BlockIq4Xs>();
    Iq2Xxs "IQ2_XXS" Blocks256 256 size_of::<BlockIq2Xxs>();
    Iq2Xs "IQ2_XS" Blocks256 256 size_of::<BlockIq2Xs>();
    Iq2S "IQ2_S" Blocks256 256 size_of::<BlockIq2S>();
    Iq3Xxs "IQ3_XXS" Blocks256 256 size_of::<BlockIq3Xxs>();
    Iq3S "IQ3_S" Blocks256 256 size_of::<BlockIq3S>();
    Iq1S "IQ1_S" Blocks256 256 size_of::<BlockIq1S>();
    Iq1M "IQ1_M" Blocks256 256 size_of::<BlockIq1M>();
    Tq1_0 "TQ1_0" Blocks256 256 size_of::<BlockTq1_0>();
    Tq2_0 "TQ2_0" Blocks256 256 size_of::<BlockTq2_0>();
}

impl Format {
    /// The format of a name; the fault lists what there is.
    pub fn named(name: &str) -> Outcome<Format> {
        Self::ALL.iter().copied().find(|format| format.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
            Fault::new("unsupported-operation", format!("weights in {name}"))
                .expected(format!("one of {}", known.join(", ")))
                .got(name)
                .next("set HADAL_BACKEND=reference, or convert the file")
        })
    }

    /// Bytes of a row of `cols` numbers; None when it is not made of whole blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(self.block_numbers()).then(|| cols / self.block_numbers() * self.block_bytes())
    }
}

/// Numbers of a cache row that share a scale in the formats Q8_0 and F8_E4M3.
pub const CACHE_BLOCK: usize = 32;

/// A number format of cache rows; layouts as in `cache-format.ts`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheFormat {
    F32,
    F16,
    Q8_0,
    F8E4M3,
}

impl CacheFormat {
    pub fn named(name: &str) -> Outcome<CacheFormat> {
        match name {
            "F32" => Ok(Self::F32),
            "F16" => Ok(Self::F16),
            "Q8_0" => Ok(Self::Q8_0),
            "F8_E4M3" => Ok(Self::F8E4M3),
            _ => Err(Fault::new("unsupported-operation", "a cache").expected("F32, F16, Q8_0 or F8_E4M3").got(name)),
        }
    }

    /// Bytes of a row of `cols` numbers; None when it is not made of whole blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        match self {
            Self::F32 => Some(cols * 4),
            Self::F16 => Some(cols * 2),
            Self::Q8_0 => cols.is_multiple_of(CACHE_BLOCK).then(|| cols / CACHE_BLOCK * 34),
            Self::F8E4M3 => cols.is_multiple_of(CACHE_BLOCK).then(|| cols / CACHE_BLOCK * 33),
        }
    }
}
