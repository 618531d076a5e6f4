//! What the model promises about missing values, the product of experts, learned weights, bounds and bad input.

use gradome_io::{Kind, Matrix, Measured, Modality};
use gradome_multiomics::{
    Likelihood, MlpConfig, ModalityConfig, ModalityValues, ModalityWeights, MultiOmicsBatch, MultiOmicsData,
    MultiOmicsOutput, MultiOmicsVae, MultiOmicsVaeConfig, Split, TrainedMultiOmicsVae,
};
use gradome_nn::trainer::FitOptions;
use gradome_nn::{Norm, Operator, ParamStore, Rng, Step, TrainerConfig};
use gradome_tape::{Float, Tape};
use rand::SeedableRng;

const NAN: f64 = f64::NAN;

fn modality(name: &str, features: usize, likelihood: Likelihood) -> ModalityConfig {
    let mlp = MlpConfig { hidden: vec![4], norm: Norm::None, dropout: 0.0, ..MlpConfig::default() };
    ModalityConfig {
        encoder: mlp.clone(),
        decoder: mlp,
        thinning: 0.0,
        ..ModalityConfig::new(name, features, likelihood)
    }
}

/// RNA of three genes and two proteins.
fn rna_and_protein(prior_expert: bool) -> MultiOmicsVaeConfig {
    MultiOmicsVaeConfig {
        latent_dim: 2,
        prior_expert,
        ..MultiOmicsVaeConfig::of(vec![
            modality("rna", 3, Likelihood::NegativeBinomial),
            modality("protein", 2, Likelihood::NegativeBinomialMixture),
        ])
    }
}

fn batch(cells: usize, latent: usize, values: &[&[f64]]) -> MultiOmicsBatch {
    MultiOmicsBatch {
        cells,
        modalities: values.iter().map(|v| ModalityValues { values: v.to_vec() }).collect(),
        batch: Vec::new(),
        noise: Some((0..cells * latent).map(|i| (i as f64).sin()).collect()),
    }
}

/// Runs a freshly made model on a batch as it is used after training.
fn evaluate<R>(
    config: &MultiOmicsVaeConfig,
    batch: &MultiOmicsBatch,
    read: impl for<'t> FnOnce(&MultiOmicsOutput<'t, f64>) -> R,
) -> R {
    let mut store = ParamStore::<f64>::new(5);
    let model = MultiOmicsVae::new(config, &mut store).unwrap();
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let input = model.input(&tape, batch).unwrap();
    read(&model.forward(Step::eval(&tape, &bound), &input).unwrap())
}

#[test]
fn a_cell_with_nothing_measured_gets_exactly_the_prior() {
    for prior_expert in [true, false] {
        let config = rna_and_protein(prior_expert);
        let batch = batch(2, 2, &[&[NAN, NAN, NAN, 4.0, 0.0, 7.0], &[NAN, NAN, 3.0, 90.0]]);
        evaluate(&config, &batch, |output| {
            assert_eq!(&output.posterior.mean.value().data()[..2], &[0.0, 0.0]);
            assert_eq!(&output.posterior.ln_variance.value().data()[..2], &[0.0, 0.0]);
            assert_eq!(output.kl.value().data()[0], 0.0);
            assert!(output.kl.value().data()[1] > 0.0);
            for terms in &output.ln_likelihoods {
                assert_eq!(terms.value().data()[0], 0.0);
                assert!(terms.value().data()[1] < 0.0);
            }
            let gradients = output.loss.backward();
            for key in gradients.keys() {
                assert!(gradients.get(key).unwrap().data().iter().all(|g| g.is_finite()), "parameter {key}");
            }
        });
    }
}

