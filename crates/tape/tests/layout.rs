//! Ops that rearrange elements agree with a reference that moves one element at a time, in value and gradient.

mod naive;

use std::slice;

use gradome_goldens::assert_close;
use gradome_tape::{Padding, Span, Tape, Tensor, Var};
use naive::{Draw, assert_moves, for_each_index, shapes};
use proptest::prelude::*;

type V<'t> = Var<'t, f64>;

/// `index` with one entry replaced.
fn with(index: &[usize], axis: usize, at: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = at;
    index
}

/// An axis of a shape, as counted from the front and, at random, from the back.
fn any_axis(shape: &[usize], draw: &mut Draw) -> (usize, isize) {
    let axis = draw.below(shape.len());
    (axis, if draw.below(2) == 0 { axis as isize } else { axis as isize - shape.len() as isize })
}

fn assert_permutes(shape: &[usize], order: &[usize]) {
    let to: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    assert_moves(
        &[shape.to_vec()],
        |_, v| v[0].permute(order),
        &to,
        0.0,
        |index| {
            let mut from = vec![0; shape.len()];
            order.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
            Some((0, from))
        },
    );
}

fn assert_pads(shape: &[usize], widths: &[(usize, usize)], padding: Padding) {
    let to: Vec<usize> = shape.iter().zip(widths).map(|(n, (before, after))| before + n + after).collect();
    let border = if let Padding::Constant(value) = padding { value } else { 0.0 };
    let source = |index: &[usize]| {
        let mut from = Vec::new();
        for ((&at, &n), &(before, _)) in index.iter().zip(shape).zip(widths) {
            let (at, n) = (at as isize - before as isize, n as isize);
            let inside = (0..n).contains(&at);
            from.push(match padding {
                _ if inside => at,
                Padding::Constant(_) => return None,
                Padding::Edge => at.clamp(0, n - 1),
                Padding::Reflect => {
                    if at < 0 {
                        -at
                    } else {
                        2 * (n - 1) - at
                    }
                }
                Padding::Circular => at.rem_euclid(n),
            } as usize);
        }
        Some((0, from))
    };
    assert_moves(&[shape.to_vec()], |_, v| v[0].pad(widths, padding), &to, border, source);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permute_moves_the_axes(shape in shapes(6), seed: u64) {
        let mut draw = Draw(seed);
        let mut order: Vec<usize> = (0..shape.len()).collect();
        for i in 1..order.len() {
            order.swap(i, draw.below(i + 1));
        }
        assert_permutes(&shape, &order);
    }

    #[test]
    fn slice_takes_every_so_many_elements_of_ranges(shape in shapes(6), seed: u64) {
        let mut draw = Draw(seed);
        let count = draw.below(shape.len() + 1);
        let chosen: Vec<(usize, usize, isize)> = shape[..count]
            .iter()
            .map(|&n| {
                let end = draw.below(n + 1);
                (draw.below(end + 1), end, [1, 1, 2, 3, -1, -2, -3][draw.below(7)])
            })
            .collect();
        let spans: Vec<Span> = chosen.iter().map(|&(start, end, step)| Span::from(start..end).by(step)).collect();
        // the elements of each axis, listed
        let listed: Vec<Vec<usize>> = chosen
            .iter()
            .map(|&(start, end, step)| match step {
                1.. => (start..end).step_by(step as usize).collect(),
                _ => (start..end).rev().step_by(-step as usize).collect(),
            })
            .collect();
        let mut to = shape.clone();
        listed.iter().enumerate().for_each(|(axis, list)| to[axis] = list.len());
        assert_moves(slice::from_ref(&shape), |_, v| v[0].slice(&spans), &to, 0.0, |index| {
            let from = |(axis, &i): (usize, &usize)| listed.get(axis).map_or(i, |list| list[i]);
            Some((0, index.iter().enumerate().map(from).collect()))
        });
    }

    #[test]
    fn flip_and_roll_reverse_and_shift(shape in shapes(6).prop_filter("an axis", |s| !s.is_empty()), seed: u64) {
        let mut draw = Draw(seed);
        let (axis, named) = any_axis(&shape, &mut draw);
        let n = shape[axis];
        assert_moves(slice::from_ref(&shape), |_, v| v[0].flip(&[named]), &shape, 0.0, |i| {
            Some((0, with(i, axis, n - 1 - i[axis])))
        });
        let shift = draw.below(15) as isize - 7;
        assert_moves(slice::from_ref(&shape), |_, v| v[0].roll(named, shift), &shape, 0.0, |i| {
            Some((0, with(i, axis, (i[axis] as isize - shift).rem_euclid(n as isize) as usize)))
        });
    }

    #[test]
    fn concat_and_split_are_each_others_inverse(
        shape in shapes(6).prop_filter("an axis", |s| !s.is_empty()),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let (axis, named) = any_axis(&shape, &mut draw);
        let sizes: Vec<usize> = (0..1 + draw.below(4)).map(|_| draw.below(4)).collect();
        let parts: Vec<Vec<usize>> = sizes.iter().map(|&n| with(&shape, axis, n)).collect();
        let whole = with(&shape, axis, sizes.iter().sum());
        let part_of = |mut at: usize| {
            let part = sizes.iter().position(|&n| if at < n { true } else { at -= n; false }).unwrap();
            (part, at)
        };
        assert_moves(&parts, |t, v| t.concat(v, named), &whole, 0.0, |i| {
            let (part, at) = part_of(i[axis]);
            Some((part, with(i, axis, at)))
        });
        let mut start = 0;
        for (part, &n) in sizes.iter().enumerate() {
            assert_moves(slice::from_ref(&whole), |_, v| v[0].split(named, &sizes)[part], &parts[part], 0.0, |i| {
                Some((0, with(i, axis, start + i[axis])))
            });
            start += n;
        }
    }

    #[test]
    fn stack_adds_an_axis(shape in shapes(5), seed: u64) {
        let mut draw = Draw(seed);
        let (axis, count) = (draw.below(shape.len() + 1), 1 + draw.below(3));
        let mut to = shape.clone();
        to.insert(axis, count);
        assert_moves(&vec![shape.clone(); count], |t, v| t.stack(v, axis as isize), &to, 0.0, |i| {
            let mut from = i.to_vec();
            let part = from.remove(axis);
            Some((part, from))
        });
    }

    #[test]
    fn pad_sets_a_border_of_each_kind(shape in shapes(5), seed: u64) {
        let mut draw = Draw(seed);
        let widths: Vec<(usize, usize)> = shape.iter().map(|_| (draw.below(4), draw.below(4))).collect();
        assert_pads(&shape, &widths, Padding::Constant(-0.5));
        if !shape.contains(&0) {
            assert_pads(&shape, &widths, Padding::Edge);
            assert_pads(&shape, &widths, Padding::Circular);
            let narrower: Vec<(usize, usize)> =
                widths.iter().zip(&shape).map(|(w, &n)| (w.0.min(n - 1), w.1.min(n - 1))).collect();
            assert_pads(&shape, &narrower, Padding::Reflect);
        }
    }

    #[test]
    fn repeat_tiles(shape in shapes(6), seed: u64) {
        let mut draw = Draw(seed);
        let counts: Vec<usize> = shape.iter().map(|_| draw.below(4)).collect();
        let to: Vec<usize> = shape.iter().zip(&counts).map(|(n, c)| n * c).collect();
        assert_moves(slice::from_ref(&shape), |_, v| v[0].repeat(&counts), &to, 0.0, |i| {
            Some((0, i.iter().zip(&shape).map(|(i, n)| i % n).collect()))
        });
    }

    #[test]
    fn windows_slide(shape in shapes(5).prop_filter("a full axis", |s| s.iter().any(|&n| n > 0)), seed: u64) {
        let mut draw = Draw(seed);
        let axis = loop {
            let axis = draw.below(shape.len());
            if shape[axis] > 0 { break axis }
        };
        let size = 1 + draw.below(shape[axis]);
        let dilation = if size == 1 { 1 + draw.below(3) } else { 1 + draw.below((shape[axis] - 1) / (size - 1)) };
        let step = 1 + draw.below(3);
        let mut to = with(&shape, axis, (shape[axis] - (size - 1) * dilation - 1) / step + 1);
        to.push(size);
        assert_moves(slice::from_ref(&shape), |_, v| v[0].windows(axis as isize, size, step, dilation), &to, 0.0, |i| {
            let (last, window) = i.split_last().unwrap();
            Some((0, with(window, axis, window[axis] * step + last * dilation)))
        });
    }

    #[test]
    fn diagonals_and_triangles_are_cut_out(
        shape in shapes(6).prop_filter("two axes", |s| s.len() >= 2),
        offset in -5isize..6,
    ) {
        let last = shape.len() - 1;
        let on = |i: usize| if offset >= 0 { (i, i + offset as usize) } else { (i + offset.unsigned_abs(), i) };
        let length = (0..).take_while(|&i| on(i).0 < shape[last - 1] && on(i).1 < shape[last]).count();
        assert_moves(slice::from_ref(&shape), |_, v| v[0].diagonal(offset), &with(&shape[..last], last - 1, length), 0.0, |i| {
            let (row, column) = on(i[last - 1]);
            Some((0, [&i[..last - 1], &[row, column]].concat()))
        });
        let right = |i: &[usize]| i[last] as isize - i[last - 1] as isize;
        assert_moves(slice::from_ref(&shape), |_, v| v[0].tril(offset), &shape, 0.0, |i| {
            (right(i) <= offset).then(|| (0, i.to_vec()))
        });
        assert_moves(slice::from_ref(&shape), |_, v| v[0].triu(offset), &shape, 0.0, |i| {
            (right(i) >= offset).then(|| (0, i.to_vec()))
        });
    }

    #[test]
    fn an_embedded_diagonal_is_found_again(
        shape in shapes(5).prop_filter("an axis", |s| !s.is_empty()),
        offset in -3isize..4,
    ) {
        let last = shape.len() - 1;
        let n = shape[last] + offset.unsigned_abs();
        let to = [&shape[..last], &[n, n]].concat();
        assert_moves(slice::from_ref(&shape), |_, v| v[0].diagonal_embed(offset), &to, 0.0, |i| {
            let (row, column) = (i[last], i[last + 1]);
            (column as isize - row as isize == offset).then(|| (0, with(&i[..=last], last, row.min(column))))
        });
        assert_moves(slice::from_ref(&shape), |_, v| v[0].diagonal_embed(offset).diagonal(offset), &shape, 0.0, |i| {
            Some((0, i.to_vec()))
        });
    }

    #[test]
    fn reshape_squeeze_and_unsqueeze_keep_the_order(shape in shapes(5), seed: u64) {
        let axis = Draw(seed).below(shape.len() + 1);
        let mut to = shape.clone();
        to.insert(axis, 1);
        assert_moves(slice::from_ref(&shape), |_, v| v[0].unsqueeze(axis as isize), &to, 0.0, |i| {
            let mut from = i.to_vec();
            from.remove(axis);
            Some((0, from))
        });
        assert_moves(slice::from_ref(&to), |_, v| v[0].squeeze(axis as isize), &shape, 0.0, |i| {
            let mut from = i.to_vec();
            from.insert(axis, 0);
            Some((0, from))
        });
        let len: usize = shape.iter().product();
        assert_moves(slice::from_ref(&shape), |_, v| v[0].reshape(len).reshape(&shape[..]), &shape, 0.0, |i| {
            Some((0, i.to_vec()))
        });
    }
}

