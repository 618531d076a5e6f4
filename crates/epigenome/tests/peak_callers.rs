//! The learned peak callers in the reference's form against DiffBio's numbers: outputs, losses and every gradient.

use gradome_epigenome::peaks::{
    Caller, CountLaw, DecisionConfig, DenoiserConfig, FnoPeakCaller, FnoPeakCallerConfig, PeakCaller, PeakCallerConfig,
    PeakOutput, SignalInput,
};
use gradome_goldens::{Golden, goldens};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::{Tape, Tensor, Var};
use serde_json::Value;

/// Relative to the largest output.
const OUTPUT: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// A gradient whose largest element is below this is compared absolutely.
const FLOOR: f64 = 1e-6;

fn size(json: &Value, key: &str) -> usize {
    json[key].as_u64().unwrap() as usize
}

fn decision(json: &Value, reference: DecisionConfig) -> DecisionConfig {
    let number = |key: &str| json[key].as_f64().unwrap();
    DecisionConfig { threshold: number("threshold"), temperature: number("temperature"), ..reference }
}

/// A convolution's weights `[out, in, kernel]` in the reference's order `[kernel, in, out]`, and back: the outer axes
/// change places either way. Other arrays stay as they are.
fn turned(values: &[f64], [outer, middle, inner]: [usize; 3]) -> Vec<f64> {
    let at = |i: usize, m: usize, o: usize| values[(o * middle + m) * inner + i];
    (0..values.len()).map(|n| at(n / (middle * outer), n / outer % middle, n % outer)).collect()
}

/// Compares one file; `path` gives the reference's name of one of our parameters.
fn compare<C: Caller>(
    golden: &Golden,
    config: &C::Config,
    path: impl Fn(&str) -> String,
    outputs: impl for<'t> Fn(&PeakOutput<'t, f64>) -> Vec<(&'static str, Var<'t, f64>)>,
) {
    let mut store = ParamStore::<f64>::new(0);
    let caller = C::new(config, &mut store).unwrap();
    let trained: Vec<_> = store
        .entries()
        .filter(|(_, e)| e.trained)
        .map(|(id, e)| {
            let convolution =
                e.path.ends_with("weight") && e.value.shape().rank() == 3 && e.path.starts_with("network");
            let sizes = if convolution { <[usize; 3]>::try_from(&*e.value.shape()).ok() } else { None };
            (id, path(&e.path), e.value.shape(), sizes)
        })
        .collect();
    assert_eq!(trained.len(), golden.names("param/").len(), "every reference parameter has one of ours");
    for (id, name, shape, sizes) in &trained {
        let values = golden.get(&format!("param/{name}"));
        let values = sizes.map_or(values.to_vec(), |[out, inputs, kernel]| turned(values, [kernel, inputs, out]));
        store.set(*id, Tensor::from_f64(*shape, &values));
    }
    let length = *golden.shape("in/coverage").last().unwrap();
    let stretches = golden.get("in/coverage").len() / length;
    // loss: the inner product of all outputs with fixed cotangents; T_loss: their mean squared distances to them
    for squared in [false, true] {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let coverage = tape.variable(&Tensor::from_f64([stretches, 1, length], golden.get("in/coverage")));
        let noise = golden
            .has("in/noise")
            .then(|| tape.variable(&Tensor::from_f64(golden.shape("in/noise"), golden.get("in/noise"))));
        let output = caller.call(Step::eval(&tape, &bound), &SignalInput { tracks: coverage, noise });
        let mut loss = tape.scalar(0.0);
        for (name, value) in outputs(&output) {
            golden.assert_close(&format!("out/{name}"), value.value().data(), OUTPUT, 0.0);
            let cotangent = tape.constant(&Tensor::from_f64(value.shape(), golden.get(&format!("cot/{name}"))));
            loss = loss + if squared { (value - cotangent).square().mean() } else { (value * cotangent).sum() };
        }
        let prefix = if squared { "T_" } else { "" };
        golden.assert_close(&format!("{prefix}loss"), &[loss.item()], OUTPUT, 0.0);
        let gradients = loss.backward();
        for (id, name, shape, sizes) in &trained {
            let found = gradients.get(id.key()).map_or_else(|| vec![0.0; shape.len()], Tensor::to_f64);
            let found = sizes.map_or(found.clone(), |sizes| turned(&found, sizes));
            golden.assert_close(&format!("{prefix}grad/{name}"), &found, GRADIENT, FLOOR);
        }
        let found = gradients.of(coverage).unwrap().to_f64();
        golden.assert_close(&format!("{prefix}gin/coverage"), &found, GRADIENT, FLOOR);
        if let Some(noise) = noise {
            golden.assert_close(&format!("{prefix}gin/noise"), &gradients.of(noise).unwrap().to_f64(), GRADIENT, FLOOR);
        }
    }
}

