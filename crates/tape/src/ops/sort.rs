//! Sorting along an axis, with gradients that follow the elements to their places.

use std::cell::RefCell;

use crate::float::Float;
use crate::kernels::{for_each_block_run, for_each_chunk2, rows_per_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::extremum::assert_exact;
use crate::registry::Gradient;
use crate::shape::Shape;
use crate::var::Var;

/// Elements in order with their positions: the first `keep` along an axis, or all.
///
/// NaN comes last in either order; equal elements, 0 and -0 among them, stay in the order they had.
#[derive(Clone, Copy)]
pub struct Sort {
    axis: usize,
    descending: bool,
    keep: Option<usize>,
}

/// The positions that sort an axis.
pub struct ArgSort(Sort);

thread_local! {
    /// Keys of one line: reused, so that a step in steady state allocates nothing here.
    static KEYS: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) };
}

/// Bits whose order is that of numbers, NaN last, with the position below them as the tie-breaker.
fn key(x: f64, position: usize, descending: bool) -> u128 {
    // -0 + 0 is 0
    let bits = (x + 0.0).to_bits();
    let ascending = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    let order = match (x.is_nan(), descending) {
        (true, _) => u64::MAX,
        (false, true) => !ascending,
        (false, false) => ascending,
    };
    u128::from(order) << 64 | position as u128
}

/// The position that a key holds.
pub(super) fn position(key: u128) -> usize {
    key as u64 as usize
}

/// Hands the keys of a line (every `stride`-th of `n` elements from `start`) to `work`.
pub(super) fn with_keys<T: Float, R>(
    x: &[T],
    (start, n, stride): (usize, usize, usize),
    descending: bool,
    work: impl FnOnce(&mut [u128]) -> R,
) -> R {
    KEYS.with_borrow_mut(|keys| {
        keys.clear();
        keys.extend((0..n).map(|at| key(x[start + at * stride].to_f64(), at, descending)));
        work(keys)
    })
}

impl Sort {
    fn kept(&self, n: usize) -> usize {
        self.keep.unwrap_or(n)
    }

    fn shape(&self, x: &Shape) -> Shape {
        let n = x[self.axis];
        let keep = self.kept(n);
        assert!(keep <= n, "top_k: {keep} of axis {} of shape {x}", self.axis);
        x.with(self.axis, keep)
    }

    /// Writes the kept elements' positions and, if `values` is not empty, the elements.
    fn run<T: Float>(&self, x: &Array<'_, T>, values: &mut [T], positions: &mut [T], name: &str) {
        let (_, n, inner) = x.shape.split_at_axis(self.axis);
        assert_exact::<T>(n, name);
        let keep = self.kept(n);
        let run = rows_per_chunk(n * inner) * keep * inner;
        if run == 0 {
            return;
        }
        for_each_chunk2(values, run, positions, run, |i, values, positions| {
            for (line, first) in
                (0..positions.len() / keep).map(|line| (line, line / inner * keep * inner + line % inner))
            {
                let line = i * (run / keep) + line;
                let start = line / inner * n * inner + line % inner;
                with_keys(x.data, (start, n, inner), self.descending, |keys| {
                    if keep < n {
                        keys.select_nth_unstable(keep - 1);
                    }
                    keys[..keep].sort_unstable();
                    for (k, &key) in keys[..keep].iter().enumerate() {
                        let at = position(key);
                        values[first + k * inner] = x.data[start + at * inner];
                        positions[first + k * inner] = T::of(at as f64);
                    }
                });
            }
        });
    }
}

impl<T: Float> Op<T> for Sort {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.shape(&inputs[0]), 2)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let [values, positions] = y else { unreachable!("two outputs were announced") };
        self.run(&x[0], values, positions, Self::NAME);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let split = at.x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        let keep = self.kept(n);
        // positions have no gradient
        let (Some(g), Some(grad)) = (at.grad_if_any(0), grads.sum(0)) else { return };
        for_each_block_run(grad, split, |first, grad| {
            for (block, grad) in grad.chunks_mut(n * inner).enumerate() {
                let start = (first + block) * keep * inner;
                for k in 0..keep * inner {
                    let position = at.y[1].data[start + k].to_f64() as usize;
                    grad[position * inner + k % inner] += g[start + k];
                }
            }
        });
    }
}

