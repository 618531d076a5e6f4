//! The reverse walk over a tape.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::float::Float;
use crate::fuse::Group;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::operand::repeats;
use crate::kernels::reduce::add_summed_to;
use crate::kernels::sweep::{self, OperandGrad, RootGrad, add_assign};
use crate::op::{Array, At, Grads, Slot};
use crate::rows::Fusible;
use crate::shape::Shape;
use crate::tape::{Kind, Nodes};
use crate::tensor::Tensor;
use crate::var::Var;

/// The gradients of one backward pass, which outlive the tape's reset.
///
/// A parameter's gradient is found by its key, a variable's by its handle; both are absent where the result does not
/// depend on it.
pub struct Gradients<T: Float> {
    by_key: BTreeMap<usize, Tensor<T>>,
    by_id: BTreeMap<u32, Tensor<T>>,
}

impl<T: Float> Gradients<T> {
    /// The gradient of a parameter, summed over all its uses.
    pub fn get(&self, key: usize) -> Option<&Tensor<T>> {
        self.by_key.get(&key)
    }

    /// The gradient of a variable of the tape.
    pub fn of(&self, var: Var<'_, T>) -> Option<&Tensor<T>> {
        self.by_id.get(&var.id)
    }

    /// The gradient of a parameter, to change (clipping, averaging over processes).
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Tensor<T>> {
        self.by_key.get_mut(&key)
    }

    /// The keys of all parameters that have a gradient, ascending.
    pub fn keys(&self) -> Vec<usize> {
        self.by_key.keys().copied().collect()
    }

    /// Adds the gradients that another tape found of the same parameters; those of variables stay as they are.
    ///
    /// # Panics
    /// When a parameter has another shape there.
    pub fn add(&mut self, other: Self) {
        for (key, theirs) in other.by_key {
            match self.by_key.entry(key) {
                Entry::Vacant(place) => drop(place.insert(theirs)),
                Entry::Occupied(mut own) => {
                    let own = own.get_mut();
                    assert_eq!(own.shape(), theirs.shape(), "the gradients of parameter {key} differ in shape");
                    add_assign(own.data_mut(), theirs.data());
                }
            }
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The gradient of this number with respect to every parameter and variable it depends on.
    ///
    /// # Panics
    /// When it has not exactly one element.
    pub fn backward(self) -> Gradients<T> {
        let shape = self.shape();
        assert_eq!(shape.len(), 1, "backward: shape {shape} is not one number; use backward_with");
        self.backward_with(&Tensor::full(shape, T::ONE))
    }

    /// The vector-Jacobian product: the gradient of the inner product of this value with `cotangent`.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn backward_with(self, cotangent: &Tensor<T>) -> Gradients<T> {
        assert_eq!(self.shape(), cotangent.shape(), "backward: the cotangent's shape differs from the value's");
        let pool = &self.tape.pool;
        let mut nodes = self.tape.nodes.borrow_mut();
        let mut grads: Vec<Option<Buffer<T>>> = Vec::new();
        grads.resize_with(nodes.list.len(), || None);
        let mut swept = SmallVec::new();
        if let [seed] = cotangent.data() {
            swept = nodes.sums_ahead(self.id, *seed, &mut grads, pool);
        }
        nodes.materialise(self.id, pool);
        let mut seed = pool.take(cotangent.shape().len());
        seed.copy_from_slice(cotangent.data());
        grads[self.id as usize] = Some(seed);
        nodes.walk_back(self.id, grads, &swept, pool)
    }
}

/// Elementwise ops whose slopes do not depend on values.
const AFFINE: [&str; 5] = ["plus", "minus", "negate", "plus_constant", "times_constant"];

impl<T: Float> Nodes<T> {
    /// Pending sums from which only affine ops of numbers lead to `root`: their gradients are known before their
    /// values, so one sweep takes both. Returns the sums that are done.
    fn sums_ahead(
        &mut self,
        root: u32,
        seed: T,
        grads: &mut [Option<Buffer<T>>],
        pool: &Pool<T>,
    ) -> SmallVec<[u32; 4]> {
        let mut done = SmallVec::new();
        let mut open: SmallVec<[(u32, T); 8]> = SmallVec::from_slice(&[(root, seed)]);
        while let Some((id, seed)) = open.pop() {
            let node = &self.list[id as usize];
            if node.value.is_some() || !node.needs_grad || (id != root && node.uses > 1) {
                continue;
            }
            match &node.kind {
                Kind::Fusible { op: Fusible::Elementwise(op), parameters, .. } if AFFINE.contains(&op.name) => {
                    for (operand, &input) in node.inputs.iter().enumerate() {
                        let mut slope = [T::ZERO];
                        (op.backward[operand])(&[&[T::ZERO]; 3], parameters, &[T::ZERO], &[seed], &mut slope);
                        if self.list[input as usize].shape.len() == 1 {
                            open.push((input, slope[0]));
                        }
                    }
                }
                Kind::Sum { .. } => {
                    let Some(group) = self.summed_group(id, pool) else { continue };
                    let mut out = pool.take(1);
                    out[0] = self.group_back(&group, Root::Same(seed), grads, true, pool);
                    self.finish_sum(id, out, group);
                    done.push(id);
                }
                _ => {}
            }
        }
        done
    }

