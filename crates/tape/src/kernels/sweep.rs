//! Runs a group of fused elementwise ops block by block, forward and in reverse.
//!
//! A block's intermediate values live in a few kilobytes of scratch memory, so that only operands, results and
//! gradients touch main memory. Backward computes each block's values again and then sweeps it in reverse.

use crate::elementwise::{ElementwiseOp, MAX_OPERANDS, MAX_PARAMETERS};
use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::{CHUNK, for_each_chunk, for_each_index, simd_kernel, sum_of};
use crate::shape::{MAX_RANK, Shape};

/// Elements that are worked on at a time: a few blocks fit the first-level cache.
const BLOCK: usize = 512;

/// Where an op of a group finds an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The result of an earlier step.
    Step(usize),
    /// An operand of the whole group.
    Input(usize),
}

/// One op of a group.
pub(crate) struct Step<T: Float> {
    pub op: &'static ElementwiseOp<T>,
    pub parameters: [T; MAX_PARAMETERS],
    pub sources: [Source; MAX_OPERANDS],
    pub needs_grad: bool,
}

/// An operand of a group, read as if it had the group's shape.
pub(crate) struct Operand<'a, T> {
    data: &'a [T],
    access: Access,
}

#[derive(Clone, Copy)]
enum Access {
    Same,
    Scalar,
    /// The trailing axes only: element i reads i mod period.
    Period(usize),
    /// The leading axes only: element i reads i / run.
    Run(usize),
    Strided {
        strides: [usize; MAX_RANK],
        sizes: Shape,
    },
}

impl<'a, T: Float> Operand<'a, T> {
    pub fn new(data: &'a [T], shape: &Shape, group: &Shape) -> Self {
        Self { data, access: access(shape, group) }
    }

    /// The elements `start..start + len`, in `scratch` unless they lie side by side already.
    pub fn load<'s>(&'s self, start: usize, scratch: &'s mut [T]) -> &'s [T] {
        let len = scratch.len();
        match self.access {
            Access::Same => return &self.data[start..start + len],
            Access::Scalar => scratch.fill(self.data[0]),
            Access::Period(period) => {
                let mut filled = 0;
                while filled < len {
                    let at = (start + filled) % period;
                    let run = (period - at).min(len - filled);
                    scratch[filled..filled + run].copy_from_slice(&self.data[at..at + run]);
                    filled += run;
                }
            }
            Access::Run(run_length) => {
                let mut filled = 0;
                while filled < len {
                    let at = start + filled;
                    let run = (run_length - at % run_length).min(len - filled);
                    scratch[filled..filled + run].fill(self.data[at / run_length]);
                    filled += run;
                }
            }
            Access::Strided { strides, sizes } => {
                for (i, slot) in scratch.iter_mut().enumerate() {
                    *slot = self.data[strided_offset(start + i, &strides, &sizes)];
                }
            }
        }
        scratch
    }
}

fn access(shape: &Shape, group: &Shape) -> Access {
    if shape.len() == group.len() {
        return Access::Same;
    }
    if shape.len() == 1 {
        return Access::Scalar;
    }
    let lead = group.rank() - shape.rank();
    let size = |axis: usize| if axis < lead { 1 } else { shape[axis - lead] };
    let first = (0..group.rank()).find(|&axis| size(axis) != 1).unwrap_or(0);
    let last = (0..group.rank()).rfind(|&axis| size(axis) != 1).unwrap_or(0);
    let whole = |range: std::ops::Range<usize>| range.into_iter().all(|axis| size(axis) == group[axis]);
    if whole(first..group.rank()) {
        Access::Period(shape.len())
    } else if whole(0..last + 1) {
        Access::Run(group[last + 1..].iter().product())
    } else {
        Access::Strided { strides: shape.strides_in(group), sizes: *group }
    }
}

/// The offset of flat element `index` of an array with sizes `sizes` that is read with `strides`.
pub(crate) fn strided_offset(mut index: usize, strides: &[usize; MAX_RANK], sizes: &Shape) -> usize {
    let mut offset = 0;
    for axis in (0..sizes.rank()).rev() {
        offset += index % sizes[axis] * strides[axis];
        index /= sizes[axis];
    }
    offset
}

