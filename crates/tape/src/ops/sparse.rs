//! Products of sparse and dense matrices.
//!
//! Every element of a result is summed by one thread in the order of the stored elements.

use crate::csr::Csr;
use crate::float::Float;
use crate::kernels::{CHUNK, for_each_chunk, simd_kernel, sum_of};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// A X, or A' X, for sparse A.
pub struct SparseMatMul {
    pattern: Csr,
    transposed: bool,
}

/// X A' for sparse A.
pub struct MatMulSparse {
    pattern: Csr,
}

/// Rows of a result that make up one unit of work, about [`CHUNK`] multiply-adds.
fn rows_per_task(rows: usize, elements: usize, width: usize) -> usize {
    (CHUNK * rows / (elements * width).max(1)).clamp(1, rows.max(1))
}

simd_kernel! {
    /// y[r] += sum of v x[column] over the elements of row r, `width` wide; `indptr` is of these rows.
    fn add_rows [T, L](indptr: &[usize], indices: &[u32], values: &[T], x: &[T], y: &mut [T], width: usize) {
        for (bounds, y) in indptr.windows(2).zip(y.chunks_exact_mut(width)) {
            for at in bounds[0]..bounds[1] {
                let value = L::new(values[at]);
                let x = &x[indices[at] as usize * width..][..width];
                for (x, y) in x.iter().zip(y.iter_mut()) {
                    *y = value.mul_add(L::new(*x), L::new(*y)).get();
                }
            }
        }
    }
}

simd_kernel! {
    /// The inner product of two rows.
    fn dot [T, L](a: &[T], b: &[T]) -> T {
        let b = &b[..a.len()];
        sum_of([a, b], |[a, b]: [L; 2]| a * b).get()
    }
}

/// y += A x.
fn add_product<T: Float>(indptr: &[usize], indices: &[u32], values: &[T], x: &[T], y: &mut [T], width: usize) {
    let rows = rows_per_task(indptr.len() - 1, indices.len(), width);
    for_each_chunk(y, rows * width, |i, y| {
        add_rows(&indptr[i * rows..=i * rows + y.len() / width], indices, values, x, y, width);
    });
}

impl SparseMatMul {
    /// y += A x, or A' x when `transposed`.
    fn add<T: Float>(&self, transposed: bool, values: &[T], x: &[T], y: &mut [T], width: usize, at: &mut [T]) {
        if width == 0 {
            return;
        }
        if transposed {
            let columns = self.pattern.transposed();
            at.iter_mut().zip(&columns.origin).for_each(|(value, &origin)| *value = values[origin as usize]);
            add_product(&columns.indptr, &columns.indices, at, x, y, width);
        } else {
            add_product(self.pattern.indptr(), self.pattern.indices(), values, x, y, width);
        }
    }
}

/// Writes `value(row, element)` to each element of a gradient, in parallel.
fn add_to_elements<T: Float>(pattern: &Csr, grad: &mut [T], width: usize, value: impl Fn(usize, usize) -> T + Sync) {
    let size = (CHUNK / width.max(1)).max(1);
    let indptr = pattern.indptr();
    for_each_chunk(grad, size, |i, grad| {
        let start = i * size;
        let mut row = indptr.partition_point(|&first| first <= start) - 1;
        for (at, grad) in (start..).zip(grad) {
            while indptr[row + 1] <= at {
                row += 1;
            }
            *grad += value(row, at);
        }
    });
}

impl<T: Float> Op<T> for SparseMatMul {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (values, x, pattern) = (&inputs[0], &inputs[1], &self.pattern);
        let (from, to) = if self.transposed { ("rows", "cols") } else { ("cols", "rows") };
        let (inner, outer) =
            if self.transposed { (pattern.rows(), pattern.cols()) } else { (pattern.cols(), pattern.rows()) };
        assert!(
            **values == [pattern.elements()] && x.rank() == 2 && x[0] == inner,
            "sparse_matmul: [{}, {}] with {} elements: values {values} x {x}: expected [elements] and [{from}, n] to \
             give [{to}, n]",
            pattern.rows(),
            pattern.cols(),
            pattern.elements()
        );
        Shapes::from_elem(x.with(0, outer), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let mut by_column = saved.scratch(if self.transposed { x[0].data.len() } else { 0 });
        y[0].fill(T::ZERO);
        self.add(self.transposed, x[0].data, x[1].data, y[0], x[1].shape[1], &mut by_column);
    }

    /// X: A' g (or A g); a stored element: the inner product of its rows in g and X.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (values, x, g) = (at.x[0].data, at.x[1].data, at.grad(0));
        let width = at.x[1].shape[1];
        if let Some(grad) = grads.sum(1) {
            let mut by_column = at.scratch(if self.transposed { 0 } else { values.len() });
            self.add(!self.transposed, values, g, grad, width, &mut by_column);
        }
        if let Some(grad) = grads.sum(0) {
            let (by_row, by_column) = if self.transposed { (x, g) } else { (g, x) };
            let indices = self.pattern.indices();
            add_to_elements(&self.pattern, grad, width, |row, at| {
                let column = indices[at] as usize;
                dot(&by_row[row * width..(row + 1) * width], &by_column[column * width..(column + 1) * width])
            });
        }
    }
}

