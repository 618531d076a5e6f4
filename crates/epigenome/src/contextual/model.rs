//! The model: embeddings of positions in their context, and the tasks on them.

use gradome_nn::losses::UncertaintyWeighting;
use gradome_nn::{Error, Init, Linear, Operator, ParamId, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};

use super::config::{ContactMap, ContextualEpigenomicsConfig, HeadKind, Level, Pooling, Positions, Strands};
use super::data::{ContextualWindows, Known, target_size};
use super::encoder::{Layers, Mask, Stem};
use super::heads::Head;

/// Norms of embeddings below this count as this when directions are compared.
const SMALLEST_NORM: f64 = 1e-6;
/// Where attention pooling starts: a softmax of twice the features is near their maximum (Avsec et al. 2021).
const POOLING_START: f64 = 2.0;

/// Predicts signals, classes and counts along windows of the genome from DNA, tracks and their context.
///
/// DNA and tracks are convolved to features of each position, which the context of the window (transcription factors,
/// say) scales and shifts (FiLM, Perez et al. 2018). A transformer or dilated convolutions let positions see each other;
/// heads predict from each position, or from the window as a whole. Where chromatin contacts are given, similarities of
/// embeddings are drawn towards them.
pub struct ContextualEpigenomics {
    config: ContextualEpigenomicsConfig,
    pub(crate) stem: Stem,
    layers: Layers,
    pooling: Option<Linear>,
    pub(crate) heads: Vec<Head>,
    /// `[2]` slope and offset of the logit of a contact.
    contact_scale: Option<ParamId>,
    weighting: Option<UncertaintyWeighting>,
}

/// Windows on a tape.
#[derive(Clone)]
pub struct ContextualInput<'t, T: Float> {
    /// `[windows, length * bin_size, 4]` one-hot DNA in the order A, C, G, T; zeros at N.
    pub dna: Option<Var<'t, T>>,
    /// `[windows, length, tracks]` signals.
    pub tracks: Option<Var<'t, T>>,
    /// `[windows, context_features]` context.
    pub context: Option<Var<'t, T>>,
    /// `[windows, length, length]` contacts, 0 to 1.
    pub contacts: Option<Var<'t, T>>,
    /// `[windows, length]` 1 inside, 0 at padding; nothing when all is inside.
    pub mask: Option<Tensor<T>>,
    /// For each head its targets, NaN where not known; none: there is no loss.
    pub targets: Vec<Tensor<T>>,
    /// What the windows of a batch know on average, in a part of it, so that the mean of the losses of all parts, each
    /// counted as often as it has windows, is the batch's loss; none: the windows are a batch of their own.
    pub known: Option<Known>,
}

/// What the model says of windows.
pub struct ContextualOutput<'t, T: Float> {
    /// `[windows, length, hidden]` embeddings of positions.
    pub embeddings: Var<'t, T>,
    /// `[windows, hidden]` the windows as a whole; zeros where all is masked.
    pub pooled: Var<'t, T>,
    /// For each head `[windows, length, outputs]` or `[windows, outputs]`: logits, means or logarithms of means.
    pub heads: Vec<Var<'t, T>>,
    /// The mean squared error of predicted contacts.
    pub contact_loss: Option<Var<'t, T>>,
    /// For each head its loss, when targets were given.
    pub head_losses: Vec<Var<'t, T>>,
    /// What training minimises, when targets were given.
    pub loss: Option<Var<'t, T>>,
}

impl ContextualEpigenomics {
    /// The configuration.
    pub fn config(&self) -> &ContextualEpigenomicsConfig {
        &self.config
    }

