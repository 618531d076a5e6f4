//! Batches in parts: the same loss and gradient as the whole, whatever the number of threads.

use gradome_nn::parts::Parts;
use gradome_nn::trainer::{Loss, Progress, Scores, Task};
use gradome_nn::{Activation, BatchNorm, Linear, ModelCard, ParamStore, Result, Rng, Step, Trainer, TrainerConfig};
use gradome_tape::{Tape, Tensor, Var};
use rand::SeedableRng;

const ROWS: usize = 23;

/// A network with dropout-like noise, fitted to a wave.
struct Wave {
    hidden: Linear,
    out: Linear,
    norm: Option<BatchNorm>,
    noise: f64,
}

impl Wave {
    fn new(store: &mut ParamStore<f64>) -> Self {
        let hidden = Linear::new(&mut store.scope("hidden"), 1, 40);
        let out = Linear::new(&mut store.scope("out"), 40, 1);
        Self { hidden, out, norm: None, noise: 0.0 }
    }

    fn error<'t>(&self, step: Step<'_, 't, f64>, rows: &[usize]) -> Var<'t, f64> {
        let column = |f: &dyn Fn(f64) -> f64| {
            step.tape.constant(&Tensor::from_fn([rows.len(), 1], |i| f(rows[i] as f64 / ROWS as f64)))
        };
        let x = column(&|x| x) + step.normal([rows.len(), 1]) * self.noise;
        let mut h = self.hidden.forward(step, x);
        if let Some(norm) = &self.norm {
            h = norm.forward(step, h);
        }
        (self.out.forward(step, Activation::Tanh.apply(h)) - column(&|x| (9.0 * x).sin())).square().mean()
    }
}

impl Task<f64> for Wave {
    fn rows(&self) -> usize {
        ROWS
    }

    fn loss<'t>(&self, step: Step<'_, 't, f64>, rows: &[usize], _: &Progress) -> Result<Loss<'t, f64>> {
        let error = self.error(step, rows);
        Ok(Loss::new(error).with("again", error * 2.0))
    }

    fn validate(&self, _: &ParamStore<f64>) -> Result<Option<Scores>> {
        Ok(None)
    }
}

fn train(parts: usize, batch_size: usize, noise: f64, threads: usize) -> (Vec<f64>, f64) {
    let mut store = ParamStore::new(3);
    let task = Wave { noise, ..Wave::new(&mut store) };
    let config = TrainerConfig { parts, batch_size, max_epochs: 20, learning_rate: 0.01, ..TrainerConfig::default() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| {
        let card = ModelCard { operator: "wave".into(), config: Default::default(), metadata: Default::default() };
        Trainer::new(config, card).unwrap().quiet(true).train(&task, &mut store).unwrap()
    });
    let last = outcome.history.epochs.last().unwrap();
    assert!((last.train["again"] - 2.0 * last.train["loss"]).abs() < 1e-12);
    (store.flatten(), last.train["loss"])
}

#[test]
fn training_in_parts_is_training_on_the_whole_batch() {
    let (whole, loss) = train(1, 10, 0.0, 1);
    // 10 examples in 4 uneven parts, and a last batch of 3 that has fewer than 4
    let (parts, loss_of_parts) = train(4, 10, 0.0, 2);
    let largest = whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest < 1e-9, "weights differ by {largest}");
    assert!((loss - loss_of_parts).abs() < 1e-10 && loss < 0.5, "{loss} {loss_of_parts}");
}

#[test]
fn threads_change_no_bit_of_training_in_parts() {
    let one = train(5, 12, 0.1, 1);
    for threads in [2, 3, 7] {
        assert_eq!(train(5, 12, 0.1, threads), one, "{threads} threads");
    }
}

#[test]
fn parts_draw_noise_of_their_own() {
    let store = ParamStore::<f64>::new(0);
    let noise = |parts| {
        let sum = Parts::default().sum(&store, parts, &Rng::seed_from_u64(4), |step, part| {
            Ok((Loss::new(step.normal([1]).sum()), if part + 1 == parts { 1.0 } else { 0.0 }))
        });
        sum.unwrap().numbers[0].1
    };
    let draws = [noise(1), noise(2), noise(3)];
    assert!(draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2], "{draws:?}");
}

#[test]
fn batch_statistics_in_parts_are_refused() {
    let mut store = ParamStore::new(0);
    let norm = BatchNorm::new(&mut store.scope("norm"), 40, 1e-5, 0.1);
    let task = Wave { norm: Some(norm), ..Wave::new(&mut store) };
    let card = ModelCard { operator: "wave".into(), config: Default::default(), metadata: Default::default() };
    let config = TrainerConfig { parts: 2, ..TrainerConfig::default() };
    let error = Trainer::new(config, card).unwrap().quiet(true).train(&task, &mut store).unwrap_err().to_string();
    assert!(error.contains("parts") && error.contains("batch statistics"), "{error}");
}

