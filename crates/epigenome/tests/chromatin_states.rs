//! The differentiable annotator: DiffBio's numbers, ChromHMM's likelihood, gradient fits and the smoothed path.

use gradome_epigenome::chromatin::{
    ChromHmmModel, ChromatinStateAnnotator, ChromatinStatesConfig, ChromatinTracks, EmSettings, Emission,
    ExpectedCounts, JavaRandom,
};
use gradome_goldens::{Golden, data, goldens};
use gradome_io::genome::binarised::{Binarised, MISSING, binarised_files};
use gradome_nn::optim::{Lbfgs, Optimizer, OptimizerConfig};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::{Tape, Tensor};

/// Relative to the largest output.
const OUTPUT: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// A gradient whose largest element is below this is compared absolutely.
const FLOOR: f64 = 1e-6;

/// The reference's name of each of our parameters.
fn reference_path(path: &str) -> &str {
    match path {
        "chain.initial" => "initial_logits",
        "chain.transition" => "transition_logits",
        "emission.logits" => "emission_logits",
        "emission.mean" => "emission_means",
        "emission.ln_variance" => "emission_logvars",
        other => panic!("no reference for {other}"),
    }
}

struct Case {
    golden: Golden,
    annotator: ChromatinStateAnnotator,
    store: ParamStore<f64>,
    tracks: ChromatinTracks,
}

impl Case {
    fn of(golden: Golden) -> Self {
        let json: serde_json::Value = serde_json::from_str(&golden.metadata["config_json"]).unwrap();
        let size = |key: &str| json[key].as_u64().unwrap() as usize;
        let cell_types = (json["use_cell_type_conditioning"] == true).then(|| size("num_cell_types"));
        let config = ChromatinStatesConfig::diffbio(size("num_states"), size("num_marks"), cell_types);
        let mut store = ParamStore::new(0);
        let annotator = ChromatinStateAnnotator::new(&config, &mut store).unwrap();
        for id in store.trained().collect::<Vec<_>>() {
            let entry = store.entries().find(|(of, _)| *of == id).unwrap().1;
            let (shape, path) = (entry.value.shape(), reference_path(&entry.path).to_owned());
            store.set(id, Tensor::from_f64(shape, golden.get(&format!("param/{path}"))));
        }
        let shape = golden.shape("in/histone_marks");
        let (sequences, length) = if shape.len() == 3 { (shape[0], shape[1]) } else { (1, shape[0]) };
        // the reference has one set of weights for all sequences
        let weights = cell_types.map_or(Vec::new(), |_| golden.get("in/cell_type").repeat(sequences));
        let tracks = ChromatinTracks {
            lengths: vec![length; sequences],
            observations: golden.get("in/histone_marks").to_vec(),
            cell_types: weights,
        };
        Self { golden, annotator, store, tracks }
    }
}

/// The reference's `viterbi_path` is the mean of filtered state numbers and no path, so losses that hold it are left out;
/// its own loss (`T_`) is minus the mean log-likelihood.
#[test]
fn outputs_loss_gradients_and_training_match_the_reference() {
    for case in goldens(ChromatinStateAnnotator::NAME).into_iter().map(Case::of) {
        let Case { golden, annotator, mut store, tracks } = case;
        {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let mut input = annotator.input(&tape, &tracks).unwrap();
            let observations = tape.variable(&input.observations.value());
            input.observations = observations;
            let weights = input.cell_types.map(|weights| tape.variable(&weights.value()));
            input.cell_types = weights;
            let output = annotator.forward(Step::eval(&tape, &bound), &input).unwrap();
            golden.assert_close("out/log_likelihood", &output.ln_likelihood().value().to_f64(), OUTPUT, 0.0);
            golden.assert_close("out/state_posteriors", &output.posteriors().value().to_f64(), OUTPUT, 0.0);
            golden.assert_close("out/state_probabilities", &output.filtered().value().to_f64(), OUTPUT, 0.0);
            if golden.has("out/gamma") {
                golden.assert_close("out/gamma", &output.each_bin_alone().value().to_f64(), OUTPUT, 0.0);
            }
            let loss = -output.ln_likelihood().mean();
            golden.assert_close("T_loss", &[loss.item()], OUTPUT, 0.0);
            let gradients = loss.backward();
            for (id, entry) in store.entries() {
                let name = format!("T_grad/{}", reference_path(&entry.path));
                golden.assert_close(&name, &gradients.get(id.key()).unwrap().to_f64(), GRADIENT, FLOOR);
            }
            let of_observations = gradients.of(observations).unwrap().to_f64();
            golden.assert_close("T_gin/histone_marks", &of_observations, GRADIENT, FLOOR);
            if let Some(weights) = weights {
                let each = gradients.of(weights).unwrap().to_f64();
                let types = golden.get("in/cell_type").len();
                let sum: Vec<f64> = (0..types).map(|c| each.iter().skip(c).step_by(types).sum()).collect();
                golden.assert_close("T_gin/cell_type", &sum, GRADIENT, FLOOR);
            }
        }
        let adam = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let mut optimizer = Optimizer::new(adam, 0.0, &store);
        let mut losses = Vec::new();
        for step in 0..26 {
            let tape = Tape::new();
            let bound = store.bind(&tape);
            let input = annotator.input(&tape, &tracks).unwrap();
            let output = annotator.forward(Step::eval(&tape, &bound), &input).unwrap();
            let loss = -output.ln_likelihood().mean();
            losses.push(loss.item());
            if step < 25 {
                optimizer.step(&mut store, &loss.backward(), 1e-2, 1.0);
            }
        }
        golden.assert_close("adam_losses", &losses, OUTPUT, 0.0);
    }
}