#[test]
fn large_arrays_are_moved_like_small_ones() {
    // beyond one unit of work, with sizes that are no multiple of a block
    for threads in [1, 3] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            assert_permutes(&[190, 211], &[1, 0]);
            assert_permutes(&[2, 130, 170], &[0, 2, 1]);
            assert_permutes(&[37, 35, 33], &[2, 1, 0]);
            assert_permutes(&[33, 40, 31], &[1, 2, 0]);
            assert_pads(&[60, 700], &[(1, 2), (3, 0)], Padding::Constant(7.0));
            assert_pads(&[700, 60], &[(1, 2), (3, 0)], Padding::Reflect);
            assert_moves(
                &[vec![3, 15_000]],
                |_, v| v[0].windows(1, 3, 1, 2),
                &[3, 14_996, 3],
                0.0,
                |i| Some((0, vec![i[0], i[1] + 2 * i[2]])),
            );
            assert_moves(
                &[vec![300, 300]],
                |_, v| v[0].flip(&[0, 1]),
                &[300, 300],
                0.0,
                |i| Some((0, vec![299 - i[0], 299 - i[1]])),
            );
            assert_moves(
                &[vec![300, 150]],
                |_, v| v[0].slice(&[Span::ALL, Span::ALL.by(2)]),
                &[300, 75],
                0.0,
                |i| Some((0, vec![i[0], 2 * i[1]])),
            );
            assert_moves(
                &[vec![300, 150]],
                |_, v| v[0].triu(3),
                &[300, 150],
                0.0,
                |i| (i[1] >= i[0] + 3).then(|| (0, i.to_vec())),
            );
        });
    }
}

