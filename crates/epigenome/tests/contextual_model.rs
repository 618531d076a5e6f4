//! What the contextual model promises: masks, strands, memory, errors.

use gradome_epigenome::contextual::{
    BASE_N, ContextualEpigenomics, ContextualEpigenomicsConfig, ContextualWindows, Encoder, HeadConfig, HeadKind,
    Level, Pooling, Positions, Strands,
};
use gradome_nn::{Operator, ParamStore, Rng, Step};
use gradome_tape::{Tape, Tensor};
use rand::{RngExt, SeedableRng};

const CONVOLUTION: Encoder = Encoder::Convolution { layers: 3, kernel: 3, growth: 2, max_dilation: 4 };
const FULL: Encoder = Encoder::Transformer { layers: 2, heads: 2, feed_forward: 12, window: None, even_padding: false };
const LOCAL: Encoder =
    Encoder::Transformer { layers: 2, heads: 2, feed_forward: 12, window: Some(3), even_padding: false };

fn config(encoder: Encoder) -> ContextualEpigenomicsConfig {
    ContextualEpigenomicsConfig {
        tracks: vec!["signal".into()],
        dna_kernel: 5,
        track_kernel: 3,
        hidden_dim: 8,
        encoder,
        heads: vec![
            HeadConfig::new("here", HeadKind::Binary, Level::Position),
            HeadConfig::new("all", HeadKind::Regression, Level::Window),
        ],
        ..ContextualEpigenomicsConfig::default()
    }
}

fn build(config: &ContextualEpigenomicsConfig) -> (ContextualEpigenomics, ParamStore<f64>) {
    let mut store = ParamStore::new(2);
    let model = ContextualEpigenomics::new(config, &mut store).unwrap();
    (model, store)
}

/// The outputs of both heads and the loss, row-major.
fn predict(
    model: &ContextualEpigenomics,
    store: &ParamStore<f64>,
    windows: &ContextualWindows,
) -> (Vec<f64>, Vec<f64>, f64) {
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let input = model.input(&tape, windows).unwrap();
    let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
    let loss = output.loss.map_or(f64::NAN, |loss| loss.item());
    (output.heads[0].value().to_f64(), output.heads[1].value().to_f64(), loss)
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
}

fn windows(config: &ContextualEpigenomicsConfig, windows: usize, length: usize) -> ContextualWindows {
    let mut rng = Rng::seed_from_u64(8);
    let count = windows * length;
    ContextualWindows {
        windows,
        length,
        dna: (0..count * config.bin_size).map(|_| rng.random_range(0..5)).collect(),
        tracks: (0..count).map(|_| rng.random()).collect(),
        targets: vec![(0..count).map(|i| (i % 2) as f32).collect(), (0..windows).map(|i| i as f32).collect()],
        ..ContextualWindows::default()
    }
}

#[test]
fn the_output_of_a_reverse_complement_is_the_output_in_reverse() {
    for encoder in [CONVOLUTION, FULL, LOCAL] {
        for positions in [Positions::Learned, Positions::Sinusoidal] {
            let config = ContextualEpigenomicsConfig { positions, bin_size: 2, ..config(encoder.clone()) };
            let (model, store) = build(&config);
            let mut given = windows(&config, 2, 9);
            given.mask = vec![1.0; 18];
            given.mask[16..].fill(0.0);
            let (here, all, _) = predict(&model, &store, &given);
            for window in 0..2 {
                given.reverse_complement(window, &config);
            }
            let (mut turned, turned_all, _) = predict(&model, &store, &given);
            turned.chunks_mut(9).for_each(<[f64]>::reverse);
            assert!(close(&here, &turned) && close(&all, &turned_all), "{encoder:?} {positions:?}");
            // the property is the strands' mean's, not any model's
            let config = ContextualEpigenomicsConfig { strands: Strands::Forward, ..config };
            let (model, _) = build(&config);
            let (mut forward, _, _) = predict(&model, &store, &given);
            forward.chunks_mut(9).for_each(<[f64]>::reverse);
            assert!(!close(&here, &forward));
        }
    }
}

