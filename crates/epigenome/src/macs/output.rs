//! The files that a MACS user expects, written as MACS3 writes them.

use std::fmt::Display;
use std::io::{Result, Write};
use std::path::Path;

use gradome_io::genome::{GappedPeak, Peak, PeakFormat, general, write_gapped_peaks, write_peaks};

use super::config::{Cutoff, MacsConfig, ScaleTo};
use super::peaks::NarrowPeak;
use super::{BroadPeak, Calls, MacsResult};

/// What the head of the `.xls` file says of a run beside its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunDescription {
    /// The words of the command.
    pub command: String,
    /// The name of the run, from which peaks have theirs.
    pub name: String,
    /// The format of the files, `BED`.
    pub format: String,
    /// Files of the treatment.
    pub treatment_files: Vec<String>,
    /// Files of the control.
    pub control_files: Vec<String>,
    /// Whether bedGraphs are written per million reads.
    pub per_million: bool,
}

/// A number as C's `%.6g` prints it; zero has no sign.
fn g6(value: f32) -> String {
    general(f64::from(value) + 0.0, 6)
}

/// A number as C's `%.2e` prints it.
fn e2(value: f64) -> String {
    let scientific = format!("{value:.2e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `[10 score]` of the browser formats.
fn browser_score(score: f32) -> u32 {
    (10.0 * f64::from(score)) as u32
}

/// `a`, ..., `z`, `ba`, `bb`, ...: the name of one of several summits.
fn letters(summit: usize) -> String {
    let last = char::from(b'a' + (summit % 26) as u8);
    if summit < 26 { last.into() } else { format!("{}{last}", letters(summit / 26)) }
}

/// Names of peaks: their number, and a letter where a region has several summits.
fn names(peaks: &[NarrowPeak]) -> impl Iterator<Item = (String, &NarrowPeak)> {
    let regions = peaks.chunk_by(|a, b| a.end == b.end && a.chromosome == b.chromosome);
    regions.enumerate().flat_map(|(number, summits)| {
        let letter = move |i| if summits.len() > 1 { letters(i) } else { String::new() };
        summits.iter().enumerate().map(move |(i, peak)| (format!("{}{}", number + 1, letter(i)), peak))
    })
}

impl MacsResult {
    /// The score in column 5 of the browser formats, by what is significant.
    fn main_score(&self, config: &MacsConfig, p_score: f32, q_score: f32) -> f32 {
        match config.cutoff {
            Cutoff::Q(_) => q_score,
            Cutoff::P(_) => p_score,
        }
    }

    fn narrow(&self) -> &[NarrowPeak] {
        if let Calls::Narrow(peaks) = &self.calls { peaks } else { &[] }
    }

    fn broad(&self) -> &[BroadPeak] {
        if let Calls::Broad(peaks) = &self.calls { peaks } else { &[] }
    }

    /// The calls as records of ENCODE's narrowPeak, with summits, or broadPeak, with means; `name` is that of the run.
    pub fn peaks(&self, name: &str, config: &MacsConfig) -> Vec<Peak> {
        // zero has no sign in the files
        let wide = |value: f32| f64::from(value) + 0.0;
        let record = |name: String, chromosome: &str, (start, end), [fold, p_score, q_score]: [f32; 3]| Peak {
            chromosome: chromosome.to_owned(),
            start,
            end,
            name,
            score: browser_score(self.main_score(config, p_score, q_score)),
            strand: None,
            signal: wide(fold),
            p_score: Some(wide(p_score)),
            q_score: Some(wide(q_score)),
            summit: None,
        };
        match &self.calls {
            Calls::Narrow(peaks) => names(peaks)
                .map(|(number, peak)| {
                    let NarrowPeak { chromosome, start, end, summit, fold, p_score, q_score, .. } = peak;
                    let name = format!("{name}_peak_{number}");
                    let scores = [*fold, *p_score, *q_score];
                    Peak { summit: summit.checked_sub(*start), ..record(name, chromosome, (*start, *end), scores) }
                })
                .collect(),
            Calls::Broad(peaks) => (1..)
                .zip(peaks)
                .map(|(number, peak)| {
                    let scores = [peak.fold, peak.p_score, peak.q_score];
                    record(format!("{name}_peak_{number}"), &peak.chromosome, (peak.start, peak.end), scores)
                })
                .collect(),
        }
    }

    /// Writes `NAME_peaks.narrowPeak` or `NAME_peaks.broadPeak`, by what was called.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_peaks(
        &self,
        path: &Path,
        name: &str,
        config: &MacsConfig,
        track_line: bool,
    ) -> gradome_io::Result<()> {
        let (format, kind) = match self.calls {
            Calls::Narrow(_) => (PeakFormat::Narrow, "narrowPeak"),
            Calls::Broad(_) => (PeakFormat::Broad, "broadPeak"),
        };
        let header = format!("track type={kind} name=\"{name}\" description=\"{name}\" nextItemButton=on");
        write_peaks(path, format, track_line.then_some(&*header), &self.peaks(name, config))
    }

    /// Writes `NAME_peaks.gappedPeak`: broad regions with their strong parts as blocks.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_gapped_peaks(
        &self,
        path: &Path,
        name: &str,
        config: &MacsConfig,
        track_line: bool,
    ) -> gradome_io::Result<()> {
        let header = format!("track name=\"{name}\" description=\"{name}\" type=gappedPeak nextItemButton=on");
        let regions = self.peaks(name, config).into_iter().zip(self.broad());
        let gapped: Vec<GappedPeak> = regions
            .map(|(peak, region)| GappedPeak { peak, thick: (0, 0), color: None, blocks: region.blocks() })
            .collect();
        write_gapped_peaks(path, track_line.then_some(&*header), &gapped)
    }

    /// Writes `NAME_summits.bed`: each summit as one base pair, with its score.
    ///
    /// # Errors
    /// When `to` refuses.
    pub fn write_summits(&self, to: &mut impl Write, name: &str, config: &MacsConfig, track_line: bool) -> Result<()> {
        if track_line {
            let about = format!("Summits for {name} (gradome, as MACS v3)");
            writeln!(to, "track name=\"{name} (summits)\" description=\"{about}\" visibility=1")?;
        }
        for (number, peak) in names(self.narrow()) {
            let (chromosome, summit) = (&peak.chromosome, peak.summit);
            let score = g6(self.main_score(config, peak.p_score, peak.q_score));
            writeln!(to, "{chromosome}\t{summit}\t{}\t{name}_peak_{number}\t{score}", summit + 1)?;
        }
        Ok(())
    }

    /// Writes `NAME_peaks.xls`: a head with the settings that MultiQC reads, and the peaks as a table with positions
    /// from 1.
    ///
    /// # Errors
    /// When `to` refuses.
    pub fn write_xls(&self, to: &mut impl Write, run: &RunDescription, config: &MacsConfig) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(to, "# This file is generated by gradome {version}, as by MACS version 3.0.4")?;
        self.write_settings(to, run, config)?;
        self.write_counts(to, config)?;
        let name = &run.name;
        let first = "chr\tstart\tend\tlength";
        let last = "pileup\t-log10(pvalue)\tfold_enrichment\t-log10(qvalue)\tname";
        let rounded = |pileup: f32| -> f32 { format!("{pileup:.2}").parse().expect("a printed number is a number") };
        match &self.calls {
            Calls::Narrow(peaks) => {
                writeln!(to, "{first}\tabs_summit\t{last}")?;
                for (number, peak) in names(peaks) {
                    let NarrowPeak { chromosome, start, end, summit, .. } = peak;
                    let (height, p, fold) = (g6(rounded(peak.pileup)), g6(peak.p_score), g6(peak.fold));
                    let (start, length, summit, q) = (start + 1, end - start, summit + 1, g6(peak.q_score));
                    writeln!(
                        to,
                        "{chromosome}\t{start}\t{end}\t{length}\t{summit}\t{height}\t{p}\t{fold}\t{q}\t\
                         {name}_peak_{number}"
                    )?;
                }
            }
            Calls::Broad(peaks) => {
                writeln!(to, "{first}\t{last}")?;
                for (number, peak) in (1..).zip(peaks) {
                    let BroadPeak { chromosome, start, end, .. } = peak;
                    let (height, p, fold) = (g6(rounded(peak.pileup)), g6(peak.p_score), g6(peak.fold));
                    let (start, length, q) = (start + 1, end - start, g6(peak.q_score));
                    writeln!(
                        to,
                        "{chromosome}\t{start}\t{end}\t{length}\t{height}\t{p}\t{fold}\t{q}\t{name}_peak_{number}"
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The list of arguments.
    fn write_settings(&self, to: &mut impl Write, run: &RunDescription, config: &MacsConfig) -> Result<()> {
        let RunDescription { command, name, format, treatment_files, control_files, per_million } = run;
        let control = if control_files.is_empty() { "None".into() } else { listed(control_files) };
        writeln!(to, "# Command line: {command}\n# ARGUMENTS LIST:\n# name = {name}\n# format = {format}")?;
        writeln!(to, "# ChIP-seq file = {}\n# control file = {control}", listed(treatment_files))?;
        writeln!(to, "# effective genome size = {}", e2(config.genome_size))?;
        let (low, high) = config.fold_range;
        writeln!(to, "# band width = {}\n# model fold = [{low}, {high}]", config.band_width)?;
        if let Some(most) = config.max_count.filter(|_| format == "FRAG") {
            writeln!(to, "# Maximum count in fragment file is set as {most}")?;
        }
        let (what, cutoff) = match config.cutoff {
            Cutoff::Q(cutoff) => ("qvalue", e2(cutoff)),
            Cutoff::P(cutoff) => ("pvalue", e2(cutoff)),
        };
        match config.broad_cutoff {
            Some(broad) => {
                writeln!(to, "# {what} cutoff for narrow/strong regions = {cutoff}")?;
                writeln!(to, "# {what} cutoff for broad/weak regions = {}", e2(broad))?;
            }
            None => writeln!(to, "# {what} cutoff = {cutoff}")?,
        }
        match config.max_gap {
            Some(gap) => writeln!(to, "# The maximum gap between significant sites = {gap}")?,
            None => {
                writeln!(to, "# The maximum gap between significant sites is assigned as the read length/tag size.")?
            }
        }
        match config.min_length {
            Some(length) => writeln!(to, "# The minimum length of peaks = {length}")?,
            None => {
                writeln!(to, "# The minimum length of peaks is assigned as the predicted fragment length \"d\".")?;
            }
        }
        match config.scale_to {
            ScaleTo::Small => writeln!(to, "# Larger dataset will be scaled towards smaller dataset.")?,
            ScaleTo::Large => writeln!(to, "# Smaller dataset will be scaled towards larger dataset.")?,
        }
        let (small, large) = (config.small_local, config.large_local);
        match self.control {
            Some(_) => writeln!(to, "# Range for calculating regional lambda is: {small} bps and {large} bps")?,
            None => writeln!(to, "# Range for calculating regional lambda is: {large} bps")?,
        }
        writeln!(to, "# Broad region calling is {}", if config.broad_cutoff.is_some() { "on" } else { "off" })?;
        if config.min_fold != 1.0 {
            writeln!(to, "# Additional cutoff on fold-enrichment is: {:.2}", config.min_fold)?;
        }
        writeln!(to, "# Paired-End mode is {}", if self.paired { "on" } else { "off" })?;
        if config.call_summits {
            writeln!(to, "# Searching for subpeak summits is on")?;
        }
        if *per_million {
            writeln!(to, "# MACS will save fragment pileup signal per million reads")?;
        }
        writeln!(to)
    }

    /// What was found about the reads.
    fn write_counts(&self, to: &mut impl Write, config: &MacsConfig) -> Result<()> {
        let (tag, at) = if self.paired { ("fragment", "fragments") } else { ("tag", "tags at the same position") };
        writeln!(to, "# {tag} size is determined as {} bps", self.tag_size as u64)?;
        for (sample, counts) in [("treatment", Some(self.treatment)), ("control", self.control)] {
            let Some(counts) = counts else { continue };
            writeln!(to, "# total {tag}s in {sample}: {}", counts.before)?;
            if let Some(limit) = self.duplicate_limit {
                writeln!(to, "# {tag}s after filtering in {sample}: {}", counts.after)?;
                writeln!(to, "# maximum duplicate {at} in {sample} = {limit}")?;
                let redundant = counts.before.saturating_sub(counts.after) as f64 / counts.before as f64;
                writeln!(to, "# Redundant rate in {sample}: {redundant:.2}")?;
            }
        }
        if !self.paired && config.shift != 0 {
            let towards = if config.shift > 0 { '3' } else { '5' };
            let bp = config.shift.unsigned_abs();
            writeln!(to, "# Sequencing ends will be shifted towards {towards}' by {bp} bp(s)")?;
        }
        writeln!(to, "# d = {}", self.fragment_size as u64)?;
        if let Some(model) = &self.model {
            writeln!(to, "# alternative fragment length(s) may be {} bps", joined(&model.alternatives))?;
        }
        if !config.local_lambda {
            writeln!(to, "# local lambda is disabled!")?;
        }
        Ok(())
    }

    /// Writes the bedGraphs `NAME_treat_pileup.bdg` and `NAME_control_lambda.bdg`; per million reads if asked.
    ///
    /// # Errors
    /// When one of the two refuses.
    pub fn write_bedgraphs(
        &self,
        treatment: &mut impl Write,
        lambda: &mut impl Write,
        name: &str,
        per_million: bool,
        track_line: bool,
    ) -> Result<()> {
        let divisor = if per_million { self.signal.millions() } else { 1.0 };
        if track_line {
            let about = |what: &str| {
                format!(
                    "track type=bedGraph name=\"{what}\" description=\"{what} after possible scaling for '{name}'\""
                )
            };
            writeln!(treatment, "{}", about("treatment pileup"))?;
            writeln!(lambda, "{}", about("control lambda"))?;
        }
        for chromosome in 0..self.signal.len() {
            let track = self.signal.tracks(chromosome);
            let name = self.signal.name(chromosome);
            write_runs(treatment, name, &track.ends, &track.treatment, divisor)?;
            write_runs(lambda, name, &track.ends, &track.lambda, divisor)?;
        }
        Ok(())
    }
}

/// Writes runs, joining those whose values print alike.
fn write_runs(to: &mut impl Write, name: &str, ends: &[u32], values: &[f32], divisor: f32) -> Result<()> {
    const SAME: f64 = 1e-5;
    let (Some(&last), Some(&first)) = (ends.last(), values.first()) else { return Ok(()) };
    let (mut start, mut value) = (0, first / divisor);
    for (&end, &next) in ends.iter().zip(&values[1..]) {
        let next = next / divisor;
        if f64::from((value - next).abs()) > SAME {
            writeln!(to, "{name}\t{start}\t{end}\t{value:.5}")?;
            (start, value) = (end, next);
        }
    }
    writeln!(to, "{name}\t{start}\t{last}\t{value:.5}")
}

fn joined(numbers: impl IntoIterator<Item = impl Display>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// `['a.bed', 'b.bed']`
fn listed(files: &[String]) -> String {
    let quoted: Vec<String> = files.iter().map(|file| format!("'{file}'")).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_by_c() {
        // printf("%.6g")
        for (value, expected) in [
            (5.123_456_7, "5.12346"),
            (100.0, "100"),
            (123_456.7, "123457"),
            (1_234_567.0, "1.23457e+06"),
            (0.000_123_456_7, "0.000123457"),
            (0.000_012_345_67, "1.23457e-05"),
            (999_999.9, "1e+06"),
            (0.0, "0"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(g6(value), expected);
        }
        assert_eq!((e2(5.2e7), e2(0.05), e2(0.1)), ("5.20e+07".into(), "5.00e-02".into(), "1.00e-01".into()));
    }

    #[test]
    fn summits_are_lettered_as_by_the_reference() {
        assert_eq!([0, 25, 26, 27, 52, 702].map(letters), ["a", "z", "ba", "bb", "ca", "bba"]);
    }
}
