//! `gradome fit|apply scale`: from a matrix of cells to clusters and denoised peaks.

use std::path::Path;

use gradome::io::{Column, Dataset, Kind, Matrix, Modality, ReadOptions, read, write_h5ad};

use crate::{bytes, folder, gradome, text};

const CELLS: usize = 150;
const PEAKS: usize = 90;

/// A third of the peaks is mostly open in the cells of one of three types, counts up to 2; one cell and one peak are
/// empty.
fn write_cells(path: &Path) {
    let mut state = 7_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let mut value = |cell: usize, peak: usize| match cell % 3 == peak % 3 {
        _ if cell == CELLS - 1 || peak == PEAKS - 1 => 0.0,
        true if random() < 0.4 => 2.0,
        false if random() < 0.03 => 1.0,
        _ => 0.0,
    };
    let counts: Vec<f32> = (0..CELLS * PEAKS).map(|i| value(i / PEAKS, i % PEAKS)).collect();
    let names = (0..PEAKS).map(|peak| format!("chr1:{}-{}", peak * 1000, peak * 1000 + 500));
    let types: Vec<&str> = (0..CELLS).map(|cell| ["B", "T", "NK"][cell % 3]).collect();
    let data = Dataset {
        cells: (0..CELLS).map(|cell| format!("CELL{cell}")).collect(),
        modalities: vec![Modality::new("atac", Kind::Atac, names, Matrix::dense(CELLS, PEAKS, counts))],
        obs: vec![Column::categorical("type", &types)],
        notes: Vec::new(),
    };
    write_h5ad(path, &data, Some("atac")).unwrap();
}

#[test]
fn planted_types_come_back_as_clusters_and_in_every_output() {
    let folder = folder("scale");
    let at = |name: &str| text(&folder.join(name)).to_owned();
    let (cells, out) = (folder.join("atac.h5ad"), folder.join("run"));
    write_cells(&cells);
    let fit = ["fit", "scale", "--atac", text(&cells), "--out", text(&out), "--clusters", "3", "--labels", "type"];
    let small =
        ["--hidden", "24,12", "--latent", "3", "--learning-rate", "0.005", "--min-cells", "2", "--epochs", "20"];
    gradome(&[&fit[..], &small].concat()).well();
    let summary: serde_json::Value = serde_json::from_slice(&bytes(&out.join("summary.json"))).unwrap();
    assert!(summary["adjusted_rand_index"].as_f64().unwrap() > 0.95, "{summary}");
    // the empty cell and the empty peak are gone
    assert_eq!((summary["cells"].as_u64(), summary["peaks"].as_u64()), (Some(149), Some(89)));
    let table = String::from_utf8(bytes(&out.join("latent.csv"))).unwrap();
    assert!(table.starts_with("cell,z1,z2,z3,cluster,p1,p2,p3\nCELL0,"), "{table}");
    assert_eq!(table.lines().count(), 150);
    let report = String::from_utf8(bytes(&out.join("report.html"))).unwrap();
    assert!(report.contains("adjusted Rand index") && report.contains("t-SNE"));

    let model = at("run/model.safetensors");
    let apply = |output: &str, out: &str| {
        gradome(&["apply", "scale", "--model", &model, "--atac", text(&cells), "--output", output, "--out", out])
    };
    let (csv, h5ad, tenx) = (at("cells.csv"), at("cells.h5ad"), at("denoised"));
    apply("cells", &csv).well();
    assert!(String::from_utf8(bytes(Path::new(&csv))).unwrap().starts_with(table.lines().next().unwrap()));
    apply("cells", &h5ad).well();
    let written = read(Path::new(&h5ad), &ReadOptions::default()).unwrap();
    assert_eq!(written.column("cluster").unwrap().labels().0, ["1", "2", "3"]);
    apply("denoised", &tenx).well();
    let denoised = read(Path::new(&tenx), &ReadOptions::default()).unwrap();
    let values = denoised.modality("atac").unwrap().matrix.to_row_major();
    // most of what is open is of the cell's own type; before, 0.4 / 0.46 of it was
    let own = |(i, _): &(usize, &f32)| i / 89 % 3 == i % 89 % 3;
    let open = values.iter().enumerate().filter(|(_, value)| **value > 0.0);
    let share = open.clone().filter(own).count() as f64 / open.count() as f64;
    assert!(share > 0.95, "{share}");

    // the settings of the run repeat it
    let again = folder.join("again");
    gradome(&["fit", "scale", "--config", &at("run/run.toml"), "--out", text(&again)]).well();
    assert_eq!(bytes(Path::new(&model)), bytes(&again.join("model.safetensors")));
}

#[test]
fn wrong_input_of_scale_is_refused_before_anything_is_written() {
    let folder = folder("scale_refused");
    let (cells, out) = (folder.join("atac.h5ad"), folder.join("run"));
    write_cells(&cells);
    let fit = |arguments: &[&str]| {
        gradome(&[&["fit", "scale", "--atac", text(&cells), "--out", text(&out)], arguments].concat())
    };
    gradome(&["fit", "scale", "--out", text(&out)]).refused(&["no input", "--atac"]);
    fit(&["--labels", "colour"]).refused(&["no cell annotation `colour`", "type"]);
    fit(&["--min-peaks", "500"]).refused(&["no cell has 500 open peaks"]);
    fit(&["--min-cells", "500"]).refused(&["no peak is open in 500 cells"]);
    assert!(!out.exists());
    let model = folder.join("none.safetensors");
    let apply = ["apply", "scale", "--model", text(&model), "--atac", text(&cells), "--output", "denoised"];
    gradome(&[&apply[..], &["--out", text(&folder.join("x.csv"))]].concat()).refused(&[".h5ad file or a folder"]);
    gradome(&[&apply[..], &["--out", text(&folder.join("x.h5ad"))]].concat()).refused(&["none.safetensors"]);
}
