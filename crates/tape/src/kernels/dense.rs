//! Dense decompositions of one row-major matrix on one thread, so that bits do not depend on the number of threads.
//!
//! Small and middling sizes are what the ops need; the algorithms are faer's. Each function returns whether the
//! decomposition exists; what it wrote is arbitrary where it does not.

use std::mem::MaybeUninit;

use faer::diag::DiagMut;
use faer::dyn_stack::{MemStack, StackReq};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::lu::partial_pivoting::factor::{lu_in_place, lu_in_place_scratch};
use faer::linalg::lu::partial_pivoting::inverse::{inverse, inverse_scratch};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::perm::PermRef;
use faer::traits::RealField;
use faer::{MatMut, MatRef, Par};
use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::buffer::Pool;

/// Row order of a pivoted factorisation; matrices up to this size need no allocation for it.
type Pivots = SmallVec<[u32; 64]>;

/// Calls into faer, for each precision. All arrays are row-major.
pub trait Decompose: Sized {
    /// A symmetric `[n, n]` matrix becomes its lower Cholesky factor, with zeros above the diagonal.
    fn cholesky(a: &mut [Self], n: usize, pool: &Pool<Self>) -> bool
    where
        Self: Float;
    /// `[n, k]` x becomes the solution of T y = x, or of T' y = x when `transposed`; the other triangle is not read.
    fn solve_triangular(t: &[Self], n: usize, triangle: Triangle, transposed: bool, x: &mut [Self], k: usize) -> bool
    where
        Self: Float;
    /// An `[n, n]` matrix becomes its pivoted LU factors; gives the sign of the determinant.
    fn lu(a: &mut [Self], n: usize, pool: &Pool<Self>) -> f64
    where
        Self: Float;
    /// The inverse of the matrix `a`, which is overwritten.
    fn invert(a: &mut [Self], n: usize, out: &mut [Self], pool: &Pool<Self>) -> bool
    where
        Self: Float;
    /// `[n]` ascending eigenvalues and `[n, n]` eigenvectors (columns) of a symmetric matrix.
    fn eigh(a: &[Self], n: usize, values: &mut [Self], vectors: &mut [Self], pool: &Pool<Self>) -> bool
    where
        Self: Float;
}

/// Which half of a square matrix holds its values; the other half counts as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

/// Runs `work` with scratch memory from the pool.
fn with_stack<T: Float, R>(pool: &Pool<T>, need: StackReq, work: impl FnOnce(&mut MemStack) -> R) -> R {
    let mut memory = pool.take(need.unaligned_bytes_required().div_ceil(size_of::<T>()));
    let bytes = size_of_val(&memory[..]);
    // SAFETY: the bytes belong to `memory`, which is borrowed for as long as the slice lives, and any bytes are floats.
    let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes) };
    work(MemStack::new(bytes))
}

fn all_finite<T: Float>(a: &[T]) -> bool {
    a.iter().all(|a| Float::is_finite(*a))
}

/// The sign of a permutation: each cycle of even length turns it over.
fn permutation_sign(order: &[u32]) -> f64 {
    let mut seen: SmallVec<[bool; 64]> = SmallVec::from_elem(false, order.len());
    let mut sign = 1.0;
    for start in 0..order.len() {
        let mut at = start;
        let mut length = 0;
        while !seen[at] {
            seen[at] = true;
            at = order[at] as usize;
            length += 1;
        }
        if length > 0 && length % 2 == 0 {
            sign = -sign;
        }
    }
    sign
}

