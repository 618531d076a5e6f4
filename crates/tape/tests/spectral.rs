//! Transforms and spectral convolution against their definitions, against each other and against reference numbers.

use gradome_goldens::{Golden, goldens};
use gradome_tape::{FftNorm, Float, Tape, Tensor};

fn wave<T: Float>(shape: &[usize], phase: f64) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of((0.37 * i as f64 + phase).sin()))
}

fn angle(k: usize, t: usize, n: usize) -> f64 {
    std::f64::consts::TAU * ((k * t) % n) as f64 / n as f64
}

#[test]
fn rfft_is_its_definition_at_lengths_1_to_40_and_larger_primes() {
    for n in (1..=40).chain([97, 211, 1009]) {
        let x = wave::<f64>(&[2, n], 0.4);
        for (norm, scale) in
            [(FftNorm::Backward, 1.0), (FftNorm::Ortho, (n as f64).sqrt().recip()), (FftNorm::Forward, 1.0 / n as f64)]
        {
            let tape = Tape::new();
            let [re, im] = tape.constant(&x).rfft(norm).map(|part| part.value());
            for row in 0..2 {
                for k in 0..=n / 2 {
                    let sum = |f: fn(f64) -> f64| -> f64 {
                        scale * (0..n).map(|t| x.at(&[row, t]) * f(angle(k, t, n))).sum::<f64>()
                    };
                    assert!((re.at(&[row, k]) - sum(f64::cos)).abs() < 1e-11 * scale * n as f64, "{n}, mode {k}");
                    assert!((im.at(&[row, k]) + sum(f64::sin)).abs() < 1e-11 * scale * n as f64, "{n}, mode {k}");
                }
            }
        }
    }
}

#[test]
fn irfft_undoes_rfft_in_every_normalisation() {
    for n in (1..=40).chain([509, 1024]) {
        for norm in [FftNorm::Backward, FftNorm::Ortho, FftNorm::Forward] {
            let tape = Tape::new();
            let x = wave::<f64>(&[3, n], 1.1);
            let [re, im] = tape.constant(&x).rfft(norm);
            let back = re.irfft(im, n, norm).value();
            assert!(back.data().iter().zip(x.data()).all(|(a, b)| (a - b).abs() < 1e-12), "length {n}, {norm:?}");
        }
    }
}

#[test]
fn spectral_conv_is_transform_product_and_inverse_in_value_and_gradient() {
    // few modes and many, even, odd and prime lengths, weights beyond half the length
    for (n, modes) in [(1, 1), (2, 3), (9, 4), (31, 16), (32, 40), (127, 7), (256, 5), (640, 12), (1000, 300)] {
        let (x, cotangent) = (wave::<f64>(&[2, 3, n], 0.2), wave::<f64>(&[2, 2, n], 0.9));
        let w = [wave::<f64>(&[3, 2, modes], 0.5), wave::<f64>(&[3, 2, modes], 1.5)];
        let run = |composed: bool| {
            let tape = Tape::new();
            let (x, re, im) = (tape.variable(&x), tape.variable(&w[0]), tape.variable(&w[1]));
            let y = if composed {
                let kept = modes.min(n / 2 + 1);
                let [x_re, x_im] = x.rfft(FftNorm::Forward).map(|part| part.narrow(2, 0, kept).unsqueeze(2));
                let (w_re, w_im) = (re.narrow(2, 0, kept).unsqueeze(0), im.narrow(2, 0, kept).unsqueeze(0));
                let y_re = (x_re * w_re - x_im * w_im).sum_axis(1);
                let y_im = (x_re * w_im + x_im * w_re).sum_axis(1);
                y_re.irfft(y_im, n, FftNorm::Forward)
            } else {
                x.spectral_conv(re, im)
            };
            let gradients = y.backward_with(&cotangent);
            [
                y.value(),
                gradients.of(x).unwrap().clone(),
                gradients.of(re).unwrap().clone(),
                gradients.of(im).unwrap().clone(),
            ]
        };
        for (found, expected) in run(false).iter().zip(&run(true)) {
            let largest = expected.data().iter().fold(1.0, |a: f64, b| a.max(b.abs()));
            for (found, expected) in found.data().iter().zip(expected.data()) {
                assert!((found - expected).abs() < 1e-11 * largest, "length {n}, {modes} modes: {found}, {expected}");
            }
        }
    }
}

