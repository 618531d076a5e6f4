//! The record of a computation: nodes in the order they were made.

use std::cell::{Ref, RefCell};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::elementwise::MAX_PARAMETERS;
use crate::float::Float;
use crate::fuse::Group;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::strided::View;
use crate::op::{Array, Op, Samples, Saved, Shapes};
use crate::registry::{Gradient, Listed};
use crate::rows::Fusible;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::var::{Keep, Var};

/// Operand nodes of a node.
pub(crate) type Inputs = SmallVec<[u32; 3]>;

pub(crate) struct Node<T: Float> {
    pub shape: Shape,
    /// None while pending, and after its scope has ended.
    pub value: Option<Arc<Buffer<T>>>,
    pub kind: Kind<T>,
    pub inputs: Inputs,
    /// How many operands of other nodes this node is.
    pub uses: u32,
    /// An upper bound of the ops that would be fused to compute it; 0 once it has a value.
    pub pending: u32,
    pub needs_grad: bool,
}

pub(crate) enum Kind<T: Float> {
    /// Given from outside; a parameter has a key.
    Leaf { key: Option<usize> },
    /// An elementwise op or function of rows; `group` is set once it was computed as the last op of a fused group.
    Fusible { op: Fusible<T>, parameters: [T; MAX_PARAMETERS], group: Option<Box<Group<T>>> },
    /// The sum of all elements of a pending chain or of a value (then `group` stays empty).
    Sum { group: Option<Box<Group<T>>> },
    /// The operand's elements under another shape.
    Reshape,
    /// A coarse op; further outputs are the nodes that follow.
    Op { op: Box<dyn Op<T>>, saved: SmallVec<[Buffer<T>; 2]>, outputs: usize },
    /// An op whose result is a part of its operand's memory, which is copied when something needs it.
    View { op: Box<dyn Op<T>>, view: View },
    /// A further output of the op that stands before.
    Output,
}

/// Records a computation so that its gradient can be taken.
///
/// Values are computed when something needs them: elementwise ops of one shape are fused and run together. A step of
/// training is forward, [`Var::backward`], [`Tape::reset`], optimiser; `reset` ends every [`Var`] and gives all memory
/// back to the tape's pool.
///
/// ```
/// use gradome_tape::{Tape, Tensor};
///
/// let tape = Tape::<f64>::new();
/// let x = tape.variable(&Tensor::new([3], &[0.0, 1.0, 2.0]));
/// let y = (x.square() + 1.0).ln().sum();
/// assert!((y.item() - 10f64.ln()).abs() < 1e-12);
/// let gradients = y.backward();
/// assert!((gradients.of(x).unwrap().at(&[1]) - 1.0).abs() < 1e-12);
/// ```
pub struct Tape<T: Float> {
    pub(crate) nodes: RefCell<Nodes<T>>,
    pub(crate) pool: Pool<T>,
}

pub(crate) struct Nodes<T: Float> {
    pub list: Vec<Node<T>>,
    /// Off inside `no_grad`.
    pub recording: bool,
    /// Evaluate at once instead of fusing.
    pub eager: bool,
    /// Look at every value; the first op with a value that is not finite is kept here.
    pub watch: bool,
    pub anomaly: Option<String>,
}

impl<T: Float> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Tape<T> {
    /// An empty tape with a pool of its own.
    pub fn new() -> Self {
        Self::with_pool(Pool::default())
    }

    /// An empty tape that takes its arrays from a pool, which outlives it.
    pub fn with_pool(pool: Pool<T>) -> Self {
        let nodes = Nodes { list: Vec::new(), recording: true, eager: false, watch: false, anomaly: None };
        Self { nodes: RefCell::new(nodes), pool }
    }

    /// Evaluates as another tape does: at once or not, watching or not.
    pub(crate) fn inherit(&self, other: &Self) {
        let (mut own, other) = (self.nodes.borrow_mut(), other.nodes());
        (own.eager, own.watch) = (other.eager, other.watch);
    }

    /// Keeps an anomaly that a part of the computation found, unless there was one before.
    pub(crate) fn note(&self, anomaly: Option<String>) {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.anomaly.is_none() {
            nodes.anomaly = anomaly;
        }
    }

