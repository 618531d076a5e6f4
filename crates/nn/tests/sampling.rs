//! Drawn counts have the moments that theory gives them.

use gradome_nn::Rng;
use gradome_nn::distributions::{
    Bernoulli, NegativeBinomial, NegativeBinomialMixture, Poisson, ZeroInflatedNegativeBinomial,
};
use gradome_tape::{Tape, Tensor, Var};
use rand::SeedableRng;

const DRAWS: usize = 40_000;
/// A standard normal deviate exceeds this in six draws of ten million.
const STANDARD_ERRORS: f64 = 5.0;

/// Compares the sample mean and variance with theory, within their own standard errors.
fn assert_moments(case: &str, sample: &Tensor<f64>, mean: f64, variance: f64) {
    let n = sample.data().len() as f64;
    let moment = |centre: f64, power: i32| sample.data().iter().map(|v| (v - centre).powi(power)).sum::<f64>() / n;
    let sample_mean = moment(0.0, 1);
    let sample_variance = moment(sample_mean, 2);
    let of_mean = (variance / n).sqrt();
    // the variance of a sample variance is (fourth moment - variance^2) / n
    let of_variance = ((moment(sample_mean, 4) - sample_variance.powi(2)) / n).sqrt();
    assert!((sample_mean - mean).abs() < STANDARD_ERRORS * of_mean, "{case}: mean {sample_mean}, in theory {mean}");
    assert!(
        (sample_variance - variance).abs() < STANDARD_ERRORS * of_variance,
        "{case}: variance {sample_variance}, in theory {variance}"
    );
}

fn logarithm(tape: &Tape<f64>, value: f64) -> Var<'_, f64> {
    tape.full([DRAWS], value.ln())
}

#[test]
fn poisson_and_negative_binomial_counts_have_their_variances() {
    for (mean, theta) in [(0.3, 0.5), (4.0, 2.0), (50.0, 10.0), (900.0, 30.0)] {
        let tape = Tape::new();
        let ln_mean = logarithm(&tape, mean);
        let drawn = Poisson { ln_mean }.sample(&mut Rng::seed_from_u64(1));
        assert_moments(&format!("poisson {mean}"), &drawn, mean, mean);
        let ln_dispersion = tape.scalar(f64::ln(theta));
        let drawn = NegativeBinomial { ln_mean, ln_dispersion, epsilon: 0.0 }.sample(&mut Rng::seed_from_u64(2));
        assert_moments(&format!("negative binomial {mean} {theta}"), &drawn, mean, mean + mean * mean / theta);
        assert!(drawn.data().iter().all(|v| *v >= 0.0 && v.fract() == 0.0));
    }
}

#[test]
fn zero_inflation_and_mixtures_have_the_moments_of_their_parts() {
    let (mean, theta, logit) = (6.0, 3.0, -0.7_f64);
    let share = 1.0 / (1.0 + (-logit).exp());
    let second_moment = |m: f64| m + m * m / theta + m * m;
    let tape = Tape::new();
    let ln_dispersion = tape.scalar(f64::ln(theta));
    let counts = NegativeBinomial { ln_mean: logarithm(&tape, mean), ln_dispersion, epsilon: 0.0 };
    let logits = tape.scalar(logit);
    let drawn = ZeroInflatedNegativeBinomial { counts, dropout_logits: logits }.sample(&mut Rng::seed_from_u64(3));
    let kept = (1.0 - share) * mean;
    assert_moments("zero-inflated", &drawn, kept, (1.0 - share) * second_moment(mean) - kept * kept);

    let fore = 40.0;
    let mixture = NegativeBinomialMixture {
        background: counts,
        ln_mean_foreground: logarithm(&tape, fore),
        background_logits: logits,
    };
    let mixed = share * mean + (1.0 - share) * fore;
    let second = share * second_moment(mean) + (1.0 - share) * second_moment(fore);
    let drawn = mixture.sample(&mut Rng::seed_from_u64(4));
    assert_moments("mixture", &drawn, mixed, second - mixed * mixed);
    let expected = mixture.mean().value();
    assert!(expected.data().iter().all(|m| (m - mixed).abs() < 1e-12 * mixed));
}

#[test]
fn bernoulli_values_are_ones_as_often_as_their_log_odds_say() {
    let tape = Tape::<f64>::new();
    let drawn = Bernoulli { logits: tape.full([DRAWS], 1.2) }.sample(&mut Rng::seed_from_u64(5));
    let p = 1.0 / (1.0 + (-1.2_f64).exp());
    assert_moments("bernoulli", &drawn, p, p * (1.0 - p));
}

#[test]
fn a_seed_gives_the_same_counts_again() {
    let tape = Tape::<f64>::new();
    let draw = |seed| Poisson { ln_mean: tape.full([100], 2.0) }.sample(&mut Rng::seed_from_u64(seed));
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}
