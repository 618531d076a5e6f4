//! Motif scans, distances, covariances and Gaussian processes against their definitions.

use std::f64::consts::PI;

use gradome_goldens::assert_close;
use gradome_tape::check::{check_function, gradient_check};
use gradome_tape::{Tape, Tensor, Var};
use proptest::prelude::*;

fn noise(i: usize) -> f64 {
    2.0 * (((i as f64 + 1.0) * 12.9898).sin() * 43_758.545_3).rem_euclid(1.0) - 1.0
}

fn tensor(shape: &[usize], salt: usize) -> Tensor<f64> {
    Tensor::from_fn(shape, |i| noise(i + 777 * salt))
}

/// The scan by its definition: for each item, motif and position the forward and the reverse score.
fn scan(sequence: &Tensor<f64>, motifs: &Tensor<f64>) -> [Vec<f64>; 2] {
    let (batch, length) = (sequence.shape()[0], sequence.shape()[2]);
    let (count, width) = (motifs.shape()[0], motifs.shape()[2]);
    let mut scores = [Vec::new(), Vec::new()];
    for item in 0..batch {
        for motif in 0..count {
            for start in 0..=length - width {
                let (mut forward, mut reverse) = (0.0, 0.0);
                for base in 0..4 {
                    for j in 0..width {
                        let x = sequence.at(&[item, base, start + j]);
                        forward += x * motifs.at(&[motif, base, j]);
                        reverse += x * motifs.at(&[motif, 3 - base, width - 1 - j]);
                    }
                }
                scores[0].push(forward);
                scores[1].push(reverse);
            }
        }
    }
    scores
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_scan_is_a_sum_over_each_window(batch in 1_usize..4, motifs in 1_usize..4, width in 1_usize..20, more in 0_usize..150) {
        let (x, w) = (tensor(&[batch, 4, width + more], 1), tensor(&[motifs, 4, width], 2));
        let [forward, reverse] = scan(&x, &w);
        let tape = Tape::<f64>::new();
        let (x, w) = (tape.variable(&x), tape.variable(&w));
        let [found, found_reverse] = x.pwm_scan(w);
        assert_close("forward", found.value().data(), &forward, 1e-13);
        assert_close("reverse", found_reverse.value().data(), &reverse, 1e-13);
        // linear in each operand: the inner product of an operand with its gradient is the loss
        let cotangents = [tensor(&found.shape(), 3), tensor(&found.shape(), 4)];
        let loss = (found * tape.constant(&cotangents[0]) + found_reverse * tape.constant(&cotangents[1])).sum();
        let gradients = loss.backward();
        for operand in [x, w] {
            let inner = (operand * tape.constant(gradients.of(operand).unwrap())).sum().item();
            assert_close("loss", &[inner], &[loss.item()], 1e-12);
        }
    }

    #[test]
    fn squared_distances_are_sums_of_squares(n in 0_usize..9, m in 0_usize..40, d in 1_usize..7) {
        let (x, z) = (tensor(&[n, d], 1), tensor(&[m, d], 2));
        let tape = Tape::<f64>::new();
        let found = tape.constant(&x).squared_distances(tape.constant(&z)).value();
        let expected: Vec<f64> = (0..n * m)
            .map(|i| (0..d).map(|k| (x.at(&[i / m, k]) - z.at(&[i % m, k])).powi(2)).sum())
            .collect();
        assert_close("distance", found.data(), &expected, 1e-14);
    }
}

/// One-hot rows A, C, G, T; N is a column of zeros.
fn one_hot(sequence: &str) -> Tensor<f32> {
    let bases: Vec<u8> = sequence.bytes().collect();
    Tensor::from_fn([1, 4, bases.len()], |i| f32::from(bases[i % bases.len()] == b"ACGT"[i / bases.len()]))
}

