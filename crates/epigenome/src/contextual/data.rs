//! Windows of the genome as the model sees them.

use gradome_nn::{Error, Result};
use gradome_tape::{Float, Tensor};
use rayon::prelude::*;

use super::config::{ContextualEpigenomicsConfig, HeadConfig, HeadKind, Level};

/// The code of a base that is not known: N and all others.
pub const BASE_N: u8 = 4;

/// The code of a base: 0 to 3 for A, C, G, T in either case, [`BASE_N`] for anything else.
///
/// Complements are 3 minus the code.
pub fn base_code(letter: u8) -> u8 {
    match letter.to_ascii_uppercase() {
        b'A' => 0,
        b'C' => 1,
        b'G' => 2,
        b'T' | b'U' => 3,
        _ => BASE_N,
    }
}

/// Windows of one length with all that is known of them; plain arrays, row-major.
///
/// What the configuration does not ask for may be empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContextualWindows {
    /// How many windows.
    pub windows: usize,
    /// Positions of each.
    pub length: usize,
    /// `[windows, length * bin_size]` codes of bases ([`base_code`]).
    pub dna: Vec<u8>,
    /// `[windows, length, tracks]` signals.
    pub tracks: Vec<f32>,
    /// `[windows, context_features]` the context of each window.
    pub context: Vec<f32>,
    /// `[windows, length, length]` how often positions touch, 0 to 1; empty where it is not known: training needs it,
    /// predictions do not.
    pub contacts: Vec<f32>,
    /// `[windows, length]` 1 where there is data, 0 at padding; empty: data everywhere.
    pub mask: Vec<f32>,
    /// For each head `[windows, length, targets]` or, a window, `[windows, targets]`; NaN where not known. Empty when
    /// nothing is known, and the model has no loss.
    pub targets: Vec<Vec<f32>>,
}

/// How much of a window is known, or of each of some windows on average: what losses are means over.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// For each head how many targets are known and inside of the mask.
    pub targets: Vec<f64>,
    /// Pairs of positions inside of the mask.
    pub pairs: f64,
}

impl Known {
    /// The mean of some windows.
    pub(crate) fn mean<'a>(windows: impl ExactSizeIterator<Item = &'a Self>) -> Self {
        let count = windows.len().max(1) as f64;
        let mut sum = Self { targets: Vec::new(), pairs: 0.0 };
        for window in windows {
            sum.targets.resize(window.targets.len(), 0.0);
            sum.targets.iter_mut().zip(&window.targets).for_each(|(sum, value)| *sum += value);
            sum.pairs += window.pairs;
        }
        // where nothing is known the mean is 0 over 1, as a loss has it
        sum.targets.iter_mut().chain([&mut sum.pairs]).for_each(|sum| *sum = sum.max(1.0) / count);
        sum
    }
}

/// Numbers of one head in one window.
pub(crate) fn target_size(head: &HeadConfig, length: usize) -> usize {
    head.targets() * if head.level == Level::Position { length } else { 1 }
}