#[test]
fn one_signal_does_not_touch_another() {
    let mut x = wave::<f32>(&[2, 1, 640], 0.2);
    x.data_mut()[3] = f32::NAN;
    x.data_mut()[5] = f32::INFINITY;
    let tape = Tape::new();
    let w = tape.constant(&wave(&[1, 1, 4], 0.3));
    let y = tape.constant(&x).spectral_conv(w, w).value();
    assert!(y.data()[..640].iter().all(|v| v.is_nan()) && y.data()[640..].iter().all(|v| v.is_finite()));
}

#[test]
#[should_panic(expected = "spectral_conv: [2, 3, 8] with weights [2, 2, 3] and [2, 2, 3]")]
fn channels_that_differ_are_named() {
    let tape = Tape::<f64>::new();
    let w = tape.full([2, 2, 3], 1.0);
    tape.full([2, 3, 8], 1.0).spectral_conv(w, w);
}

/// Output and gradients of a layer large enough to be shared among threads.
fn bits(n: usize, modes: usize) -> Vec<u32> {
    let tape = Tape::<f32>::new();
    let x = tape.variable(&wave(&[4, 3, n], 0.2));
    let (re, im) = (tape.variable(&wave(&[3, 5, modes], 0.5)), tape.variable(&wave(&[3, 5, modes], 1.5)));
    let y = x.spectral_conv(re, im);
    let gradients = y.square().sum().backward();
    let mut all: Vec<u32> = y.value().data().iter().map(|v| v.to_bits()).collect();
    for v in [x, re, im] {
        all.extend(gradients.of(v).unwrap().data().iter().map(|g| g.to_bits()));
    }
    all
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (n, modes) in [(8192, 16), (10_007, 30)] {
        let with =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| bits(n, modes));
        let one = with(1);
        assert!(one == with(2) && one == with(3), "length {n}");
    }
}

#[test]
fn single_precision_follows_double() {
    for (n, modes) in [(8192, 64), (10_000, 16), (1009, 20), (4096, 2049)] {
        let value = |tape: &Tape<f64>| {
            let w = [0.5, 1.5].map(|phase| tape.constant(&wave(&[2, 2, modes], phase)));
            (tape.constant(&wave(&[1, 2, n], 0.2)) + 1.0).spectral_conv(w[0], w[1]).value()
        };
        let single = |tape: &Tape<f32>| {
            let w = [0.5, 1.5].map(|phase| tape.constant(&wave(&[2, 2, modes], phase)));
            (tape.constant(&wave(&[1, 2, n], 0.2)) + 1.0).spectral_conv(w[0], w[1]).value()
        };
        let (double, single) = (value(&Tape::new()), single(&Tape::new()));
        let largest = double.data().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        for (s, d) in single.data().iter().zip(double.data()) {
            assert!((f64::from(*s) - d).abs() < 2e-6 * largest, "length {n}, {modes} modes: {s}, {d}");
        }
    }
}

/// y = spectral convolution + bias, loss = sum(y t) + mean(y^2) / 2, against neuraloperator's numbers.
fn parity<T: Float>(golden: &Golden, output: f64, gradient: f64) {
    let tape = Tape::<T>::new();
    let variable = |name: &str| tape.variable(&Tensor::from_f64(golden.shape(name), golden.get(name)));
    let (x, re, im) = (variable("x"), variable("w_re"), variable("w_im"));
    let bias = golden.has("bias").then(|| variable("bias"));
    let convolved = x.spectral_conv(re, im);
    let y = bias.map_or(convolved, |bias| convolved + bias);
    let t = tape.constant(&Tensor::from_f64(golden.shape("t"), golden.get("t")));
    let loss = (y * t).sum() + y.square().mean() * 0.5;
    golden.assert_close("y", &y.value().to_f64(), output, 0.0);
    golden.assert_close("loss", &[loss.item().to_f64()], output, 1.0);
    let gradients = loss.backward();
    for (name, var) in [("grad_x", Some(x)), ("grad_w_re", Some(re)), ("grad_w_im", Some(im)), ("grad_bias", bias)] {
        let Some(var) = var else { continue };
        golden.assert_close(name, &gradients.of(var).unwrap().to_f64(), gradient, 0.0);
    }
}

#[test]
fn outputs_and_gradients_match_the_reference() {
    for golden in goldens("spectral-conv") {
        if golden.path.to_string_lossy().contains("_f32") {
            parity::<f32>(&golden, 1e-5, 1e-5);
        } else {
            parity::<f64>(&golden, 1e-9, 1e-8);
        }
    }
}
