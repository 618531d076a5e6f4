//! The arguments of `gradome macs callpeak`: MACS3's, and what they mean.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gradome::epigenome::macs::{Cutoff, Duplicates, MacsConfig, ScaleTo, genome_size};

use crate::error::{Failure, Result, wrong};

/// Call peaks from reads, with or without a control, as `macs3 callpeak` does.
///
/// Same arguments, defaults, files and results as MACS3 3.0.4, on all processors. Writes NAME_peaks.narrowPeak and
/// NAME_summits.bed (with --broad: NAME_peaks.broadPeak and NAME_peaks.gappedPeak), NAME_peaks.xls, bedGraphs with -B,
/// and NAME_report.html, which shows the fragment-size model that MACS3 writes as the R script NAME_model.r. Files may
/// be gzipped.
///
/// Differences: -q is --qvalue here, quiet is --quiet alone. Of BEDPE with ten columns (bedtools) the outer ends are
/// taken. With several files of pairs the fragment size is the mean over all, not the last file's. Not there:
/// --down-sample, --cutoff-analysis, --to-large and --ratio, SAM and ELAND files; each is an error.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome macs callpeak -t ChIP.bam -c Control.bam -g hs -n test -B -q 0.01
  gradome macs callpeak -t ChIP.bam -c Control.bam --broad -g hs --broad-cutoff 0.1
  gradome macs callpeak -f BAMPE -t ATAC.bam -g hs -n atac
  gradome macs callpeak -f FRAG -t fragments.tsv.gz -g hs -n cells --barcodes kept.txt")]
pub struct Callpeak {
    /// Files of the treatment; several are pooled
    #[arg(short, long, value_name = "FILE", num_args = 1.., required_unless_present = "config", help_heading = "Input")]
    pub treatment: Vec<PathBuf>,
    /// Files of the control; several are pooled
    #[arg(short, long, value_name = "FILE", num_args = 1.., help_heading = "Input")]
    pub control: Vec<PathBuf>,
    /// A file of settings: a key for each long flag (`gsize = "mm"`); flags override it
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub config: Option<PathBuf>,
    /// Format of all files; AUTO tells BED and BAM, formats of pairs must be named
    #[arg(short, long, value_enum, ignore_case = true, default_value_t = Format::Auto, help_heading = "Input")]
    pub format: Format,
    /// Effective genome size in bp, or hs (2,913,022,398), mm (2,652,783,500), ce (100,286,401), dm (142,573,017)
    #[arg(short, long, value_name = "SIZE", default_value = "hs", help_heading = "Input")]
    pub gsize: String,
    /// Read length in bp [default: the mean of the first ten reads]
    #[arg(short = 's', long, value_name = "BP", help_heading = "Input")]
    pub tsize: Option<u32>,
    /// Reads kept at one position and strand: a number, 'all', or 'auto' for what chance allows
    #[arg(long, value_name = "N|auto|all", default_value = "1", help_heading = "Input")]
    pub keep_dup: String,
    /// With FRAG, takes the fragments of these barcodes alone, one a line
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub barcodes: Option<PathBuf>,
    /// With FRAG, counts a fragment at most so often; 0 is no limit
    #[arg(long, value_name = "N", help_heading = "Input")]
    pub max_count: Option<u32>,

    /// The folder to write to; made when it is missing
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Output")]
    pub outdir: PathBuf,
    /// What names of files and peaks start with
    #[arg(short, long, default_value = "NA", help_heading = "Output")]
    pub name: String,
    /// Write bedGraphs of treatment pileup and local lambda
    #[arg(short = 'B', long, help_heading = "Output")]
    pub bdg: bool,
    /// Write a UCSC track line at the head of the files
    #[arg(long, help_heading = "Output")]
    pub trackline: bool,
    /// Write the bedGraphs per million reads
    #[arg(long = "SPMR", requires = "bdg", help_heading = "Output")]
    pub spmr: bool,
    /// Write no NAME_report.html
    #[arg(long, help_heading = "Output")]
    pub no_report: bool,
    // in the place of the global flags, whose -q and -v mean something else here
    /// Say nothing but warnings, errors and results
    #[arg(long, id = "quiet", help_heading = "Output")]
    pub quiet: bool,
    /// How much to say: 2 is the usual, 3 more; for less use --quiet
    #[arg(long, id = "verbose", value_name = "N", default_value = "2", value_parser = level, help_heading = "Output")]
    pub verbose: u8,

