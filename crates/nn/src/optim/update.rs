//! The updates themselves: one pass over memory, element by element, so that chunks can go to any thread.

use gradome_tape::Float;
use rayon::prelude::*;

/// Elements that one thread works on at a time.
pub(super) const CHUNK: usize = 32 * 1024;

/// One step of Adam for one parameter; PyTorch's `AdamW` arithmetic.
pub(super) struct Adam {
    /// What weight decay leaves of the weight.
    pub keep: f64,
    /// Factor of the gradient.
    pub scale: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Learning rate over 1 - beta1^t.
    pub step_size: f64,
    /// sqrt(1 - beta2^t).
    pub root_correction: f64,
}

impl Adam {
    pub fn apply<T: Float>(&self, weights: &mut [T], mean: &mut [T], square: &mut [T], gradient: &[T]) {
        if weights.len() > CHUNK && rayon::current_num_threads() > 1 {
            let state = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
            let all = weights.par_chunks_mut(CHUNK).zip(state).zip(gradient.par_chunks(CHUNK));
            all.for_each(|((w, (m, v)), g)| self.chunk(w, m, v, g));
        } else {
            self.chunk(weights, mean, square, gradient);
        }
    }

    fn chunk<T: Float>(&self, weights: &mut [T], mean: &mut [T], square: &mut [T], gradient: &[T]) {
        let (keep, scale, epsilon) = (T::of(self.keep), T::of(self.scale), T::of(self.epsilon));
        let (fresh, beta2, fresh2) = (T::of(1.0 - self.beta1), T::of(self.beta2), T::of(1.0 - self.beta2));
        let (step_size, root_correction) = (T::of(self.step_size), T::of(self.root_correction));
        for (((w, m), v), &g) in weights.iter_mut().zip(mean).zip(square).zip(gradient) {
            let g = g * scale;
            *m += (g - *m) * fresh;
            *v = *v * beta2 + g * g * fresh2;
            *w = *w * keep - step_size * (*m / (v.sqrt() / root_correction + epsilon));
        }
    }
}

/// One step of gradient descent with momentum for one parameter; PyTorch's `SGD` arithmetic.
pub(super) struct Sgd {
    pub keep: f64,
    pub scale: f64,
    pub momentum: f64,
    pub learning_rate: f64,
}

impl Sgd {
    pub fn apply<T: Float>(&self, weights: &mut [T], velocity: &mut [T], gradient: &[T]) {
        if weights.len() > CHUNK && rayon::current_num_threads() > 1 {
            let all = weights.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK));
            all.for_each(|((w, u), g)| self.chunk(w, u, g));
        } else {
            self.chunk(weights, velocity, gradient);
        }
    }

    fn chunk<T: Float>(&self, weights: &mut [T], velocity: &mut [T], gradient: &[T]) {
        let (keep, scale) = (T::of(self.keep), T::of(self.scale));
        let (momentum, learning_rate) = (T::of(self.momentum), T::of(self.learning_rate));
        for ((w, u), &g) in weights.iter_mut().zip(velocity).zip(gradient) {
            *u = *u * momentum + g * scale;
            *w = *w * keep - learning_rate * *u;
        }
    }
}
