//! The share of each position in the window around it.

use gradome_tape::{Array, At, Float, Grads, Op, Saved, Shape, Shapes, Var};
use rayon::prelude::*;

/// y(i) = exp(u(i)) / sum of exp(u(j)) over the positions j of the window around i that lie within the row.
///
/// The softmax over a sliding window at its own position, without an array of windows: memory is that of the rows, and
/// nothing overflows whatever the values. The window holds `window / 2` positions before i, and `window` in all.
pub(crate) struct WindowShare {
    pub window: usize,
}

/// Positions that are worked on together.
const BLOCK: usize = 256;

impl WindowShare {
    /// Positions of the window before and after its own.
    fn sides(&self) -> (usize, usize) {
        (self.window / 2, self.window - 1 - self.window / 2)
    }

    /// Numbers that a row needs to be worked on: two blocks, one of them with what lies around it.
    fn scratch(&self) -> usize {
        2 * BLOCK + self.window
    }

    /// ln_sum(i) = ln of the sum of exp(u(j)) over the window around i.
    fn row<T: Float>(&self, u: &[T], ln_sum: &mut [T], scratch: &mut [T]) {
        let (before, after) = self.sides();
        let (terms, scratch) = scratch.split_at_mut(BLOCK);
        for start in (0..u.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(u.len());
            let (from, to) = (start.saturating_sub(before), (end + after).min(u.len()));
            let out = &mut ln_sum[start..end];
            if let Some(offset) = level(&u[from..to]) {
                let terms = &mut terms[..end - start];
                // term j of the window around `start` lies at j, with zeros beyond the row
                let padded = &mut scratch[..end - start + self.window - 1];
                padded.fill(T::ZERO);
                let shift = from + before - start;
                for (slot, u) in padded[shift..].iter_mut().zip(&u[from..to]) {
                    *slot = (*u - offset).exp();
                }
                add_windows(padded, self.window, terms);
                for (out, sum) in out.iter_mut().zip(terms) {
                    *out = offset + sum.ln();
                }
            } else {
                for (i, out) in (start..end).zip(out) {
                    let window = &u[i.saturating_sub(before)..(i + after + 1).min(u.len())];
                    let largest = window.iter().fold(window[0], |a, b| if *b > a { *b } else { a });
                    *out = largest + window.iter().map(|u| (*u - largest).exp()).sum::<T>().ln();
                }
            }
        }
    }

    /// slope(j) -= sum over the windows i that hold j of weight(i) exp(u(j) - ln_sum(i)).
    fn row_back<T: Float>(&self, u: &[T], ln_sum: &[T], weight: &[T], slope: &mut [T], scratch: &mut [T]) {
        // position j lies in the windows around j - after ..= j + before
        let (before, after) = self.sides();
        let (sums, scratch) = scratch.split_at_mut(BLOCK);
        for start in (0..u.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(u.len());
            let (from, to) = (start.saturating_sub(after), (end + before).min(u.len()));
            let slope = &mut slope[start..end];
            let near = level(&ln_sum[from..to]).filter(|_| level(&u[start..end]).is_some());
            if let Some(offset) = near {
                let sums = &mut sums[..end - start];
                let padded = &mut scratch[..end - start + self.window - 1];
                padded.fill(T::ZERO);
                let shift = from + after - start;
                for (slot, (ln_sum, weight)) in
                    padded[shift..].iter_mut().zip(ln_sum[from..to].iter().zip(&weight[from..to]))
                {
                    *slot = *weight * (offset - *ln_sum).exp();
                }
                add_windows(padded, self.window, sums);
                for ((slope, u), sum) in slope.iter_mut().zip(&u[start..end]).zip(sums) {
                    *slope -= (*u - offset).exp() * *sum;
                }
            } else {
                for (j, slope) in (start..end).zip(slope) {
                    let windows = j.saturating_sub(after)..(j + before + 1).min(u.len());
                    *slope -= windows.map(|i| weight[i] * (u[j] - ln_sum[i]).exp()).sum::<T>();
                }
            }
        }
    }
}

/// The largest of some values, unless they spread so far that exponentials relative to it could vanish.
fn level<T: Float>(values: &[T]) -> Option<T> {
    let spread = if T::EPSILON > 1e-10 { 30.0 } else { 300.0 };
    let (mut low, mut high) = (values[0], values[0]);
    for value in values {
        low = if *value < low { *value } else { low };
        high = if *value > high { *value } else { high };
    }
    // written so that NaN takes the careful path
    ((high - low).to_f64() <= spread && values.iter().all(|v| v.is_finite())).then_some(high)
}

/// out(i) = sum of terms(i .. i + window).
fn add_windows<T: Float>(terms: &[T], window: usize, out: &mut [T]) {
    out.fill(T::ZERO);
    for shift in 0..window {
        for (out, term) in out.iter_mut().zip(&terms[shift..]) {
            *out += *term;
        }
    }
}