/// The mean over some examples of each of two terms, as shares of a batch: an error and a penalty.
fn terms<'t>(wave: &Wave, step: Step<'_, 't, f64>, rows: &[usize]) -> Vec<Var<'t, f64>> {
    let share = rows.len() as f64 / ROWS as f64;
    let flat = wave.hidden.forward(step, step.tape.constant(&Tensor::from_fn([rows.len(), 1], |i| rows[i] as f64)));
    vec![wave.error(step, rows) * share, flat.sigmoid().mean() * share]
}

/// A loss that is no sum over examples, and that has a parameter of its own.
fn curved<'t>(wave: &Wave, step: Step<'_, 't, f64>, totals: &[Var<'t, f64>]) -> Loss<'t, f64> {
    let scale = step.param(wave.out.bias).sum().exp();
    Loss::new((totals[0] + 0.1).ln() * scale + totals[1].square()).with("penalty", totals[1])
}

/// The numbers and the gradient of `curved` in uneven parts.
fn curved_in_parts(count: usize, threads: usize, noise: f64) -> (Vec<(String, f64)>, Vec<f64>) {
    let mut store = ParamStore::new(3);
    let wave = Wave { noise, ..Wave::new(&mut store) };
    let rows: Vec<usize> = (0..ROWS).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let found = pool.install(|| {
        Parts::default().function_of_sums(
            &store,
            count,
            &Rng::seed_from_u64(4),
            |step, part| Ok(terms(&wave, step, &rows[part * ROWS / count..(part + 1) * ROWS / count])),
            |step, totals| Ok(curved(&wave, step, totals)),
        )
    });
    let found = found.unwrap();
    let mut gradient = vec![0.0; store.parameter_count()];
    store.flatten_gradients(&found.gradients, &mut gradient);
    (found.numbers, gradient)
}

#[test]
fn a_function_of_sums_over_parts_is_that_of_the_whole_batch() {
    let mut store = ParamStore::new(3);
    let wave = Wave::new(&mut store);
    let tape = Tape::new();
    let bound = store.bind(&tape);
    let step = Step::train(&tape, &bound, Rng::seed_from_u64(4));
    let loss = curved(&wave, step, &terms(&wave, step, &(0..ROWS).collect::<Vec<_>>()));
    let mut whole = vec![0.0; store.parameter_count()];
    store.flatten_gradients(&loss.total.backward(), &mut whole);
    for parts in [1, 4, ROWS] {
        let (numbers, gradient) = curved_in_parts(parts, 2, 0.0);
        assert_eq!([&*numbers[0].0, &*numbers[1].0], ["loss", "penalty"]);
        assert!((numbers[0].1 - loss.total.item()).abs() < 1e-12, "{numbers:?}");
        assert!((numbers[1].1 - loss.parts[0].1.item()).abs() < 1e-12, "{numbers:?}");
        let largest = whole.iter().zip(&gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(largest < 1e-12, "{parts} parts: gradients differ by {largest}");
    }
    assert!(whole.iter().filter(|slope| slope.abs() > 1e-4).count() > 100);
}

#[test]
fn threads_change_no_bit_of_a_function_of_sums() {
    let one = curved_in_parts(5, 1, 0.1);
    for threads in [2, 3, 7] {
        assert_eq!(curved_in_parts(5, threads, 0.1), one, "{threads} threads");
    }
}

#[test]
fn parts_with_other_terms_or_batch_statistics_are_refused() {
    let mut store = ParamStore::<f64>::new(0);
    let norm = BatchNorm::new(&mut store.scope("norm"), 4, 1e-5, 0.1);
    let (parts, rng) = (Parts::default(), Rng::seed_from_u64(0));
    let uneven = parts.function_of_sums(
        &store,
        3,
        &rng,
        |step, part| Ok(vec![step.tape.scalar(1.0); 1 + part / 2]),
        |_, totals| Ok(Loss::new(totals[0])),
    );
    assert!(uneven.err().unwrap().to_string().contains("one part of the batch has 1, another 2"));
    let statistics = parts.function_of_sums(
        &store,
        2,
        &rng,
        |step, _| Ok(vec![norm.forward(step, step.normal([3, 4])).sum()]),
        |_, totals| Ok(Loss::new(totals[0])),
    );
    assert!(statistics.err().unwrap().to_string().contains("batch statistics"));
}
