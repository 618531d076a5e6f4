//! Distributions against scvi-tools, torch and 60-digit arithmetic.
//!
//! Means, dispersions and variances are given here by their logarithms; a reference gradient with respect to the
//! quantity itself is ours divided by it. Two groups of the reference are not compared: `bce_` clamps logarithms of
//! probabilities at -100, where `Bernoulli` takes log-odds and needs no clamp (`bern_`); `mix_` averages moments of
//! experts, where experts are joined by `product_of_experts` (`poe_`).

use gradome_goldens::{Golden, goldens};
use gradome_nn::distributions::{
    Bernoulli, NegativeBinomial, NegativeBinomialMixture, Normal, Poisson, ZeroInflatedNegativeBinomial,
    product_of_experts,
};
use gradome_tape::{Gradients, Tape, Tensor, Var};

/// Relative to the largest value of an array.
const VALUE: f64 = 1e-9;
/// Relative to the largest gradient of an array.
const GRADIENT: f64 = 1e-8;
/// What scvi-tools adds inside logarithms.
const EPSILON: f64 = 1e-8;

fn goldens_of_distributions() -> Vec<Golden> {
    goldens("distributions")
}

fn array(golden: &Golden, name: &str) -> Tensor<f64> {
    Tensor::from_f64(golden.shape(name), golden.get(name))
}

fn logarithm(golden: &Golden, name: &str) -> Tensor<f64> {
    let values: Vec<f64> = golden.get(name).iter().map(|v| v.ln()).collect();
    Tensor::from_f64(golden.shape(name), &values)
}

/// The gradient with respect to a variable, times `factor(i)`: the chain rule.
fn gradient(gradients: &Gradients<f64>, var: Var<'_, f64>, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    let gradient = gradients.of(var).expect("the log-probability depends on it").to_f64();
    gradient.iter().enumerate().map(|(i, g)| g * factor(i)).collect()
}

#[test]
fn negative_binomial_equals_scvi_tools() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let (ln_mean, ln_dispersion) =
            (tape.variable(&logarithm(&golden, "nb_mu")), tape.variable(&logarithm(&golden, "nb_theta")));
        let ln_p = NegativeBinomial { ln_mean, ln_dispersion, epsilon: EPSILON }
            .log_prob(tape.constant(&array(&golden, "nb_x")));
        golden.assert_close("nb_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        let gradients = ln_p.sum().backward();
        let (mu, theta) = (golden.get("nb_mu"), golden.get("nb_theta"));
        golden.assert_close("nb_dmu", &gradient(&gradients, ln_mean, |i| 1.0 / mu[i]), GRADIENT, 0.0);
        golden.assert_close("nb_dtheta", &gradient(&gradients, ln_dispersion, |i| 1.0 / theta[i]), GRADIENT, 0.0);
    }
}

#[test]
fn negative_binomial_without_epsilon_is_the_exact_density() {
    // lgamma(x + theta) - lgamma(theta) loses digits in proportion to its terms; elsewhere every element is held to
    // the same relative error
    const ROUNDING: f64 = 64.0 * f64::EPSILON;
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let (ln_mean, ln_dispersion) =
            (tape.variable(&logarithm(&golden, "nb_mu")), tape.variable(&logarithm(&golden, "nb_theta")));
        let ln_p =
            NegativeBinomial { ln_mean, ln_dispersion, epsilon: 0.0 }.log_prob(tape.constant(&array(&golden, "nb_x")));
        let gradients = ln_p.sum().backward();
        let (x, mu, theta) = (golden.get("nb_x"), golden.get("nb_mu"), golden.get("nb_theta"));
        let dmu = gradient(&gradients, ln_mean, |i| 1.0 / mu[i]);
        let dtheta = gradient(&gradients, ln_dispersion, |i| 1.0 / theta[i]);
        let ln_p = ln_p.value().to_f64();
        let mut compared = 0;
        for i in (0..x.len()).filter(|&i| mu[i] >= 1e-4 && theta[i] >= 1e-4) {
            compared += 1;
            let at = |name: &str| golden.get(name)[i];
            let stirling = (x[i] + theta[i]) * (x[i] + theta[i] + 2.0).ln();
            let case = format!("x {} mu {} theta {}", x[i], mu[i], theta[i]);
            let close = |what: &str, value: f64, exact: f64, rounding: f64| {
                let allowed = 1e-12 * exact.abs() + rounding;
                assert!((value - exact).abs() <= allowed, "{what} at {case}: {value}, exactly {exact}");
            };
            close("ln p", ln_p[i], at("nb_logp_exact"), ROUNDING * stirling);
            close("slope by mu", dmu[i], at("nb_dmu_exact"), ROUNDING * (x[i] / mu[i] + 1.0));
            let terms = (x[i] + theta[i] + 2.0).ln().abs() + x[i] / theta[i].min(x[i].max(1.0));
            close("slope by theta", dtheta[i], at("nb_dtheta_exact"), ROUNDING * (terms + 40.0));
        }
        assert!(compared > 300, "only {compared} of the reference's cases have mu and theta above 1e-4");
    }
}

