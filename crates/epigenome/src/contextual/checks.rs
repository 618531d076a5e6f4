//! The contextual model against finite differences.

use gradome_nn::check::check_step;
use gradome_nn::{Activation, Operator, ParamStore};
use gradome_tape::check::Outcome;

use super::{
    ContactMap, ContextualEpigenomics, ContextualEpigenomicsConfig, Encoder, HeadConfig, HeadKind, Level, Pooling,
    Positions, Strands,
};

/// Small models that use every layer, smooth enough to difference.
fn models() -> Vec<(&'static str, ContextualEpigenomicsConfig)> {
    let head = |name: &str, kind, level, outputs| HeadConfig { outputs, ..HeadConfig::new(name, kind, level) };
    let transformer =
        |window, even_padding| Encoder::Transformer { layers: 1, heads: 2, feed_forward: 3, window, even_padding };
    let small = ContextualEpigenomicsConfig {
        hidden_dim: 4,
        dropout: 0.2,
        dna_kernel: 3,
        activation: Activation::Silu,
        ..ContextualEpigenomicsConfig::default()
    };
    vec![
        (
            "four tasks from DNA, tracks, context and contacts",
            ContextualEpigenomicsConfig {
                tracks: vec!["a".into(), "b".into()],
                log_tracks: true,
                track_kernel: 3,
                context_features: 2,
                contact_weight: 0.5,
                heads: vec![
                    head("binary", HeadKind::Binary, Level::Position, 2),
                    head("class", HeadKind::MultiClass, Level::Position, 3),
                    head("number", HeadKind::Regression, Level::Window, 1),
                    head("count", HeadKind::Counts, Level::Window, 2),
                ],
                uncertainty_weighting: true,
                encoder: Encoder::Convolution { layers: 2, kernel: 3, growth: 2, max_dilation: 2 },
                ..small.clone()
            },
        ),
        (
            "local attention, rotary positions",
            ContextualEpigenomicsConfig {
                dna: false,
                tracks: vec!["a".into()],
                encoder: transformer(Some(1), false),
                positions: Positions::Rotary,
                strands: Strands::Forward,
                pooling: Pooling::Mean,
                heads: vec![head("count", HeadKind::Counts, Level::Position, 1)],
                ..small.clone()
            },
        ),
        (
            "full attention, learned positions, bins of two base pairs, plain cosines",
            ContextualEpigenomicsConfig {
                bin_size: 2,
                encoder: transformer(None, true),
                positions: Positions::Learned,
                max_length: 5,
                contact_weight: 1.0,
                contact_map: ContactMap::Cosine,
                heads: vec![head("class", HeadKind::MultiClass, Level::Window, 3)],
                ..small
            },
        ),
    ]
}

pub(crate) fn check() -> Outcome {
    let mut outcome = Outcome::new(ContextualEpigenomics::NAME);
    for (case, config) in models() {
        let mut store = ParamStore::<f64>::new(5);
        let model = match ContextualEpigenomics::new(&config, &mut store) {
            Ok(model) => model,
            Err(error) => {
                outcome.require(false, || format!("{case}: {error}"));
                continue;
            }
        };
        let batch = ContextualEpigenomics::sample(&config, 3);
        let tape = gradome_tape::Tape::new();
        let input = model.input::<f64>(&tape, &batch).expect("the sample is valid");
        let inputs: Vec<_> = [
            ("dna", input.dna),
            ("tracks", input.tracks.map(|x| x + 0.2)),
            ("context", input.context),
            ("contacts", input.contacts),
        ]
        .into_iter()
        .filter_map(|(name, x)| Some((name, x?.value())))
        .collect();
        for training in [true, false] {
            let case = format!("{case}, {}", if training { "training" } else { "evaluation" });
            check_step(&mut outcome, &case, &store, &inputs, training, |step, given| {
                let mut input = model.input(step.tape, &batch).expect("the sample is valid");
                for ((name, _), &x) in inputs.iter().zip(given) {
                    match *name {
                        "dna" => input.dna = Some(x),
                        "tracks" => input.tracks = Some(x),
                        "context" => input.context = Some(x),
                        _ => input.contacts = Some(x),
                    }
                }
                let output = model.forward(step, &input).expect("the sample is valid");
                output.loss.expect("the sample has targets") + output.embeddings.square().mean() + output.pooled.mean()
            });
        }
    }
    outcome
}
