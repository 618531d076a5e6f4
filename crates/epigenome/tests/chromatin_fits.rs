//! Fits of calls, counts and values: against formulas where one state hides nothing, numbers of states, states without
//! support.

use gradome_epigenome::chromatin::{
    ChromHmmModel, ChromatinData, ChromatinSequence, ChromatinStatesConfig, EmSettings, Emission, FitMethod, FitStart,
    JavaRandom, StateOrder, TrainedChromatinStates, compare_state_counts, cut_into_blocks,
};
use gradome_io::genome::binarised::{Binarised, BinarisedSequence};
use gradome_nn::optim::Lbfgs;

fn gradient() -> FitMethod {
    let optimizer = Lbfgs { max_iterations: 200, value_tolerance: 1e-14, ..Lbfgs::default() };
    FitMethod::Gradient { optimizer, warm_up: 0 }
}

/// Observations of one mark in two cell types; a value is missing now and then.
fn data(value: impl Fn(&mut JavaRandom, usize) -> f32) -> ChromatinData {
    let mut random = JavaRandom::new(5);
    let mut sequence = |cell: &str, place: usize| ChromatinSequence {
        cell: cell.into(),
        chromosome: "chr1".into(),
        values: (0..500).map(|bin| if bin % 50 == 7 { f32::NAN } else { value(&mut random, place) }).collect(),
    };
    let sequences = vec![sequence("a", 0), sequence("b", 1)];
    ChromatinData { marks: vec!["x".into()], bin_size: 200, sequences }
}

/// The measured values of the cell types that share an emission.
fn measured(data: &ChromatinData, own: bool) -> Vec<Vec<f64>> {
    let of = |s: &ChromatinSequence| s.values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
    let each: Vec<Vec<f64>> = data.sequences.iter().map(of).collect();
    if own { each } else { vec![each.concat()] }
}

/// Fits one state and compares what it expects, and how sure that is, with the mean and the error of a mean.
fn one_state(emission: Emission, own: bool, data: &ChromatinData) -> TrainedChromatinStates {
    let config = ChromatinStatesConfig { states: 1, emission, variance_floor: 0.0, ..ChromatinStatesConfig::default() };
    let fit =
        TrainedChromatinStates::fit(&config, data, (own, false), &gradient(), &[FitStart::Information], |_, _, _| {});
    let fit = fit.unwrap();
    let (expected, errors) = (fit.trained.expected(), fit.trained.emission_errors(data).unwrap());
    let values = measured(data, own);
    assert_eq!(expected.len(), values.len());
    for (cell, values) in values.iter().enumerate() {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = match emission {
            Emission::Bernoulli => mean * (1.0 - mean),
            Emission::Poisson => mean,
            Emission::NegativeBinomial => mean + mean * mean / fit.trained.spread().unwrap()[0],
            Emission::Gaussian => values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n,
        };
        let (found, error) = (expected[cell], errors[cell]);
        assert!((found - mean).abs() < 1e-5 * mean, "{emission:?}: {found}, the mean is {mean}");
        let formula = (variance / n).sqrt();
        assert!((error - formula).abs() < 1e-4 * formula, "{emission:?}: error {error}, formula {formula}");
    }
    fit.trained
}

fn count(random: &mut JavaRandom, most: u32) -> f32 {
    let mut below = || (random.next_double() * f64::from(most)).floor();
    (below() * below()) as f32
}

#[test]
fn one_state_has_the_mean_of_the_observations_and_its_error() {
    for own in [false, true] {
        let calls = data(|random, cell| f32::from(u8::from(random.next_double() < 0.2 + 0.3 * cell as f64)));
        one_state(Emission::Bernoulli, own, &calls);
        let counts = data(|random, cell| count(random, 4 + 2 * cell as u32));
        one_state(Emission::Poisson, own, &counts);
        one_state(Emission::NegativeBinomial, own, &counts);
        let values = data(|random, cell| (3.0 + cell as f64 + random.next_double()) as f32);
        let trained = one_state(Emission::Gaussian, own, &values);
        let variances = trained.spread().unwrap();
        for (values, variance) in measured(&values, own).iter().zip(variances) {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let expected = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((variance - expected).abs() < 1e-5 * expected, "{variance} {expected}");
        }
    }
}

