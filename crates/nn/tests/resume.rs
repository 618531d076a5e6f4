//! A run of training ends with the same bits whatever happens on the way.

use std::path::Path;

use gradome_nn::optim::{AverageConfig, OptimizerConfig};
use gradome_nn::trainer::{
    CHECKPOINT_FILE, End, EpochMetrics, History, Loss, METRICS_FILE, MODEL_FILE, Outcome, Progress, Scores, StopFlag,
    Task,
};
use gradome_nn::{
    BatchNorm, Decay, Dropout, Error, Linear, ModelCard, ParamStore, Result, Rng, Schedule, Step, Trainer,
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
fn the_state_of_every_rule_and_of_averages_is_resumed() {
    let (beta1, beta2, epsilon) = (0.9, 0.95, 1e-8);
    for optimizer in [
        OptimizerConfig::Radam { beta1, beta2, epsilon },
        OptimizerConfig::Lion { beta1, beta2 },
        OptimizerConfig::Sgd { momentum: 0.9, nesterov: true },
    ] {
        let average = Some(AverageConfig { decay: 0.8, ..AverageConfig::default() });
        let config = TrainerConfig { optimizer, average, ..config() };
        let folder = tempfile::tempdir().unwrap();
        let (expected, outcome, _) = train::<f32>(&folder.path().join("whole"), &config, &[]);
        let (store, resumed, times) = train::<f32>(&folder.path().join("stopped"), &config, &[2, 9, 15]);
        assert_eq!(times, 3);
        assert_eq!(bits(&store), bits(&expected), "{optimizer:?}");
        assert_eq!(timeless(&resumed.history), timeless(&outcome.history));
    }
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