/// Factors `a` in place and hands the row order to `then`.
fn factor_lu<T: Float + RealField, R>(
    a: &mut [T],
    n: usize,
    pool: &Pool<T>,
    then: impl FnOnce(&mut [T], PermRef<'_, u32>) -> R,
) -> R {
    let (mut order, mut inverse_order) = (Pivots::from_elem(0, n), Pivots::from_elem(0, n));
    let need = lu_in_place_scratch::<u32, T>(n, n, Par::Seq, Default::default());
    let (_, order) = with_stack(pool, need, |stack| {
        let a = MatMut::from_row_major_slice_mut(a, n, n);
        lu_in_place(a, &mut order, &mut inverse_order, Par::Seq, stack, Default::default())
    });
    then(a, order)
}

impl<R: RealField> Decompose for R {
    fn cholesky(a: &mut [R], n: usize, pool: &Pool<R>) -> bool
    where
        R: Float,
    {
        // a symmetric matrix is its own transpose, so that its rows can be read as columns, which faer prefers
        let need = cholesky_in_place_scratch::<R>(n, Par::Seq, Default::default());
        let factored = with_stack(pool, need, |stack| {
            let columns = MatMut::from_column_major_slice_mut(a, n, n);
            cholesky_in_place(columns, Default::default(), Par::Seq, stack, Default::default()).is_ok()
        });
        for i in 0..n {
            for j in 0..i {
                a[i * n + j] = a[j * n + i];
                a[j * n + i] = R::ZERO;
            }
        }
        factored && (0..n).all(|i| Float::is_finite(a[i * n + i]) && a[i * n + i] > R::ZERO)
    }

    fn solve_triangular(t: &[R], n: usize, triangle: Triangle, transposed: bool, x: &mut [R], k: usize) -> bool
    where
        R: Float,
    {
        let matrix = MatRef::from_row_major_slice(t, n, n);
        let x = MatMut::from_row_major_slice_mut(x, n, k);
        match (triangle, transposed) {
            (Triangle::Lower, false) => solve_lower_triangular_in_place(matrix, x, Par::Seq),
            (Triangle::Upper, true) => solve_lower_triangular_in_place(matrix.transpose(), x, Par::Seq),
            (Triangle::Upper, false) => solve_upper_triangular_in_place(matrix, x, Par::Seq),
            (Triangle::Lower, true) => solve_upper_triangular_in_place(matrix.transpose(), x, Par::Seq),
        }
        (0..n).all(|i| t[i * n + i] != R::ZERO)
    }

    fn lu(a: &mut [R], n: usize, pool: &Pool<R>) -> f64
    where
        R: Float,
    {
        if !all_finite(a) {
            return f64::NAN;
        }
        factor_lu(a, n, pool, |factors, order| {
            let negative = (0..n).filter(|i| factors[i * n + i] < R::ZERO).count();
            let zero = (0..n).any(|i| factors[i * n + i] == R::ZERO);
            let sign = permutation_sign(order.arrays().0);
            if zero {
                0.0
            } else if negative % 2 == 1 {
                -sign
            } else {
                sign
            }
        })
    }

    fn invert(a: &mut [R], n: usize, out: &mut [R], pool: &Pool<R>) -> bool
    where
        R: Float,
    {
        if !all_finite(a) {
            return false;
        }
        factor_lu(a, n, pool, |factors, order| {
            if (0..n).any(|i| factors[i * n + i] == R::ZERO) {
                return false;
            }
            with_stack(pool, inverse_scratch::<u32, R>(n, Par::Seq), |stack| {
                let factors = MatRef::from_row_major_slice(factors, n, n);
                inverse(MatMut::from_row_major_slice_mut(out, n, n), factors, factors, order, Par::Seq, stack);
            });
            true
        })
    }

    fn eigh(a: &[R], n: usize, values: &mut [R], vectors: &mut [R], pool: &Pool<R>) -> bool
    where
        R: Float,
    {
        if !all_finite(a) {
            return false;
        }
        let mut columns = pool.take(n * n);
        let need = self_adjoint_evd_scratch::<R>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
        let converged = with_stack(pool, need, |stack| {
            self_adjoint_evd(
                MatRef::from_column_major_slice(a, n, n),
                DiagMut::from_slice_mut(values),
                Some(MatMut::from_column_major_slice_mut(&mut columns, n, n)),
                Par::Seq,
                stack,
                Default::default(),
            )
            .is_ok()
        });
        if !converged {
            return false;
        }
        for (column, vector) in columns.chunks_exact_mut(n).enumerate() {
            // a vector and its opposite are equally good: the largest component decides
            let mut largest = R::ZERO;
            for &component in vector.iter() {
                if Float::to_f64(component).abs() > Float::to_f64(largest).abs() {
                    largest = component;
                }
            }
            for (row, component) in vector.iter().enumerate() {
                vectors[row * n + column] = if largest < R::ZERO { -*component } else { *component };
            }
        }
        true
    }
}

/// out = (a + a') / 2.
pub(crate) fn symmetric_part<T: Float>(a: &[T], n: usize, out: &mut [T]) {
    let half = T::of(0.5);
    for i in 0..n {
        for j in 0..n {
            out[i * n + j] = (a[i * n + j] + a[j * n + i]) * half;
        }
    }
}

/// grad += factor (a + a') / 2.
pub(crate) fn add_symmetric_part<T: Float>(a: &[T], n: usize, factor: T, grad: &mut [T]) {
    let half = factor * T::of(0.5);
    for i in 0..n {
        for j in 0..n {
            grad[i * n + j] += (a[i * n + j] + a[j * n + i]) * half;
        }
    }
}

/// The transpose of a row-major `[rows, cols]` matrix.
pub(crate) fn transpose<T: Float>(a: &[T], rows: usize, cols: usize, out: &mut [T]) {
    for i in 0..rows {
        for j in 0..cols {
            out[j * rows + i] = a[i * cols + j];
        }
    }
}

/// The lower Cholesky factor of the symmetric part of `a`; NaN everywhere when that is not positive definite.
pub(crate) fn cholesky_or_nan<T: Float>(a: &[T], n: usize, factor: &mut [T], pool: &Pool<T>) {
    symmetric_part(a, n, factor);
    if !T::cholesky(factor, n, pool) {
        factor.fill(T::of(f64::NAN));
    }
}

/// `[n, k]` x becomes (L L')^-1 x for a Cholesky factor L.
pub(crate) fn cholesky_solve<T: Float>(factor: &[T], n: usize, x: &mut [T], k: usize) {
    T::solve_triangular(factor, n, Triangle::Lower, false, x, k);
    T::solve_triangular(factor, n, Triangle::Lower, true, x, k);
}

/// The inverse (L L')^-1 for a Cholesky factor L.
pub(crate) fn cholesky_inverse<T: Float>(factor: &[T], n: usize, out: &mut [T]) {
    out.fill(T::ZERO);
    (0..n).for_each(|i| out[i * n + i] = T::ONE);
    cholesky_solve(factor, n, out, n);
}

/// ln det(L L') for a Cholesky factor L.
pub(crate) fn cholesky_log_det<T: Float>(factor: &[T], n: usize) -> T {
    T::of((0..n).map(|i| 2.0 * factor[i * n + i].to_f64().ln()).sum())
}