#[test]
fn chunks_differ_by_one_at_most() {
    let tape = Tape::<f64>::new();
    let x = tape.full([2, 7], 1.0);
    let sizes = |count| x.chunk(-1, count).iter().map(|part| part.shape()[1]).collect::<Vec<usize>>();
    assert_eq!(sizes(3), [3, 2, 2]);
    assert_eq!(sizes(7), [1; 7]);
    assert_eq!(sizes(9), [1, 1, 1, 1, 1, 1, 1, 0, 0]);
}

#[test]
fn what_lies_outside_of_a_triangle_does_not_matter() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([2, 2], &[1.0, f64::NAN, 3.0, f64::INFINITY]));
    assert_eq!(x.tril(-1).value().data(), &[0.0, 0.0, 3.0, 0.0]);
    assert_eq!(x.tril(-1).sum().backward().of(x).unwrap().data(), &[0.0, 0.0, 1.0, 0.0]);
}

/// The panic's text of a computation that does not fit.
fn failure(shape: &[usize], f: impl for<'t> Fn(V<'t>) -> V<'t>) -> String {
    let run = || {
        let tape = Tape::new();
        f(tape.full(shape, 0.0));
    };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("it does not fit");
    caught.downcast_ref::<String>().expect("the text names a shape").clone()
}

