//! Decompositions against their definitions, analytic values and finite differences; singular and degenerate input.

use gradome_tape::check::{check_function, gradient_check};
use gradome_tape::{Float, Tape, Tensor, Triangle, Var};
use proptest::prelude::*;

/// Repeatable numbers in (-1, 1) without a pattern.
fn noise(i: usize) -> f64 {
    2.0 * (((i as f64 + 1.0) * 12.9898).sin() * 43_758.545_3).rem_euclid(1.0) - 1.0
}

fn matrix(shape: &[usize], salt: usize) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| noise(i + 1000 * salt))
}

/// B B' + 0.3 I.
fn positive_definite(batch: usize, n: usize, salt: usize) -> Tensor<f64> {
    let b = matrix(&[batch, n, n], salt);
    Tensor::from_fn([batch, n, n], |i| {
        let (start, row, col) = (i / (n * n) * n * n, i / n % n, i % n);
        let product: f64 = (0..n).map(|k| b.data()[start + row * n + k] * b.data()[start + col * n + k]).sum();
        product + if row == col { 0.3 } else { 0.0 }
    })
}

/// The product of row-major `[m, k]` and `[k, n]` matrices.
fn product(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    (0..m * n).map(|i| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum()).collect()
}

fn transposed(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|i| a[i % n * n + i / n]).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i % n == i / n { 1.0 } else { 0.0 }).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    gradome_goldens::assert_close("element", found, expected, tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn decompositions_reconstruct_their_matrices(batch in 0_usize..3, n in 1_usize..24, k in 1_usize..5, salt in 0_usize..50) {
        let a = positive_definite(batch, n, salt);
        let general = matrix(&[batch, n, n], salt + 60);
        let b = matrix(&[batch, n, k], salt + 120);
        let tape = Tape::<f64>::new();
        let (spd, rhs) = (tape.constant(&a), tape.constant(&b));
        let factor = spd.cholesky().value();
        let solution = spd.spd_solve(rhs).value();
        let inverse = tape.constant(&general).inverse().value();
        let [values, vectors] = spd.eigh().map(Var::value);
        let logs = spd.spd_log_det().value();
        let [log_det, sign] = spd.log_det().map(Var::value);
        for i in 0..batch {
            let of = |t: &Tensor<f64>, size: usize| t.data()[i * size..(i + 1) * size].to_vec();
            let (a, l) = (of(&a, n * n), of(&factor, n * n));
            assert_close(&product(&l, &transposed(&l, n), (n, n, n)), &a, 1e-13);
            assert!((0..n * n).all(|at| at % n <= at / n || l[at] == 0.0), "above the diagonal are zeros");
            assert_close(&product(&a, &of(&solution, n * k), (n, n, k)), &of(&b, n * k), 1e-10);
            let (general, inverse) = (of(&general, n * n), of(&inverse, n * n));
            let largest = inverse.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
            assert_close(&product(&general, &inverse, (n, n, n)), &identity(n), 1e-13 * largest);
            let (w, v) = (of(&values, n), of(&vectors, n * n));
            let scaled: Vec<f64> = v.iter().enumerate().map(|(at, v)| v * w[at % n]).collect();
            assert_close(&product(&a, &v, (n, n, n)), &scaled, 1e-12);
            assert_close(&product(&transposed(&v, n), &v, (n, n, n)), &identity(n), 1e-12);
            assert!(w.windows(2).all(|pair| pair[0] <= pair[1]), "eigenvalues ascend");
            let from_values: f64 = w.iter().map(|w| w.ln()).sum();
            assert_close(&[logs.data()[i], log_det.data()[i]], &[from_values; 2], 1e-10);
            assert_eq!(sign.data()[i], 1.0);
        }
    }

    #[test]
    fn triangular_solve_is_substitution(batch in 1_usize..3, n in 1_usize..20, k in 1_usize..4, salt in 0_usize..50) {
        let t = Tensor::from_fn([batch, n, n], |i| noise(i + salt) + if i / n % n == i % n { 3.0 } else { 0.0 });
        let b = matrix(&[batch, n, k], salt);
        let tape = Tape::<f64>::new();
        let (t_var, b_var) = (tape.constant(&t), tape.constant(&b));
        for (triangle, lower) in [(Triangle::Lower, true), (Triangle::Upper, false)] {
            let plain = t_var.triangular_solve(b_var, triangle).value();
            let turned = t_var.triangular_solve_transposed(b_var, triangle).value();
            for i in 0..batch {
                let full = &t.data()[i * n * n..(i + 1) * n * n];
                let held: Vec<f64> = (0..n * n)
                    .map(|at| if at % n == at / n || (at % n < at / n) == lower { full[at] } else { 0.0 })
                    .collect();
                let part = i * n * k..(i + 1) * n * k;
                let expected = &b.data()[part.clone()];
                assert_close(&product(&held, &plain.data()[part.clone()], (n, n, k)), expected, 1e-8);
                assert_close(&product(&transposed(&held, n), &turned.data()[part], (n, n, k)), expected, 1e-8);
            }
        }
    }
}

