use super::*;

/// `blobs` groups of `size` cells around corners of a cube, in 10 dimensions.
fn blobs(blobs: usize, size: usize) -> Points {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut values = Vec::new();
    for blob in 0..blobs {
        for _ in 0..size {
            for dim in 0..10 {
                let centre = if dim == blob { 8.0 } else { 0.0 };
                // sum of uniforms: near enough to a normal of sd 1
                values.push(centre + (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0);
            }
        }
    }
    Points::new(&values, [blobs * size, 10]).unwrap()
}

fn quick() -> Tsne {
    Tsne { rounds: 400, ..Tsne::default() }
}

#[test]
fn neighbours_of_blobs_stay_neighbours() {
    let data = blobs(4, 60);
    let layout = quick().fit(&data).unwrap();
    assert_eq!((layout.points.len(), layout.method), (240, "t-SNE"));
    assert!(trustworthiness(&data, &layout.points, 15).unwrap() > 0.9);
    // every cell's nearest drawn neighbour is of its own blob
    let drawn = Points::new(layout.points.as_flattened(), [240, 2]).unwrap();
    let near = neighbours(&drawn, 1).unwrap();
    assert!((0..240).all(|cell| near.of(cell)[0] / 60 == cell / 60));
}

#[test]
fn the_seed_alone_decides_the_bits_at_any_thread_count() {
    let data = blobs(3, 67);
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| quick().fit(&data).unwrap())
    };
    let one = fit(1);
    assert_eq!(one, fit(1));
    assert_eq!(one, fit(2));
    assert_ne!(one, Tsne { seed: 1, ..quick() }.fit(&data).unwrap());
}

#[test]
fn probabilities_have_the_perplexity_asked_for() {
    let distances: Vec<f64> = (1..=90).map(|d| 0.1 * f64::from(d)).collect();
    for perplexity in [2.0, 10.0, 30.0] {
        let p = conditional_probabilities(&distances, perplexity);
        let entropy: f64 = p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((entropy.exp() / perplexity - 1.0).abs() < 1e-4);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn joint_probabilities_are_symmetric_and_sum_to_one() {
    let attraction = Attraction::new(&blobs(2, 20), 5.0).unwrap();
    let mut sum = 0.0;
    for (cell, row) in attraction.rows.iter().enumerate() {
        for &(other, p) in row {
            let back = attraction.rows[other as usize].iter().find(|entry| entry.0 == cell as u32);
            assert_eq!(back.unwrap().1, p);
            sum += f64::from(p);
        }
    }
    assert!((sum - 1.0).abs() < 1e-6);
}

/// The descent follows the gradient of the Kullback-Leibler divergence: compared with finite
/// differences of sum p ln(p / q).
#[test]
fn forces_are_the_gradient_of_the_divergence() {
    let attraction = Attraction::new(&blobs(2, 10), 4.0).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let at: Vec<[f64; 2]> = (0..20).map(|_| [rng.random(), rng.random()]).collect();
    let divergence = |at: &[[f64; 2]]| -> f64 {
        let w = |i: usize, j: usize| 1.0 / (1.0 + (at[i][0] - at[j][0]).powi(2) + (at[i][1] - at[j][1]).powi(2));
        let z: f64 =
            (0..20).flat_map(|i| (0..20).filter(move |&j| j != i).map(move |j| (i, j))).map(|(i, j)| w(i, j)).sum();
        let terms = attraction
            .rows
            .iter()
            .enumerate()
            .flat_map(|(i, row)| row.iter().map(move |&(j, p)| (i, j as usize, f64::from(p))));
        terms.map(|(i, j, p)| p * (p * z / w(i, j)).ln()).sum()
    };
    let map = Map {
        x: at.iter().map(|p| p[0] as f32).collect(),
        y: at.iter().map(|p| p[1] as f32).collect(),
        motion: Vec::new(),
    };
    let forces: Vec<Forces> = (0..20).map(|cell| map.forces(cell, &attraction.rows[cell])).collect();
    let z = forces.iter().map(|force| force.weight).sum::<f32>() - 20.0;
    for cell in 0..20 {
        for axis in 0..2 {
            let [mut above, mut below] = [at.clone(), at.clone()];
            above[cell][axis] += 1e-5;
            below[cell][axis] -= 1e-5;
            let slope = (divergence(&above) - divergence(&below)) / 2e-5;
            let force = 4.0 * (forces[cell].pull[axis] - forces[cell].push[axis] / z);
            assert!((slope - f64::from(force)).abs() < 1e-5, "{slope} is not {force}");
        }
    }
}

#[test]
fn few_cells_and_constant_cells_give_finite_positions() {
    for (cells, dims) in [(1, 1), (1, 5), (2, 1), (2, 3), (3, 2), (4, 1), (5, 2), (30, 1)] {
        for constant in [true, false] {
            let values: Vec<f64> = (0..cells * dims).map(|i| if constant { 2.0 } else { (i * i) as f64 }).collect();
            let points = Points::new(&values, [cells, dims]).unwrap();
            let layout = quick().fit(&points).unwrap();
            assert_eq!(layout.points.len(), cells);
            assert!(layout.points.as_flattened().iter().all(|value| value.is_finite()));
            assert_eq!(layout.method, if cells < 4 { "PC" } else { "t-SNE" });
        }
    }
}

#[test]
fn more_cells_than_the_limit_draws_a_sample_and_says_so() {
    let data = blobs(2, 30);
    let layout = Tsne { max_cells: 25, ..quick() }.fit(&data).unwrap();
    assert_eq!((layout.points.len(), layout.cells.len(), layout.total), (25, 25, 60));
    assert!(layout.cells.is_sorted() && *layout.cells.last().unwrap() < 60);
    assert_eq!(layout.note(), "A random sample of 25 of 60 cells is drawn.");
    let rows: Vec<usize> = (0..60).collect();
    assert_eq!(layout.pick(&rows).unwrap(), layout.cells);
    assert!(layout.pick(&rows[1..]).unwrap_err().to_string().contains("59 values"));
}

#[test]
fn settings_outside_their_range_are_errors() {
    let data = blobs(2, 5);
    for wrong in [0.5, f64::NAN, f64::INFINITY] {
        let error = Tsne { perplexity: wrong, ..quick() }.fit(&data).unwrap_err().to_string();
        assert!(error.contains("perplexity"), "{error}");
    }
    assert!(Tsne { max_cells: 0, ..quick() }.fit(&data).is_err());
    assert!(trustworthiness(&data, &[[0.0; 2]; 3], 1).is_err());
    assert!(trustworthiness(&data, &[[0.0; 2]; 10], 5).is_err());
}

/// ```python
/// import numpy as np; from sklearn.manifold import trustworthiness
/// i = np.arange(12.0); x = np.c_[np.sin(i), np.cos(2 * i), i / 5]
/// print(trustworthiness(x, np.c_[np.sin(3 * i), i % 5], n_neighbors=3))
/// ```
#[test]
fn trustworthiness_agrees_with_scikit_learn() {
    let i = (0..12).map(f64::from);
    let data: Vec<f64> = i.clone().flat_map(|i| [i.sin(), (2.0 * i).cos(), i / 5.0]).collect();
    let layout: Vec<[f64; 2]> = i.map(|i| [(3.0 * i).sin(), i % 5.0]).collect();
    let value = trustworthiness(&Points::new(&data, [12, 3]).unwrap(), &layout, 3).unwrap();
    assert!((value - 0.503968253968254).abs() < 1e-12, "{value}");
}
