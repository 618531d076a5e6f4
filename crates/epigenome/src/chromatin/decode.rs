//! States along the genome given a model: posteriors, the most probable state of each bin, the most probable path.

use gradome_io::genome::binarised::{Binarised, BinarisedSequence};

use super::counts::{chain, check_model, with_width};
use super::model::ChromHmmModel;
use super::smooth::{Block, Filtered, blocks, scaled, sum, times};
use crate::{Error, Result};

impl ChromHmmModel {
    /// Hands the posterior probability of each state `[states]` at every bin of a sequence to `take`, in order.
    ///
    /// # Errors
    /// When model and data do not fit, or the model cannot have made the sequence.
    pub fn posteriors(&self, data: &Binarised, sequence: usize, mut take: impl FnMut(&[f64])) -> Result<()> {
        check_model(self, data)?;
        let of = &data.sequences[sequence];
        with_width!(self.states(), sweep(self, data, of, &mut take))
    }

    /// The state with the largest posterior probability at each bin `[bins]`, the first of equals: ChromHMM's
    /// segmentation.
    ///
    /// # Errors
    /// As [`ChromHmmModel::posteriors`].
    pub fn best_states(&self, data: &Binarised, sequence: usize) -> Result<Vec<u16>> {
        let mut states = Vec::with_capacity(data.sequences[sequence].patterns.len());
        self.posteriors(data, sequence, |row| {
            let mut best = (0, 0.0);
            for (state, &p) in row.iter().enumerate() {
                if p > best.1 {
                    best = (state, p);
                }
            }
            states.push(best.0 as u16);
        })?;
        Ok(states)
    }

    /// The most probable path of states `[bins]` (Viterbi), the first of equals, and its ln-probability with the calls.
    ///
    /// # Errors
    /// As [`ChromHmmModel::posteriors`].
    pub fn best_path(&self, data: &Binarised, sequence: usize) -> Result<(Vec<u16>, f64)> {
        check_model(self, data)?;
        let (states, patterns) = (self.states(), &data.sequences[sequence].patterns);
        let emissions: Vec<Vec<f64>> =
            (0..data.patterns.len() as u32).map(|pattern| self.ln_emission(data.patterns.calls(pattern))).collect();
        // by the state that is reached, so that its predecessors lie side by side
        let into: Vec<f64> =
            (0..states * states).map(|i| self.transitions[i % states * states + i / states].ln()).collect();
        let Some(&first) = patterns.first() else { return Err(no_bins(&data.sequences[sequence])) };
        let mut scores: Vec<f64> =
            self.initial.iter().zip(&emissions[first as usize]).map(|(p, emission)| p.ln() + emission).collect();
        let mut next = scores.clone();
        let mut before: Vec<u16> = Vec::with_capacity(patterns.len() * states);
        for &pattern in &patterns[1..] {
            let columns = into.chunks_exact(states).zip(&emissions[pattern as usize]);
            for (next, (column, emission)) in next.iter_mut().zip(columns) {
                let mut best = (f64::NEG_INFINITY, 0);
                for (from, (score, transition)) in scores.iter().zip(column).enumerate() {
                    let score = score + transition;
                    if score > best.0 {
                        best = (score, from);
                    }
                }
                *next = best.0 + emission;
                before.push(best.1 as u16);
            }
            std::mem::swap(&mut scores, &mut next);
        }
        let mut best = (f64::NEG_INFINITY, 0);
        for (state, &score) in scores.iter().enumerate() {
            if score > best.0 {
                best = (score, state);
            }
        }
        if best.0 == f64::NEG_INFINITY {
            let of = &data.sequences[sequence];
            return Err(Error::Data(format!(
                "{} {}: the model has no path that could have made these calls; train with pseudocounts",
                of.cell, of.chromosome
            )));
        }
        let mut path = vec![best.1 as u16; patterns.len()];
        for bin in (1..patterns.len()).rev() {
            path[bin - 1] = before[(bin - 1) * states + usize::from(path[bin])];
        }
        Ok((path, best.0))
    }
}

fn no_bins(sequence: &BinarisedSequence) -> Error {
    Error::Data(format!("{} {} has no bins", sequence.cell, sequence.chromosome))
}

