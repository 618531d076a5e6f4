//! Runs a group of fused elementwise ops block by block, forward and in reverse.
//!
//! A block's intermediate values live in a few kilobytes of scratch memory, so that only operands, results and
//! gradients touch main memory. Backward computes each block's values again and then sweeps it in reverse.

use smallvec::SmallVec;

use crate::elementwise::{MAX_OPERANDS, MAX_PARAMETERS};
use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::operand::Operand;
use crate::kernels::{CHUNK, for_each_chunk, prefetch, simd_kernel, sum_of};
use crate::rows::Fusible;
use crate::shape::Shape;

/// Elements that are worked on at a time: a few blocks fit the first-level cache.
const BLOCK: usize = 512;

/// How a group's elements are cut: into blocks, and blocks into the chunks that threads share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cut {
    /// The last axis, when a step works on whole rows.
    width: usize,
    block: usize,
    chunk: usize,
}

impl Cut {
    /// The cut of a group of that shape; with whole rows in each block when a step needs them.
    pub fn new(shape: &Shape, rows: bool) -> Self {
        if !rows {
            return Self { width: 0, block: BLOCK, chunk: CHUNK };
        }
        let width = shape.last_size().max(1);
        let block = width * (BLOCK / width).max(1);
        Self { width, block, chunk: block * (CHUNK / block).max(1) }
    }

    /// Whether a sum block by block has the bits of the sum of the stored values.
    pub fn sums_alike(&self) -> bool {
        self.chunk == CHUNK && self.block.is_multiple_of(BLOCK)
    }
}

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
    pub op: Fusible<T>,
    pub parameters: [T; MAX_PARAMETERS],
    pub sources: [Source; MAX_OPERANDS],
    pub needs_grad: bool,
}

/// Which steps a backward pass computes again: those whose values it reads.
fn read_again<T: Float>(steps: &[Step<T>], want_last: bool) -> SmallVec<[bool; 32]> {
    let mut read = SmallVec::from_elem(false, steps.len());
    read[steps.len() - 1] = want_last;
    for (at, step) in steps.iter().enumerate().rev() {
        read[at] |= step.needs_grad && step.op.uses_value();
        if read[at] || step.needs_grad {
            for source in &step.sources[..step.op.operands()] {
                if let Source::Step(earlier) = *source {
                    read[earlier] = true;
                }
            }
        }
    }
    read
}

/// Computes the steps of one block into `values`, those alone that `read` names when it is given; the last goes to
/// `last` when that is given.
fn run_block<T: Float>(
    steps: &[Step<T>],
    operands: &[&[T]],
    values: &mut [T],
    len: usize,
    cut: Cut,
    read: Option<&[bool]>,
    mut last: Option<&mut [T]>,
) {
    for (at, step) in steps.iter().enumerate() {
        if read.is_some_and(|read| !read[at]) {
            continue;
        }
        let (earlier, rest) = values.split_at_mut(at * cut.block);
        let x = gather(step, operands, earlier, len, cut);
        match last.as_deref_mut() {
            Some(out) if at + 1 == steps.len() => step.op.forward(&x, &step.parameters, cut.width, out),
            _ => step.op.forward(&x, &step.parameters, cut.width, &mut rest[..len]),
        }
    }
}

#[inline(always)]
fn gather<'a, T: Float>(
    step: &Step<T>,
    operands: &[&'a [T]],
    earlier: &'a [T],
    len: usize,
    cut: Cut,
) -> [&'a [T]; MAX_OPERANDS] {
    let mut x: [&[T]; MAX_OPERANDS] = [&[]; MAX_OPERANDS];
    for (slot, source) in x.iter_mut().zip(&step.sources[..step.op.operands()]) {
        *slot = match *source {
            Source::Step(s) => &earlier[s * cut.block..s * cut.block + len],
            Source::Input(i) => operands[i],
        };
    }
    x
}

/// Loads a block of every operand and asks for the next; `scratch` holds one block for each.
fn load_all<'s, T: Float>(
    operands: &'s [Operand<'_, T>],
    start: usize,
    len: usize,
    cut: Cut,
    scratch: &'s mut [T],
) -> SmallVec<[&'s [T]; 8]> {
    operands.iter().for_each(|operand| operand.prefetch(start + len, len));
    operands.iter().zip(scratch.chunks_mut(cut.block)).map(|(o, scratch)| o.load(start, &mut scratch[..len])).collect()
}

