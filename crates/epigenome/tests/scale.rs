//! SCALE's loss against the reference's numbers, and the embedding of made-up cells.

use gradome_epigenome::scale::{Mixture, MixtureEpsilons, OpenChromatin, Scale, ScaleConfig, ScaleInput};
use gradome_goldens::goldens;
use gradome_nn::optim::{Optimizer, OptimizerConfig};
use gradome_nn::{Operator, ParamStore, Rng, Step};
use gradome_tape::{Tape, Tensor};
use rand::{RngExt, SeedableRng};

const OUTPUT: f64 = 1e-9;
/// The reference adds 1e-8 inside the logarithms of its reconstruction; ours is exact.
const RECONSTRUCTION: f64 = 1e-6;
const FLOOR: f64 = 1e-6;

/// The reference's name of one of our parameters.
fn reference(path: &str) -> String {
    let (layer, kind) = path.rsplit_once('.').unwrap();
    let layer = match layer {
        "encoder.0" => "encoder.hidden.0",
        "encoder.1" => "encoder.hidden.2",
        "encoder.mean" => "encoder.sample.mu",
        "encoder.ln_variance" => "encoder.sample.log_var",
        "decoder" => "decoder.reconstruction",
        _ => panic!("no reference for {path}"),
    };
    format!("{layer}.{kind}")
}

fn turned(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

#[test]
fn outputs_and_the_gradients_of_the_divergence_match_the_reference() {
    for golden in goldens("scale-loss") {
        let [cells, peaks] = *golden.shape("x") else { panic!("x has two axes") };
        let [latent_dim, components] = *golden.shape("p:mu_c") else { panic!("mu_c has two axes") };
        let hidden = ["encoder.hidden.0", "encoder.hidden.2"].map(|layer| golden.shape(&format!("p:{layer}.bias"))[0]);
        let config = ScaleConfig { peaks, hidden: hidden.to_vec(), latent_dim, components };
        let mut store = ParamStore::<f64>::new(0);
        let model = Scale::new(&config, &mut store).unwrap();
        let layers: Vec<_> = store
            .entries()
            .filter(|(_, e)| !e.path.starts_with("mixture"))
            .map(|(id, e)| (id, reference(&e.path), e.value.shape()))
            .collect();
        for (id, name, shape) in &layers {
            let values = golden.get(&format!("p:{name}"));
            // linear weights are [out, in] there
            let values = if shape.rank() == 2 { turned(values, shape[1]) } else { values.to_vec() };
            store.set(*id, Tensor::from_f64(*shape, &values));
        }
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let variable = |name: &str| tape.variable(&Tensor::from_f64(golden.shape(name), golden.get(name)));
        let mixture = Mixture { weights: variable("p:pi"), means: variable("p:mu_c"), variances: variable("p:var_c") };
        let input = ScaleInput { open: variable("x"), noise: Some(variable("eps")) };
        let output = model.under(Step::eval(&tape, &bound), &input, mixture, MixtureEpsilons::SCALE);
        golden.assert_close("mu", output.posterior.mean.value().data(), OUTPUT, 0.0);
        golden.assert_close("logvar", output.posterior.ln_variance.value().data(), OUTPUT, 0.0);
        golden.assert_close("gamma", output.responsibilities.value().data(), OUTPUT, 0.0);
        golden.assert_close("recon", output.logits.sigmoid().value().data(), OUTPUT, 0.0);
        golden.assert_close("kl_sum", &[output.kl.sum().item()], OUTPUT, 0.0);
        golden.assert_close("nll_sum", &[-output.ln_likelihood.sum().item()], RECONSTRUCTION, 0.0);
        // the reference's own form of the reconstruction
        let p = output.logits.sigmoid();
        let ln_p = input.open * (p + 1e-8).ln() + (-input.open + 1.0) * (-p + (1.0 + 1e-8)).ln();
        golden.assert_close("nll_sum", &[-ln_p.sum().item()], OUTPUT, 0.0);
        let loss = (output.kl.sum() - ln_p.sum()) * (1.0 / cells as f64);
        golden.assert_close("loss", &[loss.item()], OUTPUT, 0.0);
        let gradients = loss.backward();
        for (id, name, shape) in &layers {
            let found = gradients.get(id.key()).unwrap().to_f64();
            let found = if shape.rank() == 2 { turned(&found, shape[0]) } else { found };
            golden.assert_close(&format!("g:{name}"), &found, 1e-8, FLOOR);
        }
        for (name, var) in [("pi", mixture.weights), ("mu_c", mixture.means), ("var_c", mixture.variances)] {
            golden.assert_close(&format!("g:{name}"), &gradients.of(var).unwrap().to_f64(), 1e-8, FLOOR);
        }
    }
}

#[test]
fn cells_lie_beside_cells_of_their_kind_in_the_embedding() {
    let (kinds, each, peaks) = (3, 40, 90);
    let mut rng = Rng::seed_from_u64(1);
    let truth: Vec<usize> = (0..kinds * each).map(|cell| cell % kinds).collect();
    let open = |i: usize, rng: &mut Rng| {
        let own = i % peaks / (peaks / kinds) == truth[i / peaks];
        rng.random::<f64>() < if own { 0.5 } else { 0.05 }
    };
    let open: Vec<bool> = (0..truth.len() * peaks).map(|i| open(i, &mut rng)).collect();
    let batch = OpenChromatin { cells: truth.len(), open, noise: None };
    let config = ScaleConfig { peaks, hidden: vec![32], latent_dim: 4, components: 6 };
    let mut store = ParamStore::<f32>::new(2);
    let model = Scale::new(&config, &mut store).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), 0.0, &store);
    let mut tape = Tape::new();
    for _ in 0..300 {
        let gradients = {
            let bound = store.bind(&tape);
            let input = model.input(&tape, &batch).unwrap();
            model.forward(Step::train(&tape, &bound, rng.clone()), &input).unwrap().loss.backward()
        };
        rng.random::<u64>();
        tape.reset();
        optimizer.step(&mut store, &gradients, 5e-3, 1.0);
    }
    let bound = store.bind(&tape);
    let output = model.forward(Step::eval(&tape, &bound), &model.input(&tape, &batch).unwrap()).unwrap();
    let embedding = output.posterior.mean.value();
    let cell = |i: usize| &embedding.data()[i * config.latent_dim..(i + 1) * config.latent_dim];
    let distance = |a: usize, b: usize| cell(a).iter().zip(cell(b)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    let nearest = |a: usize| {
        (0..truth.len()).filter(|b| *b != a).min_by(|b, c| distance(a, *b).total_cmp(&distance(a, *c))).unwrap()
    };
    let right = (0..truth.len()).filter(|i| truth[nearest(*i)] == truth[*i]).count();
    assert!(right * 10 >= truth.len() * 9, "{right} of {}", truth.len());
}

#[test]
fn states_far_from_every_component_have_a_nearest_one() {
    let tape = Tape::<f32>::new();
    let tensor = |shape: &[usize], values: &[f32]| tape.constant(&Tensor::new(shape, values));
    let mixture = Mixture {
        weights: tensor(&[2], &[0.5, 0.5]),
        means: tensor(&[1, 2], &[0.0, 1.0]),
        variances: tensor(&[1, 2], &[1.0, 1.0]),
    };
    let gamma = mixture.responsibilities(tensor(&[2, 1], &[-1e3, 1e3]), MixtureEpsilons::default()).value();
    assert_eq!(gamma.data(), &[1.0, 0.0, 0.0, 1.0]);
}