#[test]
fn textbook_examples_come_out() {
    let tape = Tape::<f64>::new();
    let a = tape.constant(&Tensor::new([3, 3], &[4.0, 12.0, -16.0, 12.0, 37.0, -43.0, -16.0, -43.0, 98.0]));
    assert_close(a.cholesky().value().data(), &[2.0, 0.0, 0.0, 6.0, 1.0, 0.0, -8.0, 5.0, 3.0], 1e-14);
    assert_close(&[a.spd_log_det().item()], &[36_f64.ln()], 1e-13);
    let [log, sign] = tape.constant(&Tensor::new([2, 2], &[1.0, 2.0, 3.0, 4.0])).log_det();
    assert_close(&[log.item(), sign.item()], &[2_f64.ln(), -1.0], 1e-14);
    // a cycle of three is an even permutation, of four an odd one
    for (n, expected) in [(3, 1.0), (4, -1.0)] {
        let cycle = Tensor::from_fn([n, n], |i| if i % n == (i / n + 1) % n { 1.0 } else { 0.0 });
        let [log, sign] = tape.constant(&cycle).log_det();
        assert_eq!((log.item(), sign.item()), (0.0, expected));
    }
    let [values, vectors] = tape.constant(&Tensor::new([2, 2], &[2.0, 1.0, 1.0, 2.0])).eigh();
    let half = 0.5_f64.sqrt();
    assert_close(values.value().data(), &[1.0, 3.0], 1e-14);
    assert_close(&vectors.value().data().iter().map(|v| v.abs()).collect::<Vec<_>>(), &[half; 4], 1e-14);
}

#[test]
fn eigenvectors_point_where_their_largest_component_is_positive() {
    let tape = Tape::<f64>::new();
    let [_, vectors] = tape.constant(&positive_definite(4, 7, 3)).eigh();
    for vectors in vectors.value().data().chunks(49) {
        for column in 0..7 {
            let largest = (0..7).map(|row| vectors[row * 7 + column]).max_by(|a, b| a.abs().total_cmp(&b.abs()));
            assert!(largest.unwrap() > 0.0);
        }
    }
}

#[test]
fn only_the_symmetric_part_counts_and_its_gradient_is_symmetric() {
    let tape = Tape::<f64>::new();
    let symmetric = positive_definite(1, 4, 1);
    let skewed = Tensor::from_fn([1, 4, 4], |i| symmetric.data()[i] + (i / 4) as f64 - (i % 4) as f64);
    let (a, b) = (tape.variable(&symmetric), tape.variable(&skewed));
    let weights = tape.constant(&matrix(&[1, 4, 4], 9));
    let loss = |a: Var<'_, f64>| -> f64 { (a.cholesky() * weights).sum().item() + a.spd_log_det().sum().item() };
    assert_close(&[loss(a)], &[loss(b)], 1e-13);
    let gradients = (b.cholesky() * weights).sum().backward();
    let gradient = gradients.of(b).unwrap().data();
    assert_close(gradient, &transposed(gradient, 4), 1e-15);
}

