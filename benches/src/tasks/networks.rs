//! Tasks that train a network with Adam, as a user would write them.

use gradome_nn::losses::bce_with_logits;
use gradome_nn::optim::{Optimizer, OptimizerConfig};
use gradome_nn::{Activation, Conv1d, ConvConfig, Linear, ParamStore, Rng, Step};
use gradome_tape::{Tape, Tensor, Var};
use rand::SeedableRng;

use super::kernels::normal;

const LEARNING_RATE: f64 = 1e-3;

/// A store, its tape and its optimiser: what one step of training needs.
struct Training {
    store: ParamStore<f32>,
    tape: Tape<f32>,
    optimizer: Optimizer<f32>,
    rng: Rng,
}

impl Training {
    fn new(store: ParamStore<f32>) -> Self {
        let optimizer = Optimizer::new(OptimizerConfig::default(), 0.0, &store);
        Self { store, tape: Tape::new(), optimizer, rng: Rng::seed_from_u64(0) }
    }

    fn step(&mut self, loss: impl for<'s, 't> Fn(Step<'s, 't, f32>) -> Var<'t, f32>) {
        let gradients = {
            let bound = self.store.bind(&self.tape);
            loss(Step::train(&self.tape, &bound, self.rng.clone())).backward()
        };
        self.tape.reset();
        self.optimizer.step(&mut self.store, &gradients, LEARNING_RATE, 1.0);
    }
}

pub(super) fn vae() -> Box<dyn FnMut()> {
    let (genes, hidden, latent) = (2000, 256, 16);
    let mut store = ParamStore::new(0);
    let mut layer = |name: &str, inputs, outputs| Linear::new(&mut store.scope(name), inputs, outputs);
    let encoder = [layer("encoder.0", genes, hidden), layer("encoder.1", hidden, hidden)];
    let (mean, log_variance) = (layer("mean", hidden, latent), layer("log_variance", hidden, latent));
    let decoder =
        [layer("decoder.0", latent, hidden), layer("decoder.1", hidden, hidden), layer("decoder.2", hidden, genes)];
    let x = normal([256, genes], 1);
    let mut training = Training::new(store);
    Box::new(move || {
        training.step(|step| {
            let x = step.tape.constant(&x);
            let h = encoder.iter().fold(x, |h, layer| layer.forward_with(step, h, Activation::Relu));
            let (mean, log_variance) = (mean.forward(step, h), log_variance.forward(step, h));
            let z = mean + (log_variance * 0.5).exp() * step.normal(mean.shape());
            let h = decoder[..2].iter().fold(z, |h, layer| layer.forward_with(step, h, Activation::Relu));
            let cells = x.shape()[0] as f64;
            let error = (decoder[2].forward(step, h) - x).square().sum() / cells;
            error - (log_variance + 1.0 - mean.square() - log_variance.exp()).sum() * (0.5 / cells)
        });
    })
}

pub(super) fn convolutions() -> Box<dyn FnMut()> {
    let (batch, length) = (32, 4096);
    let mut store = ParamStore::<f32>::new(0);
    let wide = ConvConfig::new().same_padding().activation(Activation::Relu);
    let mut layer = |name: &str, inputs, outputs, kernel, config| {
        Conv1d::new(&mut store.scope(name), inputs, outputs, kernel, config)
    };
    let layers = [layer("0", 4, 64, 15, wide), layer("1", 64, 64, 7, wide), layer("2", 64, 1, 1, ConvConfig::new())];
    let x = normal([batch, 4, length], 1);
    let labels = normal([batch, 1, length], 2);
    let labels = Tensor::from_fn(labels.shape(), |i| f32::from(labels.data()[i] > 0.0));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let bound = store.bind(&tape);
            let step = Step::eval(&tape, &bound);
            let logits = layers.iter().fold(tape.constant(&x), |h, layer| layer.forward(step, h));
            bce_with_logits(logits, tape.constant(&labels)).mean().backward();
        }
        tape.reset();
    })
}

pub(super) fn tiny_mlp() -> Box<dyn FnMut()> {
    let mut store = ParamStore::new(0);
    let mut layer = |name: &str, inputs, outputs| Linear::new(&mut store.scope(name), inputs, outputs);
    let layers = [layer("0", 6, 64), layer("1", 64, 8), layer("2", 8, 4)];
    let (x, y) = (normal([32, 6], 1), normal([32, 4], 2));
    let mut training = Training::new(store);
    Box::new(move || {
        for _ in 0..50 {
            training.step(|step| {
                let h = layers[0].forward_with(step, step.tape.constant(&x), Activation::Relu);
                let h = layers[1].forward_with(step, h, Activation::Relu);
                (layers[2].forward(step, h) - step.tape.constant(&y)).square().mean()
            });
        }
    })
}
