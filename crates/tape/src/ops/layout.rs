//! Ops that move elements: permuted axes, slices, joined arrays, repeated axes.

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::reduce::add_summed_to;
use crate::kernels::sweep::strided_offset;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::{MAX_RANK, Shape};
use crate::tape::Tape;
use crate::var::Var;

/// Axes in another order.
pub struct Permute {
    order: SmallVec<[usize; MAX_RANK]>,
}

impl Permute {
    fn permuted(&self, shape: &Shape) -> Shape {
        let mut seen = [false; MAX_RANK];
        let distinct = self.order.iter().all(|&axis| axis < shape.rank() && !std::mem::replace(&mut seen[axis], true));
        assert!(
            self.order.len() == shape.rank() && distinct,
            "permute: {:?} is no order of the axes of {shape}",
            self.order
        );
        Shape::new(&self.order.iter().map(|&axis| shape[axis]).collect::<SmallVec<[usize; MAX_RANK]>>())
    }

    /// For each element of the result its place in the operand.
    fn places(&self, from: &Shape) -> impl Iterator<Item = usize> + use<> {
        let to = self.permuted(from);
        let own = from.strides();
        let mut strides = [0; MAX_RANK];
        for (axis, &source) in self.order.iter().enumerate() {
            strides[axis] = own[source];
        }
        (0..to.len()).map(move |i| strided_offset(i, &strides, &to))
    }
}

impl<T: Float> Op<T> for Permute {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.permuted(&inputs[0]), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        for (y, place) in y[0].iter_mut().zip(self.places(&x[0].shape)) {
            *y = x[0].data[place];
        }
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        for (g, place) in at.grad(0).iter().zip(self.places(&at.x[0].shape)) {
            grad[place] += *g;
        }
    }
}

/// A range of one axis.
pub struct Narrow {
    axis: usize,
    start: usize,
    len: usize,
}

impl<T: Float> Op<T> for Narrow {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let size = inputs[0][self.axis];
        let end = self.start + self.len;
        assert!(end <= size, "narrow: {}..{end} of axis {} of shape {}", self.start, self.axis, inputs[0]);
        Shapes::from_elem(inputs[0].with(self.axis, self.len), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (_, n, inner) = x[0].shape.split_at_axis(self.axis);
        let run = self.len * inner;
        for (outer, y) in y[0].chunks_exact_mut(run.max(1)).enumerate() {
            let start = (outer * n + self.start) * inner;
            y.copy_from_slice(&x[0].data[start..start + run]);
        }
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (_, n, inner) = at.x[0].shape.split_at_axis(self.axis);
        let run = self.len * inner;
        let Some(grad) = grads.sum(0) else { return };
        for (outer, g) in at.grad(0).chunks_exact(run.max(1)).enumerate() {
            let start = (outer * n + self.start) * inner;
            grad[start..start + run].iter_mut().zip(g).for_each(|(grad, g)| *grad += *g);
        }
    }
}

/// Arrays joined along one axis.
pub struct Concat {
    axis: usize,
}

impl Concat {
    /// For each operand: its first element and run length within each run of the result, and the result's run length.
    fn runs(&self, shapes: impl Iterator<Item = Shape>) -> (SmallVec<[(usize, usize); 4]>, usize) {
        let mut start = 0;
        let runs = shapes
            .map(|shape| {
                let (_, n, inner) = shape.split_at_axis(self.axis);
                let own = (start, n * inner);
                start += n * inner;
                own
            })
            .collect();
        (runs, start)
    }
}

impl<T: Float> Op<T> for Concat {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let first = &inputs[0];
        let total = inputs
            .iter()
            .map(|shape| {
                assert!(
                    shape.rank() == first.rank() && shape.with(self.axis, 0) == first.with(self.axis, 0),
                    "concat: {first} and {shape} differ beside axis {}",
                    self.axis
                );
                shape[self.axis]
            })
            .sum();
        Shapes::from_elem(first.with(self.axis, total), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (runs, whole) = self.runs(x.iter().map(|x| x.shape));
        for (x, (start, run)) in x.iter().zip(runs) {
            for (x, y) in x.data.chunks_exact(run.max(1)).zip(y[0].chunks_exact_mut(whole.max(1))) {
                y[start..start + run].copy_from_slice(x);
            }
        }
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (runs, whole) = self.runs(at.x.iter().map(|x| x.shape));
        for (operand, (start, run)) in runs.into_iter().enumerate() {
            let Some(grad) = grads.sum(operand) else { continue };
            for (grad, g) in grad.chunks_exact_mut(run.max(1)).zip(at.grad(0).chunks_exact(whole.max(1))) {
                grad.iter_mut().zip(&g[start..start + run]).for_each(|(grad, g)| *grad += *g);
            }
        }
    }
}

/// An array repeated along axes of size 1 and along new leading axes.
pub struct BroadcastTo {
    to: Shape,
}