#[test]
fn the_consensus_scores_highest_on_its_strand_and_unknown_bases_add_nothing() {
    let tape = Tape::<f32>::new();
    // log-odds of 2 for each base of GATTC, -1 for others
    let consensus = one_hot("GATTC");
    let motif = tape.constant(&Tensor::from_fn([1, 4, 5], |i| 3.0 * consensus.data()[i] - 1.0));
    // GATTC at 2, its reverse complement GAATC at 9
    let [forward, reverse] = tape.constant(&one_hot("ACGATTCTTGAATCGNNNNN")).pwm_scan(motif);
    let (forward, reverse) = (forward.value(), reverse.value());
    assert_eq!((forward.data()[2], reverse.data()[9]), (10.0, 10.0));
    assert!(forward.data().iter().enumerate().all(|(i, &s)| i == 2 || s < 10.0));
    assert!(reverse.data().iter().enumerate().all(|(i, &s)| i == 9 || s < 10.0));
    assert_eq!((forward.data()[15], reverse.data()[15]), (0.0, 0.0));
}

#[test]
fn the_reverse_strand_is_the_scan_of_the_reverse_complement() {
    let (x, w) = (tensor(&[2, 4, 70], 5), tensor(&[3, 4, 8], 6));
    let turned = Tensor::from_fn([2, 4, 70], |i| x.data()[i / 280 * 280 + 279 - i % 280]);
    let tape = Tape::<f64>::new();
    let w = tape.constant(&w);
    let [_, reverse] = tape.constant(&x).pwm_scan(w).map(Var::value);
    let [forward, _] = tape.constant(&turned).pwm_scan(w).map(Var::value);
    let positions = 63;
    let backwards: Vec<f64> = (0..forward.data().len())
        .map(|i| forward.data()[i / positions * positions + positions - 1 - i % positions])
        .collect();
    assert_close("score", reverse.data(), &backwards, 1e-13);
}

#[test]
fn single_precision_scans_are_as_precise_as_their_sums() {
    for length in [12, 58, 59, 60, 107, 108, 200] {
        let (x, w) = (tensor(&[2, 4, length], 1), tensor(&[3, 4, 12], 2));
        let [forward, reverse] = scan(&x.cast::<f32>().cast(), &w.cast::<f32>().cast());
        let tape = Tape::<f32>::new();
        let [found, found_reverse] = tape.constant(&x.cast()).pwm_scan(tape.constant(&w.cast()));
        assert_close("forward", &found.value().to_f64(), &forward, 2e-6);
        assert_close("reverse", &found_reverse.value().to_f64(), &reverse, 2e-6);
    }
}

#[test]
fn one_strand_alone_has_the_gradient_of_that_strand() {
    for strand in 0..2 {
        let inputs = [("x".to_string(), tensor(&[2, 4, 9], 1)), ("w".to_string(), tensor(&[2, 4, 3], 2))];
        let report = check_function(&gradient_check(), &inputs, |_, vars| vars[0].pwm_scan(vars[1])[strand]);
        assert!(report.passed(), "{report}");
    }
}

#[test]
#[should_panic(expected = "pwm_scan: [1, 4, 3] x [2, 4, 5]: motifs of 5 columns in sequences of 3")]
fn motifs_longer_than_the_sequence_are_named() {
    let tape = Tape::<f32>::new();
    tape.full([1, 4, 3], 1.0).pwm_scan(tape.full([2, 4, 5], 1.0));
}

#[test]
fn equal_points_are_at_distance_zero_and_close_points_far_away_stay_apart() {
    let tape = Tape::<f32>::new();
    // 1/8 apart at 10,000: the difference of squares would lose all digits
    let x = tape.variable(&Tensor::new([2, 2], &[1e4, -1e4, 1e4 + 0.125, -1e4]));
    let r2 = x.squared_distances(x);
    assert_eq!(r2.value().data(), &[0.0, 1.0 / 64.0, 1.0 / 64.0, 0.0]);
    assert_eq!(r2.sum().backward().of(x).unwrap().data(), &[-0.5, 0.0, 0.5, 0.0]);
    let gradients = r2.root_distance().sum().backward();
    assert_eq!(gradients.of(x).unwrap().data(), &[-2.0, 0.0, 2.0, 0.0]);
}