impl ContextualWindows {
    /// The arrays by name with the numbers a window has of each, and what a value of them must be.
    fn sizes(&self, config: &ContextualEpigenomicsConfig) -> [(&'static str, usize, &[f32]); 4] {
        let contacts = if config.has_contacts() && !self.contacts.is_empty() { self.length * self.length } else { 0 };
        [
            ("tracks", self.length * config.tracks.len(), &self.tracks),
            ("context", config.context_features, &self.context),
            ("contacts", contacts, &self.contacts),
            ("mask", if self.mask.is_empty() { 0 } else { self.length }, &self.mask),
        ]
    }

    /// Looks for windows that the configured model cannot take.
    ///
    /// # Errors
    /// When there is no window, a size differs from the configuration, or a value makes no sense; the error names array,
    /// window and position, counted from 1.
    pub fn validate(&self, config: &ContextualEpigenomicsConfig) -> Result<()> {
        if self.windows == 0 || self.length == 0 {
            let problem = format!("{} windows of {} positions; give at least one of each", self.windows, self.length);
            return Err(Error::data("windows", problem));
        }
        let fits = |array: &str, each: usize, found: usize| {
            if each.checked_mul(self.windows) == Some(found) {
                return Ok(());
            }
            let problem = format!("{found} values do not make {} windows of {each}", self.windows);
            Err(Error::data(array, problem))
        };
        let place = |i: usize, each: usize| {
            let position = (i % each) / (each / self.length).max(1);
            format!("window {} position {}", i / each + 1, position + 1)
        };
        fits("dna", if config.dna { self.length * config.bin_size } else { 0 }, self.dna.len())?;
        if let Some(i) = self.dna.par_iter().position_first(|&code| code > BASE_N) {
            let at = place(i, self.length * config.bin_size);
            return Err(Error::data("dna", format!("{at} holds code {}; codes are 0 to 4", self.dna[i])));
        }
        for (array, each, values) in self.sizes(config) {
            fits(array, each, values.len())?;
            let wrong = |&value: &f32| match array {
                "tracks" if config.log_tracks => !value.is_finite() || value < 0.0,
                "contacts" => !(0.0..=1.0).contains(&value),
                "mask" => value != 0.0 && value != 1.0,
                _ => !value.is_finite(),
            };
            if let Some(i) = values.par_iter().position_first(wrong) {
                let remedy = match array {
                    "tracks" if config.log_tracks => "signals must be finite and, for their logarithm, 0 or more",
                    "tracks" => "signals must be finite; give 0 where there is none, or mask the position",
                    "contacts" => "contacts are shares, 0 to 1",
                    "mask" => "a mask holds 0 and 1",
                    _ => "values must be finite",
                };
                return Err(Error::data(array, format!("{} holds {}: {remedy}", place(i, each), values[i])));
            }
        }
        if self.targets.is_empty() {
            return Ok(());
        }
        if self.targets.len() != config.heads.len() {
            let problem = format!("{} arrays for {} heads", self.targets.len(), config.heads.len());
            return Err(Error::data("targets", problem));
        }
        for (head, values) in config.heads.iter().zip(&self.targets) {
            let each = target_size(head, self.length);
            fits(&head.name, each, values.len())?;
            let wrong = |&value: &f32| {
                !value.is_nan()
                    && match head.kind {
                        HeadKind::Binary => !(0.0..=1.0).contains(&value),
                        HeadKind::MultiClass => value < 0.0 || value.fract() != 0.0 || value >= head.outputs as f32,
                        HeadKind::Regression => value.is_infinite(),
                        HeadKind::Counts => value < 0.0 || value.fract() != 0.0 || value.is_infinite(),
                    }
            };
            if let Some(i) = values.par_iter().position_first(wrong) {
                let expected = match head.kind {
                    HeadKind::Binary => "0 to 1".to_owned(),
                    HeadKind::MultiClass => format!("a class, 0 to {}", head.outputs - 1),
                    HeadKind::Regression => "a finite number".to_owned(),
                    HeadKind::Counts => "a whole number of 0 or more".to_owned(),
                };
                let problem = format!("{} holds {}: expected {expected}, or NaN", place(i, each), values[i]);
                return Err(Error::data(&head.name, problem));
            }
        }
        Ok(())
    }

    /// What is known of one window.
    pub(crate) fn known(&self, config: &ContextualEpigenomicsConfig, window: usize) -> Known {
        let inside = |position: usize| self.mask.get(window * self.length + position).is_none_or(|&mask| mask != 0.0);
        let targets = config.heads.iter().zip(&self.targets).map(|(head, values)| {
            let (size, each) = (target_size(head, self.length), head.targets());
            let own = values[window * size..(window + 1) * size].iter().enumerate();
            own.filter(|(i, value)| !value.is_nan() && (head.level == Level::Window || inside(i / each))).count() as f64
        });
        let positions = (0..self.length).filter(|&position| inside(position)).count() as f64;
        Known { targets: targets.collect(), pairs: positions * positions }
    }

    /// The given windows in the given order.
    pub fn select(&self, windows: &[usize]) -> Self {
        fn take<V: Copy>(all: &[V], of: usize, windows: &[usize]) -> Vec<V> {
            let each = all.len() / of.max(1);
            windows.iter().flat_map(|&w| &all[w * each..(w + 1) * each]).copied().collect()
        }
        let floats = |all: &Vec<f32>| take(all, self.windows, windows);
        Self {
            windows: windows.len(),
            length: self.length,
            dna: take(&self.dna, self.windows, windows),
            tracks: floats(&self.tracks),
            context: floats(&self.context),
            contacts: floats(&self.contacts),
            mask: floats(&self.mask),
            targets: self.targets.iter().map(floats).collect(),
        }
    }

    /// Replaces a window by its reverse complement: its DNA on the other strand, everything else in reverse.
    ///
    /// # Panics
    /// When there is no such window.
    pub fn reverse_complement(&mut self, window: usize, config: &ContextualEpigenomicsConfig) {
        /// Reverses the rows of one window.
        fn reverse(all: &mut [f32], window: usize, each: usize, row: usize) {
            if all.is_empty() {
                return;
            }
            let own = &mut all[window * each..(window + 1) * each];
            own.reverse();
            own.chunks_exact_mut(row.max(1)).for_each(<[f32]>::reverse);
        }
        assert!(window < self.windows, "there is no window {window} of {}", self.windows);
        let (length, tracks) = (self.length, config.tracks.len());
        let each = self.dna.len() / self.windows;
        let dna = &mut self.dna[window * each..(window + 1) * each];
        dna.reverse();
        dna.iter_mut().filter(|code| **code < BASE_N).for_each(|code| *code = 3 - *code);
        reverse(&mut self.tracks, window, length * tracks, tracks);
        // both axes in reverse: the whole matrix backwards
        reverse(&mut self.contacts, window, length * length, 1);
        reverse(&mut self.mask, window, length, 1);
        for (head, values) in config.heads.iter().zip(&mut self.targets) {
            if head.level == Level::Position {
                reverse(values, window, length * head.targets(), head.targets());
            }
        }
    }

    /// One-hot DNA `[windows, length * bin_size, 4]`, zeros at N.
    pub(crate) fn one_hot<T: Float>(&self) -> Tensor<T> {
        let mut hot = Tensor::zeros([self.windows, self.dna.len() / self.windows.max(1), 4]);
        for (row, &code) in hot.data_mut().as_chunks_mut::<4>().0.iter_mut().zip(&self.dna) {
            if code < BASE_N {
                row[usize::from(code)] = T::ONE;
            }
        }
        hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_complement_reads_the_other_strand_and_undoes_itself() {
        let config = ContextualEpigenomicsConfig {
            tracks: vec!["a".into(), "b".into()],
            contact_weight: 1.0,
            heads: vec![HeadConfig::new("x", HeadKind::Binary, Level::Position)],
            ..Default::default()
        };
        let before = ContextualWindows {
            windows: 2,
            length: 3,
            dna: b"AAAACN".iter().map(|&b| base_code(b)).collect(),
            tracks: (0..12_u8).map(f32::from).collect(),
            context: Vec::new(),
            contacts: (0..18_u8).map(|i| f32::from(i) / 18.0).collect(),
            mask: vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
            targets: vec![vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0]],
        };
        before.validate(&config).unwrap();
        let mut turned = before.clone();
        turned.reverse_complement(1, &config);
        // ACN becomes NGT
        assert_eq!(turned.dna, [0, 0, 0, BASE_N, 2, 3]);
        assert_eq!(turned.tracks[6..], [10.0, 11.0, 8.0, 9.0, 6.0, 7.0]);
        assert_eq!(turned.mask[3..], [0.0, 1.0, 1.0]);
        assert_eq!(turned.targets[0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(turned.contacts[9], 17.0 / 18.0);
        turned.reverse_complement(1, &config);
        assert_eq!(turned, before);
    }
}