/// Computes the steps `from..` of one block into `values`; the last goes to `last` when that is given.
fn run_block<T: Float>(steps: &[Step<T>], operands: &[&[T]], values: &mut [T], len: usize, mut last: Option<&mut [T]>) {
    for (at, step) in steps.iter().enumerate() {
        let (earlier, rest) = values.split_at_mut(at * BLOCK);
        let x = gather(step, operands, earlier, len);
        match last.as_deref_mut() {
            Some(out) if at + 1 == steps.len() => (step.op.forward)(&x, &step.parameters, out),
            _ => (step.op.forward)(&x, &step.parameters, &mut rest[..len]),
        }
    }
}

fn gather<'a, T: Float>(step: &Step<T>, operands: &[&'a [T]], earlier: &'a [T], len: usize) -> [&'a [T]; MAX_OPERANDS] {
    let mut x: [&[T]; MAX_OPERANDS] = [&[]; MAX_OPERANDS];
    for (slot, source) in x.iter_mut().zip(&step.sources[..step.op.operands]) {
        *slot = match *source {
            Source::Step(s) => &earlier[s * BLOCK..s * BLOCK + len],
            Source::Input(i) => operands[i],
        };
    }
    x
}

/// Loads a block of every operand; `scratch` holds one block for each.
fn load_all<'s, T: Float>(
    operands: &'s [Operand<'_, T>],
    start: usize,
    len: usize,
    scratch: &'s mut [T],
) -> smallvec::SmallVec<[&'s [T]; 8]> {
    operands.iter().zip(scratch.chunks_mut(BLOCK)).map(|(o, scratch)| o.load(start, &mut scratch[..len])).collect()
}

/// Evaluates a group of shape [out.len()] into `out`.
pub(crate) fn forward<T: Float>(steps: &[Step<T>], operands: &[Operand<'_, T>], out: &mut [T], pool: &Pool<T>) {
    for_each_chunk(out, CHUNK, |chunk, out| {
        let mut scratch = pool.take((steps.len() + operands.len()) * BLOCK);
        let (values, loaded) = scratch.split_at_mut(steps.len() * BLOCK);
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let start = chunk * CHUNK + block * BLOCK;
            let operands = load_all(operands, start, out.len(), loaded);
            run_block(steps, &operands, values, out.len(), Some(out));
        }
    });
}

/// The sum of a group's `len` elements; nothing of it is stored.
pub(crate) fn forward_sum<T: Float>(steps: &[Step<T>], operands: &[Operand<'_, T>], len: usize, pool: &Pool<T>) -> T {
    let mut partial = pool.take(len.div_ceil(CHUNK));
    for_each_chunk(&mut partial, 1, |chunk, partial| {
        let mut scratch = pool.take((steps.len() + operands.len()) * BLOCK);
        let (values, loaded) = scratch.split_at_mut(steps.len() * BLOCK);
        let end = len.min((chunk + 1) * CHUNK);
        let mut sum = 0.0;
        for start in (chunk * CHUNK..end).step_by(BLOCK) {
            let size = BLOCK.min(end - start);
            let operands = load_all(operands, start, size, loaded);
            run_block(steps, &operands, values, size, None);
            let last = (steps.len() - 1) * BLOCK;
            sum += sum_slice(&values[last..last + size]).to_f64();
        }
        partial[0] = T::of(sum);
    });
    T::of(partial.iter().map(|p| p.to_f64()).sum())
}

/// The sum of a chunk that is at hand, added up as [`forward_sum`] does.
pub(crate) fn sum_blocks<T: Float>(x: &[T]) -> T {
    T::of(x.chunks(BLOCK).fold(0.0, |sum, block| sum + sum_slice(block).to_f64()))
}

simd_kernel! {
    /// The sum of a slice in a fixed order.
    pub(crate) fn sum_slice [T, L](x: &[T]) -> T {
        sum_of(x.len(), |i| L::new(x[i])).get()
    }
}

simd_kernel! {
    /// out += x.
    pub(crate) fn add_assign [T, L](out: &mut [T], x: &[T]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (L::new(*out) + L::new(x)).get();
        }
    }
}

/// The gradient that reaches a group's result.
pub(crate) enum RootGrad<'a, T> {
    /// One number an element.
    Full(&'a [T]),
    /// The same number for every element: the group's sum was taken.
    Same(T),
}

