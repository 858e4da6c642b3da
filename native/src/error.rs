//! Owns: what went wrong, in the parts that the TypeScript side makes a sentence of.
//! Refuses to know: JavaScript, how it is shown.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A failure with a stable code and the parts of a sentence: what, expected, got, next step.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    pub code: &'static str,
    pub what: String,
    pub expected: String,
    pub got: String,
    pub next: String,
}

/// The result of everything that can fail here.
pub type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), ..Self::default() }
    }

    /// What a step ends with that is not wanted any more.
    pub fn aborted() -> Self {
        Self::new("aborted", "the step").got("an abort").next("start it again if it is wanted")
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    pub fn got(mut self, got: impl Into<String>) -> Self {
        self.got = got.into();
        self
    }

    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// The parts joined by the unit separator, as the TypeScript side splits them.
    pub fn packed(&self) -> String {
        [&*self.what, &*self.expected, &*self.got, &*self.next].join("\u{1f}")
    }
}

/// A fault for an argument that does not fit its operation.
pub fn misfit(what: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Fault {
    Fault::new("shape", what).expected(expected).got(got.to_string())
}

/// Runs `body` and makes a fault of a panic.
pub fn guarded<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        if let Some(fault) = panic.downcast_ref::<Fault>() {
            return Err(fault.clone());
        }
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Fault::new("native-panic", "the native backend")
            .got(text.unwrap_or_else(|| "a panic".to_owned()))
            .next("report this as a defect; HADAL_BACKEND=reference avoids the native backend"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    #[test]
    fn a_panic_becomes_a_fault_that_says_what_it_said() {
        let fault = guarded::<()>(|| panic!("row {} is gone", 3)).unwrap_err();
        assert_eq!((fault.code, &*fault.got), ("native-panic", "row 3 is gone"));
        let thrown = Fault::new("out-of-memory", "scratch memory");
        let fault = guarded::<()>(|| std::panic::panic_any(thrown)).unwrap_err();
        assert_eq!(fault.code, "out-of-memory");
        assert_eq!(guarded(|| Ok(5)).unwrap(), 5);
    }

    #[test]
    fn a_panic_in_a_running_step_leaves_the_context_usable() {
        for threads in [1, 3] {
            let context = Context::new(threads, "").unwrap();
            let id = context.idle().unwrap().tensors.add(false, 1, 4).unwrap();
            for tile in [0, 7] {
                let fault = guarded::<()>(|| {
                    let mut state = context.wait();
                    state.pool.run(8, &|n, _| assert!(n != tile, "on purpose"));
                    Ok(())
                });
                assert_eq!(fault.unwrap_err().code, "native-panic");
            }
            let mut state = context.idle().unwrap();
            state.pool.run(8, &|_, _| {});
            assert_eq!(state.tensors.rows(id).unwrap(), 1);
        }
    }

    #[test]
    fn the_parts_of_a_sentence_are_packed_in_order() {
        let fault = Fault::new("shape", "x").expected("4").got("5").next("ask");
        assert_eq!(fault.packed(), "x\u{1f}4\u{1f}5\u{1f}ask");
    }
}
