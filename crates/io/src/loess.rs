//! Local quadratic regression in one dimension, exactly as `loess` of netlib, R and scikit-misc computes it.
//!
//! Cleveland and Grosse, "Computational methods for local regression", Statistics and Computing 1 (1991):
//! fits at the vertices of a k-d tree, joined by cubic Hermite interpolation. The default controls of `loess`
//! are built in: degree 2, tricube weights, Gaussian family, cells of a fifth of the span.

/// Share of the span that a cell of the tree may hold.
const CELL: f64 = 0.2;
/// How far the outer vertices stand beyond the data, as a share of its range.
const MARGIN: f64 = 0.005;

/// Fitted values at each `x`, smoothing `y` with the nearest `span` share of the points.
///
/// # Errors
/// If too few distinct `x` stand near a vertex for a fit.
pub(crate) fn smooth(x: &[f64], y: &[f64], span: f64) -> Result<Vec<f64>, String> {
    let points = x.len();
    let neighbours = points.min((points as f64 * span + 1e-5).floor() as usize);
    if neighbours < 3 {
        return Err(format!("{points} points are too few for a local quadratic with span {span}"));
    }
    let mut order: Vec<usize> = (0..points).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let sorted_x: Vec<f64> = order.iter().map(|&at| x[at]).collect();
    let sorted_y: Vec<f64> = order.iter().map(|&at| y[at]).collect();

    let vertices = vertices(&sorted_x, (points as f64 * (span * CELL)).floor() as usize);
    let fits: Vec<(f64, f64)> =
        vertices.iter().map(|&vertex| fit_at(vertex, &sorted_x, &sorted_y, neighbours)).collect::<Result<_, _>>()?;
    Ok(x.iter().map(|&x| interpolate(x, &vertices, &fits)).collect())
}

/// Vertices of the k-d tree, rising: the widened ends and the cut of every cell of more than `most` points.
fn vertices(x: &[f64], most: usize) -> Vec<f64> {
    let (first, last) = (x[0], x[x.len() - 1]);
    let widen = MARGIN * (last - first).max(1e-10 * first.abs().max(last.abs()) + 1e-30);
    let (low, high) = (first - widen, last + widen);
    let mut cuts = vec![low, high];
    // Cells still to cut: points `from..=to` between two vertices.
    let mut cells = vec![(0, x.len() - 1, low, high)];
    while let Some((from, to, low, high)) = cells.pop() {
        if to - from < most.max(1) {
            continue;
        }
        let at = cut_between(x, from, to);
        let cut = x[at];
        if cut != low && cut != high {
            cuts.push(cut);
            cells.push((from, at, low, cut));
            cells.push((at + 1, to, cut, high));
        }
    }
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    cuts
}

/// The last point of the left half, moved to the nearest end of a run of equal points if there is one.
fn cut_between(x: &[f64], from: usize, to: usize) -> usize {
    // Points count from 1 in the original, which decides how the middle is rounded.
    let middle = (from + to + 2) / 2 - 1;
    let mut offset = 0isize;
    loop {
        let Some(at) = middle.checked_add_signed(offset).filter(|&at| at >= from && at < to) else {
            return middle;
        };
        if x[at] != x[at + 1] {
            return at;
        }
        offset = if offset > 0 { -offset } else { 1 - offset };
    }
}

