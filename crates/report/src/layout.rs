//! Cells in the plane by t-SNE, and how far to trust the picture.
//!
//! van der Maaten and Hinton, JMLR 9 (2008), with the start and the learning rate of Kobak and
//! Berens, Nat. Commun. 10 (2019): the first two principal components scaled down, early
//! exaggeration, attraction between near neighbours only. Repulsion is exact, over all pairs, so
//! the work grows with the square of the cells; large data sets draw a sample.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::error::{Error, check_size};
use crate::knn::neighbours;
use crate::pca::Pca;
use crate::points::Points;

/// Standard deviation of the start along its first axis.
const START_SPREAD: f64 = 1e-4;
/// The start's jitter as a part of its spread: parts identical cells and gives data that lie on a
/// line a second direction.
const START_JITTER: f64 = 0.01;
/// Attraction is multiplied by this during the first rounds, so that clusters form.
const EXAGGERATION: f32 = 12.0;
/// Rounds with exaggeration.
const EXAGGERATED_ROUNDS: usize = 250;
/// Momentum during exaggeration, and after.
const MOMENTUM: [f32; 2] = [0.5, 0.8];
/// Learning rate is cells / exaggeration, but at least this.
const LEAST_LEARNING_RATE: f32 = 50.0;
/// Bisection steps for the width of a cell's neighbourhood.
const WIDTH_STEPS: usize = 100;
/// Relative error of the perplexity at which the bisection stops.
const WIDTH_TOLERANCE: f64 = 1e-5;
/// Pairs that are weighed at once.
const LANES: usize = 8;
/// Below this many cells there is no neighbourhood to keep: the principal components are drawn.
const FEWEST_CELLS: usize = 4;

/// Settings of the 2-D layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Tsne {
    /// The effective number of neighbours of a cell, at least 1; it is lowered to
    /// (cells - 1) / 3 for small data sets.
    pub perplexity: f64,
    /// Rounds of gradient descent, the first 250 of them with exaggeration.
    pub rounds: usize,
    /// At most this many cells are laid out; of more, a random sample is drawn.
    pub max_cells: usize,
    /// The seed of the sample and of the start's jitter.
    pub seed: u64,
}

impl Default for Tsne {
    /// Perplexity 30, 750 rounds, 5,000 cells, seed 0.
    fn default() -> Self {
        Self { perplexity: 30.0, rounds: 750, max_cells: 5_000, seed: 0 }
    }
}

/// Cells in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// `[drawn]` the position of each drawn cell.
    pub points: Vec<[f64; 2]>,
    /// `[drawn]` the row of each drawn cell in the data, increasing.
    pub cells: Vec<usize>,
    /// How many cells the data have.
    pub total: usize,
    /// What the axes are: `t-SNE`, or `PC` for fewer than four cells.
    pub method: &'static str,
}

impl Layout {
    /// The values of the drawn cells, from one value per cell of the data.
    ///
    /// # Errors
    /// When there is not one value per cell of the data.
    pub fn pick<T: Clone>(&self, values: &[T]) -> Result<Vec<T>> {
        check_size("values per cell", values.len(), self.total, "one per cell of the data")?;
        Ok(self.cells.iter().map(|&cell| values[cell].clone()).collect())
    }

    /// A sentence for the caption that says how many cells are drawn.
    pub fn note(&self) -> String {
        let (drawn, total) = (self.points.len(), self.total);
        if drawn == total {
            format!("All {total} cells are drawn.")
        } else {
            format!("A random sample of {drawn} of {total} cells is drawn.")
        }
    }
}