/// Calls as observations, missing ones as NaN.
fn tracks_of(data: &Binarised) -> ChromatinTracks {
    let mut observations = Vec::new();
    for sequence in 0..data.sequences.len() {
        for bin in 0..data.sequences[sequence].patterns.len() {
            let value = |&call: &u8| if call == MISSING { f64::NAN } else { f64::from(call) };
            observations.extend(data.calls(sequence, bin).iter().map(value));
        }
    }
    let lengths = data.sequences.iter().map(|sequence| sequence.patterns.len()).collect();
    ChromatinTracks { lengths, observations, cell_types: Vec::new() }
}

fn mini() -> Option<Binarised> {
    let folder = data("hmm_dmfa/chromhmm_mini")?;
    Some(Binarised::read(&binarised_files(&folder).unwrap()).unwrap())
}

/// The first bins of two sequences, one of them with a mark that was not measured.
fn part() -> Option<Binarised> {
    let mut data = mini()?;
    data.sequences.truncate(4);
    data.sequences.remove(1);
    for (sequence, bins) in data.sequences.iter_mut().zip([700, 500, 600]) {
        sequence.patterns.truncate(bins);
    }
    Some(data)
}

fn annotator(states: usize, marks: usize, store: &mut ParamStore<f64>) -> ChromatinStateAnnotator {
    let config = ChromatinStatesConfig { states, marks, ..ChromatinStatesConfig::default() };
    ChromatinStateAnnotator::new(&config, store).unwrap()
}

#[test]
fn the_likelihood_of_calls_is_that_of_the_classical_model_with_missing_marks() {
    let Some(data) = mini() else { return };
    let model = ChromHmmModel::random(&data.marks, 5, &mut JavaRandom::new(3)).unwrap();
    let mut store = ParamStore::new(0);
    let annotator = annotator(5, data.marks.len(), &mut store);
    annotator.set_model(&mut store, &model).unwrap();
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let input = annotator.input(&tape, &tracks_of(&data)).unwrap();
    let output = annotator.forward(Step::eval(&tape, &bound), &input).unwrap();
    let likelihoods = output.ln_likelihood().value().to_f64();
    for (ours, counts) in likelihoods.iter().zip(ExpectedCounts::of_each(&model, &data).unwrap()) {
        assert!((ours - counts.ln_likelihood).abs() < 1e-9 * ours.abs(), "{ours} {}", counts.ln_likelihood);
    }
    let back = &annotator.models(&store, &data.marks).unwrap()[0];
    let pairs = back.emissions.iter().flatten().zip(model.emissions.iter().flatten());
    assert!(pairs.clone().count() > 0 && pairs.map(|(a, b)| (a - b).abs()).all(|d| d < 1e-12));
}

#[test]
fn a_gradient_fit_reaches_the_optimum_of_expectation_maximisation() {
    let Some(data) = part() else { return };
    let (start, _) = ChromHmmModel::from_information(&data, 3, 0.02).unwrap();
    let settings = EmSettings { max_iterations: 500, tolerance: 1e-7, least_transition: 0.0, ..EmSettings::default() };
    let trained = start.fit(&data, &settings, |_| Ok(())).unwrap();
    let best = trained.ln_likelihood(&data).unwrap();
    let mut store = ParamStore::new(0);
    let annotator = annotator(3, data.marks.len(), &mut store);
    annotator.set_model(&mut store, &start).unwrap();
    let optimizer = Lbfgs { max_iterations: 300, value_tolerance: 1e-12, ..Lbfgs::default() };
    let parts = [annotator.arrays(&tracks_of(&data)).unwrap()];
    let mut evaluations = 0;
    let report = annotator.fit_gradient(&mut store, &parts, &optimizer, |_| evaluations += 1).unwrap();
    assert!(evaluations >= report.iterations && evaluations == report.evaluations);
    // emissions at 0 lie infinitely far away in logits: what is left to climb is small
    assert!(-report.value > best - 0.05, "gradient {}, EM {best}", -report.value);
}

