//! The training loop: it ends with the same bits whatever happens on the way.

use std::cell::{Cell, RefCell};
use std::path::Path;

use gradome_nn::optim::OptimizerConfig;
use gradome_nn::trainer::{
    CHECKPOINT_FILE, End, EpochMetrics, History, Loss, METRICS_FILE, MODEL_FILE, Outcome, Progress, Scores, StopFlag,
    Task,
};
use gradome_nn::{
    BatchNorm, Decay, Dropout, Error, Linear, ModelCard, ParamId, ParamStore, Result, Rng, Schedule, Step, Trainer,
    TrainerConfig, checkpoint,
};
use gradome_tape::{Float, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};

/// Regression by a network with noise, running averages and a held-out part.
struct Regression {
    first: Linear,
    norm: BatchNorm,
    last: Linear,
    /// [rows, 4] and [rows, 1].
    x: Tensor<f64>,
    y: Tensor<f64>,
    rows: usize,
    /// Asks for a stop in these steps.
    stop_in: Vec<usize>,
    stop: StopFlag,
    /// Fails in this step, as a crash would.
    crash_in: Option<usize>,
}

const INPUTS: usize = 4;

impl Regression {
    fn new<T: Float>(store: &mut ParamStore<T>, rows: usize, hidden: usize) -> Self {
        let mut rng = Rng::seed_from_u64(11);
        let x = Tensor::from_fn([rows + 8, INPUTS], |_| rng.random::<f64>() * 2.0 - 1.0);
        let target = |i: usize| {
            let x = &x.data()[i * INPUTS..][..INPUTS];
            x[0] - 2.0 * x[1] + x[2] * x[3] + 0.1 * (i as f64).sin()
        };
        let y = Tensor::from_fn([rows + 8, 1], target);
        Self {
            first: Linear::new(&mut store.scope("first"), INPUTS, hidden),
            norm: BatchNorm::new(&mut store.scope("norm"), hidden, 1e-5, 0.1),
            last: Linear::new(&mut store.scope("last"), hidden, 1),
            x,
            y,
            rows,
            stop_in: Vec::new(),
            stop: StopFlag::new(),
            crash_in: None,
        }
    }

    fn squared_error<'t, T: Float>(&self, step: Step<'_, 't, T>, rows: &[usize]) -> Var<'t, T> {
        let pick = |from: &Tensor<f64>, width: usize| {
            Tensor::from_fn([rows.len(), width], |i| T::of(from.data()[rows[i / width] * width + i % width]))
        };
        let x = step.tape.constant(&pick(&self.x, INPUTS));
        let hidden = self.norm.forward(step, self.first.forward(step, x)).tanh();
        let hidden = Dropout { rate: 0.1 }.forward(step, hidden);
        let error = self.last.forward(step, hidden) - step.tape.constant(&pick(&self.y, 1));
        error.square().mean()
    }
}

impl<T: Float> Task<T> for Regression {
    fn rows(&self) -> usize {
        self.rows
    }

    fn loss<'t>(&self, step: Step<'_, 't, T>, rows: &[usize], progress: &Progress) -> Result<Loss<'t, T>> {
        if self.stop_in.contains(&progress.step) {
            self.stop.set(15);
        }
        if self.crash_in == Some(progress.step) {
            return Err(Error::data("cells", "the power went out"));
        }
        let error = self.squared_error(step, rows);
        let noise = (step.normal([1]) * step.param(self.last.bias).sum()).sum() * 0.01;
        Ok(Loss::new(error + noise).with("squared error", error))
    }

    fn validate(&self, store: &ParamStore<T>) -> Result<Option<Scores>> {
        let tape = Tape::new();
        let bound = store.bind(&tape);
        let held_out: Vec<usize> = (self.rows..self.rows + 8).collect();
        let error = self.squared_error(Step::eval(&tape, &bound), &held_out).item().to_f64();
        Ok(Some(vec![("squared error".into(), error), ("root".into(), error.sqrt())]))
    }
}

fn card() -> ModelCard {
    ModelCard { operator: "regression".into(), config: serde_json::json!({ "hidden": 5 }), metadata: [].into() }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        max_epochs: 6,
        batch_size: 7,
        learning_rate: 0.02,
        weight_decay: 0.01,
        gradient_clip: 1.0,
        schedule: Schedule {
            warmup_epochs: 1.5,
            decay: Decay::Plateau { factor: 0.7, patience: 0, min_learning_rate: 1e-4 },
        },
        seed: 3,
        ..TrainerConfig::default()
    }
}

/// Rows that leave a last batch of 3, so 4 steps an epoch.
const ROWS: usize = 24;
const STEPS: usize = 6 * 4;