impl<T: Float> Op<T> for ArgSort {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.0.shape(&inputs[0]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let mut values = saved.scratch(y[0].len());
        self.0.run(&x[0], &mut values, y[0], Self::NAME);
    }

    fn backward(&self, _: &At<'_, T>, _: &mut Grads<'_, T>) {}
}

impl Samples for Sort {
    const NAME: &'static str = "sort";
    const DOC: &'static str = "Elements along one axis in order, or the first k of them, and their positions. PyTorch: `x.sort(axis)`, `x.topk(k, axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample =
            |axis, descending, keep, shape: &[usize]| Sample::new(Self { axis, descending, keep }, -1.0..1.0, &[shape]);
        vec![
            sample(0, false, None, &[7]),
            sample(1, true, Some(2), &[4, 5]),
            sample(1, false, Some(3), &[2, 3, 4]),
            sample(0, true, None, &[5, 3]),
            sample(0, false, Some(0), &[5, 3]),
            sample(0, false, None, &[1]),
            sample(1, false, None, &[0, 3]),
        ]
    }
}

impl Samples for ArgSort {
    const NAME: &'static str = "argsort";
    const DOC: &'static str = "Positions that sort one axis; no gradient. PyTorch: `x.argsort(axis, stable=True)`.";
    const GRADIENT: Gradient = Gradient::None;
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, descending, shape: &[usize]| {
            Sample::new(Self(Sort { axis, descending, keep: None }), -1.0..1.0, &[shape])
        };
        vec![sample(0, false, &[7]), sample(1, true, &[2, 3, 4]), sample(0, false, &[1]), sample(1, false, &[0, 3])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The elements along one axis (negative: from the back) in ascending order; NaN comes last and equal elements keep
    /// their order. The gradient goes back to where each element was. PyTorch: `x.sort(axis, stable=True).values`.
    ///
    /// # Panics
    /// When there is no such axis, or in f32 it is longer than 2^24.
    pub fn sort(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, Sort::NAME);
        self.tape.record(Sort { axis, descending: false, keep: None }, &[self])[0]
    }

    /// The elements along one axis (negative: from the back) in descending order; NaN comes last and equal elements
    /// keep their order. PyTorch: `x.sort(axis, descending=True, stable=True).values`.
    ///
    /// # Panics
    /// When there is no such axis, or in f32 it is longer than 2^24.
    pub fn sort_descending(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, Sort::NAME);
        self.tape.record(Sort { axis, descending: true, keep: None }, &[self])[0]
    }

    /// The `k` largest elements along one axis (negative: from the back) in descending order, and their positions,
    /// through which no gradient flows; NaN counts as smallest, and the first of equal elements comes first. PyTorch:
    /// `x.topk(k, axis)`.
    ///
    /// # Panics
    /// When there is no such axis, it has fewer elements, or in f32 it is longer than 2^24.
    pub fn top_k(self, k: usize, axis: isize) -> [Self; 2] {
        let axis = self.shape().axis(axis, "top_k");
        let both = self.tape.record(Sort { axis, descending: true, keep: Some(k) }, &[self]);
        [both[0], both[1]]
    }

    /// The positions that sort an axis (negative: from the back) in ascending order, as numbers; NaN comes last and
    /// equal elements keep their order. It has no gradient. PyTorch: `x.argsort(axis, stable=True)`.
    ///
    /// # Panics
    /// When there is no such axis, or in f32 it is longer than 2^24.
    pub fn argsort(self, axis: isize) -> Self {
        let axis = self.shape().axis(axis, ArgSort::NAME);
        self.tape.record(ArgSort(Sort { axis, descending: false, keep: None }), &[self])[0]
    }
}