#[test]
fn what_does_not_fit_is_named_with_its_shape() {
    for (found, words) in [
        (failure(&[4, 3], |x| x.slice(&[Span::from(3..5)])), &["slice", "3..5", "axis 0", "[4, 3]"][..]),
        (failure(&[4], |x| x.slice(&[Span::ALL.by(0)])), &["slice", "step of 0", "[4]"]),
        (failure(&[4], |x| x.slice(&[Span::ALL; 2])), &["slice", "2 spans", "[4]"]),
        (failure(&[4, 2], |x| x.windows(0, 3, 1, 2)), &["windows", "5", "axis 0", "[4, 2]"]),
        (failure(&[1; 6], |x| x.windows(0, 1, 1, 1)), &["windows", "[1, 1, 1, 1, 1, 1]"]),
        (failure(&[3], |x| x.diagonal(0)), &["diagonal", "[3]"]),
        (failure(&[3], |x| x.tril(0)), &["triangle", "[3]"]),
        (failure(&[3], |x| x.pad(&[], Padding::Edge)), &["pad", "0 pairs", "[3]"]),
        (failure(&[3, 0], |x| x.pad(&[(0, 0), (1, 0)], Padding::Edge)), &["pad", "axis 1", "[3, 0]", "empty"]),
        (failure(&[3], |x| x.pad(&[(3, 0)], Padding::Reflect)), &["pad", "3", "[3]"]),
        (failure(&[3, 2], |x| x.squeeze(0)), &["squeeze", "axis 0", "[3, 2]"]),
        (failure(&[3, 2], |x| x.split(0, &[1, 1])[0]), &["split", "[1, 1]", "[3, 2]"]),
        (failure(&[3, 2], |x| x.roll(2, 1)), &["roll", "[3, 2]"]),
    ] {
        for word in words {
            assert!(found.contains(word), "'{found}' does not say '{word}'");
        }
    }
}

