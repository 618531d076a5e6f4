//! The forward filter as an op of its own: the probability of each state given the bins so far.

use gradome_tape::{Array, At, Float, Grads, Op, Saved, Shape, Shapes};

/// `p(state of bin t | bins up to t)` from ln-emissions `[bins, states]`, ln-initial `[states]`, ln-transitions
/// `[states, states]`, sequences laid end to end (Rabiner 1989, eq. 92, normalised).
pub(super) struct Filter {
    pub lengths: Vec<usize>,
}

impl<T: Float> Op<T> for Filter {
    fn name(&self) -> &'static str {
        "hmm_filter"
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let [emissions, initial, transitions] = inputs else { panic!("hmm_filter: three operands are needed") };
        let (states, bins) = (initial.last_size(), self.lengths.iter().sum::<usize>());
        let fits = **emissions == [bins, states] && **initial == [states] && **transitions == [states, states];
        assert!(fits, "hmm_filter: {emissions}, {initial}, {transitions} for {bins} bins: shapes do not fit");
        Shapes::from_elem(*emissions, 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let states = x[1].data.len();
        let transitions: Vec<T> = x[2].data.iter().map(|ln| ln.exp()).collect();
        let emissions = x[0].data;
        // what the bins before make of each state
        let priors = saved.keep(emissions.len());
        let rows = &mut *y[0];
        let mut start = 0;
        for &length in &self.lengths {
            for bin in start..start + length {
                let (before, now) = rows.split_at_mut(bin * states);
                let (row, prior) = (&mut now[..states], &mut priors[bin * states..(bin + 1) * states]);
                if bin == start {
                    prior.iter_mut().zip(x[1].data).for_each(|(prior, ln)| *prior = ln.exp());
                } else {
                    prior.fill(T::ZERO);
                    let last = &before[(bin - 1) * states..];
                    for (p, transitions) in last.iter().zip(transitions.chunks_exact(states)) {
                        prior.iter_mut().zip(transitions).for_each(|(prior, a)| *prior += *p * *a);
                    }
                }
                let ln = &emissions[bin * states..(bin + 1) * states];
                let largest = ln.iter().fold(ln[0], |a, b| if *b > a { *b } else { a });
                let mut sum = T::ZERO;
                for ((row, prior), ln) in row.iter_mut().zip(&*prior).zip(ln) {
                    *row = *prior * (*ln - largest).exp();
                    sum += *row;
                }
                let scale = T::ONE / sum;
                row.iter_mut().for_each(|p| *p *= scale);
            }
            start += length;
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let states = at.x[1].data.len();
        let transitions: Vec<T> = at.x[2].data.iter().map(|ln| ln.exp()).collect();
        let (rows, priors, cotangent) = (at.y[0].data, &at.saved[0], at.grad(0));
        let mut of_emissions = vec![T::ZERO; rows.len()];
        let mut of_initial = vec![T::ZERO; states];
        let mut of_transitions = vec![T::ZERO; states * states];
        let mut start = 0;
        for &length in &self.lengths {
            // the gradient of the filter after a bin, from all later ones
            let mut later = vec![T::ZERO; states];
            let mut of_prior = vec![T::ZERO; states];
            for bin in (start..start + length).rev() {
                let range = bin * states..(bin + 1) * states;
                let row = &rows[range.clone()];
                later.iter_mut().zip(&cotangent[range.clone()]).for_each(|(later, g)| *later += *g);
                let mean = later.iter().zip(row).fold(T::ZERO, |sum, (g, p)| sum + *g * *p);
                let slopes = &mut of_emissions[range.clone()];
                for ((slope, g), p) in slopes.iter_mut().zip(&later).zip(row) {
                    *slope = (*g - mean) * *p;
                }
                if bin == start {
                    of_initial.iter_mut().zip(&*slopes).for_each(|(sum, slope)| *sum += *slope);
                    break;
                }
                for ((g, slope), prior) in of_prior.iter_mut().zip(&*slopes).zip(&priors[range]) {
                    *g = if *prior > T::ZERO { *slope / *prior } else { T::ZERO };
                }
                let last = &rows[(bin - 1) * states..bin * states];
                for (from, p) in last.iter().enumerate() {
                    let weights = &transitions[from * states..(from + 1) * states];
                    let sums = &mut of_transitions[from * states..(from + 1) * states];
                    let mut through = T::ZERO;
                    for ((sum, weight), g) in sums.iter_mut().zip(weights).zip(&of_prior) {
                        through += *weight * *g;
                        *sum += *p * *weight * *g;
                    }
                    later[from] = through;
                }
            }
            start += length;
        }
        grads.add_slice(0, &of_emissions);
        grads.add_slice(1, &of_initial);
        grads.add_slice(2, &of_transitions);
    }
}
