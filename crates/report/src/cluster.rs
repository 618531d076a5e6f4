//! Clusters of cells by k-means.
//!
//! Lloyd's algorithm (IEEE Trans. Inf. Theory 28, 1982) from k-means++ starts (Arthur and
//! Vassilvitskii, SODA 2007), the best of several.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::error::Error;
use crate::points::{Points, squared_distance};

/// Settings of k-means.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// How many clusters to look for.
    pub clusters: usize,
    /// How many starts are tried; the one with the smallest inertia wins.
    pub starts: usize,
    /// After how many rounds a start that still changes is stopped.
    pub max_rounds: usize,
    /// The seed of the starts.
    pub seed: u64,
}

impl Default for KMeans {
    /// Eight clusters, ten starts, 300 rounds (the defaults of scikit-learn), seed 0.
    fn default() -> Self {
        Self { clusters: 8, starts: 10, max_rounds: 300, seed: 0 }
    }
}

/// Cells in clusters, numbered from the largest cluster (0) to the smallest.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// `[cells]` the cluster of each cell.
    pub labels: Vec<usize>,
    /// `[clusters]` how many cells each cluster has.
    pub sizes: Vec<usize>,
    /// `[clusters, dims]` the mean of each cluster's cells, row-major.
    pub centres: Vec<f64>,
    /// Sum over cells of the squared distance to the centre.
    pub inertia: f64,
}

