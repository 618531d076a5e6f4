//! Enrichments of chromosome 11's states against ChromHMM's tables, to print precision.

use std::collections::HashMap;

use gradome_epigenome::chromatin::{Enrichment, NeighborhoodOptions, OverlapOptions, Segmentation, annotation_files};
use gradome_goldens::data;

fn segmentation() -> Option<Segmentation> {
    let folder = data("hmm_dmfa/chromhmm_GM12878_10")?;
    Some(Segmentation::read(&folder.join("GM12878_10_segments.bed.gz")).unwrap())
}

/// Writes a table and compares it with ChromHMM's, every character of it.
fn assert_same_table(enrichment: &Enrichment, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.txt");
    enrichment.write(&path, false, &HashMap::new()).unwrap();
    let expected = data(&format!("hmm_dmfa/chromhmm_GM12878_10/{expected}")).unwrap();
    let (ours, theirs) = (std::fs::read_to_string(path).unwrap(), std::fs::read_to_string(expected).unwrap());
    for (line, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", line + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn overlap_enrichment_is_chromhmms() {
    let Some(segmentation) = segmentation() else { return };
    let files = annotation_files(&data("hmm_dmfa/coords_hg18_chr11").unwrap(), None).unwrap();
    let beds: Vec<_> = files.into_iter().filter(|file| file.0.ends_with(".bed.gz")).collect();
    assert_eq!(beds.len(), 7);
    let enrichment = Enrichment::overlap(&segmentation, &beds, &OverlapOptions::default()).unwrap();
    assert_same_table(&enrichment, "overlap_enrichment.txt");
}

#[test]
fn neighborhood_enrichment_is_chromhmms() {
    let Some(segmentation) = segmentation() else { return };
    let coordinates = data("hmm_dmfa/coords_hg18_chr11").unwrap();
    for end in ["TSS", "TES"] {
        let anchors = coordinates.join(format!("RefSeq{end}.hg18.txt.gz"));
        let enrichment = Enrichment::around(&segmentation, &anchors, &NeighborhoodOptions::default()).unwrap();
        assert_same_table(&enrichment, &format!("neighborhood_{end}.txt"));
    }
}

#[test]
fn annotations_of_another_genome_are_an_error() {
    let Some(segmentation) = segmentation() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bed = folder.path().join("genes.bed");
    std::fs::write(&bed, "11\t1000\t2000\n").unwrap();
    let files = annotation_files(&bed, None).unwrap();
    let error = Enrichment::overlap(&segmentation, &files, &OverlapOptions::default()).unwrap_err().to_string();
    assert!(error.contains("are chromosomes named alike"), "{error}");
    std::fs::write(&bed, "chr11\t1000\t20x0\n").unwrap();
    let error = Enrichment::overlap(&segmentation, &files, &OverlapOptions::default()).unwrap_err().to_string();
    assert!(error.contains("genes.bed line 1: column 3 ('20x0') is not a position"), "{error}");
    let bins = OverlapOptions { bin_size: 500, ..OverlapOptions::default() };
    let error = Enrichment::overlap(&segmentation, &files, &bins).unwrap_err().to_string();
    assert!(error.contains("does not start at a multiple of the bin size 500"), "{error}");
}