#[test]
fn zero_inflated_negative_binomial_equals_scvi_tools() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let (ln_mean, ln_dispersion) =
            (tape.variable(&logarithm(&golden, "zinb_mu")), tape.variable(&logarithm(&golden, "zinb_theta")));
        let dropout_logits = tape.variable(&array(&golden, "zinb_logits"));
        let counts = NegativeBinomial { ln_mean, ln_dispersion, epsilon: EPSILON };
        let ln_p =
            ZeroInflatedNegativeBinomial { counts, dropout_logits }.log_prob(tape.constant(&array(&golden, "zinb_x")));
        golden.assert_close("zinb_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        let gradients = ln_p.sum().backward();
        let (mu, theta) = (golden.get("zinb_mu"), golden.get("zinb_theta"));
        golden.assert_close("zinb_dmu", &gradient(&gradients, ln_mean, |i| 1.0 / mu[i]), GRADIENT, 0.0);
        golden.assert_close("zinb_dtheta", &gradient(&gradients, ln_dispersion, |i| 1.0 / theta[i]), GRADIENT, 0.0);
        // the reference takes theta ln(theta / (theta + mu)) as a difference of logarithms, whose rounding theta
        // multiplies; where that is above the tolerance only the formula in its stable form is compared
        let (x, logits, dlogits) = (golden.get("zinb_x"), golden.get("zinb_logits"), golden.get("zinb_dlogits"));
        for (i, slope) in gradient(&gradients, dropout_logits, |_| 1.0).into_iter().enumerate() {
            let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
            let expected = if x[i] == 0.0 && theta[i] * f64::EPSILON * 32.0 > GRADIENT {
                let zero = -theta[i] * (mu[i] / (theta[i] + EPSILON)).ln_1p();
                sigmoid(-logits[i]) - sigmoid(zero - logits[i])
            } else {
                dlogits[i]
            };
            let case = format!("x {} mu {} theta {} logits {}", x[i], mu[i], theta[i], logits[i]);
            assert!((slope - expected).abs() <= GRADIENT, "{case}: {slope}, the reference {expected}");
        }
    }
}

#[test]
fn negative_binomial_mixture_equals_scvi_tools() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let ln = |name: &str| tape.variable(&logarithm(&golden, name));
        let (back, fore, ln_dispersion) = (ln("nbmix_mu_back"), ln("nbmix_mu_fore"), ln("nbmix_theta"));
        let background_logits = tape.variable(&array(&golden, "nbmix_logits"));
        let background = NegativeBinomial { ln_mean: back, ln_dispersion, epsilon: EPSILON };
        let mixture = NegativeBinomialMixture { background, ln_mean_foreground: fore, background_logits };
        let ln_p = mixture.log_prob(tape.constant(&array(&golden, "nbmix_x")));
        golden.assert_close("nbmix_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        let gradients = ln_p.sum().backward();
        for (var, gradient_name, of) in [
            (back, "nbmix_dmu_back", "nbmix_mu_back"),
            (fore, "nbmix_dmu_fore", "nbmix_mu_fore"),
            (ln_dispersion, "nbmix_dtheta", "nbmix_theta"),
        ] {
            let of = golden.get(of);
            golden.assert_close(gradient_name, &gradient(&gradients, var, |i| 1.0 / of[i]), GRADIENT, 0.0);
        }
        golden.assert_close("nbmix_dlogits", &gradient(&gradients, background_logits, |_| 1.0), GRADIENT, 0.0);
    }
}