    /// Forgets the computation and gives its memory back for the next one.
    pub fn reset(&mut self) {
        let nodes = self.nodes.get_mut();
        nodes.list.clear();
        nodes.anomaly = None;
    }

    /// How many nodes are recorded.
    pub fn len(&self) -> usize {
        self.nodes().list.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many arrays the tape has asked the system for since it was made; constant from step to step once every
    /// size was seen.
    pub fn buffers_created(&self) -> usize {
        self.pool.created()
    }

    /// The value that was recorded as number `number`, for who comes back to a tape without its handles: a tape may go to
    /// another thread once no handle is left. See [`Var::number`].
    ///
    /// ```
    /// # use gradome_tape::{Tape, Tensor};
    /// let tape = Tape::<f64>::new();
    /// let number = tape.variable(&Tensor::scalar(3.0)).square().number();
    /// let value = std::thread::spawn(move || tape.at(number).item()).join().unwrap();
    /// assert_eq!(value, 9.0);
    /// ```
    ///
    /// # Panics
    /// When the tape has no value of that number.
    pub fn at(&self, number: usize) -> Var<'_, T> {
        assert!(number < self.len(), "a tape of {} values has none with number {number}", self.len());
        Var { tape: self, id: number as u32 }
    }

    /// Evaluates every op at once (`true`) instead of fusing elementwise ops until a value is needed.
    pub fn set_eager(&self, eager: bool) {
        self.nodes.borrow_mut().eager = eager;
    }

    /// Evaluates at once and remembers the first op that makes a value which is not finite; see [`Tape::anomaly`].
    pub fn detect_anomaly(&self, watch: bool) {
        let mut nodes = self.nodes.borrow_mut();
        nodes.watch = watch;
        nodes.eager = watch;
    }

    /// The first op that made a value which is not finite, with the element, if [`Tape::detect_anomaly`] is on.
    pub fn anomaly(&self) -> Option<String> {
        self.nodes().anomaly.clone()
    }