impl KMeans {
    /// Clusters the cells.
    ///
    /// Clusters are numbered by size, largest first, and by their first cell where sizes are equal.
    /// Fewer clusters than asked for come back when there are fewer distinct cells than that.
    ///
    /// # Errors
    /// When the number of clusters is 0 or above the number of cells, or a count is 0.
    pub fn fit(&self, points: &Points) -> Result<Clusters> {
        let cells = points.cells();
        if !(1..=cells).contains(&self.clusters) {
            let range = format!("from 1 to the number of cells, {cells}");
            return Err(Error::setting("the number of clusters", self.clusters, range));
        }
        for (setting, count) in [("the number of starts", self.starts), ("the number of rounds", self.max_rounds)] {
            if count == 0 {
                return Err(Error::setting(setting, count, "at least 1"));
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut best: Option<(f64, Vec<usize>)> = None;
        for _ in 0..self.starts {
            let centres = spread_centres(points, self.clusters, &mut rng);
            let (inertia, labels) = lloyd(points, centres, self.max_rounds);
            if best.as_ref().is_none_or(|(least, _)| inertia < *least) {
                best = Some((inertia, labels));
            }
        }
        let (_, labels) = best.expect("at least one start");
        Ok(ordered_by_size(points, labels))
    }
}

/// k-means++: each next centre is a cell drawn with probability proportional to its squared
/// distance from the centres so far. Stops early when every cell is a centre already.
fn spread_centres(points: &Points, clusters: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut next = rng.random_range(0..points.cells());
    let mut centres = points.row(next).to_vec();
    let mut nearest = vec![f64::INFINITY; points.cells()];
    for _ in 1..clusters {
        let newest = points.row(next);
        for (least, row) in nearest.iter_mut().zip(points.rows()) {
            *least = least.min(squared_distance(row, newest));
        }
        let total: f64 = nearest.iter().sum();
        if total == 0.0 {
            break;
        }
        let mut rest = rng.random::<f64>() * total;
        // rounding may leave the draw just past the end: the last cell that is no centre takes it
        next = nearest.iter().rposition(|&weight| weight > 0.0).expect("a positive total");
        for (cell, &weight) in nearest.iter().enumerate() {
            if rest < weight {
                next = cell;
                break;
            }
            rest -= weight;
        }
        centres.extend_from_slice(points.row(next));
    }
    centres
}

/// Lloyd's rounds until no cell changes its cluster; inertia and labels.
fn lloyd(points: &Points, mut centres: Vec<f64>, max_rounds: usize) -> (f64, Vec<usize>) {
    let (mut inertia, mut labels) = assign(points, &centres);
    for _ in 0..max_rounds {
        let occupied = keep_occupied(points, &mut labels, &centres);
        centres = means(points, &labels, occupied);
        let (next_inertia, next) = assign(points, &centres);
        let settled = next == labels;
        (inertia, labels) = (next_inertia, next);
        if settled {
            break;
        }
    }
    (inertia, labels)
}

/// Gives every cell to its nearest centre (the first of equally near ones).
fn assign(points: &Points, centres: &[f64]) -> (f64, Vec<usize>) {
    let nearest: Vec<(f64, usize)> = (0..points.cells())
        .into_par_iter()
        .with_min_len(256)
        .map(|cell| {
            let row = points.row(cell);
            let mut best = (f64::INFINITY, 0);
            for (cluster, centre) in centres.chunks_exact(points.dims()).enumerate() {
                let distance = squared_distance(row, centre);
                if distance < best.0 {
                    best = (distance, cluster);
                }
            }
            best
        })
        .collect();
    (nearest.iter().map(|near| near.0).sum(), nearest.into_iter().map(|near| near.1).collect())
}

/// Moves the cell farthest from its centre into each cluster that lost all its cells; the number
/// of clusters.
fn keep_occupied(points: &Points, labels: &mut [usize], centres: &[f64]) -> usize {
    let dims = points.dims();
    let clusters = centres.len() / dims;
    let mut sizes = vec![0; clusters];
    labels.iter().for_each(|&label| sizes[label] += 1);
    for empty in 0..clusters {
        if sizes[empty] > 0 {
            continue;
        }
        let distance = |cell: usize| squared_distance(points.row(cell), &centres[labels[cell] * dims..][..dims]);
        let farthest = (0..labels.len())
            .filter(|&cell| sizes[labels[cell]] > 1)
            .max_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(b.cmp(&a)))
            .expect("more cells than clusters where one cluster is empty");
        sizes[labels[farthest]] -= 1;
        sizes[empty] = 1;
        labels[farthest] = empty;
    }
    clusters
}

/// `[clusters, dims]` the mean of each cluster's cells.
fn means(points: &Points, labels: &[usize], clusters: usize) -> Vec<f64> {
    let dims = points.dims();
    let mut sums = vec![0.0; clusters * dims];
    let mut sizes = vec![0.0_f64; clusters];
    for (row, &label) in points.rows().zip(labels) {
        sizes[label] += 1.0;
        sums[label * dims..][..dims].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    for (sum, size) in sums.chunks_exact_mut(dims).zip(sizes) {
        sum.iter_mut().for_each(|value| *value /= size);
    }
    sums
}

/// Numbers the clusters from the largest to the smallest and leaves out empty ones.
fn ordered_by_size(points: &Points, labels: Vec<usize>) -> Clusters {
    let mut first_and_size: Vec<(usize, usize, usize)> = Vec::new();
    for (cell, &label) in labels.iter().enumerate() {
        match first_and_size.iter_mut().find(|(cluster, ..)| *cluster == label) {
            Some((_, _, size)) => *size += 1,
            None => first_and_size.push((label, cell, 1)),
        }
    }
    first_and_size.sort_by_key(|&(_, first, size)| (std::cmp::Reverse(size), first));
    let sizes: Vec<usize> = first_and_size.iter().map(|&(.., size)| size).collect();
    let rank = |label| first_and_size.iter().position(|&(cluster, ..)| cluster == label);
    let labels: Vec<usize> = labels.into_iter().map(|label| rank(label).expect("counted above")).collect();
    let centres = means(points, &labels, sizes.len());
    let to_centre =
        |(row, &label): (&[f64], &usize)| squared_distance(row, &centres[label * points.dims()..][..points.dims()]);
    let inertia = points.rows().zip(&labels).map(to_centre).sum();
    Clusters { labels, sizes, centres, inertia }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sizes[i]` cells within 0.5 of `(10 i, 0)`.
    fn blobs(sizes: &[usize]) -> (Points, Vec<usize>) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut values = Vec::new();
        let mut truth = Vec::new();
        for (blob, &size) in sizes.iter().enumerate() {
            for _ in 0..size {
                values.push(10.0 * blob as f64 + rng.random::<f64>() - 0.5);
                values.push(rng.random::<f64>() - 0.5);
                truth.push(blob);
            }
        }
        (Points::new(&values, [truth.len(), 2]).unwrap(), truth)
    }

    fn k_means(clusters: usize) -> KMeans {
        KMeans { clusters, ..KMeans::default() }
    }

    #[test]
    fn separated_blobs_are_recovered_and_numbered_by_size() {
        let (points, truth) = blobs(&[20, 50, 30]);
        let found = k_means(3).fit(&points).unwrap();
        // blob 1 is the largest, then blob 2, then blob 0
        let expected: Vec<usize> = truth.iter().map(|&blob| [2, 0, 1][blob]).collect();
        assert_eq!(found.labels, expected);
        assert_eq!(found.sizes, [50, 30, 20]);
        assert!((found.centres[0] - 10.0).abs() < 0.2 && found.centres[1].abs() < 0.2);
    }

    #[test]
    fn inertia_is_the_sum_of_squared_distances_to_the_means() {
        let points = Points::new(&[0.0, 2.0, 10.0, 14.0], [4, 1]).unwrap();
        let found = k_means(2).fit(&points).unwrap();
        // means 1 and 12: 1 + 1 + 4 + 4
        assert_eq!((found.labels, found.inertia), (vec![0, 0, 1, 1], 10.0));
    }

    #[test]
    fn the_seed_alone_decides_at_any_thread_count() {
        let (points, _) = blobs(&[700, 600]);
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| k_means(7).fit(&points).unwrap())
        };
        let one = fit(1);
        assert_eq!(one, fit(1));
        assert_eq!(one, fit(2));
    }

    #[test]
    fn one_and_two_cells_and_identical_cells_work() {
        let one = Points::new(&[3.0], [1, 1]).unwrap();
        assert_eq!(k_means(1).fit(&one).unwrap().labels, [0]);
        let two = Points::new(&[3.0, 4.0], [2, 1]).unwrap();
        assert_eq!(k_means(2).fit(&two).unwrap().labels, [0, 1]);
        let same = Points::new(&[1.0; 10], [10, 1]).unwrap();
        let found = k_means(3).fit(&same).unwrap();
        assert_eq!((found.sizes, found.inertia), (vec![10], 0.0));
    }

    #[test]
    fn a_cluster_that_lost_its_cells_takes_the_farthest_one() {
        let points = Points::new(&[0.0, 1.0, 2.0, 30.0], [4, 1]).unwrap();
        let mut labels = vec![0, 0, 0, 0];
        keep_occupied(&points, &mut labels, &[0.0, 100.0]);
        assert_eq!(labels, [0, 0, 0, 1]);
    }

    #[test]
    fn settings_outside_their_range_are_errors() {
        let points = Points::new(&[0.0, 1.0], [2, 1]).unwrap();
        for (setting, part) in [
            (k_means(0), "clusters is 0"),
            (k_means(3), "from 1 to the number of cells, 2"),
            (KMeans { starts: 0, ..k_means(1) }, "starts"),
            (KMeans { max_rounds: 0, ..k_means(1) }, "rounds"),
        ] {
            let error = setting.fit(&points).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
