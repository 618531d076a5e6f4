//! Distances and similarities of rows.

use crate::float::Float;
use crate::kernels::dense::transpose;
use crate::kernels::{for_each_chunk, rows_per_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Squared Euclidean distances of all pairs of rows.
pub struct SquaredDistances;

/// Cosine of the angle between matching rows.
pub struct CosineSimilarity {
    /// The least norm that a row is divided by.
    pub epsilon: f64,
}

simd_kernel! {
    /// y[i, j] = sum over k of (x[i, k] - z[k, j])^2, with z by columns; differences, so that equal rows are at 0.
    fn distance_rows [T, L](x: &[T], z: &[T], y: &mut [T], d: usize, m: usize) {
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(m)) {
            y.fill(T::ZERO);
            for (x, z) in x.iter().zip(z.chunks_exact(m)) {
                for (y, z) in y.iter_mut().zip(z) {
                    let difference = L::new(*x) - L::new(*z);
                    *y = difference.mul_add(difference, L::new(*y)).get();
                }
            }
        }
    }
}

simd_kernel! {
    /// grad[i, k] += 2 sum over j of g[i, j] (x[i, k] - z[k, j]).
    fn pull_rows [T, L](x: &[T], z: &[T], g: &[T], grad: &mut [T], d: usize, m: usize) {
        for ((x, g), grad) in x.chunks_exact(d).zip(g.chunks_exact(m)).zip(grad.chunks_exact_mut(d)) {
            for ((x, z), grad) in x.iter().zip(z.chunks_exact(m)).zip(grad) {
                let x = L::new(*x);
                let sum = sum_of([g, z], |[g, z]: [L; 2]| g * (x - z));
                *grad = L::of(2.0).mul_add(sum, L::new(*grad)).get();
            }
        }
    }
}

/// The sizes (n, m, d) of two sets of points.
fn sizes(x: &Shape, z: &Shape) -> (usize, usize, usize) {
    assert!(
        x.rank() == 2 && z.rank() == 2 && x[1] == z[1],
        "squared_distances: {x} x {z}: expected [n, dimensions] and [m, dimensions]"
    );
    (x[0], z[0], x[1])
}

/// Adds to the gradient of the points x, given z by columns and g as `[n, m]`.
fn pull<T: Float>(x: &[T], z: &[T], g: &[T], grad: &mut [T], d: usize, m: usize) {
    let rows = rows_per_chunk(m * d);
    for_each_chunk(grad, rows * d, |i, grad| {
        let count = grad.len() / d;
        pull_rows(&x[i * rows * d..][..count * d], z, &g[i * rows * m..][..count * m], grad, d, m);
    });
}

