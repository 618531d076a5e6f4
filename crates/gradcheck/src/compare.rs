//! Judges pairs of derivatives.

use crate::difference::{Estimate, NOISE_MARGIN};
use crate::{Check, Comparison, Input, InputReport, Place};

/// Derivatives below this share of the largest one of the same input are judged against that share:
/// their neighbours' rounding noise reaches about 1e-13 of the largest, which is 1e-10 of this.
const FLOOR: f64 = 1e-3;

/// Two derivatives of one combination of outputs at one place.
pub(crate) struct Pair {
    /// Number of the element or of the random direction.
    pub(crate) place: usize,
    pub(crate) cotangent: usize,
    pub(crate) analytic: f64,
    pub(crate) estimate: Estimate,
}

/// What the places of an input's pairs are.
#[derive(Clone, Copy)]
pub(crate) enum Places {
    Elements,
    /// Random directions: all have derivatives of one size, which a few miss by cancellation.
    Probes,
}

enum Verdict {
    Right,
    Wrong,
    Kink,
}

/// Summarises the pairs of one input, which stand in the order of their places.
pub(crate) fn judge(
    check: &Check,
    input: &Input,
    pairs: &[Pair],
    kind: Places,
    output: impl Fn(usize) -> Option<String>,
) -> InputReport {
    let floors = floors(check, pairs, kind);
    let place = |number: usize| match kind {
        Places::Elements => input.place(number),
        Places::Probes => Place::Probe(number),
    };
    let mut report = InputReport {
        name: input.name.clone(),
        shape: input.shape.clone(),
        checked: 0,
        kinks: Vec::new(),
        wrong: 0,
        tiny: 0,
        max_abs_error: 0.0,
        max_rel_error: 0.0,
        worst: None,
        passed: false,
    };
    for same_place in pairs.chunk_by(|a, b| a.place == b.place) {
        let (mut kink, mut wrong) = (false, false);
        for pair in same_place {
            let (verdict, abs_error, rel_error) = verdict(check, pair, floors[pair.cotangent]);
            if let Verdict::Kink = verdict {
                kink = true;
                continue;
            }
            wrong |= matches!(verdict, Verdict::Wrong);
            report.max_abs_error = report.max_abs_error.max(abs_error);
            report.max_rel_error = report.max_rel_error.max(rel_error);
            if report.worst.as_ref().is_none_or(|worst| rel_error > worst.rel_error) {
                report.worst = Some(Comparison {
                    place: place(pair.place),
                    output: output(pair.cotangent),
                    analytic: pair.analytic,
                    numeric: pair.estimate.numeric,
                    uncertainty: pair.estimate.uncertainty + pair.estimate.noise,
                    abs_error,
                    rel_error,
                });
            }
        }
        let largest = |pair: &Pair| pair.analytic.abs().max(pair.estimate.numeric.abs());
        let zero = same_place.iter().all(|pair| largest(pair) == 0.0);
        let small = same_place.iter().all(|pair| largest(pair) <= check.rtol * floors[pair.cotangent]);
        report.tiny += usize::from(small && !zero && !kink);
        report.wrong += usize::from(wrong);
        if kink {
            report.kinks.push(place(same_place[0].place));
        } else {
            report.checked += 1;
        }
    }
    let places = report.checked + report.kinks.len();
    let few_kinks = report.kinks.len() as f64 <= check.max_kink_share * places as f64;
    report.passed = report.wrong == 0 && few_kinks;
    report
}

/// For each cotangent, the smallest derivative that is judged by its own size.
fn floors(check: &Check, pairs: &[Pair], kind: Places) -> Vec<f64> {
    let share = match kind {
        Places::Elements => FLOOR,
        Places::Probes => 1.0,
    };
    let cotangents = pairs.iter().map(|pair| pair.cotangent + 1).max().unwrap_or(0);
    let mut floors = vec![check.atol / check.rtol; cotangents];
    for Pair { cotangent, estimate, .. } in pairs {
        // f64::max leaves out the NaN of a function that is not finite.
        floors[*cotangent] = floors[*cotangent].max(share * estimate.numeric.abs());
    }
    floors
}

/// The verdict, the absolute and the relative error.
fn verdict(check: &Check, pair: &Pair, floor: f64) -> (Verdict, f64, f64) {
    let Pair { analytic, estimate: Estimate { numeric, uncertainty, noise }, .. } = *pair;
    let resolved = (check.rtol * numeric.abs().max(floor)).max(NOISE_MARGIN * noise);
    if numeric.is_finite() && uncertainty > resolved {
        return (Verdict::Kink, 0.0, 0.0);
    }
    let abs_error = (analytic - numeric).abs();
    if !abs_error.is_finite() {
        return (Verdict::Wrong, f64::INFINITY, f64::INFINITY);
    }
    let rel_error = abs_error / analytic.abs().max(numeric.abs()).max(floor);
    let verdict = if rel_error <= check.rtol { Verdict::Right } else { Verdict::Wrong };
    (verdict, abs_error, rel_error)
}
