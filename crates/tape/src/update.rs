//! What an optimiser does to its parameters: one pass over memory, compiled for each instruction set.

use crate::float::Float;
use crate::kernels::{CHUNK, for_each_part, simd_kernel};
use crate::lane::Lane;

/// How a gradient moves one weight and the numbers that an optimiser keeps of it.
///
/// ```
/// use gradome_tape::{Lane, UpdateRule, update};
///
/// /// Heavy-ball descent.
/// struct Descent { rate: f64, momentum: f64 }
/// impl UpdateRule for Descent {
///     const STATES: usize = 1;
///     fn update<L: Lane>(&self, weight: L, [velocity, none]: [L; 2], gradient: L) -> (L, [L; 2]) {
///         let velocity = velocity * L::of(self.momentum) + gradient;
///         (weight - L::of(self.rate) * velocity, [velocity, none])
///     }
/// }
///
/// let (mut w, mut v) = ([1.0_f32, 2.0], [0.0, 0.0]);
/// update(&Descent { rate: 0.5, momentum: 0.9 }, &mut w, [&mut v, &mut []], &[2.0, -2.0]);
/// assert_eq!(w, [0.0, 3.0]);
/// ```
pub trait UpdateRule: Sync {
    /// How many numbers are kept of each weight: 1 or 2.
    const STATES: usize;
    /// The new weight and state; the second state is 0 where there is one.
    fn update<L: Lane>(&self, weight: L, state: [L; 2], gradient: L) -> (L, [L; 2]);
}

/// Applies a rule to every weight; results do not depend on the number of threads.
///
/// # Panics
/// When the arrays differ in length; a second state that the rule does not keep is left alone.
pub fn update<T: Float, R: UpdateRule>(rule: &R, weights: &mut [T], state: [&mut [T]; 2], gradient: &[T]) {
    let len = weights.len();
    let [first, second] = state;
    assert!(first.len() == len && gradient.len() == len, "update: weights, state and gradient differ in length");
    assert!(R::STATES < 2 || second.len() == len, "update: weights and second state differ in length");
    let second = if R::STATES < 2 { &mut [][..] } else { second };
    for_each_part(len.div_ceil(CHUNK), [weights, first, second], [CHUNK; 3], &|i, [weights, first, second]| {
        apply(rule, weights, first, second, &gradient[i * CHUNK..i * CHUNK + weights.len()]);
    });
}

simd_kernel! {
    fn apply [T, L, R: UpdateRule](rule: &R, weights: &mut [T], first: &mut [T], second: &mut [T], gradient: &[T]) {
        let len = weights.len();
        let (first, gradient) = (&mut first[..len], &gradient[..len]);
        if R::STATES < 2 {
            for i in 0..len {
                let (w, [u, _]) =
                    rule.update(L::new(weights[i]), [L::new(first[i]), L::of(0.0)], L::new(gradient[i]));
                (weights[i], first[i]) = (w.get(), u.get());
            }
        } else {
            let second = &mut second[..len];
            for i in 0..len {
                let state = [L::new(first[i]), L::new(second[i])];
                let (w, [u, v]) = rule.update(L::new(weights[i]), state, L::new(gradient[i]));
                (weights[i], first[i], second[i]) = (w.get(), u.get(), v.get());
            }
        }
    }
}
