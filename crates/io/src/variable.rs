//! Features that vary more than their mean explains.

use crate::{Error, Matrix, Result, loess};

/// Share of the features that the mean-variance trend looks at around each, as in Seurat and scanpy.
pub const VARIANCE_TREND_SPAN: f64 = 0.3;

/// How variable each feature is, and which are the most variable.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableFeatures {
    /// The chosen features, in the order of the columns.
    pub chosen: Vec<usize>,
    /// Variance of the clipped standardised counts, mean over batches, `[features]`.
    pub normalised_variance: Vec<f64>,
    /// Median rank, from 0, over the batches in which the feature is among the top; `None` if in none.
    pub rank: Vec<Option<f64>>,
    /// In how many batches the feature is among the top.
    pub batches: Vec<u32>,
}

/// Chooses the `top` most variable features of raw counts `[cells, features]`.
///
/// The variance-stabilised rule of Seurat v3 (Stuart et al., Cell 177, 2019), as scanpy computes it under
/// `flavor="seurat_v3"`: log10 variance against log10 mean by `loess` (degree 2), counts standardised with the
/// fitted deviation and clipped at the square root of the number of cells, features ranked by the variance of that.
/// With `batches`, one label a cell, ranks are made in each batch; features go by median rank, then by the number
/// of batches that have them among their top. Equal features go in the order of the columns.
///
/// # Errors
/// If a batch has fewer than two cells, if labels and cells differ in number, or if too few features vary for a trend.
pub fn variable_features(counts: &Matrix, batches: Option<&[u32]>, top: usize, span: f64) -> Result<VariableFeatures> {
    let (cells, features) = counts.shape();
    if batches.is_some_and(|batches| batches.len() != cells) {
        return Err(Error::Data(format!("variable features: {cells} cells but another number of batch labels")));
    }
    let mut labels: Vec<u32> = batches.map_or_else(|| vec![0], <[u32]>::to_vec);
    labels.sort_unstable();
    labels.dedup();
    let mut ranks: Vec<Vec<f64>> = vec![Vec::new(); features];
    let mut normalised_variance = vec![0.0; features];
    for &label in &labels {
        let rows: Vec<usize> =
            (0..cells).filter(|&cell| batches.is_none_or(|batches| batches[cell] == label)).collect();
        let variances = standardised_variance(counts, &rows, span).map_err(|problem| {
            let batch = if batches.is_some() { format!(" in batch {label}") } else { String::new() };
            Error::Data(format!("variable features{batch}: {problem}"))
        })?;
        let mut order: Vec<usize> = (0..features).collect();
        order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]));
        for (rank, &feature) in order.iter().take(top).enumerate() {
            ranks[feature].push(rank as f64);
        }
        for (mean, variance) in normalised_variance.iter_mut().zip(variances) {
            *mean += variance / labels.len() as f64;
        }
    }
    let rank: Vec<Option<f64>> = ranks.iter_mut().map(|ranks| median(ranks)).collect();
    let batches: Vec<u32> = ranks.iter().map(|ranks| ranks.len() as u32).collect();
    let mut order: Vec<usize> = (0..features).collect();
    let place = |feature: usize| rank[feature].unwrap_or(f64::INFINITY);
    order.sort_by(|&a, &b| place(a).total_cmp(&place(b)).then(batches[b].cmp(&batches[a])));
    let mut chosen: Vec<usize> = order.into_iter().take(top).collect();
    chosen.sort_unstable();
    Ok(VariableFeatures { chosen, normalised_variance, rank, batches })
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Variance of the clipped standardised counts of the cells `rows`, `[features]`.
fn standardised_variance(counts: &Matrix, rows: &[usize], span: f64) -> std::result::Result<Vec<f64>, String> {
    if rows.len() < 2 {
        return Err(format!("{} cell is too few for a variance: leave it out or merge batches", rows.len()));
    }
    let cells = rows.len() as f64;
    let (mut sum, mut squares) = (vec![0.0; counts.columns()], vec![0.0; counts.columns()]);
    for &row in rows {
        for (feature, count) in counts.row_entries(row) {
            sum[feature] += f64::from(count);
            squares[feature] += f64::from(count) * f64::from(count);
        }
    }
    let mean: Vec<f64> = sum.iter().map(|sum| sum / cells).collect();
    let variance = |feature: usize| (squares[feature] - sum[feature] * mean[feature]) / (cells - 1.0);
    // A mean must be positive to have a logarithm; a constant feature has no variance to explain.
    let varying: Vec<usize> =
        (0..mean.len()).filter(|&feature| variance(feature) > 0.0 && mean[feature] > 0.0).collect();
    let x: Vec<f64> = varying.iter().map(|&feature| mean[feature].log10()).collect();
    let y: Vec<f64> = varying.iter().map(|&feature| variance(feature).log10()).collect();
    let trend = loess::smooth(&x, &y, span)?;

    let mut deviation = vec![1.0; mean.len()];
    for (&feature, log_variance) in varying.iter().zip(trend) {
        deviation[feature] = 10f64.powf(log_variance / 2.0);
    }
    let (mut clipped_sum, mut clipped_squares) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
    for &row in rows {
        for (feature, count) in counts.row_entries(row) {
            let clipped = f64::from(count).min(deviation[feature] * cells.sqrt() + mean[feature]);
            clipped_sum[feature] += clipped;
            clipped_squares[feature] += clipped * clipped;
        }
    }
    let of = |f: usize| {
        let around = cells * mean[f] * mean[f] + clipped_squares[f] - 2.0 * clipped_sum[f] * mean[f];
        around / ((cells - 1.0) * deviation[f] * deviation[f])
    };
    Ok((0..mean.len()).map(of).collect())
}
