//! Pending elementwise ops and functions of rows: how they are recorded, grouped and computed.
//!
//! A group is what is computed in one sweep: the node that is needed and every pending op of the same shape below it
//! whose only users are in the group. Anything else is an operand and gets a value first.

use smallvec::SmallVec;

use crate::elementwise::{MAX_OPERANDS, MAX_PARAMETERS};
use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::operand::Operand;
use crate::kernels::strided;
use crate::kernels::sweep::{self, Cut, Source, Step};
use crate::rows::Fusible;
use crate::shape::Shape;
use crate::tape::{Inputs, Kind, Node, Nodes};

/// The most ops in one group: their blocks, forward and reverse, should stay in the second-level cache.
const MAX_GROUP: u32 = 24;
/// Row functions of longer rows stand alone: the blocks of a group would not stay in the cache.
const LONGEST_FUSED_ROW: usize = 4096;

/// A fused group: its steps in order, and the nodes it reads.
pub(crate) struct Group<T: Float> {
    pub steps: Vec<Step<T>>,
    pub inputs: Inputs,
    pub shape: Shape,
    pub cut: Cut,
}

impl<T: Float> Nodes<T> {
    pub(crate) fn record_fusible(
        &mut self,
        op: Fusible<T>,
        inputs: &[u32],
        parameters: [T; MAX_PARAMETERS],
        pool: &Pool<T>,
    ) -> u32 {
        let shape_of = |nodes: &Self, id: u32| nodes.list[id as usize].shape;
        let mut shape = shape_of(self, inputs[0]);
        for &input in &inputs[1..] {
            shape = shape.broadcast(&shape_of(self, input), op.name());
        }
        let alone = op.is_rows() && shape.last_size() > LONGEST_FUSED_ROW;
        for &input in inputs {
            if alone || shape_of(self, input) != shape {
                self.materialise(input, pool);
            }
        }
        while 1 + self.pending(inputs) > MAX_GROUP {
            let longest = inputs.iter().copied().max_by_key(|&i| self.list[i as usize].pending);
            self.materialise(longest.expect("an elementwise op has operands"), pool);
        }
        let pending = 1 + self.pending(inputs);
        let needs_grad = self.recording && inputs.iter().any(|&i| self.list[i as usize].needs_grad);
        let kind = Kind::Fusible { op, parameters, group: None };
        let inputs = Inputs::from_slice(inputs);
        let id = self.push(Node { shape, value: None, kind, inputs, uses: 0, pending, needs_grad });
        if self.eager || alone {
            self.materialise(id, pool);
        }
        id
    }

    fn pending(&self, inputs: &[u32]) -> u32 {
        inputs.iter().map(|&i| self.list[i as usize].pending).sum()
    }

    /// Gives a pending node its value; does nothing for a node that has one.
    pub(crate) fn materialise(&mut self, id: u32, pool: &Pool<T>) {
        let node = &self.list[id as usize];
        if node.value.is_some() {
            return;
        }
        match node.kind {
            Kind::Fusible { .. } => {
                let group = self.group(id, pool);
                self.store(id, group, pool);
            }
            Kind::Sum { .. } => {
                let mut out = pool.take(1);
                if let Some(group) = self.summed_group(id, pool) {
                    out[0] = {
                        let (steps, operands) = (&group.steps, self.operands(&group));
                        sweep::forward_sum(steps, &operands, group.cut, group.shape.len(), pool)
                    };
                    self.finish_sum(id, out, group);
                } else {
                    let input = self.list[id as usize].inputs[0];
                    self.materialise(input, pool);
                    out[0] = crate::kernels::reduce::sum_all(self.array(input).data, pool);
                    self.finish(id, out);
                }
            }
            Kind::View { view, .. } => {
                let mut out = pool.take(node.shape.len());
                strided::read(self.array(node.inputs[0]).data, &view, &mut out, false);
                self.finish(id, out);
            }
            // every other kind has its value from the start, unless a scope dropped it
            _ => {
                self.array(id);
            }
        }
    }

    /// Computes the group that ends at a node.
    fn store(&mut self, id: u32, group: Group<T>, pool: &Pool<T>) {
        let mut out = pool.take(group.shape.len());
        sweep::forward(&group.steps, &self.operands(&group), group.cut, &mut out, pool);
        self.finish(id, out);
        if let Kind::Fusible { group: slot, .. } = &mut self.list[id as usize].kind {
            *slot = Some(Box::new(group));
        }
    }

