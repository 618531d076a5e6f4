//! The model as scvi-tools' SCVI module against that module's numbers: outputs, losses and every gradient.
//!
//! One modality without a prior expert, a joint precision without epsilon and an expert's variance of exp(.) + 1e-4
//! is SCVI with observed library sizes: the decoders' mean is softmax(.) times the cell's sum.
//!
//! The model has no configuration for three related modules, so their numbers are not compared:
//! - LDVAE's decoder has no bias and a batch normalisation of its outputs, where ours has a biased head;
//! - totalVI has one encoder of both modalities and a sampled background with a learned prior;
//! - MultiVI joins modalities by a mixture of moments with learned depths, not by a product of experts.

use gradome_goldens::{Golden, goldens};
use gradome_multiomics::{
    Decoded, Likelihood, MlpConfig, ModalityConfig, ModalityValues, MultiOmicsBatch, MultiOmicsVae,
    MultiOmicsVaeConfig, Standardize, Transform,
};
use gradome_nn::{Activation, Norm, Operator, ParamStore, Step};
use gradome_tape::{Tape, Tensor};

/// Relative to the largest element of an output.
const OUTPUT: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// A gradient whose largest element is below this is compared absolutely.
const FLOOR: f64 = 1e-6;

fn config_of(golden: &Golden) -> MultiOmicsVaeConfig {
    let likelihood = if golden.has("gen.px.rate") {
        Likelihood::Poisson
    } else if golden.has("gen.px.zi_logits") {
        Likelihood::ZeroInflatedNegativeBinomial
    } else {
        Likelihood::NegativeBinomial
    };
    let width = golden.shape("param.z_encoder.mean_encoder.weight")[1];
    let mlp = MlpConfig { hidden: vec![width], norm: Norm::Batch, activation: Activation::Relu, dropout: 0.0 };
    let batches = golden.get("in.batch").iter().fold(0.0, |a: f64, &b| a.max(b)) as usize + 1;
    let modality = ModalityConfig {
        transform: Transform::Log1p,
        standardize: Standardize::None,
        depth_input: false,
        encoder: mlp.clone(),
        decoder: mlp,
        ..ModalityConfig::new("rna", golden.shape("in.X")[1], likelihood)
    };
    MultiOmicsVaeConfig {
        batches: (0..batches).map(|b| b.to_string()).collect(),
        latent_dim: golden.shape("eps.0")[1],
        prior_expert: false,
        variance_floor: 1e-4,
        count_epsilon: 1e-8,
        kl_weight: golden.get("kl_weight")[0],
        ..MultiOmicsVaeConfig::of(vec![modality])
    }
}

/// The reference's group (`param` or `buffer`) and name of each of our arrays; nothing for those it does not have.
fn reference_path(path: &str) -> Option<(&'static str, String)> {
    let layer = |network: &str, rest: &str| {
        let (group, name) = match rest {
            "0.weight" | "0.bias" => ("param", rest.to_owned()),
            "0.norm.scale" => ("param", "1.weight".to_owned()),
            "0.norm.shift" => ("param", "1.bias".to_owned()),
            "0.norm.running_mean" => ("buffer", "1.running_mean".to_owned()),
            "0.norm.running_variance" => ("buffer", "1.running_var".to_owned()),
            _ => panic!("no reference for {rest} of {network}"),
        };
        (group, format!("{network}.fc_layers.Layer 0.{name}"))
    };
    if let Some(rest) = path.strip_prefix("rna.encoder.hidden.") {
        return Some(layer("z_encoder.encoder", rest));
    }
    if let Some(rest) = path.strip_prefix("rna.decoder.hidden.") {
        return Some(layer("decoder.px_decoder", rest));
    }
    let name = match path {
        "rna.encoder.mean.weight" => "z_encoder.mean_encoder.weight",
        "rna.encoder.mean.bias" => "z_encoder.mean_encoder.bias",
        "rna.encoder.ln_variance.weight" => "z_encoder.var_encoder.weight",
        "rna.encoder.ln_variance.bias" => "z_encoder.var_encoder.bias",
        "rna.decoder.scale.weight" => "decoder.px_scale_decoder.0.weight",
        "rna.decoder.scale.bias" => "decoder.px_scale_decoder.0.bias",
        "rna.decoder.dropout.weight" => "decoder.px_dropout_decoder.weight",
        "rna.decoder.dropout.bias" => "decoder.px_dropout_decoder.bias",
        "rna.decoder.ln_dispersion" => "px_r",
        // what the encoder's inputs are scaled by: 1 and 0 here
        "rna.encoder.usual_depth" | "rna.encoder.offset" | "rna.encoder.inverse_scale" => return None,
        _ => panic!("no reference for {path}"),
    };
    Some(("param", name.to_owned()))
}

