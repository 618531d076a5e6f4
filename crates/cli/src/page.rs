//! The report as a page: figures, and in plain words what was learned and how well.

use gradome::nn::trainer::EpochMetrics;
use gradome::report::html::{Cell, Download, Page, Table};
use gradome::report::layout::Tsne;
use gradome::report::plot::{Agreement, Bars, Colour, Lines, Scatter};

use crate::error::Result;
use crate::report::Cells;
use crate::summary::{Imputation, ModalityFit, Summary};

/// The page about a run.
pub fn page(summary: &Summary, epochs: &[EpochMetrics], cells: &Cells) -> Result<Page> {
    let mut page = Page::new(&summary.title);
    page.lead(lead(summary, cells))
        .fact("cells", grouped(cells.names.len()))
        .fact("modalities", summary.modalities.len().to_string())
        .fact("latent dimensions", cells.latent.dims().to_string())
        .fact("clusters", summary.clusters.len().to_string());
    if summary.batches.len() > 1 {
        page.fact("batches", summary.batches.len().to_string());
    }
    page.fact("epochs", epochs.len().to_string()).fact("training time", duration(summary.seconds));
    learned(&mut page, summary, epochs)?;
    latent_space(&mut page, summary, cells)?;
    clusters(&mut page, summary)?;
    if let Some(imputation) = &summary.imputation {
        imputed(&mut page, imputation)?;
    }
    fit(&mut page, summary)?;
    training(&mut page, summary, epochs)?;
    page.footer(format!(
        "gradome {}, seed {}, {} parameters. Figures are drawn inside this file; it loads nothing from the network.",
        summary.version, summary.seed, summary.parameters
    ));
    Ok(page)
}

fn duration(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// What people call a modality.
fn called(modality: &str) -> &str {
    match modality {
        "rna" => "RNA",
        "protein" => "proteins",
        "atac" => "open chromatin",
        other => other,
    }
}

/// Without what all names of a list end with from a `_` on, as in CD3_TotalSeqB, CD4_TotalSeqB.
fn common_ending(names: &[String]) -> usize {
    let Some((_, ending)) = names.first().and_then(|name| name.split_once('_')) else { return 0 };
    let shared = names.len() > 1 && names.iter().all(|name| name.ends_with(&format!("_{ending}")));
    if shared { ending.len() + 1 } else { 0 }
}

/// The short name of a feature.
fn short<'a>(summary: &Summary, modality: &str, feature: &'a str) -> &'a str {
    let names = summary.modalities.iter().find(|m| m.name == modality).map_or(&[][..], |m| &m.features);
    &feature[..feature.len().saturating_sub(common_ending(names))]
}

/// `1,000 genes and 29 proteins`.
fn listed(summary: &Summary) -> String {
    let parts: Vec<String> = summary
        .modalities
        .iter()
        .map(|modality| {
            let noun = match modality.name.as_str() {
                "rna" => "genes",
                "protein" => "surface proteins",
                "atac" => "chromatin regions",
                other => return format!("{} features of {other}", grouped(modality.features.len())),
            };
            format!("{} {noun}", grouped(modality.features.len()))
        })
        .collect();
    match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    }
}

fn lead(summary: &Summary, cells: &Cells) -> String {
    let mut text = format!(
        "A multi-omics variational autoencoder learned one map of {} cells from {}. Each cell became a point with {} \
         coordinates; from that point alone the model predicts everything that was measured in the cell.",
        grouped(cells.names.len()),
        listed(summary),
        cells.latent.dims()
    );
    if summary.batches.len() > 1 {
        text += &format!(" Differences between the {} batches were taken out on the way.", summary.batches.len());
    }
    text
}

fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Pearson correlation of the features' means, on a log scale for counts.
fn mean_agreement(modality: &ModalityFit) -> (Vec<f64>, Vec<f64>, f64) {
    // counts seen less often than once in a thousand cells say little on a log scale
    const LEAST_MEAN: f64 = 1e-3;
    let pairs = modality.observed.iter().zip(&modality.expected).filter_map(|(x, y)| Some(((*x)?, (*y)?)));
    let scaled = |value: f64| if modality.counts { value.max(LEAST_MEAN).log10() } else { value };
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.map(|(x, y)| (scaled(x), scaled(y))).unzip();
    let r = gradome::nn::metrics::pearson(&x, &y);
    (x, y, r)
}