#[test]
fn nothing_behind_the_mask_is_seen() {
    for encoder in [CONVOLUTION, FULL, LOCAL] {
        for (pooling, strands) in [(Pooling::Mean, Strands::Forward), (Pooling::Attention, Strands::Average)] {
            let config = ContextualEpigenomicsConfig { pooling, strands, ..config(encoder.clone()) };
            let (model, store) = build(&config);
            let mut given = windows(&config, 2, 10);
            given.mask = (0..20).map(|i| f32::from(u8::from(i < 16))).collect();
            let (here, all, loss) = predict(&model, &store, &given);
            for i in 16..20 {
                given.dna[i] = (given.dna[i] + 1) % 4;
                given.tracks[i] = 1e3;
                given.targets[0][i] = 1.0 - given.targets[0][i];
            }
            let (changed, changed_all, changed_loss) = predict(&model, &store, &given);
            assert!(close(&here[..16], &changed[..16]) && close(&all, &changed_all), "{encoder:?} {pooling:?}");
            assert_eq!(loss, changed_loss);
            given.dna[15] = (given.dna[15] + 1) % 4;
            assert!(!close(&all, &predict(&model, &store, &given).1), "what is inside is seen");
        }
    }
}

#[test]
fn a_short_window_predicts_the_same_padded_or_not() {
    for encoder in [CONVOLUTION, FULL, LOCAL] {
        let config = ContextualEpigenomicsConfig { strands: Strands::Forward, ..config(encoder.clone()) };
        let (model, store) = build(&config);
        let short = windows(&config, 1, 7);
        let mut padded = windows(&config, 1, 12);
        padded.dna[..7].copy_from_slice(&short.dna);
        padded.tracks[..7].copy_from_slice(&short.tracks);
        padded.targets[0][..7].copy_from_slice(&short.targets[0]);
        padded.mask = (0..12).map(|i| f32::from(u8::from(i < 7))).collect();
        let (here, all, loss) = predict(&model, &store, &short);
        let (padded_here, padded_all, padded_loss) = predict(&model, &store, &padded);
        assert!(close(&here, &padded_here[..7]) && close(&all, &padded_all), "{encoder:?}");
        assert!((loss - padded_loss).abs() < 1e-12);
    }
}

#[test]
fn windows_that_are_masked_all_over_and_single_positions_have_finite_gradients() {
    for encoder in [CONVOLUTION, FULL, LOCAL] {
        for pooling in [Pooling::Mean, Pooling::Attention] {
            for (length, masked) in [(5, true), (1, false), (1, true)] {
                let contacts = vec![0.5; length * length];
                let config = ContextualEpigenomicsConfig { pooling, contact_weight: 1.0, ..config(encoder.clone()) };
                let (model, store) = build(&config);
                let mut given = ContextualWindows { contacts, ..windows(&config, 1, length) };
                given.mask = vec![f32::from(u8::from(!masked)); length];
                let tape = Tape::new();
                let bound = store.bind(&tape);
                let input = model.input(&tape, &given).unwrap();
                let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
                if masked {
                    assert!(output.pooled.value().data().iter().all(|&v| v == 0.0));
                    assert_eq!(output.head_losses[0].item(), 0.0);
                }
                let gradients = output.loss.unwrap().backward();
                for id in store.trained() {
                    let finite = gradients.get(id.key()).is_none_or(|g| g.data().iter().all(|v| v.is_finite()));
                    assert!(finite, "{encoder:?} {pooling:?} {length} {masked}");
                }
            }
        }
    }
}