/// Their weights are [outputs, inputs], ours [inputs, outputs].
fn transposed(values: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
}

#[test]
fn the_scvi_module_is_a_configuration_of_ours() {
    for golden in goldens("scvi") {
        let config = config_of(&golden);
        let mut store = ParamStore::<f64>::new(0);
        let model = MultiOmicsVae::new(&config, &mut store).unwrap();
        let arrays: Vec<_> = store
            .entries()
            .filter_map(|(id, e)| Some((id, reference_path(&e.path)?, e.value.shape(), e.trained)))
            .collect();
        for (id, (group, name), shape, _) in &arrays {
            let key = format!("{group}.{name}");
            let values = match *golden.shape(&key) {
                [outputs, inputs] => transposed(golden.get(&key), [outputs, inputs]),
                _ => golden.get(&key).to_vec(),
            };
            store.set(*id, Tensor::from_f64(*shape, &values));
        }

        let cells = golden.shape("in.X")[0];
        let batch = MultiOmicsBatch {
            cells,
            modalities: vec![ModalityValues { values: golden.get("in.X").to_vec() }],
            batch: golden.get("in.batch").iter().map(|&b| b as u32).collect(),
            noise: Some(golden.get("eps.0").to_vec()),
        };
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let input = model.input(&tape, &batch).unwrap();
        let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();

        let close = |name: &str, values: Vec<f64>| golden.assert_close(name, &values, OUTPUT, 0.0);
        let value = |var: gradome_tape::Var<'_, f64>| var.value().to_f64();
        close("inf.library", value(input.modalities[0].depth.ln()));
        close("inf.qz.loc", value(output.posterior.mean));
        close("inf.qz.scale", value((output.posterior.ln_variance * 0.5).exp()));
        close("inf.z", value(output.latent));
        let counts = match output.decoded[0] {
            Decoded::Poisson { counts, .. } => {
                close("gen.px.rate", value(counts.ln_mean.exp()));
                None
            }
            Decoded::NegativeBinomial { counts, .. } => Some(counts),
            Decoded::ZeroInflatedNegativeBinomial { counts, .. } => {
                close("gen.px.zi_logits", value(counts.dropout_logits));
                Some(counts.counts)
            }
            _ => panic!("SCVI has counts"),
        };
        if let Some(counts) = counts {
            close("gen.px.mu", value(counts.ln_mean.exp()));
            close("gen.px.theta", value(counts.ln_dispersion.exp().broadcast_to(counts.ln_mean.shape())));
        }
        close("recon.reconstruction_loss", value(-output.ln_likelihoods[0]));
        close("kl.kl_divergence_z", value(output.kl));
        close("loss", value(output.loss));

        let gradients = output.loss.backward();
        let mut compared: Vec<String> = Vec::new();
        for (id, (_, name), shape, _) in arrays.iter().filter(|(.., trained)| *trained) {
            let key = format!("grad.{name}");
            let found = gradients.get(id.key()).expect("the loss depends on every parameter").to_f64();
            let found = match **shape {
                [inputs, outputs] => transposed(&found, [inputs, outputs]),
                _ => found,
            };
            golden.assert_close(&key, &found, GRADIENT, FLOOR);
            compared.push(key);
        }
        // the reference also holds heads that this likelihood does not use
        for key in golden.names("grad.").into_iter().filter(|key| !compared.iter().any(|c| c == key)) {
            assert!(golden.get(key).iter().all(|&g| g == 0.0), "{} was not compared", key);
        }
    }
}
