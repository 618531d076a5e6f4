//! The model in the reference's squared-error form against DiffBio's numbers: outputs, losses and every gradient.

use gradome_goldens::{Golden, goldens};
use gradome_multiomics::{
    Decoded, ModalityValues, MultiOmicsBatch, MultiOmicsOutput, MultiOmicsVae, MultiOmicsVaeConfig,
};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::{Gradients, Tape, Tensor, Var};

/// Relative to the largest output.
const OUTPUT: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// A gradient whose largest element is below this is compared absolutely.
const FLOOR: f64 = 1e-6;

fn config_of(golden: &Golden) -> MultiOmicsVaeConfig {
    let json: serde_json::Value = serde_json::from_str(&golden.metadata["config_json"]).unwrap();
    let features: Vec<usize> =
        json["modality_dims"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let size = |key: &str| json[key].as_u64().unwrap() as usize;
    let learnable = json["modality_weight_mode"] == "learnable";
    MultiOmicsVaeConfig::diffbio(&features, size("latent_dim"), size("hidden_dim"), learnable)
}

/// The reference's name of each of our parameters.
fn reference_path(path: &str) -> String {
    if path == "modality_weights.scores" {
        return "log_modality_weights".to_owned();
    }
    let parts: Vec<&str> = path.split('.').collect();
    let modality = parts[0].trim_start_matches("modality_");
    let kind = if parts.last() == Some(&"weight") { "kernel" } else { "bias" };
    match parts[1..parts.len() - 1] {
        ["encoder", "hidden", layer] => format!("encoders/{modality}/layers/{layer}/{kind}"),
        ["decoder", "hidden", layer] => format!("decoders/{modality}/layers/{layer}/{kind}"),
        ["decoder", "mean"] => format!("decoders/{modality}/layers/2/{kind}"),
        ["encoder", "mean"] => format!("mu_heads/{modality}/{kind}"),
        ["encoder", "ln_variance"] => format!("logvar_heads/{modality}/{kind}"),
        _ => panic!("no reference for {path}"),
    }
}

fn modality_names(count: usize) -> Vec<String> {
    if count == 2 { vec!["rna".into(), "atac".into()] } else { (0..count).map(|i| format!("modality_{i}")).collect() }
}

/// The reference's outputs by name.
fn outputs<'t>(output: &MultiOmicsOutput<'t, f64>) -> Vec<(String, Var<'t, f64>)> {
    let names = modality_names(output.decoded.len());
    let mut all = vec![
        ("elbo_loss".to_owned(), output.loss),
        ("joint_latent".to_owned(), output.latent),
        ("joint_mu".to_owned(), output.posterior.mean),
        ("joint_logvar".to_owned(), output.posterior.ln_variance),
    ];
    for (name, decoded) in names.iter().zip(&output.decoded) {
        let Decoded::SquaredError(mean) = decoded else { panic!("the reference reconstructs by squared error") };
        all.push((format!("{name}_reconstructed"), *mean));
    }
    all
}

#[test]
fn outputs_losses_and_gradients_match_the_reference() {
    for golden in goldens(MultiOmicsVae::NAME) {
        let config = config_of(&golden);
        let mut store = ParamStore::<f64>::new(0);
        let model = MultiOmicsVae::new(&config, &mut store).unwrap();
        let trained: Vec<_> = store
            .entries()
            .filter(|(_, e)| e.trained)
            .map(|(id, e)| (id, reference_path(&e.path), e.value.shape()))
            .collect();
        assert_eq!(trained.len(), golden.names("param/").len(), "every reference parameter has one of ours");
        for (id, path, shape) in &trained {
            store.set(*id, Tensor::from_f64(*shape, golden.get(&format!("param/{path}"))));
        }
        let names = modality_names(config.modalities.len());
        let cells = golden.shape("in/noise")[0];
        let batch = MultiOmicsBatch {
            cells,
            modalities: names
                .iter()
                .map(|n| ModalityValues { values: golden.get(&format!("in/{n}_counts")).to_vec() })
                .collect(),
            batch: Vec::new(),
            noise: Some(golden.get("in/noise").to_vec()),
        };

        // loss: the inner product of all outputs with fixed cotangents; T_loss: the model's own loss
        for own in [false, true] {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let mut input = model.input(&tape, &batch).unwrap();
            let counts: Vec<Var<'_, f64>> = input.modalities.iter().map(|m| tape.variable(&m.values.value())).collect();
            for (modality, counts) in input.modalities.iter_mut().zip(&counts) {
                modality.values = *counts;
            }
            let noise = tape.variable(&input.noise.unwrap().value());
            input.noise = Some(noise);
            let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
            let mut total = tape.scalar(0.0);
            for (name, value) in outputs(&output) {
                golden.assert_close(&format!("out/{name}"), value.value().data(), OUTPUT, 0.0);
                let cotangent = Tensor::from_f64(value.shape(), golden.get(&format!("cot/{name}")));
                total = total + (value * tape.constant(&cotangent)).sum();
            }
            let (prefix, loss) = if own { ("T_", output.loss) } else { ("", total) };
            golden.assert_close(&format!("{prefix}loss"), &[loss.item()], OUTPUT, 0.0);
            let gradients: Gradients<f64> = loss.backward();
            let zeros = |len: usize| vec![0.0; len];
            for (id, path, shape) in &trained {
                let found = gradients.get(id.key()).map_or_else(|| zeros(shape.len()), Tensor::to_f64);
                golden.assert_close(&format!("{prefix}grad/{path}"), &found, GRADIENT, FLOOR);
            }
            for (name, counts) in names.iter().zip(&counts) {
                let found = gradients.of(*counts).unwrap().to_f64();
                golden.assert_close(&format!("{prefix}gin/{name}_counts"), &found, GRADIENT, FLOOR);
            }
            golden.assert_close(&format!("{prefix}gin/noise"), &gradients.of(noise).unwrap().to_f64(), GRADIENT, FLOOR);
        }
    }
}
