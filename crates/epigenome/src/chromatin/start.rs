//! First models for training: from the data's information, at random, or from a model at hand.

use gradome_io::genome::binarised::{Binarised, PRESENT};

use super::counts::MOST_STATES;
use super::java::JavaRandom;
use super::model::{ChromHmmModel, StateOrder};
use crate::{Error, Result};

/// One step of the information-based start: bins of a group that share a mark become a group of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// The group that is split.
    pub parent: usize,
    /// Number of the mark whose bins leave it.
    pub mark: usize,
    /// What the entropy of the groups gains, in nats.
    pub gain: f64,
    /// How many pairs of bins leave.
    pub pairs: u64,
}

/// For each sequence the elements of its bins: marks that are present in a bin and the next.
struct Elements {
    /// `[sequences][bins - 1]` numbers of elements.
    sequences: Vec<Vec<u32>>,
    /// `[elements][marks]`
    present: Vec<Vec<bool>>,
    /// `[elements]`
    tally: Vec<u64>,
}

impl Elements {
    fn of(data: &Binarised) -> Self {
        let mut numbers = std::collections::HashMap::new();
        let (mut present, mut tally) = (Vec::new(), Vec::new());
        // few pairs of combinations occur
        let mut pairs = std::collections::HashMap::new();
        let sequences = data.sequences.iter().map(|sequence| {
            let mut element = |pair: &[u32]| {
                let number = *pairs.entry([pair[0], pair[1]]).or_insert_with(|| {
                    let (a, b) = (data.patterns.calls(pair[0]), data.patterns.calls(pair[1]));
                    let both: Vec<bool> = a.iter().zip(b).map(|(a, b)| *a == PRESENT && *b == PRESENT).collect();
                    *numbers.entry(both.clone()).or_insert_with(|| {
                        present.push(both);
                        tally.push(0);
                        present.len() as u32 - 1
                    })
                });
                tally[number as usize] += 1;
                number
            };
            sequence.patterns.windows(2).map(&mut element).collect()
        });
        Self { sequences: sequences.collect(), present, tally }
    }
}

/// A share's part of an entropy.
fn part(share: f64) -> f64 {
    if share > 0.0 { share * share.ln() } else { 0.0 }
}

