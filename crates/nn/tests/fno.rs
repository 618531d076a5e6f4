//! Fourier neural operators against the numbers of neuraloperator and of DiffBio.

use gradome_goldens::{Golden, goldens};
use gradome_nn::{Fno1d, FnoConfig, ParamStore, Step};
use gradome_tape::{Float, Tape, Tensor};

/// The reference's name of one of our parameters in neuraloperator's form.
fn neuraloperator_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts[..] {
        ["fno", end @ ("lifting" | "projection"), layer, kind] => format!("{end}.fcs.{layer}.{kind}"),
        ["fno", "blocks", i, "spectral", "weight_re"] => format!("fno_blocks.convs.{i}.weight.tensor:re"),
        ["fno", "blocks", i, "spectral", "weight_im"] => format!("fno_blocks.convs.{i}.weight.tensor:im"),
        ["fno", "blocks", i, "spectral", "bias"] => format!("fno_blocks.convs.{i}.bias"),
        ["fno", "blocks", i, "skip", "weight"] => format!("fno_blocks.fno_skips.{i}.conv.weight"),
        ["fno", "blocks", i, "mlp", layer, kind] => format!("fno_blocks.channel_mlp.{i}.fcs.{layer}.{kind}"),
        ["fno", "blocks", i, "gate"] => format!("fno_blocks.channel_mlp_skips.{i}.weight"),
        _ => panic!("no reference for {path}"),
    }
}

/// The reference's name of one of our parameters in the plain form.
fn diffbio_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let kind = if parts.last() == Some(&"weight") { "kernel" } else { "bias" };
    match parts[1..] {
        ["lifting", ..] => format!("fno/input_projection/{kind}"),
        ["projection", "0", _] => format!("fno/output_projection_1/{kind}"),
        ["projection", "1", _] => format!("fno/output_projection_2/{kind}"),
        ["blocks", i, "spectral", "weight_re"] => format!("fno/fourier_layers/{i}/spectral_conv/weights_real"),
        ["blocks", i, "spectral", "weight_im"] => format!("fno/fourier_layers/{i}/spectral_conv/weights_imag"),
        ["blocks", i, "skip", _] => format!("fno/fourier_layers/{i}/linear/{kind}"),
        _ => panic!("no reference for {path}"),
    }
}

/// Whether the reference holds the transpose of a parameter: its pointwise weights are `[outputs, inputs, 1]`.
fn transposed(path: &str) -> bool {
    path.ends_with(".weight")
}

fn turned(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

fn check_neuraloperator<T: Float>(golden: &Golden, output: f64, gradient: f64) {
    let modes = golden.shape("p:fno_blocks.convs.0.weight.tensor:re");
    let (inputs, outputs) = (golden.shape("x")[1], golden.shape("y")[1]);
    let blocks = golden.names("p:fno_blocks.fno_skips.").len();
    let grid = golden.shape("p:lifting.fcs.0.weight")[1] > inputs;
    let config = FnoConfig { grid, ..FnoConfig::new(inputs, outputs, modes[0], modes[2], blocks) };
    let mut store = ParamStore::<T>::new(0);
    let fno = Fno1d::new(&mut store.scope("fno"), config);
    let parameters: Vec<_> =
        store.entries().map(|(id, e)| (id, e.path.clone(), neuraloperator_path(&e.path), e.value.shape())).collect();
    assert_eq!(parameters.len(), golden.names("p:").len(), "every reference parameter has one of ours");
    for (id, path, reference, shape) in &parameters {
        let values = golden.get(&format!("p:{reference}"));
        let values = if transposed(path) { turned(values, shape[1]) } else { values.to_vec() };
        store.set(*id, Tensor::from_f64(*shape, &values));
    }
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let x = tape.variable(&Tensor::from_f64(golden.shape("x"), golden.get("x")));
    let y = fno.forward(Step::eval(&tape, &bound), x);
    golden.assert_close("y", &y.value().to_f64(), output, 0.0);
    let target = tape.constant(&Tensor::from_f64(golden.shape("target"), golden.get("target")));
    let loss = (y - target).square().mean();
    golden.assert_close("loss", &[loss.item().to_f64()], output, 0.0);
    let gradients = loss.backward();
    golden.assert_close("grad_x", &gradients.of(x).unwrap().to_f64(), gradient, 0.0);
    for (id, path, reference, shape) in &parameters {
        let found = gradients.get(id.key()).unwrap().to_f64();
        let found = if transposed(path) { turned(&found, shape[0]) } else { found };
        golden.assert_close(&format!("g:{reference}"), &found, gradient, 0.0);
    }
}

#[test]
fn outputs_and_gradients_match_neuraloperator() {
    for golden in goldens("fno1d") {
        if golden.path.to_string_lossy().contains("_f32") {
            check_neuraloperator::<f32>(&golden, 1e-5, 1e-5);
        } else {
            check_neuraloperator::<f64>(&golden, 1e-9, 1e-8);
        }
    }
}

#[test]
fn the_plain_form_scores_as_the_reference_peak_caller() {
    for golden in goldens("fno-peak-caller") {
        let modes = golden.shape("param/fno/fourier_layers/0/spectral_conv/weights_real");
        let blocks = golden.names("param/fno/fourier_layers/").iter().filter(|n| n.ends_with("weights_real")).count();
        let mut store = ParamStore::<f64>::new(0);
        let fno = Fno1d::new(&mut store.scope("fno"), FnoConfig::plain(1, 1, modes[0], modes[2], blocks));
        let parameters: Vec<_> = store.entries().map(|(id, e)| (id, e.path.clone(), e.value.shape())).collect();
        for (id, path, shape) in parameters {
            store.set(id, Tensor::from_f64(shape, golden.get(&format!("param/{}", diffbio_path(&path)))));
        }
        let coverage = golden.shape("in/coverage");
        let (length, batch) = (coverage[coverage.len() - 1], golden.get("in/coverage").len());
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let x = tape.constant(&Tensor::from_f64([batch / length, 1, length], golden.get("in/coverage")));
        let scores = fno.forward(Step::eval(&tape, &bound), x);
        golden.assert_close("out/peak_scores", scores.value().data(), 1e-9, 0.0);
    }
}

#[test]
fn padding_is_zeros_after_the_lifted_signal() {
    let values = |padding: usize, zeros: usize| {
        let mut store = ParamStore::<f64>::new(3);
        let config = FnoConfig { padding, grid: false, ..FnoConfig::new(2, 1, 4, 9, 2) };
        let fno = Fno1d::new(&mut store.scope("fno"), config);
        // without biases the lifting takes zeros to zeros
        for layer in 0..2 {
            let id = store.find(&format!("fno.lifting.{layer}.bias")).unwrap();
            store.set(id, Tensor::zeros(store.get(id).shape()));
        }
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let length = 20 + zeros;
        let wave = |t: usize| if t < 20 { (1.3 * t as f64).sin() } else { 0.0 };
        let x = Tensor::from_fn([1, 2, length], |i| wave(i % length));
        fno.forward(Step::eval(&tape, &bound), tape.constant(&x)).value().data()[..20].to_vec()
    };
    let (padded, lengthened, bare) = (values(7, 0), values(0, 7), values(0, 0));
    assert!(padded.iter().zip(&lengthened).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(padded.iter().zip(&bare).any(|(a, b)| (a - b).abs() > 1e-3));
}
