//! Operands of a group of fused ops: read as if they had the group's shape, their gradients summed over repeats.

use crate::float::Float;
use crate::kernels::sweep::{add_assign, sum_slice};
use crate::kernels::{CHUNK, prefetch};
use crate::shape::{MAX_RANK, Shape};

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

    /// Asks for the elements `start..start + len` when they lie side by side in an array of the group's size.
    pub fn prefetch(&self, start: usize, len: usize) {
        if let Access::Same = self.access {
            let end = self.data.len();
            prefetch(&self.data[start.min(end)..(start + len).min(end)]);
        }
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
                let (width, step) = (sizes.last_size(), strides[sizes.rank() - 1]);
                let mut filled = 0;
                while filled < len {
                    let within = (start + filled) % width;
                    let run = (width - within).min(len - filled);
                    let at = strided_offset(start + filled, &strides, &sizes);
                    let out = &mut scratch[filled..filled + run];
                    // the last axis is either read in order or repeated
                    if step == 0 {
                        out.fill(self.data[at])
                    } else {
                        out.copy_from_slice(&self.data[at..at + run])
                    }
                    filled += run;
                }
            }
        }
        scratch
    }

    /// Adds numbers for the elements `start..` of the group to the sums of those elements of this operand that they read.
    pub fn add_repeats(&self, mut x: &[T], start: usize, sums: &mut [T]) {
        let mut at = start;
        while !x.is_empty() {
            // a run of one element, or of neighbours
            let (first, neighbours, length) = match self.access {
                Access::Same => (at, true, x.len()),
                Access::Scalar => (0, false, x.len()),
                Access::Period(period) => (at % period, true, period - at % period),
                Access::Run(run) => (at / run, false, run - at % run),
                Access::Strided { strides, sizes } => {
                    let (width, step) = (sizes.last_size(), strides[sizes.rank() - 1]);
                    (strided_offset(at, &strides, &sizes), step != 0, width - at % width)
                }
            };
            let (run, rest) = x.split_at(length.min(x.len()));
            if neighbours {
                add_assign(&mut sums[first..first + run.len()], run);
            } else {
                sums[first] += sum_slice(run);
            }
            at += run.len();
            x = rest;
        }
    }
}

/// The most elements of an operand whose gradient is summed within a group's sweep: each chunk has sums of its own.
const LARGEST_REPEAT: usize = CHUNK / 8;
/// The shortest run of an element that is worth a sum of its own.
const SHORTEST_RUN: usize = 16;

/// Whether an array of that shape is so much smaller than the group's that its gradient is best summed in the sweep.
pub(crate) fn repeats(shape: &Shape, group: &Shape) -> bool {
    let in_runs = match access(shape, group) {
        Access::Same => false,
        Access::Scalar | Access::Period(_) => true,
        Access::Run(_) | Access::Strided { .. } => group.last_size() >= SHORTEST_RUN,
    };
    in_runs && shape.len() <= LARGEST_REPEAT
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
