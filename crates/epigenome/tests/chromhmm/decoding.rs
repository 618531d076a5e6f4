//! Segmentations and posteriors of trained models.

use std::path::Path;

use gradome_epigenome::chromatin::{ChromHmmModel, Decoding, SegmentationFiles, StateOrder};
use gradome_goldens::{data, goldens};
use gradome_io::for_each_line;

use crate::visited;

fn files(folder: &Path) -> SegmentationFiles<'_> {
    SegmentationFiles {
        folder,
        name: "",
        bin_size: 200,
        sizes: None,
        segments: true,
        posteriors: false,
        states_by_line: false,
        gzip: false,
        decoding: Decoding::Posterior,
    }
}

fn lines(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for_each_line(path, |line| {
        all.push(line.to_owned());
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn chromosome_11_has_chromhmms_segments_and_posteriors() {
    let Some(folder) = data("hmm_dmfa/chromhmm_GM12878_10") else { return };
    let (data, _) = visited(&folder, 999);
    let model = ChromHmmModel::read(&folder.join("model_10.txt")).unwrap();
    let to = tempfile::tempdir().unwrap();
    let cells = SegmentationFiles { states_by_line: true, ..files(to.path()) }.write(&model, &data).unwrap();
    assert_eq!(cells[0].segments.len(), 24_889);
    let expected = lines(&folder.join("GM12878_10_segments.bed.gz"));
    assert_eq!(lines(&to.path().join("GM12878_10_segments.bed")), expected);
    for golden in goldens("hmm-expected-counts") {
        let states = lines(&to.path().join("STATEBYLINE/GM12878_10_chr11_statebyline.txt"));
        let wrong = states[2..]
            .iter()
            .zip(golden.get("argmax"))
            .filter(|(ours, best)| ours.parse::<f64>().unwrap() != **best + 1.0);
        assert_eq!((states.len() - 2, wrong.count()), (golden.get("argmax").len(), 0));
    }
    let posteriors = lines(&folder.join("posterior_bins340000_350000.txt.gz"));
    let mut bin = 0;
    model
        .posteriors(&data, 0, |row| {
            if (340_000..350_000).contains(&bin) {
                let line = &posteriors[2 + bin - 340_000];
                for (p, printed) in row.iter().zip(line.split('\t')) {
                    assert!((p - printed.parse::<f64>().unwrap()).abs() <= 1e-4, "bin {bin}: {p}, ChromHMM {printed}");
                }
            }
            bin += 1;
        })
        .unwrap();
}

#[test]
fn sequences_with_missing_marks_have_chromhmms_segments() {
    let Some(folder) = data("hmm_dmfa/chromhmm_mini") else { return };
    let files_of = gradome_io::genome::binarised::binarised_files(&folder).unwrap();
    let data = gradome_io::genome::binarised::Binarised::read(&files_of).unwrap();
    for (run, name) in [("inc", ""), ("p1", ""), ("random", "7")] {
        let results = gradome_goldens::data(&format!("hmm_dmfa/chromhmm_mini_out/{run}")).unwrap();
        let suffix = if name.is_empty() { String::new() } else { format!("_{name}") };
        let model = ChromHmmModel::read(&results.join(format!("model_6{suffix}.txt"))).unwrap();
        let to = tempfile::tempdir().unwrap();
        SegmentationFiles { name, ..files(to.path()) }.write(&model, &data).unwrap();
        for cell in ["GM12878", "K562"] {
            let file = format!("{cell}_6{suffix}_segments.bed");
            assert_eq!(lines(&to.path().join(&file)), lines(&results.join(format!("{file}.gz"))), "{run} {cell}");
        }
    }
}

#[test]
fn bins_past_the_chromosomes_end_are_an_error_that_says_why() {
    let Some(folder) = data("hmm_dmfa/chromhmm_mini") else { return };
    let (data, _) = visited(&folder, 999);
    let (model, _) = ChromHmmModel::from_information(&data, 4, 0.02).unwrap();
    let sizes = gradome_io::genome::ChromSizes::new([("chr1", 1000u32), ("chr2", 1000), ("chr3", 1000)]).unwrap();
    let to = tempfile::tempdir().unwrap();
    let error = SegmentationFiles { sizes: Some(&sizes), ..files(to.path()) }.write(&model, &data).unwrap_err();
    assert!(error.to_string().contains("end past the chromosome's 1000 bp: is the bin size right"), "{error}");
    assert_eq!(model.order, StateOrder::Fixed);
}