fn bits<T: Float>(store: &ParamStore<T>) -> Vec<(String, Vec<u64>)> {
    let bits = |t: &Tensor<T>| t.to_f64().into_iter().map(f64::to_bits).collect();
    store.entries().map(|(_, entry)| (entry.path.clone(), bits(&entry.value))).collect()
}

/// A history without what no run repeats: the seconds.
fn timeless(history: &History) -> History {
    let epochs = history.epochs.iter().map(|epoch| EpochMetrics { seconds: 0.0, ..epoch.clone() });
    History { epochs: epochs.collect(), ..history.clone() }
}

fn metrics(folder: &Path) -> Vec<EpochMetrics> {
    let text = std::fs::read_to_string(folder.join(METRICS_FILE)).unwrap();
    text.lines().map(|line| EpochMetrics { seconds: 0.0, ..serde_json::from_str(line).unwrap() }).collect()
}

/// Trains from the start, going on after every stop, each time as a new process would.
fn train<T: Float>(folder: &Path, config: &TrainerConfig, stops: &[usize]) -> (ParamStore<T>, Outcome, usize) {
    for resumed in 0.. {
        let mut store = ParamStore::<T>::new(if resumed == 0 { 1 } else { 99 });
        let mut task = Regression::new(&mut store, ROWS, 5);
        task.stop_in = stops.iter().skip(resumed).copied().collect();
        let trainer = Trainer::new(config.clone(), card()).unwrap();
        let trainer = trainer.folder(folder).stop_flag(&task.stop).resume(resumed > 0).quiet(true);
        let outcome = trainer.train(&task, &mut store).unwrap();
        match &outcome.end {
            End::Interrupted { signal, checkpoint } => {
                assert_eq!((*signal, checkpoint.as_deref()), (15, Some(&*folder.join(CHECKPOINT_FILE))));
                assert!(!folder.join(MODEL_FILE).exists());
                assert!(checkpoint::inspect(folder.join(CHECKPOINT_FILE)).unwrap().unfinished);
            }
            _ => return (store, outcome, resumed),
        }
    }
    unreachable!("the loop ends when the run does")
}

fn resumed_runs_are_the_same_runs<T: Float>() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, outcome, _) = train::<T>(&folder.path().join("whole"), &config(), &[]);
    assert_eq!(outcome.end, End::Finished);
    let mut plans: Vec<Vec<usize>> = (0..STEPS).map(|step| vec![step]).collect();
    plans.extend([vec![0, 1, 2, 3], vec![2, 9, 15, 23], vec![5, 7, 8, 11, 12, 20]]);
    for stops in plans {
        let own = folder.path().join(format!("{stops:?}"));
        let (store, resumed, times) = train::<T>(&own, &config(), &stops);
        assert_eq!(times, stops.len());
        assert_eq!(bits(&store), bits(&expected), "stopped in steps {stops:?}");
        assert_eq!(timeless(&resumed.history), timeless(&outcome.history), "stopped in steps {stops:?}");
        assert_eq!(metrics(&own), timeless(&outcome.history).epochs);
        assert!(!own.join(CHECKPOINT_FILE).exists());
        let file = |folder: &Path| std::fs::read(folder.join(MODEL_FILE)).unwrap();
        assert!(file(&own) == file(&folder.path().join("whole")), "the model files differ");
    }
}

#[test]
fn a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bits() {
    resumed_runs_are_the_same_runs::<f32>();
    resumed_runs_are_the_same_runs::<f64>();
}

#[test]
fn a_run_that_was_killed_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainerConfig { checkpoint_every: 2, ..config() };
    let (expected, outcome, _) = train::<f32>(&folder.path().join("whole"), &config, &[]);
    let own = folder.path().join("killed");
    let mut store = ParamStore::<f32>::new(1);
    let mut task = Regression::new(&mut store, ROWS, 5);
    // in epoch 4, after the checkpoint of epoch 2 and the metrics of epoch 3
    task.crash_in = Some(14);
    let trainer = Trainer::new(config, card()).unwrap().folder(&own).quiet(true);
    assert!(trainer.train(&task, &mut store).unwrap_err().to_string().contains("the power went out"));
    assert_eq!(metrics(&own).len(), 3);
    let mut store = ParamStore::<f32>::new(7);
    let task = Regression::new(&mut store, ROWS, 5);
    let resumed = trainer.resume(true).train(&task, &mut store).unwrap();
    assert_eq!(bits(&store), bits(&expected));
    assert_eq!(metrics(&own), timeless(&outcome.history).epochs);
    assert_eq!(timeless(&resumed.history), timeless(&outcome.history));
}

