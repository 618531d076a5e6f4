//! A training step in steady state makes no new array and no allocation that grows with its arrays.
//!
//! The whole network is held to making no array; its ops without products, whose packing buffers belong to the thread,
//! are held to what they allocate.

use allocation_counter::{AllocationInfo, measure};
use gradome_tape::{Tape, Tensor};

/// All allocations of a step together stay below this, and so does each of them, in bytes.
const LARGEST: u64 = 4096;

/// A network of two layers with layer normalisation, classified by softmax, and its plain gradient descent.
struct Training {
    tape: Tape<f32>,
    parameters: Vec<Tensor<f32>>,
    x: Tensor<f32>,
    one_hot: Tensor<f32>,
}

impl Training {
    fn new(rows: usize, inputs: usize, hidden: usize, classes: usize) -> Self {
        let wave =
            |shape: &[usize], phase: f64| Tensor::from_fn(shape, |i| (0.7 * i as f64 + phase).sin() as f32 * 0.1);
        let parameters = vec![
            wave(&[inputs, hidden], 0.1),
            wave(&[hidden], 0.2),
            Tensor::full([hidden], 1.0),
            wave(&[hidden], 0.3),
            wave(&[hidden, classes], 0.4),
            wave(&[classes], 0.5),
        ];
        let one_hot =
            Tensor::from_fn([rows, classes], |i| if i / classes * 7 % classes == i % classes { 1.0 } else { 0.0 });
        Self { tape: Tape::new(), parameters, x: wave(&[rows, inputs], 0.6), one_hot }
    }

    fn step(&mut self) -> f32 {
        let (loss, gradients) = {
            let p = |i: usize| self.tape.parameter(i, &self.parameters[i]);
            let hidden = self.tape.constant(&self.x).linear(p(0), p(1)).layer_norm(p(2), p(3), 1e-5).relu();
            let ln_p = hidden.linear(p(4), p(5)).log_softmax();
            let loss = (ln_p * self.tape.constant(&self.one_hot)).sum() * (-1.0 / self.x.shape()[0] as f64);
            (loss.item(), loss.backward())
        };
        self.tape.reset();
        for (i, parameter) in self.parameters.iter_mut().enumerate() {
            let gradient = gradients.get(i).expect("the loss depends on every parameter");
            parameter.data_mut().iter_mut().zip(gradient.data()).for_each(|(p, g)| *p -= 0.01 * g);
        }
        loss
    }
}

/// Runs on one thread: how many scratch arrays are out at a time depends on how threads meet.
fn on_one_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(f)
}

#[test]
fn a_steady_step_makes_no_new_arrays() {
    on_one_thread(|| {
        let mut training = Training::new(256, 64, 96, 12);
        let first = training.step();
        training.step();
        let buffers = training.tape.buffers_created();
        let last = (0..8).map(|_| training.step()).last().expect("eight steps");
        assert_eq!(training.tape.buffers_created(), buffers);
        assert!(last < first, "the network learns: {first} to {last}");
    });
}

/// What one step without matrix products allocates once its pool is warm, on one thread.
fn steady_step_without_products(rows: usize, features: usize) -> AllocationInfo {
    on_one_thread(|| {
        let mut tape = Tape::<f32>::new();
        let x = Tensor::from_fn([rows, features], |i| (i as f64).sin() as f32);
        let scale = Tensor::full([features], 1.0);
        let mut step = || {
            let gradients = {
                let (scale, shift) = (tape.parameter(0, &scale), tape.parameter(1, &scale));
                let hidden = tape.constant(&x).layer_norm(scale, shift, 1e-5);
                let gated = hidden.tanh() * hidden.sigmoid() + shift;
                (gated.log_softmax().square().sum() + gated.sum_axis(0).exp().mean()).backward()
            };
            tape.reset();
            assert!(gradients.get(0).is_some() && gradients.get(1).is_some());
        };
        (0..4).for_each(|_| step());
        measure(step)
    })
}

#[test]
fn what_a_step_allocates_does_not_depend_on_the_size_of_its_arrays() {
    let (small, large) = (steady_step_without_products(8, 8), steady_step_without_products(600, 256));
    assert_eq!(small, large);
    assert!(large.count_total > 0 && large.bytes_total <= LARGEST, "{large:?}");
    assert_eq!(large.bytes_current, 0);
}
