//! Trains the multi-omics VAE on a reference data set and prints how good its latent space, likelihood and imputation
//! are, by one protocol: fit on `train`, stop on `val`, embed all cells by the posterior mean.
//!
//! A data set is a folder with `cells.csv` (second column: the label), `splits.json` (`train`, `val`, `test` and
//! `knn_fold`) and one file a modality: `rna_counts.mtx.gz` with `genes.txt.gz`, `protein_counts.csv.gz`,
//! `peaks_binary.mtx.gz` with `peaks.txt.gz`, `atac_topics.npz`.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Parser;
use gradome_benches::npz::Npz;
use gradome_io::{Feature, Kind, Matrix, Measured, Modality};
use gradome_multiomics::{
    Decode, Likelihood, ModalityConfig, MultiOmicsData, MultiOmicsVaeConfig, Split, TrainedMultiOmicsVae, View,
    default_trainer,
};
use gradome_nn::metrics;
use gradome_nn::trainer::FitOptions;
use gradome_report::cluster::KMeans;
use gradome_report::knn::nearest;
use gradome_report::pca::Pca;
use gradome_report::points::Points;

/// An error of any crate, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Figures of the multi-omics VAE on a reference data set")]
struct Arguments {
    /// Folder of the data set, below $GRADOME_DATA/sivae unless it is a path.
    data: PathBuf,
    /// Modalities to use, of rna, protein, atac.
    #[arg(long, value_delimiter = ',', default_value = "rna,protein,atac")]
    modalities: Vec<String>,
    /// Seeds to average over.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Dimensions of the latent state; the model's default when absent.
    #[arg(long)]
    latent: Option<usize>,
    /// Learning rate; the default of `gradome fit` when absent.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Dropout of the decoders' hidden layers.
    #[arg(long)]
    decoder_dropout: Option<f64>,
    /// Widths of the decoders' hidden layers; `--linear-decoder` for none.
    #[arg(long, value_delimiter = ',')]
    decoder_hidden: Vec<usize>,
    /// Decoders without hidden layers.
    #[arg(long)]
    linear_decoder: bool,
    /// Dropout of the encoders' inputs.
    #[arg(long)]
    input_dropout: Option<f64>,
    /// A single modality decodes only itself in training.
    #[arg(long)]
    no_cross: bool,
    /// The most epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Threads.
    #[arg(long)]
    threads: Option<usize>,
}