fn sweep<const W: usize, const C: usize>(
    model: &ChromHmmModel,
    data: &Binarised,
    sequence: &BinarisedSequence,
    take: &mut dyn FnMut(&[f64]),
) -> Result<()> {
    let patterns = &sequence.patterns[..];
    if patterns.is_empty() {
        return Err(no_bins(sequence));
    }
    let (chain, _) = chain::<W>(model, &data.patterns);
    let after = chain.later_rows::<C>(patterns);
    let (mut filtered, mut block) = (Filtered::START, Block::new());
    for (range, after) in blocks(patterns.len()).zip(after) {
        chain.fill::<C>(patterns, range.clone(), filtered, after, &mut block);
        filtered = block.filtered[range.len()];
        if !filtered.inverse.is_finite() {
            return Err(super::counts::impossible::<W, C>(&chain, sequence));
        }
        for (filtered, later) in block.filtered[1..].iter().zip(&block.later) {
            let joint = times(&filtered.row, later);
            take(&scaled(&joint, 1.0 / sum(&joint))[..model.states()]);
        }
    }
    Ok(())
}

/// Runs of equal states: first bin, end bin, state.
pub(super) fn runs(states: &[u16]) -> impl Iterator<Item = (usize, usize, u16)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let &state = states.get(start)?;
        let end = states[start..].iter().position(|&s| s != state).map_or(states.len(), |n| start + n);
        let run = (start, end, state);
        start = end;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chromatin::{JavaRandom, StateOrder};

    /// A small model and sequence, and every path with its probability.
    fn enumerated() -> (ChromHmmModel, Binarised, Vec<(Vec<u16>, f64)>) {
        let marks = vec!["a".to_owned(), "b".to_owned()];
        let model = ChromHmmModel::random(&marks, 3, &mut JavaRandom::new(5)).unwrap();
        assert_eq!(model.order, StateOrder::Fixed);
        let mut data = Binarised::new(marks);
        let calls = [[0, 1], [1, 1], [2, 0], [1, 2], [0, 0]];
        let patterns = calls.iter().map(|calls| data.patterns.number_of(calls)).collect();
        data.sequences.push(BinarisedSequence { cell: "c".into(), chromosome: "chr1".into(), patterns });
        let path = |number: usize| -> Vec<u16> { (0..5).map(|t| (number / 3usize.pow(t) % 3) as u16).collect() };
        let paths = (0..3usize.pow(5)).map(path).map(|path| {
            let mut p = 1.0;
            for (t, &state) in path.iter().enumerate() {
                let state = usize::from(state);
                p *= if t == 0 { model.initial[state] } else { model.transitions_from(path[t - 1].into())[state] };
                for (mark, &call) in calls[t].iter().enumerate().filter(|(_, call)| **call < 2) {
                    p *= model.emissions_of(state)[mark][call as usize];
                }
            }
            (path, p)
        });
        let paths = paths.collect();
        (model, data, paths)
    }

    #[test]
    fn posteriors_are_sums_over_all_paths() {
        let (model, data, paths) = enumerated();
        let total: f64 = paths.iter().map(|path| path.1).sum();
        let mut bin = 0;
        model
            .posteriors(&data, 0, |row| {
                for (state, p) in row.iter().enumerate() {
                    let through = paths.iter().filter(|path| usize::from(path.0[bin]) == state);
                    let expected = through.map(|path| path.1).sum::<f64>() / total;
                    assert!((p - expected).abs() < 1e-12, "bin {bin} state {state}: {p}, enumeration {expected}");
                }
                bin += 1;
            })
            .unwrap();
        assert_eq!(bin, 5);
        let counts = crate::chromatin::ExpectedCounts::of(&model, &data, 0).unwrap();
        assert!((counts.ln_likelihood - total.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_best_path_is_the_best_of_all_paths() {
        let (model, data, paths) = enumerated();
        let best = paths.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let (path, ln_probability) = model.best_path(&data, 0).unwrap();
        assert_eq!(path, best.0);
        assert!((ln_probability - best.1.ln()).abs() < 1e-12);
    }

    #[test]
    fn runs_join_equal_neighbours() {
        let found: Vec<_> = runs(&[2, 2, 0, 1, 1]).collect();
        assert_eq!(found, [(0, 2, 2), (2, 3, 0), (3, 5, 1)]);
        assert_eq!(runs(&[]).count(), 0);
    }
}
