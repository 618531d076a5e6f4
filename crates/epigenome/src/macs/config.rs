//! The settings of a peak call.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many reads that lie at one place are believed to be of different molecules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// All reads are kept.
    All,
    /// As many as chance gives one place with probability 1e-5, by the binomial distribution over the genome.
    Auto,
    /// At most so many of one position and strand, or of one start and end of pairs.
    AtMost(u32),
}

/// Which of two samples of unequal size is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleTo {
    /// The larger one is scaled down.
    Small,
    /// The smaller one is scaled up.
    Large,
}

/// What is significant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cutoff {
    /// False discovery rates below this.
    Q(f64),
    /// p-values below this.
    P(f64),
}

impl Cutoff {
    /// The cutoff as a score: -log10, in the precision of scores.
    pub(super) fn score(self) -> f32 {
        let (Self::Q(value) | Self::P(value)) = self;
        minus_log10(value)
    }
}

/// -log10 as the reference computes it, from natural logarithms.
pub(super) fn minus_log10(value: f64) -> f32 {
    (-(value.ln() / 10_f64.ln())) as f32
}

/// The settings of [`call_peaks`](super::call_peaks); the defaults are those of MACS3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MacsConfig {
    /// Base pairs of the genome to which reads can be assigned.
    pub genome_size: f64,
    /// Length of a read (bp); taken from the first reads where not given. Not used for pairs.
    pub tag_size: Option<u32>,
    /// Reads kept at one place.
    pub duplicates: Duplicates,
    /// For fragments of cells: those of these barcodes alone.
    pub barcodes: Option<BTreeSet<String>>,
    /// For fragments of cells: a fragment counts at most so often.
    pub max_count: Option<u32>,
    /// Whether the fragment size is estimated from the reads; pairs have theirs.
    pub model: bool,
    /// Fragment size (bp) where it is not estimated.
    pub fragment_size: u32,
    /// How far 5' ends are moved towards 3' before they are extended (bp); negative is towards 5'.
    pub shift: i32,
    /// Half the width of a region of the fragment-size model (bp).
    pub band_width: u32,
    /// Enrichment over the genome's mean of the regions that the model is made from: lowest and highest.
    pub fold_range: (u32, u32),
    /// Estimates of the fragment size up to this are not believed (bp).
    pub min_fragment: u32,
    /// Whether `fragment_size` is used when the model fails or its estimate is below twice the read length.
    pub fix_bimodal: bool,
    /// What is significant.
    pub cutoff: Cutoff,
    /// The cutoff of broad regions, of the same kind as `cutoff`; with one, broad peaks are called.
    pub broad_cutoff: Option<f64>,
    /// Which sample is scaled.
    pub scale_to: ScaleTo,
    /// Whether the background is local; otherwise it is the genome's mean.
    pub local_lambda: bool,
    /// The small window of the local background (bp); 0 leaves it out. Used with a control alone.
    pub small_local: u32,
    /// The large window of the local background (bp); 0 leaves it out.
    pub large_local: u32,
    /// Significant stretches this near are one peak (bp); the read length where not given.
    pub max_gap: Option<u32>,
    /// Shortest peak (bp); the fragment size where not given.
    pub min_length: Option<u32>,
    /// Whether several summits are sought in each peak.
    pub call_summits: bool,
    /// Peaks with a lower fold enrichment at the summit (in the mean, of broad ones) are left out.
    pub min_fold: f64,
}

impl Default for MacsConfig {
    fn default() -> Self {
        Self {
            genome_size: genome_size("hs").expect("the human genome has a size"),
            tag_size: None,
            duplicates: Duplicates::AtMost(1),
            barcodes: None,
            max_count: None,
            model: true,
            fragment_size: 200,
            shift: 0,
            band_width: 300,
            fold_range: (5, 50),
            min_fragment: 20,
            fix_bimodal: false,
            cutoff: Cutoff::Q(0.05),
            broad_cutoff: None,
            scale_to: ScaleTo::Small,
            local_lambda: true,
            small_local: 1_000,
            large_local: 10_000,
            max_gap: None,
            min_length: None,
            call_summits: false,
            min_fold: 1.0,
        }
    }
}

/// The effective genome size of a species by MACS3's short name (`hs`, `mm`, `ce`, `dm`), in bp.
///
/// GRCh38, GRCm38, WBcel235 and dm6, as deepTools counts positions that are not N.
pub fn genome_size(species: &str) -> Option<f64> {
    match species {
        "hs" => Some(2_913_022_398.0),
        "mm" => Some(2_652_783_500.0),
        "ce" => Some(100_286_401.0),
        "dm" => Some(142_573_017.0),
        _ => None,
    }
}

impl MacsConfig {
    /// Checks that the settings can be meant.
    ///
    /// # Errors
    /// The first setting that cannot.
    pub fn validate(&self) -> Result<()> {
        let wrong = |problem: String| Err(Error::Data(problem));
        if !(self.genome_size >= 1.0 && self.genome_size.is_finite()) {
            return wrong(format!("genome size {}: must be a number of base pairs", self.genome_size));
        }
        let (Cutoff::Q(cutoff) | Cutoff::P(cutoff)) = self.cutoff;
        for (what, value) in [("cutoff", Some(cutoff)), ("broad cutoff", self.broad_cutoff)] {
            if value.is_some_and(|value| !(value > 0.0 && value <= 1.0)) {
                return wrong(format!("{what} {}: must be above 0 and at most 1", value.unwrap_or_default()));
            }
        }
        if self.broad_cutoff.is_some_and(|broad| broad < cutoff) {
            return wrong(format!("the broad cutoff must not be stricter than the cutoff {cutoff}"));
        }
        if self.broad_cutoff.is_some() && self.call_summits {
            return wrong("broad peaks have no summits: choose one of broad regions and summits".into());
        }
        let sizes = [
            ("fragment size", Some(self.fragment_size)),
            ("band width", Some(self.band_width)),
            ("tag size", self.tag_size),
            ("max count", self.max_count),
        ];
        if let Some((what, _)) = sizes.iter().find(|(_, size)| *size == Some(0)) {
            return wrong(format!("{what} 0: must be at least 1"));
        }
        if self.duplicates == Duplicates::AtMost(0) {
            return wrong("duplicates: at least one read must be kept at a place".into());
        }
        if self.band_width > LARGEST_BAND_WIDTH {
            return wrong(format!("band width {}: at most {LARGEST_BAND_WIDTH} bp", self.band_width));
        }
        if self.fold_range.0 > self.fold_range.1 {
            return wrong(format!("fold range {:?}: the first must not be above the second", self.fold_range));
        }
        if !self.min_fold.is_finite() {
            return wrong(format!("lowest fold enrichment {}: must be a number", self.min_fold));
        }
        Ok(())
    }
}

/// Regions of the model beyond this would be wider than any fragment that is sequenced.
const LARGEST_BAND_WIDTH: u32 = 100_000;