impl Tsne {
    /// Lays the cells out in the plane.
    ///
    /// Near cells stay near; distances between clusters and their sizes mean little. The same
    /// input and seed give the same bits at any thread count.
    ///
    /// # Errors
    /// When a setting is outside its range or the principal components do not converge.
    pub fn fit(&self, points: &Points) -> Result<Layout> {
        if !(self.perplexity.is_finite() && self.perplexity >= 1.0) {
            return Err(Error::setting("perplexity", self.perplexity, "at least 1"));
        }
        if self.max_cells == 0 {
            return Err(Error::setting("the number of cells to draw", 0, "at least 1"));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let total = points.cells();
        if total <= self.max_cells {
            return self.lay_out(points, (0..total).collect(), total, &mut rng);
        }
        let mut cells = rand::seq::index::sample(&mut rng, total, self.max_cells).into_vec();
        cells.sort_unstable();
        self.lay_out(&points.select(&cells)?, cells, total, &mut rng)
    }

    fn lay_out(&self, points: &Points, cells: Vec<usize>, total: usize, rng: &mut ChaCha8Rng) -> Result<Layout> {
        let start = first_two_components(points)?;
        if points.cells() < FEWEST_CELLS {
            return Ok(Layout { points: start, cells, total, method: "PC" });
        }
        let attraction = Attraction::new(points, self.perplexity)?;
        let mut map = Map::start(&start, rng);
        for round in 0..self.rounds {
            let early = round < EXAGGERATED_ROUNDS;
            let exaggeration = if early { EXAGGERATION } else { 1.0 };
            map.step(&attraction, exaggeration, MOMENTUM[usize::from(!early)]);
        }
        let points = map.x.iter().zip(&map.y).map(|(&x, &y)| [f64::from(x), f64::from(y)]).collect();
        Ok(Layout { points, cells, total, method: "t-SNE" })
    }
}

/// The scores on the first two principal components; the second is 0 where there is none.
fn first_two_components(points: &Points) -> Result<Vec<[f64; 2]>> {
    let components = 2.min(points.cells()).min(points.dims());
    let scores = Pca::fit(points, components)?.project(points)?;
    Ok(scores.rows().map(|row| [row[0], row.get(1).copied().unwrap_or(0.0)]).collect())
}

/// The symmetric neighbour probabilities p_ij, as one list of neighbours per cell.
struct Attraction {
    /// `[cells]` (neighbour, p_ij), by neighbour
    rows: Vec<Vec<(u32, f32)>>,
}

impl Attraction {
    /// p_ij = (p_j|i + p_i|j) / 2n, where p_j|i is a Gaussian around cell i over its nearest
    /// 3 x perplexity neighbours (Barnes-Hut t-SNE, JMLR 15, 2014), as wide as the perplexity asks.
    fn new(points: &Points, perplexity: f64) -> Result<Self> {
        let cells = points.cells();
        let perplexity = perplexity.min((cells - 1) as f64 / 3.0);
        let near = neighbours(points, ((3.0 * perplexity) as usize).clamp(1, cells - 1))?;
        let mut rows = vec![Vec::new(); cells];
        for cell in 0..cells {
            let distances = &near.distances[cell * near.k..][..near.k];
            let conditional = conditional_probabilities(distances, perplexity);
            for (&other, p) in near.of(cell).iter().zip(conditional) {
                let half = (p / (2.0 * cells as f64)) as f32;
                rows[cell].push((other as u32, half));
                rows[other].push((cell as u32, half));
            }
        }
        for row in &mut rows {
            row.sort_unstable_by_key(|&(other, _)| other);
            // a pair that is near both ways has two entries: they add up
            row.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1 += later.1;
                }
                same
            });
        }
        Ok(Self { rows })
    }
}

/// p_j|i proportional to exp(-beta d_ij^2), beta such that 2^entropy is the perplexity.
fn conditional_probabilities(distances: &[f64], perplexity: f64) -> Vec<f64> {
    let nearest = distances[0] * distances[0];
    // the scale of the distances makes a first beta; relative to the nearest, so that one is exp(0)
    let relative: Vec<f64> = distances.iter().map(|d| d * d - nearest).collect();
    let mean = relative.iter().sum::<f64>() / relative.len() as f64;
    if mean == 0.0 {
        // all at one distance: no width can tell them apart
        return vec![1.0 / distances.len() as f64; distances.len()];
    }
    let (mut low, mut high, mut beta) = (0.0, f64::INFINITY, 1.0 / mean);
    let mut weights = vec![0.0; relative.len()];
    for _ in 0..WIDTH_STEPS {
        let mut sum = 0.0;
        let mut weighted = 0.0;
        for (weight, d) in weights.iter_mut().zip(&relative) {
            *weight = (-beta * d).exp();
            sum += *weight;
            weighted += *weight * d;
        }
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let entropy = sum.ln() + beta * weighted / sum;
        let error = entropy.exp() / perplexity - 1.0;
        if error.abs() < WIDTH_TOLERANCE {
            break;
        }
        if error > 0.0 {
            low = beta;
            beta = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * beta };
        } else {
            high = beta;
            beta = 0.5 * (low + high);
        }
    }
    weights
}

/// Positions, velocities and gains of the descent, one array per coordinate.
struct Map {
    x: Vec<f32>,
    y: Vec<f32>,
    /// `[cells]` velocity and gain along x, then along y
    motion: Vec<[(f32, f32); 2]>,
}

impl Map {
    fn start(components: &[[f64; 2]], rng: &mut ChaCha8Rng) -> Self {
        let cells = components.len() as f64;
        let spread = (components.iter().map(|[x, _]| x * x).sum::<f64>() / cells).sqrt();
        let scale = if spread > 0.0 { START_SPREAD / spread } else { 0.0 };
        let mut axis = |which: usize| -> Vec<f32> {
            components
                .iter()
                .map(|point| {
                    let jitter = START_SPREAD * START_JITTER * (2.0 * rng.random::<f64>() - 1.0);
                    (point[which] * scale + jitter) as f32
                })
                .collect()
        };
        let (x, y) = (axis(0), axis(1));
        let motion = vec![[(0.0, 1.0); 2]; components.len()];
        Self { x, y, motion }
    }