#[test]
fn an_interrupted_run_can_be_made_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, ..) = train::<f32>(&folder.path().join("long"), &config(), &[]);
    let short = TrainerConfig { max_epochs: 3, ..config() };
    let own = folder.path().join("short");
    let mut store = ParamStore::<f32>::new(1);
    let mut task = Regression::new(&mut store, ROWS, 5);
    task.stop_in = vec![9];
    let trainer = Trainer::new(short, card()).unwrap().folder(&own).stop_flag(&task.stop).quiet(true);
    trainer.train(&task, &mut store).unwrap();
    let trainer = Trainer::new(config(), card()).unwrap().folder(&own).resume(true).quiet(true);
    trainer.train(&task, &mut store).unwrap();
    assert_eq!(bits(&store), bits(&expected));
}

#[test]
fn a_run_resumes_only_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = ParamStore::<f32>::new(1);
    let mut task = Regression::new(&mut store, ROWS, 5);
    let trainer = |config: TrainerConfig, card: ModelCard| {
        Trainer::new(config, card).unwrap().folder(folder.path()).resume(true).quiet(true)
    };
    let error = trainer(config(), card()).train(&task, &mut store).unwrap_err().to_string();
    assert!(error.contains("no run to resume"), "{error}");
    task.stop_in = vec![6];
    trainer(config(), card()).resume(false).stop_flag(&task.stop).train(&task, &mut store).unwrap();
    let before = bits(&store);
    let mut refused = |config: TrainerConfig, card: ModelCard, expected: &str| {
        let error = trainer(config, card).train(&task, &mut store).unwrap_err().to_string();
        assert!(error.contains(CHECKPOINT_FILE) && error.contains(expected), "{error}");
    };
    let rate = TrainerConfig { learning_rate: 0.5, ..config() };
    refused(rate, card(), "trainer's config field 'learning_rate' was 0.02 and is now 0.5");
    let schedule = TrainerConfig { schedule: Schedule { warmup_epochs: 2.0, ..config().schedule }, ..config() };
    refused(schedule, card(), "'schedule.warmup_epochs' was 1.5 and is now 2.0");
    refused(config(), ModelCard { operator: "vae".into(), ..card() }, "is of 'regression', not of 'vae'");
    refused(
        config(),
        ModelCard { config: serde_json::json!({ "hidden": 6 }), ..card() },
        "'hidden' was 5 and is now 6",
    );
    refused(config(), card().with("genes", vec!["CD3E"]), "'genes' was null and is now [\"CD3E\"]");
    assert_eq!(bits(&store), before, "a refused run has changed the weights");
    let mut wide = ParamStore::<f64>::new(1);
    let task = Regression::new(&mut wide, ROWS, 5);
    let error = trainer(config(), card()).train(&task, &mut wide).unwrap_err().to_string();
    assert!(error.contains("computes in f32, not in f64"), "{error}");
    let more = Regression { rows: ROWS + 1, ..task };
    let error = trainer(config(), card()).train(&more, &mut store).unwrap_err().to_string();
    assert!(error.contains("had 24 training examples, now there are 25"), "{error}");
}

#[test]
fn training_has_the_same_bits_at_any_number_of_threads() {
    // hidden layers and batches large enough that kernels split them
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut store = ParamStore::<f32>::new(1);
            let task = Regression::new(&mut store, 256, 20_000);
            let config = TrainerConfig { max_epochs: 2, batch_size: 64, ..config() };
            Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
            bits(&store)
        })
    };
    let one = run(1);
    assert!(one == run(2), "2 threads differ from 1");
    assert!(one == run(4), "4 threads differ from 1");
}

#[test]
fn training_learns_and_tells_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = ParamStore::<f32>::new(1);
    let task = Regression::new(&mut store, 200, 16);
    let config = TrainerConfig { max_epochs: 60, batch_size: 20, learning_rate: 0.01, ..TrainerConfig::default() };
    let trainer = Trainer::new(config, card()).unwrap().folder(folder.path()).quiet(true);
    let outcome = trainer.train(&task, &mut store).unwrap();
    let errors = outcome.history.validation("squared error");
    assert!(errors.len() > 1 && errors.last().unwrap().1 < 0.2 * errors[0].1, "{errors:?}");
    assert_eq!(outcome.history.monitored.as_deref(), Some("squared error"));
    let names: Vec<&String> = outcome.history.epochs[0].train.keys().collect();
    assert_eq!(names, ["loss", "squared error"]);
    assert_eq!(metrics(folder.path()), timeless(&outcome.history).epochs);
    let said = checkpoint::inspect(folder.path().join(MODEL_FILE)).unwrap();
    assert_eq!(
        (&*said.card.operator, said.unfinished, said.parameters),
        ("regression", false, store.parameter_count())
    );
}