impl<T: Float> Op<T> for BroadcastTo {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let common = inputs[0].broadcast(&self.to, Self::NAME);
        assert!(common == self.to, "broadcast_to: {} does not broadcast to {}", inputs[0], self.to);
        Shapes::from_elem(self.to, 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let strides = x[0].shape.strides_in(&self.to);
        for (i, y) in y[0].iter_mut().enumerate() {
            *y = x[0].data[strided_offset(i, &strides, &self.to)];
        }
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let pool: &Pool<T> = at.pool;
        let Some(grad) = grads.sum(0) else { return };
        add_summed_to(at.grad(0), &self.to, grad, &at.x[0].shape, pool);
    }
}

impl Samples for Permute {
    const NAME: &'static str = "permute";
    const DOC: &'static str = "Axes in another order. PyTorch: `x.permute`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |order: &[usize], shape: &[usize]| {
            Sample::new(Self { order: SmallVec::from_slice(order) }, -1.0..1.0, &[shape])
        };
        vec![sample(&[1, 0], &[3, 4]), sample(&[2, 0, 1], &[2, 3, 4]), sample(&[0], &[3]), sample(&[1, 0], &[0, 2])]
    }
}

impl Samples for Narrow {
    const NAME: &'static str = "narrow";
    const DOC: &'static str = "A range of one axis. PyTorch: `x.narrow`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, start, len, shape: &[usize]| Sample::new(Self { axis, start, len }, -1.0..1.0, &[shape]);
        vec![sample(0, 1, 2, &[4, 3]), sample(1, 0, 1, &[4, 3]), sample(1, 1, 2, &[2, 3, 4]), sample(0, 2, 0, &[3])]
    }
}

impl Samples for Concat {
    const NAME: &'static str = "concat";
    const DOC: &'static str = "Arrays joined along one axis. PyTorch: `torch.cat`.";
    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self { axis: 0 }, -1.0..1.0, &[&[2, 3], &[1, 3]]),
            Sample::new(Self { axis: 1 }, -1.0..1.0, &[&[2, 3], &[2, 1], &[2, 2]]),
            Sample::new(Self { axis: 1 }, -1.0..1.0, &[&[2, 1, 4], &[2, 2, 4]]),
            Sample::new(Self { axis: 0 }, -1.0..1.0, &[&[2], &[0]]),
        ]
    }
}

impl Samples for BroadcastTo {
    const NAME: &'static str = "broadcast_to";
    const DOC: &'static str = "An array repeated along axes of size 1 and new leading axes. PyTorch: `x.expand`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |to: &[usize], from: &[usize]| Sample::new(Self { to: Shape::new(to) }, -1.0..1.0, &[from]);
        vec![
            sample(&[3, 4], &[4]),
            sample(&[3, 4], &[3, 1]),
            sample(&[2, 3, 4], &[2, 1, 4]),
            sample(&[2, 3, 2], &[1, 3, 1]),
        ]
    }
}

impl<T: Float> Tape<T> {
    /// Joins arrays along one axis (negative: from the back). PyTorch: `torch.cat`.
    ///
    /// # Panics
    /// When the list is empty or the shapes differ beside that axis.
    pub fn concat<'t>(&'t self, parts: &[Var<'t, T>], axis: isize) -> Var<'t, T> {
        assert!(!parts.is_empty(), "concat: nothing to join");
        let axis = parts[0].shape().axis(axis, Concat::NAME);
        self.record(Concat { axis }, parts)[0]
    }

    /// Joins arrays of one shape along a new leading axis. PyTorch: `torch.stack`.
    ///
    /// # Panics
    /// When the list is empty or the shapes differ.
    pub fn stack<'t>(&'t self, parts: &[Var<'t, T>]) -> Var<'t, T> {
        let parts: Vec<Var<'t, T>> = parts.iter().map(|p| p.unsqueeze(0)).collect();
        self.concat(&parts, 0)
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The axes in the given order. PyTorch: `x.permute`.
    ///
    /// # Panics
    /// When `order` does not name each axis once.
    pub fn permute(self, order: &[usize]) -> Self {
        self.tape.record(Permute { order: SmallVec::from_slice(order) }, &[self])[0]
    }

    /// The last two axes exchanged. PyTorch: `x.mT`.
    ///
    /// # Panics
    /// When there are fewer than two axes.
    pub fn transpose(self) -> Self {
        let rank = self.shape().rank();
        assert!(rank >= 2, "transpose: shape {} has fewer than two axes", self.shape());
        let mut order: SmallVec<[usize; MAX_RANK]> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.permute(&order)
    }

    /// The elements `start..start + len` of one axis (negative: from the back). PyTorch: `x.narrow`.
    ///
    /// # Panics
    /// When the range leaves the axis.
    pub fn narrow(self, axis: isize, start: usize, len: usize) -> Self {
        let axis = self.shape().axis(axis, Narrow::NAME);
        self.tape.record(Narrow { axis, start, len }, &[self])[0]
    }

    /// The array repeated along axes of size 1 and along new leading axes. PyTorch: `x.expand`.
    ///
    /// # Panics
    /// When the shapes do not broadcast.
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Self {
        self.tape.record(BroadcastTo { to: shape.into() }, &[self])[0]
    }
}
