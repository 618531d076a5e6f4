//! Parameters under dotted paths, and how they meet a tape.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gradome_tape::{Float, Gradients, Shape, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::init::Init;

/// The random generator of everything seeded: ChaCha with 8 rounds, whose stream is fixed by its specification.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A parameter's place in its [`ParamStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(crate) usize);

impl ParamId {
    /// The key under which [`Gradients`](gradome_tape::Gradients) hold this parameter's gradient.
    pub fn key(self) -> usize {
        self.0
    }
}

/// A named array of a model.
#[derive(Clone, Debug)]
pub struct Entry<T: Float> {
    /// The dotted path, `encoder.0.weight`.
    pub path: String,
    /// The values.
    pub value: Tensor<T>,
    /// Whether training changes it through its gradient; running averages and constants are not trained.
    pub trained: bool,
}

/// All arrays of a model under dotted paths.
///
/// A parameter's first values depend on the seed and its path alone, so that adding a layer changes no other.
#[derive(Clone, Debug)]
pub struct ParamStore<T: Float> {
    entries: Vec<Entry<T>>,
    by_path: HashMap<String, ParamId>,
    seed: u64,
}

impl<T: Float> ParamStore<T> {
    /// An empty store whose parameters are drawn with the given seed.
    pub fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), by_path: HashMap::new(), seed }
    }

    /// A place to add parameters whose paths start with `name`.
    pub fn scope(&mut self, name: impl Into<String>) -> Scope<'_, T> {
        Scope { store: self, path: name.into() }
    }

    /// Adds an array.
    ///
    /// # Panics
    /// When the path is taken.
    pub fn add(&mut self, path: impl Into<String>, value: Tensor<T>, trained: bool) -> ParamId {
        let path = path.into();
        let id = ParamId(self.entries.len());
        let earlier = self.by_path.insert(path.clone(), id);
        assert!(earlier.is_none(), "there are two parameters called {path}");
        self.entries.push(Entry { path, value, trained });
        id
    }

    /// The array's id, by path.
    pub fn find(&self, path: &str) -> Option<ParamId> {
        self.by_path.get(path).copied()
    }

    /// The array's values.
    pub fn get(&self, id: ParamId) -> &Tensor<T> {
        &self.entries[id.0].value
    }

    /// The array's values, to change.
    pub fn get_mut(&mut self, id: ParamId) -> &mut Tensor<T> {
        &mut self.entries[id.0].value
    }

    /// Replaces an array's values.
    ///
    /// # Panics
    /// When the shape differs.
    pub fn set(&mut self, id: ParamId, value: Tensor<T>) {
        let entry = &mut self.entries[id.0];
        assert_eq!(entry.value.shape(), value.shape(), "the values given for {} have another shape", entry.path);
        entry.value = value;
    }

    /// All arrays in the order they were added, with their ids.
    pub fn entries(&self) -> impl Iterator<Item = (ParamId, &Entry<T>)> {
        self.entries.iter().enumerate().map(|(i, entry)| (ParamId(i), entry))
    }

    /// The ids of the arrays that training changes.
    pub fn trained(&self) -> impl Iterator<Item = ParamId> + '_ {
        self.entries().filter(|(_, entry)| entry.trained).map(|(id, _)| id)
    }

    /// How many numbers training changes.
    pub fn parameter_count(&self) -> usize {
        self.entries.iter().filter(|e| e.trained).map(|e| e.value.shape().len()).sum()
    }

    /// The same arrays in another precision.
    pub fn cast<U: Float>(&self) -> ParamStore<U> {
        let cast = |e: &Entry<T>| Entry { path: e.path.clone(), value: e.value.cast(), trained: e.trained };
        ParamStore { entries: self.entries.iter().map(cast).collect(), by_path: self.by_path.clone(), seed: self.seed }
    }

    /// Puts every array on a tape: trained ones as parameters, others as constants.
    pub fn bind<'t>(&self, tape: &'t Tape<T>) -> Bound<'t, T> {
        let vars = self
            .entries()
            .map(|(id, e)| if e.trained { tape.parameter(id.0, &e.value) } else { tape.constant(&e.value) })
            .collect();
        Bound { vars, updates: RefCell::new(Vec::new()), rng: RefCell::new(Rng::seed_from_u64(0)) }
    }

    /// Takes over the running averages that layers left in a training step.
    pub fn apply(&mut self, updates: Updates<T>) {
        for (id, value) in updates.0 {
            self.set(id, value);
        }
    }

    /// All trained values in one vector, in the order of [`ParamStore::trained`].
    pub fn flatten(&self) -> Vec<f64> {
        self.trained().flat_map(|id| self.get(id).data().iter().map(|v| v.to_f64())).collect()
    }

    /// Replaces all trained values by those of one vector, in the order of [`ParamStore::flatten`].
    ///
    /// # Panics
    /// When there are not [`ParamStore::parameter_count`] values.
    pub fn unflatten(&mut self, values: &[f64]) {
        assert_eq!(values.len(), self.parameter_count(), "the vector does not fit the store's trained parameters");
        let mut values = values.iter();
        for entry in self.entries.iter_mut().filter(|entry| entry.trained) {
            entry.value.data_mut().iter_mut().zip(&mut values).for_each(|(to, from)| *to = T::of(*from));
        }
    }

    /// Writes the gradients of all trained values into one vector, in the order of [`ParamStore::flatten`]; 0 where
    /// there is none.
    ///
    /// # Panics
    /// When there are not [`ParamStore::parameter_count`] values.
    pub fn flatten_gradients(&self, gradients: &Gradients<T>, out: &mut [f64]) {
        assert_eq!(out.len(), self.parameter_count(), "the vector does not fit the store's trained parameters");
        let mut rest = out;
        for id in self.trained() {
            let (own, after) = rest.split_at_mut(self.get(id).shape().len());
            match gradients.get(id.key()) {
                Some(gradient) => own.iter_mut().zip(gradient.data()).for_each(|(to, from)| *to = from.to_f64()),
                None => own.fill(0.0),
            }
            rest = after;
        }
    }

    fn rng_for(&self, path: &str) -> Rng {
        // FNV-1a: a fixed hash, so that first values are the same in every build
        let hash =
            path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Rng::seed_from_u64(self.seed ^ hash)
    }
}

