//! Signal along chromosomes, as runs of equal value.

use std::ops::Range;

use crate::{Error, Result};

/// A stretch of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// First position (bp, from 0).
    pub start: u32,
    /// Position behind the last one (bp).
    pub end: u32,
    /// The value of each base pair.
    pub value: f32,
}

/// What base pairs count for that no run covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// They are zero: means are over all base pairs.
    Zero,
    /// They are not known: means are over the covered ones, NaN where there is none.
    Missing,
}

/// The signal on one chromosome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromosomeSignal {
    /// Name of the chromosome.
    pub name: String,
    /// Length of the chromosome (bp), if it is known.
    pub size: Option<u32>,
    /// Runs in order, without overlap; there may be gaps.
    pub runs: Vec<Run>,
}

/// A signal track: runs of values on chromosomes, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    /// The chromosomes, each once.
    pub chromosomes: Vec<ChromosomeSignal>,
}

impl Signal {
    /// The signal on a chromosome.
    pub fn chromosome(&self, name: &str) -> Option<&ChromosomeSignal> {
        self.chromosomes.iter().find(|chromosome| chromosome.name == name)
    }
}

impl ChromosomeSignal {
    /// Checks that runs are in order, do not overlap, have a length and a finite value, and end with the chromosome.
    ///
    /// # Errors
    /// Names the first run that breaks a rule.
    pub fn validate(&self) -> Result<()> {
        let mut free = 0;
        for run in &self.runs {
            check_run(&self.name, *run, free).map_err(Error::Data)?;
            free = run.end;
        }
        match self.size {
            Some(size) if free > size => {
                Err(Error::Data(format!("{}: signal up to {free} is past the end, {size} bp", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// The runs that touch a range.
    pub fn within(&self, range: &Range<u32>) -> &[Run] {
        let first = self.runs.partition_point(|run| run.end <= range.start);
        let last = self.runs.partition_point(|run| run.start < range.end);
        &self.runs[first..last.max(first)]
    }

    /// The value of each base pair of a range, `[range.len()]`.
    pub fn dense(&self, range: Range<u32>, gaps: Gaps) -> Vec<f32> {
        let gap = if gaps == Gaps::Zero { 0.0 } else { f32::NAN };
        let mut values = vec![gap; range.len()];
        for run in self.within(&range) {
            let (start, end) = (run.start.max(range.start), run.end.min(range.end));
            values[(start - range.start) as usize..(end - range.start) as usize].fill(run.value);
        }
        values
    }

    /// The sum over the base pairs of each bin of a range, `[range.len() / bin]`: counts where runs are counts.
    ///
    /// # Errors
    /// A bin of no base pair, a range that does not hold a whole number of bins.
    pub fn bin_sums(&self, range: Range<u32>, bin: u32) -> Result<Vec<f32>> {
        Ok(sums(self.within(&range), range, bin)?.into_iter().map(|(sum, _)| sum as f32).collect())
    }

    /// The mean of each bin of a range, `[range.len() / bin]`.
    ///
    /// # Errors
    /// A bin of no base pair, a range that does not hold a whole number of bins.
    pub fn bin_means(&self, range: Range<u32>, bin: u32, gaps: Gaps) -> Result<Vec<f32>> {
        let mean = |(sum, covered): (f64, u32)| match gaps {
            Gaps::Zero => (sum / f64::from(bin)) as f32,
            Gaps::Missing => (sum / f64::from(covered)) as f32,
        };
        Ok(sums(self.within(&range), range, bin)?.into_iter().map(mean).collect())
    }

    /// The signal at the resolution of bins: each base pair takes the mean of its bin, gaps count as zero.
    ///
    /// Bins stand from position 0; the last one is cut at the end of the chromosome, if that is known. Memory is in
    /// proportion to the runs.
    ///
    /// # Errors
    /// A bin of no base pair.
    pub fn binned(&self, bin: u32) -> Result<Self> {
        if bin == 0 {
            return Err(Error::Data("bins of 0 bp hold nothing".into()));
        }
        let last = self.size.unwrap_or(u32::MAX).max(self.runs.last().map_or(0, |run| run.end));
        let bin_end = |start: u32| start.saturating_add(bin).min(last);
        let mut runs: Vec<Run> = Vec::new();
        let mut add = |start: u32, end: u32, value: f32| match runs.last_mut() {
            _ if value == 0.0 => {}
            Some(last) if last.end == start && last.value == value => last.end = end,
            _ => runs.push(Run { start, end, value }),
        };
        // The bin that is being summed: where it starts and what it holds so far.
        let (mut open, mut sum) = (0, 0.0f64);
        for run in &self.runs {
            let mut at = run.start;
            while at < run.end {
                let start = at / bin * bin;
                if start != open {
                    add(open, bin_end(open), (sum / f64::from(bin_end(open) - open)) as f32);
                    (open, sum) = (start, 0.0);
                }
                // Bins that lie in the run as a whole have its value.
                let whole = (run.end - at) / bin * bin;
                if at == start && whole > 0 {
                    add(at, at + whole, run.value);
                    at += whole;
                    (open, sum) = (at, 0.0);
                    continue;
                }
                let end = bin_end(start).min(run.end);
                sum += f64::from(run.value) * f64::from(end - at);
                at = end;
            }
        }
        if open < last {
            add(open, bin_end(open), (sum / f64::from(bin_end(open) - open)) as f32);
        }
        Ok(Self { name: self.name.clone(), size: self.size, runs })
    }
}

/// Says what is wrong with a run that follows base pairs taken up to `free`.
pub(super) fn check_run(chromosome: &str, run: Run, free: u32) -> Result<(), String> {
    let Run { start, end, value } = run;
    if end <= start {
        return Err(format!("{chromosome}:{start}-{end} has no base pair"));
    }
    if start < free {
        return Err(format!(
            "{chromosome}:{start}-{end} overlaps the record before it or is out of order: sort by position"
        ));
    }
    if !value.is_finite() {
        return Err(format!("{chromosome}:{start}-{end} has the value {value}: leave the record out or give a number"));
    }
    Ok(())
}

/// Says what is wrong with bins of a range; else how many there are.
fn count_bins(range: &Range<u32>, bin: u32) -> Result<usize> {
    let length = range.end.saturating_sub(range.start);
    if bin == 0 || !length.is_multiple_of(bin) {
        return Err(Error::Data(format!("bins of {bin} bp do not fit the range {}-{}", range.start, range.end)));
    }
    Ok((length / bin) as usize)
}

/// Sum and covered base pairs of each bin, in f64 in the order of the runs.
fn sums(runs: &[Run], range: Range<u32>, bin: u32) -> Result<Vec<(f64, u32)>> {
    let mut sums = vec![(0.0, 0); count_bins(&range, bin)?];
    for run in runs {
        let (mut at, end) = (run.start.max(range.start), run.end.min(range.end));
        while at < end {
            let place = (at - range.start) / bin;
            // In u64: the last bin may end behind the largest position.
            let bin_end = (u64::from(range.start) + u64::from(place + 1) * u64::from(bin)).min(u64::from(end)) as u32;
            let covered = bin_end - at;
            let (sum, count) = &mut sums[place as usize];
            *sum += f64::from(run.value) * f64::from(covered);
            *count += covered;
            at = bin_end;
        }
    }
    Ok(sums)
}