impl ChromHmmModel {
    /// ChromHMM's information-based start: groups of bins are split by the mark that says most, one state a group.
    ///
    /// `smoothing` mixes uniform probabilities in; ChromHMM's default is 0.02. A state that is never left keeps uniform
    /// transitions (ChromHMM: not a number). Also gives the splits in order.
    ///
    /// # Errors
    /// When the data has no pair of neighbouring bins, or tells fewer groups apart than there are to be states.
    pub fn from_information(data: &Binarised, states: usize, smoothing: f64) -> Result<(Self, Vec<Split>)> {
        check_states(states)?;
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::Data(format!("a smoothing of {smoothing}: give 0 to 1")));
        }
        let marks = data.marks.len();
        let elements = Elements::of(data);
        let total: u64 = elements.tally.iter().sum();
        if total == 0 {
            return Err(Error::Data("the sequences hold no two neighbouring bins".into()));
        }
        let mut group = vec![0usize; elements.tally.len()];
        let mut sizes = vec![total];
        let mut splits: Vec<Split> = Vec::new();
        while sizes.len() < states {
            let split = best_split(&elements, &group, &sizes, marks, total).ok_or_else(|| {
                let reached = sizes.len();
                Error::Data(format!(
                    "the information-based start tells only {reached} states apart in these calls: check the \
                     binarisation, or use fewer states, a random start or a loaded model"
                ))
            })?;
            let new = sizes.len();
            for (group, present) in group.iter_mut().zip(&elements.present) {
                if *group == split.parent && present[split.mark] {
                    *group = new;
                }
            }
            sizes[split.parent] -= split.pairs;
            sizes.push(split.pairs);
            splits.push(split);
        }
        let ancestors = |state: usize| {
            std::iter::successors(Some(state), |&s| (s > 0).then(|| splits[s - 1].parent)).take_while(|&s| s > 0)
        };
        // a state emits what its group and those split off from it hold
        let (mut with_mark, mut bins) = (vec![0u64; states * marks], vec![0u64; states]);
        for (state, size) in sizes.iter().enumerate() {
            ancestors(state).for_each(|s| bins[s] += size);
        }
        for (element, present) in elements.present.iter().enumerate() {
            for s in ancestors(group[element]) {
                for mark in (0..marks).filter(|&m| present[m]) {
                    with_mark[s * marks + mark] += elements.tally[element];
                }
            }
        }
        let emission = |i: usize| {
            let share = if i < marks { 0.0 } else { with_mark[i] as f64 / bins[i / marks] as f64 };
            let present = smoothing / 2.0 + (1.0 - smoothing) * share;
            [1.0 - present, present]
        };
        let (mut starts, mut followed) = (vec![0u64; states], vec![0u64; states * states]);
        for sequence in elements.sequences.iter().filter(|s| !s.is_empty()) {
            starts[group[sequence[0] as usize]] += 1;
            for pair in sequence.windows(2) {
                followed[group[pair[0] as usize] * states + group[pair[1] as usize]] += 1;
            }
        }
        let mixed = |count: u64, total: u64| {
            let share = if total > 0 { count as f64 / total as f64 } else { 1.0 / states as f64 };
            smoothing / states as f64 + (1.0 - smoothing) * share
        };
        let sequences: u64 = starts.iter().sum();
        let rows = followed.chunks_exact(states);
        let model = Self {
            marks: data.marks.clone(),
            initial: starts.iter().map(|&count| mixed(count, sequences)).collect(),
            transitions: rows
                .flat_map(|row| {
                    let total = row.iter().sum();
                    row.iter().map(move |&count| mixed(count, total))
                })
                .collect(),
            emissions: (0..states * marks).map(emission).collect(),
            order: StateOrder::Fixed,
            training: None,
        };
        Ok((model, splits))
    }

    /// ChromHMM's random start: uniform numbers, normalised.
    ///
    /// To match a run of ChromHMM the generator must have drawn the order of the files before
    /// ([`JavaRandom::visiting_order`]).
    ///
    /// # Errors
    /// When there are no states or more than [`MOST_STATES`].
    pub fn random(marks: &[String], states: usize, random: &mut JavaRandom) -> Result<Self> {
        check_states(states)?;
        let mut normalised = |count: usize| {
            let values: Vec<f64> = (0..count).map(|_| random.next_double()).collect();
            let sum: f64 = values.iter().sum();
            values.into_iter().map(move |value| value / sum)
        };
        let initial = normalised(states).collect();
        let transitions = (0..states).flat_map(|_| normalised(states)).collect();
        let mut pair = || {
            let mut pair = normalised(2);
            // two were asked for
            [pair.next().unwrap_or(0.5), pair.next().unwrap_or(0.5)]
        };
        let emissions = (0..states * marks.len()).map(|_| pair()).collect();
        Ok(Self { marks: marks.to_vec(), initial, transitions, emissions, order: StateOrder::Fixed, training: None })
    }

    /// A start from a model at hand: uniform probabilities are mixed in; ChromHMM's defaults are 0.02 for emissions and
    /// 0.5 for transitions. Without mixing transitions that are zero stay so.
    ///
    /// # Errors
    /// When a share is not in 0..=1.
    pub fn smoothed(&self, emissions: f64, transitions: f64) -> Result<Self> {
        for share in [emissions, transitions] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Data(format!("a smoothing of {share}: give 0 to 1")));
            }
        }
        let uniform = 1.0 / self.states() as f64;
        let mut model = self.clone();
        model.transitions.iter_mut().for_each(|p| *p = transitions * uniform + (1.0 - transitions) * *p);
        model.emissions.iter_mut().flatten().for_each(|p| *p = emissions / 2.0 + (1.0 - emissions) * *p);
        model.training = None;
        Ok(model)
    }
}

fn check_states(states: usize) -> Result<()> {
    if states == 0 || states > MOST_STATES {
        return Err(Error::Data(format!("{states} states: give 1 to {MOST_STATES}")));
    }
    Ok(())
}

/// The split of a group by a mark that gains most; the first of equals.
fn best_split(elements: &Elements, group: &[usize], sizes: &[u64], marks: usize, total: u64) -> Option<Split> {
    let mut leaving = vec![0u64; sizes.len() * marks];
    for ((group, present), tally) in group.iter().zip(&elements.present).zip(&elements.tally) {
        for mark in (0..marks).filter(|&m| present[m]) {
            leaving[group * marks + mark] += tally;
        }
    }
    let share = |pairs: u64| pairs as f64 / total as f64;
    let mut best: Option<Split> = None;
    for (parent, &size) in sizes.iter().enumerate() {
        for mark in 0..marks {
            let pairs = leaving[parent * marks + mark];
            let gain = part(share(size)) - part(share(size - pairs)) - part(share(pairs));
            if gain > best.map_or(0.0, |b| b.gain) {
                best = Some(Split { parent, mark, gain, pairs });
            }
        }
    }
    best
}