    fn embed<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        input: &ContextualInput<'t, T>,
        mask: Option<Mask<'t, T>>,
    ) -> Var<'t, T> {
        let h = self.stem.forward(step, input.dna, input.tracks, input.context, mask);
        self.layers.forward(step, h, mask)
    }

    /// `[windows, hidden]` of embeddings `[windows, length, hidden]`.
    fn pool<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        embeddings: Var<'t, T>,
        mask: Option<Mask<'t, T>>,
    ) -> Var<'t, T> {
        let Some(scores) = &self.pooling else {
            let Some(mask) = mask else { return embeddings.mean_axis(1) };
            let sum = (embeddings * mask.rows()).sum_axis(1);
            return sum / mask.inside.sum_axis(1).maximum(step.tape.scalar(1.0)).unsqueeze(-1);
        };
        // [windows, hidden, length]
        let mut scores = scores.forward(step, embeddings).permute(&[0, 2, 1]);
        let mut values = embeddings.permute(&[0, 2, 1]);
        if let Some(mask) = mask {
            let inside = mask.inside.unsqueeze(1);
            // far below any score, yet finite: a window that is masked all over has a gradient, of zeros
            scores = inside.choose(scores, step.tape.scalar(-1e30));
            values = values * inside;
        }
        (scores.softmax() * values).sum_axis(-1)
    }

    /// The mean squared error of contacts predicted from the directions of embeddings.
    fn contact_loss<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        embeddings: Var<'t, T>,
        contacts: Var<'t, T>,
        mask: Option<Mask<'t, T>>,
        known: Option<f64>,
    ) -> Var<'t, T> {
        let norms = embeddings.l2_norm_axis(-1).maximum(step.tape.scalar(SMALLEST_NORM)).unsqueeze(-1);
        let direction = embeddings / norms;
        let mut logit = direction.matmul_transposed(direction);
        if let Some(scale) = self.contact_scale {
            let scale = step.param(scale);
            logit = logit * scale.narrow(0, 0, 1) + scale.narrow(0, 1, 1);
        }
        let errors = (logit.sigmoid() - contacts).square();
        match mask {
            None => errors.mean(),
            Some(mask) => {
                let pairs = mask.rows() * mask.inside.unsqueeze(1);
                let own = || pairs.sum().maximum(step.tape.scalar(1.0));
                (errors * pairs).sum() / known.map_or_else(own, |count| step.tape.scalar(count))
            }
        }
    }
}