/// The table that says in plain words what was learned and how well.
fn learned(page: &mut Page, summary: &Summary, epochs: &[EpochMetrics]) -> Result<()> {
    let mut table = Table::new("").text_column("Question").text_column("Answer").text_column("How we know");
    let mut row = |question: &str, answer: String, how: String| -> Result<()> {
        table.row([Cell::from(question), Cell::from(answer), Cell::from(how)])?;
        Ok(())
    };
    let elbo = |epoch: &EpochMetrics| epoch.validation.get("elbo").or_else(|| epoch.train.get("elbo")).copied();
    if let (Some(first), Some(last)) = (epochs.first(), epochs.last()) {
        let kept = summary.best_epoch.and_then(|best| epochs.iter().find(|epoch| epoch.epoch == best)).unwrap_or(last);
        let answer = match summary.stopped_early {
            true => format!(
                "Yes. It stopped by itself when held-out cells were explained no better; epoch {} of {} was kept.",
                kept.epoch, last.epoch
            ),
            false => format!(
                "It ran through all {} epochs; epoch {} was kept. More may help where curves still rise.",
                last.epoch, kept.epoch
            ),
        };
        let on = if kept.validation.is_empty() { "training cells" } else { "cells that training never saw" };
        let how = match (elbo(first), elbo(kept)) {
            (Some(first), Some(kept)) => {
                format!("ELBO (log-likelihood bound) of {on}: from {first:.1} to {kept:.1} nats per cell.")
            }
            _ => String::new(),
        };
        row("Did training settle?", answer, how)?;
    }
    for modality in &summary.modalities {
        let (_, _, r) = mean_agreement(modality);
        let within = median(modality.correlation.iter().copied().flatten());
        let verdict = match within {
            Some(within) if within >= 0.6 => "Yes, down to single cells",
            Some(within) if within >= 0.3 => "Yes; single cells in part",
            _ => "Averages; single cells are mostly noise",
        };
        let within = within.map_or_else(String::new, |within| {
            format!("; across cells, what the model expects of the median feature correlates at {within:.2} with what was measured")
        });
        let how = format!("Average levels of features correlate at {r:.3}{within}.");
        row(&format!("Does it describe the {}?", called(&modality.name)), format!("{verdict}."), how)?;
    }
    if let Some(silhouette) = summary.silhouette {
        let verdict = match silhouette {
            s if s >= 0.35 => "Clearly",
            s if s >= 0.15 => "Mostly; some neighbouring groups blend",
            _ => "Not sharply: read the map as a continuum",
        };
        let how = format!(
            "Mean silhouette of {} k-means clusters: {silhouette:.2} (1 is apart, 0 touching).",
            summary.clusters.len()
        );
        row("Do cells form distinct groups?", format!("{verdict}."), how)?;
    }
    if let Some(mixing) = &summary.mixing {
        let verdict = match mixing.after {
            m if m >= 0.8 => "Yes",
            m if m >= 0.5 => "Largely",
            _ => "Not fully: batches may hold different cells, or effects too strong to take out",
        };
        let how = format!(
            "Neighbours from another batch, as a share of what chance gives: {:.0}\u{a0}% in the latent space, \
             {:.0}\u{a0}% in principal components of the uncorrected {}.",
            100.0 * mixing.after,
            100.0 * mixing.before,
            called(&summary.modalities[0].name)
        );
        row("Are the batches joined?", format!("{verdict}."), how)?;
    }
    for modality in summary.modalities.iter().filter(|modality| modality.measured < 1.0) {
        row(
            "What was missing?",
            format!("{:.0}\u{a0}% of the values of {}.", 100.0 * (1.0 - modality.measured), called(&modality.name)),
            "The model fills them in from what else the cell has; figures below show filled-in levels.".into(),
        )?;
    }
    if let Some(imputation) = &summary.imputation {
        let score = |at: usize| imputation.methods.get(at).and_then(|method| method.mean_correlation);
        if let (Some(model), Some(neighbours)) = (score(0), score(1)) {
            let verdict = if model >= neighbours {
                "Yes, better than by nearest neighbours"
            } else {
                "Yes, but nearest neighbours do better"
            };
            let how = format!(
                "Proteins hidden in {} cells: predictions correlate at {model:.2} with the truth (neighbours: {neighbours:.2}).",
                imputation.hidden_cells
            );
            row("Can it fill in hidden proteins?", format!("{verdict}."), how)?;
        }
    }
    page.section("What was learned, and how well").table(table);
    Ok(())
}