/// Where a layer adds its parameters: a store and a path.
pub struct Scope<'a, T: Float> {
    store: &'a mut ParamStore<T>,
    path: String,
}

impl<T: Float> Scope<'_, T> {
    /// The scope `name` within this one.
    pub fn scope(&mut self, name: impl std::fmt::Display) -> Scope<'_, T> {
        let path = self.join(&name.to_string());
        Scope { store: self.store, path }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Adds a trained parameter; the last axis is its fan-out, the others its fan-in.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let (path, shape) = (self.join(name), shape.into());
        let outputs = shape.last_size();
        let inputs = shape.len() / outputs.max(1);
        let value = init.draw(shape, inputs, outputs, &mut self.store.rng_for(&path));
        self.store.add(path, value, true)
    }

    /// Adds a trained parameter with given first values.
    pub fn parameter_from(&mut self, name: &str, value: Tensor<T>) -> ParamId {
        let path = self.join(name);
        self.store.add(path, value, true)
    }

    /// Adds an array that training does not change through a gradient.
    pub fn constant(&mut self, name: &str, value: Tensor<T>) -> ParamId {
        let path = self.join(name);
        self.store.add(path, value, false)
    }
}

/// The arrays of a store on a tape, for one step.
pub struct Bound<'t, T: Float> {
    vars: Vec<Var<'t, T>>,
    updates: RefCell<Vec<(ParamId, Tensor<T>)>>,
    rng: RefCell<Rng>,
}

/// Running averages to be stored after a step.
#[must_use = "running averages are lost unless the store applies them"]
pub struct Updates<T: Float>(Vec<(ParamId, Tensor<T>)>);

impl<T: Float> Updates<T> {
    /// Whether no layer left any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'t, T: Float> Bound<'t, T> {
    /// Puts another value in a parameter's place, for checks.
    pub(crate) fn replace(&mut self, id: ParamId, var: Var<'t, T>) {
        self.vars[id.0] = var;
    }

    /// The running averages that layers left; give them to [`ParamStore::apply`].
    pub fn into_updates(self) -> Updates<T> {
        Updates(self.updates.into_inner())
    }
}

/// What a layer sees of a step: the tape, the bound parameters, and whether it is training.
pub struct Step<'s, 't, T: Float> {
    /// The tape that records the step.
    pub tape: &'t Tape<T>,
    bound: &'s Bound<'t, T>,
    training: bool,
}

impl<T: Float> Clone for Step<'_, '_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Float> Copy for Step<'_, '_, T> {}

