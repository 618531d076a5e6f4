//! A model with its parameters: what it says of cells.

use gradome_io::{Feature, Matrix, Measured, Modality};
use gradome_nn::distributions::Normal;
use gradome_nn::{Error, ParamStore, Result, Rng, Step};
use gradome_tape::{Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::config::MultiOmicsVaeConfig;
use crate::data::MultiOmicsData;
use crate::decoder::Decoded;
use crate::vae::{MultiOmicsInput, MultiOmicsVae};

/// Cells that are looked at together: enough for the kernels, little memory.
const CHUNK: usize = 256;
/// ln(2 pi).
const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// A trained multi-omics VAE with the names of its features.
pub struct TrainedMultiOmicsVae {
    pub(crate) model: MultiOmicsVae,
    pub(crate) store: ParamStore<f32>,
    /// For each modality its features in the order of the columns.
    pub(crate) features: Vec<Vec<Feature>>,
}

/// The posterior of the latent state of each cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Dimensions of the latent state.
    pub dimensions: usize,
    /// `[cells, dimensions]` posterior means, row-major.
    pub mean: Vec<f32>,
    /// `[cells, dimensions]` posterior standard deviations, row-major.
    pub sd: Vec<f32>,
}

/// How well the model explains each cell, in nats.
#[derive(Clone, Debug)]
pub struct LogLikelihood {
    /// `[cells]` the evidence lower bound.
    pub elbo: Vec<f64>,
    /// `[cells]` the importance-weighted bound, never below the ELBO in expectation (Burda et al. 2016).
    pub importance_weighted: Vec<f64>,
    /// `[cells]` the Kullback-Leibler divergence from posterior to prior.
    pub kl: Vec<f64>,
    /// For each modality `[cells]` the expected log-likelihood of its measured values.
    pub modalities: Vec<Vec<f64>>,
}

/// What to compute from a decoded modality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// The expected values at the cell's own depth; at the usual depth where it has none.
    Expected,
    /// Values that compare between cells: counts per 10,000, the foreground of proteins, probabilities of open
    /// chromatin at the usual depth.
    Normalized,
}

impl Decode {
    fn of<'t>(self, decoded: Decoded<'t, f32>) -> Var<'t, f32> {
        match self {
            Self::Expected => decoded.mean(),
            Self::Normalized => decoded.normalized(),
        }
    }
}

/// Which modalities the posterior looks at, and as which batch it decodes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Numbers of the modalities that are looked at; all when absent.
    pub modalities: Option<Vec<usize>>,
    /// Decodes every cell as if it were of this batch; its own when absent.
    pub as_batch: Option<u32>,
}

impl TrainedMultiOmicsVae {
    /// The configuration.
    pub fn config(&self) -> &MultiOmicsVaeConfig {
        self.model.config()
    }