    /// The pending group whose sum a pending node is, when it can be summed without being stored; else the operand of
    /// the sum may have a value afterwards.
    pub(crate) fn summed_group(&mut self, sum: u32, pool: &Pool<T>) -> Option<Group<T>> {
        let input = self.list[sum as usize].inputs[0];
        let chain = &self.list[input as usize];
        if chain.value.is_some() || chain.uses > 1 || !matches!(chain.kind, Kind::Fusible { .. }) {
            return None;
        }
        let group = self.group(input, pool);
        if group.cut.sums_alike() {
            return Some(group);
        }
        self.store(input, group, pool);
        None
    }

    pub(crate) fn finish_sum(&mut self, id: u32, out: crate::kernels::buffer::Buffer<T>, group: Group<T>) {
        self.finish(id, out);
        if let Kind::Sum { group: slot } = &mut self.list[id as usize].kind {
            *slot = Some(Box::new(group));
        }
    }

    fn finish(&mut self, id: u32, out: crate::kernels::buffer::Buffer<T>) {
        if self.watch {
            let node = &self.list[id as usize];
            let (shape, name) = match &node.kind {
                Kind::Fusible { op, .. } => (node.shape, op.name()),
                Kind::View { op, .. } => (node.shape, op.name()),
                _ => (node.shape, "sum"),
            };
            self.look_for_anomaly(name, &out, &shape);
        }
        let node = &mut self.list[id as usize];
        node.value = Some(std::sync::Arc::new(out));
        node.pending = 0;
    }

    pub(crate) fn operands<'a>(&'a self, group: &'a Group<T>) -> SmallVec<[Operand<'a, T>; 8]> {
        group
            .inputs
            .iter()
            .map(|&i| {
                let value = self.array(i);
                Operand::new(value.data, &value.shape, &group.shape)
            })
            .collect()
    }

    /// Collects the group that ends at `root`, and gives every operand of it a value.
    fn group(&mut self, root: u32, pool: &Pool<T>) -> Group<T> {
        let shape = self.list[root as usize].shape;
        // candidates with the number of uses seen inside the group; an operand's id is below its user's, so the
        // largest candidate is complete
        let mut candidates: SmallVec<[(u32, u32); 32]> = SmallVec::from_slice(&[(root, u32::MAX)]);
        let mut members: SmallVec<[u32; 32]> = SmallVec::new();
        let mut inputs = Inputs::new();
        while let Some(at) = (0..candidates.len()).max_by_key(|&i| candidates[i].0) {
            let (id, inside) = candidates.swap_remove(at);
            let node = &self.list[id as usize];
            if id != root && inside < node.uses {
                inputs.push(id);
                continue;
            }
            members.push(id);
            for &input in &node.inputs {
                let operand = &self.list[input as usize];
                let pending = operand.value.is_none() && matches!(operand.kind, Kind::Fusible { .. });
                if pending && operand.shape == shape {
                    match candidates.iter_mut().find(|(id, _)| *id == input) {
                        Some((_, inside)) => *inside += 1,
                        None => candidates.push((input, 1)),
                    }
                } else if !inputs.contains(&input) {
                    inputs.push(input);
                }
            }
        }
        for &input in &inputs {
            self.materialise(input, pool);
        }
        members.reverse();
        let steps: Vec<Step<T>> = members
            .iter()
            .map(|&id| {
                let node = &self.list[id as usize];
                let Kind::Fusible { op, parameters, .. } = node.kind else {
                    unreachable!("only fusible nodes become members")
                };
                let mut sources = [Source::Input(0); MAX_OPERANDS];
                for (source, input) in sources.iter_mut().zip(&node.inputs) {
                    *source = match members.binary_search(input) {
                        Ok(step) => Source::Step(step),
                        Err(_) => {
                            let at = inputs.iter().position(|i| i == input);
                            Source::Input(at.expect("an operand that is no member was collected as input"))
                        }
                    };
                }
                Step { op, parameters, sources, needs_grad: node.needs_grad }
            })
            .collect();
        let cut = Cut::new(&shape, steps.iter().any(|step| step.op.is_rows()));
        Group { steps, inputs, shape, cut }
    }
}
