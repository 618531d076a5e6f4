//! The training loop: order, early stopping, rates and failures, told by a single parameter.

use std::sync::Mutex;

use gradome_nn::optim::{AverageConfig, AverageStart, OptimizerConfig};
use gradome_nn::trainer::{End, Loss, Outcome, Progress, Scores, Task};
use gradome_nn::{Decay, Error, ModelCard, ParamId, ParamStore, Result, Schedule, Step, Trainer, TrainerConfig};
use gradome_tape::{Tensor, Var};

fn card() -> ModelCard {
    ModelCard { operator: "pull".into(), config: serde_json::json!(null), metadata: [].into() }
}

/// One parameter with a loss of its own and held-out scores that are given.
struct Scripted {
    w: ParamId,
    rows: usize,
    scores: Option<Vec<f64>>,
    /// The weight after each epoch.
    weights: Mutex<Vec<f64>>,
    /// The examples of each step.
    batches: Mutex<Vec<Vec<usize>>>,
    loss: for<'t> fn(Var<'t, f64>, &Progress) -> Var<'t, f64>,
}

impl Scripted {
    fn new(store: &mut ParamStore<f64>, scores: Option<&[f64]>) -> Self {
        Self {
            w: store.add("w", Tensor::scalar(1.0), true),
            rows: 1,
            scores: scores.map(<[f64]>::to_vec),
            weights: Mutex::default(),
            batches: Mutex::default(),
            loss: |w, _| w.square(),
        }
    }
}

impl Task<f64> for Scripted {
    fn rows(&self) -> usize {
        self.rows
    }

    fn loss<'t>(&self, step: Step<'_, 't, f64>, rows: &[usize], progress: &Progress) -> Result<Loss<'t, f64>> {
        self.batches.lock().unwrap().push(rows.to_vec());
        Ok(Loss::new((self.loss)(step.param(self.w), progress)))
    }

    fn validate(&self, store: &ParamStore<f64>) -> Result<Option<Scores>> {
        let mut weights = self.weights.lock().unwrap();
        weights.push(store.get(self.w).item());
        Ok(self.scores.as_ref().map(|scores| vec![("score".into(), scores[weights.len() - 1])]))
    }
}

/// Trains a scripted task after `change` was made to the configuration.
fn scripted(scores: Option<&[f64]>, change: impl FnOnce(&mut TrainerConfig)) -> (Scripted, f64, Outcome) {
    let mut store = ParamStore::new(0);
    let task = Scripted::new(&mut store, scores);
    let mut config = TrainerConfig { max_epochs: 10, ..TrainerConfig::default() };
    change(&mut config);
    let outcome = Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
    let w = store.get(task.w).item();
    (task, w, outcome)
}

#[test]
fn early_stopping_waits_and_restores_the_best_weights() {
    let scores = [5.0, 3.0, 4.0, 2.0, 2.5, 3.0, 2.0, 1.0, 1.0, 1.0];
    let (task, w, outcome) = scripted(Some(&scores), |config| config.patience = 3);
    assert_eq!(outcome.end, End::StoppedEarly);
    assert_eq!(outcome.history.epochs.len(), 7, "3 epochs after the fourth brought nothing better");
    assert_eq!(outcome.history.best_epoch, Some(4));
    assert_eq!(w, task.weights.lock().unwrap()[3]);
    assert_ne!(w, task.weights.lock().unwrap()[6]);
}

#[test]
fn without_patience_all_epochs_run_and_the_best_weights_are_restored() {
    let scores = [5.0, 3.0, 4.0, 2.0, 2.5, 3.0, 2.0, 2.1, 2.2, 2.3];
    let (task, w, outcome) = scripted(Some(&scores), |config| config.patience = 0);
    assert_eq!((outcome.end, outcome.history.epochs.len()), (End::Finished, 10));
    assert_eq!(w, task.weights.lock().unwrap()[3]);
}

