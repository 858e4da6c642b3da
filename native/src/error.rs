//! Owns: what went wrong, in the parts that the TypeScript side makes a sentence of.
//! Refuses to know: JavaScript, how it is shown.

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