fn latent_space(page: &mut Page, summary: &Summary, cells: &Cells) -> Result<()> {
    let layout = Tsne { seed: summary.seed, ..Tsne::default() }.fit(&cells.latent)?;
    let (x, y) = (format!("{} 1", layout.method), format!("{} 2", layout.method));
    let names = layout.pick(&cells.names)?;
    let draw = |title: &str, colour: Colour, labels: bool| {
        let scatter = Scatter::new(&layout.points).axes(&x, &y).title(title).colour(colour).names(&names);
        if labels { scatter.label_on_data() } else { scatter }.draw()
    };
    let section = page.section("The map of cells");
    section.paragraph(format!(
        "The latent space, laid out in the plane by {}. Cells near each other are alike in everything that was \
         measured; distances between far groups mean little. {}",
        layout.method,
        layout.note()
    ));
    let mut figures = vec![(
        draw("Clusters", Colour::categories(&layout.pick(&cells.clusters)?), true)?,
        "Clusters found in the latent space, largest first.".to_owned(),
    )];
    if cells.batches.iter().any(|batch| !batch.is_empty()) {
        let colour = Colour::categories(&layout.pick(&cells.batches)?);
        figures.push((draw("Batches", colour, false)?, "Well-joined batches lie on top of each other.".to_owned()));
    }
    section.figures(figures);
    if let Some(first) = summary.shown.first() {
        let filled = summary.modalities.iter().any(|m| m.name == first.modality && m.measured < 1.0);
        let more = if filled { ", filled in where they were not measured" } else { "" };
        section.paragraph(format!(
            "The same map coloured by the {} features that differ most between cells ({}): levels as the model sees \
             them, free of batch and noise{more}.",
            summary.shown.len(),
            called(&first.modality)
        ));
    }
    let mut figures = Vec::new();
    for shown in &summary.shown {
        let colour = Colour::values(&layout.pick(&shown.values)?, &shown.unit);
        figures.push((draw(short(summary, &shown.modality, &shown.feature), colour, false)?, String::new()));
    }
    section.figures(figures);
    Ok(())
}

fn clusters(page: &mut Page, summary: &Summary) -> Result<()> {
    let mut table = Table::new("").text_column("Cluster").number_column("Cells", "", 0);
    for modality in &summary.modalities {
        table = table.text_column(format!("Highest {}", called(&modality.name)));
    }
    for cluster in &summary.clusters {
        let mut row = vec![Cell::from(cluster.name.as_str()), Cell::from(cluster.cells as f64)];
        row.extend(cluster.markers.iter().zip(&summary.modalities).map(|(markers, modality)| {
            let text = |(feature, z): &(String, f64)| format!("{} (+{z:.1})", short(summary, &modality.name, feature));
            let texts: Vec<String> = markers.iter().map(text).collect();
            Cell::from(texts.join(", "))
        }));
        table.row(row)?;
    }
    let section = page.section("Who is in each cluster");
    section.paragraph(
        "What stands out in each cluster: its mean level above that of all cells, in standard deviations between \
         cells (with the median deviation of all features added, so that faint features do not crowd out clear ones).",
    );
    section.table(table);
    Ok(())
}

fn imputed(page: &mut Page, imputation: &Imputation) -> Result<()> {
    let mut table = Table::new("")
        .text_column("Filled in by")
        .number_column("Mean correlation", "Pearson, ln(1 + count)", 3)
        .number_column("Mean absolute error", "ln(1 + count)", 3);
    for method in &imputation.methods {
        let correlation = method.mean_correlation.unwrap_or(f64::NAN);
        table.row([Cell::from(method.method.as_str()), correlation.into(), method.error.into()])?;
    }
    let mut order: Vec<usize> = (0..imputation.features.len()).collect();
    let value = |method: usize, feature: usize| imputation.methods[method].correlation[feature].unwrap_or(f64::NAN);
    order.sort_by(|&a, &b| value(0, b).total_cmp(&value(0, a)));
    let ending = common_ending(&imputation.features);
    let name = |&feature: &usize| &imputation.features[feature][..imputation.features[feature].len() - ending];
    let names: Vec<&str> = order.iter().map(name).collect();
    let mut bars = Bars::new("Pearson correlation with the hidden counts", &names);
    for (at, method) in imputation.methods.iter().enumerate() {
        let values: Vec<f64> = order.iter().map(|&feature| value(at, feature)).collect();
        if values.iter().any(|value| !value.is_nan()) {
            bars = bars.series(&method.method, &values);
        }
    }
    let section = page.section("Proteins that were hidden");
    section.paragraph(format!(
        "All protein counts of {} cells were kept from training. The model then predicted them from the cells' RNA \
         alone. A protein's mean says nothing about single cells, so it has no correlation.",
        imputation.hidden_cells
    ));
    section.table(table);
    section.figure(bars.draw()?, "Protein by protein, best first.");
    Ok(())
}

