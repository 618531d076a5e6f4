//! What SCALE learns of made-up cells, and that its files give back what was learned.

use gradome_epigenome::scale::{ClusterCount, Denoised, ScaleConfig, ScaleFitOptions, TrainedScale};
use gradome_io::{Kind, Matrix, Modality};
use gradome_nn::Rng;
use gradome_nn::metrics::adjusted_rand_index;
use rand::{RngExt, SeedableRng};

const CELLS: usize = 240;
const PEAKS: usize = 120;
const TYPES: usize = 3;

/// A third of the peaks is open in 35 % of the cells of one type and in 4 % of the others; the second value is the
/// truth without noise.
fn made_up() -> (Modality, Vec<bool>) {
    let mut rng = Rng::seed_from_u64(3);
    let own: Vec<bool> = (0..CELLS * PEAKS).map(|i| i / PEAKS % TYPES == i % PEAKS % TYPES).collect();
    let open = own.iter().map(|&own| f32::from(rng.random::<f64>() < if own { 0.35 } else { 0.04 })).collect();
    let names = (0..PEAKS).map(|peak| format!("chr1:{}-{}", peak * 1000, peak * 1000 + 500));
    (Modality::new("atac", Kind::Atac, names, Matrix::dense(CELLS, PEAKS, open)), own)
}

fn types() -> Vec<usize> {
    (0..CELLS).map(|cell| cell % TYPES).collect()
}

fn small() -> ScaleConfig {
    ScaleConfig { hidden: vec![32, 16], latent_dim: 4, ..ScaleConfig::default() }
}

fn options(clusters: ClusterCount) -> ScaleFitOptions {
    let mut options = ScaleFitOptions { pretraining_epochs: 40, clusters, ..ScaleFitOptions::quiet(1) };
    options.fit.trainer.max_epochs = 20;
    options.fit.trainer.learning_rate = 5e-3;
    options
}

#[test]
fn planted_clusters_are_found_and_so_is_their_number() {
    let (peaks, own) = made_up();
    for clusters in [ClusterCount::Fixed(TYPES), ClusterCount::UpTo(6)] {
        let fit = TrainedScale::fit(&small(), &peaks, &options(clusters)).unwrap();
        assert_eq!(fit.trained.config().components, TYPES, "{clusters:?}");
        let cells = fit.trained.cells(&peaks).unwrap();
        let agreement = adjusted_rand_index(&types(), &cells.clusters());
        assert!(agreement > 0.95, "{clusters:?}: {agreement}");
        for p in cells.probabilities.chunks_exact(TYPES) {
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let denoised = fit.trained.denoised(&peaks, Denoised::Binary).unwrap().to_row_major();
        let right = |open: &[f32]| open.iter().zip(&own).filter(|(open, own)| (**open > 0.0) == **own).count();
        let share = right(&denoised) as f64 / own.len() as f64;
        let before = right(&peaks.matrix.to_row_major()) as f64 / own.len() as f64;
        assert!(share > 0.9 && share > before + 0.05, "{before} to {share}");
    }
}

#[test]
fn a_saved_model_says_the_same_of_cells_in_any_order_of_peaks() {
    let (peaks, _) = made_up();
    let mut options = options(ClusterCount::Fixed(2));
    (options.pretraining_epochs, options.fit.trainer.max_epochs) = (2, 2);
    let trained = TrainedScale::fit(&small(), &peaks, &options).unwrap().trained;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    trained.save(&path).unwrap();
    let loaded = TrainedScale::load(&path).unwrap();
    let expected = trained.cells(&peaks).unwrap();
    let backwards: Vec<usize> = (0..PEAKS).rev().collect();
    let (arranged, found) = loaded.arrange(&peaks.select_features(&backwards)).unwrap();
    assert_eq!((loaded.cells(&arranged).unwrap(), found), (expected, PEAKS));
    let other = Modality::new("atac", Kind::Atac, ["chr9:1-2"], Matrix::dense(1, 1, vec![1.0]));
    let error = loaded.arrange(&other).unwrap_err().to_string();
    assert!(error.contains("none of its 1 peaks") && error.contains("chr1:0-500"), "{error}");
}

#[test]
fn training_gives_the_same_bits_at_any_number_of_threads() {
    let (peaks, _) = made_up();
    let mut options = options(ClusterCount::UpTo(4));
    (options.pretraining_epochs, options.fit.trainer.max_epochs) = (3, 2);
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| TrainedScale::fit(&small(), &peaks, &options).unwrap().trained.store().flatten())
    };
    let one = fit(1);
    assert_eq!(one, fit(3));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let (peaks, _) = made_up();
    let error = |options: &ScaleFitOptions| TrainedScale::fit(&small(), &peaks, options).err().unwrap().to_string();
    assert!(error(&options(ClusterCount::Fixed(CELLS + 1))).contains("241 clusters of 240 cells"));
    let held_out = ScaleFitOptions { validation_fraction: 1.0, ..options(ClusterCount::Fixed(2)) };
    assert!(error(&held_out).contains("validation_fraction"));
}