    /// Take --extsize as the fragment size and build no model
    #[arg(long, help_heading = "Fragment size")]
    pub nomodel: bool,
    /// Move 5' ends so far towards 3' before they are extended (bp); negative moves towards 5'
    #[arg(long, value_name = "BP", default_value_t = 0, allow_negative_numbers = true, help_heading = "Fragment size")]
    pub shift: i32,
    /// Fragment size where no model is built (bp)
    #[arg(long, value_name = "BP", default_value_t = 200, help_heading = "Fragment size")]
    pub extsize: u32,
    /// Half the width of the model's regions (bp)
    #[arg(long, value_name = "BP", default_value_t = 300, help_heading = "Fragment size")]
    pub bw: u32,
    /// Shortest fragment size that the model may find (bp)
    #[arg(long, value_name = "BP", default_value_t = 20, help_heading = "Fragment size")]
    pub d_min: u32,
    /// Lowest and highest enrichment of the model's regions
    #[arg(short, long, value_names = ["LOW", "HIGH"], num_args = 2, default_values_t = [5, 50], help_heading = "Fragment size")]
    pub mfold: Vec<u32>,
    /// Take --extsize where the model fails or finds less than two read lengths
    #[arg(long, help_heading = "Fragment size")]
    pub fix_bimodal: bool,

    /// Highest false discovery rate
    #[arg(short, long, value_name = "Q", default_value_t = 0.05, help_heading = "Peaks")]
    pub qvalue: f64,
    /// Highest p-value, instead of -q
    #[arg(short, long, value_name = "P", conflicts_with = "qvalue", help_heading = "Peaks")]
    pub pvalue: Option<f64>,
    /// Scale the larger sample down, or the smaller up
    #[arg(long, value_enum, default_value_t = Scale::Small, help_heading = "Peaks")]
    pub scale_to: Scale,
    /// Take the genome's mean as the background everywhere
    #[arg(long, help_heading = "Peaks")]
    pub nolambda: bool,
    /// Small window of the local background (bp); 0 leaves it out; used with a control alone
    #[arg(long, value_name = "BP", default_value_t = 1000, help_heading = "Peaks")]
    pub slocal: u32,
    /// Large window of the local background (bp); 0 leaves it out
    #[arg(long, value_name = "BP", default_value_t = 10000, help_heading = "Peaks")]
    pub llocal: u32,
    /// Join significant stretches this near (bp) [default: the read length]
    #[arg(long, value_name = "BP", help_heading = "Peaks")]
    pub max_gap: Option<u32>,
    /// Shortest peak (bp) [default: the fragment size]
    #[arg(long, value_name = "BP", help_heading = "Peaks")]
    pub min_length: Option<u32>,
    /// Call broad regions
    #[arg(long, conflicts_with = "call_summits", help_heading = "Peaks")]
    pub broad: bool,
    /// Cutoff of broad regions; a p-value with -p, else a false discovery rate
    #[arg(long, value_name = "CUTOFF", default_value_t = 0.1, help_heading = "Peaks")]
    pub broad_cutoff: f64,
    /// Look for several summits in each peak
    #[arg(long, help_heading = "Peaks")]
    pub call_summits: bool,
    /// Lowest fold enrichment of a peak
    #[arg(long, value_name = "FOLD", default_value_t = 1.0, help_heading = "Peaks")]
    pub fe_cutoff: f64,

    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// Arguments of MACS3 that are not there, so that each can be said to be missing, or that change nothing here.
#[derive(Args)]
struct Elsewhere {
    #[arg(long, hide = true)]
    down_sample: bool,
    #[arg(long, hide = true)]
    cutoff_analysis: bool,
    #[arg(long, hide = true)]
    to_large: bool,
    #[arg(long, hide = true)]
    ratio: Option<f64>,
    #[arg(long, hide = true)]
    buffer_size: Option<u64>,
    #[arg(long, hide = true)]
    tempdir: Option<PathBuf>,
}

/// Formats of reads.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Format {
    /// BED or BAM, by content
    Auto,
    /// Single reads as text
    Bed,
    /// Single reads; of pairs the first ends
    Bam,
    /// Pairs as text: chromosome, start, end
    Bedpe,
    /// Proper pairs
    Bampe,
    /// Fragments of cells: chromosome, start, end, barcode, count
    Frag,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    Small,
    Large,
}

