//! Position weight matrices scanned along both strands of sequences.

use crate::float::Float;
use crate::kernels::{for_each_chunk, for_each_chunk2, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Scores of motifs at every position of the given strand and of its reverse complement.
pub struct PwmScan;

/// Rows of a sequence: A, C, G, T. The complement of row r is row 3 - r.
const BASES: usize = 4;
/// Neighbouring positions that are summed together: 2 x 48 sums of f32 fit in the registers of AVX2 and of AVX-512.
const TILE: usize = 48;
/// Neighbouring offsets within a motif that are summed together: one register of AVX-512 in f32.
const OFFSETS: usize = 16;
/// Positions that are summed one after the other before they are added to the sums of earlier ones.
const RUN: usize = 4096;
/// At most this many partial gradients of the motifs, each over its share of the batch.
const SHARES: usize = 16;

simd_kernel! {
    /// Two filters over the same rows: a[p] = sum over rows r and offsets j of x[r, p + j] first[r, j]; b with second.
    fn correlate_pair [T, L](
        x: &[T], span: usize, width: usize, first: &[T], second: &[T], a: &mut [T], b: &mut [T],
    ) {
        let positions = a.len();
        let mut start = 0;
        while start + TILE <= positions {
            let (mut sum_a, mut sum_b) = ([L::of(0.0); TILE], [L::of(0.0); TILE]);
            for (row, (first, second)) in first.chunks_exact(width).zip(second.chunks_exact(width)).enumerate() {
                for (j, (first, second)) in first.iter().zip(second).enumerate() {
                    let x: &[T; TILE] = x[row * span + start + j..][..TILE].try_into().expect("a slice of this length");
                    let (first, second) = (L::new(*first), L::new(*second));
                    for i in 0..TILE {
                        sum_a[i] = L::new(x[i]).mul_add(first, sum_a[i]);
                        sum_b[i] = L::new(x[i]).mul_add(second, sum_b[i]);
                    }
                }
            }
            for i in 0..TILE {
                a[start + i] = sum_a[i].get();
                b[start + i] = sum_b[i].get();
            }
            start += TILE;
            // the last tile reaches back over positions that are done; each sum has one order, so its bits stay
            if start < positions && start + TILE > positions && positions >= TILE {
                start = positions - TILE;
            }
        }
        for at in start..positions {
            let (mut sum_a, mut sum_b) = (L::of(0.0), L::of(0.0));
            for (k, (first, second)) in first.iter().zip(second).enumerate() {
                let x = L::new(x[k / width * span + at + k % width]);
                sum_a = x.mul_add(L::new(*first), sum_a);
                sum_b = x.mul_add(L::new(*second), sum_b);
            }
            a[at] = sum_a.get();
            b[at] = sum_b.get();
        }
    }
}

simd_kernel! {
    /// a[r, j] += sum over p of x[r, p + j] first[p] for each base r and offset j; b with second. Offsets are summed
    /// side by side, so that up to [`OFFSETS`] elements after the last row are read, and do not matter.
    fn add_window_sums [T, L](
        x: &[T], span: usize, width: usize, first: &[T], second: &[T], a: &mut [T], b: &mut [T],
    ) {
        for offset in (0..width).step_by(OFFSETS) {
            for (run, (first, second)) in first.chunks(RUN).zip(second.chunks(RUN)).enumerate() {
                let mut sum_a = [[L::of(0.0); OFFSETS]; BASES];
                let mut sum_b = [[L::of(0.0); OFFSETS]; BASES];
                for (p, (first, second)) in first.iter().zip(second).enumerate() {
                    let (first, second) = (L::new(*first), L::new(*second));
                    for base in 0..BASES {
                        let x = &x[base * span + run * RUN + p + offset..][..OFFSETS];
                        for i in 0..OFFSETS {
                            sum_a[base][i] = L::new(x[i]).mul_add(first, sum_a[base][i]);
                            sum_b[base][i] = L::new(x[i]).mul_add(second, sum_b[base][i]);
                        }
                    }
                }
                for base in 0..BASES {
                    let row = base * width + offset..base * width + width.min(offset + OFFSETS);
                    for ((a, b), i) in a[row.clone()].iter_mut().zip(&mut b[row]).zip(0..) {
                        *a = (L::new(*a) + sum_a[base][i]).get();
                        *b = (L::new(*b) + sum_b[base][i]).get();
                    }
                }
            }
        }
    }
}

/// The sizes of a scan.
struct Sizes {
    length: usize,
    motifs: usize,
    width: usize,
    positions: usize,
}

fn sizes(sequence: &Shape, motifs: &Shape) -> Sizes {
    assert!(
        sequence.rank() == 3 && motifs.rank() == 3 && sequence[1] == BASES && motifs[1] == BASES,
        "pwm_scan: {sequence} x {motifs}: expected [batch, 4, length] and [motifs, 4, width]"
    );
    let (length, width) = (sequence[2], motifs[2]);
    assert!(
        1 <= width && width <= length,
        "pwm_scan: {sequence} x {motifs}: motifs of {width} columns in sequences of {length}"
    );
    Sizes { length, motifs: motifs[0], width, positions: length - width + 1 }
}

/// The reverse complement of motifs `[motifs, 4, width]`: each matrix read backwards.
fn reverse_complement<T: Float>(motifs: &[T], size: usize, out: &mut [T]) {
    for (motif, out) in motifs.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        out.iter_mut().zip(motif.iter().rev()).for_each(|(out, motif)| *out = *motif);
    }
}