#[test]
fn solves_and_determinants_have_the_gradients_of_the_inverse() {
    let a = positive_definite(2, 5, 4);
    let b = matrix(&[2, 5, 3], 5);
    let run = |by_inverse: bool| {
        let tape = Tape::<f64>::new();
        let (a, b) = (tape.variable(&a), tape.variable(&b));
        let x = if by_inverse { a.inverse().matmul(b) } else { a.spd_solve(b) };
        let log = if by_inverse { a.log_det()[0] } else { a.spd_log_det() };
        let gradients = (x.square().sum() + (log * tape.constant(&Tensor::new([2], &[1.0, -2.0]))).sum()).backward();
        let mut by_a = gradients.of(a).unwrap().to_f64();
        // only the symmetric part is comparable
        for member in by_a.chunks_mut(25) {
            let turned = transposed(member, 5);
            member.iter_mut().zip(turned).for_each(|(a, t)| *a = 0.5 * (*a + t));
        }
        (x.value().to_f64(), by_a, gradients.of(b).unwrap().to_f64())
    };
    let ((x, by_a, by_b), (expected, expected_a, expected_b)) = (run(false), run(true));
    assert_close(&x, &expected, 1e-10);
    assert_close(&by_a, &expected_a, 1e-9);
    assert_close(&by_b, &expected_b, 1e-9);
}

/// Q diag(values) Q' for an orthogonal Q of size 4 without zeros.
fn with_eigenvalues(values: [f64; 4]) -> (Tensor<f64>, Vec<f64>) {
    let signs = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0];
    let q: Vec<f64> = signs.iter().map(|s| 0.5 * s).collect();
    let scaled: Vec<f64> = q.iter().enumerate().map(|(i, q)| q * values[i % 4]).collect();
    (Tensor::new([4, 4], &product(&scaled, &transposed(&q, 4), (4, 4, 4))), q)
}

#[test]
fn the_trace_of_a_matrix_function_has_its_gradient_at_equal_eigenvalues() {
    for values in [[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 2.0, 2.0], [1.0, 1.0, 1.0, 3.0]] {
        let (a, q) = with_eigenvalues(values);
        let tape = Tape::<f64>::new();
        let a = tape.variable(&a);
        let [w, v] = a.eigh();
        // through the eigenvectors, so that their gradient takes part
        let exponential = (v * w.exp()).matmul_transposed(v);
        let trace = (exponential * tape.constant(&Tensor::new([4, 4], &identity(4)))).sum();
        let scaled: Vec<f64> = q.iter().enumerate().map(|(i, q)| q * values[i % 4].exp()).collect();
        let expected = product(&scaled, &transposed(&q, 4), (4, 4, 4));
        assert_close(exponential.value().data(), &expected, 1e-13);
        assert_close(trace.backward().of(a).unwrap().data(), &expected, 1e-7);
    }
}

#[test]
fn a_projector_has_its_gradient_next_to_equal_eigenvalues() {
    // the span of the last vector is determined, though the others are not
    let (a, _) = with_eigenvalues([1.0, 1.0, 1.0, 3.0]);
    let report = check_function(&gradient_check(), &[("a".into(), a)], |_, vars| {
        let [w, v] = vars[0].eigh();
        let last = v.narrow(1, 3, 1);
        last.matmul_transposed(last) * w.narrow(0, 3, 1)
    });
    assert!(report.passed(), "{report}");
}