    /// Walks from `root` to the leaves; the gradients of what the sums in `swept` read are known already.
    fn walk_back(&self, root: u32, mut grads: Vec<Option<Buffer<T>>>, swept: &[u32], pool: &Pool<T>) -> Gradients<T> {
        let mut found = Gradients { by_key: BTreeMap::new(), by_id: BTreeMap::new() };
        for id in (0..=root).rev() {
            let node = &self.list[id as usize];
            // a further output keeps its gradient for its op, which comes later in the walk
            if !node.needs_grad || matches!(node.kind, Kind::Output) || swept.contains(&id) {
                continue;
            }
            let coarse: Option<(_, &[Buffer<T>], usize)> = match &node.kind {
                Kind::Op { op, saved, outputs } => Some((op, saved, *outputs)),
                Kind::View { op, .. } => Some((op, &[], 1)),
                _ => None,
            };
            if let Some((op, saved, outputs)) = coarse {
                let range = id as usize..id as usize + outputs;
                let own: SmallVec<[Option<Buffer<T>>; 2]> = range.clone().map(|o| grads[o].take()).collect();
                if own.iter().all(Option::is_none) {
                    continue;
                }
                let own: SmallVec<[Option<&[T]>; 2]> = own.iter().map(|g| g.as_deref()).collect();
                let x: SmallVec<[Array<'_, T>; 4]> = node.inputs.iter().map(|&i| self.array(i)).collect();
                let y: SmallVec<[Array<'_, T>; 2]> = range.map(|o| self.array(o as u32)).collect();
                let mut slots: SmallVec<[Option<Slot<T>>; 4]> =
                    node.inputs.iter().map(|&i| self.slot(i, &mut grads, &mut None, pool)).collect();
                op.backward(&At { x: &x, y: &y, saved, grads: &own, pool }, &mut Grads { slots: &mut slots });
                for (&input, slot) in node.inputs.iter().zip(slots) {
                    if let Some(slot) = slot
                        && !slot.fresh
                    {
                        put_back(&mut grads[input as usize], slot.data);
                    }
                }
                continue;
            }
            let Some(grad) = grads[id as usize].take() else { continue };
            match &node.kind {
                Kind::Leaf { key } => {
                    let grad = Tensor::from_shared(node.shape, Arc::new(grad));
                    match key {
                        Some(key) => match found.by_key.remove(key) {
                            // the same parameter was put on the tape more than once
                            Some(mut earlier) => {
                                add_assign(earlier.data_mut(), grad.data());
                                found.by_key.insert(*key, earlier);
                            }
                            None => {
                                found.by_key.insert(*key, grad);
                            }
                        },
                        None => {
                            found.by_id.insert(id, grad);
                        }
                    }
                }
                Kind::Fusible { group, .. } => {
                    let group = group.as_ref().expect("a node whose gradient is wanted was computed");
                    self.group_back(group, Root::Full(grad), &mut grads, false, pool);
                }
                Kind::Sum { group: Some(group) } => {
                    self.group_back(group, Root::Same(grad[0]), &mut grads, false, pool);
                }
                Kind::Sum { group: None } => {
                    let input = node.inputs[0];
                    if let Some(mut slot) = self.slot(input, &mut grads, &mut None, pool) {
                        if slot.fresh {
                            slot.data.fill(grad[0]);
                        } else {
                            slot.data.iter_mut().for_each(|g| *g += grad[0]);
                        }
                        put_back(&mut grads[input as usize], slot.data);
                    }
                }
                Kind::Reshape => put_back(&mut grads[node.inputs[0] as usize], grad),
                Kind::Op { .. } | Kind::View { .. } | Kind::Output => {}
            }
        }
        found
    }

    /// Takes the gradient of a node to add to it; a node that is taken twice gets a second array. The first gradient of a
    /// node goes to a spare array when there is one.
    fn slot(
        &self,
        id: u32,
        grads: &mut [Option<Buffer<T>>],
        spare: &mut Option<Buffer<T>>,
        pool: &Pool<T>,
    ) -> Option<Slot<T>> {
        let node = &self.list[id as usize];
        if !node.needs_grad {
            return None;
        }
        Some(match grads[id as usize].take() {
            Some(data) => Slot { data, fresh: false },
            None => Slot { data: spare.take().unwrap_or_else(|| pool.take(node.shape.len())), fresh: true },
        })
    }

    /// Adds the gradients of a group's operands; returns the sum of its elements when `want_sum`.
    fn group_back(
        &self,
        group: &Group<T>,
        root: Root<T>,
        grads: &mut [Option<Buffer<T>>],
        want_sum: bool,
        pool: &Pool<T>,
    ) -> T {
        enum Target<T: Float> {
            Unwanted,
            /// Of the group's shape.
            Direct(Slot<T>),
            /// A trailing part: summed in the sweep.
            Repeated(Buffer<T>),
            /// Of another smaller shape: filled at the group's shape, then summed.
            Broadcast(Buffer<T>),
        }
        let (mut root, mut given) = match root {
            Root::Full(grad) => (None, Some(grad)),
            Root::Same(grad) => (Some(RootGrad::Same(grad)), None),
        };
        let mut targets: SmallVec<[Target<T>; 8]> = group
            .inputs
            .iter()
            .enumerate()
            .map(|(at, &i)| {
                let node = &self.list[i as usize];
                if !node.needs_grad {
                    Target::Unwanted
                } else if node.shape.len() == group.shape.len() {
                    // a result's gradient is not needed any more: an operand's may take its place
                    let slot = self.slot(i, grads, &mut given, pool);
                    if root.is_none() && given.is_none() {
                        root = Some(RootGrad::InPlace(at));
                    }
                    slot.map_or(Target::Unwanted, Target::Direct)
                } else if repeats(&node.shape, &group.shape) {
                    Target::Repeated(pool.take(node.shape.len()))
                } else {
                    Target::Broadcast(pool.take(group.shape.len()))
                }
            })
            .collect();
        let mut wanted: SmallVec<[OperandGrad<'_, T>; 8]> = targets
            .iter_mut()
            .map(|target| match target {
                Target::Unwanted => OperandGrad::Unwanted,
                Target::Direct(slot) => OperandGrad::Full { grad: &mut slot.data, fresh: slot.fresh },
                Target::Broadcast(full) => OperandGrad::Full { grad: full, fresh: true },
                Target::Repeated(sum) => OperandGrad::Repeated(sum),
            })
            .collect();
        let (steps, operands, len) = (&group.steps, self.operands(group), group.shape.len());
        let root = root.unwrap_or_else(|| RootGrad::Full(given.as_deref().expect("it was not put to use")));
        let sum = sweep::backward(steps, &operands, group.cut, len, &root, &mut wanted, want_sum, pool);
        drop(wanted);
        for (&input, target) in group.inputs.iter().zip(targets) {
            let own: Shape = self.list[input as usize].shape;
            let place = &mut grads[input as usize];
            match target {
                Target::Unwanted => {}
                Target::Direct(slot) => put_back(place, slot.data),
                Target::Broadcast(full) => {
                    let mut summed = pool.take_zeroed(own.len());
                    add_summed_to(&full, &group.shape, &mut summed, &own, pool);
                    put_back(place, summed);
                }
                Target::Repeated(summed) => put_back(place, summed),
            }
        }
        sum
    }
}

/// The gradient of a group's result.
enum Root<T: Float> {
    /// One number an element.
    Full(Buffer<T>),
    /// The same number for every element: the group's sum was taken.
    Same(T),
}

/// Adds a gradient to what a node has already.
fn put_back<T: Float>(place: &mut Option<Buffer<T>>, grad: Buffer<T>) {
    match place {
        Some(sum) => add_assign(sum, &grad),
        None => *place = Some(grad),
    }
}