type Kernel = for<'t> fn(Var<'t, f64>, Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>;

/// A kernel by the distance, for length scale and variance 1.
type Textbook = fn(f64) -> f64;

const KERNELS: [(&str, Kernel, Textbook); 4] = [
    ("rbf", |r2, l, v| r2.rbf_kernel(l, v), |r| (-0.5 * r * r).exp()),
    ("matern 1/2", |r2, l, v| r2.matern12_kernel(l, v), |r| (-r).exp()),
    ("matern 3/2", |r2, l, v| r2.matern32_kernel(l, v), |r| (1.0 + 3_f64.sqrt() * r) * (-(3_f64.sqrt()) * r).exp()),
    (
        "matern 5/2",
        |r2, l, v| r2.matern52_kernel(l, v),
        |r| (1.0 + 5_f64.sqrt() * r + 5.0 / 3.0 * r * r) * (-(5_f64.sqrt()) * r).exp(),
    ),
];

#[test]
fn kernels_have_their_textbook_values_and_no_nan_at_distance_zero() {
    for (name, kernel, textbook) in KERNELS {
        let tape = Tape::<f64>::new();
        let x = tape.variable(&Tensor::new([3, 1], &[0.0, 0.0, 1.5]));
        let (length_scale, variance) = (tape.variable(&Tensor::scalar(2.0)), tape.variable(&Tensor::scalar(3.0)));
        let k = kernel(x.squared_distances(x), length_scale, variance);
        let far = 3.0 * textbook(0.75);
        assert_close(name, k.value().data(), &[3.0, 3.0, far, 3.0, 3.0, far, far, far, 3.0], 1e-15);
        let gradients = k.sum().backward();
        for v in [x, length_scale, variance] {
            assert!(gradients.of(v).unwrap().data().iter().all(|g| g.is_finite()), "{name}");
        }
        // the two equal points are drawn alike to the third
        let by_x = gradients.of(x).unwrap().data();
        assert!(by_x[0] > 0.0 && by_x[0] == by_x[1] && (by_x[2] + 2.0 * by_x[0]).abs() < 1e-14, "{name}: {by_x:?}");
    }
}

#[test]
fn kernel_matrices_pass_finite_differences() {
    let inputs = [
        ("points".to_string(), tensor(&[5, 2], 1)),
        ("length scale".to_string(), Tensor::scalar(0.7)),
        ("variance".to_string(), Tensor::scalar(1.3)),
    ];
    for (name, kernel, _) in KERNELS {
        let report =
            check_function(&gradient_check(), &inputs, |_, v| kernel(v[0].squared_distances(v[0]), v[1], v[2]));
        assert!(report.passed(), "{name}: {report}");
    }
}

#[test]
fn cosine_similarity_is_the_normalised_inner_product() {
    let (a, b) = (tensor(&[3, 7], 1), tensor(&[3, 7], 2));
    let run = |composed: bool| {
        let tape = Tape::<f64>::new();
        let (a, b) = (tape.variable(&a), tape.variable(&b));
        let y = if composed {
            (a * b).sum_axis(-1) / (a.square().sum_axis(-1) * b.square().sum_axis(-1)).sqrt()
        } else {
            a.cosine_similarity(b, 1e-8)
        };
        let gradients = y.backward_with(&tensor(&[3], 3));
        (y.value().to_f64(), gradients.of(a).unwrap().to_f64(), gradients.of(b).unwrap().to_f64())
    };
    let (found, expected) = (run(false), run(true));
    assert_close("similarity", &found.0, &expected.0, 1e-14);
    assert_close("gradient of a", &found.1, &expected.1, 1e-14);
    assert_close("gradient of b", &found.2, &expected.2, 1e-14);
}