#[test]
fn gains_below_min_delta_do_not_count_for_patience_but_for_the_best_weights() {
    let scores = [5.0, 4.9, 4.8, 4.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let (task, w, outcome) = scripted(Some(&scores), |config| (config.patience, config.min_delta) = (3, 0.5));
    assert_eq!((outcome.end, outcome.history.epochs.len()), (End::StoppedEarly, 4));
    assert_eq!(w, task.weights.lock().unwrap()[3]);
}

#[test]
fn without_held_out_scores_the_last_weights_are_kept() {
    let (task, w, outcome) = scripted(None, |config| config.patience = 1);
    assert_eq!((outcome.end, outcome.history.best_epoch), (End::Finished, None));
    assert_eq!(w, task.weights.lock().unwrap()[9]);
}

#[test]
fn averages_are_validated_and_kept() {
    let average = AverageConfig { decay: 0.5, start: AverageStart::FirstWeights };
    let change = |config: &mut TrainerConfig| {
        (config.optimizer, config.average, config.learning_rate) = (PLAIN, Some(average), 0.25);
    };
    let scores = [5.0; 10];
    for scores in [None, Some(&scores[..])] {
        let mut store = ParamStore::new(0);
        let task = Scripted { loss: |w, _| w, ..Scripted::new(&mut store, scores) };
        let mut config = TrainerConfig { max_epochs: 10, ..TrainerConfig::default() };
        change(&mut config);
        Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
        // one step an epoch on a slope of 1, and what the average makes of it
        let (mut w, mut a, mut expected) = (1.0, 1.0, Vec::new());
        for _ in 0..10 {
            w -= 0.25;
            a = 0.5 * a + 0.5 * w;
            expected.push(a);
        }
        assert_eq!(*task.weights.lock().unwrap(), expected);
        // no score is better than the first
        assert_eq!(store.get(task.w).item(), if scores.is_some() { expected[0] } else { expected[9] });
    }
}

#[test]
fn every_epoch_sees_each_example_once_in_an_order_of_its_own() {
    let batches = |shuffle: bool, seed: u64| {
        let mut store = ParamStore::new(0);
        let task = Scripted { rows: 10, ..Scripted::new(&mut store, None) };
        let config = TrainerConfig { max_epochs: 2, batch_size: 4, shuffle, seed, ..TrainerConfig::default() };
        Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
        task.batches.into_inner().unwrap()
    };
    let plain = batches(false, 0);
    assert_eq!(plain[..3], [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    assert_eq!(plain[3..], plain[..3]);
    let shuffled = batches(true, 0);
    for epoch in [&shuffled[..3], &shuffled[3..]] {
        let mut seen = epoch.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
    assert_ne!(shuffled[..3], shuffled[3..]);
    assert_eq!(shuffled, batches(true, 0));
    assert_ne!(shuffled, batches(true, 1));
}

#[test]
fn a_last_batch_below_the_least_size_is_left_out_unless_it_is_the_only_one() {
    for (rows, expected) in [(9, vec![4, 4]), (10, vec![4, 4, 2]), (1, vec![1])] {
        let mut store = ParamStore::new(0);
        let task = Scripted { rows, ..Scripted::new(&mut store, None) };
        let config = TrainerConfig { max_epochs: 1, batch_size: 4, ..TrainerConfig::default() };
        Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
        let sizes: Vec<usize> = task.batches.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, expected, "{rows} rows");
    }
}

#[test]
fn progress_counts_epochs_and_steps() {
    let mut store = ParamStore::new(0);
    // the loss is a number that tells the progress, so the epoch's mean does too
    let task = Scripted {
        rows: 8,
        loss: |w, p| w * 0.0 + (p.epoch * 1000.0 + p.step as f64 + p.max_epochs as f64 * 1e6),
        ..Scripted::new(&mut store, None)
    };
    let config = TrainerConfig { max_epochs: 3, batch_size: 2, ..TrainerConfig::default() };
    let outcome = Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
    // epochs 0, 0.25, 0.5, 0.75 and steps 0 to 3 in the first epoch, and so on
    let losses: Vec<f64> = outcome.history.train("loss").into_iter().map(|(_, loss)| loss).collect();
    assert_eq!(losses, [3_000_376.5, 3_001_380.5, 3_002_384.5]);
}

#[test]
fn the_schedule_sets_the_rate_of_each_step() {
    let (_, _, outcome) = scripted(Some(&[2.0, 1.0, 1.0, 1.0, 1.0, 1.0]), |config| {
        config.max_epochs = 6;
        config.learning_rate = 1.0;
        config.schedule = Schedule {
            warmup_epochs: 2.0,
            decay: Decay::Plateau { factor: 0.5, patience: 0, min_learning_rate: 0.15 },
        };
    });
    let rates: Vec<f64> = outcome.history.epochs.iter().map(|epoch| epoch.learning_rate).collect();
    // one step an epoch, at its middle: a quarter and three quarters of the warm-up; no better score from epoch 3 on
    assert_eq!(rates, [0.25, 0.75, 1.0, 0.5, 0.25, 0.15]);
}

/// The error of a scripted run whose loss goes wrong in its fourth step, and the weight that it leaves.
fn failure(loss: for<'t> fn(Var<'t, f64>, &Progress) -> Var<'t, f64>) -> (Error, f64) {
    let mut store = ParamStore::new(0);
    let task = Scripted { rows: 4, loss, ..Scripted::new(&mut store, None) };
    let config = TrainerConfig {
        max_epochs: 5,
        batch_size: 2,
        learning_rate: 0.25,
        optimizer: PLAIN,
        ..TrainerConfig::default()
    };
    let error = Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap_err();
    (error, store.get(task.w).item())
}

const PLAIN: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false };

#[test]
fn a_loss_that_is_not_finite_stops_with_the_op_named_and_the_last_weights_kept() {
    let (error, w) = failure(|w, progress| {
        let shift = if progress.step == 3 { -10.0 } else { 0.0 };
        w.square() + (w * w + 1.0 + shift).ln() * 0.0
    });
    let Error::Training { epoch, step, problem } = &error else { panic!("{error}") };
    assert_eq!((*epoch, *step), (2, 4));
    assert!(problem.contains("'loss' is NaN") && problem.contains("the op ln of shape []"), "{problem}");
    // each of the three good steps took half of the weight
    assert_eq!(w, 0.125);
}

#[test]
fn a_gradient_that_is_not_finite_stops_with_the_parameter_named() {
    let (error, w) = failure(|w, progress| {
        // the root of zero has a value but no slope
        w.square() + if progress.step == 3 { (w - w).sqrt() } else { w * 0.0 }
    });
    let Error::Training { epoch, step, problem } = &error else { panic!("{error}") };
    assert_eq!((*epoch, *step), (2, 4));
    assert!(problem.contains("the gradient of parameter 'w' is"), "{problem}");
    assert!(problem.contains("all values of the forward pass are finite"), "{problem}");
    assert_eq!(w, 0.125);
}

#[test]
fn a_score_that_is_not_finite_stops_training() {
    let mut store = ParamStore::new(0);
    let task = Scripted::new(&mut store, Some(&[1.0, f64::NAN]));
    let error = Trainer::new(TrainerConfig::default(), card()).unwrap().quiet(true).train(&task, &mut store);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("epoch 2") && error.contains("held-out score 'score' is NaN"), "{error}");
}