/// Two kinds of stretches, each of 30 bins.
fn switching(emission: Emission) -> ChromatinData {
    let mut random = JavaRandom::new(11);
    let mut sequence = |cell: &str| ChromatinSequence {
        cell: cell.into(),
        chromosome: "chr1".into(),
        values: (0..1800)
            .map(|i| {
                let (bin, mark) = (i / 2, i % 2);
                let high = (bin / 30) % 2 == mark;
                match emission {
                    Emission::Gaussian => random.next_double() as f32 + if high { 2.0 } else { 0.0 },
                    Emission::Bernoulli => f32::from(u8::from(random.next_double() < if high { 0.9 } else { 0.1 })),
                    // ten chances each
                    _ => {
                        (0..10).map(|_| f32::from(u8::from(random.next_double() < if high { 0.8 } else { 0.1 }))).sum()
                    }
                }
            })
            .collect(),
    };
    let sequences = vec![sequence("a"), sequence("b")];
    ChromatinData { marks: vec!["x".into(), "y".into()], bin_size: 200, sequences }
}

#[test]
fn both_kinds_of_starts_find_the_states_of_every_kind_of_observation() {
    use gradome_epigenome::chromatin::{Annotates, Decoding};
    for emission in [Emission::Bernoulli, Emission::Poisson, Emission::NegativeBinomial, Emission::Gaussian] {
        let data = switching(emission);
        for start in [FitStart::Information, FitStart::Random(3)] {
            let config = ChromatinStatesConfig { states: 2, emission, ..ChromatinStatesConfig::default() };
            let fit = TrainedChromatinStates::fit(&config, &data, (true, false), &gradient(), &[start], |_, _, _| {});
            let trained = fit.unwrap().trained;
            let annotation = trained.annotate(&data, None).unwrap();
            let states = annotation.decode(1, Decoding::Posterior).unwrap();
            let wrong = states.iter().enumerate().filter(|(bin, s)| (bin / 30 % 2 == 0) == (**s == states[15])).count();
            assert!(wrong >= states.len() * 97 / 100, "{emission:?}: {wrong} of {} bins", states.len());
            // every cell type by itself, with the model of its own
            let of_b = trained.of_cell("b").unwrap();
            let other = of_b.annotate(&data, None).unwrap().decode(1, Decoding::Viterbi).unwrap();
            assert_eq!(other, annotation.decode(1, Decoding::Viterbi).unwrap());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.safetensors");
            trained.save(&path).unwrap();
            let loaded = TrainedChromatinStates::load(&path).unwrap();
            assert_eq!((loaded.expected(), loaded.header()), (trained.expected(), trained.header()));
        }
    }
}

#[test]
fn numbers_of_states_are_compared_by_bic_and_by_unseen_sequences() {
    let calls = cut_into_blocks(&switching(Emission::Bernoulli).calls().unwrap(), 300);
    let settings = EmSettings { max_iterations: 200, ..EmSettings::default() };
    let scores = compare_state_counts(&calls, &[1, 2, 3], 3, 1, 1, &settings).unwrap();
    let best = |of: &dyn Fn(usize) -> f64| (0..3).max_by(|&a, &b| of(a).total_cmp(&of(b))).map(|at| scores[at].states);
    assert_eq!(best(&|at| -scores[at].bic), Some(2));
    assert!(scores[1].held_out_per_bin > scores[0].held_out_per_bin + 0.1);
    // one state hides nothing: shares of calls, with 1 added to each count, of the sequences that are not held out
    let counts = |keep: &dyn Fn(usize) -> bool| -> Vec<[f64; 2]> {
        let mut counts = vec![[0.0; 2]; 2];
        for (k, sequence) in calls.sequences.iter().enumerate().filter(|(k, _)| keep(*k)) {
            for bin in 0..sequence.patterns.len() {
                calls.calls(k, bin).iter().zip(&mut counts).for_each(|(call, n)| n[usize::from(*call)] += 1.0);
            }
        }
        counts
    };
    let mut expected = 0.0;
    for fold in 0..3 {
        let (seen, held) = (counts(&|k| k % 3 != fold), counts(&|k| k % 3 == fold));
        for (seen, held) in seen.iter().zip(&held) {
            let total = seen[0] + seen[1] + 2.0;
            expected += (0..2).map(|call| held[call] * ((seen[call] + 1.0) / total).ln()).sum::<f64>();
        }
    }
    let found = scores[0].held_out_per_bin * calls.bins() as f64;
    assert!((found - expected).abs() < 1e-6 * expected.abs(), "{found}, formula {expected}");
    let bic = 2.0 * (calls.bins() as f64).ln() - 2.0 * scores[0].ln_likelihood;
    assert!((scores[0].bic - bic).abs() < 1e-6);
    let error = compare_state_counts(&calls, &[1], 90, 0, 1, &settings).unwrap_err().to_string();
    assert!(error.contains("cannot be held out in 90 folds"), "{error}");
}