fn cnn_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let kind = if parts.last() == Some(&"weight") { "kernel" } else { "bias" };
    match parts[..] {
        ["network", "widths", i, _] => format!("peak_cnn/conv_layers/{i}/{kind}"),
        ["network", "mix", _] => format!("peak_cnn/combine_conv/{kind}"),
        ["network", "score", _] => format!("peak_cnn/output_conv/{kind}"),
        ["decision", name] => name.to_owned(),
        ["denoiser", "encoder", _] => format!("vae_encoder/enc_hidden/{kind}"),
        ["denoiser", "mean", _] => format!("vae_encoder/enc_mean/{kind}"),
        ["denoiser", "ln_variance", _] => format!("vae_encoder/enc_logvar/{kind}"),
        ["denoiser", "decoder", _] => format!("vae_encoder/dec_hidden/{kind}"),
        ["denoiser", "ln_rate", _] => format!("vae_encoder/dec_output/{kind}"),
        _ => panic!("no reference for {path}"),
    }
}

#[test]
fn the_convolutional_caller_matches_the_reference() {
    for golden in goldens(PeakCaller::NAME) {
        let json: Value = serde_json::from_str(&golden.metadata["config_json"]).unwrap();
        let reference = PeakCallerConfig::diffbio();
        let window = size(&json, "window_size");
        let summit_window = size(&json, "min_peak_width");
        let config = PeakCallerConfig {
            filters: size(&json, "num_filters"),
            kernel_sizes: serde_json::from_value(json["kernel_sizes"].clone()).unwrap(),
            decision: DecisionConfig { summit_window, ..decision(&json, reference.decision) },
            denoiser: json["use_vae_denoising"].as_bool().unwrap().then(|| DenoiserConfig {
                window,
                step: window,
                latent_dim: size(&json, "vae_latent_dim"),
                hidden_dim: size(&json, "vae_hidden_dim"),
                law: CountLaw::Poisson,
                ..DenoiserConfig::default()
            }),
            ..reference
        };
        compare::<PeakCaller>(&golden, &config, cnn_path, |output| {
            let decisions = output.decisions;
            let mut all = vec![
                ("peak_scores", output.scores),
                ("peak_probabilities", decisions.probabilities),
                ("peak_summits", decisions.summits()),
                ("peak_starts", decisions.starts()),
                ("peak_ends", decisions.ends()),
            ];
            if let Some(denoised) = &output.denoised {
                all.extend([("denoised_coverage", denoised.track), ("vae_kl_loss", denoised.kl)]);
            }
            all
        });
    }
}

fn fno_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let kind = if parts.last() == Some(&"weight") { "kernel" } else { "bias" };
    match parts[..] {
        ["fno", "lifting", ..] => format!("fno/input_projection/{kind}"),
        ["fno", "projection", "0", _] => format!("fno/output_projection_1/{kind}"),
        ["fno", "projection", "1", _] => format!("fno/output_projection_2/{kind}"),
        ["fno", "blocks", i, "spectral", "weight_re"] => format!("fno/fourier_layers/{i}/spectral_conv/weights_real"),
        ["fno", "blocks", i, "spectral", "weight_im"] => format!("fno/fourier_layers/{i}/spectral_conv/weights_imag"),
        ["fno", "blocks", i, "skip", _] => format!("fno/fourier_layers/{i}/linear/{kind}"),
        ["decision", name] => name.to_owned(),
        _ => panic!("no reference for {path}"),
    }
}

#[test]
fn the_fourier_caller_matches_the_reference() {
    for golden in goldens(FnoPeakCaller::NAME) {
        let json: Value = serde_json::from_str(&golden.metadata["config_json"]).unwrap();
        let reference = FnoPeakCallerConfig::diffbio();
        let config = FnoPeakCallerConfig {
            hidden: size(&json, "hidden_channels"),
            modes: size(&json, "modes"),
            blocks: size(&json, "num_layers"),
            decision: decision(&json, reference.decision),
            ..reference
        };
        compare::<FnoPeakCaller>(&golden, &config, fno_path, |output| {
            vec![("peak_scores", output.scores), ("peak_probabilities", output.decisions.probabilities)]
        });
    }
}
