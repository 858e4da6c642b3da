//! Owns: the recorded program: how operations are written as 32-bit words, and running them in order.
//! Refuses to know: how the words came here, how operations are carried out.
//!
//! An operation is [code, words, arguments...]. A tensor argument is [id, first column, columns]; a weight or cache is
//! an id; -1 stands for none; floats are their bits. `program.ts` of the native backend writes the same.

use crate::context::State;
use crate::error::{Fault, Outcome};
use crate::kernels::attention::{self, Batch, Heads};
use crate::kernels::latent::{self, Shape};
use crate::kernels::linear::{self, Product};
use crate::kernels::route::{self, Gate, Scoring};
use crate::kernels::rows::{self, Rope};
use crate::kernels::{Span, cache_rows, moe, pick};
use crate::map::View;
use std::sync::atomic::{AtomicBool, Ordering};

/// The arguments of one operation, taken from left to right.
struct Words<'a> {
    words: &'a [i32],
}

impl<'a> Words<'a> {
    fn int(&mut self) -> Outcome<i32> {
        let (&first, rest) = self.words.split_first().ok_or_else(malformed)?;
        self.words = rest;
        Ok(first)
    }

    fn count(&mut self) -> Outcome<usize> {
        usize::try_from(self.int()?).map_err(|_| malformed())
    }

    fn float(&mut self) -> Outcome<f32> {
        Ok(f32::from_bits(self.int()?.cast_unsigned()))
    }

    fn maybe(&mut self) -> Outcome<Option<usize>> {
        Ok(usize::try_from(self.int()?).ok())
    }

    /// A view of the first `rows` rows.
    fn view(&mut self, rows: usize) -> Outcome<View> {
        Ok(View { id: self.count()?, start: self.count()?, cols: self.count()?, rows })
    }

    /// A view of the first `rows` rows, or none.
    fn maybe_view(&mut self, rows: usize) -> Outcome<Option<View>> {
        if self.words.first() == Some(&NONE) {
            self.words = &self.words[1..];
            return Ok(None);
        }
        self.view(rows).map(Some)
    }

    /// A view of all rows.
    fn whole(&mut self, state: &State) -> Outcome<View> {
        let view = self.view(0)?;
        Ok(View { rows: state.tensors.rows(view.id)?, ..view })
    }

    fn span(&mut self) -> Outcome<Span> {
        let span = Span { rows: self.count()?, decode_rows: self.count()? };
        if span.decode_rows <= span.rows { Ok(span) } else { Err(malformed()) }
    }

    fn batch(&mut self, state: &State) -> Outcome<Batch> {
        let span = self.span()?;
        let (positions, sequences) = (self.view(span.rows)?, self.view(span.rows)?);
        Ok(Batch { span, positions, sequences, pages: self.whole(state)? })
    }
}

fn malformed() -> Fault {
    Fault::new("native-panic", "a recorded program").expected("whole operations").next("report this as a defect")
}

const WRITE: i32 = 0;
const NONE: i32 = -1;

/// Runs all operations; stops with `aborted` before the next one when `abort` is set. An operation that is under way ends
/// where the pool hands out its next tile: one of a large model takes long.
pub fn run(state: &mut State, mut program: &[i32], abort: &AtomicBool) -> Outcome<()> {
    state.check_files()?;
    while let [code, length, ..] = *program {
        let length = usize::try_from(length).ok().filter(|&n| n >= 2 && n <= program.len()).ok_or_else(malformed)?;
        let (operation, rest) = program.split_at(length);
        program = rest;
        // What the caller wrote stays written.
        if code != WRITE && abort.load(Ordering::Relaxed) {
            return Err(Fault::aborted());
        }
        step(state, code, Words { words: &operation[2..] })?;
    }
    state.check_files()
}

