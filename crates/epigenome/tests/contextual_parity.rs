//! The contextual model in the reference's form against DiffBio's numbers: outputs, losses, every gradient, and training.

use gradome_epigenome::contextual::{
    ContextualEpigenomics, ContextualEpigenomicsConfig, ContextualOutput, ContextualWindows, Encoder,
};
use gradome_goldens::{Golden, goldens};
use gradome_nn::optim::{Optimizer, OptimizerConfig};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::{Gradients, Tape, Tensor, Var};

/// Relative to the largest output.
const OUTPUT: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// A gradient whose largest element is below this is compared absolutely.
const FLOOR: f64 = 1e-6;
/// Relative, after 25 steps in which rounding errors grow.
const AFTER_TRAINING: f64 = 1e-6;

struct Reference {
    golden: Golden,
    config: ContextualEpigenomicsConfig,
    batch: ContextualWindows,
    /// Reference arrays that belong to a part of the model that the case switches off.
    dead: Vec<String>,
}

impl Reference {
    fn new(golden: Golden) -> Self {
        let json: serde_json::Value = serde_json::from_str(&golden.metadata["config_json"]).unwrap();
        let size = |key: &str| json[key].as_u64().unwrap() as usize;
        let on = |key: &str| json[key].as_bool().unwrap();
        let encoder = Encoder::Transformer {
            layers: size("num_layers"),
            heads: size("num_heads"),
            feed_forward: size("intermediate_dim"),
            window: None,
            even_padding: true,
        };
        let context = if on("use_tf_context") { size("num_tf_features") } else { 0 };
        let contacts = on("use_chromatin_guidance");
        let config = ContextualEpigenomicsConfig {
            max_length: size("max_length"),
            contact_weight: if contacts { json["chromatin_guidance_weight"].as_f64().unwrap() } else { 0.0 },
            ..ContextualEpigenomicsConfig::diffbio(context, size("num_outputs"), size("hidden_dim"), encoder)
        };
        let shape = golden.shape("in/sequence");
        let length = shape[shape.len() - 2];
        let windows = shape[..shape.len() - 2].iter().product();
        let code = |base: &[f64]| base.iter().position(|&b| b == 1.0).map_or(4, |at| at as u8);
        let floats = |name: &str| golden.get(name).iter().map(|&v| v as f32).collect::<Vec<_>>();
        let batch = ContextualWindows {
            windows,
            length,
            dna: golden.get("in/sequence").chunks(4).map(code).collect(),
            context: if context > 0 { floats("in/tf_context") } else { Vec::new() },
            contacts: if contacts { floats("in/chromatin_contacts") } else { Vec::new() },
            mask: if golden.has("const/sequence_mask") { floats("const/sequence_mask") } else { Vec::new() },
            targets: vec![floats("const/targets")],
            ..ContextualWindows::default()
        };
        let dead =
            if context > 0 { Vec::new() } else { vec!["param/tf_scale".to_owned(), "param/tf_shift".to_owned()] };
        Self { golden, config, batch, dead }
    }

    /// The parameters with the reference's values, and the reference's name of each.
    fn load(&self, store: &mut ParamStore<f64>) -> Vec<(gradome_nn::ParamId, String)> {
        let entries: Vec<_> = store
            .entries()
            .filter(|(_, e)| e.trained)
            .map(|(id, e)| (id, reference_path(&e.path), e.value.shape()))
            .collect();
        let live = self.golden.names("param/");
        let live = live.iter().filter(|name| !self.dead.iter().any(|dead| name.starts_with(dead.as_str())));
        assert_eq!(entries.len(), live.count(), "every reference parameter has one of ours");
        for (id, path, shape) in &entries {
            let values = arrange(self.golden.get(&format!("param/{path}")), path);
            store.set(*id, Tensor::from_f64(*shape, &values));
        }
        entries.into_iter().map(|(id, path, _)| (id, path)).collect()
    }
}

/// The reference's name of each of our parameters.
fn reference_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let kind = if parts.last() == Some(&"weight") { "kernel" } else { "bias" };
    let norm = if parts.last() == Some(&"scale") { "scale" } else { "bias" };
    match parts[..parts.len() - 1] {
        ["stem"] => "transformer/pos_encoding/pe".to_owned(),
        ["stem", "dna"] => format!("sequence_projection/{kind}"),
        ["stem", "context_factor"] => format!("tf_scale/{kind}"),
        ["stem", "context_shift"] => format!("tf_shift/{kind}"),
        ["encoder", "norm"] => format!("transformer/norm/{norm}"),
        ["encoder", layer, "attention", map] => format!("transformer/layers/{layer}/attention/{map}/{kind}"),
        ["encoder", layer, "norm_attention"] => format!("transformer/layers/{layer}/norm1/{norm}"),
        ["encoder", layer, "norm_feed_forward"] => format!("transformer/layers/{layer}/norm2/{norm}"),
        ["encoder", layer, "widen"] => format!("transformer/layers/{layer}/mlp/fc1/{kind}"),
        ["encoder", layer, "narrow"] => format!("transformer/layers/{layer}/mlp/fc2/{kind}"),
        ["heads", "output"] => format!("output_head/{kind}"),
        _ => panic!("no reference for {path}"),
    }
}

