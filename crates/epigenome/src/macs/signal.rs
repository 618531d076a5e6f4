//! The treatment's pileup beside the background that is expected, on one scale.

use super::config::{MacsConfig, ScaleTo};
use super::fragment_model::FragmentModel;
use super::library::{Library, Placed};
use super::pileup::{PairedTrack, Track, higher, pair};
use crate::{Error, Result};

/// Pileups of treatment and background, chromosome by chromosome.
///
/// Tracks are made when they are asked for: what is kept is in proportion to the reads.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Names and reads of the chromosomes that both samples have, by name; without a control the second is absent.
    chromosomes: Vec<(Placed, Option<Placed>)>,
    scales: Scales,
    /// Reads in millions that pileups are divided by to be per million reads.
    millions: f32,
}

/// Sizes and scales of all pileups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scales {
    /// To which single reads are extended (bp).
    pub fragment_size: u32,
    /// By which their ends are moved (bp).
    pub shift: i32,
    pub treatment: f32,
    /// Widths (bp) and scales of the windows of the local background; without any it is the genome's mean.
    pub windows: Vec<(u32, f32)>,
    /// The genome's mean, below which the background does not fall (reads).
    pub genome_lambda: f32,
}

/// The fragment size of a call (bp); pairs have a mean that is no whole number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size(pub f64);

impl Scales {
    /// The scales of MACS3's `PeakDetect.py`, in its precision: printed digits depend on it.
    pub fn new(treatment: &Library, control: Option<&Library>, size: Size, config: &MacsConfig) -> Result<Self> {
        let paired = treatment.template_length > 0;
        let Some(control) = control else {
            return Self::without_control(treatment, size, config, paired);
        };
        let ends = if paired { 2 } else { 1 };
        let control_total = control.counts.after * ends;
        let (treatment_sum, control_sum) = if paired {
            let expected = control_total as f64 * f64::from(treatment.mean_template);
            (treatment.template_length as f64, expected.trunc())
        } else {
            (treatment.counts.after as f64 * size.0, control.counts.after as f64 * size.0)
        };
        let ratio = treatment_sum / control_sum;
        let larger_treatment = treatment.counts.after > control_total;
        let treatment_is_scaled = match config.scale_to {
            ScaleTo::Small => larger_treatment,
            ScaleTo::Large => !larger_treatment,
        };
        let (treatment_scale, control_ratio, sum) =
            if treatment_is_scaled { ((1.0 / ratio) as f32, 1.0, control_sum) } else { (1.0, ratio, treatment_sum) };
        let (small, large) = (config.small_local, config.large_local);
        for (what, window) in [("small", small), ("large", large)] {
            if config.local_lambda && window > 0 && size.0 > f64::from(window) {
                return Err(Error::Data(format!(
                    "the {what} local window is {window} bp, shorter than the fragment size {:.0}: widen it or set it to 0",
                    size.0
                )));
            }
        }
        if config.local_lambda && large > 0 && small > large {
            return Err(Error::Data(format!(
                "the small local window, {small} bp, is wider than the large one, {large}"
            )));
        }
        let mut windows = Vec::new();
        if config.local_lambda {
            windows.push((size.0 as u32, control_ratio as f32));
            let local = [(small, small > 0), (large, large > small)];
            for (width, _) in local.into_iter().filter(|(_, used)| *used) {
                windows.push((width, (size.0 / f64::from(width) * control_ratio) as f32));
            }
        }
        Ok(Self {
            fragment_size: size.0 as u32,
            shift: config.shift,
            treatment: treatment_scale,
            windows,
            genome_lambda: (sum / config.genome_size) as f32,
        })
    }

    /// Without a control the treatment's own large window is the background.
    fn without_control(treatment: &Library, size: Size, config: &MacsConfig, paired: bool) -> Result<Self> {
        let total = treatment.counts.after as f64;
        let sum = if paired { treatment.template_length as f64 } else { size.0 * total };
        let large = f64::from(config.large_local);
        if config.local_lambda && config.large_local == 0 {
            let problem = "without a control the large local window is the background: it cannot be 0 bp wide";
            return Err(Error::Data(problem.into()));
        }
        let scale = if paired { sum / (large * total * 2.0) } else { size.0 / large };
        Ok(Self {
            fragment_size: size.0 as u32,
            shift: config.shift,
            treatment: 1.0,
            windows: if config.local_lambda { vec![(config.large_local, scale as f32)] } else { Vec::new() },
            genome_lambda: (sum / config.genome_size) as f32,
        })
    }
}

