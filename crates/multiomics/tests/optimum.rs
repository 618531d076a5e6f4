//! A linear Gaussian model with one variance is probabilistic principal component analysis: training must reach the
//! likelihood that is known in closed form.

use std::io::Read;
use std::path::Path;

use gradome_goldens::{Golden, data, goldens};
use gradome_io::{Feature, Kind, Matrix, Modality};
use gradome_multiomics::{
    Likelihood, MlpConfig, ModalityConfig, MultiOmicsData, MultiOmicsVaeConfig, Split, Standardize,
    TrainedMultiOmicsVae, default_trainer,
};
use gradome_nn::trainer::FitOptions;
use gradome_nn::{Decay, Norm, Schedule};

/// Nats per cell that a trained model may lack.
const TOLERANCE: f64 = 0.5;
/// Values beyond this many standard deviations are cut, as in the reference.
const CLIP: f64 = 10.0;

#[test]
fn a_linear_gaussian_model_reaches_the_likelihood_of_ppca() {
    for golden in goldens("linear-gaussian-likelihood") {
        let Some(folder) = data(&golden.metadata["data"]) else { continue };
        let (matrix, train, test) = standardised(&golden, &folder);
        for dimensions in [2, 5] {
            let at = golden
                .get("dims")
                .iter()
                .position(|&d| d == f64::from(dimensions))
                .expect("the file has this dimension");
            let trained = train_linear(&matrix, &train, dimensions as usize);
            for (cells, name) in [(&train, "ppca_ll_train"), (&test, "ppca_ll_test")] {
                let likelihood = trained.log_likelihood(&matrix.select(cells), 20, 0).unwrap();
                let elbo = likelihood.elbo.iter().sum::<f64>() / cells.len() as f64;
                let best = golden.get(name)[at];
                println!("{} d {dimensions} {name}: {elbo:.3}, closed form {best:.3}", golden.metadata["data"]);
                assert!((elbo - best).abs() < TOLERANCE, "{name}, d = {dimensions}: {elbo} should be {best}");
            }
        }
    }
}

fn train_linear(matrix: &MultiOmicsData, train: &[usize], dimensions: usize) -> TrainedMultiOmicsVae {
    let linear = MlpConfig { hidden: Vec::new(), norm: Norm::None, dropout: 0.0, ..MlpConfig::default() };
    let modality = ModalityConfig {
        standardize: Standardize::Centre,
        shared_variance: true,
        encoder: linear.clone(),
        decoder: linear,
        ..ModalityConfig::new("values", matrix.modalities[0].features.len(), Likelihood::Gaussian)
    };
    let config = MultiOmicsVaeConfig {
        latent_dim: dimensions,
        kl_warmup_epochs: 0.0,
        prior_expert: false,
        ..MultiOmicsVaeConfig::of(vec![modality])
    };
    let mut options = FitOptions::quiet(default_trainer(0));
    options.trainer.max_epochs = 600;
    options.trainer.batch_size = 128;
    options.trainer.learning_rate = 5e-3;
    options.trainer.weight_decay = 0.0;
    options.trainer.schedule = Schedule { warmup_epochs: 2.0, decay: Decay::Cosine { final_factor: 0.0 } };
    let split = Split { train: train.to_vec(), validation: Vec::new() };
    TrainedMultiOmicsVae::fit(&config, matrix, &split, &options).unwrap().trained
}

/// The reference's matrix: ln(1 + 10,000 count / depth) of its genes, standardised and cut; train + val and test cells.
fn standardised(golden: &Golden, folder: &Path) -> (MultiOmicsData, Vec<usize>, Vec<usize>) {
    let genes: Vec<String> = serde_json::from_str(&golden.metadata["genes"]).unwrap();
    let names: Vec<String> = text(&folder.join("genes.txt.gz")).lines().map(str::to_owned).collect();
    let path = folder.join("rna_counts.mtx.gz");
    let counts =
        gradome_io::read_matrix_market(&path.display().to_string(), std::fs::File::open(&path).unwrap()).unwrap();
    let counts = Matrix::Sparse(counts);
    let cells = text(&folder.join("cells.csv"));
    let mut rows = cells.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let depths: Vec<f64> = match header.iter().position(|name| *name == "total_umi_all_genes") {
        Some(column) => rows.map(|row| row[column].parse().unwrap()).collect(),
        None => counts.row_sums(),
    };
    let places: Vec<usize> = genes.iter().map(|gene| names.iter().position(|name| name == gene).unwrap()).collect();
    let (mean, sd) = (golden.get("mean"), golden.get("sd"));
    let mut row = vec![0.0; names.len()];
    let mut values = Vec::new();
    for (cell, depth) in depths.iter().enumerate() {
        counts.read_row(cell, &mut row);
        values.extend(places.iter().enumerate().map(|(i, &place)| {
            let x = (1e4 * f64::from(row[place]) / depth).ln_1p();
            ((x - mean[i]) / sd[i]).clamp(-CLIP, CLIP) as f32
        }));
    }
    let feature = |name: &String| Feature { id: name.clone(), name: name.clone(), kind: Kind::Rna };
    let modality = Modality {
        name: "values".into(),
        kind: Kind::Rna,
        features: genes.iter().map(feature).collect(),
        matrix: Matrix::dense(depths.len(), genes.len(), values),
        measured: None,
    };
    let splits: serde_json::Value = serde_json::from_str(&text(&folder.join("splits.json"))).unwrap();
    let list = |name: &str| -> Vec<usize> {
        splits[name].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
    };
    let train = [list("train"), list("val")].concat();
    (MultiOmicsData { modalities: vec![modality], batch: Vec::new() }, train, list("test"))
}

fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().is_some_and(|e| e == "gz") {
        true => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).map(|_| ()).unwrap(),
        false => text = String::from_utf8(bytes).unwrap(),
    }
    text
}
