//! The one list of all ops.
//!
//! An op reaches the public API only through the `registry!` list at the crate's root: recording requires [`Listed`],
//! which nothing but that list implements. So an op without documentation, samples and a check does not compile.

use std::sync::Arc;

use crate::check::{self, Outcome};
use crate::elementwise::ElementwiseRow;
use crate::op::{Op, Samples};
use crate::rows::RowFunction;

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
    finds_mutation: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Row {
    pub(crate) fn elementwise(name: &'static str, doc: &'static str, gradient: Gradient, row: ElementwiseRow) -> Self {
        let row = Arc::new(row);
        let again = Arc::clone(&row);
        Self {
            name,
            doc,
            gradient,
            check: Box::new(move || check::check_elementwise(name, gradient, &row)),
            finds_mutation: Box::new(move || check::finds_mutation_of_elementwise(&again)),
        }
    }

    pub(crate) fn rows<F: RowFunction>() -> Self {
        Self {
            name: F::NAME,
            doc: F::DOC,
            gradient: Gradient::Exact,
            check: Box::new(check::check_rows::<F>),
            finds_mutation: Box::new(check::finds_mutation_of_rows::<F>),
        }
    }

    pub(crate) fn coarse<O: Op<f32> + Op<f64> + Samples + Listed>() -> Self {
        Self {
            name: O::NAME,
            doc: O::DOC,
            gradient: O::GRADIENT,
            check: Box::new(|| check::check_samples::<O>(false)),
            finds_mutation: Box::new(|| !check::check_samples::<O>(true).passed()),
        }
    }

    /// Checks the op: f64 gradients against finite differences at several shapes, or against those of what it stands
    /// for when they are surrogates, and f32 values against f64.
    pub fn check(&self) -> Outcome {
        (self.check)()
    }

    /// Whether the check of this op fails, as it must, when its gradient is made wrong by one part in a hundred. For
    /// ops whose gradient is that of their value.
    pub fn finds_mutation(&self) -> bool {
        (self.finds_mutation)()
    }
}

/// Names every table of elementwise formulas, every function of rows and every coarse op, once.
macro_rules! registry {
    (tables: $($table:ident),+; rows: $($rows_module:ident::$rows:ident),+; ops: $($module:ident::$op:ident),+ $(,)?) => {
        $(
            impl $crate::registry::sealed::Sealed for $crate::ops::$table::Table {}
            impl $crate::registry::Listed for $crate::ops::$table::Table {}
        )+
        $(
            impl $crate::registry::sealed::Sealed for $crate::ops::$rows_module::$rows {}
            impl $crate::registry::Listed for $crate::ops::$rows_module::$rows {}
        )+
        $(
            impl $crate::registry::sealed::Sealed for $crate::ops::$module::$op {}
            impl $crate::registry::Listed for $crate::ops::$module::$op {}
        )+

        /// Every op of the library, in the order of the list.
        pub fn registry() -> Vec<$crate::registry::Row> {
            let mut rows = Vec::new();
            $(rows.extend($crate::ops::$table::rows());)+
            $(rows.push($crate::registry::Row::rows::<$crate::ops::$rows_module::$rows>());)+
            $(rows.push($crate::registry::Row::coarse::<$crate::ops::$module::$op>());)+
            rows
        }
    };
}
pub(crate) use registry;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Float;
    use crate::op::{Array, At, Grads, Sample, Saved, Shapes};
    use crate::shape::Shape;
    use crate::var::Var;

    /// The identity with `SLOPE` for its gradient, said to be that of x.
    struct Through<const SLOPE: u32>;

    impl<const SLOPE: u32> sealed::Sealed for Through<SLOPE> {}
    impl<const SLOPE: u32> Listed for Through<SLOPE> {}

    impl<T: Float, const SLOPE: u32> Op<T> for Through<SLOPE> {
        fn name(&self) -> &'static str {
            Self::NAME
        }
        fn shapes(&self, inputs: &[Shape]) -> Shapes {
            Shapes::from_slice(inputs)
        }
        fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
            y[0].copy_from_slice(x[0].data);
        }
        fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
            grads.add(0, |i| at.grad(0)[i] * T::of(f64::from(SLOPE)));
        }
    }

    impl<const SLOPE: u32> Samples for Through<SLOPE> {
        const NAME: &'static str = "through";
        const DOC: &'static str = "An example.";
        const GRADIENT: Gradient = Gradient::Surrogate("x");
        fn samples() -> Vec<Sample<Self>> {
            vec![Sample::new(Self, -1.0..1.0, &[&[3]])]
        }
        fn reference<'t>(&self, x: &[Var<'t, f64>]) -> Option<Vec<Var<'t, f64>>> {
            Some(x.to_vec())
        }
    }

    #[test]
    fn a_surrogate_with_another_gradient_than_its_reference_fails_its_check() {
        assert!(Row::coarse::<Through<1>>().check().passed());
        let failure = Row::coarse::<Through<2>>().check().failure.expect("its gradient is twice that of x");
        assert!(failure.contains("of operand 0 should be"), "{failure}");
    }
}