/// Where a group's backward pass leaves the gradient of one operand.
pub(crate) enum OperandGrad<'a, T> {
    /// The operand needs none.
    Unwanted,
    /// One number an element of the group, added to what is there unless `fresh`.
    Full { grad: &'a mut [T], fresh: bool },
    /// The sum over all elements.
    Scalar(&'a mut T),
}

/// Memory that tasks share because they write disjoint ranges.
struct Disjoint<T>(*mut T);
// SAFETY: every task writes ranges of its own.
unsafe impl<T> Send for Disjoint<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    /// # Safety
    /// The range lies within the memory and no other task has it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn range(&self, start: usize, len: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// Adds the gradients of a group's operands, given the gradient of its result.
pub(crate) fn backward<T: Float>(
    steps: &[Step<T>],
    operands: &[Operand<'_, T>],
    len: usize,
    root: &RootGrad<'_, T>,
    grads: &mut [OperandGrad<'_, T>],
    pool: &Pool<T>,
) {
    let chunks = len.div_ceil(CHUNK);
    let mut partial = pool.take(chunks * grads.len());
    enum Target<T> {
        Unwanted,
        Full { memory: Disjoint<T>, fresh: bool },
        Scalar,
    }
    let targets: smallvec::SmallVec<[Target<T>; 8]> = grads
        .iter_mut()
        .map(|grad| match grad {
            OperandGrad::Unwanted => Target::Unwanted,
            OperandGrad::Full { grad, fresh } => {
                assert_eq!(grad.len(), len);
                Target::Full { memory: Disjoint(grad.as_mut_ptr()), fresh: *fresh }
            }
            OperandGrad::Scalar(_) => Target::Scalar,
        })
        .collect();
    let partial_memory = Disjoint(partial.as_mut_ptr());
    let operand_count = operands.len();
    for_each_index(chunks, |chunk| {
        let mut scratch = pool.take((2 * steps.len() + 2 * operand_count) * BLOCK);
        let (values, rest) = scratch.split_at_mut(steps.len() * BLOCK);
        let (adjoints, rest) = rest.split_at_mut(steps.len() * BLOCK);
        let (loaded, sums) = rest.split_at_mut(operand_count * BLOCK);
        // SAFETY: each chunk has its own run of partial sums.
        let partial = unsafe { partial_memory.range(chunk * operand_count, operand_count) };
        partial.fill(T::ZERO);
        let end = len.min((chunk + 1) * CHUNK);
        for start in (chunk * CHUNK..end).step_by(BLOCK) {
            let size = BLOCK.min(end - start);
            let x = load_all(operands, start, size, loaded);
            run_block(steps, &x, values, size, None);
            let (last, inner) = (steps.len() - 1, (steps.len() - 1) * BLOCK);
            adjoints[..inner].fill(T::ZERO);
            match root {
                RootGrad::Full(grad) => adjoints[inner..inner + size].copy_from_slice(&grad[start..start + size]),
                RootGrad::Same(grad) => adjoints[inner..inner + size].fill(*grad),
            }
            for (i, target) in targets.iter().enumerate() {
                match target {
                    Target::Unwanted => {}
                    // SAFETY: blocks are disjoint.
                    Target::Full { memory, fresh: true } => unsafe { memory.range(start, size) }.fill(T::ZERO),
                    Target::Full { .. } => {}
                    Target::Scalar => sums[i * BLOCK..i * BLOCK + size].fill(T::ZERO),
                }
            }
            for at in (0..=last).rev() {
                let step = &steps[at];
                if !step.needs_grad {
                    continue;
                }
                let (earlier, own) = adjoints.split_at_mut(at * BLOCK);
                let (g, y) = (&own[..size], &values[at * BLOCK..at * BLOCK + size]);
                let operand_values = gather(step, &x, values, size);
                for (which, source) in step.sources[..step.op.operands].iter().enumerate() {
                    let out = match *source {
                        Source::Step(s) if steps[s].needs_grad => &mut earlier[s * BLOCK..s * BLOCK + size],
                        Source::Step(_) => continue,
                        Source::Input(i) => match &targets[i] {
                            Target::Unwanted => continue,
                            // SAFETY: blocks are disjoint.
                            Target::Full { memory, .. } => unsafe { memory.range(start, size) },
                            Target::Scalar => &mut sums[i * BLOCK..i * BLOCK + size],
                        },
                    };
                    (step.op.backward[which])(&operand_values, &step.parameters, y, g, out);
                }
            }
            for (i, target) in targets.iter().enumerate() {
                if matches!(target, Target::Scalar) {
                    partial[i] += sum_slice(&sums[i * BLOCK..i * BLOCK + size]);
                }
            }
        }
    });
    for (i, grad) in grads.iter_mut().enumerate() {
        if let OperandGrad::Scalar(sum) = grad {
            let total: f64 = (0..chunks).map(|chunk| partial[chunk * operand_count + i].to_f64()).sum();
            **sum += T::of(total);
        }
    }
}
