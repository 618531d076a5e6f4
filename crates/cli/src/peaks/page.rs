//! The report of a trained peak caller: how well it finds unseen peaks, whether its probabilities mean what they say,
//! and what it does on the genome.

use gradome::epigenome::Curves;
use gradome::epigenome::peaks::{Caller, HeldOut, PeakFit, PeakProbabilities, ReadLibrary, Stretch, Thinning};
use gradome::io::genome::Peak;
use gradome::nn::metrics;
use gradome::report::html::Page;
use gradome::report::plot::{Figure, Lines, Tracks};

use crate::error::Result;

/// Stretches that are shown on the genome.
const STRIPS: usize = 4;
/// Base pairs of a strip.
const STRIP: u32 = 30_000;
/// Bins below this probability are not grouped: most of a genome is surely empty.
const LEAST: f64 = 0.05;

/// The page about a training run.
pub fn page<C: Caller>(
    fit: &PeakFit<C>,
    library: &ReadLibrary,
    stretches: &[Stretch],
    labels: &[Peak],
    keep: f64,
) -> Result<Page> {
    let HeldOut { truth, probabilities } = &fit.held_out;
    let called: Vec<bool> = probabilities.iter().map(|p| *p >= fit.trained.threshold()).collect();
    let (precision, f1) = (fit.held_out.average_precision(), metrics::f1(truth, &called));
    let mut page = Page::new(format!("{}: trained on {} peaks", C::NAME, labels.len()));
    page.lead(format!(
        "An ensemble that finds in part of the reads the peaks of all of them. On stretches that a network has not seen \
         its average precision is {precision:.3}; calls from a probability of {:.3} have an F1 of {f1:.3}.",
        fit.trained.threshold()
    ))
    .fact("average precision", format!("{precision:.4}"))
    .fact("F1", format!("{f1:.4}"))
    .fact("Brier score", format!("{:.5}", metrics::brier_score(truth, probabilities)))
    .fact("bin", format!("{} bp", fit.trained.bin()))
    .fact("fragments", format!("{} bp", fit.trained.fragment_size()));

    let section = page.section("Unseen stretches");
    if let Some(Curves { recall, precision, .. }) = Curves::of(truth, probabilities) {
        let curve = Lines::new("recall", "precision").series("bins", &recall, &precision).y_range(0.0, 1.0).draw()?;
        let caption =
            "Precision against recall of bins, from the most certain on; true are those whose middle lies in a peak.";
        section.figure(curve, caption);
    }
    let pairs = truth.iter().zip(probabilities).filter(|(_, p)| **p >= LEAST);
    let (grouped, said): (Vec<bool>, Vec<f64>) = pairs.map(|(truth, p)| (*truth, *p)).unzip();
    if let Some(Curves { predicted, observed, .. }) = Curves::of(&grouped, &said) {
        let diagonal = [0.0, 1.0];
        let curve = Lines::new("probability", "frequency")
            .series("bins", &predicted, &observed)
            .series("calibrated", &diagonal, &diagonal)
            .y_range(0.0, 1.0)
            .draw()?;
        let caption = format!("Calibration: groups of equal size of the bins with a probability of at least {LEAST}.");
        section.figure(curve, caption);
    }

    let section = page.section("On the genome");
    section.paragraph("Part of the reads as the networks see them (area), the probability of a peak, and the peaks that all reads show.");
    for stretch in shown(stretches, labels, fit.trained.bin()) {
        let thinning = Thinning { keep, seed: 0 };
        let bins = stretch.bins;
        let tracks = library.tracks(&stretch, fit.trained.bin(), Some(thinning));
        let probabilities = PeakProbabilities {
            probabilities: fit.trained.probabilities(&tracks, bins, fit.trained.bin())?,
            pileup: tracks[..bins].to_vec(),
            background: vec![0.0; bins],
            bin: fit.trained.bin(),
            stretch,
        };
        let place = format!("{} from {} bp on.", probabilities.stretch.chromosome, probabilities.stretch.start);
        section.figure(strip(&probabilities, labels)?, place);
    }

    let section = page.section("Training");
    let mut lines = Lines::new("epoch", "cross entropy");
    for (member, history) in fit.histories.iter().enumerate() {
        let (epochs, losses): (Vec<f64>, Vec<f64>) =
            history.train("loss").into_iter().map(|(epoch, loss)| (epoch as f64, loss)).unzip();
        lines = lines.series(format!("network {}", member + 1), &epochs, &losses);
    }
    section.figure(lines.draw()?, "The loss of each network of the ensemble.");
    page.footer(format!(
        "gradome {}. Figures are drawn inside this file; it loads nothing from the network.",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(page)
}

/// Stretches around the strongest peaks, each within one of the training stretches.
fn shown(stretches: &[Stretch], labels: &[Peak], bin: u32) -> Vec<Stretch> {
    let mut strongest: Vec<&Peak> = labels.iter().collect();
    strongest.sort_by(|a, b| b.signal.total_cmp(&a.signal));
    let around = |peak: &Peak| {
        let whole = stretches.iter().find(|stretch| {
            let end = stretch.start + stretch.bins as u32 * bin;
            stretch.chromosome == peak.chromosome && stretch.start <= peak.start && peak.end <= end
        })?;
        let end = whole.start + whole.bins as u32 * bin;
        let start = peak.start.saturating_sub(STRIP / 2).max(whole.start) / bin * bin;
        Some(Stretch {
            chromosome: peak.chromosome.clone(),
            start,
            bins: ((start + STRIP).min(end) - start) as usize / bin as usize,
        })
    };
    let mut found: Vec<Stretch> = Vec::new();
    // from the middle of the ranks on: the very strongest are easy
    for peak in strongest.iter().skip(strongest.len() / 3) {
        if found.len() == STRIPS {
            break;
        }
        found.extend(
            around(peak).filter(|stretch| found.iter().all(|other| other.start.abs_diff(stretch.start) > STRIP)),
        );
    }
    found
}

fn strip(probabilities: &PeakProbabilities, labels: &[Peak]) -> Result<Figure> {
    let PeakProbabilities { stretch, bin, probabilities, pileup, .. } = probabilities;
    let at = |i: usize| u64::from(stretch.start) + i as u64 * u64::from(*bin);
    let runs = |value: &dyn Fn(usize) -> f64| -> Vec<(u64, u64, f64)> {
        (0..probabilities.len()).map(|i| (at(i), at(i + 1), value(i))).collect()
    };
    let (start, end) = (at(0), at(probabilities.len()));
    let within = |peak: &&Peak| {
        peak.chromosome == stretch.chromosome && u64::from(peak.start) < end && u64::from(peak.end) > start
    };
    let boxes = labels
        .iter()
        .filter(within)
        .map(|peak| (u64::from(peak.start).max(start), u64::from(peak.end).min(end), peak.name.clone()));
    let figure = Tracks::new(stretch.chromosome.clone(), start, end)
        .signal("fragments", runs(&|i| f64::from(pileup[i])))
        .signal("probability", runs(&|i| probabilities[i]))
        .up_to(1.0)
        .intervals("peaks", boxes)
        .draw()?;
    Ok(figure)
}
