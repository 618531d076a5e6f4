//! The report of a contextual model: how training went, and how good it is where it was not trained.

use gradome::epigenome::contextual::{ContextualEpigenomicsConfig, HeadScores, Split};
use gradome::nn::trainer::History;
use gradome::report::html::{Cell, Page, Table};
use gradome::report::plot::Lines;

use crate::error::Result;

pub fn page(
    config: &ContextualEpigenomicsConfig,
    history: &History,
    scores: &[HeadScores],
    split: &Split,
    seed: u64,
) -> Result<Page> {
    let mut page = Page::new("Predictions along the genome");
    let names = || config.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>().join(", ");
    let seen = match (config.dna, config.tracks.len()) {
        (true, 0) => "DNA".to_owned(),
        (true, tracks) => format!("DNA and {tracks} tracks"),
        (false, tracks) => format!("{tracks} tracks"),
    };
    page.lead(format!(
        "The model predicts {} from {seen}, in positions of {} bp. The figures are about {} windows in blocks of the \
         genome that were held out; they decided when training stopped, so they are slightly kind to the model.",
        names(),
        config.bin_size,
        split.validation.len()
    ))
    .fact("training windows", split.train.len().to_string())
    .fact("held-out windows", split.validation.len().to_string())
    .fact("epochs", history.epochs.len().to_string());
    let section = page.section("How good it is");
    let mut table = Table::new("On held-out windows. Average precision is to be compared with the share of ones.")
        .text_column("task")
        .number_column("values", "", 0)
        .number_column("mean", "", 4)
        .number_column("AUROC", "", 4)
        .number_column("average precision", "", 4)
        .number_column("Brier score", "", 4)
        .number_column("calibration error", "", 4)
        .number_column("accuracy", "", 4)
        .number_column("Pearson r", "", 4);
    for score in scores {
        let number = |value: Option<f64>| Cell::Number(value.unwrap_or(f64::NAN));
        table.row([
            score.name.as_str().into(),
            (score.values as f64).into(),
            score.mean.into(),
            number(score.auroc),
            number(score.auprc),
            number(score.brier),
            number(score.calibration_error),
            number(score.accuracy),
            number(score.pearson),
        ])?;
    }
    section.table(table);
    for (score, curves) in scores.iter().filter_map(|score| Some((score, score.curves.as_ref()?))) {
        let share = [score.mean, score.mean];
        let precision = Lines::new("recall", "precision")
            .series(&score.name, &curves.recall, &curves.precision)
            .series("chance", &[0.0, 1.0], &share)
            .y_range(0.0, 1.0);
        let operating = Lines::new("false positive rate", "true positive rate")
            .series(&score.name, &curves.false_positive_rate, &curves.recall)
            .series("chance", &[0.0, 1.0], &[0.0, 1.0]);
        let top = curves.predicted.iter().chain(&curves.observed).fold(0.0, |a: f64, &b| a.max(b));
        let calibration = Lines::new("predicted probability", "observed share")
            .series(&score.name, &curves.predicted, &curves.observed)
            .series("calibrated", &[0.0, top], &[0.0, top]);
        page.section(&score.name).figures([
            (precision.draw()?, "Precision against recall, from the most certain calls on.".to_owned()),
            (operating.draw()?, "Receiver operating characteristic.".to_owned()),
            (calibration.draw()?, "Calibration: ten groups of equally many values.".to_owned()),
        ]);
    }
    let epochs: Vec<f64> = history.epochs.iter().map(|epoch| epoch.epoch as f64).collect();
    let pick = |train: bool| -> Vec<f64> {
        let of = |epoch: &gradome::nn::trainer::EpochMetrics| {
            let all = if train { &epoch.train } else { &epoch.validation };
            all.get("loss").copied().unwrap_or(f64::NAN)
        };
        history.epochs.iter().map(of).collect()
    };
    let mut lines =
        Lines::new("epoch", "loss").series("training", &epochs, &pick(true)).series("held out", &epochs, &pick(false));
    if let Some(best) = history.best_epoch {
        lines = lines.mark(best as f64, "kept");
    }
    page.section("Training").figure(lines.draw()?, "The loss of training windows (with dropout) and of held-out ones.");
    page.footer(format!(
        "gradome {}, seed {seed}. Figures are drawn inside this file; it loads nothing from the network.",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(page)
}
