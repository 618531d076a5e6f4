//! Expected counts of starts, transitions and calls under a model: the E-step, and the M-step that follows from them.

use std::ops::Range;

use gradome_io::genome::binarised::{Binarised, BinarisedSequence, MISSING, MarkPatterns};
use rayon::prelude::*;

use super::model::ChromHmmModel;
use super::smooth::{BLOCK, Block, Chain, Filtered, blocks, plus, scaled, sum, times};
use crate::{Error, Result};

/// Blocks whose counts are added up before they are joined with those of others, at least.
const BLOCKS_PER_SEGMENT: usize = 256;

/// What a sequence is expected to hold under a model; also the gradient of its ln-likelihood by the ln of each weight.
#[derive(Clone, Debug)]
pub struct ExpectedCounts {
    /// ln-likelihood of the calls.
    pub ln_likelihood: f64,
    /// `[states]` probability of the first bin's state.
    pub starts: Vec<f64>,
    /// `[states, states]` expected number of transitions (from, to).
    pub transitions: Vec<f64>,
    /// `[states, marks]` expected number of bins in the state where the mark is absent, and where it is present.
    pub calls: Vec<[f64; 2]>,
    /// `[states]` expected number of bins.
    pub occupancy: Vec<f64>,
}

/// Calls a function with the width of rows that suits a number of states, and the columns taken at a time.
macro_rules! with_width {
    ($states:expr, $call:ident ( $($argument:expr),* )) => {
        match $states {
            0..=2 => $call::<2, 2>($($argument),*),
            3..=4 => $call::<4, 4>($($argument),*),
            5..=6 => $call::<6, 6>($($argument),*),
            7..=8 => $call::<8, 8>($($argument),*),
            9..=10 => $call::<10, 10>($($argument),*),
            11..=12 => $call::<12, 12>($($argument),*),
            13..=16 => $call::<16, 8>($($argument),*),
            17..=18 => $call::<18, 6>($($argument),*),
            19..=20 => $call::<20, 10>($($argument),*),
            21..=24 => $call::<24, 8>($($argument),*),
            25..=32 => $call::<32, 8>($($argument),*),
            33..=40 => $call::<40, 8>($($argument),*),
            41..=64 => $call::<64, 8>($($argument),*),
            65..=128 => $call::<128, 8>($($argument),*),
            _ => $call::<512, 8>($($argument),*),
        }
    };
}

pub(super) use with_width;

/// The most states a model may have.
pub const MOST_STATES: usize = 512;

/// Checks that a model and data are about the same marks, and that the model is not too large.
pub(super) fn check_model(model: &ChromHmmModel, data: &Binarised) -> Result<()> {
    let states = model.states();
    if states == 0 || states > MOST_STATES {
        return Err(Error::Data(format!("a model of {states} states: there may be 1 to {MOST_STATES}")));
    }
    if model.marks != data.marks {
        return Err(Error::Data(format!(
            "the model knows the marks {}; the data has {}: give the columns of the model in its order",
            model.marks.join(", "),
            data.marks.join(", ")
        )));
    }
    Ok(())
}

impl ExpectedCounts {
    /// The counts of one sequence.
    ///
    /// # Errors
    /// When model and data do not fit, the sequence has no bins, or the model cannot have made it.
    pub fn of(model: &ChromHmmModel, data: &Binarised, sequence: usize) -> Result<Self> {
        check_model(model, data)?;
        let of_sequence = &data.sequences[sequence];
        with_width!(model.states(), expect(model, &data.patterns, of_sequence))
    }

    /// The counts of every sequence, computed side by side.
    ///
    /// # Errors
    /// As [`ExpectedCounts::of`].
    pub fn of_each(model: &ChromHmmModel, data: &Binarised) -> Result<Vec<Self>> {
        check_model(model, data)?;
        with_width!(model.states(), expect_each(model, data))
    }

