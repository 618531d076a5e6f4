//! Learning rates over the course of training.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate changes: a linear warm-up, then a decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Over this many epochs the rate rises linearly from 0 to its full value; may be a fraction. Default 0.
    pub warmup_epochs: f64,
    /// What follows. Default constant.
    pub decay: Decay,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// Half a cosine from the full rate to `final_factor` of it at the last epoch (Loshchilov & Hutter 2017, eq. 5).
    Cosine {
        /// The share of the rate that is left at the end, 0..=1. Default 0.
        #[serde(default)]
        final_factor: f64,
    },
    /// The rate is multiplied by `rate` each epoch, smoothly.
    Exponential {
        /// The factor per epoch, above 0 up to 1.
        rate: f64,
    },
    /// The rate is multiplied by `factor` after more than `patience` epochs without a better held-out score.
    /// PyTorch: `ReduceLROnPlateau` with its relative threshold of 1e-4.
    Plateau {
        /// The factor, above 0 and below 1.
        factor: f64,
        /// Epochs without a better score that are borne.
        patience: usize,
        /// The rate never falls below this. Default 0.
        #[serde(default)]
        min_learning_rate: f64,
    },
    /// Half a cosine up from `first_factor` to the full rate, then half a cosine down to `final_factor` of it at the
    /// last epoch (Smith & Topin 2018). It is its own warm-up. PyTorch: `OneCycleLR` with its cosine and two phases,
    /// `div_factor = 1 / first_factor`, `final_div_factor = first_factor / final_factor`.
    OneCycle {
        /// The share of all epochs after which the rate is highest, above 0 and below 1. Default 0.3.
        #[serde(default = "default_peak_at")]
        peak_at: f64,
        /// The share of the rate at the start, 0..=1. Default 1/25.
        #[serde(default = "default_first_factor")]
        first_factor: f64,
        /// The share of the rate at the end, 0..=1. Default 4e-6.
        #[serde(default = "default_final_factor")]
        final_factor: f64,
    },
}

fn default_peak_at() -> f64 {
    0.3
}

fn default_first_factor() -> f64 {
    1.0 / 25.0
}

fn default_final_factor() -> f64 {
    4e-6
}

/// From 1 to 0 along half a cosine while `share` goes from 0 to 1.
fn half_cosine(share: f64) -> f64 {
    (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0
}

/// What a schedule remembers between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlateauState {
    factor: f64,
    best: Option<f64>,
    waited: usize,
}

impl Default for PlateauState {
    fn default() -> Self {
        Self { factor: 1.0, best: None, waited: 0 }
    }
}

/// A score counts as better when it is lower by this share of the best.
const PLATEAU_THRESHOLD: f64 = 1e-4;

