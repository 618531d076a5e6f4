//! Functions of whole rows (the last axis) that take part in fused groups beside elementwise ops.

use std::ops::Range;

use crate::elementwise::{ElementwiseOp, MAX_OPERANDS, MAX_PARAMETERS};
use crate::float::Float;
use crate::registry::Listed;

/// A function of rows of `width` elements: y from x and the parameters.
type ForwardFn<T> = fn(x: &[T], parameters: &[T; MAX_PARAMETERS], width: usize, y: &mut [T]);
/// Adds the gradient of x to `out`, given x, y and the gradient of y.
type BackwardFn<T> = fn(x: &[T], y: &[T], g: &[T], parameters: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]);

/// A function of rows, compiled for one precision: what a tape records.
pub(crate) struct RowOp<T: Float> {
    pub name: &'static str,
    pub forward: ForwardFn<T>,
    pub backward: BackwardFn<T>,
}

/// What the registry needs of one of the library's row functions; its shape is that of its operand.
pub(crate) trait RowFunction: Listed + 'static {
    /// The name in the list of ops.
    const NAME: &'static str;
    /// One sentence on what the function computes, with its equivalent elsewhere.
    const DOC: &'static str;
    /// Where operands are drawn for the checks.
    const RANGE: Range<f64>;
    /// The constants that the checks use.
    const PARAMETERS: [f64; MAX_PARAMETERS];
    /// Writes y.
    fn forward<T: Float>(x: &[T], parameters: &[T; MAX_PARAMETERS], width: usize, y: &mut [T]);
    /// Adds the gradient of x to `out`.
    fn backward<T: Float>(x: &[T], y: &[T], g: &[T], parameters: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]);
}

/// Gives a row function its compiled form.
pub(crate) trait CompiledRows<T: Float> {
    const OP: RowOp<T>;
}

impl<T: Float, F: RowFunction> CompiledRows<T> for F {
    const OP: RowOp<T> = RowOp { name: F::NAME, forward: F::forward::<T>, backward: F::backward::<T> };
}

/// An op that can stand in a fused group.
pub(crate) enum Fusible<T: Float> {
    /// Of up to three operands, element by element.
    Elementwise(&'static ElementwiseOp<T>),
    /// Of one operand, row by row.
    Rows(&'static RowOp<T>),
}

impl<T: Float> Clone for Fusible<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Float> Copy for Fusible<T> {}

impl<T: Float> Fusible<T> {
    pub fn name(self) -> &'static str {
        match self {
            Self::Elementwise(op) => op.name,
            Self::Rows(op) => op.name,
        }
    }

    pub fn operands(self) -> usize {
        match self {
            Self::Elementwise(op) => op.operands,
            Self::Rows(_) => 1,
        }
    }

    /// Whether the backward pass reads the value.
    pub fn uses_value(self) -> bool {
        match self {
            Self::Elementwise(op) => op.uses_value,
            Self::Rows(_) => true,
        }
    }

    pub fn is_rows(self) -> bool {
        matches!(self, Self::Rows(_))
    }

    pub fn forward(self, x: &[&[T]; MAX_OPERANDS], p: &[T; MAX_PARAMETERS], width: usize, out: &mut [T]) {
        match self {
            Self::Elementwise(op) => (op.forward)(x, p, out),
            Self::Rows(op) => (op.forward)(x[0], p, width, out),
        }
    }

    /// Adds to `out` the gradient of one operand.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        self,
        operand: usize,
        x: &[&[T]; MAX_OPERANDS],
        p: &[T; MAX_PARAMETERS],
        width: usize,
        y: &[T],
        g: &[T],
        out: &mut [T],
    ) {
        match self {
            Self::Elementwise(op) => (op.backward[operand])(x, p, y, g, out),
            Self::Rows(op) => (op.backward)(x[0], y, g, p, width, out),
        }
    }
}
