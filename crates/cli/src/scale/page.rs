//! The report of a SCALE model: the map of cells, the clusters, and how training went.

use gradome::epigenome::scale::{ScaleCells, ScaleFit};
use gradome::nn::trainer::{EpochMetrics, History};
use gradome::report::html::{Page, Table};
use gradome::report::layout::Tsne;
use gradome::report::plot::{Colour, Figure, Lines, Scatter};
use gradome::report::points::Points;

use crate::error::Result;

/// What the report is about.
pub struct Run<'a> {
    pub fit: &'a ScaleFit,
    pub cells: &'a ScaleCells,
    pub names: &'a [String],
    /// Known labels and the number of each cell's.
    pub labels: Option<&'a (Vec<String>, Vec<Option<u32>>)>,
    /// Adjusted Rand index and normalised mutual information of clusters and labels.
    pub agreement: Option<(f64, f64)>,
    pub seed: u64,
}

/// The page about a training run.
pub fn page(run: &Run) -> Result<Page> {
    let Run { fit, cells, names, labels, agreement, seed } = *run;
    let clusters = cells.clusters();
    let used = (0..cells.components).filter(|cluster| clusters.contains(cluster)).count();
    let mut page = Page::new("Cells by their open chromatin");
    page.lead(format!(
        "SCALE learned one map of {} cells from {} peaks. Its prior is a mixture of {} normal distributions; each cell \
         belongs to the one that explains it best.",
        names.len(),
        fit.trained.features().len(),
        cells.components
    ))
    .fact("cells", names.len().to_string())
    .fact("peaks", fit.trained.features().len().to_string())
    .fact("clusters", used.to_string())
    .fact("latent dimensions", cells.dimensions.to_string());
    if let Some((ari, nmi)) = agreement {
        page.fact("adjusted Rand index", format!("{ari:.3}"))
            .fact("normalised mutual information", format!("{nmi:.3}"));
    }
    let points = Points::new(&cells.embedding, [names.len(), cells.dimensions])?;
    let layout = Tsne { seed, ..Tsne::default() }.fit(&points)?;
    let shown = layout.pick(names)?;
    let draw = |of_cell: &[String]| -> Result<Figure> {
        let (x, y) = (format!("{} 1", layout.method), format!("{} 2", layout.method));
        let colour = Colour::categories(&layout.pick(of_cell)?);
        Ok(Scatter::new(&layout.points).axes(x, y).colour(colour).names(&shown).draw()?)
    };
    let section = page.section("The map of cells");
    section.paragraph(format!("The embedding, laid out in the plane by {}. {}", layout.method, layout.note()));
    let of_cell: Vec<String> = clusters.iter().map(|cluster| format!("cluster {}", cluster + 1)).collect();
    let mut figures = vec![(draw(&of_cell)?, "The cluster of each cell.".to_owned())];
    if let Some((categories, codes)) = labels {
        let text =
            |code: &Option<u32>| code.map_or_else(|| "none".to_owned(), |code| categories[code as usize].clone());
        let of_cell: Vec<String> = codes.iter().map(text).collect();
        figures.push((draw(&of_cell)?, "The given labels, which training did not see.".to_owned()));
    }
    section.figures(figures);
    page.section("Clusters").table(sizes(cells, &clusters, labels)?);
    training(&mut page, fit)?;
    page.footer(format!(
        "gradome {}, seed {seed}. Figures are drawn inside this file; it loads nothing from the network.",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(page)
}

fn sizes(cells: &ScaleCells, clusters: &[usize], labels: Option<&(Vec<String>, Vec<Option<u32>>)>) -> Result<Table> {
    let mut table = Table::new("A cell's probability is that of its own cluster; low means are clusters that overlap.")
        .text_column("cluster")
        .number_column("cells", "", 0)
        .number_column("mean probability", "", 3)
        .text_column("labels");
    for cluster in 0..cells.components {
        let members: Vec<usize> = (0..clusters.len()).filter(|&cell| clusters[cell] == cluster).collect();
        let p = |&cell: &usize| f64::from(cells.probabilities[cell * cells.components + cluster]);
        let mean = members.iter().map(p).sum::<f64>() / members.len() as f64;
        let of_label = labels.map_or_else(String::new, |(categories, codes)| {
            let count = |label: usize| members.iter().filter(|&&cell| codes[cell] == Some(label as u32)).count();
            let mut counts: Vec<(usize, &str)> =
                categories.iter().enumerate().map(|(label, name)| (count(label), name.as_str())).collect();
            counts.retain(|(count, _)| *count > 0);
            counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            let texts: Vec<String> = counts.iter().take(4).map(|(count, name)| format!("{name} {count}")).collect();
            texts.join(", ")
        });
        table.row([(cluster + 1).to_string().into(), (members.len() as f64).into(), mean.into(), of_label.into()])?;
    }
    Ok(table)
}

fn training(page: &mut Page, fit: &ScaleFit) -> Result<()> {
    let curve = |history: &History, key: &str| -> Result<Figure> {
        let series = |pick: &dyn Fn(&EpochMetrics) -> Option<f64>| -> (Vec<f64>, Vec<f64>) {
            history.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, pick(epoch)?))).unzip()
        };
        let (x, train) = series(&|epoch| epoch.train.get(key).copied());
        let (held_x, held_out) = series(&|epoch| epoch.validation.get(key).copied());
        let mut lines = Lines::new("epoch", "nats per cell").series("training cells", &x, &train);
        if !held_x.is_empty() {
            lines = lines.series("held-out cells", &held_x, &held_out);
        }
        if let Some(best) = history.best_epoch {
            lines = lines.mark(best as f64, "kept");
        }
        Ok(lines.draw()?)
    };
    let section = page.section("Training");
    section.paragraph(
        "The negative evidence lower bound, which training lowers, before and after the mixture took the place of the \
         standard normal prior, and its divergence from the prior: what the map says of each cell.",
    );
    section.figures([
        (curve(&fit.pretraining, "loss")?, "Bound, standard normal prior.".to_owned()),
        (curve(&fit.history, "loss")?, "Bound, mixture.".to_owned()),
        (curve(&fit.history, "kl")?, "Divergence, mixture.".to_owned()),
    ]);
    Ok(())
}