fn fit(page: &mut Page, summary: &Summary) -> Result<()> {
    let mut figures = Vec::new();
    for modality in &summary.modalities {
        let (observed, expected, r) = mean_agreement(modality);
        if observed.is_empty() {
            continue;
        }
        let unit = if modality.counts { "log10 mean count" } else { "mean" };
        let figure = Agreement::new(&observed, &expected)
            .axes(format!("observed, {unit}"), format!("expected, {unit}"))
            .statistic("Pearson r", r)
            .draw()?;
        let (name, features) = (called(&modality.name), grouped(modality.features.len()));
        let caption = format!("{name}: {features} features, {} likelihood.", modality.likelihood);
        figures.push((figure, caption));
    }
    let section = page.section("Fit of each modality");
    section.paragraph("Each point is one feature: its mean over the cells in which it was measured, and the mean that the model expects of the same cells. Points on the line are reproduced exactly.");
    section.figures(figures);
    Ok(())
}

fn training(page: &mut Page, summary: &Summary, epochs: &[EpochMetrics]) -> Result<()> {
    let series = |pick: &dyn Fn(&EpochMetrics) -> Option<f64>| -> (Vec<f64>, Vec<f64>) {
        epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, pick(epoch)?))).unzip()
    };
    let chart = |y_name: &str, key: &str| -> Result<Option<_>> {
        let (x, train) = series(&|epoch| epoch.train.get(key).copied());
        let (held_x, held_out) = series(&|epoch| epoch.validation.get(key).copied());
        if x.is_empty() {
            return Ok(None);
        }
        let mut lines = Lines::new("epoch", y_name).series("training cells", &x, &train);
        if !held_x.is_empty() {
            lines = lines.series("held-out cells", &held_x, &held_out);
        }
        if let Some(best) = summary.best_epoch {
            lines = lines.mark(best as f64, "kept");
        }
        if let Some((low, high)) = settled_range(&train, &held_out) {
            lines = lines.y_range(low, high);
        }
        Ok(Some(lines.draw()?))
    };
    let mut figures = Vec::new();
    figures.extend(
        chart("ELBO, nats per cell", "elbo")?.map(|figure| {
            (figure, "The bound on the log-likelihood that training raises; higher is better.".to_owned())
        }),
    );
    for modality in &summary.modalities {
        let key = format!("log_likelihood_{}", modality.name);
        figures.extend(
            chart("log-likelihood, nats per cell", &key)?
                .map(|f| (f, format!("Its part for {}.", called(&modality.name)))),
        );
    }
    figures.extend(chart("KL, nats per cell", "kl")?.map(|figure| {
        (figure, "How much each cell's position tells beyond the prior: the information in the map.".to_owned())
    }));
    let mut csv = String::from("epoch,learning_rate,train_elbo,held_out_elbo,seconds\n");
    let text = |value: Option<&f64>| value.map_or_else(String::new, f64::to_string);
    for e in epochs {
        let (train, held_out) = (text(e.train.get("elbo")), text(e.validation.get("elbo")));
        csv += &format!("{},{},{train},{held_out},{}\n", e.epoch, e.learning_rate, e.seconds);
    }
    let section = page.section("Training");
    section.paragraph(format!(
        "{} cells trained the model; {} were held out to decide when to stop. While training, units are dropped and \
         counts thinned, so curves of training cells are noisier; the two are means over different cells.",
        summary.train_cells, summary.held_out_cells
    ));
    let mut figures = figures.into_iter();
    if let Some((figure, caption)) = figures.next() {
        let data = Download { file_name: "training.csv".into(), contents: csv };
        section.figure_with_data(figure, caption, data);
    }
    section.figures(figures);
    Ok(())
}

/// The range of the curves without the first tenth of the epochs, which would flatten the rest.
fn settled_range(train: &[f64], held_out: &[f64]) -> Option<(f64, f64)> {
    const FEWEST_EPOCHS: usize = 20;
    if train.len() < FEWEST_EPOCHS {
        return None;
    }
    let late = |curve: &[f64]| curve[curve.len() / 10..].to_vec();
    let values = [late(train), late(held_out)].concat();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.05 * (high - low);
    (margin > 0.0 && margin.is_finite()).then_some((low - margin, high + margin))
}