fn step(state: &mut State, code: i32, mut w: Words<'_>) -> Outcome<()> {
    match code {
        WRITE => {
            let view = w.whole(state)?;
            let bits: Vec<u32> = w.words.iter().map(|word| word.cast_unsigned()).collect();
            state.tensors.write(view, &bits)
        }
        // A checkpoint: here every operation is one.
        1 => Ok(()),
        2 => {
            let span = w.span()?;
            let (out, table, tokens) = (w.view(span.rows)?, w.count()?, w.view(span.rows)?);
            linear::embed(state, out, table, tokens)
        }
        3 => {
            let span = w.span()?;
            let (out, x) = (w.view(span.rows)?, w.view(span.rows)?);
            let (weight, eps) = (w.count()?, w.float()?);
            rows::rms_norm(state, out, x, weight, eps)
        }
        4 => {
            let span = w.span()?;
            let x = w.view(span.rows)?;
            let products = (0..w.count()?)
                .map(|_| {
                    let (weight, out) = (w.count()?, w.view(span.rows)?);
                    Ok(Product { weight, out, bias: w.maybe()?, add: w.int()? != 0, gate: w.maybe()? })
                })
                .collect::<Outcome<Vec<_>>>()?;
            linear::matmul(state, span, x, &products)
        }
        5 => {
            let span = w.span()?;
            let (x, positions, frequencies) = (w.view(span.rows)?, w.view(span.rows)?, w.count()?);
            let rope = Rope {
                heads: w.count()?,
                head_dim: w.count()?,
                offset: w.count()?,
                rope_dim: w.count()?,
                neox: w.int()? != 0,
                magnitude: w.float()?,
            };
            rows::rope(state, x, positions, frequencies, &rope)
        }
        6 => {
            let span = w.span()?;
            let (cache, x, slots) = (w.count()?, w.view(span.rows)?, w.view(span.rows)?);
            cache_rows::store(state, span, cache, x, slots)
        }
        7 => {
            let batch = w.batch(state)?;
            let (out, q) = (w.view(batch.span.rows)?, w.view(batch.span.rows)?);
            let (keys, values) = (w.count()?, w.count()?);
            let heads = Heads {
                heads: w.count()?,
                kv_heads: w.count()?,
                head_dim: w.count()?,
                value_dim: w.count()?,
                scale: w.float()?,
            };
            attention::attend(state, &batch, out, q, keys, values, &heads)
        }
        8 => {
            let batch = w.batch(state)?;
            let (picks, q, weights) = (w.view(batch.span.rows)?, w.view(batch.span.rows)?, w.view(batch.span.rows)?);
            pick::pick(state, &batch, picks, q, weights, w.count()?, w.count()?)
        }
        9 => {
            let span = w.span()?;
            let (out, x) = (w.view(span.rows)?, w.view(span.rows)?);
            rows::add(state, out, x)
        }
        10 => {
            let span = w.span()?;
            let (out, x) = (w.view(span.rows)?, w.whole(state)?);
            let which = w.view(span.rows)?;
            rows::gather(state, out, x, which)
        }
        11 => {
            let span = w.span()?;
            let (out, logits) = (w.view(span.rows)?, w.view(span.rows)?);
            rows::argmax(state, out, logits)
        }
        12 => {
            let batch = w.batch(state)?;
            let (out, q) = (w.view(batch.span.rows)?, w.view(batch.span.rows)?);
            let (latents, weights) = (w.count()?, (w.count()?, w.maybe()?));
            let picks = w.maybe_view(batch.span.rows)?;
            let shape = Shape {
                heads: w.count()?,
                nope: w.count()?,
                rope: w.count()?,
                value: w.count()?,
                latent: w.count()?,
                scale: w.float()?,
            };
            latent::attend(state, &batch, (out, q, picks), latents, weights, shape)
        }
        13 => {
            let span = w.span()?;
            let (ids, weights, logits) = (w.view(span.rows)?, w.view(span.rows)?, w.view(span.rows)?);
            let bias = w.maybe()?;
            let gate = Gate {
                scoring: Scoring::numbered(w.count()?).ok_or_else(malformed)?,
                used: w.count()?,
                groups: w.count()?,
                groups_used: w.count()?,
                judged_by: w.count()? + 1,
                normalise: w.int()? != 0,
                scale: w.float()?,
            };
            route::route(state, ids, weights, logits, bias, &gate)
        }
        14 => {
            let span = w.span()?;
            let (out, x) = (w.view(span.rows)?, w.view(span.rows)?);
            let (ids, weights) = (w.view(span.rows)?, w.view(span.rows)?);
            moe::experts(state, span, out, x, (ids, weights), [w.count()?, w.count()?, w.count()?])
        }
        15 => {
            let span = w.span()?;
            let (counts, ids) = (w.view(1)?, w.view(span.rows)?);
            route::count(state, counts, ids)
        }
        16 => {
            let span = w.span()?;
            let (out, x) = (w.view(span.rows)?, w.view(span.rows)?);
            let (weight, bias, eps) = (w.count()?, w.count()?, w.float()?);
            rows::layer_norm(state, out, x, (weight, bias), eps)
        }
        _ => Err(Fault::new("unsupported-operation", format!("operation {code}"))
            .expected("an operation that the native backend has")
            .next("set HADAL_BACKEND=reference")),
    }
}