/// One parameter with a loss of its own and held-out scores that are given.
struct Scripted {
    w: ParamId,
    rows: usize,
    scores: Option<Vec<f64>>,
    validated: Cell<usize>,
    /// The weight after each epoch.
    weights: RefCell<Vec<f64>>,
    /// The examples of each step.
    batches: RefCell<Vec<Vec<usize>>>,
    loss: for<'t> fn(Var<'t, f64>, &Progress) -> Var<'t, f64>,
}

impl Scripted {
    fn new(store: &mut ParamStore<f64>, scores: Option<&[f64]>) -> Self {
        Self {
            w: store.add("w", Tensor::scalar(1.0), true),
            rows: 1,
            scores: scores.map(<[f64]>::to_vec),
            validated: Cell::new(0),
            weights: RefCell::default(),
            batches: RefCell::default(),
            loss: |w, _| w.square(),
        }
    }
}

impl Task<f64> for Scripted {
    fn rows(&self) -> usize {
        self.rows
    }

    fn loss<'t>(&self, step: Step<'_, 't, f64>, rows: &[usize], progress: &Progress) -> Result<Loss<'t, f64>> {
        self.batches.borrow_mut().push(rows.to_vec());
        Ok(Loss::new((self.loss)(step.param(self.w), progress)))
    }

    fn validate(&self, store: &ParamStore<f64>) -> Result<Option<Scores>> {
        self.weights.borrow_mut().push(store.get(self.w).item());
        let at = self.validated.replace(self.validated.get() + 1);
        Ok(self.scores.as_ref().map(|scores| vec![("score".into(), scores[at])]))
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
    assert_eq!(w, task.weights.borrow()[3]);
    assert_ne!(w, task.weights.borrow()[6]);
}

#[test]
fn without_patience_all_epochs_run_and_the_best_weights_are_restored() {
    let scores = [5.0, 3.0, 4.0, 2.0, 2.5, 3.0, 2.0, 2.1, 2.2, 2.3];
    let (task, w, outcome) = scripted(Some(&scores), |config| config.patience = 0);
    assert_eq!((outcome.end, outcome.history.epochs.len()), (End::Finished, 10));
    assert_eq!(w, task.weights.borrow()[3]);
}

#[test]
fn gains_below_min_delta_do_not_count_for_patience_but_for_the_best_weights() {
    let scores = [5.0, 4.9, 4.8, 4.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let (task, w, outcome) = scripted(Some(&scores), |config| (config.patience, config.min_delta) = (3, 0.5));
    assert_eq!((outcome.end, outcome.history.epochs.len()), (End::StoppedEarly, 4));
    assert_eq!(w, task.weights.borrow()[3]);
}

#[test]
fn without_held_out_scores_the_last_weights_are_kept() {
    let (task, w, outcome) = scripted(None, |config| config.patience = 1);
    assert_eq!((outcome.end, outcome.history.best_epoch), (End::Finished, None));
    assert_eq!(w, task.weights.borrow()[9]);
}

#[test]
fn every_epoch_sees_each_example_once_in_an_order_of_its_own() {
    let batches = |shuffle: bool, seed: u64| {
        let mut store = ParamStore::new(0);
        let task = Scripted { rows: 10, ..Scripted::new(&mut store, None) };
        let config = TrainerConfig { max_epochs: 2, batch_size: 4, shuffle, seed, ..TrainerConfig::default() };
        Trainer::new(config, card()).unwrap().quiet(true).train(&task, &mut store).unwrap();
        task.batches.take()
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
        let sizes: Vec<usize> = task.batches.borrow().iter().map(Vec::len).collect();
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

const PLAIN: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.0 };

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
    let wrong: [(&str, fn(&mut TrainerConfig)); 9] = [
        ("max_epochs", |c| c.max_epochs = 0),
        ("batch_size", |c| c.batch_size = 0),
        ("min_batch_size", |c| c.min_batch_size = 0),
        ("learning_rate", |c| c.learning_rate = f64::NAN),
        ("weight_decay", |c| c.weight_decay = -0.1),
        ("gradient_clip", |c| c.gradient_clip = f64::INFINITY),
        ("min_delta", |c| c.min_delta = -1.0),
        ("schedule.warmup_epochs", |c| c.schedule.warmup_epochs = -1.0),
        ("optimizer.momentum", |c| c.optimizer = OptimizerConfig::Sgd { momentum: 1.0 }),
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