/// Value and slope at `vertex` of the weighted quadratic through the nearest points.
fn fit_at(vertex: f64, x: &[f64], y: &[f64], neighbours: usize) -> Result<(f64, f64), String> {
    let radius = |start: usize| (vertex - x[start]).abs().max((x[start + neighbours - 1] - vertex).abs());
    let starts = 0..=x.len() - neighbours;
    let start = starts.min_by(|&a, &b| radius(a).total_cmp(&radius(b))).unwrap_or(0);
    let bandwidth = radius(start);
    if bandwidth <= 0.0 {
        return Err(format!("{neighbours} points share x = {vertex}: no trend can be fitted, take a larger span"));
    }
    let (mut columns, mut target) = ([const { Vec::new() }; 3], Vec::new());
    for (&x, &y) in x[start..].iter().zip(&y[start..]).take(neighbours) {
        let distance = x - vertex;
        let weight = (1.0 - (distance.abs() / bandwidth).powi(3)).powi(3).max(0.0).sqrt();
        columns[0].push(weight);
        columns[1].push(weight * distance);
        columns[2].push(weight * distance * distance);
        target.push(weight * y);
    }
    let [value, slope, _] = least_squares(columns, &target);
    Ok((value, slope))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Minimum-norm least squares in three columns of equal length after scaling: QR, then SVD of R.
fn least_squares(mut columns: [Vec<f64>; 3], target: &[f64]) -> [f64; 3] {
    let mut scale = [1.0; 3];
    for (column, scale) in columns.iter_mut().zip(&mut scale) {
        let norm = dot(column, column).sqrt();
        if norm > 0.0 {
            *scale = norm;
            column.iter_mut().for_each(|value| *value /= norm);
        }
    }
    // Gram-Schmidt, each column twice, which keeps Q orthogonal to rounding.
    let mut r = [[0.0; 3]; 3];
    for j in 0..3 {
        for _ in 0..2 {
            for i in 0..j {
                let (before, rest) = columns.split_at_mut(j);
                let along = dot(&before[i], &rest[0]);
                r[i][j] += along;
                rest[0].iter_mut().zip(&before[i]).for_each(|(value, q)| *value -= along * q);
            }
        }
        r[j][j] = dot(&columns[j], &columns[j]).sqrt();
        if r[j][j] > f64::EPSILON {
            columns[j].iter_mut().for_each(|value| *value /= r[j][j]);
        } else {
            r[j][j] = 0.0;
            columns[j].fill(0.0);
        }
    }
    let projected = [0, 1, 2].map(|j| dot(&columns[j], target));
    let solution = pseudo_solve(r, projected);
    [0, 1, 2].map(|j| solution[j] / scale[j])
}

/// Solves `a x = b` by one-sided Jacobi SVD, leaving out singular values at rounding level.
fn pseudo_solve(mut a: [[f64; 3]; 3], b: [f64; 3]) -> [f64; 3] {
    const SWEEPS: usize = 30;
    let mut v = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let column = |m: &[[f64; 3]; 3], j: usize| [m[0][j], m[1][j], m[2][j]];
    for _ in 0..SWEEPS {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            let (ap, aq) = (column(&a, p), column(&a, q));
            let (alpha, beta, gamma) = (dot(&ap, &ap), dot(&aq, &aq), dot(&ap, &aq));
            if gamma.abs() <= f64::EPSILON * (alpha * beta).sqrt() {
                continue;
            }
            let zeta = (beta - alpha) / (2.0 * gamma);
            let t = 1f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
            let c = 1.0 / (1.0 + t * t).sqrt();
            let s = c * t;
            for m in [&mut a, &mut v] {
                for row in m.iter_mut() {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
    }
    let sigma = [0, 1, 2].map(|j| dot(&column(&a, j), &column(&a, j)).sqrt());
    let tolerance = sigma.iter().copied().fold(0.0, f64::max) * 100.0 * f64::EPSILON;
    let mut x = [0.0; 3];
    for j in (0..3).filter(|&j| sigma[j] > tolerance) {
        let along = dot(&column(&a, j), &b) / (sigma[j] * sigma[j]);
        for (x, v) in x.iter_mut().zip(column(&v, j)) {
            *x += along * v;
        }
    }
    x
}

/// Cubic Hermite interpolation between the two vertices around `x`.
fn interpolate(x: f64, vertices: &[f64], fits: &[(f64, f64)]) -> f64 {
    let right = vertices.partition_point(|&vertex| vertex < x).clamp(1, vertices.len() - 1);
    let ((left_value, left_slope), (right_value, right_slope)) = (fits[right - 1], fits[right]);
    let width = vertices[right] - vertices[right - 1];
    let s = (x - vertices[right - 1]) / width;
    let (one, rest) = (1.0 - s, s * (1.0 - s));
    one * one * (1.0 + 2.0 * s) * left_value
        + s * s * (3.0 - 2.0 * s) * right_value
        + rest * width * (one * left_slope - s * right_slope)
}
