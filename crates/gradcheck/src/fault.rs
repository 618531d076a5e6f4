//! What ends a check before it can compare anything, and the error a failed check becomes.

use std::fmt;

use crate::{Place, Report};

/// A reason why no comparison was possible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A setting of the check makes no sense.
    #[error("setting `{setting}` is {value}, expected {expected}")]
    Setting {
        /// The method of [`Check`](crate::Check) that sets it.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The list of inputs is empty.
    #[error("no inputs were given, so there is nothing to check")]
    NoInputs,
    /// An input's data do not fill its shape.
    #[error("input `{input}` has shape {shape:?}, which holds {expected} values, but {found} were given")]
    InputSize {
        /// Name of the input.
        input: String,
        /// Its declared shape.
        shape: Vec<usize>,
        /// The product of the shape.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// An input holds NaN or an infinity.
    #[error("input `{input}{place}` is {value}: choose a finite point")]
    InputNotFinite {
        /// Name of the input.
        input: String,
        /// The element.
        place: Place,
        /// Its value.
        value: f64,
    },
    /// The function itself is NaN or infinite at the point.
    #[error("the function is not finite at the given inputs: {output} is {value}")]
    ValueNotFinite {
        /// Which output.
        output: String,
        /// Its value.
        value: f64,
    },
    /// Two calls with the same inputs gave different values.
    #[error(
        "the function is not deterministic: two calls with the same inputs gave {first} and {second} for {output} (fix the seed of dropout or sampling)"
    )]
    NotDeterministic {
        /// Which output.
        output: String,
        /// Its value at the first call.
        first: f64,
        /// Its value at the second call.
        second: f64,
    },
    /// The function changed the number of its outputs.
    #[error("the function returned {found} outputs near the point but {expected} at the point")]
    OutputSize {
        /// Outputs at the point.
        expected: usize,
        /// Outputs near it.
        found: usize,
    },
    /// The analytic side returned the wrong number of arrays.
    #[error("{what} returned {found} arrays, expected one for each of the {expected} inputs")]
    ArrayCount {
        /// The closure: `gradient`, `vjp`, ...
        what: &'static str,
        /// The number of inputs.
        expected: usize,
        /// The number of arrays returned.
        found: usize,
    },
    /// An array from the analytic side does not have the size of its input.
    #[error("{what} returned {found} values for input `{input}`, which has shape {shape:?} and {expected} values")]
    ArraySize {
        /// The closure: `gradient`, `vjp`, ...
        what: &'static str,
        /// Name of the input.
        input: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of its values.
        expected: usize,
        /// The number of values returned.
        found: usize,
    },
    /// The analytic tangent does not have as many values as the function has outputs.
    #[error("jvp returned {found} values, but the function has {expected} outputs")]
    TangentSize {
        /// Outputs of the function.
        expected: usize,
        /// Values returned.
        found: usize,
    },
}

/// A check that did not succeed, as an error whose text is the whole report.
///
/// `Debug` prints the same text, so that `unwrap()` and `fn main() -> Result<(), Error>` are readable.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gradient is wrong, or could not be compared.
    #[error("{0}")]
    Failed(Box<Report>),
    /// The negative control changed the analytic gradient and the check still passed.
    #[error(
        "negative control: the check still passes when the analytic gradient at {input}{place} is changed by {relative:e} of its size; \
         tighten rtol or atol, or scale the function so that its gradient is far above atol"
    )]
    Uncaught {
        /// Name of the input.
        input: String,
        /// The changed element.
        place: Place,
        /// The change, relative to the element (absolute where the whole gradient is zero).
        relative: f64,
    },
    /// The closure given to the negative control did not use the [`Check`](crate::Check) it was handed.
    #[error("negative control: the closure must run the check that it is given, not one of its own")]
    ControlUnused,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
