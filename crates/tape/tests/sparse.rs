//! Sparse products against the same matrices written out; malformed parts are errors.

use gradome_tape::{Csr, CsrError, Tape, Tensor, Var};
use proptest::prelude::*;

fn noise(i: usize) -> f64 {
    2.0 * (((i as f64 + 1.0) * 12.9898).sin() * 43_758.545_3).rem_euclid(1.0) - 1.0
}

fn tensor(shape: &[usize], salt: usize) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| noise(i + 777 * salt))
}

/// A pattern that stores about `share` of its elements, with some empty rows, and some elements twice.
fn pattern(rows: usize, cols: usize, share: f64, salt: usize) -> Csr {
    let (mut indptr, mut indices) = (vec![0], Vec::new());
    for row in 0..rows {
        for col in (0..cols).rev() {
            let draw = noise(row * cols + col + 31 * salt).abs();
            if row % 5 != 3 && draw < share {
                indices.push(col as u32);
                if draw < share / 8.0 {
                    indices.push(col as u32);
                }
            }
        }
        indptr.push(indices.len());
    }
    Csr::new(rows, cols, indptr, indices).unwrap()
}

/// `[rows, cols]` the matrix written out.
fn dense(pattern: &Csr, values: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; pattern.rows() * pattern.cols()];
    for row in 0..pattern.rows() {
        for at in pattern.indptr()[row]..pattern.indptr()[row + 1] {
            out[row * pattern.cols() + pattern.indices()[at] as usize] += values[at];
        }
    }
    out
}

fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-12 * e.abs().max(1.0), "{what} {i}: {f}, expected {e}");
    }
}

/// The product in question of sparse values and a dense operand.
type Build = for<'t> fn(&Csr, Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>;

