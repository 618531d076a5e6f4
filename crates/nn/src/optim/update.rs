//! The updates themselves: one pass over memory, element by element, so that chunks can go to any thread.
//!
//! `keep` is what weight decay leaves of a weight, `scale` the factor of the gradient.

use gradome_tape::Float;
use rayon::prelude::*;

/// Elements that one thread works on at a time.
pub(super) const CHUNK: usize = 32 * 1024;

/// Calls `f` with equal chunks of weights, one moment and gradient.
fn by_chunks<T: Float>(
    weights: &mut [T],
    moment: &mut [T],
    gradient: &[T],
    f: impl Fn(&mut [T], &mut [T], &[T]) + Send + Sync,
) {
    if weights.len() > CHUNK && rayon::current_num_threads() > 1 {
        let all = weights.par_chunks_mut(CHUNK).zip(moment.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK));
        all.for_each(|((w, m), g)| f(w, m, g));
    } else {
        f(weights, moment, gradient);
    }
}

/// Calls `f` with equal chunks of weights, two moments and gradient.
fn by_chunks_of_two<T: Float>(
    weights: &mut [T],
    [first, second]: [&mut [T]; 2],
    gradient: &[T],
    f: impl Fn(&mut [T], [&mut [T]; 2], &[T]) + Send + Sync,
) {
    if weights.len() > CHUNK && rayon::current_num_threads() > 1 {
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        let all = weights.par_chunks_mut(CHUNK).zip(moments).zip(gradient.par_chunks(CHUNK));
        all.for_each(|((w, (m, v)), g)| f(w, [m, v], g));
    } else {
        f(weights, [first, second], gradient);
    }
}

/// One step of Adam for one parameter; PyTorch's `AdamW` arithmetic.
pub(super) struct Adam {
    pub keep: f64,
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
    pub fn apply<T: Float>(&self, weights: &mut [T], moments: [&mut [T]; 2], gradient: &[T]) {
        by_chunks_of_two(weights, moments, gradient, |w, m, g| self.chunk(w, m, g));
    }

    fn chunk<T: Float>(&self, weights: &mut [T], [mean, square]: [&mut [T]; 2], gradient: &[T]) {
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

/// One step of RAdam for one parameter; PyTorch's `RAdam` arithmetic with decoupled weight decay.
pub(super) struct Radam {
    pub keep: f64,
    pub scale: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Learning rate over 1 - beta1^t.
    pub step_size: f64,
    /// The rectification times sqrt(1 - beta2^t); none while the variance of the mean square cannot be told.
    pub rectified: Option<f64>,
}

impl Radam {
    pub fn apply<T: Float>(&self, weights: &mut [T], moments: [&mut [T]; 2], gradient: &[T]) {
        by_chunks_of_two(weights, moments, gradient, |w, m, g| self.chunk(w, m, g));
    }

    fn chunk<T: Float>(&self, weights: &mut [T], [mean, square]: [&mut [T]; 2], gradient: &[T]) {
        let (keep, scale) = (T::of(self.keep), T::of(self.scale));
        let (fresh, beta2, fresh2) = (T::of(1.0 - self.beta1), T::of(self.beta2), T::of(1.0 - self.beta2));
        // without rectification the divisor below is 1
        let (step_size, epsilon, root) = match self.rectified {
            Some(factor) => (T::of(self.step_size * factor), T::of(self.epsilon), T::ONE),
            None => (T::of(self.step_size), T::ONE, T::ZERO),
        };
        for (((w, m), v), &g) in weights.iter_mut().zip(mean).zip(square).zip(gradient) {
            let g = g * scale;
            *m += (g - *m) * fresh;
            *v = *v * beta2 + g * g * fresh2;
            *w = *w * keep - step_size * (*m / (v.sqrt() * root + epsilon));
        }
    }
}

/// One step of Lion for one parameter (Chen et al. 2023, algorithm 2).
pub(super) struct Lion {
    pub keep: f64,
    pub scale: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub learning_rate: f64,
}

impl Lion {
    pub fn apply<T: Float>(&self, weights: &mut [T], momentum: &mut [T], gradient: &[T]) {
        by_chunks(weights, momentum, gradient, |w, m, g| self.chunk(w, m, g));
    }

    fn chunk<T: Float>(&self, weights: &mut [T], momentum: &mut [T], gradient: &[T]) {
        let (keep, scale, learning_rate) = (T::of(self.keep), T::of(self.scale), T::of(self.learning_rate));
        let (fresh1, fresh2) = (T::of(1.0 - self.beta1), T::of(1.0 - self.beta2));
        for ((w, m), &g) in weights.iter_mut().zip(momentum).zip(gradient) {
            let g = g * scale;
            let direction = *m + (g - *m) * fresh1;
            // 0 and NaN stay what they are
            let negative = T::select(direction < T::ZERO, -T::ONE, direction);
            let sign = T::select(direction > T::ZERO, T::ONE, negative);
            *w = *w * keep - learning_rate * sign;
            *m += (g - *m) * fresh2;
        }
    }
}

/// One step of gradient descent with momentum for one parameter; PyTorch's `SGD` arithmetic.
pub(super) struct Sgd {
    pub keep: f64,
    pub scale: f64,
    pub momentum: f64,
    pub learning_rate: f64,
    /// Whether to look ahead along the velocity (Nesterov).
    pub nesterov: bool,
}

impl Sgd {
    pub fn apply<T: Float>(&self, weights: &mut [T], velocity: &mut [T], gradient: &[T]) {
        by_chunks(weights, velocity, gradient, |w, u, g| self.chunk(w, u, g));
    }

    fn chunk<T: Float>(&self, weights: &mut [T], velocity: &mut [T], gradient: &[T]) {
        let (keep, scale) = (T::of(self.keep), T::of(self.scale));
        let (momentum, learning_rate) = (T::of(self.momentum), T::of(self.learning_rate));
        // the step is `of_gradient` g + `of_velocity` u
        let (of_gradient, of_velocity) = if self.nesterov { (T::ONE, momentum) } else { (T::ZERO, T::ONE) };
        for ((w, u), &g) in weights.iter_mut().zip(velocity).zip(gradient) {
            let g = g * scale;
            *u = *u * momentum + g;
            *w = *w * keep - learning_rate * (g * of_gradient + *u * of_velocity);
        }
    }
}