#[test]
fn losses_that_do_not_see_signs_pass_finite_differences() {
    let report = check_function(&gradient_check(), &[("a".into(), positive_definite(2, 6, 8))], |_, vars| {
        let [w, v] = vars[0].eigh();
        let root = (v * w.sqrt().unsqueeze(1)).matmul_transposed(v);
        root + v.square() * w.unsqueeze(1)
    });
    assert!(report.passed(), "{report}");
}

#[test]
fn a_matrix_that_is_not_positive_definite_gives_nan_in_its_member_alone() {
    let tape = Tape::<f64>::new();
    tape.detect_anomaly(true);
    let a = tape.variable(&Tensor::new([2, 2, 2], &[1.0, 2.0, 2.0, 1.0, 4.0, 0.0, 0.0, 9.0]));
    let factor = a.cholesky();
    assert!(factor.value().data()[..4].iter().all(|v| v.is_nan()));
    assert_eq!(&factor.value().data()[4..], &[2.0, 0.0, 0.0, 3.0]);
    assert!(tape.anomaly().unwrap().starts_with("cholesky of shape [2, 2, 2] made NaN"), "{:?}", tape.anomaly());
    let x = a.spd_solve(tape.full([2, 2, 1], 1.0));
    assert!(x.value().data()[..2].iter().all(|v| v.is_nan()));
    assert_close(&x.value().data()[2..], &[0.25, 1.0 / 9.0], 1e-15);
    let log = a.spd_log_det();
    assert!(log.value().data()[0].is_nan());
    let gradient = (factor.sum() + x.sum() + log.sum()).backward().of(a).unwrap().to_f64();
    assert!(gradient[..4].iter().all(|v| v.is_nan()) && gradient[4..].iter().all(|v| v.is_finite()));
}

#[test]
fn singular_matrices_behave_as_documented() {
    let tape = Tape::<f64>::new();
    let a = tape.variable(&Tensor::new([2, 2, 2], &[1.0, 2.0, 2.0, 4.0, 2.0, 0.0, 0.0, 1.0]));
    let inverse = a.inverse();
    assert!(inverse.value().data()[..4].iter().all(|v| v.is_nan()));
    assert_eq!(&inverse.value().data()[4..], &[0.5, 0.0, 0.0, 1.0]);
    let [log, sign] = a.log_det();
    assert_eq!((log.value().data()[0], sign.value().data()), (f64::NEG_INFINITY, &[0.0, 1.0][..]));
    let gradient = log.sum().backward().of(a).unwrap().to_f64();
    assert!(gradient[..4].iter().all(|v| v.is_nan()));
    assert_eq!(&gradient[4..], &[0.5, 0.0, 0.0, 1.0]);
    let t = tape.constant(&Tensor::new([2, 2], &[1.0, 0.0, 5.0, 0.0]));
    let x = t.triangular_solve(tape.full([2, 1], 1.0), Triangle::Lower);
    assert!(x.value().data().iter().all(|v| v.is_nan()));
}

fn not_finite<T: Float>(bad: f64) {
    let tape = Tape::<T>::new();
    let mut values = identity(20);
    values[20 * 7 + 3] = bad;
    let a = tape.constant(&Tensor::from_f64([20, 20], &values));
    let [log, sign] = a.log_det();
    let [w, v] = a.eigh();
    for y in [a.cholesky(), a.inverse(), a.spd_log_det(), log, sign, w, v, a.spd_solve(tape.full([20, 2], 1.0))] {
        assert!(y.value().data().iter().all(|v| v.to_f64().is_nan()), "{y:?}");
    }
}

#[test]
fn matrices_that_are_not_finite_give_nan() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        not_finite::<f32>(bad);
        not_finite::<f64>(bad);
    }
}