    /// Zero of everything.
    pub fn zero(states: usize, marks: usize) -> Self {
        Self {
            ln_likelihood: 0.0,
            starts: vec![0.0; states],
            transitions: vec![0.0; states * states],
            calls: vec![[0.0; 2]; states * marks],
            occupancy: vec![0.0; states],
        }
    }

    /// Adds the counts of another sequence.
    pub fn add(&mut self, other: &Self) {
        self.ln_likelihood += other.ln_likelihood;
        for (sum, count) in [
            (&mut self.starts, &other.starts),
            (&mut self.transitions, &other.transitions),
            (&mut self.occupancy, &other.occupancy),
        ] {
            sum.iter_mut().zip(count).for_each(|(sum, count)| *sum += count);
        }
        for (sum, count) in self.calls.iter_mut().zip(&other.calls) {
            sum[0] += count[0];
            sum[1] += count[1];
        }
    }
}

/// The chain of a model with the emissions of all combinations, and ln of what those were divided by.
pub(super) fn chain<const W: usize>(model: &ChromHmmModel, patterns: &MarkPatterns) -> (Chain<W>, Vec<f64>) {
    let states = model.states();
    let mut initial = [0.0; W];
    initial[..states].copy_from_slice(&model.initial);
    let (mut transitions, mut transposed) = (square::<W>(), square::<W>());
    for from in 0..states {
        for (to, &p) in model.transitions_from(from).iter().enumerate() {
            transitions[from][to] = p;
            transposed[to][from] = p;
        }
    }
    let (emissions, ln_scales) = model.emission_rows(patterns);
    (Chain { initial, transitions, transposed, emissions }, ln_scales)
}

/// A square of zeros that never lies on the stack.
fn square<const W: usize>() -> Box<[[f64; W]; W]> {
    let rows = vec![[0.0; W]; W].into_boxed_slice();
    // the slice has exactly W rows
    rows.try_into().unwrap_or_else(|_| unreachable!("W rows"))
}

/// The sums over a segment of a sequence.
struct Sums<const W: usize> {
    ln_likelihood: f64,
    first: [f64; W],
    /// Without the factor of the transition itself.
    transitions: Box<[[f64; W]; W]>,
    /// `[patterns]`
    visits: Vec<[f64; W]>,
}

/// Room for one block's recursions.
struct Room<const W: usize> {
    block: Block<W>,
    /// `[bins]` the filter before each bin, summing to 1.
    before: Vec<[f64; W]>,
    /// `[bins]` what follows a bin's state: its emission and all later bins.
    following: Vec<[f64; W]>,
}

impl<const W: usize> Room<W> {
    fn new() -> Self {
        Self { block: Block::new(), before: Vec::new(), following: Vec::new() }
    }
}

fn expect_each<const W: usize, const C: usize>(model: &ChromHmmModel, data: &Binarised) -> Result<Vec<ExpectedCounts>> {
    let (chain, ln_scales) = chain::<W>(model, &data.patterns);
    let count = |sequence| counts_of::<W, C>(model, &data.patterns, &chain, &ln_scales, sequence);
    data.sequences.par_iter().map(count).collect()
}

fn expect<const W: usize, const C: usize>(
    model: &ChromHmmModel,
    patterns: &MarkPatterns,
    sequence: &BinarisedSequence,
) -> Result<ExpectedCounts> {
    let (chain, ln_scales) = chain::<W>(model, patterns);
    counts_of::<W, C>(model, patterns, &chain, &ln_scales, sequence)
}