impl Schedule {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field: &str, value: f64, expected: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::config(format!("schedule.{field}"), format!("{value} is not {expected}")))
            }
        };
        let warmup = self.warmup_epochs;
        check(warmup >= 0.0 && warmup.is_finite(), "warmup_epochs", warmup, "a number of epochs, 0 or more")?;
        match self.decay {
            Decay::Constant => Ok(()),
            Decay::Cosine { final_factor: f } => {
                check((0.0..=1.0).contains(&f), "decay.final_factor", f, "between 0 and 1")
            }
            Decay::Exponential { rate } => check(rate > 0.0 && rate <= 1.0, "decay.rate", rate, "above 0 and up to 1"),
            Decay::Plateau { factor, min_learning_rate: min, .. } => {
                check(factor > 0.0 && factor < 1.0, "decay.factor", factor, "above 0 and below 1")?;
                check(min >= 0.0 && min.is_finite(), "decay.min_learning_rate", min, "0 or more")
            }
            Decay::OneCycle { peak_at, first_factor, final_factor } => {
                check(warmup == 0.0, "warmup_epochs", warmup, "0, but one-cycle is its own warm-up")?;
                check(peak_at > 0.0 && peak_at < 1.0, "decay.peak_at", peak_at, "above 0 and below 1")?;
                check((0.0..=1.0).contains(&first_factor), "decay.first_factor", first_factor, "between 0 and 1")?;
                check((0.0..=1.0).contains(&final_factor), "decay.final_factor", final_factor, "between 0 and 1")
            }
        }
    }

    /// The learning rate after `epoch` epochs (a fraction within an epoch) of `max_epochs`, when nothing has reached
    /// a plateau.
    pub fn learning_rate(&self, base: f64, epoch: f64, max_epochs: usize) -> f64 {
        self.rate_at(base, epoch, max_epochs, &PlateauState::default())
    }

    pub(crate) fn rate_at(&self, base: f64, epoch: f64, max_epochs: usize, plateau: &PlateauState) -> f64 {
        if epoch < self.warmup_epochs {
            return base * epoch / self.warmup_epochs;
        }
        let after = epoch - self.warmup_epochs;
        match self.decay {
            Decay::Constant => base,
            Decay::Cosine { final_factor } => {
                let span = (max_epochs as f64 - self.warmup_epochs).max(f64::MIN_POSITIVE);
                base * (final_factor + (1.0 - final_factor) * half_cosine(after / span))
            }
            Decay::Exponential { rate } => base * rate.powf(after),
            Decay::Plateau { min_learning_rate, .. } => (base * plateau.factor).max(min_learning_rate.min(base)),
            Decay::OneCycle { peak_at, first_factor, final_factor } => {
                let share = epoch / max_epochs as f64;
                let (end, left) = if share < peak_at {
                    (first_factor, 1.0 - half_cosine(share / peak_at))
                } else {
                    (final_factor, half_cosine((share - peak_at) / (1.0 - peak_at)))
                };
                base * (end + (1.0 - end) * left)
            }
        }
    }

    /// Looks at the score (lower is better) of an epoch that has ended.
    pub(crate) fn observe(&self, state: &mut PlateauState, score: f64) {
        let Decay::Plateau { factor, patience, .. } = self.decay else { return };
        if state.best.is_none_or(|best| score < best - PLATEAU_THRESHOLD * best.abs()) {
            state.best = Some(score);
            state.waited = 0;
            return;
        }
        state.waited += 1;
        if state.waited > patience {
            state.factor *= factor;
            state.waited = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(warmup_epochs: f64, decay: Decay, epochs: &[f64]) -> Vec<f64> {
        let schedule = Schedule { warmup_epochs, decay };
        schedule.validate().unwrap();
        epochs.iter().map(|&epoch| schedule.learning_rate(0.8, epoch, 10)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-15), "{found:?} is not {expected:?}");
    }

    #[test]
    fn a_warm_up_is_linear_and_then_the_rate_stays() {
        assert_close(&rates(2.0, Decay::Constant, &[0.0, 0.5, 1.0, 2.0, 9.0]), &[0.0, 0.2, 0.4, 0.8, 0.8]);
        assert_close(&rates(0.0, Decay::Constant, &[0.0, 9.5]), &[0.8, 0.8]);
    }

    #[test]
    fn a_cosine_falls_from_the_full_rate_to_its_share() {
        // half way the mean of both ends, at a third of the way three quarters of the fall are left
        let decay = Decay::Cosine { final_factor: 0.25 };
        assert_close(&rates(0.0, decay, &[0.0, 10.0 / 3.0, 5.0, 10.0]), &[0.8, 0.65, 0.5, 0.2]);
        assert_close(&rates(4.0, decay, &[2.0, 4.0, 7.0, 10.0, 12.0]), &[0.4, 0.8, 0.5, 0.2, 0.2]);
    }

    #[test]
    fn an_exponential_decay_takes_its_factor_each_epoch() {
        assert_close(&rates(1.0, Decay::Exponential { rate: 0.25 }, &[1.0, 1.5, 2.0, 3.0]), &[0.8, 0.4, 0.2, 0.05]);
    }

    #[test]
    fn a_plateau_lowers_the_rate_after_its_patience_and_never_below_the_least() {
        let decay = Decay::Plateau { factor: 0.5, patience: 1, min_learning_rate: 0.15 };
        let schedule = Schedule { warmup_epochs: 0.0, decay };
        let mut state = PlateauState::default();
        // negative scores too: better is lower by a share of the size
        let scores = [-1.0, -2.0, -2.0, -2.000_1, -2.1, 0.0, 0.0, 0.0, 0.0];
        let expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.15];
        let rate = |&score: &f64| {
            schedule.observe(&mut state, score);
            schedule.rate_at(0.8, 1.0, 10, &state)
        };
        assert_close(&scores.iter().map(rate).collect::<Vec<_>>(), &expected);
    }

    /// `[s.get_last_lr()[0] for each of 11 steps]` of PyTorch 2.15.
    #[test]
    fn cosine_and_one_cycle_agree_with_pytorch() {
        let epochs: Vec<f64> = (0..=10).map(f64::from).collect();
        // CosineAnnealingLR(T_max=10, eta_min=0.2) from 0.8
        let expected = [
            0.8,
            0.7853169548885461,
            0.7427050983124843,
            0.676335575687742,
            0.5927050983124843,
            0.5,
            0.4072949016875158,
            0.3236644243122581,
            0.2572949016875158,
            0.21468304511145395,
            0.2,
        ];
        assert_close(&rates(0.0, Decay::Cosine { final_factor: 0.25 }, &epochs), &expected);
        // OneCycleLR(max_lr=0.8, total_steps=11, pct_start=0.4, div_factor=20, final_div_factor=100), which puts the
        // peak at step 0.4 * 11 - 1 = 3.4 of 10
        let expected = [
            0.040000000000000036,
            0.1909988381758826,
            0.5239919362273914,
            0.7743394471736552,
            0.7838052908510761,
            0.6895488684344071,
            0.5309617717343053,
            0.3433025276583407,
            0.16829324755343505,
            0.04484358762776164,
            0.0004,
        ];
        let cycle = Decay::OneCycle { peak_at: 0.34, first_factor: 0.05, final_factor: 0.0005 };
        assert_close(&rates(0.0, cycle, &epochs), &expected);
    }

    /// ReduceLROnPlateau(factor=0.5, patience=1, min_lr=0.15) of PyTorch 2.15, after each score.
    #[test]
    fn plateaus_agree_with_pytorch() {
        let decay = Decay::Plateau { factor: 0.5, patience: 1, min_learning_rate: 0.15 };
        let schedule = Schedule { warmup_epochs: 0.0, decay };
        let mut state = PlateauState::default();
        let scores = [3.0, 2.0, 2.0, 2.0, 1.9999, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5];
        let expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.15, 0.15, 0.15];
        let rate = |&score: &f64| {
            schedule.observe(&mut state, score);
            schedule.rate_at(0.8, 1.0, 10, &state)
        };
        assert_close(&scores.iter().map(rate).collect::<Vec<_>>(), &expected);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let plateau = |factor, min_learning_rate| Decay::Plateau { factor, patience: 1, min_learning_rate };
        let wrong = [
            ("decay.final_factor", Decay::Cosine { final_factor: 1.5 }),
            ("decay.rate", Decay::Exponential { rate: 0.0 }),
            ("decay.factor", plateau(1.0, 0.0)),
            ("decay.min_learning_rate", plateau(0.5, -1.0)),
            ("decay.peak_at", Decay::OneCycle { peak_at: 1.0, first_factor: 0.1, final_factor: 0.1 }),
            ("decay.first_factor", Decay::OneCycle { peak_at: 0.3, first_factor: -0.1, final_factor: 0.1 }),
        ];
        for (field, decay) in wrong {
            let error = Schedule { warmup_epochs: 0.0, decay }.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("'schedule.{field}'")), "{error}");
        }
        let error = Schedule { warmup_epochs: f64::NAN, decay: Decay::Constant }.validate().unwrap_err().to_string();
        assert!(error.contains("'schedule.warmup_epochs'"), "{error}");
        let decay = Decay::OneCycle { peak_at: 0.3, first_factor: 0.1, final_factor: 0.1 };
        let error = Schedule { warmup_epochs: 2.0, decay }.validate().unwrap_err().to_string();
        assert!(error.contains("'schedule.warmup_epochs'"), "{error}");
    }
}