#[test]
fn unknown_bases_are_zeros() {
    let config = ContextualEpigenomicsConfig { tracks: Vec::new(), ..config(CONVOLUTION) };
    let (model, _) = build(&config);
    let given = ContextualWindows { tracks: Vec::new(), dna: vec![0, BASE_N, 3], ..windows(&config, 1, 3) };
    let tape = Tape::<f32>::new();
    let dna = model.input(&tape, &given).unwrap().dna.unwrap();
    assert_eq!(dna.value().data(), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn dropout_changes_training_steps_and_no_others() {
    let config = ContextualEpigenomicsConfig { dropout: 0.5, ..config(FULL) };
    let (model, store) = build(&config);
    let given = windows(&config, 2, 6);
    let embed = |training: bool, seed: u64| -> Vec<f64> {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let rng = Rng::seed_from_u64(seed);
        let step = if training { Step::train(&tape, &bound, rng) } else { Step::eval(&tape, &bound) };
        let input = model.input(&tape, &given).unwrap();
        model.forward(step, &input).unwrap().embeddings.value().to_f64()
    };
    assert_ne!(embed(true, 1), embed(true, 2));
    assert_eq!(embed(true, 1), embed(true, 1));
    assert_eq!(embed(false, 1), embed(false, 2));
}

#[test]
fn the_context_scales_and_shifts_features() {
    let config = ContextualEpigenomicsConfig { context_features: 2, ..config(LOCAL) };
    let (model, store) = build(&config);
    let given = ContextualWindows { context: vec![0.3, -1.0, 0.3, -1.0], ..windows(&config, 2, 6) };
    let other = ContextualWindows { context: vec![0.3, -1.0, 0.4, -1.0], ..given.clone() };
    let (a, b) = (predict(&model, &store, &given).0, predict(&model, &store, &other).0);
    assert!(close(&a[..6], &b[..6]) && !close(&a[6..], &b[6..]), "each window has a context of its own");
}

#[test]
fn learned_contacts_fit_maps_of_zeros_and_ones() {
    // two compartments: with the plain cosine the error cannot fall below .072 a pair
    let config = ContextualEpigenomicsConfig {
        contact_weight: 1.0,
        dropout: 0.0,
        strands: Strands::Forward,
        ..config(CONVOLUTION)
    };
    let (model, mut store) = build(&config);
    let compartment = |i: usize| usize::from(i >= 6);
    let given = ContextualWindows {
        contacts: (0..144).map(|i| f32::from(u8::from(compartment(i / 12) == compartment(i % 12)))).collect(),
        tracks: (0..12).map(|i| compartment(i) as f32).collect(),
        targets: Vec::new(),
        ..windows(&config, 1, 12)
    };
    let mut optimizer = gradome_nn::optim::Optimizer::new(Default::default(), 0.0, &store);
    let mut last = f64::NAN;
    for _ in 0..300 {
        let tape = Tape::new();
        let gradients = {
            let bound = store.bind(&tape);
            let input = model.input(&tape, &given).unwrap();
            let loss = model.forward(Step::eval(&tape, &bound), &input).unwrap().contact_loss.unwrap();
            last = loss.item();
            loss.backward()
        };
        optimizer.step(&mut store, &gradients, 2e-2, 1.0);
    }
    assert!(last < 0.01, "the error is {last}");
}

#[test]
fn local_layers_see_no_further_than_their_reach() {
    // stem: 1 to each side for tracks, 2 for DNA; attention 2 x 3; convolutions 1 + 2 + 4
    for (encoder, reach) in [(LOCAL, 2 + 6), (CONVOLUTION, 2 + 7)] {
        let config = ContextualEpigenomicsConfig { strands: Strands::Forward, ..config(encoder.clone()) };
        let (model, store) = build(&config);
        let mut given = windows(&config, 1, 40);
        let before = predict(&model, &store, &given).0;
        given.dna[0] = (given.dna[0] + 1) % 4;
        given.tracks[0] += 1.0;
        let after = predict(&model, &store, &given).0;
        assert!(!close(&before[..=reach], &after[..=reach]));
        assert!(close(&before[reach + 1..], &after[reach + 1..]), "{encoder:?}");
    }
}

#[test]
fn bad_windows_are_refused_with_their_place() {
    let config = ContextualEpigenomicsConfig {
        context_features: 1,
        positions: Positions::Learned,
        max_length: 8,
        ..config(FULL)
    };
    let (model, _) = build(&config);
    let good = ContextualWindows { context: vec![0.0; 2], ..windows(&config, 2, 6) };
    let refused = |change: &dyn Fn(&mut ContextualWindows), words: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let tape = Tape::<f32>::new();
        let error = model.input(&tape, &bad).err().unwrap_or_else(|| panic!("{words}: accepted")).to_string();
        assert!(error.contains(words), "'{error}' does not say '{words}'");
    };
    assert!(model.input(&Tape::<f32>::new(), &good).is_ok());
    refused(&|w| *w = ContextualWindows::default(), "0 windows of 0 positions");
    refused(&|w| w.tracks[8] = f32::NAN, "tracks: window 2 position 3 holds NaN");
    refused(&|w| w.context[1] = f32::INFINITY, "context: window 2");
    refused(&|w| w.dna[7] = 9, "dna: window 2 position 2 holds code 9");
    refused(&|w| w.mask = vec![0.5; 12], "mask: window 1 position 1 holds 0.5");
    refused(&|w| w.targets[0][6] = 2.0, "here: window 2 position 1 holds 2: expected 0 to 1");
    refused(&|w| w.tracks.truncate(5), "5 values do not make 2 windows of 6");
    refused(
        &|w| *w = ContextualWindows { context: vec![0.0; 2], ..windows(&config, 2, 9) },
        "9 positions, but the table",
    );
}

#[test]
fn bad_configurations_are_refused_by_field() {
    let refused = |config: ContextualEpigenomicsConfig, field: &str| {
        let error = ContextualEpigenomics::new(&config, &mut ParamStore::<f32>::new(0)).err().expect(field).to_string();
        assert!(error.contains(field), "'{error}' does not name {field}");
    };
    let good = config(FULL);
    refused(ContextualEpigenomicsConfig { dna: false, tracks: Vec::new(), ..good.clone() }, "'tracks'");
    refused(ContextualEpigenomicsConfig { heads: Vec::new(), ..good.clone() }, "'heads'");
    refused(ContextualEpigenomicsConfig { hidden_dim: 9, ..good.clone() }, "'encoder.heads'");
    refused(ContextualEpigenomicsConfig { dna_kernel: 4, ..good.clone() }, "'dna_kernel'");
    refused(ContextualEpigenomicsConfig { positions: Positions::Rotary, ..config(CONVOLUTION) }, "'positions'");
    refused(ContextualEpigenomicsConfig { dropout: 1.0, ..good }, "'dropout'");
}

#[test]
fn several_tasks_learn_together_with_weights_of_their_own() {
    let config = ContextualEpigenomicsConfig { uncertainty_weighting: true, dropout: 0.0, ..config(CONVOLUTION) };
    let (model, mut store) = build(&config);
    // what is to be known is in the track: its sign here, its mean in all
    let mut given = windows(&config, 8, 6);
    let mut rng = Rng::seed_from_u64(1);
    given.tracks.iter_mut().for_each(|x| *x = rng.random::<f32>() * 2.0 - 1.0);
    given.targets[0] = given.tracks.iter().map(|&x| f32::from(u8::from(x > 0.0))).collect();
    given.targets[1] = given.tracks.chunks(6).map(|w| w.iter().sum::<f32>() / 6.0).collect();
    let mut optimizer = gradome_nn::optim::Optimizer::new(Default::default(), 0.0, &store);
    let mut losses = Vec::new();
    for _ in 0..200 {
        let tape = Tape::new();
        let gradients = {
            let bound = store.bind(&tape);
            let input = model.input(&tape, &given).unwrap();
            let output = model.forward(Step::eval(&tape, &bound), &input).unwrap();
            losses.push([output.head_losses[0].item(), output.head_losses[1].item()]);
            output.loss.unwrap().backward()
        };
        optimizer.step(&mut store, &gradients, 1e-2, 1.0);
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last[0] < 0.2 * first[0] && last[1] < 0.2 * first[1], "{first:?} to {last:?}");
    let weights: &Tensor<f64> = store.get(store.find("weighting.ln_variances").unwrap());
    assert!(weights.data().iter().all(|&s| s < 0.0), "small losses are weighed up: {weights:?}");
}
