//! Hadal's arithmetic. A program of operations comes in through `ffi`, `program` reads it, `kernels` carry the
//! operations out on the threads of `pool`, with the instructions that `simd` found on this processor.
//! `unsafe` lives in `ffi`, `map`, `pool` and `simd` alone.

// The tests are built without `ffi`, through which all is used.
#![cfg_attr(test, allow(dead_code))]

mod context;
mod encode;
mod error;
#[cfg(not(test))]
mod ffi;
mod formats;
mod kernels;
mod map;
mod pool;
mod program;
mod simd;