impl<T: Float> Op<T> for WindowShare {
    fn name(&self) -> &'static str {
        "window-share"
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(self.window > 0 && inputs[0].rank() > 0, "window-share: {} in windows of {}", inputs[0], self.window);
        Shapes::from_slice(&inputs[..1])
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let length = x[0].shape.last_size().max(1);
        let mut scratch = saved.scratch(x[0].data.len() / length * self.scratch());
        let ln_sum = saved.keep(x[0].data.len());
        let rows = x[0].data.par_chunks(length).zip(ln_sum.par_chunks_mut(length)).zip(y[0].par_chunks_mut(length));
        rows.zip(scratch.par_chunks_mut(self.scratch())).for_each(|(((u, ln_sum), y), scratch)| {
            self.row(u, ln_sum, scratch);
            for ((y, u), ln_sum) in y.iter_mut().zip(u).zip(ln_sum) {
                *y = (*u - *ln_sum).exp();
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(slope) = grads.sum(0) else { return };
        let length = at.x[0].shape.last_size().max(1);
        let mut weight = at.scratch(at.x[0].data.len());
        let mut scratch = at.scratch(at.x[0].data.len() / length * self.scratch());
        let ln_sum = &at.saved[0];
        slope
            .par_chunks_mut(length)
            .zip(weight.par_chunks_mut(length))
            .zip(at.x[0].data.par_chunks(length))
            .zip(at.y[0].data.par_chunks(length).zip(at.grad(0).par_chunks(length)))
            .zip(ln_sum.par_chunks(length).zip(scratch.par_chunks_mut(self.scratch())))
            .for_each(|((((slope, weight), u), (y, g)), (ln_sum, scratch))| {
                for (((weight, slope), y), g) in weight.iter_mut().zip(slope.iter_mut()).zip(y).zip(g) {
                    *weight = *y * *g;
                    *slope += *weight;
                }
                self.row_back(u, ln_sum, weight, slope, scratch);
            });
    }
}

/// The share of each position of the last axis in the window around it.
pub(crate) fn window_share<T: Float>(u: Var<'_, T>, window: usize) -> Var<'_, T> {
    u.tape().custom(WindowShare { window }, &[u])[0]
}

#[cfg(test)]
mod tests {
    use gradome_tape::check::{check_op, gradient_check};
    use gradome_tape::{Tape, Tensor};

    use super::*;

    /// The definition, term by term.
    fn definition(u: &[f64], window: usize) -> Vec<f64> {
        let before = window / 2;
        (0..u.len())
            .map(|i| {
                let inside = (0..window).filter_map(|k| (i + k).checked_sub(before)).filter(|j| *j < u.len());
                1.0 / inside.map(|j| (u[j] - u[i]).exp()).sum::<f64>()
            })
            .collect()
    }

    fn rows(length: usize, scale: f64) -> Vec<f64> {
        (0..length).map(|i| scale * (0.37 * i as f64).sin() * (1.0 + (0.011 * i as f64).cos())).collect()
    }

    #[test]
    fn shares_match_their_definition_at_every_spread_of_values() {
        for (length, window, scale) in [(1, 1, 1.0), (1, 5, 1.0), (7, 20, 2.0), (600, 50, 1.0), (600, 50, 500.0)] {
            let u = rows(length, scale);
            let tape = Tape::<f64>::new();
            let y = window_share(tape.constant(&Tensor::from_f64([1, length], &u)), window).value();
            for (y, expected) in y.data().iter().zip(definition(&u, window)) {
                assert!((y - expected).abs() <= 1e-13, "{y} {expected} at {length}, {window}, {scale}");
            }
            let tape = Tape::<f32>::new();
            let single = window_share(tape.constant(&Tensor::from_f64([1, length], &u)), window).value();
            for (y, expected) in single.data().iter().zip(definition(&u, window)) {
                assert!(
                    (f64::from(*y) - expected).abs() <= 1e-4,
                    "{y} {expected} in f32 at {length}, {window}, {scale}"
                );
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences_on_both_paths() {
        for (length, window, scale) in [(9, 4, 1.0), (300, 7, 0.5), (12, 5, 200.0)] {
            let inputs = [("u".to_owned(), Tensor::from_f64([2, length / 2], &rows(length / 2 * 2, scale)))];
            let report = check_op(&gradient_check(), || WindowShare { window }, &inputs);
            assert!(report.passed(), "{report}");
        }
    }

    #[test]
    fn a_flat_row_shares_evenly_and_nan_stays_nan() {
        let tape = Tape::<f64>::new();
        let flat = window_share(tape.constant(&Tensor::full([1, 40], 3.0)), 8).value();
        assert!((flat.data()[20] - 0.125_f64).abs() < 1e-15);
        let broken = window_share(tape.constant(&Tensor::full([1, 3], f64::NAN)), 2).value();
        assert!(broken.data().iter().all(|y| y.is_nan()));
    }
}
