//! The rules themselves: what one step does to one weight.
//!
//! `keep` is what weight decay leaves of a weight, `scale` the factor of the gradient.

use gradome_tape::{Lane, UpdateRule};

/// One step of Adam; PyTorch's `AdamW` arithmetic.
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

impl UpdateRule for Adam {
    const STATES: usize = 2;
    #[inline(always)]
    fn update<L: Lane>(&self, weight: L, [mean, square]: [L; 2], gradient: L) -> (L, [L; 2]) {
        let g = gradient * L::of(self.scale);
        let mean = mean + (g - mean) * L::of(1.0 - self.beta1);
        let square = square * L::of(self.beta2) + g * g * L::of(1.0 - self.beta2);
        let root = square.sqrt() / L::of(self.root_correction) + L::of(self.epsilon);
        (weight * L::of(self.keep) - L::of(self.step_size) * (mean / root), [mean, square])
    }
}

/// One step of RAdam; PyTorch's `RAdam` arithmetic with decoupled weight decay.
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

impl UpdateRule for Radam {
    const STATES: usize = 2;
    #[inline(always)]
    fn update<L: Lane>(&self, weight: L, [mean, square]: [L; 2], gradient: L) -> (L, [L; 2]) {
        let g = gradient * L::of(self.scale);
        let mean = mean + (g - mean) * L::of(1.0 - self.beta1);
        let square = square * L::of(self.beta2) + g * g * L::of(1.0 - self.beta2);
        // without rectification the divisor is 1
        let (step_size, epsilon, root) = match self.rectified {
            Some(factor) => (self.step_size * factor, self.epsilon, 1.0),
            None => (self.step_size, 1.0, 0.0),
        };
        let divisor = square.sqrt() * L::of(root) + L::of(epsilon);
        (weight * L::of(self.keep) - L::of(step_size) * (mean / divisor), [mean, square])
    }
}

/// One step of Lion (Chen et al. 2023, algorithm 2).
pub(super) struct Lion {
    pub keep: f64,
    pub scale: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub learning_rate: f64,
}

impl UpdateRule for Lion {
    const STATES: usize = 1;
    #[inline(always)]
    fn update<L: Lane>(&self, weight: L, [momentum, none]: [L; 2], gradient: L) -> (L, [L; 2]) {
        let g = gradient * L::of(self.scale);
        let direction = momentum + (g - momentum) * L::of(1.0 - self.beta1);
        // 0 and NaN stay what they are
        let negative = L::select(direction < L::of(0.0), L::of(-1.0), direction);
        let sign = L::select(direction > L::of(0.0), L::of(1.0), negative);
        let momentum = momentum + (g - momentum) * L::of(1.0 - self.beta2);
        (weight * L::of(self.keep) - L::of(self.learning_rate) * sign, [momentum, none])
    }
}

/// One step of gradient descent with momentum; PyTorch's `SGD` arithmetic.
pub(super) struct Sgd {
    pub keep: f64,
    pub scale: f64,
    pub momentum: f64,
    pub learning_rate: f64,
    /// Whether to look ahead along the velocity (Nesterov).
    pub nesterov: bool,
}

impl UpdateRule for Sgd {
    const STATES: usize = 1;
    #[inline(always)]
    fn update<L: Lane>(&self, weight: L, [velocity, none]: [L; 2], gradient: L) -> (L, [L; 2]) {
        let g = gradient * L::of(self.scale);
        let velocity = velocity * L::of(self.momentum) + g;
        // the step is `of_gradient` g + `of_velocity` u
        let (of_gradient, of_velocity) = if self.nesterov { (1.0, self.momentum) } else { (0.0, 1.0) };
        let step = g * L::of(of_gradient) + velocity * L::of(of_velocity);
        (weight * L::of(self.keep) - L::of(self.learning_rate) * step, [velocity, none])
    }
}