#[test]
fn cosine_similarity_with_a_zero_vector_is_zero() {
    let tape = Tape::<f32>::new();
    let a = tape.variable(&Tensor::new([3, 2], &[0.0, 0.0, 3.0, 4.0, 0.0, 0.0]));
    let b = tape.variable(&Tensor::new([3, 2], &[1.0, 0.0, 6.0, 8.0, 0.0, 0.0]));
    let y = a.cosine_similarity(b, 1e-8);
    assert_eq!(y.value().data(), &[0.0, 1.0, 0.0]);
    let gradients = y.sum().backward();
    // b / (epsilon |b|) as in PyTorch; the partner of a zero vector has none
    assert!((gradients.of(a).unwrap().data()[0] / 1e8 - 1.0).abs() < 1e-6);
    assert_eq!(&gradients.of(b).unwrap().data()[..2], &[0.0, 0.0]);
    assert!(gradients.of(a).unwrap().data().iter().all(|g| g.is_finite()));
}

/// B B' + 0.3 I.
fn kernel_matrix(n: usize) -> Tensor<f64> {
    let b = tensor(&[n, n], 11);
    Tensor::from_fn([n, n], |i| {
        let product: f64 = (0..n).map(|k| b.at(&[i / n, k]) * b.at(&[i % n, k])).sum();
        product + if i / n == i % n { 0.3 } else { 0.0 }
    })
}

#[test]
fn a_process_of_two_points_has_the_bivariate_normal_density() {
    let (variance, noise, covariance) = (1.5_f64, 0.2, 0.6);
    let y = [0.7, -1.1];
    let total = variance + noise;
    let determinant = total * total - covariance * covariance;
    let quadratic = (total * (y[0] * y[0] + y[1] * y[1]) - 2.0 * covariance * y[0] * y[1]) / determinant;
    let expected = -0.5 * (quadratic + determinant.ln()) - (2.0 * PI).ln();
    let tape = Tape::<f64>::new();
    let kernel = tape.constant(&Tensor::new([2, 2], &[variance, covariance, covariance, variance]));
    let y = tape.constant(&Tensor::new([2, 1], &y));
    assert_close("ln p", &[kernel.gp_log_likelihood(y, tape.scalar(noise)).item()], &[expected], 1e-14);
    let (ratio, one) = (tape.full([1], noise), tape.full([1], 1.0));
    assert_close("shared", &[kernel.gp_log_likelihood_shared(y, ratio, one).item()], &[expected], 1e-14);
}

#[test]
fn one_decomposition_gives_what_a_cholesky_factor_per_gene_gives() {
    let (n, genes) = (7, 4);
    let (ratios, variances) = ([0.3, 1.0, 4.0, 0.05], [1.0, 0.4, 2.5, 7.0]);
    let tape = Tape::<f64>::new();
    let kernel = tape.variable(&kernel_matrix(n));
    let y = tape.variable(&tensor(&[n, genes], 3));
    let (ratio, variance) = (tape.variable(&Tensor::new([4], &ratios)), tape.variable(&Tensor::new([4], &variances)));
    let shared = kernel.gp_log_likelihood_shared(y, ratio, variance);
    let weights = tape.constant(&Tensor::new([4], &[1.0, -0.5, 2.0, 0.7]));
    let found = (shared * weights).sum().backward();

    let each: Vec<_> = (0..genes)
        .map(|g| {
            let noise = (ratio * variance).narrow(0, g, 1);
            (kernel * variance.narrow(0, g, 1)).gp_log_likelihood(y.narrow(1, g, 1), noise.reshape([]))
        })
        .collect();
    let each = tape.concat(&each, 0);
    assert_close("ln p", shared.value().data(), each.value().data(), 1e-12);
    let expected = (each * weights).sum().backward();
    for (what, v) in [("kernel", kernel), ("y", y), ("ratio", ratio), ("variance", variance)] {
        assert_close(what, found.of(v).unwrap().data(), expected.of(v).unwrap().data(), 1e-11);
    }

    let [values, vectors] = kernel.eigh();
    let spectral = values.gp_log_likelihood_spectral(vectors.transposed_matmul(y), ratio, variance);
    assert_close("spectral ln p", spectral.value().data(), shared.value().data(), 1e-12);
    let spectral = (spectral * weights).sum().backward();
    for (what, v) in [("kernel", kernel), ("y", y), ("ratio", ratio), ("variance", variance)] {
        assert_close(what, spectral.of(v).unwrap().data(), found.of(v).unwrap().data(), 1e-9);
    }
}