    /// An array that takes part without a gradient; it is shared, not copied.
    pub fn constant(&self, value: &Tensor<T>) -> Var<'_, T> {
        self.leaf(value, None, false)
    }

    /// A constant number.
    pub fn scalar(&self, value: f64) -> Var<'_, T> {
        self.full(Shape::scalar(), value)
    }

    /// A constant array filled with one number.
    pub fn full(&self, shape: impl Into<Shape>, value: f64) -> Var<'_, T> {
        let shape = shape.into();
        let mut data = self.pool.take(shape.len());
        data.fill(T::of(value));
        self.constant(&Tensor::from_buffer(shape, data))
    }

    /// An array whose gradient is wanted: ask [`Gradients::of`](crate::Gradients::of).
    pub fn variable(&self, value: &Tensor<T>) -> Var<'_, T> {
        self.leaf(value, None, true)
    }

    /// A parameter: its gradient is found under `key` with [`Gradients::get`](crate::Gradients::get), also after `reset`.
    pub fn parameter(&self, key: usize, value: &Tensor<T>) -> Var<'_, T> {
        self.leaf(value, Some(key), true)
    }

    fn leaf(&self, value: &Tensor<T>, key: Option<usize>, needs_grad: bool) -> Var<'_, T> {
        let mut nodes = self.nodes.borrow_mut();
        let needs_grad = needs_grad && nodes.recording;
        let id = nodes.push(Node {
            shape: value.shape(),
            value: Some(Arc::clone(value.share())),
            kind: Kind::Leaf { key },
            inputs: Inputs::new(),
            uses: 0,
            pending: 0,
            needs_grad,
        });
        Var { tape: self, id }
    }

    /// Runs `f` without recording gradients and keeps only the values it returns; the memory of all others is free
    /// again at its end.
    ///
    /// ```
    /// # use gradome_tape::{Tape, Tensor};
    /// let tape = Tape::<f32>::new();
    /// let x = tape.variable(&Tensor::new([2], &[1.0, 2.0]));
    /// let norm = tape.no_grad(|| x.square().sum().sqrt());
    /// assert!(!norm.needs_grad());
    /// ```
    pub fn no_grad<K: Keep>(&self, f: impl FnOnce() -> K) -> K {
        let (start, before) = {
            let mut nodes = self.nodes.borrow_mut();
            (nodes.list.len(), std::mem::replace(&mut nodes.recording, false))
        };
        let kept = f();
        let mut ids = Vec::new();
        kept.ids(&mut ids);
        let mut nodes = self.nodes.borrow_mut();
        for &id in &ids {
            nodes.materialise(id, &self.pool);
        }
        for (i, node) in nodes.list[start..].iter_mut().enumerate() {
            if !ids.contains(&((start + i) as u32)) && !matches!(node.kind, Kind::Leaf { .. }) {
                node.value = None;
                if let Kind::Op { saved, .. } = &mut node.kind {
                    saved.clear();
                }
            }
        }
        nodes.recording = before;
        kept
    }

    /// Records an op of the user's own; see [`Op`] for an example. Returns one handle for each output.
    ///
    /// # Panics
    /// When the operands do not fit the op.
    pub fn custom<O: Op<T>>(&self, op: O, inputs: &[Var<'_, T>]) -> SmallVec<[Var<'_, T>; 2]> {
        self.nodes.borrow_mut().record(Box::new(op), &ids(inputs), &self.pool, self)
    }

    /// Records one of the library's ops.
    pub(crate) fn record<O: Op<T> + Samples + Listed>(
        &self,
        op: O,
        inputs: &[Var<'_, T>],
    ) -> SmallVec<[Var<'_, T>; 2]> {
        self.record_boxed(Box::new(op), O::GRADIENT, inputs)
    }

    pub(crate) fn record_boxed(
        &self,
        op: Box<dyn Op<T>>,
        gradient: Gradient,
        inputs: &[Var<'_, T>],
    ) -> SmallVec<[Var<'_, T>; 2]> {
        let mut nodes = self.nodes.borrow_mut();
        let outputs = nodes.record(op, &ids(inputs), &self.pool, self);
        if gradient == Gradient::None {
            outputs.iter().for_each(|y| nodes.list[y.id as usize].needs_grad = false);
        }
        outputs
    }

    /// Records an op whose result is a view of its operand's memory.
    pub(crate) fn record_view<'t>(&'t self, op: impl Op<T>, view: View, x: Var<'t, T>) -> Var<'t, T> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.materialise(x.id, &self.pool);
        let id = nodes.record_unary(x.id, view.sizes, Kind::View { op: Box::new(op), view }, 0);
        if nodes.eager {
            nodes.materialise(id, &self.pool);
        }
        Var { tape: self, id }
    }

    /// What a value is a view of, unless that was dropped at the end of its scope. The answer does not depend on whether
    /// the value was copied already, so that the bits of what is computed from it do not either.
    pub(crate) fn viewed<'t>(&'t self, x: Var<'t, T>) -> Option<(Var<'t, T>, View)> {
        let nodes = self.nodes();
        let node = &nodes.list[x.id as usize];
        match node.kind {
            Kind::View { view, .. } if nodes.list[node.inputs[0] as usize].value.is_some() => {
                Some((Var { tape: self, id: node.inputs[0] }, view))
            }
            _ => None,
        }
    }

    pub(crate) fn nodes(&self) -> Ref<'_, Nodes<T>> {
        self.nodes.borrow()
    }

    pub(crate) fn fusible(&self, op: Fusible<T>, inputs: &[Var<'_, T>], parameters: [T; MAX_PARAMETERS]) -> Var<'_, T> {
        let id = self.nodes.borrow_mut().record_fusible(op, &ids(inputs), parameters, &self.pool);
        Var { tape: self, id }
    }

    pub(crate) fn sum_all(&self, x: Var<'_, T>) -> Var<'_, T> {
        let mut nodes = self.nodes.borrow_mut();
        let pending = nodes.list[x.id as usize].pending;
        let id = nodes.record_unary(x.id, Shape::scalar(), Kind::Sum { group: None }, pending.max(1));
        if nodes.eager {
            nodes.materialise(id, &self.pool);
        }
        Var { tape: self, id }
    }

    pub(crate) fn reshape(&self, x: Var<'_, T>, shape: Shape) -> Var<'_, T> {
        let mut nodes = self.nodes.borrow_mut();
        let from = nodes.list[x.id as usize].shape;
        assert_eq!(from.len(), shape.len(), "reshape: {from} to {shape}: element counts differ");
        nodes.materialise(x.id, &self.pool);
        let id = nodes.record_unary(x.id, shape, Kind::Reshape, 0);
        nodes.list[id as usize].value = nodes.list[x.id as usize].value.clone();
        Var { tape: self, id }
    }
}

fn ids<T: Float>(inputs: &[Var<'_, T>]) -> Inputs {
    if let Some(first) = inputs.first() {
        assert!(inputs.iter().all(|v| std::ptr::eq(v.tape, first.tape)), "operands come from different tapes");
    }
    inputs.iter().map(|v| v.id).collect()
}

impl<T: Float> Nodes<T> {
    pub(crate) fn push(&mut self, node: Node<T>) -> u32 {
        let id = u32::try_from(self.list.len()).expect("a tape holds at most 2^32 nodes");
        for &input in &node.inputs {
            self.list[input as usize].uses += 1;
        }
        self.list.push(node);
        id
    }

    fn wants_grad(&self, inputs: &[u32]) -> bool {
        self.recording && inputs.iter().any(|&i| self.list[i as usize].needs_grad)
    }

    fn record_unary(&mut self, input: u32, shape: Shape, kind: Kind<T>, pending: u32) -> u32 {
        let needs_grad = self.wants_grad(&[input]);
        let inputs = SmallVec::from_slice(&[input]);
        self.push(Node { shape, value: None, kind, inputs, uses: 0, pending, needs_grad })
    }

    fn record<'t>(
        &mut self,
        op: Box<dyn Op<T>>,
        inputs: &[u32],
        pool: &Pool<T>,
        tape: &'t Tape<T>,
    ) -> SmallVec<[Var<'t, T>; 2]> {
        let input_shapes: SmallVec<[Shape; 4]> = inputs.iter().map(|&i| self.list[i as usize].shape).collect();
        let shapes: Shapes = op.shapes(&input_shapes);
        for &input in inputs {
            self.materialise(input, pool);
        }
        let mut saved = Saved { kept: SmallVec::new(), pool: pool.clone() };
        let mut outputs: SmallVec<[Buffer<T>; 2]> = shapes.iter().map(|s| pool.take(s.len())).collect();
        {
            let values: SmallVec<[Array<'_, T>; 4]> = inputs.iter().map(|&i| self.array(i)).collect();
            let mut targets: SmallVec<[&mut [T]; 2]> = outputs.iter_mut().map(|b| &mut b[..]).collect();
            op.forward(&values, &mut targets, &mut saved);
        }
        let needs_grad = self.wants_grad(inputs);
        if !needs_grad {
            saved.kept.clear();
        }
        if self.watch {
            for (buffer, shape) in outputs.iter().zip(&shapes) {
                self.look_for_anomaly(op.name(), buffer, shape);
            }
        }
        let base = self.list.len() as u32;
        let count = shapes.len();
        let mut first = Some(Kind::Op { op, saved: saved.kept, outputs: count });
        for (offset, (shape, buffer)) in shapes.into_iter().zip(outputs).enumerate() {
            let kind = first.take().unwrap_or(Kind::Output);
            let inputs = if offset == 0 { Inputs::from_slice(inputs) } else { Inputs::new() };
            self.push(Node { shape, value: Some(Arc::new(buffer)), kind, inputs, uses: 0, pending: 0, needs_grad });
        }
        (0..count as u32).map(|offset| Var { tape, id: base + offset }).collect()
    }

    pub(crate) fn look_for_anomaly(&mut self, name: &str, values: &[T], shape: &Shape) {
        if self.anomaly.is_none()
            && let Some(at) = values.iter().position(|v| !v.is_finite())
        {
            self.anomaly = Some(format!("{name} of shape {shape} made {} at element {at}", values[at]));
        }
    }

    /// The value of a node that has one.
    pub(crate) fn array(&self, id: u32) -> Array<'_, T> {
        let node = &self.list[id as usize];
        let data = node.value.as_deref().unwrap_or_else(|| {
            panic!("the value of node {id} was dropped at the end of its scope; return it from the scope to keep it")
        });
        Array { shape: node.shape, data }
    }
}