impl<'s, 't, T: Float> Step<'s, 't, T> {
    /// A step that uses the model as it is: no dropout, running averages.
    pub fn eval(tape: &'t Tape<T>, bound: &'s Bound<'t, T>) -> Self {
        Self { tape, bound, training: false }
    }

    /// A training step whose noise comes from `rng`.
    pub fn train(tape: &'t Tape<T>, bound: &'s Bound<'t, T>, rng: Rng) -> Self {
        *bound.rng.borrow_mut() = rng;
        Self { tape, bound, training: true }
    }

    /// Whether layers behave as in training (dropout, batch statistics).
    pub fn training(self) -> bool {
        self.training
    }

    /// A parameter's handle.
    pub fn param(self, id: ParamId) -> Var<'t, T> {
        self.bound.vars[id.0]
    }

    /// Standard normal noise from the step's generator.
    pub fn normal(self, shape: impl Into<Shape>) -> Var<'t, T> {
        let noise = self.with_rng(|rng| Tensor::from_fn(shape, |_| T::of(rng.sample::<f64, _>(StandardNormal))));
        self.tape.constant(&noise)
    }

    /// Runs `draw` with the step's generator.
    pub fn with_rng<R>(self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        draw(&mut self.bound.rng.borrow_mut())
    }

    /// Computes `f` without keeping its intermediate values; the backward pass computes them again, with the same
    /// noise. See [`Tape::recompute`]; parameters need not be among the inputs.
    ///
    /// ```
    /// use gradome_nn::{Linear, ParamStore, Step};
    /// use gradome_tape::{Tape, Tensor};
    ///
    /// let mut store = ParamStore::<f32>::new(0);
    /// let layer = Linear::new(&mut store.scope("layer"), 3, 3);
    /// let tape = Tape::new();
    /// let bound = store.bind(&tape);
    /// let step = Step::eval(&tape, &bound);
    /// let x = tape.constant(&Tensor::zeros([4, 3]));
    /// let id = layer.weight;
    /// let y = step.recompute(&[x], move |step, x| layer.forward(step, x[0]).tanh());
    /// assert!(y.sum().backward().get(id.key()).is_some());
    /// ```
    pub fn recompute<F>(self, inputs: &[Var<'t, T>], f: F) -> Var<'t, T>
    where
        F: for<'b, 'u> Fn(Step<'b, 'u, T>, &[Var<'u, T>]) -> Var<'u, T> + Send + 'static,
    {
        let parameters = self.bound.vars.len();
        let operands: Vec<_> = self.bound.vars.iter().chain(inputs).copied().collect();
        let (rng, training) = (self.bound.rng.borrow().clone(), self.training);
        // what the run leaves behind: the generator as it is then, and running averages
        let left = Arc::new(Mutex::new(None));
        let leave = Arc::clone(&left);
        let y = self.tape.recompute(&operands, move |tape, operands| {
            let (vars, inputs) = operands.split_at(parameters);
            let bound =
                Bound { vars: vars.to_vec(), updates: RefCell::new(Vec::new()), rng: RefCell::new(rng.clone()) };
            let y = f(Step { tape, bound: &bound, training }, inputs);
            *leave.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((bound.rng.into_inner(), bound.updates.into_inner()));
            y
        });
        let left = left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((rng, updates)) = left {
            *self.bound.rng.borrow_mut() = rng;
            self.bound.updates.borrow_mut().extend(updates);
        }
        y
    }

    /// Leaves a new value of a running average, to be stored after the step.
    pub fn update(self, id: ParamId, value: Tensor<T>) {
        self.bound.updates.borrow_mut().push((id, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_values_depend_on_seed_and_path_alone() {
        let mut a = ParamStore::<f64>::new(3);
        let mut b = ParamStore::<f64>::new(3);
        b.scope("other").parameter("weight", [4, 4], Init::XavierUniform);
        let in_a = a.scope("x").scope(0).parameter("weight", [2, 3], Init::Normal(1.0));
        let in_b = b.scope("x").scope(0).parameter("weight", [2, 3], Init::Normal(1.0));
        assert_eq!(a.get(in_a), b.get(in_b));
        assert_eq!(a.find("x.0.weight"), Some(in_a));
        let mut c = ParamStore::<f64>::new(4);
        let in_c = c.scope("x").scope(0).parameter("weight", [2, 3], Init::Normal(1.0));
        assert_ne!(a.get(in_a), c.get(in_c));
    }
}