    /// One round of descent on 4 sum_j (exaggeration p_ij - q_ij) w_ij (y_i - y_j),
    /// w_ij = 1 / (1 + |y_i - y_j|^2), q_ij = w_ij / sum w.
    fn step(&mut self, attraction: &Attraction, exaggeration: f32, momentum: f32) {
        let cells = self.x.len();
        let forces: Vec<Forces> =
            (0..cells).into_par_iter().with_min_len(64).map(|cell| self.forces(cell, &attraction.rows[cell])).collect();
        // each cell meets itself with w = 1
        let normaliser: f64 = forces.iter().map(|force| f64::from(force.weight)).sum::<f64>() - cells as f64;
        let repulsion = (1.0 / normaliser) as f32;
        let rate = (cells as f32 / EXAGGERATION).max(LEAST_LEARNING_RATE);
        let coordinates = [&mut self.x, &mut self.y];
        for (axis, coordinate) in coordinates.into_iter().enumerate() {
            for ((position, force), motion) in coordinate.iter_mut().zip(&forces).zip(&mut self.motion) {
                let (velocity, gain) = &mut motion[axis];
                let gradient = 4.0 * (exaggeration * force.pull[axis] - repulsion * force.push[axis]);
                // gains of Jacobs (1988), as in the reference implementations
                let turned = gradient.signum() != velocity.signum();
                *gain = if turned { *gain + 0.2 } else { (*gain * 0.8).max(0.01) };
                *velocity = momentum * *velocity - rate * *gain * gradient;
                *position += *velocity;
            }
            let mean = coordinate.iter().copied().map(f64::from).sum::<f64>() / cells as f64;
            coordinate.iter_mut().for_each(|position| *position -= mean as f32);
        }
    }

    fn forces(&self, cell: usize, near: &[(u32, f32)]) -> Forces {
        let (x, y) = (self.x[cell], self.y[cell]);
        let mut pull = [0.0; 2];
        for &(other, p) in near {
            let (dx, dy) = (x - self.x[other as usize], y - self.y[other as usize]);
            let strength = p / (1.0 + dx * dx + dy * dy);
            pull[0] += strength * dx;
            pull[1] += strength * dy;
        }
        // lanes are added up in an order that the number of cells alone decides
        let (x_blocks, x_rest) = self.x.as_chunks::<LANES>();
        let (y_blocks, y_rest) = self.y.as_chunks::<LANES>();
        let (mut weights, mut push_x, mut push_y) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (xs, ys) in x_blocks.iter().zip(y_blocks) {
            for lane in 0..LANES {
                let (dx, dy) = (x - xs[lane], y - ys[lane]);
                let weight = 1.0 / (1.0 + dx * dx + dy * dy);
                weights[lane] += weight;
                push_x[lane] += weight * weight * dx;
                push_y[lane] += weight * weight * dy;
            }
        }
        for (lane, (other_x, other_y)) in x_rest.iter().zip(y_rest).enumerate() {
            let (dx, dy) = (x - other_x, y - other_y);
            let weight = 1.0 / (1.0 + dx * dx + dy * dy);
            weights[lane] += weight;
            push_x[lane] += weight * weight * dx;
            push_y[lane] += weight * weight * dy;
        }
        Forces { pull, push: [push_x.iter().sum(), push_y.iter().sum()], weight: weights.iter().sum() }
    }
}

/// What pulls and pushes one cell, before scaling.
struct Forces {
    pull: [f32; 2],
    push: [f32; 2],
    /// sum of w_ij over all cells, itself included
    weight: f32,
}

/// How well a layout keeps neighbourhoods, from 0 to 1: the trustworthiness of Venna and Kaski.
///
/// 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_j max(0, rank(i, j) - k) over the k nearest j of i in the
/// layout, where rank counts neighbours in the data (ICANN 2001; scikit-learn's
/// `trustworthiness`). `data` holds the drawn cells alone, in the order of `layout`.
///
/// # Errors
/// When the sizes differ, or `k` is 0 or not below half the number of cells.
pub fn trustworthiness(data: &Points, layout: &[[f64; 2]], k: usize) -> Result<f64> {
    let cells = data.cells();
    check_size("positions", layout.len(), cells, "one per cell")?;
    if k == 0 || 2 * k >= cells {
        let range = format!("from 1 to below half of {cells} cells");
        return Err(Error::setting("the number of neighbours", k, range));
    }
    let drawn = neighbours(&Points::new(layout.as_flattened(), [cells, 2])?, k)?;
    let all = neighbours(data, cells - 1)?;
    let mut penalty = 0;
    let mut rank = vec![0; cells];
    for cell in 0..cells {
        for (place, &other) in all.of(cell).iter().enumerate() {
            rank[other] = place + 1;
        }
        penalty += drawn.of(cell).iter().map(|&other| rank[other].saturating_sub(k)).sum::<usize>();
    }
    let worst = (cells * k * (2 * cells - 3 * k - 1)) as f64;
    Ok(1.0 - 2.0 * penalty as f64 / worst)
}

#[cfg(test)]
mod tests;