#[test]
fn indices_are_visited_in_row_major_order() {
    let mut seen = Vec::new();
    for_each_index(&[2, 2], |index| seen.push(index.to_vec()));
    assert_eq!(seen, [[0, 0], [0, 1], [1, 0], [1, 1]]);
}

/// The same value; with `copy` in an array of its own, as a reshaped array is no view any more.
fn own(copy: bool, x: Var<'_, f64>) -> Var<'_, f64> {
    if copy { x.reshape(x.shape()) } else { x }
}

/// Products of views, their gradients, and how many arrays the products take from the system; with `copies`, of copies.
fn products_of_views(eager: bool, copies: bool) -> (Vec<f64>, Vec<Vec<f64>>, usize) {
    let tape = Tape::<f64>::new();
    tape.set_eager(eager);
    let wave = |shape: &[usize], phase: f64| Tensor::from_fn(shape, |i| (0.7 * i as f64 + phase).sin());
    let (a, b) = (tape.variable(&wave(&[2, 5, 3, 4], 0.1)), tape.variable(&wave(&[7, 4], 0.2)));
    let before = tape.buffers_created();
    let results = [
        // heads, which stand beside each other in memory
        own(copies, a.permute(&[0, 2, 1, 3])).matmul_transposed(own(copies, a.permute(&[0, 2, 1, 3]))),
        // every other row, by matrices that are read transposed
        own(copies, b.slice(&[Span::from(1..7).by(2)])).matmul(own(copies, a.permute(&[0, 2, 3, 1]))),
        // windows, which overlap
        own(copies, b.reshape([28]).windows(0, 5, 1, 2))
            .transposed_matmul(own(copies, b.reshape([28]).windows(0, 3, 1, 4))),
        // backwards nothing can be read in place
        own(copies, b.flip(&[0])).matmul(own(copies, b.permute(&[1, 0]).narrow(1, 2, 3))),
    ];
    let created = tape.buffers_created() - before;
    let values = results.iter().flat_map(|v| v.value().to_f64()).collect();
    let loss = results.iter().map(|v| v.square().sum()).reduce(|x, y| x + y).unwrap();
    let gradients = loss.backward();
    (values, [a, b].map(|v| gradients.of(v).unwrap().to_f64()).to_vec(), created)
}

#[test]
fn products_read_views_where_they_lie() {
    let (values, gradients, created) = products_of_views(false, false);
    let (copied, gradients_of_copies, _) = products_of_views(false, true);
    assert_close("value", &values, &copied, 1e-14);
    for (found, expected) in gradients.iter().zip(&gradients_of_copies) {
        assert_close("gradient", found, expected, 1e-14);
    }
    // four results, the flipped matrix, and the permuted one of which a part is taken
    assert!(created <= 6, "{created} arrays");
    let (eager, eager_gradients, _) = products_of_views(true, false);
    assert_eq!((values, gradients), (eager, eager_gradients));
}

#[test]
fn a_view_outlives_the_scope_of_what_it_is_a_view_of() {
    let tape = Tape::<f64>::new();
    let x = tape.variable(&Tensor::new([2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let squares = tape.no_grad(|| x.square().transpose());
    assert_eq!(squares.matmul(x).value().data(), &[1.0 + 27.0, 2.0 + 36.0, 4.0 + 48.0, 8.0 + 64.0]);
}