impl<T: Float> Op<T> for SquaredDistances {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (n, m, _) = sizes(&inputs[0], &inputs[1]);
        Shapes::from_elem(Shape::new(&[n, m]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (_, m, d) = sizes(&x[0].shape, &x[1].shape);
        if d == 0 {
            return y[0].fill(T::ZERO);
        }
        let mut columns = saved.scratch(m * d);
        transpose(x[1].data, m, d, &mut columns);
        let rows = rows_per_chunk(m * d);
        if m > 0 {
            for_each_chunk(y[0], rows * m, |i, y| {
                distance_rows(&x[0].data[i * rows * d..][..y.len() / m * d], &columns, y, d, m);
            });
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (n, m, d) = sizes(&at.x[0].shape, &at.x[1].shape);
        let (x, z, g) = (at.x[0].data, at.x[1].data, at.grad(0));
        let empty = n * m * d == 0;
        if let Some(grad) = grads.sum(0)
            && !empty
        {
            let mut columns = at.scratch(m * d);
            transpose(z, m, d, &mut columns);
            pull(x, &columns, g, grad, d, m);
        }
        if let Some(grad) = grads.sum(1)
            && !empty
        {
            let (mut columns, mut turned) = (at.scratch(n * d), at.scratch(n * m));
            transpose(x, n, d, &mut columns);
            transpose(g, n, m, &mut turned);
            pull(z, &columns, &turned, grad, d, n);
        }
    }
}

simd_kernel! {
    /// For each pair of rows their inner product and both norms, with the norms at least epsilon.
    fn cosine_parts [T, L](a: &[T], b: &[T], parts: &mut [T], width: usize, epsilon: T) {
        for ((a, b), parts) in a.chunks_exact(width).zip(b.chunks_exact(width)).zip(parts.chunks_exact_mut(3)) {
            parts[0] = sum_of([a, b], |[a, b]: [L; 2]| a * b).get();
            parts[1] = sum_of([a], |[a]: [L; 1]| a.square()).sqrt().max(L::new(epsilon)).get();
            parts[2] = sum_of([b], |[b]: [L; 1]| b.square()).sqrt().max(L::new(epsilon)).get();
        }
    }
}

simd_kernel! {
    /// grad += g (b / (|a| |b|) - cos a / |a|^2) by rows; the second term is absent where |a| was raised to epsilon.
    fn cosine_back [T, L](a: &[T], b: &[T], parts: &[T], g: &[T], grad: &mut [T], width: usize, epsilon: T, own: usize) {
        for (row, (a, (b, grad))) in
            a.chunks_exact(width).zip(b.chunks_exact(width).zip(grad.chunks_exact_mut(width))).enumerate()
        {
            let [dot, first, second] = [parts[3 * row], parts[3 * row + 1], parts[3 * row + 2]].map(L::new);
            let norm = L::new(parts[3 * row + own]);
            let g = L::new(g[row]) / first / second;
            let along = L::select(norm > L::new(epsilon), g * dot / norm / norm, L::of(0.0));
            for i in 0..width {
                grad[i] = (L::new(grad[i]) + g * L::new(b[i]) - along * L::new(a[i])).get();
            }
        }
    }
}

impl<T: Float> Op<T> for CosineSimilarity {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (a, b) = (&inputs[0], &inputs[1]);
        assert!(a == b && a.rank() > 0, "cosine_similarity: {a} x {b}: expected two equal shapes with a last axis");
        Shapes::from_elem(a.without(a.rank() - 1), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let parts = saved.keep(3 * y[0].len());
        if width == 0 {
            parts.fill(T::ZERO);
            return y[0].fill(T::ZERO);
        }
        let rows = rows_per_chunk(width);
        for_each_chunk(parts, 3 * rows, |i, parts| {
            let range = i * rows * width..(i * rows + parts.len() / 3) * width;
            cosine_parts(&x[0].data[range.clone()], &x[1].data[range], parts, width, T::of(self.epsilon));
        });
        y[0].iter_mut().zip(parts.chunks_exact(3)).for_each(|(y, parts)| *y = parts[0] / parts[1] / parts[2]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let width = at.x[0].shape.last_size();
        let rows = rows_per_chunk(width);
        for operand in 0..2 {
            let (own, other) = (at.x[operand].data, at.x[1 - operand].data);
            let Some(grad) = grads.sum(operand) else { continue };
            for_each_chunk(grad, rows * width, |i, grad| {
                let range = i * rows * width..i * rows * width + grad.len();
                let count = grad.len() / width;
                let (parts, g) = (&at.saved[0][i * rows * 3..][..count * 3], &at.grad(0)[i * rows..][..count]);
                let epsilon = T::of(self.epsilon);
                cosine_back(&own[range.clone()], &other[range], parts, g, grad, width, epsilon, 1 + operand);
            });
        }
    }
}

impl Samples for SquaredDistances {
    const NAME: &'static str = "squared_distances";
    const DOC: &'static str = "Squared Euclidean distances of all pairs of rows, exactly 0 for equal rows. PyTorch: \
        `torch.cdist(x, z).square()`.";
    fn samples() -> Vec<Sample<Self>> {
        let shapes: [[&[usize]; 2]; 5] =
            [[&[5, 3], &[4, 3]], [&[1, 1], &[1, 1]], [&[2, 19], &[37, 19]], [&[0, 2], &[3, 2]], [&[2, 0], &[3, 0]]];
        shapes.iter().map(|shapes| Sample::new(Self, -1.0..1.0, shapes)).collect()
    }
}

impl Samples for CosineSimilarity {
    const NAME: &'static str = "cosine_similarity";
    const DOC: &'static str = "Cosine of the angle between matching rows, 0 where one is zero. PyTorch: \
        `F.cosine_similarity(a, b, -1, eps)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |epsilon, shape: &[usize]| Sample::new(Self { epsilon }, -1.0..1.2, &[shape, shape]);
        vec![
            sample(1e-8, &[4, 5]),
            sample(1e-8, &[2, 3, 18]),
            sample(1e-8, &[1]),
            sample(1e-8, &[0, 3]),
            sample(1e-8, &[2, 0]),
            // rows shorter than epsilon
            sample(10.0, &[2, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The squared Euclidean distances of all pairs of points `[n, dimensions]` (`self`) and `[m, dimensions]`, as
    /// `[n, m]`. PyTorch: `torch.cdist(x, z).square()`.
    ///
    /// They are sums of squared differences: exactly 0 for equal points, and precise for close points far from the
    /// origin, in value and gradient. [`Var::root_distance`] gives the distance, [`Var::rbf_kernel`] and the Matern
    /// kernels the covariance.
    ///
    /// # Panics
    /// When the dimensions differ.
    pub fn squared_distances(self, other: Self) -> Self {
        self.tape.record(SquaredDistances, &[self, other])[0]
    }

    /// The cosine of the angle between matching rows (last axis) of two arrays of one shape, without that axis.
    /// PyTorch: `F.cosine_similarity(a, b, -1, epsilon)`, where epsilon is 1e-8 if not given.
    ///
    /// Norms below `epsilon` count as `epsilon`, so that a zero vector has similarity 0 with everything, a gradient of
    /// its own that is large but finite, and gives none to its partner.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn cosine_similarity(self, other: Self, epsilon: f64) -> Self {
        self.tape.record(CosineSimilarity { epsilon }, &[self, other])[0]
    }
}