#[test]
fn precisions_of_the_experts_add_up_and_means_are_weighted_by_them() {
    for prior_expert in [true, false] {
        let config = rna_and_protein(prior_expert);
        let prior = if prior_expert { 1.0 } else { 0.0 };
        let rna = [4.0, 0.0, 7.0];
        let protein = [3.0, 90.0];
        // the same cell with both modalities, with RNA alone and with proteins alone
        let values: [Vec<f64>; 2] =
            [[&rna[..], &rna, &[NAN; 3]].concat(), [&protein[..], &[NAN; 2], &protein].concat()];
        evaluate(&config, &batch(3, 2, &[&values[0], &values[1]]), |output| {
            let (mean, ln_variance) = (output.posterior.mean.value(), output.posterior.ln_variance.value());
            for dimension in 0..2 {
                let precision = |cell| (-ln_variance.at(&[cell, dimension])).exp();
                let weighted = |cell| mean.at(&[cell, dimension]) * precision(cell);
                assert!((precision(0) - (precision(1) + precision(2) - prior)).abs() < 1e-12 * precision(0));
                assert!((weighted(0) - (weighted(1) + weighted(2))).abs() < 1e-12 * precision(0));
            }
        });
    }
}

#[test]
fn a_value_that_was_not_measured_takes_no_part_in_likelihood_or_gradient() {
    let config = MultiOmicsVaeConfig {
        latent_dim: 2,
        ..MultiOmicsVaeConfig::of(vec![modality("rna", 3, Likelihood::NegativeBinomial)])
    };
    let values = [5.0, NAN, 2.0, 1.0, NAN, 0.0];
    let mut store = ParamStore::<f64>::new(5);
    let model = MultiOmicsVae::new(&config, &mut store).unwrap();
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let input = model.input(&tape, &batch(2, 2, &[&values])).unwrap();
    let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
    let each = output.decoded[0].log_prob(input.modalities[0].values).value();
    for cell in 0..2 {
        let measured = each.at(&[cell, 0]) + each.at(&[cell, 2]);
        assert!((output.ln_likelihoods[0].value().data()[cell] - measured).abs() < 1e-12);
        assert!(each.at(&[cell, 1]) != 0.0);
    }
    let gradients = output.loss.backward();
    let dispersion = gradients.get(store.find("rna.decoder.ln_dispersion").unwrap().key()).unwrap();
    assert_eq!(dispersion.data()[1], 0.0);
    assert!(dispersion.data()[0] != 0.0 && dispersion.data()[2] != 0.0);
    let encoder = gradients.get(store.find("rna.encoder.hidden.0.weight").unwrap().key()).unwrap();
    assert!((0..4).all(|unit| encoder.at(&[1, unit]) == 0.0), "the encoder looked at a value that was not measured");
}

fn dense(name: &str, kind: Kind, cells: usize, features: usize, value: impl Fn(usize, usize) -> f32) -> Modality {
    let values = (0..cells * features).map(|i| value(i / features, i % features)).collect();
    let names = (0..features).map(|f| format!("{name}-{}", f + 1));
    Modality::new(name, kind, names, Matrix::dense(cells, features, values))
}

/// Forty genes with hundreds of counts and one protein with a few: log-likelihoods that differ a hundredfold.
fn unequal_data(cells: usize) -> (MultiOmicsVaeConfig, MultiOmicsData) {
    let rna = dense("rna", Kind::Rna, cells, 40, |cell, gene| ((cell * 131 + gene * 57) % 400) as f32);
    let protein = dense("protein", Kind::Protein, cells, 1, |cell, _| (cell % 3) as f32);
    let config = MultiOmicsVaeConfig {
        latent_dim: 2,
        kl_warmup_epochs: 0.0,
        single_modality_weight: 0.0,
        ..MultiOmicsVaeConfig::of(vec![
            modality("rna", 40, Likelihood::NegativeBinomial),
            modality("protein", 1, Likelihood::Poisson),
        ])
    };
    (config, MultiOmicsData { modalities: vec![rna, protein], batch: Vec::new() })
}

