//! Moves elements between strided views of two arrays: what every op that only rearranges comes down to.

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::sweep::add_assign;
use crate::kernels::{for_each_chunk, rows_per_chunk};
use crate::shape::{MAX_RANK, Shape};

/// Rows and columns of a transposed block: 16 f32 are one cache line.
const TILE: usize = 16;

/// Where the elements of an array of shape `sizes` lie in the memory of another array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub sizes: Shape,
    /// The offset of the first element.
    pub start: usize,
    /// The step in memory along each axis: negative when it is read backwards, 0 when it is repeated.
    pub steps: [isize; MAX_RANK],
}

impl View {
    /// All of a row-major array.
    pub fn whole(sizes: &Shape) -> Self {
        Self { sizes: *sizes, start: 0, steps: sizes.strides().map(|stride| stride as isize) }
    }
}

/// One axis of a move: its size, and the steps in the memory read and in the memory written.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    from: isize,
    to: usize,
}

/// Copies the elements of a view into a row-major array, or adds them to it.
pub(crate) fn read<T: Float>(x: &[T], view: &View, out: &mut [T], accumulate: bool) {
    transfer(x, view, out, &View::whole(&view.sizes), accumulate);
}

/// Copies a row-major array into the elements of a view, or adds it to them; elements that the view names more than
/// once get the sum only when adding.
pub(crate) fn write<T: Float>(x: &[T], out: &mut [T], view: &View, accumulate: bool) {
    transfer(x, &View::whole(&view.sizes), out, view, accumulate);
}

/// Whether a view of an array of `len` elements names each of them exactly once.
pub(crate) fn covers(view: &View, len: usize) -> bool {
    view.sizes.len() == len && {
        let (axes, _, _) = plan(view, view);
        (0..axes.len()).all(|at| apart(&axes[at..]))
    }
}

fn transfer<T: Float>(x: &[T], from: &View, out: &mut [T], to: &View, accumulate: bool) {
    if from.sizes.is_empty() {
        return;
    }
    let (axes, from, to) = plan(from, to);
    if accumulate {
        run::<T, true>(&axes, x, from, out, to);
    } else {
        run::<T, false>(&axes, x, from, out, to);
    }
}

/// The axes of a move with the largest written step first, neighbours that are one run joined; and the offsets of its
/// first element.
fn plan(from: &View, to: &View) -> (SmallVec<[Axis; MAX_RANK]>, usize, usize) {
    let (mut start_from, mut start_to) = (from.start as isize, to.start as isize);
    let mut axes: SmallVec<[Axis; MAX_RANK]> = SmallVec::new();
    for (axis, &size) in to.sizes.iter().enumerate() {
        if size < 2 {
            continue;
        }
        let (mut step_from, mut step_to) = (from.steps[axis], to.steps[axis]);
        if step_to < 0 {
            start_from += (size as isize - 1) * step_from;
            start_to += (size as isize - 1) * step_to;
            (step_from, step_to) = (-step_from, -step_to);
        }
        axes.push(Axis { size, from: step_from, to: step_to as usize });
    }
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.to));
    let mut joined: SmallVec<[Axis; MAX_RANK]> = SmallVec::new();
    for axis in axes {
        match joined.last_mut() {
            Some(outer) if outer.to == axis.size * axis.to && outer.from == axis.size as isize * axis.from => {
                *outer = Axis { size: outer.size * axis.size, ..axis };
            }
            _ => joined.push(axis),
        }
    }
    (joined, start_from as usize, start_to as usize)
}

/// Elements between the first and the last one that the axes write, both counted.
fn span(axes: &[Axis]) -> usize {
    1 + axes.iter().map(|axis| (axis.size - 1) * axis.to).sum::<usize>()
}

/// Whether different positions along the first axis write different elements.
fn apart(axes: &[Axis]) -> bool {
    axes.is_empty() || axes[0].to >= span(&axes[1..])
}

/// Shares the positions of the first axis among the threads, where they write different elements.
fn run<T: Float, const ADD: bool>(axes: &[Axis], x: &[T], from: usize, out: &mut [T], to: usize) {
    let out = &mut out[to..to + span(axes)];
    let Some((&first, rest)) = axes.split_first() else { return put::<T, ADD>(&mut out[0], x[from]) };
    if !apart(axes) {
        return block::<T, ADD>(axes, x, from as isize, out);
    }
    // a transposed block needs rows and columns
    let fewest = if first.from == 1 { TILE } else { 1 };
    let rows = rows_per_chunk(rest.iter().map(|axis| axis.size).product()).max(fewest);
    for_each_chunk(out, rows * first.to, |chunk, out| {
        let done = chunk * rows;
        let mut own: SmallVec<[Axis; MAX_RANK]> = SmallVec::from_slice(axes);
        own[0].size = rows.min(first.size - done);
        block::<T, ADD>(&own, x, from as isize + done as isize * first.from, out);
    });
}

