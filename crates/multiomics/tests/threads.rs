//! The number of threads does not change a bit of a trained model.

use gradome_io::{Kind, Matrix, Modality};
use gradome_multiomics::{
    Likelihood, ModalityConfig, MultiOmicsData, MultiOmicsVaeConfig, Split, TrainedMultiOmicsVae, View, default_trainer,
};
use gradome_nn::trainer::FitOptions;

/// Counts with two kinds of cells, large enough that kernels split their work.
fn counts(name: &str, kind: Kind, cells: usize, features: usize) -> Modality {
    let value = |i: usize| {
        let (cell, feature) = (i / features, i % features);
        let high = (cell % 2 == 0) == (feature % 2 == 0);
        ((i * 7919 % 13) / if high { 2 } else { 6 }) as f32
    };
    let matrix = Matrix::dense(cells, features, (0..cells * features).map(value).collect());
    let names = (0..features).map(|f| format!("{name}{f}")).collect::<Vec<_>>();
    Modality::new(name, kind, names, matrix)
}

#[test]
fn training_gives_the_same_bits_at_one_two_and_four_threads() {
    let (cells, genes, proteins) = (300, 700, 20);
    let data = MultiOmicsData {
        modalities: vec![counts("rna", Kind::Rna, cells, genes), counts("protein", Kind::Protein, cells, proteins)],
        batch: (0..cells as u32).map(|cell| cell % 3 / 2).collect(),
    };
    let config = MultiOmicsVaeConfig {
        batches: vec!["a".into(), "b".into()],
        ..MultiOmicsVaeConfig::of(ModalityConfig::together([
            ("rna".to_owned(), genes, Likelihood::NegativeBinomial),
            ("protein".to_owned(), proteins, Likelihood::NegativeBinomialMixture),
        ]))
    };
    let split = Split::random(&data, 0.2, 0);
    let mut options = FitOptions::quiet(default_trainer(5));
    options.trainer.max_epochs = 3;
    let bits = |threads: usize| -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let trained = TrainedMultiOmicsVae::fit(&config, &data, &split, &options).unwrap().trained;
            let latent = trained.latent(&data, &View::default()).unwrap();
            let arrays = trained.store().entries().flat_map(|(_, entry)| entry.value.data().to_vec());
            arrays.chain(latent.mean).map(f32::to_bits).collect()
        })
    };
    let one = bits(1);
    assert!(one.len() > genes * proteins);
    assert!(one == bits(2), "two threads give other bits");
    assert!(one == bits(4), "four threads give other bits");
}