#[test]
fn a_huge_condition_number_still_reconstructs() {
    // the Hilbert matrix of size 10: condition number 1.6e13; determinant from its closed form
    let n = 10;
    let hilbert = Tensor::from_fn([n, n], |i| 1.0 / (i / n + i % n + 1) as f64);
    let tape = Tape::<f64>::new();
    let a = tape.constant(&hilbert);
    let factor = a.cholesky().value();
    assert_close(&product(factor.data(), &transposed(factor.data(), n), (n, n, n)), hilbert.data(), 1e-15);
    let ln_factorials = |k: usize| -> f64 { (1..k).map(|i| (1..=i).map(|j| (j as f64).ln()).sum::<f64>()).sum() };
    let expected = 4.0 * ln_factorials(n) - ln_factorials(2 * n);
    assert!((a.spd_log_det().item() - expected).abs() < 1e-3, "{} but {expected}", a.spd_log_det().item());
    let [w, v] = a.eigh().map(Var::value);
    let scaled: Vec<f64> = v.data().iter().enumerate().map(|(i, v)| v * w.data()[i % n]).collect();
    assert_close(&product(&scaled, &transposed(v.data(), n), (n, n, n)), hilbert.data(), 1e-14);
}

#[test]
fn empty_and_single_matrices_work() {
    let tape = Tape::<f32>::new();
    let empty = tape.variable(&Tensor::zeros([2, 0, 0]));
    assert_eq!(empty.spd_log_det().value().data(), &[0.0, 0.0]);
    let [log, sign] = empty.log_det();
    assert_eq!((log.value().data(), sign.value().data()), (&[0.0; 2][..], &[1.0; 2][..]));
    assert_eq!(*empty.eigh()[0].shape(), [2, 0]);
    assert_eq!(*empty.spd_solve(tape.full([2, 0, 3], 1.0)).shape(), [2, 0, 3]);
    assert!((log.sum() + empty.cholesky().sum() + empty.inverse().sum()).backward().of(empty).is_some());
    let one = tape.variable(&Tensor::new([1, 1], &[4.0]));
    assert_eq!((one.cholesky().item(), one.inverse().item(), one.eigh()[0].item()), (2.0, 0.25, 4.0));
    assert_eq!(one.cholesky().sum().backward().of(one).unwrap().data(), &[0.25]);
}

#[test]
fn single_precision_reconstructs() {
    let a = positive_definite(1, 30, 2);
    let tape = Tape::<f32>::new();
    let x = tape.constant(&a.cast());
    let l = x.cholesky().value().to_f64();
    assert_close(&product(&l, &transposed(&l, 30), (30, 30, 30)), a.data(), 1e-6);
    let [w, v] = x.eigh().map(|y| y.value().to_f64());
    let scaled: Vec<f64> = v.iter().enumerate().map(|(i, v)| v * w[i % 30]).collect();
    assert_close(&product(&scaled, &transposed(&v, 30), (30, 30, 30)), a.data(), 1e-5);
}

#[test]
fn the_number_of_threads_does_not_change_bits() {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let tape = Tape::<f32>::new();
            let a = tape.variable(&positive_definite(3, 70, 6).cast());
            let [w, v] = a.eigh();
            let solved = a.spd_solve(tape.constant(&matrix(&[3, 70, 5], 7).cast()));
            let loss = (v * w.unsqueeze(1)).square().sum() + a.cholesky().sum() + solved.sum() + a.log_det()[0].sum();
            let gradients = loss.backward();
            let values = [w.value(), v.value(), solved.value(), gradients.of(a).unwrap().clone()];
            values.iter().flat_map(|t| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(4));
}

#[test]
#[should_panic(expected = "cholesky: [2, 3] is not a stack of square matrices")]
fn matrices_that_are_not_square_are_named() {
    Tape::<f32>::new().full([2, 3], 1.0).cholesky();
}

#[test]
#[should_panic(expected = "spd_solve: [2, 2] x [3, 1]: expected [.., n, n] and [.., n, k]")]
fn systems_that_do_not_fit_are_named() {
    let tape = Tape::<f32>::new();
    tape.full([2, 2], 1.0).spd_solve(tape.full([3, 1], 1.0));
}