    /// For each modality its features in the order of the columns.
    pub fn features(&self) -> &[Vec<Feature>] {
        &self.features
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore<f32> {
        &self.store
    }

    /// Brings modalities into the model's order, with its features in its order.
    ///
    /// Modalities and features of the model that are absent count as not measured; features that the model does not
    /// know are left out. Both are said in the notes that come back.
    ///
    /// # Errors
    /// When no modality or none of a modality's features is known to the model, or the cells' numbers differ.
    pub fn arrange(&self, given: Vec<Modality>, batch: Vec<u32>) -> Result<(MultiOmicsData, Vec<String>)> {
        let mut notes = Vec::new();
        let known: Vec<&str> = self.config().modalities.iter().map(|m| m.name.as_str()).collect();
        for modality in &given {
            if !known.contains(&modality.name.as_str()) {
                let problem = format!("the model has no such modality; it has {}", known.join(", "));
                return Err(Error::data(&modality.name, problem));
            }
        }
        let Some(cells) = given.first().map(|m| m.matrix.rows()) else {
            return Err(Error::data("modalities", format!("give at least one of {}", known.join(", "))));
        };
        let mut given: Vec<Option<Modality>> = given.into_iter().map(Some).collect();
        let mut arranged = Vec::new();
        for (name, features) in known.iter().zip(&self.features) {
            let found = given.iter_mut().find(|m| m.as_ref().is_some_and(|m| m.name == *name)).and_then(Option::take);
            arranged.push(match found {
                Some(modality) => arrange_features(modality, features, &mut notes)?,
                None => {
                    notes.push(format!("{name}: not given, counts as not measured"));
                    absent(name, features, cells)
                }
            });
        }
        let data = MultiOmicsData { modalities: arranged, batch };
        data.validate(self.config())?;
        Ok((data, notes))
    }

    /// The latent state of each cell.
    ///
    /// # Errors
    /// When the data does not fit the model.
    pub fn latent(&self, data: &MultiOmicsData, view: &View) -> Result<Latent> {
        let mut latent = Latent { dimensions: self.config().latent_dim, mean: Vec::new(), sd: Vec::new() };
        self.each_chunk(data, view, |_, posterior, _| {
            latent.mean.extend(posterior.mean.value().data());
            latent.sd.extend((posterior.ln_variance * 0.5).exp().value().data());
        })?;
        Ok(latent)
    }

    /// A modality's values `[cells, features]`, averaged over `samples` latent states of each cell (0: the posterior
    /// mean alone). Values that were not measured are imputed from whatever else the cell has.
    ///
    /// # Errors
    /// When the data does not fit the model or there is no such modality.
    pub fn decode(
        &self,
        data: &MultiOmicsData,
        modality: &str,
        what: Decode,
        view: &View,
        samples: usize,
        seed: u64,
    ) -> Result<Matrix> {
        let at = self.modality(modality)?;
        let mut values = Vec::new();
        let mut rng = Rng::seed_from_u64(seed);
        self.each_chunk(data, view, |step, posterior, input| {
            let mut sum: Option<Vec<f32>> = None;
            for draw in 0..samples.max(1) {
                let latent = if samples == 0 { posterior.mean } else { draw_latent(posterior, &mut rng) };
                let value = step.tape.no_grad(|| what.of(self.model.decode(step, latent, input)[at])).value();
                let sum = sum.get_or_insert_with(|| vec![0.0; value.shape().len()]);
                let share = 1.0 / (draw + 1) as f32;
                // a running mean
                sum.iter_mut().zip(value.data()).for_each(|(m, v)| *m += (v - *m) * share);
            }
            values.extend(sum.unwrap_or_default());
        })?;
        Ok(Matrix::dense(data.cells(), self.config().modalities[at].features, values))
    }

    /// Every value of a modality as the model expects it `[cells, features]`, from all that was measured in the cell.
    ///
    /// # Errors
    /// As [`TrainedMultiOmicsVae::decode`].
    pub fn impute(&self, data: &MultiOmicsData, modality: &str, samples: usize, seed: u64) -> Result<Matrix> {
        self.decode(data, modality, Decode::Expected, &View::default(), samples, seed)
    }

    /// A modality's denoised values `[cells, features]` that compare between cells; see [`Decode::Normalized`].
    ///
    /// # Errors
    /// As [`TrainedMultiOmicsVae::decode`].
    pub fn normalized(&self, data: &MultiOmicsData, modality: &str, samples: usize, seed: u64) -> Result<Matrix> {
        self.decode(data, modality, Decode::Normalized, &View::default(), samples, seed)
    }

    /// Values drawn from the posterior predictive distribution `[cells, features]`.
    ///
    /// # Errors
    /// When the data does not fit the model or there is no such modality.
    pub fn sample(&self, data: &MultiOmicsData, modality: &str, seed: u64) -> Result<Matrix> {
        let at = self.modality(modality)?;
        let mut values = Vec::new();
        let mut rng = Rng::seed_from_u64(seed);
        self.each_chunk(data, &View::default(), |step, posterior, input| {
            let latent = draw_latent(posterior, &mut rng);
            values.extend(self.model.decode(step, latent, input)[at].sample(&mut rng).data());
        })?;
        Ok(Matrix::dense(data.cells(), self.config().modalities[at].features, values))
    }

    /// The ELBO and the importance-weighted bound of each cell from `samples` latent states.
    ///
    /// # Errors
    /// When the data does not fit the model or `samples` is 0.
    pub fn log_likelihood(&self, data: &MultiOmicsData, samples: usize, seed: u64) -> Result<LogLikelihood> {
        if samples == 0 {
            return Err(Error::config("samples", "a likelihood needs at least one latent state"));
        }
        let count = self.config().modalities.len();
        let mut all = LogLikelihood {
            elbo: Vec::new(),
            importance_weighted: Vec::new(),
            kl: Vec::new(),
            modalities: vec![Vec::new(); count],
        };
        let mut rng = Rng::seed_from_u64(seed);
        self.each_chunk(data, &View::default(), |step, posterior, input| {
            let cells = posterior.mean.shape()[0];
            let kl: Vec<f64> = posterior.kl_to_standard().sum_axis(1).value().to_f64();
            let mut expected = vec![vec![0.0; cells]; count];
            let mut ln_weights = vec![Vec::with_capacity(samples); cells];
            for _ in 0..samples {
                let latent = draw_latent(posterior, &mut rng);
                let terms = step.tape.no_grad(|| {
                    let decoded = self.model.decode(step, latent, input);
                    let mut terms = MultiOmicsVae::ln_likelihoods(&decoded, input);
                    let prior = (latent.square() + LN_TWO_PI).sum_axis(1) * -0.5;
                    terms.push(prior - posterior.log_prob(latent).sum_axis(1));
                    terms
                });
                let terms: Vec<Vec<f64>> = terms.iter().map(|t| t.value().to_f64()).collect();
                for (cell, weights) in ln_weights.iter_mut().enumerate() {
                    weights.push(terms.iter().map(|t| t[cell]).sum::<f64>());
                    for (expected, term) in expected.iter_mut().zip(&terms) {
                        expected[cell] += term[cell] / samples as f64;
                    }
                }
            }
            for (cell, weights) in ln_weights.iter().enumerate() {
                let explained: f64 = expected.iter().map(|e| e[cell]).sum();
                all.elbo.push(explained - kl[cell]);
                let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = weights.iter().map(|w| (w - largest).exp()).sum();
                all.importance_weighted.push(largest + (total / samples as f64).ln());
            }
            all.kl.extend(&kl);
            for (all, expected) in all.modalities.iter_mut().zip(&expected) {
                all.extend(expected);
            }
        })?;
        Ok(all)
    }

    fn modality(&self, name: &str) -> Result<usize> {
        let names: Vec<&str> = self.config().modalities.iter().map(|m| m.name.as_str()).collect();
        names
            .iter()
            .position(|n| *n == name)
            .ok_or_else(|| Error::data(name, format!("the model has no such modality; it has {}", names.join(", "))))
    }

    /// Runs `f` on the posterior of a few cells at a time, in order.
    fn each_chunk(
        &self,
        data: &MultiOmicsData,
        view: &View,
        mut f: impl for<'s, 't> FnMut(Step<'s, 't, f32>, Normal<'t, f32>, &MultiOmicsInput<'t, f32>),
    ) -> Result<()> {
        data.validate(self.config())?;
        if let Some(batch) = view.as_batch.filter(|&b| b as usize >= self.config().batch_count()) {
            return Err(Error::data("batch", format!("there is no batch number {batch}")));
        }
        let cells: Vec<usize> = (0..data.cells()).collect();
        let mut tape = Tape::new();
        for chunk in cells.chunks(CHUNK) {
            {
                let bound = self.store.bind(&tape);
                let step = Step::eval(&tape, &bound);
                let mut input = MultiOmicsInput::from_data(&tape, self.config(), data, chunk);
                if let Some(as_batch) = view.as_batch {
                    let count = self.config().batch_count();
                    let one_hot = |i: usize| if i % count == as_batch as usize { 1.0 } else { 0.0 };
                    input.batch = Some(tape.constant(&Tensor::from_fn([chunk.len(), count], one_hot)));
                }
                let experts = self.model.experts(step, &input);
                let posterior = match &view.modalities {
                    None => self.model.posterior(&experts),
                    Some(picked) => {
                        let picked: Vec<_> = picked.iter().filter_map(|&m| experts.get(m).copied()).collect();
                        if picked.is_empty() {
                            return Err(Error::config("modalities", "the posterior needs at least one modality"));
                        }
                        self.model.posterior(&picked)
                    }
                };
                f(step, posterior, &input);
            }
            tape.reset();
        }
        Ok(())
    }
}

fn draw_latent<'t>(posterior: Normal<'t, f32>, rng: &mut Rng) -> Var<'t, f32> {
    let shape = posterior.mean.shape();
    let noise = Tensor::from_fn(shape, |_| rng.sample::<f32, _>(StandardNormal));
    posterior.sample(posterior.mean.tape().constant(&noise))
}