#[test]
fn poisson_and_bernoulli_equal_torch() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let ln_mean = tape.variable(&logarithm(&golden, "pois_rate"));
        let ln_p = Poisson { ln_mean }.log_prob(tape.constant(&array(&golden, "pois_x")));
        golden.assert_close("pois_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        let rate = golden.get("pois_rate");
        let gradients = ln_p.sum().backward();
        golden.assert_close("pois_drate", &gradient(&gradients, ln_mean, |i| 1.0 / rate[i]), GRADIENT, 0.0);

        let logits = tape.variable(&array(&golden, "bern_logits"));
        let ln_p = Bernoulli { logits }.log_prob(tape.constant(&array(&golden, "bern_x")));
        golden.assert_close("bern_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        golden.assert_close("bern_dlogits", &gradient(&ln_p.sum().backward(), logits, |_| 1.0), GRADIENT, 0.0);
    }
}

/// ln variance from the standard deviation of that name.
fn ln_variance(golden: &Golden, sd: &str) -> Tensor<f64> {
    let values: Vec<f64> = golden.get(sd).iter().map(|sd| 2.0 * sd.ln()).collect();
    Tensor::from_f64(golden.shape(sd), &values)
}

#[test]
fn normal_densities_and_divergences_equal_torch() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let normal = |mean: &str, sd: &str| {
            Normal::new(tape.variable(&array(&golden, mean)), tape.variable(&ln_variance(&golden, sd)))
        };
        // d ln variance / d sd = 2 / sd
        let by_sd = |gradients: &Gradients<f64>, normal: Normal<'_, f64>, sd: &str| {
            let sd = golden.get(sd);
            gradient(gradients, normal.ln_variance, |i| 2.0 / sd[i])
        };
        let density = normal("norm_mu", "norm_sd");
        let x = tape.variable(&array(&golden, "norm_x"));
        let ln_p = density.log_prob(x);
        golden.assert_close("norm_logp", &ln_p.value().to_f64(), VALUE, 0.0);
        let gradients = ln_p.sum().backward();
        golden.assert_close("norm_dx", &gradient(&gradients, x, |_| 1.0), GRADIENT, 0.0);
        golden.assert_close("norm_dmu", &gradient(&gradients, density.mean, |_| 1.0), GRADIENT, 0.0);
        golden.assert_close("norm_dsd", &by_sd(&gradients, density, "norm_sd"), GRADIENT, 0.0);

        let (first, second) = (normal("kl_mu1", "kl_sd1"), normal("kl_mu2", "kl_sd2"));
        let divergence = first.kl_to(second);
        golden.assert_close("kl", &divergence.value().to_f64(), VALUE, 0.0);
        let gradients = divergence.sum().backward();
        golden.assert_close("kl_dmu1", &gradient(&gradients, first.mean, |_| 1.0), GRADIENT, 0.0);
        golden.assert_close("kl_dmu2", &gradient(&gradients, second.mean, |_| 1.0), GRADIENT, 0.0);
        golden.assert_close("kl_dsd1", &by_sd(&gradients, first, "kl_sd1"), GRADIENT, 0.0);
        golden.assert_close("kl_dsd2", &by_sd(&gradients, second, "kl_sd2"), GRADIENT, 0.0);

        let posterior = normal("klstd_mu", "klstd_sd");
        let divergence = posterior.kl_to_standard();
        golden.assert_close("klstd", &divergence.value().to_f64(), VALUE, 0.0);
        let gradients = divergence.sum().backward();
        golden.assert_close("klstd_dmu", &gradient(&gradients, posterior.mean, |_| 1.0), GRADIENT, 0.0);
        golden.assert_close("klstd_dsd", &by_sd(&gradients, posterior, "klstd_sd"), GRADIENT, 0.0);
    }
}