/// Moves a block on one thread.
fn block<T: Float, const ADD: bool>(axes: &[Axis], x: &[T], from: isize, out: &mut [T]) {
    let mut axes: SmallVec<[Axis; MAX_RANK]> = SmallVec::from_slice(axes);
    if axes.len() == 1 {
        axes.insert(0, Axis { size: 1, from: 0, to: 0 });
    }
    // an axis that lies side by side in the memory read goes next to the one that does so in the memory written
    let last = axes.len() - 1;
    if axes[last].from != 1
        && let Some(at) = axes.iter().position(|axis| axis.from == 1)
    {
        let axis = axes.remove(at);
        axes.insert(last - 1, axis);
    }
    walk::<T, ADD>(&axes, x, from, out, 0);
}

fn walk<T: Float, const ADD: bool>(axes: &[Axis], x: &[T], from: isize, out: &mut [T], to: usize) {
    match axes {
        [rows, columns] => plane::<T, ADD>(*rows, *columns, x, from, out, to),
        [first, rest @ ..] => {
            for i in 0..first.size {
                walk::<T, ADD>(rest, x, from + i as isize * first.from, out, to + i * first.to);
            }
        }
        [] => unreachable!("a block has two axes at least"),
    }
}

/// Moves two axes.
fn plane<T: Float, const ADD: bool>(rows: Axis, columns: Axis, x: &[T], from: isize, out: &mut [T], to: usize) {
    let n = columns.size;
    if rows.from == 1 && columns.to == 1 && columns.from > 1 {
        return transpose::<T, ADD>(rows, columns, &x[from as usize..], &mut out[to..]);
    }
    for row in 0..rows.size {
        let at = from + row as isize * rows.from;
        let out = &mut out[to + row * rows.to..];
        match (columns.from, columns.to) {
            (1, 1) => put_row::<T, ADD>(&mut out[..n], &x[at as usize..at as usize + n]),
            (-1, 1) => {
                let x = &x[at as usize + 1 - n..at as usize + 1];
                out[..n].iter_mut().zip(x.iter().rev()).for_each(|(out, &x)| put::<T, ADD>(out, x));
            }
            (0, 1) => {
                let value = x[at as usize];
                out[..n].iter_mut().for_each(|out| put::<T, ADD>(out, value));
            }
            (step, 1) if step > 0 => {
                let x = x[at as usize..].iter().step_by(step as usize);
                out[..n].iter_mut().zip(x).for_each(|(out, &x)| put::<T, ADD>(out, x));
            }
            (step, to) => {
                for i in 0..n {
                    put::<T, ADD>(&mut out[i * to], x[(at + i as isize * step) as usize]);
                }
            }
        }
    }
}

/// out[row, column] = x[column, row] by square blocks, so that both are met in whole cache lines.
fn transpose<T: Float, const ADD: bool>(rows: Axis, columns: Axis, x: &[T], out: &mut [T]) {
    let stride = columns.from as usize;
    for row in (0..rows.size).step_by(TILE) {
        let height = TILE.min(rows.size - row);
        for column in (0..columns.size).step_by(TILE) {
            let width = TILE.min(columns.size - column);
            let mut tile = [[T::ZERO; TILE]; TILE];
            for (i, tile) in tile[..width].iter_mut().enumerate() {
                let start = (column + i) * stride + row;
                if height == TILE {
                    tile.copy_from_slice(&x[start..start + TILE]);
                } else {
                    tile[..height].copy_from_slice(&x[start..start + height]);
                }
            }
            for i in 0..height {
                let start = (row + i) * rows.to + column;
                if width == TILE {
                    let line: [T; TILE] = std::array::from_fn(|k| tile[k][i]);
                    let out = &mut out[start..start + TILE];
                    out.iter_mut().zip(line).for_each(|(out, x)| put::<T, ADD>(out, x));
                } else {
                    let out = &mut out[start..start + width];
                    out.iter_mut().zip(&tile).for_each(|(out, line)| put::<T, ADD>(out, line[i]));
                }
            }
        }
    }
}

#[inline(always)]
fn put<T: Float, const ADD: bool>(out: &mut T, x: T) {
    if ADD {
        *out += x;
    } else {
        *out = x;
    }
}

#[inline(always)]
pub(crate) fn put_row<T: Float, const ADD: bool>(out: &mut [T], x: &[T]) {
    if ADD {
        add_assign(out, x);
    } else {
        out.copy_from_slice(x);
    }
}
