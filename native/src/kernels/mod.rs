//! Owns: the operations of the waist, each over matrices, on the threads of the pool.
//! Refuses to know: JavaScript, instruction sets.

mod activations;
pub mod attention;
pub mod cache_rows;
pub mod linear;
mod multiply;
pub mod probe;
pub mod rows;

pub use activations::Activations;

use crate::error::{Fault, Outcome};

/// How many leading rows an operation covers; those of the decode class come first.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub rows: usize,
    pub decode_rows: usize,
}

/// An index as usize, or the fault `index` naming what it points into.
pub fn index(value: i32, below: usize, what: &str) -> Outcome<usize> {
    usize::try_from(value).ok().filter(|&i| i < below).ok_or_else(|| {
        Fault::new("index", what).expected(format!("an index below {below}")).got(value.to_string())
    })
}
