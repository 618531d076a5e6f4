//! Writes a page with every kind of figure, from made data, so that anybody can look at them:
//! `cargo run --release -p gradome-report --example gallery -- gallery.html`

use std::error::Error;
use std::path::Path;

use gradome_report::cluster::KMeans;
use gradome_report::html::{Download, Page, Table};
use gradome_report::knn;
use gradome_report::layout::{Layout, Tsne, trustworthiness};
use gradome_report::pca::Pca;
use gradome_report::plot::{Agreement, Bars, Colour, Histogram, Lines, Scatter};
use gradome_report::points::Points;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Made cell types: name, how many cells.
const TYPES: [(&str, usize); 7] = [
    ("CD4 T", 130),
    ("CD14 monocyte", 90),
    ("CD8 T", 70),
    ("B", 45),
    ("NK", 35),
    ("FCGR3A monocyte", 20),
    ("Dendritic", 10),
];
const DIMS: usize = 10;

/// Cells of made types in a made latent space.
struct MadeCells {
    latent: Points,
    types: Vec<&'static str>,
    batches: Vec<&'static str>,
    names: Vec<String>,
    /// a marker protein, not measured in the second batch
    protein: Vec<f64>,
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // Irwin-Hall: near enough for a picture
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn made_cells(rng: &mut ChaCha8Rng) -> Result<MadeCells, Box<dyn Error>> {
    let (mut values, mut types, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    let (mut names, mut protein) = (Vec::new(), Vec::new());
    for (kind, (name, count)) in TYPES.into_iter().enumerate() {
        let centre: Vec<f64> = (0..DIMS).map(|_| 2.2 * normal(rng)).collect();
        for _ in 0..count {
            values.extend(centre.iter().map(|middle| middle + normal(rng)));
            types.push(name);
            let second = names.len() % 2 == 1;
            batches.push(if second { "PBMC 10k" } else { "PBMC 5k" });
            let level = if kind % 3 == 0 { 4.0 } else { 1.0 };
            protein.push(if second { f64::NAN } else { (level + 0.5 * normal(rng)).max(0.0) });
            names.push(format!("AACG{:04}TT-1", names.len()));
        }
    }
    let latent = Points::new(&values, [names.len(), DIMS])?;
    Ok(MadeCells { latent, types, batches, names, protein })
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "gallery.html".into());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let cells = made_cells(&mut rng)?;
    let layout = Tsne::default().fit(&cells.latent)?;
    let kept = trustworthiness(&cells.latent, &layout.points, 15)?;

    let mut page = Page::new("Gallery of gradome's figures");
    page.lead("Every figure of a report, from made data: nothing here was measured.")
        .fact("cells", cells.names.len().to_string())
        .fact("latent dimensions", DIMS.to_string())
        .fact("trustworthiness", format!("{kept:.3}"))
        .footer("Written by the example `gallery` of gradome-report.");
    training(&mut page, &mut rng)?;
    embedding(&mut page, &cells, &layout)?;
    fit(&mut page, &cells, &mut rng)?;
    page.write(Path::new(&path))?;
    println!("wrote {path}");
    Ok(())
}

fn training(page: &mut Page, rng: &mut ChaCha8Rng) -> Result<(), Box<dyn Error>> {
    let epochs: Vec<f64> = (1..=120).map(f64::from).collect();
    let curve = |rng: &mut ChaCha8Rng, end: f64, noise: f64| -> Vec<f64> {
        epochs.iter().map(|t| end - 400.0 * (-t / 12.0).exp() + noise * normal(rng)).collect()
    };
    let train = curve(rng, -905.0, 0.8);
    // a little worse from epoch 90 on, as when a model begins to learn its cells by heart
    let mut validation = curve(rng, -921.0, 2.0);
    for (epoch, value) in validation.iter_mut().enumerate() {
        *value -= 0.12 * (epoch as f64 - 90.0).max(0.0);
    }
    let figure = Lines::new("epoch", "ELBO (nats per cell)")
        .series("training", &epochs, &train)
        .series("validation", &epochs, &validation)
        .mark(90.0, "kept: epoch 90")
        .y_range(-1050.0, -890.0)
        .draw()?;
    page.section("Training").figure(
        figure,
        "Evidence lower bound of training and held-out cells; higher is better. The first epochs \
         lie below the figure.",
    );
    Ok(())
}

fn embedding(page: &mut Page, cells: &MadeCells, layout: &Layout) -> Result<(), Box<dyn Error>> {
    let clusters = KMeans { clusters: 7, ..KMeans::default() }.fit(&cells.latent)?;
    let cluster_names: Vec<String> = clusters.labels.iter().map(|k| k.to_string()).collect();
    let scatter = |title: &str, colour: Colour| {
        Scatter::new(&layout.points).axes("t-SNE 1", "t-SNE 2").title(title).names(&cells.names).colour(colour)
    };
    let components = Pca::fit(&cells.latent, 2)?;
    let scores = components.project(&cells.latent)?;
    let flat: Vec<[f64; 2]> = scores.rows().map(|row| [row[0], row[1]]).collect();
    let part = components.explained();
    let pca = Scatter::new(&flat)
        .axes(format!("PC 1 ({:.0} %)", 100.0 * part[0]), format!("PC 2 ({:.0} %)", 100.0 * part[1]))
        .title("Principal components")
        .ticks()
        .colour(Colour::categories(&cells.types))
        .draw()?;
    let mut csv = String::from("cell,tsne1,tsne2,cluster\n");
    for ((name, [x, y]), cluster) in cells.names.iter().zip(&layout.points).zip(&cluster_names) {
        csv += &format!("{name},{x:.4},{y:.4},{cluster}\n");
    }
    page.section("Latent space")
        .paragraph(
            "Each dot is a cell; near dots are cells that the model finds alike. Rest the pointer \
             on a dot to see the cell's name.",
        )
        .note("Distances between groups, and their sizes, mean little in a t-SNE.")
        .figure_with_data(
            scatter("Clusters", Colour::categories(&cluster_names)).label_on_data().draw()?,
            format!("K-means on the latent space. {}", layout.note()),
            Download { file_name: "latent_2d.csv".into(), contents: csv },
        )
        .figures([
            (
                scatter("Cell type", Colour::categories(&cells.types)).draw()?,
                "The types that the data were made of.".into(),
            ),
            (scatter("Batch", Colour::categories(&cells.batches)).draw()?, "Well mixed batches are integrated.".into()),
            (
                scatter("CD3 protein", Colour::values(&cells.protein, "log1p(counts)")).draw()?,
                "Grey: the batch in which it was not measured.".into(),
            ),
            (pca, "The same cells along their axes of largest variance.".into()),
        ]);
    Ok(())
}

fn fit(page: &mut Page, cells: &MadeCells, rng: &mut ChaCha8Rng) -> Result<(), Box<dyn Error>> {
    let observed: Vec<f64> = (0..5_000).map(|i| f64::from(i) / 800.0).collect();
    let predicted: Vec<f64> = observed.iter().map(|x| 0.4 + 0.9 * x + 0.6 * normal(rng)).collect();
    let agreement = Agreement::new(&observed, &predicted)
        .axes("observed log1p(counts)", "predicted log1p(counts)")
        .statistic("Pearson r", 0.937)
        .statistic("R2", 0.871)
        .draw()?;
    let proteins = ["CD3", "CD4", "CD8a", "CD14", "CD19", "CD56"];
    let ours = [0.91, 0.88, 0.86, 0.93, 0.80, 0.42];
    let nearest = [0.87, 0.85, 0.84, 0.93, 0.71, f64::NAN];
    let bars = Bars::new("Pearson r on hidden proteins", &proteins)
        .series("model", &ours)
        .series("15 nearest neighbours", &nearest)
        .draw()?;
    let depth = |rng: &mut ChaCha8Rng, mean: f64| -> Vec<f64> { (0..1000).map(|_| mean + 0.3 * normal(rng)).collect() };
    let histogram = Histogram::new("log10 counts per cell")
        .series("PBMC 5k", &depth(rng, 3.6))
        .series("PBMC 10k", &depth(rng, 3.9))
        .draw()?;
    let near = knn::neighbours(&cells.latent, 15)?;
    let reach: Vec<f64> = near.distances.chunks_exact(15).map(|row| row[14]).collect();
    let distances = Histogram::new("distance to the 15th neighbour").series("cells", &reach).draw()?;
    let mut table = Table::new("How well hidden proteins were filled in.")
        .text_column("Protein")
        .number_column("Model", "Pearson r", 2)
        .number_column("Neighbours", "Pearson r", 2)
        .text_column("In plain words");
    for ((name, model), guess) in proteins.into_iter().zip(ours).zip(nearest) {
        let words = if model > 0.8 { "learned well" } else { "read with care: <50 cells" };
        table.row([name.into(), model.into(), guess.into(), words.into()])?;
    }
    page.section("Fit")
        .figures([
            (agreement, "Predicted against observed; the dashed line is agreement.".into()),
            (bars, "Higher is better; n/a: nothing was measured.".into()),
            (histogram, "Depth of two batches.".into()),
            (distances, "How dense the latent space is.".into()),
        ])
        .table(table);
    Ok(())
}