#[test]
fn the_smoothed_path_becomes_the_true_path_as_the_temperature_falls() {
    let Some(data) = part() else { return };
    let (model, _) = ChromHmmModel::from_information(&data, 4, 0.02).unwrap();
    let mut store = ParamStore::new(0);
    let annotator = annotator(4, data.marks.len(), &mut store);
    annotator.set_model(&mut store, &model).unwrap();
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let input = annotator.input(&tape, &tracks_of(&data)).unwrap();
    let output = annotator.forward(Step::eval(&tape, &bound), &input).unwrap();
    let path = output.path().path;
    let direct: Vec<u16> = (0..3).flat_map(|sequence| model.best_path(&data, sequence).unwrap().0).collect();
    assert!(path.iter().zip(&direct).all(|(a, b)| *a == u32::from(*b)) && path.len() == direct.len());
    let distance = |temperature: f64| -> f64 {
        let smooth = output.smoothed_path(temperature).value().to_f64();
        let off = path.iter().enumerate().map(|(bin, &state)| 1.0 - smooth[bin * 4 + state as usize]);
        off.fold(0.0, f64::max)
    };
    let mean = |temperature: f64| -> f64 {
        let smooth = output.smoothed_path(temperature).value().to_f64();
        path.iter().enumerate().map(|(bin, &state)| 1.0 - smooth[bin * 4 + state as usize]).sum::<f64>()
    };
    assert!(mean(1.0) > mean(0.3) && mean(0.3) > mean(0.05), "{} {} {}", mean(1.0), mean(0.3), mean(0.05));
    assert!(distance(1e-4) < 1e-6, "{}", distance(1e-4));
}

#[test]
fn several_starts_beat_chromhmms_best_on_the_mini_set() {
    let Some(data) = mini() else { return };
    let settings = EmSettings { max_iterations: 60, ..EmSettings::default() };
    let best = ChromHmmModel::fit_best(&data, 6, 6, 1, &settings).unwrap();
    let ln_likelihood = best.ln_likelihood(&data).unwrap();
    assert!(ln_likelihood > -68_918.694, "{ln_likelihood}");
}

#[test]
fn more_states_than_combinations_of_marks_can_be_learned() {
    let mut data = Binarised::new(vec!["x".into()]);
    let mut random = JavaRandom::new(8);
    let patterns = (0..400).map(|i| {
        let share = if i / 50 % 2 == 0 { 0.8 } else { 0.1 };
        data.patterns.number_of(&[u8::from(random.next_double() < share)])
    });
    let patterns = patterns.collect();
    data.sequences.push(gradome_io::genome::binarised::BinarisedSequence {
        cell: "c".into(),
        chromosome: "chr1".into(),
        patterns,
    });
    let refused = ChromHmmModel::from_information(&data, 3, 0.02).unwrap_err().to_string();
    assert!(refused.contains("tells only 2 states apart"), "{refused}");
    let model = ChromHmmModel::fit_best(&data, 5, 3, 1, &EmSettings::default()).unwrap();
    assert_eq!(model.states(), 5);
    assert!(model.ln_likelihood(&data).unwrap() > 400.0 * 0.5f64.ln());
}

#[test]
fn tracks_that_do_not_fit_are_errors_that_say_where() {
    let mut store = ParamStore::<f64>::new(0);
    let calls = annotator(3, 2, &mut store);
    let tape = Tape::<f64>::new();
    let problem = |tracks: ChromatinTracks| calls.input(&tape, &tracks).err().unwrap().to_string();
    let of = |observations: Vec<f64>| ChromatinTracks { lengths: vec![2], observations, cell_types: Vec::new() };
    assert!(problem(of(vec![0.0, 1.0, 0.5, 1.0])).contains("bin 2 mark 1 is 0.5, not 0 or 1"));
    assert!(problem(of(vec![0.0])).contains("do not make [2, 2] bins x marks"));
    assert!(problem(of(vec![f64::NAN; 4])).contains("nothing was measured"));
    let config = ChromatinStatesConfig { marks: 1, emission: Emission::Poisson, ..ChromatinStatesConfig::default() };
    let counts = ChromatinStateAnnotator::new(&config, &mut ParamStore::<f64>::new(0)).unwrap();
    let error = counts.input(&tape, &of(vec![3.0, -1.0])).err().unwrap().to_string();
    assert!(error.contains("bin 2 mark 1 is -1, not a count"), "{error}");
}