/// Evaluates a group of shape [out.len()] into `out`.
pub(crate) fn forward<T: Float>(
    steps: &[Step<T>],
    operands: &[Operand<'_, T>],
    cut: Cut,
    out: &mut [T],
    pool: &Pool<T>,
) {
    for_each_chunk(out, cut.chunk, |chunk, out| {
        // no block is longer than the chunk
        let cut = Cut { block: cut.block.min(out.len()), ..cut };
        let mut scratch = pool.take((steps.len() + operands.len()) * cut.block);
        let (values, loaded) = scratch.split_at_mut(steps.len() * cut.block);
        for (block, out) in out.chunks_mut(cut.block).enumerate() {
            let start = chunk * cut.chunk + block * cut.block;
            let operands = load_all(operands, start, out.len(), cut, loaded);
            run_block(steps, &operands, values, out.len(), cut, None, Some(out));
        }
    });
}

/// The sum of a group's `len` elements; nothing of it is stored.
pub(crate) fn forward_sum<T: Float>(
    steps: &[Step<T>],
    operands: &[Operand<'_, T>],
    cut: Cut,
    len: usize,
    pool: &Pool<T>,
) -> T {
    let mut partial = pool.take(len.div_ceil(cut.chunk));
    for_each_chunk(&mut partial, 1, |chunk, partial| {
        let (start, end) = (chunk * cut.chunk, len.min((chunk + 1) * cut.chunk));
        let cut = Cut { block: cut.block.min(end - start), ..cut };
        let mut scratch = pool.take((steps.len() + operands.len()) * cut.block);
        let (values, loaded) = scratch.split_at_mut(steps.len() * cut.block);
        let mut sum = 0.0;
        for start in (start..end).step_by(cut.block) {
            let size = cut.block.min(end - start);
            let operands = load_all(operands, start, size, cut, loaded);
            run_block(steps, &operands, values, size, cut, None, None);
            sum = add_blocks(sum, &values[(steps.len() - 1) * cut.block..][..size]);
        }
        partial[0] = T::of(sum);
    });
    T::of(partial.iter().map(|p| p.to_f64()).sum())
}

/// Adds the elements of a slice to a sum, block by block.
fn add_blocks<T: Float>(sum: f64, x: &[T]) -> f64 {
    x.chunks(BLOCK).fold(sum, |sum, block| sum + sum_slice(block).to_f64())
}

/// The sum of a chunk that is at hand, added up as [`forward_sum`] does.
pub(crate) fn sum_blocks<T: Float>(x: &[T]) -> T {
    T::of(add_blocks(0.0, x))
}

simd_kernel! {
    /// The sum of a slice in a fixed order.
    pub(crate) fn sum_slice [T, L](x: &[T]) -> T {
        sum_of([x], |[x]: [L; 1]| x).get()
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
    /// One number an element, in the memory where the gradient of the operand of that index goes.
    InPlace(usize),
}

/// Where a group's backward pass leaves the gradient of one operand.
pub(crate) enum OperandGrad<'a, T> {
    /// The operand needs none.
    Unwanted,
    /// One number an element of the group, added to what is there unless `fresh`.
    Full { grad: &'a mut [T], fresh: bool },
    /// The sum over all repeats of a trailing part, or of a single number.
    Repeated(&'a mut [T]),
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

/// Adds the gradients of a group's operands, given the gradient of its result. Returns the sum of its elements when
/// `want_sum`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward<T: Float>(
    steps: &[Step<T>],
    operands: &[Operand<'_, T>],
    cut: Cut,
    len: usize,
    root: &RootGrad<'_, T>,
    grads: &mut [OperandGrad<'_, T>],
    want_sum: bool,
    pool: &Pool<T>,
) -> T {
    enum Target<T> {
        Unwanted,
        Full {
            memory: Disjoint<T>,
            fresh: bool,
        },
        /// The start of its sums among a chunk's partial sums, and how many.
        Repeated(usize, usize),
    }
    let read = read_again(steps, want_sum);
    // a chunk's partial sums: of its elements, then of each operand that is repeated
    let mut width = 1;
    let targets: SmallVec<[Target<T>; 8]> = grads
        .iter_mut()
        .map(|grad| match grad {
            OperandGrad::Unwanted => Target::Unwanted,
            OperandGrad::Full { grad, fresh } => {
                assert_eq!(grad.len(), len);
                Target::Full { memory: Disjoint(grad.as_mut_ptr()), fresh: *fresh }
            }
            OperandGrad::Repeated(sum) => {
                width += sum.len();
                Target::Repeated(width - sum.len(), sum.len())
            }
        })
        .collect();
    let chunks = len.div_ceil(cut.chunk);
    let mut partial = pool.take(chunks * width);
    for_each_chunk(&mut partial, width, |chunk, partial| {
        let (start, end) = (chunk * cut.chunk, len.min((chunk + 1) * cut.chunk));
        let cut = Cut { block: cut.block.min(end - start), ..cut };
        let block = cut.block;
        let mut scratch = pool.take(2 * (steps.len() + operands.len()) * block);
        let (values, rest) = scratch.split_at_mut(steps.len() * block);
        let (adjoints, rest) = rest.split_at_mut(steps.len() * block);
        let (loaded, sums) = rest.split_at_mut(operands.len() * block);
        let mut total = 0.0;
        partial.fill(T::ZERO);
        for start in (start..end).step_by(block) {
            let size = block.min(end - start);
            let x = load_all(operands, start, size, cut, loaded);
            for target in &targets {
                if let Target::Full { memory, .. } = target {
                    // SAFETY: blocks are disjoint.
                    prefetch(unsafe { memory.range(start, size) });
                }
            }
            run_block(steps, &x, values, size, cut, Some(&read), None);
            let (last, inner) = (steps.len() - 1, (steps.len() - 1) * block);
            if want_sum {
                total = add_blocks(total, &values[inner..inner + size]);
            }
            adjoints[..inner].fill(T::ZERO);
            match root {
                RootGrad::Full(_) => {}
                RootGrad::Same(grad) => adjoints[inner..inner + size].fill(*grad),
                RootGrad::InPlace(at) => {
                    let Target::Full { memory, .. } = &targets[*at] else { unreachable!("its gradient is whole") };
                    // SAFETY: blocks are disjoint.
                    adjoints[inner..inner + size].copy_from_slice(unsafe { memory.range(start, size) });
                }
            }
            for (i, target) in targets.iter().enumerate() {
                match target {
                    // SAFETY: blocks are disjoint.
                    Target::Full { memory, fresh: true } => unsafe { memory.range(start, size) }.fill(T::ZERO),
                    Target::Repeated(..) => sums[i * block..i * block + size].fill(T::ZERO),
                    Target::Unwanted | Target::Full { fresh: false, .. } => {}
                }
            }
            for at in (0..=last).rev() {
                let step = &steps[at];
                if !step.needs_grad {
                    continue;
                }
                let (earlier, own) = adjoints.split_at_mut(at * block);
                let g = match root {
                    RootGrad::Full(grad) if at == last => &grad[start..start + size],
                    _ => &own[..size],
                };
                let y = &values[at * block..at * block + size];
                let operand_values = gather(step, &x, values, size, cut);
                for (which, source) in step.sources[..step.op.operands()].iter().enumerate() {
                    let out = match *source {
                        Source::Step(s) if steps[s].needs_grad => &mut earlier[s * block..s * block + size],
                        Source::Step(_) => continue,
                        Source::Input(i) => match &targets[i] {
                            Target::Unwanted => continue,
                            // SAFETY: blocks are disjoint.
                            Target::Full { memory, .. } => unsafe { memory.range(start, size) },
                            Target::Repeated(..) => &mut sums[i * block..i * block + size],
                        },
                    };
                    step.op.backward(which, &operand_values, &step.parameters, cut.width, y, g, out);
                }
            }
            for (i, (target, operand)) in targets.iter().zip(operands).enumerate() {
                if let Target::Repeated(at, count) = target {
                    let sums = &sums[i * block..i * block + size];
                    operand.add_repeats(sums, start, &mut partial[*at..at + count]);
                }
            }
        }
        partial[0] = T::of(total);
    });
    let rows = || partial.chunks_exact(width);
    for (grad, target) in grads.iter_mut().zip(&targets) {
        if let (OperandGrad::Repeated(sum), Target::Repeated(at, period)) = (grad, target) {
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum = T::of(rows().map(|chunk| chunk[at + i].to_f64()).sum());
            }
            debug_assert_eq!(sum.len(), *period);
        }
    }
    T::of(rows().map(|chunk| chunk[0].to_f64()).sum())
}