/// MACS3's levels of messages as so many `-v`.
fn level(text: &str) -> Result<u8, String> {
    match text {
        "2" => Ok(0),
        "3" => Ok(1),
        "0" | "1" => Err("use --quiet to hear warnings and errors alone".into()),
        _ => Err("a number from 0 to 3".into()),
    }
}

impl Elsewhere {
    fn check(&self) -> Result<()> {
        let missing = [
            (self.down_sample, "--down-sample", "samples are balanced by scaling; sample the reads beforehand"),
            (self.cutoff_analysis, "--cutoff-analysis", "call with several cutoffs, each takes seconds"),
            (self.to_large, "--to-large", "it is --scale-to large"),
            (self.ratio.is_some(), "--ratio", "the ratio follows from the numbers of reads"),
        ];
        if let Some((_, flag, remedy)) = missing.into_iter().find(|(given, ..)| *given) {
            return Err(wrong(format!("{flag} of MACS3 is not there: {remedy}")));
        }
        if self.buffer_size.is_some() {
            log::info!("--buffer-size changes nothing: memory follows the reads, whatever the number of chromosomes");
        }
        if self.tempdir.is_some() {
            log::info!("--tempdir changes nothing: there are no temporary files");
        }
        Ok(())
    }
}

impl Callpeak {
    /// The settings; what the arguments cannot mean is an error.
    pub fn settings(&self, barcodes: Option<BTreeSet<String>>) -> Result<MacsConfig> {
        self.elsewhere.check()?;
        let paired = matches!(self.format, Format::Bedpe | Format::Bampe | Format::Frag);
        if paired && self.shift != 0 {
            return Err(wrong("--shift moves the ends of single reads: pairs have fragments of known place"));
        }
        if self.format != Format::Frag && (barcodes.is_some() || self.max_count.is_some()) {
            return Err(wrong("--barcodes and --max-count are for fragments of cells: they need -f FRAG"));
        }
        if self.name.contains(['/', '\\', '\n', '\t']) || self.name.is_empty() {
            return Err(wrong(format!("--name {:?}: a name of files; the folder is --outdir", self.name)));
        }
        Ok(MacsConfig {
            genome_size: self.genome_size()?,
            tag_size: self.tsize,
            duplicates: self.duplicates()?,
            barcodes,
            max_count: self.max_count.filter(|&most| most > 0),
            model: !self.nomodel,
            fragment_size: self.extsize,
            shift: self.shift,
            band_width: self.bw,
            fold_range: (self.mfold[0], self.mfold[1]),
            min_fragment: self.d_min,
            fix_bimodal: self.fix_bimodal,
            cutoff: self.pvalue.map_or(Cutoff::Q(self.qvalue), Cutoff::P),
            broad_cutoff: self.broad.then_some(self.broad_cutoff),
            scale_to: if self.scale_to == Scale::Large { ScaleTo::Large } else { ScaleTo::Small },
            local_lambda: !self.nolambda,
            small_local: self.slocal,
            large_local: self.llocal,
            // 0 is not given, as in MACS3
            max_gap: self.max_gap.filter(|&gap| gap > 0),
            min_length: self.min_length.filter(|&length| length > 0),
            call_summits: self.call_summits,
            min_fold: self.fe_cutoff,
        })
    }

    fn genome_size(&self) -> Result<f64> {
        let size = genome_size(&self.gsize).or_else(|| self.gsize.parse().ok());
        size.ok_or_else(|| wrong(format!("--gsize {}: give a number of base pairs, or hs, mm, ce or dm", self.gsize)))
    }

    fn duplicates(&self) -> Result<Duplicates> {
        let wrong = || -> Failure { wrong(format!("--keep-dup {}: give a number from 1, auto or all", self.keep_dup)) };
        match self.keep_dup.as_str() {
            "all" => Ok(Duplicates::All),
            "auto" => Ok(Duplicates::Auto),
            number => match number.parse() {
                Ok(most) if most > 0 => Ok(Duplicates::AtMost(most)),
                _ => Err(wrong()),
            },
        }
    }
}
