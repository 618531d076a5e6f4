//! Starts, expected counts, passes and trained models.

use gradome_epigenome::chromatin::{Algorithm, ChromHmmModel, EmSettings, ExpectedCounts, JavaRandom, StateOrder};
use gradome_goldens::{data, goldens};
use gradome_io::genome::binarised::Binarised;

use crate::{assert_models_close, curve, visited};

fn gm12878() -> Option<Binarised> {
    Some(visited(&data("hmm_dmfa/chromhmm_GM12878_10")?, 999).0)
}

#[test]
fn information_start_matches_the_reference() {
    for golden in goldens("information-initialisation") {
        let Some(folder) = data(&golden.metadata["data"]) else { return };
        let (data, _) = visited(&folder, 999);
        let states = golden.get("init").len();
        let (model, splits) = ChromHmmModel::from_information(&data, states, 0.02).unwrap();
        golden.assert_close("init", &model.initial, 1e-12, 0.0);
        golden.assert_close("trans", &model.transitions, 1e-12, 0.0);
        let present: Vec<f64> = model.emissions.iter().map(|p| p[1]).collect();
        golden.assert_close("emis", &present, 1e-12, 0.0);
        let splits = splits.iter().flat_map(|s| [s.parent as f64, s.mark as f64, s.gain, s.pairs as f64]);
        let splits: Vec<f64> = splits.collect();
        for (i, (ours, theirs)) in splits.iter().zip(golden.get("splits")).enumerate() {
            assert!((ours - theirs).abs() <= 1e-12 * theirs.abs(), "split {}: {ours}, reference {theirs}", i / 4);
        }
    }
}

#[test]
fn expected_counts_and_best_states_match_the_reference() {
    for golden in goldens("hmm-expected-counts") {
        let Some(folder) = data(&golden.metadata["data"]) else { return };
        let (data, _) = visited(&folder, 999);
        let states = golden.get("state_occupancy").len();
        let model = ChromHmmModel::read(&folder.join(format!("model_{states}.txt"))).unwrap();
        let counts = ExpectedCounts::of(&model, &data, 0).unwrap();
        assert!((counts.ln_likelihood - golden.get("loglik")[0]).abs() < 1e-6, "{}", counts.ln_likelihood);
        golden.assert_close("exp_trans", &counts.transitions, 1e-9, 0.0);
        golden.assert_close("state_occupancy", &counts.occupancy, 1e-9, 0.0);
        let of_call = |call: usize| counts.calls.iter().map(|c| c[call]).collect::<Vec<f64>>();
        golden.assert_close("exp_off", &of_call(0), 1e-9, 0.0);
        golden.assert_close("exp_on", &of_call(1), 1e-9, 0.0);
    }
}

#[test]
fn first_passes_on_chromosome_11_have_chromhmms_likelihoods() {
    let Some(data) = gm12878() else { return };
    let folder = gradome_goldens::data("hmm_dmfa/chromhmm_GM12878_10").unwrap();
    let expected = curve(&folder.join("loglik_curve.tsv"));
    let (start, _) = ChromHmmModel::from_information(&data, 10, 0.02).unwrap();
    let settings = EmSettings { max_iterations: 4, ..EmSettings::default() };
    let mut passes = Vec::new();
    start
        .fit(&data, &settings, |pass| {
            passes.push(pass.ln_likelihood);
            Ok(())
        })
        .unwrap();
    for (pass, (ours, theirs)) in passes.iter().zip(&expected).enumerate() {
        assert!((ours - theirs).abs() <= 1e-3, "pass {}: {ours}, ChromHMM {theirs}", pass + 1);
    }
}

/// Trains on six sequences with missing marks as ChromHMM did, and compares every pass and the model.
fn mini(run: &str, seed: i64, settings: EmSettings, start: impl Fn(&Binarised, JavaRandom) -> ChromHmmModel) {
    let Some(folder) = data("hmm_dmfa/chromhmm_mini") else { return };
    let results = data(&format!("hmm_dmfa/chromhmm_mini_out/{run}")).unwrap();
    let (data, random) = visited(&folder, seed);
    let mut passes = Vec::new();
    let model = start(&data, random)
        .fit(&data, &settings, |pass| {
            passes.push(pass.ln_likelihood);
            Ok(())
        })
        .unwrap();
    let expected = curve(&results.join("loglik_curve.tsv"));
    assert_eq!(passes.len(), expected.len(), "passes until it stops");
    for (pass, (ours, theirs)) in passes.iter().zip(&expected).enumerate() {
        assert!((ours - theirs).abs() <= 1e-3, "pass {}: {ours}, ChromHMM {theirs}", pass + 1);
    }
    let name = if run == "random" { "model_6_7.txt" } else { "model_6.txt" };
    let expected = ChromHmmModel::read(&results.join(name)).unwrap();
    let model = model.sorted(StateOrder::Emission);
    assert_models_close(&model, &expected, 1e-9);
    let (ours, theirs) = (model.training.unwrap(), expected.training.unwrap());
    assert!((ours.0 - theirs.0).abs() < 1e-6 && ours.1 == theirs.1, "{ours:?}, ChromHMM {theirs:?}");
}

fn forty(algorithm: Algorithm) -> EmSettings {
    EmSettings { algorithm, max_iterations: 40, ..EmSettings::default() }
}

fn information(data: &Binarised, _: JavaRandom) -> ChromHmmModel {
    ChromHmmModel::from_information(data, 6, 0.02).unwrap().0
}

#[test]
fn incremental_training_matches_chromhmm() {
    mini("inc", 999, forty(Algorithm::Incremental), information);
}

#[test]
fn baum_welch_training_matches_chromhmm() {
    mini("p1", 999, forty(Algorithm::BaumWelch), information);
}

#[test]
fn training_from_a_random_seed_matches_chromhmm() {
    let start = |data: &Binarised, mut random: JavaRandom| ChromHmmModel::random(&data.marks, 6, &mut random).unwrap();
    mini("random", 7, forty(Algorithm::Incremental), start);
}
