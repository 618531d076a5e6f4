//! Rows and elements picked by index, and added up by index.

use std::sync::Arc;

use crate::float::Float;
use crate::kernels::indexed::{add_elements, add_rows, pick_elements, pick_rows};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The positions of one axis in a given order, with repeats.
pub struct IndexSelect {
    pub(crate) axis: usize,
    pub(crate) indices: Arc<[u32]>,
}

/// Along one axis, for each element of the result an element of the operand.
pub struct Gather {
    axis: usize,
    /// The shape of the index array and of the result.
    shape: Shape,
    indices: Arc<[u32]>,
}

/// Each element of the second operand added to an element of the first, along one axis.
pub struct ScatterAdd {
    axis: usize,
    indices: Arc<[u32]>,
}

/// Panics when an index leaves an axis.
pub(crate) fn check_indices(op: &str, indices: &[u32], axis: usize, shape: &Shape) {
    if let Some(index) = indices.iter().find(|&&index| index as usize >= shape[axis]) {
        panic!("{op}: index {index} is outside of axis {axis} of shape {shape}");
    }
}

/// Panics unless an index array of shape `indices` fits `shape` beside the axis.
fn check_beside(op: &str, indices: &Shape, axis: usize, shape: &Shape) {
    let fits = indices.rank() == shape.rank() && indices.with(axis, 0) == shape.with(axis, 0);
    assert!(fits, "{op}: indices of shape {indices} for shape {shape} differ from it beside axis {axis}");
}

impl<T: Float> Op<T> for IndexSelect {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        check_indices(Self::NAME, &self.indices, self.axis, &inputs[0]);
        Shapes::from_elem(inputs[0].with(self.axis, self.indices.len()), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        pick_rows(x[0].data, x[0].shape.split_at_axis(self.axis), &self.indices, y[0], false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        add_rows(at.grad(0), &self.indices, grad, at.x[0].shape.split_at_axis(self.axis));
    }
}

impl<T: Float> Op<T> for Gather {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let count = self.indices.len();
        assert!(self.shape.len() == count, "gather: {count} indices do not fill shape {}", self.shape);
        check_beside(Self::NAME, &self.shape, self.axis, &inputs[0]);
        check_indices(Self::NAME, &self.indices, self.axis, &inputs[0]);
        Shapes::from_elem(self.shape, 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let sizes = x[0].shape.split_at_axis(self.axis);
        pick_elements(x[0].data, sizes, &self.indices, self.shape[self.axis], y[0], false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        let sizes = at.x[0].shape.split_at_axis(self.axis);
        add_elements(at.grad(0), &self.indices, self.shape[self.axis], grad, sizes);
    }
}

impl<T: Float> Op<T> for ScatterAdd {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (base, source) = (&inputs[0], &inputs[1]);
        let count = self.indices.len();
        assert!(source.len() == count, "scatter_add: {count} indices for a source of shape {source}");
        check_beside(Self::NAME, source, self.axis, base);
        check_indices(Self::NAME, &self.indices, self.axis, base);
        Shapes::from_elem(*base, 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        y[0].copy_from_slice(x[0].data);
        let m = x[1].shape[self.axis];
        add_elements(x[1].data, &self.indices, m, y[0], x[0].shape.split_at_axis(self.axis));
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        grads.add_slice(0, at.grad(0));
        if let Some((grad, accumulate)) = grads.write(1) {
            let m = at.x[1].shape[self.axis];
            let sizes = at.x[0].shape.split_at_axis(self.axis);
            pick_elements(at.grad(0), sizes, &self.indices, m, grad, accumulate);
        }
    }
}

impl Samples for IndexSelect {
    const NAME: &'static str = "index_select";
    const DOC: &'static str =
        "Positions of one axis by index, with repeats: embedding look-up. PyTorch: `x.index_select`, `x[rows]`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, indices: &[u32], shape: &[usize]| {
            Sample::new(Self { axis, indices: indices.into() }, -1.0..1.0, &[shape])
        };
        vec![
            sample(0, &[2, 0, 2, 1], &[3, 4]),
            sample(1, &[1, 2, 0, 1], &[2, 3, 2]),
            sample(2, &[0, 1, 2, 2, 0], &[2, 1, 3]),
            sample(0, &[0, 0], &[1, 2, 2]),
            sample(0, &[1], &[2]),
            sample(0, &[], &[2, 3]),
        ]
    }
}