#[test]
fn the_bootstrap_gives_the_error_of_a_mean_of_blocks() {
    // one state, blocks of equal length: the variance of a resampled mean is that of the blocks' means over their number
    let mut random = JavaRandom::new(2);
    let mut calls = Binarised::new(vec!["x".into()]);
    let mut means = Vec::new();
    for block in 0..100 {
        let values: Vec<u8> =
            (0..50).map(|_| u8::from(random.next_double() < 0.1 + 0.004 * f64::from(block))).collect();
        means.push(values.iter().map(|v| f64::from(*v)).sum::<f64>() / 50.0);
        let patterns = values.iter().map(|v| calls.patterns.number_of(&[*v])).collect();
        calls.sequences.push(BinarisedSequence { cell: "c".into(), chromosome: format!("chr{block}"), patterns });
    }
    let start = ChromHmmModel::random(&calls.marks, 1, &mut JavaRandom::new(1)).unwrap();
    let model = start.fit(&calls, &EmSettings::default(), |_| Ok(())).unwrap();
    let errors = model.bootstrap_errors(&calls, 400, 7, &EmSettings::default()).unwrap().standard_errors;
    let mean = means.iter().sum::<f64>() / 100.0;
    let expected = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 100.0 / 100.0).sqrt();
    // the spread of 400 draws is known to 3.5 %
    assert!((errors[0] / expected - 1.0).abs() < 0.12, "{}, formula {expected}", errors[0]);
    // blocks that differ make this more than the error of independent bins
    assert!(errors[0] > (mean * (1.0 - mean) / 5000.0).sqrt());
    let one = Binarised { sequences: calls.sequences[..1].to_vec(), ..calls.clone() };
    let error = model.bootstrap_errors(&one, 10, 7, &EmSettings::default()).unwrap_err().to_string();
    assert!(error.contains("cut long chromosomes into blocks"), "{error}");
}

#[test]
fn a_state_that_nothing_supports_keeps_its_emissions_and_breaks_nothing() {
    let data = switching(Emission::Bernoulli);
    // the third state is never entered
    let start = ChromHmmModel {
        marks: data.marks.clone(),
        initial: vec![0.5, 0.5, 0.0],
        transitions: vec![0.9, 0.1, 0.0, 0.1, 0.9, 0.0, 0.2, 0.3, 0.5],
        emissions: [0.8, 0.2, 0.2, 0.8, 0.6, 0.4].map(|p| [1.0 - p, p]).to_vec(),
        order: StateOrder::Fixed,
        training: None,
    };
    let calls = data.calls().unwrap();
    let trained = start.fit(&calls, &EmSettings::default(), |_| Ok(())).unwrap();
    assert_eq!(trained.emissions_of(2), start.emissions_of(2));
    assert!(trained.emissions.iter().flatten().chain(&trained.transitions).all(|p| p.is_finite()));
    let errors = trained.emission_errors(&calls).unwrap().standard_errors;
    assert!(
        errors[..4].iter().all(|e| e.is_finite() && *e > 0.0) && errors[4..].iter().all(|e| e.is_nan()),
        "{errors:?}"
    );
    // along the gradient as well
    let config = ChromatinStatesConfig { states: 3, ..ChromatinStatesConfig::default() };
    let starts = [FitStart::Model(Box::new(start))];
    let fit = TrainedChromatinStates::fit(&config, &data, (false, false), &gradient(), &starts, |_, _, _| {}).unwrap();
    let close = (fit.trained.header().ln_likelihood - trained.ln_likelihood(&calls).unwrap()).abs();
    assert!(close < 0.01 && fit.trained.expected().iter().all(|p| p.is_finite()), "{close}");
}

#[test]
fn observations_that_the_emissions_cannot_make_are_errors() {
    let config = |emission| ChromatinStatesConfig { states: 2, emission, ..ChromatinStatesConfig::default() };
    let problem = |emission, data: &ChromatinData, method: &FitMethod| {
        let starts = [FitStart::Information];
        let fit = TrainedChromatinStates::fit(&config(emission), data, (false, false), method, &starts, |_, _, _| {});
        fit.err().unwrap().to_string()
    };
    let values = switching(Emission::Gaussian);
    assert!(problem(Emission::Poisson, &values, &gradient()).contains("not a count"));
    assert!(problem(Emission::Bernoulli, &values, &gradient()).contains("not 0 or 1"));
    let em = FitMethod::Em(EmSettings::default());
    assert!(problem(Emission::Gaussian, &values, &em).contains("use gradients"));
    let mut infinite = values;
    infinite.sequences[0].values[3] = f32::INFINITY;
    assert!(problem(Emission::Gaussian, &infinite, &gradient()).contains("not a finite number"));
}