impl<T: Float> Op<T> for MatMulSparse {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, values, pattern) = (&inputs[0], &inputs[1], &self.pattern);
        assert!(
            **values == [pattern.elements()] && x.rank() == 2 && x[1] == pattern.cols(),
            "matmul_sparse_transposed: {x} x values {values} of [{}, {}] with {} elements: expected [m, cols] and \
             [elements] to give [m, rows]",
            pattern.rows(),
            pattern.cols(),
            pattern.elements()
        );
        Shapes::from_elem(x.with(1, pattern.rows()), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let (rows, cols) = (self.pattern.rows(), self.pattern.cols());
        let (indptr, indices) = (self.pattern.indptr(), self.pattern.indices());
        if rows == 0 {
            return;
        }
        let (x, values) = (x[0].data, x[1].data);
        for_each_chunk(y[0], rows, |i, y| {
            let x = &x[i * cols..(i + 1) * cols];
            for (bounds, y) in indptr.windows(2).zip(y) {
                let mut sum = T::ZERO;
                for at in bounds[0]..bounds[1] {
                    sum += values[at] * x[indices[at] as usize];
                }
                *y = sum;
            }
        });
    }

    /// X: g A; a stored element: the inner product of its columns in g and X.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (rows, cols) = (self.pattern.rows(), self.pattern.cols());
        let (indptr, indices) = (self.pattern.indptr(), self.pattern.indices());
        let (x, values, g) = (at.x[0].data, at.x[1].data, at.grad(0));
        let count = at.x[0].shape[0];
        if let Some(grad) = grads.sum(0) {
            for_each_chunk(grad, cols, |i, grad| {
                for (bounds, g) in indptr.windows(2).zip(&g[i * rows..(i + 1) * rows]) {
                    for at in bounds[0]..bounds[1] {
                        grad[indices[at] as usize] += values[at] * *g;
                    }
                }
            });
        }
        if let Some(grad) = grads.sum(1) {
            add_to_elements(&self.pattern, grad, count, |row, at| {
                let column = indices[at] as usize;
                (0..count).map(|i| g[i * rows + row] * x[i * cols + column]).sum()
            });
        }
    }
}

/// [[., a, b, .], [., ., ., .], [c, ., d, .]], with d given in two parts.
fn example() -> Csr {
    Csr::new(3, 4, vec![0, 2, 2, 5], vec![1, 2, 2, 0, 2]).expect("a valid pattern")
}

fn empty(rows: usize, cols: usize) -> Csr {
    Csr::new(rows, cols, vec![0; rows + 1], Vec::new()).expect("a valid pattern")
}

impl Samples for SparseMatMul {
    const NAME: &'static str = "sparse_matmul";
    const DOC: &'static str = "Product of a sparse matrix (compressed rows), or of its transpose, with a dense one. \
        PyTorch: `torch.sparse.mm`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |pattern: Csr, transposed, x: &[usize]| {
            let elements = [pattern.elements()];
            Sample::new(Self { pattern, transposed }, -1.0..1.0, &[&elements, x])
        };
        vec![
            sample(example(), false, &[4, 3]),
            sample(example(), true, &[3, 2]),
            sample(example(), false, &[4, 19]),
            sample(example(), false, &[4, 0]),
            sample(empty(2, 3), false, &[3, 2]),
            sample(empty(0, 3), true, &[0, 2]),
        ]
    }
}

impl Samples for MatMulSparse {
    const NAME: &'static str = "matmul_sparse_transposed";
    const DOC: &'static str = "Product of a dense matrix with the transpose of a sparse one (compressed rows): a linear \
        layer with sparse weights. PyTorch: `torch.sparse.mm(a, x.T).T`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |pattern: Csr, x: &[usize]| {
            let elements = [pattern.elements()];
            Sample::new(Self { pattern }, -1.0..1.0, &[x, &elements])
        };
        vec![
            sample(example(), &[2, 4]),
            sample(example(), &[1, 4]),
            sample(empty(2, 3), &[2, 3]),
            sample(example(), &[0, 4]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// A X for a sparse matrix A `[rows, cols]` with values `self` `[elements]`, and dense X `[cols, n]`. PyTorch:
    /// `torch.sparse.mm`.
    ///
    /// With A `[cells, genes]` of counts and X `[genes, hidden]` of weights it is the first layer of an encoder. Values
    /// that are constants cost no gradient.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn sparse_matmul(self, pattern: &Csr, dense: Self) -> Self {
        self.tape.record(SparseMatMul { pattern: pattern.clone(), transposed: false }, &[self, dense])[0]
    }

    /// A' X for a sparse matrix A `[rows, cols]` with values `self` `[elements]`, and dense X `[rows, n]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn sparse_matmul_transposed(self, pattern: &Csr, dense: Self) -> Self {
        self.tape.record(SparseMatMul { pattern: pattern.clone(), transposed: true }, &[self, dense])[0]
    }

    /// X A' for dense X `[m, cols]` (`self`) and a sparse matrix A `[rows, cols]` with the given values `[elements]`:
    /// a linear layer whose weights A are sparse (a gene-set or regulatory mask).
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn matmul_sparse_transposed(self, pattern: &Csr, values: Self) -> Self {
        self.tape.record(MatMulSparse { pattern: pattern.clone() }, &[self, values])[0]
    }
}
