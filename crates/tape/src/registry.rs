//! The one list of all ops.
//!
//! An op reaches the public API only through the `registry!` list at the crate's root: recording requires [`Listed`],
//! which nothing but that list implements. So an op without documentation, samples and a check does not compile.

use crate::check::{self, Outcome};
use crate::elementwise::ElementwiseRow;
use crate::op::{Op, Samples};

/// Marks what stands in the `registry!` list. Sealed: the list alone implements it.
pub trait Listed: sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// How an op behaves under differentiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// Its gradient is that of its value.
    Exact,
    /// It has none, and its result does not ask for one.
    None,
    /// Its gradient is that of something else, which is named here and is what the check compares with.
    Surrogate(&'static str),
}

/// One op: its name, its documentation and its check.
pub struct Row {
    /// The name of the method on [`Var`](crate::Var).
    pub name: &'static str,
    /// What it computes, with its source or its equivalent elsewhere.
    pub doc: &'static str,
    /// How it behaves under differentiation.
    pub gradient: Gradient,
    check: Box<dyn Fn() -> Outcome + Send + Sync>,
}

impl Row {
    pub(crate) fn elementwise(name: &'static str, doc: &'static str, gradient: Gradient, row: ElementwiseRow) -> Self {
        Self { name, doc, gradient, check: Box::new(move || check::check_elementwise(name, gradient, &row)) }
    }

    pub(crate) fn coarse<O: Op<f32> + Op<f64> + Samples + Listed>() -> Self {
        Self { name: O::NAME, doc: O::DOC, gradient: O::GRADIENT, check: Box::new(check::check_samples::<O>) }
    }

    /// Checks the op: f64 gradients against finite differences at several shapes, or against those of what it stands
    /// for when they are surrogates, and f32 values against f64.
    pub fn check(&self) -> Outcome {
        (self.check)()
    }
}

/// Names every table of elementwise formulas and every coarse op, once.
macro_rules! registry {
    (tables: $($table:ident),+; ops: $($module:ident::$op:ident),+ $(,)?) => {
        $(
            impl $crate::registry::sealed::Sealed for $crate::ops::$table::Table {}
            impl $crate::registry::Listed for $crate::ops::$table::Table {}
        )+
        $(
            impl $crate::registry::sealed::Sealed for $crate::ops::$module::$op {}
            impl $crate::registry::Listed for $crate::ops::$module::$op {}
        )+

        /// Every op of the library, in the order of the list.
        pub fn registry() -> Vec<$crate::registry::Row> {
            let mut rows = Vec::new();
            $(rows.extend($crate::ops::$table::rows());)+
            $(rows.push($crate::registry::Row::coarse::<$crate::ops::$module::$op>());)+
            rows
        }
    };
}
pub(crate) use registry;