fn fit(config: &MultiOmicsVaeConfig, data: &MultiOmicsData, epochs: usize) -> TrainedMultiOmicsVae {
    let split = Split { train: (0..data.cells()).collect(), validation: Vec::new() };
    let trainer = TrainerConfig { max_epochs: epochs, batch_size: 64, learning_rate: 0.02, ..TrainerConfig::default() };
    let options = FitOptions::quiet(trainer);
    TrainedMultiOmicsVae::fit(config, data, &split, &options).unwrap().trained
}

/// The smaller of two learned weights after training.
fn smaller_weight(balance: f64) -> f64 {
    let (config, data) = unequal_data(64);
    let config = MultiOmicsVaeConfig { modality_weights: ModalityWeights::Learnable { balance }, ..config };
    let trained = fit(&config, &data, 300);
    let scores = trained.store().get(trained.store().find("modality_weights.scores").unwrap()).to_f64();
    1.0 / (1.0 + (scores[0] - scores[1]).abs().exp())
}

#[test]
fn learned_weights_collapse_without_balance_and_cannot_with_it() {
    // at the optimum of w . l - balance mean(l) mean(ln w), with losses l a hundredfold apart, the smaller weight
    // is .19; without the second term it is 0
    let balanced = smaller_weight(1.0);
    assert!((0.15..0.3).contains(&balanced), "{balanced}");
    let unbalanced = smaller_weight(0.0);
    assert!(unbalanced < 0.02, "the control did not collapse: {unbalanced}");
}

#[test]
fn the_importance_weighted_bound_is_above_the_elbo_and_both_are_finite_on_empty_cells() {
    let (config, mut data) = unequal_data(64);
    let trained = fit(&config, &data, 10);
    data.modalities[0] =
        dense("rna", Kind::Rna, 64, 40, |cell, gene| if cell < 8 { 0.0 } else { (gene * cell % 90) as f32 });
    data.modalities[1] = dense("protein", Kind::Protein, 64, 1, |cell, _| if cell < 8 { 0.0 } else { 2.0 });
    let bounds = trained.log_likelihood(&data, 50, 3).unwrap();
    let all = bounds.elbo.iter().chain(&bounds.importance_weighted).chain(&bounds.kl);
    assert!(all.chain(bounds.modalities.iter().flatten()).all(|v| v.is_finite()));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&bounds.importance_weighted) > mean(&bounds.elbo));
    for cell in 0..64 {
        let sum = bounds.modalities[0][cell] + bounds.modalities[1][cell] - bounds.kl[cell];
        assert!((sum - bounds.elbo[cell]).abs() < 1e-9 * sum.abs().max(1.0));
    }
    // with one draw the bound is the same estimate with the divergence estimated as well: no order between the two
    assert!(trained.log_likelihood(&data, 0, 3).is_err());
}

#[test]
fn a_trained_model_reads_a_cell_with_nothing_measured_as_the_prior() {
    let (config, mut data) = unequal_data(64);
    let trained = fit(&config, &data, 3);
    for modality in &mut data.modalities {
        let columns = modality.matrix.columns();
        modality.measured = Measured::from_rows((0..64).map(|cell| vec![cell != 0; columns]));
        let zeroed = |cell: usize, value: f32| if cell == 0 { 0.0 } else { value };
        let mut row = vec![0.0; columns];
        let mut values = Vec::new();
        for cell in 0..64 {
            modality.matrix.read_row(cell, &mut row);
            values.extend(row.iter().map(|&v| zeroed(cell, v)));
        }
        modality.matrix = Matrix::dense(64, columns, values);
    }
    let latent = trained.latent(&data, &Default::default()).unwrap();
    assert_eq!((&latent.mean[..2], &latent.sd[..2]), (&[0.0; 2][..], &[1.0; 2][..]));
}