/// What a call is made from.
pub(super) struct Samples {
    pub signal: Signal,
    /// Chromosomes of one sample alone, which are left out: of the treatment, of the control.
    pub unmatched: [Vec<String>; 2],
}

impl Samples {
    /// Joins the chromosomes that both samples have.
    pub fn join(treatment: Library, control: Option<Library>, scales: Scales) -> Result<Self> {
        let depth = match &control {
            Some(control) if scales.treatment != 1.0 => control.counts.after,
            _ => treatment.counts.after,
        };
        let millions = (depth as f64 / 1e6) as f32;
        let mut unmatched = [Vec::new(), Vec::new()];
        let chromosomes: Vec<_> = match control {
            None => treatment.chromosomes.into_iter().map(|placed| (placed, None)).collect(),
            Some(control) => {
                let mut others = control.chromosomes.into_iter().peekable();
                let mut both = Vec::new();
                for placed in treatment.chromosomes {
                    while let Some(other) = others.next_if(|other| other.name < placed.name) {
                        unmatched[1].push(other.name);
                    }
                    match others.next_if(|other| other.name == placed.name) {
                        Some(other) => both.push((placed, Some(other))),
                        None => unmatched[0].push(placed.name),
                    }
                }
                unmatched[1].extend(others.map(|other| other.name));
                both
            }
        };
        if chromosomes.is_empty() {
            let [treatment, control] = unmatched.map(|names| names.into_iter().take(5).collect::<Vec<_>>().join(", "));
            return Err(Error::Data(format!(
                "treatment and control have no chromosome in common (treatment: {treatment}; control: {control}): are \
                 both of one assembly?"
            )));
        }
        Ok(Self { signal: Signal { chromosomes, scales, millions }, unmatched })
    }
}

impl Signal {
    /// How many chromosomes there are.
    pub fn len(&self) -> usize {
        self.chromosomes.len()
    }

    /// Whether there is none; a finished call has at least one.
    pub fn is_empty(&self) -> bool {
        self.chromosomes.is_empty()
    }

    /// The name of a chromosome; they are ordered by it.
    pub fn name(&self, chromosome: usize) -> &str {
        &self.chromosomes[chromosome].0.name
    }

    /// The place of a chromosome among all.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.chromosomes.binary_search_by(|(placed, _)| placed.name.as_str().cmp(name)).ok()
    }

    /// Treatment pileup and local lambda along a chromosome, after scaling.
    ///
    /// The background is the highest of the control's pileups over the fragment size and the local windows, and not
    /// below the genome's mean.
    pub fn tracks(&self, chromosome: usize) -> PairedTrack {
        let (treatment, control) = &self.chromosomes[chromosome];
        let Scales { fragment_size, shift, treatment: scale, windows, genome_lambda } = &self.scales;
        let fragments = || treatment.fragments(*fragment_size, *shift, *scale);
        let background = || {
            let source = control.as_ref().unwrap_or(treatment);
            let tracks = windows.iter().map(|&(width, scale)| source.windows(width, scale, *genome_lambda));
            tracks.reduce(|a, b| higher(&a, &b))
        };
        let (fragments, background) = rayon::join(fragments, background);
        let background = background.unwrap_or_else(|| Track {
            ends: fragments.ends.last().copied().into_iter().collect(),
            values: vec![*genome_lambda; fragments.ends.len().min(1)],
        });
        pair(&fragments, &background)
    }

    /// The number that pileups are divided by to be per million reads.
    pub fn millions(&self) -> f32 {
        self.millions
    }

    /// About how many runs all tracks have, at most.
    pub(super) fn most_runs(&self) -> usize {
        let windows = self.scales.windows.len();
        let runs = |(treatment, control): &(Placed, Option<Placed>)| {
            2 * treatment.positions() + 2 * windows * control.as_ref().unwrap_or(treatment).positions()
        };
        self.chromosomes.iter().map(runs).sum()
    }
}

/// How the fragment size of a call was decided.
pub(super) struct Decision {
    pub size: Size,
    pub model: Option<FragmentModel>,
    pub note: Option<String>,
}