impl Operator for ContextualEpigenomics {
    const NAME: &'static str = "contextual-epigenomics";
    type Config = ContextualEpigenomicsConfig;
    type Batch = ContextualWindows;
    type Input<'t, T: Float> = ContextualInput<'t, T>;
    type Output<'t, T: Float> = ContextualOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let hidden = config.hidden_dim;
        let stem = Stem::new(&mut store.scope("stem"), config);
        let layers = Layers::new(&mut store.scope("encoder"), config);
        let pooling = (config.pooling == Pooling::Attention).then(|| {
            let layer =
                Linear::with_init(&mut store.scope("pooling"), hidden, hidden, Init::FanIn, Init::Constant(0.0));
            let diagonal = |i: usize| T::of(if i / hidden == i % hidden { POOLING_START } else { 0.0 });
            store.set(layer.weight, Tensor::from_fn([hidden, hidden], diagonal));
            layer
        });
        let mut scope = store.scope("heads");
        let heads: Vec<Head> = config.heads.iter().map(|head| Head::new(&mut scope, head, hidden)).collect();
        let contact_scale = (config.has_contacts() && config.contact_map == ContactMap::Scaled)
            .then(|| store.scope("contacts").parameter_from("scale", Tensor::new([2], &[T::ONE, T::ZERO])));
        let weighting = config.uncertainty_weighting.then(|| {
            let kinds: Vec<_> = heads.iter().map(Head::loss_kind).collect();
            UncertaintyWeighting::new(&mut store.scope("weighting"), &kinds)
        });
        Ok(Self { config: config.clone(), stem, layers, pooling, heads, contact_scale, weighting })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        const WINDOWS: usize = 2;
        let mut rng = Rng::seed_from_u64(seed);
        let length = if config.positions == Positions::Learned { config.max_length.min(6) } else { 6 };
        let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random()).collect() };
        let mut batch = ContextualWindows {
            windows: WINDOWS,
            length,
            tracks: values(WINDOWS * length * config.tracks.len()),
            context: values(WINDOWS * config.context_features),
            contacts: values(if config.has_contacts() { WINDOWS * length * length } else { 0 }),
            ..ContextualWindows::default()
        };
        // the end of the second window is padding, one target of each head is not known
        batch.mask = (0..WINDOWS * length).map(|i| f32::from(u8::from(i < WINDOWS * length - 2))).collect();
        let bases = if config.dna { WINDOWS * length * config.bin_size } else { 0 };
        batch.dna = (0..bases).map(|_| rng.random_range(0..5)).collect();
        for head in &config.heads {
            let mut target = |i: usize| match head.kind {
                _ if i == 1 => f32::NAN,
                HeadKind::Binary => f32::from(rng.random_range(0..2_u8)),
                HeadKind::MultiClass => rng.random_range(0..head.outputs) as f32,
                HeadKind::Regression => rng.random::<f32>() * 2.0 - 1.0,
                HeadKind::Counts => f32::from(rng.random_range(0..5_u8)),
            };
            batch.targets.push((0..WINDOWS * target_size(head, length)).map(&mut target).collect());
        }
        batch
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        let config = &self.config;
        batch.validate(config)?;
        self.check_length(batch.length)?;
        let (windows, length) = (batch.windows, batch.length);
        let tensor = |shape: &[usize], values: &[f32]| Tensor::from_fn(shape, |i| T::of(f64::from(values[i])));
        let constant =
            |wanted: bool, shape: &[usize], values: &[f32]| wanted.then(|| tape.constant(&tensor(shape, values)));
        let targets = config.heads.iter().zip(&batch.targets).map(|(head, values)| match head.level {
            Level::Position => tensor(&[windows, length, head.targets()], values),
            Level::Window => tensor(&[windows, head.targets()], values),
        });
        Ok(ContextualInput {
            dna: config.dna.then(|| tape.constant(&batch.one_hot())),
            tracks: constant(!config.tracks.is_empty(), &[windows, length, config.tracks.len()], &batch.tracks),
            context: constant(config.context_features > 0, &[windows, config.context_features], &batch.context),
            contacts: constant(
                config.has_contacts() && !batch.contacts.is_empty(),
                &[windows, length, length],
                &batch.contacts,
            ),
            mask: (!batch.mask.is_empty()).then(|| tensor(&[windows, length], &batch.mask)),
            targets: targets.collect(),
            known: None,
        })
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        let mask = input.mask.as_ref().map(|mask| Mask::new(step.tape, mask));
        let mut embeddings = self.embed(step, input, mask);
        if self.config.strands == Strands::Average {
            let turned = ContextualInput {
                // A, C, G, T backwards are their complements
                dna: input.dna.map(|dna| dna.flip(&[1, 2])),
                tracks: input.tracks.map(|tracks| tracks.flip(&[1])),
                ..input.clone()
            };
            let other = self.embed(step, &turned, mask.map(Mask::flip));
            embeddings = (embeddings + other.flip(&[1])) * 0.5;
        }
        let pooled = self.pool(step, embeddings, mask);
        let heads: Vec<_> = self.heads.iter().map(|head| head.forward(step, embeddings, pooled)).collect();
        let windows = embeddings.shape()[0] as f64;
        let known = |of: &dyn Fn(&Known) -> f64| input.known.as_ref().map(|known| windows * of(known));
        let pairs = known(&|known| known.pairs);
        let contact_loss = input.contacts.map(|contacts| self.contact_loss(step, embeddings, contacts, mask, pairs));
        let losses = self.heads.iter().zip(&heads).zip(&input.targets).enumerate();
        let head_losses: Vec<_> = losses
            .map(|(i, ((head, &output), targets))| {
                head.loss(output, targets, input.mask.as_ref(), known(&|known| known.targets[i]))
            })
            .collect();
        let loss = (!head_losses.is_empty()).then(|| {
            let weights = self.heads.iter().map(|head| head.config.weight);
            let weighted: Vec<_> = head_losses.iter().zip(weights).map(|(&loss, weight)| loss * weight).collect();
            let mut loss = match &self.weighting {
                Some(weighting) => weighting.forward(step, &weighted),
                None => weighted.into_iter().reduce(|a, b| a + b).expect("a model has heads"),
            };
            if let Some(contacts) = contact_loss {
                loss = loss + contacts * self.config.contact_weight;
            }
            loss
        });
        Ok(ContextualOutput { embeddings, pooled, heads, contact_loss, head_losses, loss })
    }
}

impl ContextualEpigenomics {
    /// Whether windows of that many positions can be looked at.
    pub(crate) fn check_length(&self, length: usize) -> Result<()> {
        let config = &self.config;
        if config.positions == Positions::Learned && length > config.max_length {
            let problem = format!("{length} positions, but the table of positions has {}", config.max_length);
            return Err(Error::data("windows", problem));
        }
        Ok(())
    }
}