/// A data set with what the protocol needs.
struct Reference {
    modalities: Vec<Modality>,
    labels: Vec<String>,
    train: Vec<usize>,
    val: Vec<usize>,
    test: Vec<usize>,
    /// `[cells]` the fold of each cell; none for labels with too few cells.
    fold: Vec<Option<usize>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        gradome_nn::set_threads(threads)?;
    }
    let reference = Reference::read(&folder(&arguments.data), &arguments.modalities)?;
    let names: Vec<&str> = reference.modalities.iter().map(|m| m.name.as_str()).collect();
    println!("{}: {} cells, {}", arguments.data.display(), reference.labels.len(), names.join(" + "));
    let mut rows: Vec<Vec<(&'static str, f64)>> = Vec::new();
    for &seed in &arguments.seeds {
        let row = reference.evaluate(&arguments, seed)?;
        print_row(&format!("seed {seed}"), &row);
        rows.push(row);
    }
    let mean = |i: usize| rows.iter().map(|row| row[i].1).sum::<f64>() / rows.len() as f64;
    let means: Vec<(&'static str, f64)> = (0..rows[0].len()).map(|i| (rows[0][i].0, mean(i))).collect();
    print_row("mean", &means);
    Ok(())
}

fn print_row(name: &str, row: &[(&'static str, f64)]) {
    let cells: Vec<String> = row.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    println!("{name}: {}", cells.join("  "));
}

fn folder(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    let data = std::env::var_os("GRADOME_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    data.join("sivae").join(path)
}

impl Reference {
    fn read(folder: &Path, wanted: &[String]) -> Result<Self> {
        let cells = lines(&folder.join("cells.csv"))?;
        let labels: Vec<String> =
            cells.iter().skip(1).map(|line| line.split(',').nth(1).unwrap_or("").to_owned()).collect();
        let splits: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("splits.json"))?)?;
        let rows = |name: &str| -> Result<Vec<usize>> {
            let list = splits[name].as_array().ok_or_else(|| format!("splits.json has no list '{name}'"))?;
            Ok(list.iter().filter_map(|v| v.as_u64()).map(|v| v as usize).collect())
        };
        let fold = splits["knn_fold"].as_array().ok_or("splits.json has no list 'knn_fold'")?;
        let wants = |name: &str| wanted.iter().any(|w| w == name);
        let mut modalities = Vec::new();
        if wants("rna") {
            let names = lines(&folder.join("genes.txt.gz"))?;
            modalities.push(counts(&folder.join("rna_counts.mtx.gz"), "rna", Kind::Rna, names)?);
        }
        let proteins = folder.join("protein_counts.csv.gz");
        if wants("protein") && proteins.exists() {
            modalities.push(protein_table(&proteins)?);
        }
        let peaks = folder.join("peaks_binary.mtx.gz");
        let topics = folder.join("atac_topics.npz");
        if wants("atac") && peaks.exists() {
            modalities.push(counts(&peaks, "atac", Kind::Atac, lines(&folder.join("peaks.txt.gz"))?)?);
        } else if wants("atac") && topics.exists() {
            modalities.push(topic_table(&topics)?);
        }
        Ok(Self {
            modalities,
            labels,
            train: rows("train")?,
            val: rows("val")?,
            test: rows("test")?,
            fold: fold.iter().map(|f| f.as_i64().and_then(|f| usize::try_from(f).ok())).collect(),
        })
    }

    fn config(&self, arguments: &Arguments) -> MultiOmicsVaeConfig {
        let likelihood = |m: &Modality| match m.name.as_str() {
            "rna" => Likelihood::NegativeBinomial,
            "protein" => Likelihood::NegativeBinomialMixture,
            _ if matches!(m.matrix, Matrix::Sparse(_)) => Likelihood::Bernoulli,
            _ => Likelihood::Gaussian,
        };
        let given = self.modalities.iter().map(|m| (m.name.clone(), m.matrix.columns(), likelihood(m)));
        let mut modalities = ModalityConfig::together(given);
        for config in &mut modalities {
            if let Some(rate) = arguments.decoder_dropout {
                config.decoder.dropout = rate;
            }
            if !arguments.decoder_hidden.is_empty() || arguments.linear_decoder {
                config.decoder.hidden.clone_from(&arguments.decoder_hidden);
            }
            if let Some(rate) = arguments.input_dropout {
                config.input_dropout = rate;
            }
        }
        let mut config = MultiOmicsVaeConfig::of(modalities);
        config.latent_dim = arguments.latent.unwrap_or(config.latent_dim);
        config.cross_reconstruction &= !arguments.no_cross;
        config
    }

    fn evaluate(&self, arguments: &Arguments, seed: u64) -> Result<Vec<(&'static str, f64)>> {
        let data = MultiOmicsData { modalities: self.modalities.clone(), batch: Vec::new() };
        let split = Split { train: self.train.clone(), validation: self.val.clone() };
        let mut options = FitOptions::quiet(default_trainer(seed));
        options.trainer.max_epochs = arguments.epochs.unwrap_or(options.trainer.max_epochs);
        options.trainer.learning_rate = arguments.learning_rate.unwrap_or(options.trainer.learning_rate);
        let clock = std::time::Instant::now();
        let fit = TrainedMultiOmicsVae::fit(&self.config(arguments), &data, &split, &options)?;
        let seconds = clock.elapsed().as_secs_f64();
        let trained = fit.trained;

        let latent = trained.latent(&data, &View::default())?;
        let points = Points::new(&latent.mean, [self.labels.len(), latent.dimensions])?;
        let mut row = self.score(&points)?;
        let test = data.select(&self.test);
        let likelihood = trained.log_likelihood(&test, 10, 0)?;
        row.push(("elbo", mean(&likelihood.elbo)));
        row.push(("iwae10", mean(&likelihood.importance_weighted)));
        if self.modalities.iter().any(|m| m.name == "protein") && self.modalities.len() > 1 {
            let (model, neighbours) = self.imputation(&trained)?;
            row.push(("imputed r", model));
            row.push(("kNN r", neighbours));
        }
        let scores: Vec<f64> = fit.history.validation("elbo").iter().map(|(_, elbo)| *elbo).collect();
        row.push(("val elbo", scores.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        row.push(("epochs", fit.history.epochs.len() as f64));
        row.push(("seconds", seconds));
        Ok(row)
    }

    /// The protocol's scores of an embedding of all cells.
    fn score(&self, points: &Points) -> Result<Vec<(&'static str, f64)>> {
        let scored: Vec<usize> = (0..self.labels.len()).filter(|&c| self.fold[c].is_some()).collect();
        let classes: BTreeSet<&str> = scored.iter().map(|&c| self.labels[c].as_str()).collect();
        let label = |cells: &[usize]| -> Vec<&str> { cells.iter().map(|&c| self.labels[c].as_str()).collect() };
        let called = |reference: &[usize], queries: &[usize], k: usize| -> Result<Vec<&str>> {
            let found = nearest(&points.select(queries)?, &points.select(reference)?, k)?;
            Ok(metrics::knn_classify(&found.indices, k, &label(reference)))
        };
        let folds: BTreeSet<usize> = scored.iter().filter_map(|&c| self.fold[c]).collect();
        let mut accuracies = Vec::new();
        for &fold in &folds {
            let (queries, reference): (Vec<usize>, Vec<usize>) =
                scored.iter().partition(|&&c| self.fold[c] == Some(fold));
            let calls = called(&reference, &queries, 2 * classes.len())?;
            accuracies.push(metrics::accuracy(&label(&queries), &calls));
        }
        let keep =
            |cells: &[usize]| -> Vec<usize> { cells.iter().copied().filter(|&c| self.fold[c].is_some()).collect() };
        let seen = keep(&[self.train.as_slice(), &self.val].concat());
        let mut inner = Vec::new();
        for &fold in &folds {
            let (queries, reference): (Vec<usize>, Vec<usize>) =
                seen.iter().partition(|&&c| self.fold[c] == Some(fold));
            inner.push(metrics::accuracy(&label(&queries), &called(&reference, &queries, 15)?));
        }
        let test = keep(&self.test);
        let calls = called(&seen, &test, 15)?;
        let clusters = KMeans { clusters: classes.len(), ..KMeans::default() }.fit(&points.select(&scored)?)?;
        let truth = label(&scored);
        Ok(vec![
            ("inner kNN", mean(&inner)),
            ("knn5", mean(&accuracies)),
            ("test kNN", metrics::accuracy(&label(&test), &calls)),
            ("balanced", metrics::balanced_accuracy(&label(&test), &calls)),
            ("ARI", metrics::adjusted_rand_index(&truth, &clusters.labels)),
            ("NMI", metrics::normalized_mutual_information(&truth, &clusters.labels)),
        ])
    }

    /// Hides all proteins of a random 30 % of the test cells, several times: the mean correlation over proteins of what
    /// the model expects, and of the mean of the 15 nearest training cells in the first 15 principal components of RNA.
    fn imputation(&self, trained: &TrainedMultiOmicsVae) -> Result<(f64, f64)> {
        const DRAWS: usize = 10;
        const NEIGHBOURS: usize = 15;
        const COMPONENTS: usize = 15;
        let find = |name: &str| self.modalities.iter().find(|m| m.name == name).ok_or("needs RNA and protein");
        let (rna, protein) = (find("rna")?, find("protein")?);
        let mut hidden = MultiOmicsData { modalities: self.modalities.clone(), batch: Vec::new() }.select(&self.test);
        for modality in hidden.modalities.iter_mut().filter(|m| m.name == "protein") {
            let nothing = vec![false; modality.features.len()];
            modality.measured = Measured::from_rows(self.test.iter().map(|_| nothing.clone()));
        }
        let expected = trained.decode(&hidden, "protein", Decode::Expected, &View::default(), 25, 0)?;
        let model = Points::new(&ln_1p(&expected.to_row_major()), [self.test.len(), protein.features.len()])?;

        let normalised = log_normalised(&rna.matrix);
        let cells = Points::new(&normalised, [rna.matrix.rows(), rna.matrix.columns()])?;
        let scaled = z_scored(&cells, &self.train)?;
        let train = scaled.select(&self.train)?;
        let pca = Pca::fit(&train, COMPONENTS)?;
        let queries = pca.project(&scaled.select(&self.test)?)?;
        let found = nearest(&queries, &pca.project(&train)?, NEIGHBOURS)?;
        let measured =
            Points::new(&ln_1p(&protein.matrix.to_row_major()), [protein.matrix.rows(), protein.features.len()])?;
        let neighbours = found.mean_of(&measured.select(&self.train)?)?;
        let truth = measured.select(&self.test)?;

        let mut scores = [0.0; 2];
        for draw in 0..DRAWS {
            let picked = pick(self.test.len(), (self.test.len() * 3).div_ceil(10), draw as u64);
            for (score, guess) in scores.iter_mut().zip([&model, &neighbours]) {
                let (guess, truth) = (guess.select(&picked)?, truth.select(&picked)?);
                let column = |points: &Points, p: usize| -> Vec<f64> { points.rows().map(|row| row[p]).collect() };
                let each: Vec<f64> = (0..truth.dims())
                    .map(|p| metrics::pearson(&column(&truth, p), &column(&guess, p)))
                    // a protein without any variation among the picked cells has no correlation
                    .filter(|r| r.is_finite())
                    .collect();
                *score += mean(&each) / DRAWS as f64;
            }
        }
        Ok((scores[0], scores[1]))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn ln_1p(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v).ln_1p()).collect()
}

/// `count` of `total` numbers, by a seeded shuffle.
fn pick(total: usize, count: usize, seed: u64) -> Vec<usize> {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    let mut all: Vec<usize> = (0..total).collect();
    all.shuffle(&mut gradome_nn::Rng::seed_from_u64(seed));
    all.truncate(count);
    all
}

/// ln(1 + 10,000 count / depth) `[cells, features]`, row-major.
fn log_normalised(matrix: &Matrix) -> Vec<f64> {
    let mut values = matrix.to_row_major().into_iter().map(f64::from).collect::<Vec<f64>>();
    for row in values.chunks_exact_mut(matrix.columns()) {
        let depth = row.iter().sum::<f64>().max(1.0);
        row.iter_mut().for_each(|v| *v = (*v * 1e4 / depth).ln_1p());
    }
    values
}

/// Each column minus its mean over the given cells, divided by its standard deviation there.
fn z_scored(points: &Points, cells: &[usize]) -> Result<Points> {
    let dims = points.dims();
    let mut moments = vec![(0.0, 0.0); dims];
    for &cell in cells {
        for (m, v) in moments.iter_mut().zip(points.row(cell)) {
            m.0 += v / cells.len() as f64;
            m.1 += v * v / cells.len() as f64;
        }
    }
    let scale = |i: usize, v: f64| (v - moments[i].0) / (moments[i].1 - moments[i].0.powi(2)).max(1e-12).sqrt();
    let values: Vec<f64> = points.rows().flat_map(|row| row.iter().enumerate().map(|(i, &v)| scale(i, v))).collect();
    Ok(Points::new(&values, [points.cells(), dims])?)
}

fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut text = String::new();
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    Ok(text)
}

fn lines(path: &Path) -> Result<Vec<String>> {
    Ok(text(path)?.lines().map(str::to_owned).collect())
}

fn features(names: Vec<String>, kind: &Kind) -> Vec<Feature> {
    names.into_iter().map(|name| Feature { id: name.clone(), name, kind: kind.clone() }).collect()
}

/// Counts, cells by features, whose features are named in a file of their own.
fn counts(path: &Path, name: &str, kind: Kind, names: Vec<String>) -> Result<Modality> {
    let matrix =
        Matrix::Sparse(gradome_io::read_matrix_market(&path.display().to_string(), std::fs::File::open(path)?)?);
    Ok(Modality { name: name.to_owned(), features: features(names, &kind), kind, matrix, measured: None })
}

fn protein_table(path: &Path) -> Result<Modality> {
    let data = gradome_io::read_table(path, gradome_io::Orientation::CellsByFeatures)?;
    let mut modality = data.modalities.into_iter().next().ok_or("the protein table is empty")?;
    modality.name = "protein".to_owned();
    modality.kind = Kind::Protein;
    Ok(modality)
}

fn topic_table(path: &Path) -> Result<Modality> {
    let (shape, values) = Npz::open(path)?.get("atac")?;
    let [rows, columns] = shape[..] else { return Err("'atac' is no matrix".into()) };
    let values = values.into_iter().map(|v| v as f32).collect();
    let names = (1..=columns).map(|i| format!("topic_{i}")).collect();
    let kind = Kind::Atac;
    let matrix = Matrix::dense(rows, columns, values);
    Ok(Modality { name: "atac".to_owned(), features: features(names, &kind), kind, matrix, measured: None })
}