#[test]
fn bad_values_are_named_by_modality_cell_and_feature() {
    let (config, data) = unequal_data(4);
    let with = |value: f32| {
        let mut bad = data.clone();
        bad.modalities[0] =
            dense("rna", Kind::Rna, 4, 40, |cell, gene| if (cell, gene) == (2, 4) { value } else { 1.0 });
        bad.validate(&config).unwrap_err().to_string()
    };
    for (value, problem) in [(-1.0, "negative"), (0.5, "whole"), (f32::NAN, "finite"), (f32::INFINITY, "finite")] {
        let message = with(value);
        for word in ["rna", "cell 3", "rna-5", problem] {
            assert!(message.contains(word), "'{message}' does not say '{word}'");
        }
    }
    let mut store = ParamStore::<f64>::new(0);
    let chromatin = MultiOmicsVaeConfig::of(vec![modality("atac", 2, Likelihood::Bernoulli)]);
    let model = MultiOmicsVae::new(&chromatin, &mut store).unwrap();
    let tape = Tape::<f64>::new();
    let error = model.input(&tape, &batch(2, 10, &[&[0.0, 1.0, 2.0, 0.0]])).map(|_| ()).unwrap_err().to_string();
    for word in ["atac", "cell 2", "feature 1", "binarise"] {
        assert!(error.contains(word), "'{error}' does not say '{word}'");
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let (config, data) = unequal_data(4);
    let says = |data: &MultiOmicsData, words: &[&str]| {
        let message = data.validate(&config).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(message.contains(word), "'{message}' does not say '{word}'"));
    };
    let mut other = data.clone();
    other.modalities.pop();
    says(&other, &["2 modalities", "1"]);
    let mut other = data.clone();
    other.modalities[1] = dense("protein", Kind::Protein, 5, 1, |_, _| 1.0);
    says(&other, &["protein", "5 cells", "4", "barcode"]);
    let mut other = data.clone();
    other.modalities[1] = dense("protein", Kind::Protein, 4, 3, |_, _| 1.0);
    says(&other, &["protein", "3 features", "made for 1"]);
}

fn assert_finite<T: Float>(config: &MultiOmicsVaeConfig, batch: &MultiOmicsBatch, case: &str) {
    let mut store = ParamStore::<T>::new(2);
    let model = MultiOmicsVae::new(config, &mut store).unwrap();
    for training in [false, true] {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let step = if training { Step::train(&tape, &bound, Rng::seed_from_u64(1)) } else { Step::eval(&tape, &bound) };
        let output = model.forward(step, &model.input(&tape, batch).unwrap()).unwrap();
        assert!(output.loss.item().is_finite(), "{case}: loss {}", output.loss.item());
        let gradients = output.loss.backward();
        for (id, entry) in store.entries().filter(|(_, e)| e.trained) {
            let finite = gradients.get(id.key()).is_none_or(|g| g.data().iter().all(|g| g.is_finite()));
            assert!(finite, "{case}: gradient of {}", entry.path);
        }
    }
}

#[test]
fn empty_cells_single_cells_and_counts_of_a_million_stay_finite() {
    for (likelihood, name) in Likelihood::ALL {
        let largest = if likelihood == Likelihood::Bernoulli { 1.0 } else { 1e6 };
        for norm in [Norm::None, Norm::Batch, Norm::Layer] {
            let mut rna = modality("m", 3, likelihood);
            (rna.encoder.norm, rna.decoder.norm) = (norm, norm);
            rna.thinning = if likelihood.has_depth() { 0.5 } else { 0.0 };
            let config = MultiOmicsVaeConfig { latent_dim: 2, ..MultiOmicsVaeConfig::of(vec![rna]) };
            let l = largest;
            for (cells, values) in [
                (1, vec![0.0; 3]),
                (1, vec![l, 0.0, 1.0]),
                (4, vec![0.0; 12]),
                (3, vec![l, l, l, 0.0, 0.0, 0.0, 1.0, l, 0.0]),
                (2, vec![NAN, NAN, NAN, 0.0, NAN, l]),
            ] {
                let case = format!("{name}, {norm:?}, {values:?}");
                let batch = batch(cells, 2, &[&values]);
                assert_finite::<f32>(&config, &batch, &case);
                assert_finite::<f64>(&config, &batch, &case);
            }
        }
    }
}