#[test]
fn product_of_experts_with_missing_experts_equals_torch() {
    for golden in goldens_of_distributions() {
        let [cells, experts, dimensions] = *golden.shape("poe_mu") else { panic!("[cells, experts, dimensions]") };
        let slice = |name: &str, expert: usize| {
            let all = golden.get(name);
            Tensor::from_fn([cells, dimensions], |i| {
                all[(i / dimensions * experts + expert) * dimensions + i % dimensions]
            })
        };
        let tape = Tape::new();
        let mask = golden.get("poe_mask");
        let parts: Vec<(Normal<'_, f64>, Option<Var<'_, f64>>)> = (0..experts)
            .map(|e| {
                let normal = Normal::new(tape.variable(&slice("poe_mu", e)), tape.variable(&slice("poe_logvar", e)));
                let presence = tape.constant(&Tensor::from_fn([cells, 1], |cell| mask[cell * experts + e]));
                (normal, Some(presence))
            })
            .collect();
        let joint = product_of_experts(&parts, true, 0.0);
        golden.assert_close("poe_joint_mu", &joint.mean.value().to_f64(), VALUE, 0.0);
        golden.assert_close("poe_joint_var", &joint.ln_variance.exp().value().to_f64(), VALUE, 0.0);
        golden.assert_close("poe_kl_std", &joint.kl_to_standard().sum_axis(1).value().to_f64(), VALUE, 0.0);
        let gradients = (joint.mean.sum() + joint.ln_variance.sum() * 2.0).backward();
        for name in ["poe_dmu", "poe_dlogvar"] {
            let mut found = vec![0.0; cells * experts * dimensions];
            for (e, (normal, _)) in parts.iter().enumerate() {
                let var = if name == "poe_dmu" { normal.mean } else { normal.ln_variance };
                for (i, g) in gradients.of(var).unwrap().data().iter().enumerate() {
                    found[(i / dimensions * experts + e) * dimensions + i % dimensions] = *g;
                }
            }
            golden.assert_close(name, &found, GRADIENT, 0.0);
        }
        // the reference's first cell has no expert at all: the prior, exactly
        assert!(mask[..experts].iter().all(|&m| m == 0.0));
        assert!(joint.mean.value().data()[..dimensions].iter().all(|&m| m == 0.0));
        assert!(joint.ln_variance.value().data()[..dimensions].iter().all(|&v| v == 0.0));
    }
}

#[test]
fn gamma_functions_and_softplus_equal_scipy() {
    for golden in goldens_of_distributions() {
        let tape = Tape::new();
        let x = tape.variable(&array(&golden, "lg_x"));
        // over 25 decades: each element relative to itself, or to 1 near the zeros at 1 and 2
        for (name, value) in [("lgamma", x.lgamma()), ("digamma", x.digamma())] {
            for ((x, value), expected) in golden.get("lg_x").iter().zip(value.value().data()).zip(golden.get(name)) {
                let close = (value - expected).abs() <= 1e-13 * expected.abs().max(1.0);
                assert!(close, "{name}({x}) is {value}, the reference {expected}");
            }
        }
        let slope = gradient(&x.lgamma().sum().backward(), x, |_| 1.0);
        golden.assert_close("digamma", &slope, GRADIENT, 0.0);
        let x = tape.variable(&array(&golden, "sp_x"));
        golden.assert_close("softplus", &x.softplus().value().to_f64(), VALUE, 0.0);
        golden.assert_close("dsoftplus", &gradient(&x.softplus().sum().backward(), x, |_| 1.0), GRADIENT, 0.0);
    }
}