impl<T: Float> Op<T> for PwmScan {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let sizes = sizes(&inputs[0], &inputs[1]);
        Shapes::from_elem(Shape::new(&[inputs[0][0], sizes.motifs, sizes.positions]), 2)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let Sizes { length, motifs, width, positions } = sizes(&x[0].shape, &x[1].shape);
        let size = BASES * width;
        let mut reversed = saved.scratch(motifs * size);
        reverse_complement(x[1].data, size, &mut reversed);
        let [given, reverse] = y else { unreachable!("two outputs") };
        for_each_chunk2(given, positions, reverse, positions, |i, given, reverse| {
            let (item, motif) = (i / motifs, i % motifs * size);
            let sequence = &x[0].data[item * BASES * length..][..BASES * length];
            let (first, second) = (&x[1].data[motif..motif + size], &reversed[motif..motif + size]);
            correlate_pair(sequence, length, width, first, second, given, reverse);
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let sizes = sizes(&at.x[0].shape, &at.x[1].shape);
        let empty = at.y[0].data.is_empty();
        if let Some(grad) = grads.sum(0)
            && !empty
        {
            sequence_gradient(at, &sizes, grad);
        }
        if let Some(grad) = grads.sum(1)
            && !empty
        {
            motif_gradient(at, &sizes, grad);
        }
    }
}

/// The scan in reverse: every position of g, padded with zeros, against the motifs turned over.
fn sequence_gradient<T: Float>(at: &At<'_, T>, sizes: &Sizes, grad: &mut [T]) {
    let &Sizes { length, motifs, width, positions } = sizes;
    let (weights, size) = (at.x[1].data, BASES * width);
    // for each base the filters of all rows of g: first those of the given strand, then those of the reverse
    let mut filters = at.scratch(BASES * 2 * motifs * width);
    for (base, filters) in filters.chunks_exact_mut(2 * motifs * width).enumerate() {
        let (given, reverse) = filters.split_at_mut(motifs * width);
        for motif in 0..motifs {
            for j in 0..width {
                given[motif * width + j] = weights[motif * size + base * width + width - 1 - j];
                reverse[motif * width + j] = weights[motif * size + (BASES - 1 - base) * width + j];
            }
        }
    }
    let (pad, span) = (width - 1, length + width - 1);
    for_each_chunk(grad, BASES * length, |item, grad| {
        let mut padded = at.scratch(2 * motifs * span);
        padded.fill(T::ZERO);
        for strand in 0..2 {
            let Some(g) = at.grad_if_any(strand) else { continue };
            for motif in 0..motifs {
                let row = &g[(item * motifs + motif) * positions..][..positions];
                padded[(strand * motifs + motif) * span + pad..][..positions].copy_from_slice(row);
            }
        }
        let mut found = at.scratch(2 * length);
        for (grad, filters) in grad.chunks_exact_mut(2 * length).zip(filters.chunks_exact(4 * motifs * width)) {
            let (first, second) = filters.split_at(2 * motifs * width);
            let (a, b) = found.split_at_mut(length);
            correlate_pair(&padded, span, width, first, second, a, b);
            grad.iter_mut().zip(found.iter()).for_each(|(grad, found)| *grad += *found);
        }
    });
}

/// g times the windows of the sequences, summed over the batch by shares in a fixed order.
fn motif_gradient<T: Float>(at: &At<'_, T>, sizes: &Sizes, grad: &mut [T]) {
    let &Sizes { length, motifs, width, positions } = sizes;
    let (x, batch, size) = (at.x[0].data, at.x[0].shape[0], BASES * width);
    let mut sequences = at.scratch(x.len() + OFFSETS);
    sequences[..x.len()].copy_from_slice(x);
    sequences[x.len()..].fill(T::ZERO);
    // stands for a strand whose scores did not matter
    let mut silent = at.scratch(positions);
    silent.fill(T::ZERO);
    let share = batch.div_ceil(SHARES);
    // [share, motif, strand, base, offset]
    let mut partial = at.scratch(batch.div_ceil(share) * motifs * 2 * size);
    for_each_chunk(&mut partial, 2 * size, |i, partial| {
        partial.fill(T::ZERO);
        let (given, reverse) = partial.split_at_mut(size);
        for item in i / motifs * share..batch.min((i / motifs + 1) * share) {
            let row = (item * motifs + i % motifs) * positions;
            let [first, second] =
                [0, 1].map(|strand| at.grad_if_any(strand).map_or(&silent[..], |g| &g[row..row + positions]));
            add_window_sums(&sequences[item * BASES * length..], length, width, first, second, given, reverse);
        }
    });
    for (i, partial) in partial.chunks_exact(2 * size).enumerate() {
        let (given, reverse) = partial.split_at(size);
        let grad = &mut grad[i % motifs * size..][..size];
        (0..size).for_each(|k| grad[k] += given[k] + reverse[size - 1 - k]);
    }
}

impl Samples for PwmScan {
    const NAME: &'static str = "pwm_scan";
    const DOC: &'static str = "Scores of position weight matrices at every position of both strands. PyTorch: \
        `F.conv1d(x, w)` and `F.conv1d(x, w.flip(1, 2))` (Stormo 2000).";
    fn samples() -> Vec<Sample<Self>> {
        let shapes: [[&[usize]; 2]; 8] = [
            [&[2, 4, 7], &[3, 4, 3]],
            [&[1, 4, 60], &[2, 4, 5]],
            [&[3, 4, 5], &[1, 4, 5]],
            [&[1, 4, 19], &[1, 4, 18]],
            [&[1, 4, 1], &[1, 4, 1]],
            [&[18, 4, 4], &[2, 4, 2]],
            [&[0, 4, 6], &[2, 4, 3]],
            [&[2, 4, 6], &[0, 4, 3]],
        ];
        shapes.iter().map(|shapes| Sample::new(Self, -1.0..1.0, shapes)).collect()
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The scores of motifs `[motifs, 4, width]` (log-odds) at every position of sequences `[batch, 4, length]`
    /// (`self`; one-hot or probabilities, rows A, C, G, T), on the given strand and on its reverse complement, both
    /// `[batch, motifs, length - width + 1]`.
    ///
    /// Element p of both is the window that starts at p; the second is the score of the window's reverse complement. An
    /// unknown base N is a column of zeros and adds 0 to every score. PyTorch: `F.conv1d(x, w)` and
    /// `F.conv1d(x, w.flip(1, 2))`. Source: Stormo (2000), DNA binding sites: representation and discovery.
    ///
    /// # Panics
    /// When the shapes do not fit, or a motif has no column or more columns than the sequences.
    pub fn pwm_scan(self, motifs: Self) -> [Self; 2] {
        let outputs = self.tape.record(PwmScan, &[self, motifs]);
        [outputs[0], outputs[1]]
    }
}