fn counts_of<const W: usize, const C: usize>(
    model: &ChromHmmModel,
    patterns: &MarkPatterns,
    chain: &Chain<W>,
    ln_scales: &[f64],
    sequence: &BinarisedSequence,
) -> Result<ExpectedCounts> {
    let bins = &sequence.patterns[..];
    if bins.is_empty() {
        return Err(Error::Data(format!("{} {} has no bins", sequence.cell, sequence.chromosome)));
    }
    // a segment has more bins than there are rows of sums to add up afterwards
    let blocks_per_segment = BLOCKS_PER_SEGMENT.max(patterns.len() / (BLOCK / 4));
    let all: Vec<Range<usize>> = blocks(bins.len()).collect();
    let segments: Vec<&[Range<usize>]> = all.chunks(blocks_per_segment).collect();
    let sums = if segments.len() > 1 && rayon::current_num_threads() > 1 {
        let (after, before) = rayon::join(|| chain.later_rows::<C>(bins), || chain.filtered_rows::<C>(bins));
        let sum = |(number, segment): (usize, &&[Range<usize>])| {
            let first = number * blocks_per_segment;
            sum_segment::<W, C>(chain, bins, segment, before[first], &after[first..]).0
        };
        segments.par_iter().enumerate().map(sum).collect()
    } else {
        let after = chain.later_rows::<C>(bins);
        let mut filtered = Filtered::START;
        let mut sums = Vec::with_capacity(segments.len());
        for (number, segment) in segments.iter().enumerate() {
            let (sum, end) = sum_segment::<W, C>(chain, bins, segment, filtered, &after[number * blocks_per_segment..]);
            sums.push(sum);
            filtered = end;
        }
        sums
    };
    let total = sums.into_iter().reduce(join).unwrap_or_else(|| unreachable!("there is a segment"));
    if !total.ln_likelihood.is_finite() {
        return Err(impossible::<W, C>(chain, sequence));
    }
    Ok(collect(model, patterns, ln_scales, &total))
}

/// Adds up a segment; also gives the filter at its end.
fn sum_segment<const W: usize, const C: usize>(
    chain: &Chain<W>,
    bins: &[u32],
    segment: &[Range<usize>],
    mut filtered: Filtered<W>,
    after: &[[f64; W]],
) -> (Sums<W>, Filtered<W>) {
    let mut sums = Sums {
        ln_likelihood: 0.0,
        first: [0.0; W],
        transitions: square(),
        visits: vec![[0.0; W]; chain.emissions.len()],
    };
    let mut room = Room::new();
    for (range, after) in segment.iter().zip(after) {
        chain.fill::<C>(bins, range.clone(), filtered, *after, &mut room.block);
        sum_block::<W, C>(chain, &bins[range.clone()], range.start == 0, &mut room, &mut sums);
        filtered = room.block.filtered[range.len()];
    }
    (sums, filtered)
}

fn sum_block<const W: usize, const C: usize>(
    chain: &Chain<W>,
    bins: &[u32],
    first: bool,
    room: &mut Room<W>,
    sums: &mut Sums<W>,
) {
    room.before.clear();
    room.following.clear();
    let mut product = LnProduct::default();
    for (bin, &pattern) in bins.iter().enumerate() {
        let (before, now) = (&room.block.filtered[bin], &room.block.filtered[bin + 1]);
        let later = &room.block.later[bin];
        product.push(now.total);
        let joint = times(&now.row, later);
        let norm = 1.0 / sum(&joint);
        let posterior = scaled(&joint, norm);
        let visits = &mut sums.visits[pattern as usize];
        *visits = plus(visits, &posterior);
        room.before.push(scaled(&before.row, before.inverse));
        room.following.push(times(later, &scaled(&chain.emissions[pattern as usize], norm)));
        if first && bin == 0 {
            sums.first = posterior;
        }
    }
    sums.ln_likelihood += product.ln();
    add_outer::<W, C>(&room.before, &room.following, &mut sums.transitions);
}

/// ln of a product of many factors, with few logarithms.
struct LnProduct {
    ln: f64,
    product: f64,
}

impl Default for LnProduct {
    fn default() -> Self {
        Self { ln: 0.0, product: 1.0 }
    }
}

impl LnProduct {
    fn push(&mut self, factor: f64) {
        /// Two numbers above this have a product that is not rounded coarsely.
        const SMALL: f64 = 1e-140;
        if factor < SMALL {
            self.ln += factor.ln();
            return;
        }
        self.product *= factor;
        if self.product < SMALL {
            self.ln += self.product.ln();
            self.product = 1.0;
        }
    }