/// The reference's order of a parameter to ours and back: the first map is a convolution of one tap here.
fn arrange(values: &[f64], path: &str) -> Vec<f64> {
    let rows = if path == "sequence_projection/kernel" { 4 } else { return values.to_vec() };
    let columns = values.len() / rows;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

/// A gradient of ours in the reference's order.
fn arrange_back(values: &[f64], path: &str) -> Vec<f64> {
    let columns = if path == "sequence_projection/kernel" { 4 } else { return values.to_vec() };
    let rows = values.len() / columns;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

fn outputs<'t>(output: &ContextualOutput<'t, f64>) -> Vec<(&'static str, Var<'t, f64>)> {
    let mut all =
        vec![("token_embeddings", output.embeddings), ("embeddings", output.pooled), ("logits", output.heads[0])];
    all.extend(output.contact_loss.map(|loss| ("chromatin_guidance_loss", loss)));
    all
}

#[test]
fn outputs_losses_and_gradients_match_the_reference() {
    for reference in goldens(ContextualEpigenomics::NAME).into_iter().map(Reference::new) {
        let Reference { golden, config, batch, dead } = &reference;
        let mut store = ParamStore::<f64>::new(0);
        let model = ContextualEpigenomics::new(config, &mut store).unwrap();
        let parameters = reference.load(&mut store);
        // the reference's own loss counts padding, so it is compared where there is none
        let losses: &[bool] = if batch.mask.is_empty() { &[false, true] } else { &[false] };
        for &own in losses {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let mut input = model.input(&tape, batch).unwrap();
            let mut inputs = Vec::new();
            let slots = [
                ("sequence", &mut input.dna),
                ("tf_context", &mut input.context),
                ("chromatin_contacts", &mut input.contacts),
            ];
            for (name, slot) in slots {
                if let Some(x) = slot {
                    *x = tape.variable(&Tensor::from_f64(x.shape(), golden.get(&format!("in/{name}"))));
                    inputs.push((name, *x));
                }
            }
            let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
            let mut total = tape.scalar(0.0);
            for (name, value) in outputs(&output) {
                golden.assert_close(&format!("out/{name}"), value.value().data(), OUTPUT, 0.0);
                let cotangent = Tensor::from_f64(value.shape(), golden.get(&format!("cot/{name}")));
                total = total + (value * tape.constant(&cotangent)).sum();
            }
            let (prefix, loss) = if own { ("T_", output.loss.unwrap()) } else { ("", total) };
            golden.assert_close(&format!("{prefix}loss"), &[loss.item()], OUTPUT, 0.0);
            let gradients: Gradients<f64> = loss.backward();
            for (id, path) in &parameters {
                let zeros = vec![0.0; store.get(*id).shape().len()];
                let found = gradients.get(id.key()).map_or(zeros, Tensor::to_f64);
                golden.assert_close(&format!("{prefix}grad/{path}"), &arrange_back(&found, path), GRADIENT, FLOOR);
            }
            for (name, x) in inputs {
                let found = gradients.of(x).map_or_else(|| vec![0.0; x.shape().len()], Tensor::to_f64);
                golden.assert_close(&format!("{prefix}gin/{name}"), &found, GRADIENT, FLOOR);
            }
        }
        for name in dead.iter().flat_map(|dead| golden.names(&dead.replace("param/", "grad/"))) {
            assert!(golden.get(name).iter().all(|&g| g == 0.0), "{name}: the reference has no gradient there either");
        }
    }
}

#[test]
fn training_takes_the_reference_s_path() {
    for reference in goldens(ContextualEpigenomics::NAME).into_iter().map(Reference::new) {
        let Reference { golden, config, batch, .. } = &reference;
        if !batch.mask.is_empty() {
            continue;
        }
        let mut store = ParamStore::<f64>::new(0);
        let model = ContextualEpigenomics::new(config, &mut store).unwrap();
        let parameters = reference.load(&mut store);
        let mut optimizer = Optimizer::new(OptimizerConfig::default(), 0.0, &store);
        let mut losses = Vec::new();
        let mut tape = Tape::new();
        for _ in golden.get("adam_losses") {
            let gradients = {
                let bound = store.bind(&tape);
                let input = model.input(&tape, batch).unwrap();
                let loss = model.forward(Step::eval(&tape, &bound), &input).unwrap().loss.unwrap();
                losses.push(loss.item());
                loss.backward()
            };
            tape.reset();
            if losses.len() < golden.get("adam_losses").len() {
                optimizer.step(&mut store, &gradients, 1e-2, 1.0);
            }
        }
        golden.assert_close("adam_losses", &losses, AFTER_TRAINING, 0.0);
        for (id, path) in &parameters {
            let found = arrange_back(&store.get(*id).to_f64(), path);
            golden.assert_close(&format!("adam_final/{path}"), &found, AFTER_TRAINING, FLOOR);
        }
    }
}