#[test]
fn wrong_settings_are_named() {
    type Change = fn(&mut TrainerConfig);
    let wrong: [(&str, Change); 9] = [
        ("max_epochs", |c| c.max_epochs = 0),
        ("batch_size", |c| c.batch_size = 0),
        ("min_batch_size", |c| c.min_batch_size = 0),
        ("learning_rate", |c| c.learning_rate = f64::NAN),
        ("weight_decay", |c| c.weight_decay = -0.1),
        ("gradient_clip", |c| c.gradient_clip = f64::INFINITY),
        ("min_delta", |c| c.min_delta = -1.0),
        ("schedule.warmup_epochs", |c| c.schedule.warmup_epochs = -1.0),
        ("optimizer.momentum", |c| c.optimizer = OptimizerConfig::Sgd { momentum: 1.0, nesterov: false }),
    ];
    for (field, change) in wrong {
        let mut config = TrainerConfig::default();
        change(&mut config);
        let error = Trainer::new(config, card()).unwrap_err().to_string();
        assert!(error.contains(&format!("'{field}'")), "{error}");
    }
    let mut store = ParamStore::new(0);
    let task = Scripted { rows: 0, ..Scripted::new(&mut store, None) };
    let trainer = Trainer::new(TrainerConfig::default(), card()).unwrap().quiet(true);
    assert!(trainer.train(&task, &mut store).unwrap_err().to_string().contains("no examples"));
    assert!(trainer.resume(true).train(&task, &mut store).is_err());
}

#[test]
fn settings_are_read_from_text_with_defaults_for_the_rest() {
    let text = r#"{ "max_epochs": 7, "optimizer": { "kind": "sgd" },
        "schedule": { "warmup_epochs": 0.5, "decay": { "kind": "cosine" } } }"#;
    let config: TrainerConfig = serde_json::from_str(text).unwrap();
    let expected = TrainerConfig {
        max_epochs: 7,
        optimizer: PLAIN,
        schedule: Schedule { warmup_epochs: 0.5, decay: Decay::Cosine { final_factor: 0.0 } },
        ..TrainerConfig::default()
    };
    assert_eq!(config, expected);
    let error = serde_json::from_str::<TrainerConfig>(r#"{ "learning_rat": 1 }"#).unwrap_err().to_string();
    assert!(error.contains("learning_rat"), "{error}");
}

/// Errs at one example of ten, where its own noise says so.
struct Rare {
    w: ParamId,
}

impl Task<f64> for Rare {
    fn rows(&self) -> usize {
        10
    }

    fn loss<'t>(&self, step: Step<'_, 't, f64>, rows: &[usize], _: &Progress) -> Result<Loss<'t, f64>> {
        let w = step.param(self.w);
        // the root of a negative number wherever a draw of example 7 is below -1
        let seventh = Tensor::from_fn([rows.len(), 1], |i| if rows[i] == 6 { 1.0 } else { 0.0 });
        let drawn = step.normal([rows.len(), 3]) * step.tape.constant(&seventh);
        Ok(Loss::new(w.square() + (drawn + 1.0).sqrt().mean() * 0.0))
    }

    fn validate(&self, _: &ParamStore<f64>) -> Result<Option<Scores>> {
        Ok(None)
    }
}

#[test]
fn the_op_is_named_that_fails_in_one_part_by_the_noise_of_that_part() {
    for seed in 0..20 {
        let mut store = ParamStore::new(0);
        let task = Rare { w: store.add("w", Tensor::scalar(1.0), true) };
        let config = TrainerConfig {
            parts: 5,
            batch_size: 10,
            shuffle: false,
            max_epochs: 50,
            seed,
            ..TrainerConfig::default()
        };
        let error = Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap_err().to_string();
        assert!(error.contains("'loss' is NaN") && error.contains("the op sqrt of shape [2, 3] made NaN"), "{error}");
        assert!(error.contains("in part 4 of 5 (training examples 7, 8)"), "{error}");
    }
}