    fn ln(&self) -> f64 {
        self.ln + self.product.ln()
    }
}

/// Adds the outer products of rows, a tile of two rows and `C` columns at a time.
fn add_outer<const W: usize, const C: usize>(left: &[[f64; W]], right: &[[f64; W]], sums: &mut [[f64; W]; W]) {
    for (pair, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        for chunk in 0..W / C {
            let mut tile = [[0.0; C]; 2];
            for (left, right) in left.iter().zip(right) {
                let (weights, row) = (&left.as_chunks::<2>().0[pair], &right.as_chunks::<C>().0[chunk]);
                for c in 0..C {
                    tile[0][c] += weights[0] * row[c];
                    tile[1][c] += weights[1] * row[c];
                }
            }
            for (sums, tile) in sums.iter_mut().zip(&tile) {
                let sums = &mut sums.as_chunks_mut::<C>().0[chunk];
                *sums = plus(sums, tile);
            }
        }
    }
}

fn join<const W: usize>(mut a: Sums<W>, b: Sums<W>) -> Sums<W> {
    a.ln_likelihood += b.ln_likelihood;
    a.first = plus(&a.first, &b.first);
    for (a, b) in a.transitions.iter_mut().zip(b.transitions.iter()) {
        *a = plus(a, b);
    }
    for (a, b) in a.visits.iter_mut().zip(&b.visits) {
        *a = plus(a, b);
    }
    a
}

/// Says at which bin the model gives up.
pub(super) fn impossible<const W: usize, const C: usize>(chain: &Chain<W>, sequence: &BinarisedSequence) -> Error {
    let rows = chain.filtered_rows::<C>(&sequence.patterns);
    let good = |filtered: &Filtered<W>| filtered.inverse.is_finite();
    let block = rows.iter().rposition(good).unwrap_or(0);
    let mut filled = Block::new();
    let range = blocks(sequence.patterns.len()).nth(block).unwrap_or(0..1);
    chain.fill::<C>(&sequence.patterns, range.clone(), rows[block], [1.0; W], &mut filled);
    let bin = range.start + filled.filtered.iter().skip(1).position(|f| !good(f)).unwrap_or(0);
    Error::Data(format!(
        "{} {}: the model cannot have made bin {} (from 1): some of its probabilities are 0; train with pseudocounts or \
         from another start",
        sequence.cell,
        sequence.chromosome,
        bin + 1
    ))
}

/// Puts the sums into counts.
fn collect<const W: usize>(
    model: &ChromHmmModel,
    patterns: &MarkPatterns,
    ln_scales: &[f64],
    sums: &Sums<W>,
) -> ExpectedCounts {
    let (states, marks) = (model.states(), model.marks.len());
    let mut counts = ExpectedCounts::zero(states, marks);
    counts.starts.copy_from_slice(&sums.first[..states]);
    for from in 0..states {
        let row = model.transitions_from(from).iter().zip(&sums.transitions[from]);
        let into = &mut counts.transitions[from * states..(from + 1) * states];
        into.iter_mut().zip(row).for_each(|(count, (p, sum))| *count = p * sum);
    }
    counts.ln_likelihood = sums.ln_likelihood;
    for (pattern, visits) in sums.visits.iter().enumerate() {
        let calls = patterns.calls(pattern as u32);
        let bins = sum(visits);
        if bins == 0.0 {
            continue;
        }
        counts.ln_likelihood += bins.round() * ln_scales[pattern];
        for (state, &visits) in visits.iter().take(states).enumerate() {
            counts.occupancy[state] += visits;
            let of_state = &mut counts.calls[state * marks..(state + 1) * marks];
            for (count, &call) in of_state.iter_mut().zip(calls).filter(|(_, call)| **call != MISSING) {
                count[usize::from(call)] += visits;
            }
        }
    }
    counts
}