#[test]
fn equal_eigenvalues_do_no_harm_to_the_gradient_of_the_kernel() {
    // all ones: eigenvalues 6 and five times 0
    let tape = Tape::<f64>::new();
    let kernel = tape.variable(&Tensor::full([6, 6], 1.0));
    let y = tape.constant(&tensor(&[6, 1], 2));
    let found = kernel.gp_log_likelihood_shared(y, tape.full([1], 0.4), tape.full([1], 1.0)).sum().backward();
    let expected = kernel.gp_log_likelihood(y, tape.scalar(0.4)).sum().backward();
    assert_close("kernel", found.of(kernel).unwrap().data(), expected.of(kernel).unwrap().data(), 1e-12);
}

#[test]
fn a_process_without_structure_is_white_noise() {
    let y = tensor(&[9, 2], 4);
    let tape = Tape::<f64>::new();
    let kernel = tape.constant(&Tensor::zeros([9, 9]));
    let expected: Vec<f64> =
        (0..2).map(|g| (0..9).map(|i| -0.5 * (y.at(&[i, g]).powi(2) / 0.6 + (2.0 * PI * 0.6).ln())).sum()).collect();
    let y = tape.constant(&y);
    assert_close("ln p", kernel.gp_log_likelihood(y, tape.scalar(0.6)).value().data(), &expected, 1e-14);
    let shared = kernel.gp_log_likelihood_shared(y, tape.full([2], 0.2), tape.full([2], 3.0));
    assert_close("shared", shared.value().data(), &expected, 1e-14);
}

#[test]
fn a_covariance_that_is_not_positive_definite_gives_nan() {
    let tape = Tape::<f64>::new();
    let kernel = tape.constant(&Tensor::new([2, 2], &[1.0, 2.0, 2.0, 1.0]));
    let y = tape.full([2, 1], 1.0);
    assert!(kernel.gp_log_likelihood(y, tape.scalar(0.5)).item().is_nan());
    assert!(kernel.gp_log_likelihood_shared(y, tape.full([1], 0.5), tape.full([1], 1.0)).item().is_nan());
}

#[test]
fn the_number_of_threads_does_not_change_bits() {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let tape = Tape::<f32>::new();
            let (x, w) =
                (tape.variable(&tensor(&[20, 4, 150], 1).cast()), tape.variable(&tensor(&[5, 4, 9], 2).cast()));
            let [forward, reverse] = x.pwm_scan(w);
            let points = tape.variable(&tensor(&[90, 3], 3).cast());
            let kernel = points.squared_distances(points).rbf_kernel(tape.scalar(0.8), tape.scalar(1.0));
            let y = tape.variable(&tensor(&[90, 40], 4).cast());
            let ln_p = kernel.gp_log_likelihood_shared(y, tape.full([40], 0.5), tape.full([40], 1.5));
            let full = kernel.gp_log_likelihood(y, tape.scalar(0.3));
            let alike = y.cosine_similarity(y.sin(), 1e-8);
            let loss = forward.square().sum() + reverse.sum() + ln_p.sum() + full.sum() + alike.sum();
            let gradients = loss.backward();
            let values = [forward.value(), reverse.value(), ln_p.value(), full.value(), alike.value()];
            let gradients = [x, w, points, y].map(|v| gradients.of(v).unwrap().clone());
            values
                .iter()
                .chain(&gradients)
                .flat_map(|t| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(4));
}
