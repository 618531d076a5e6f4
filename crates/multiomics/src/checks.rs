//! The finite-difference checks of this crate's operators.

use gradome_nn::check::check_step;
use gradome_nn::{Activation, Norm, Operator, OperatorEntry, ParamStore};
use gradome_tape::Tensor;
use gradome_tape::check::Outcome;

use crate::config::{Likelihood, MlpConfig, ModalityConfig, ModalityWeights, MultiOmicsVaeConfig};
use crate::vae::MultiOmicsVae;

/// Every operator of this crate with its check.
pub fn checks() -> Vec<OperatorEntry> {
    vec![OperatorEntry { name: MultiOmicsVae::NAME, kind: "operator", check }]
}

/// Small models of all likelihoods, smooth enough to difference: no thinning, a smooth nonlinearity.
fn models() -> Vec<(&'static str, MultiOmicsVaeConfig)> {
    let mlp = |norm| MlpConfig { hidden: vec![4], norm, activation: Activation::Silu, dropout: 0.2 };
    let modality = |(i, likelihood): (usize, &Likelihood)| ModalityConfig {
        encoder: mlp(if i == 0 { Norm::Batch } else { Norm::Layer }),
        decoder: mlp(Norm::None),
        linear_skip: i == 1,
        thinning: 0.0,
        ..ModalityConfig::new(format!("m{i}"), 3, *likelihood)
    };
    let model = |likelihoods: &[Likelihood]| MultiOmicsVaeConfig {
        latent_dim: 2,
        ..MultiOmicsVaeConfig::of(likelihoods.iter().enumerate().map(modality).collect())
    };
    use Likelihood::*;
    vec![
        (
            "RNA and protein in two batches",
            MultiOmicsVaeConfig {
                batches: vec!["a".into(), "b".into()],
                ..model(&[NegativeBinomial, NegativeBinomialMixture])
            },
        ),
        (
            "RNA and chromatin, learned weights",
            MultiOmicsVaeConfig {
                modality_weights: ModalityWeights::Learnable { balance: 0.0 },
                cross_reconstruction: false,
                ..model(&[ZeroInflatedNegativeBinomial, Bernoulli])
            },
        ),
        (
            "three modalities, no prior expert",
            MultiOmicsVaeConfig {
                prior_expert: false,
                modality_weights: ModalityWeights::Equal,
                count_epsilon: 1e-8,
                variance_floor: 1e-4,
                ..model(&[Poisson, Gaussian, SquaredError])
            },
        ),
    ]
}

fn check() -> Outcome {
    let mut outcome = Outcome::new(MultiOmicsVae::NAME);
    for (case, config) in models() {
        let mut store = ParamStore::<f64>::new(11);
        let model = match MultiOmicsVae::new(&config, &mut store) {
            Ok(model) => model,
            Err(error) => {
                outcome.require(false, || format!("{case}: {error}"));
                continue;
            }
        };
        let batch = MultiOmicsVae::sample(&config, 3);
        let noise = batch.noise.clone().unwrap_or_default();
        let inputs = [("noise", Tensor::from_f64([batch.cells * config.latent_dim], &noise))];
        for training in [true, false] {
            let case = format!("{case}, {}", if training { "training" } else { "evaluation" });
            check_step(&mut outcome, &case, &store, &inputs, training, |step, noise| {
                let mut input = model.input(step.tape, &batch).expect("the sample is valid");
                input.noise = Some(noise[0].reshape([batch.cells, config.latent_dim]));
                model.forward(step, &input).expect("the sample is valid").loss
            });
        }
    }
    outcome
}
