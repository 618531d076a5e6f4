//! Handles to the values on a tape.

use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

use crate::elementwise::{Compiled, Formula, MAX_PARAMETERS};
use crate::float::Float;
use crate::ops::arithmetic::{minus, negate, over, over_from, plus, plus_constant, times, times_constant};
use crate::rows::{CompiledRows, Fusible, RowFunction};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::tensor::Tensor;

/// A value on a [`Tape`]: a small handle that is copied freely, so that models read like formulas.
pub struct Var<'t, T: Float> {
    pub(crate) tape: &'t Tape<T>,
    pub(crate) id: u32,
}

impl<T: Float> Clone for Var<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Float> Copy for Var<'_, T> {}

impl<T: Float> fmt::Debug for Var<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Var<{}>{} #{}", T::NAME, self.shape(), self.id)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The tape it stands on.
    pub fn tape(self) -> &'t Tape<T> {
        self.tape
    }

    /// Its number on the tape, valid until the tape's reset; see [`Tape::at`].
    pub fn number(self) -> usize {
        self.id as usize
    }

    /// The axis sizes.
    pub fn shape(self) -> Shape {
        self.tape.nodes().list[self.id as usize].shape
    }

    /// Whether a gradient flows to it.
    pub fn needs_grad(self) -> bool {
        self.tape.nodes().list[self.id as usize].needs_grad
    }

    /// Its value, computed now if it was pending; shared, not copied.
    pub fn value(self) -> Tensor<T> {
        let mut nodes = self.tape.nodes.borrow_mut();
        nodes.materialise(self.id, &self.tape.pool);
        let node = &nodes.list[self.id as usize];
        Tensor::from_shared(node.shape, Arc::clone(node.value.as_ref().expect("it has just been computed")))
    }

    /// The only element of its value.
    ///
    /// # Panics
    /// When there is not exactly one.
    pub fn item(self) -> T {
        self.value().item()
    }

    /// The same value, through which no gradient flows.
    pub fn detach(self) -> Self {
        self.tape.constant(&self.value())
    }

    /// The sum of all elements. PyTorch: `x.sum()`.
    pub fn sum(self) -> Self {
        self.tape.sum_all(self)
    }

    /// The mean of all elements; NaN when there are none. PyTorch: `x.mean()`.
    pub fn mean(self) -> Self {
        self.sum() / self.shape().len() as f64
    }

    /// The same elements under another shape. PyTorch: `x.reshape`.
    ///
    /// # Panics
    /// When the number of elements differs.
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        self.tape.reshape(self, shape.into())
    }

    /// The same elements with an axis of size 1 before position `axis` (negative: from the back, -1 appends).
    pub fn unsqueeze(self, axis: isize) -> Self {
        let shape = self.shape();
        let at = if axis < 0 { axis + shape.rank() as isize + 1 } else { axis };
        assert!((0..=shape.rank() as isize).contains(&at), "unsqueeze: no place {axis} in shape {shape}");
        self.reshape(shape.inserted(at as usize, 1))
    }

    pub(crate) fn elementwise<F: Formula>(self, operands: &[Self], parameters: [f64; MAX_PARAMETERS]) -> Self {
        self.tape.fusible(Fusible::Elementwise(&<F as Compiled<T>>::OP), operands, parameters.map(T::of))
    }

    pub(crate) fn rows<F: RowFunction>(self, parameters: [f64; MAX_PARAMETERS]) -> Self {
        let shape = self.shape();
        assert!(shape.rank() > 0 && shape.last_size() > 0, "{}: shape {shape} has no last axis to work on", F::NAME);
        self.tape.fusible(Fusible::Rows(&<F as CompiledRows<T>>::OP), &[self], parameters.map(T::of))
    }
}

macro_rules! operator {
    ($trait:ident $method:ident: $formula:ident, |$x:ident, $c:ident| $with_constant:expr, |$y:ident, $d:ident| $from_constant:expr) => {
        impl<'t, T: Float> $trait for Var<'t, T> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.elementwise::<$formula>(&[self, other], [0.0; MAX_PARAMETERS])
            }
        }
        impl<'t, T: Float> $trait<f64> for Var<'t, T> {
            type Output = Self;
            fn $method(self, $c: f64) -> Self {
                let $x = self;
                $with_constant
            }
        }
        impl<'t, T: Float> $trait<Var<'t, T>> for f64 {
            type Output = Var<'t, T>;
            fn $method(self, $y: Var<'t, T>) -> Var<'t, T> {
                let $d = self;
                $from_constant
            }
        }
    };
}

fn with<'t, T: Float, F: Formula>(x: Var<'t, T>, constant: f64) -> Var<'t, T> {
    x.elementwise::<F>(&[x], crate::elementwise::parameters(&[constant]))
}

operator!(Add add: plus, |x, c| with::<T, plus_constant>(x, c), |x, c| with::<T, plus_constant>(x, c));
operator!(Sub sub: minus, |x, c| with::<T, plus_constant>(x, -c), |x, c| with::<T, plus_constant>(-x, c));
operator!(Mul mul: times, |x, c| with::<T, times_constant>(x, c), |x, c| with::<T, times_constant>(x, c));
operator!(Div div: over, |x, c| with::<T, times_constant>(x, 1.0 / c), |x, c| with::<T, over_from>(x, c));

impl<T: Float> Neg for Var<'_, T> {
    type Output = Self;
    fn neg(self) -> Self {
        self.elementwise::<negate>(&[self], [0.0; MAX_PARAMETERS])
    }
}

/// What a scope can return: handles, and tuples, options, arrays and lists of them.
pub trait Keep {
    /// Appends the handles' node numbers.
    #[doc(hidden)]
    fn ids(&self, ids: &mut Vec<u32>);
}

impl<T: Float> Keep for Var<'_, T> {
    fn ids(&self, ids: &mut Vec<u32>) {
        ids.push(self.id);
    }
}

impl<K: Keep> Keep for Vec<K> {
    fn ids(&self, ids: &mut Vec<u32>) {
        self.iter().for_each(|k| k.ids(ids));
    }
}

impl<K: Keep, const N: usize> Keep for [K; N] {
    fn ids(&self, ids: &mut Vec<u32>) {
        self.iter().for_each(|k| k.ids(ids));
    }
}

impl<K: Keep> Keep for Option<K> {
    fn ids(&self, ids: &mut Vec<u32>) {
        self.iter().for_each(|k| k.ids(ids));
    }
}

impl<A: Keep, B: Keep> Keep for (A, B) {
    fn ids(&self, ids: &mut Vec<u32>) {
        self.0.ids(ids);
        self.1.ids(ids);
    }
}

impl<A: Keep, B: Keep, C: Keep> Keep for (A, B, C) {
    fn ids(&self, ids: &mut Vec<u32>) {
        self.0.ids(ids);
        self.1.ids(ids);
        self.2.ids(ids);
    }
}