impl Samples for Gather {
    const NAME: &'static str = "gather";
    const DOC: &'static str = "Elements of one axis by an array of indices. PyTorch: `torch.gather`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, indices: &[u32], to: &[usize], from: &[usize]| {
            Sample::new(Self { axis, shape: Shape::new(to), indices: indices.into() }, -1.0..1.0, &[from])
        };
        vec![
            sample(0, &[2, 0, 2, 1, 1, 1], &[3, 2], &[3, 2]),
            sample(1, &[1, 1, 0, 2], &[2, 2], &[2, 3]),
            sample(1, &[0, 1, 1, 0, 1, 1], &[1, 3, 2], &[1, 2, 2]),
            sample(0, &[0], &[1], &[1]),
            sample(0, &[], &[0, 2], &[3, 2]),
        ]
    }
}

impl Samples for ScatterAdd {
    const NAME: &'static str = "scatter_add";
    const DOC: &'static str =
        "Elements added to those that an array of indices names along one axis. PyTorch: `torch.scatter_add`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, indices: &[u32], base: &[usize], source: &[usize]| {
            Sample::new(Self { axis, indices: indices.into() }, -1.0..1.0, &[base, source])
        };
        vec![
            sample(0, &[2, 0, 2, 1, 1, 1], &[3, 2], &[3, 2]),
            sample(1, &[1, 1, 0, 2], &[2, 3], &[2, 2]),
            sample(1, &[0, 1, 1, 0, 1, 1], &[1, 2, 2], &[1, 3, 2]),
            sample(0, &[0], &[1], &[1]),
            sample(0, &[], &[2, 3], &[0, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The positions of one axis (negative: from the back) with the given indices, in that order, repeats allowed.
    /// PyTorch: `x.index_select`; along axis 0 also `x[rows]` and `F.embedding`.
    ///
    /// # Panics
    /// When there is no such axis or an index is outside of it.
    pub fn index_select(self, axis: isize, indices: &Arc<[u32]>) -> Self {
        let axis = self.shape().axis(axis, IndexSelect::NAME);
        self.tape.record(IndexSelect { axis, indices: Arc::clone(indices) }, &[self])[0]
    }

    /// Along one axis (negative: from the back) the elements that an index array of shape `shape` names, which equals
    /// this array's shape beside the axis: for axis 1 of three, `y[i, j, k] = x[i, indices[i, j, k], k]`.
    /// PyTorch: `torch.gather`, NumPy: `np.take_along_axis`.
    ///
    /// # Panics
    /// When there is no such axis, an index is outside of it, or the shapes do not fit.
    pub fn gather(self, axis: isize, shape: impl Into<Shape>, indices: &Arc<[u32]>) -> Self {
        let axis = self.shape().axis(axis, Gather::NAME);
        self.tape.record(Gather { axis, shape: shape.into(), indices: Arc::clone(indices) }, &[self])[0]
    }

    /// This array with each element of `source` added where its index says along one axis (negative: from the back):
    /// for axis 1 of three, `y[i, indices[i, j, k], k] += source[i, j, k]`. `source` has the shape of the index array,
    /// which equals this array's beside the axis. Repeated places get the sum in the order of `source`. PyTorch:
    /// `torch.scatter_add`.
    ///
    /// # Panics
    /// When there is no such axis, an index is outside of it, or the shapes do not fit.
    pub fn scatter_add(self, axis: isize, indices: &Arc<[u32]>, source: Self) -> Self {
        let axis = self.shape().axis(axis, ScatterAdd::NAME);
        self.tape.record(ScatterAdd { axis, indices: Arc::clone(indices) }, &[self, source])[0]
    }
}