/// Value and gradients of a sparse product equal those of the dense one.
fn compare(what: &str, pattern: &Csr, shape: &[usize], sparse: Build, reference: Build) {
    let (values, x) = (tensor(&[pattern.elements()], 1), tensor(shape, 2));
    let tape = Tape::<f64>::new();
    let (v, a, x) = (
        tape.variable(&values),
        tape.variable(&Tensor::new([pattern.rows(), pattern.cols()], &dense(pattern, values.data()))),
        tape.variable(&x),
    );
    let (y, expected) = (sparse(pattern, v, x), reference(pattern, a, x));
    assert_close(what, y.value().data(), expected.value().data());
    let cotangent = tensor(&y.shape(), 3);
    let (found, expected) = (y.backward_with(&cotangent), expected.backward_with(&cotangent));
    assert_close(&format!("{what}, dense operand"), found.of(x).unwrap().data(), expected.of(x).unwrap().data());
    let by_matrix = expected.of(a).unwrap();
    let mut by_value = Vec::new();
    for row in 0..pattern.rows() {
        for at in pattern.indptr()[row]..pattern.indptr()[row + 1] {
            by_value.push(by_matrix.at(&[row, pattern.indices()[at] as usize]));
        }
    }
    assert_close(&format!("{what}, values"), found.of(v).unwrap().data(), &by_value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sparse_products_equal_dense_ones(rows in 0_usize..20, cols in 1_usize..20, n in 1_usize..35, salt in 0_usize..99) {
        let pattern = pattern(rows, cols, 0.3, salt);
        compare("A x", &pattern, &[cols, n], |p, v, x| v.sparse_matmul(p, x), |_, a, x| a.matmul(x));
        compare("A' x", &pattern, &[rows, n], |p, v, x| v.sparse_matmul_transposed(p, x), |_, a, x| a.transposed_matmul(x));
        compare("x A'", &pattern, &[n, cols], |p, v, x| x.matmul_sparse_transposed(p, v), |_, a, x| x.matmul_transposed(a));
    }
}

#[test]
fn sparse_counts_serve_as_the_input_of_an_encoder() {
    // constant values: the weights alone have a gradient
    let pattern = pattern(6, 9, 0.4, 5);
    let tape = Tape::<f32>::new();
    let counts = tape.constant(&Tensor::from_fn([pattern.elements()], |i| (i % 4) as f32));
    let weights = tape.variable(&Tensor::full([9, 3], 0.5));
    let hidden = counts.sparse_matmul(&pattern, weights);
    assert_eq!(*hidden.shape(), [6, 3]);
    let gradient = hidden.sum().backward().of(weights).unwrap().to_f64();
    let whole = dense(&pattern, &(0..pattern.elements()).map(|i| (i % 4) as f64).collect::<Vec<_>>());
    for gene in 0..9 {
        let total: f64 = (0..6).map(|cell| whole[cell * 9 + gene]).sum();
        assert_eq!(&gradient[gene * 3..gene * 3 + 3], &[total; 3]);
    }
}

#[test]
fn a_matrix_without_elements_gives_zeros() {
    let tape = Tape::<f64>::new();
    let none = Csr::new(2, 3, vec![0, 0, 0], vec![]).unwrap();
    let (values, x) = (tape.variable(&Tensor::zeros([0])), tape.variable(&Tensor::full([3, 2], 1.0)));
    let y = values.sparse_matmul(&none, x);
    assert_eq!(y.value().data(), &[0.0; 4]);
    let gradients = y.sum().backward();
    assert_eq!(gradients.of(x).unwrap().data(), &[0.0; 6]);
    assert_eq!(gradients.of(values).unwrap().data(), &[0.0; 0]);
}

#[test]
fn malformed_parts_are_errors_that_name_the_place() {
    let error = |rows, cols, indptr: &[usize], indices: &[u32]| {
        Csr::new(rows, cols, indptr.to_vec(), indices.to_vec()).unwrap_err()
    };
    assert_eq!(error(2, 3, &[0, 1], &[0]), CsrError::RowStarts { rows: 2, found: 2 });
    assert_eq!(error(usize::MAX, 3, &[], &[]), CsrError::RowStarts { rows: usize::MAX, found: 0 });
    assert_eq!(error(1, 3, &[1, 1], &[0]), CsrError::FirstRow(1));
    assert_eq!(error(2, 3, &[0, 2, 1], &[0]), CsrError::RowOrder { row: 1, start: 2, end: 1 });
    assert_eq!(error(2, 3, &[0, 1, 9], &[0, 1]), CsrError::Elements { end: 9, found: 2 });
    assert_eq!(error(3, 3, &[0, 1, 1, 2], &[0, 3]), CsrError::Column { row: 2, column: 3, cols: 3 });
    let text = error(3, 3, &[0, 1, 1, 2], &[0, 3]).to_string();
    assert_eq!(text, "row 2 of a sparse matrix has an element in column 3, but there are 3 columns");
}

#[test]
fn the_number_of_threads_does_not_change_bits() {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let pattern = pattern(300, 400, 0.2, 1);
            let tape = Tape::<f32>::new();
            let values = tape.variable(&tensor(&[pattern.elements()], 1).cast());
            let (x, left) =
                (tape.variable(&tensor(&[400, 33], 2).cast()), tape.variable(&tensor(&[70, 400], 3).cast()));
            let (y, z) = (values.sparse_matmul(&pattern, x), left.matmul_sparse_transposed(&pattern, values));
            let gradients = (y.square().sum() + z.square().sum()).backward();
            let all = [x, left, values].map(|v| gradients.of(v).unwrap().clone());
            let values = [y.value(), z.value()];
            all.iter()
                .chain(&values)
                .flat_map(|t| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(4));
}

#[test]
#[should_panic(expected = "sparse_matmul: [2, 3] with 1 elements: values [2] x [3, 1]")]
fn values_that_do_not_fit_are_named() {
    let tape = Tape::<f32>::new();
    let pattern = Csr::new(2, 3, vec![0, 1, 1], vec![2]).unwrap();
    tape.full([2], 1.0).sparse_matmul(&pattern, tape.full([3, 1], 1.0));
}