/// A modality of which nothing was measured.
pub(crate) fn absent(name: &str, features: &[Feature], cells: usize) -> Modality {
    Modality {
        name: name.to_owned(),
        kind: features[0].kind.clone(),
        features: features.to_vec(),
        matrix: Matrix::dense(cells, features.len(), vec![0.0; cells * features.len()]),
        measured: Measured::from_rows((0..cells).map(|_| vec![false; features.len()])),
    }
}

/// Puts a modality's features in the order of `features`.
fn arrange_features(modality: Modality, features: &[Feature], notes: &mut Vec<String>) -> Result<Modality> {
    let same = modality.features.len() == features.len()
        && modality.features.iter().zip(features).all(|(a, b)| a.name == b.name);
    if same {
        return Ok(modality);
    }
    let places: std::collections::HashMap<&str, usize> =
        modality.features.iter().enumerate().map(|(i, f)| (f.name.as_str(), i)).collect();
    let place_of: Vec<Option<usize>> = features.iter().map(|f| places.get(f.name.as_str()).copied()).collect();
    let found = place_of.iter().flatten().count();
    if found == 0 {
        let problem = format!(
            "none of its {} features is known to the model, whose first is '{}'; are names and identifiers mixed up?",
            modality.features.len(),
            features[0].name
        );
        return Err(Error::data(&modality.name, problem));
    }
    notes.push(format!(
        "{}: {found} of the model's {} features found, {} others left out",
        modality.name,
        features.len(),
        modality.features.len() - found
    ));
    let cells = modality.matrix.rows();
    let mut row = vec![0.0; modality.matrix.columns()];
    let mut values = Vec::with_capacity(cells * features.len());
    for cell in 0..cells {
        modality.matrix.read_row(cell, &mut row);
        values.extend(place_of.iter().map(|place| place.map_or(0.0, |p| row[p])));
    }
    let measured = Measured::from_rows((0..cells).map(|cell| {
        let known =
            |place: &Option<usize>| place.is_some_and(|p| modality.measured.as_ref().is_none_or(|m| m.cell(cell)[p]));
        place_of.iter().map(known).collect()
    }));
    Ok(Modality {
        name: modality.name,
        kind: modality.kind,
        features: features.to_vec(),
        matrix: Matrix::dense(cells, features.len(), values),
        measured,
    })
}
