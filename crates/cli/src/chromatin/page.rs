//! The report about states of chromatin: what they emit, how they follow each other, where they lie.

use gradome::epigenome::chromatin::{ChromatinData, ChromatinFit, Emission, Segmentation, TrainedChromatinStates};
use gradome::report::html::{Cell, Page, Section, Table};
use gradome::report::plot::{Figure, HeatMap, Lines, Tracks};

use super::fit::CountScore;
use crate::chromhmm::page::shares;
use crate::error::Result;

/// How well a model explains a sequence.
pub struct Likelihood {
    pub cell: String,
    pub chromosome: String,
    pub bins: usize,
    pub ln_likelihood: f64,
}

/// Everything that the page is about.
pub struct Report<'a> {
    pub model: &'a TrainedChromatinStates,
    /// The fit and its method, of a model that was just trained.
    pub fit: Option<(&'a ChromatinFit, &'static str)>,
    pub scores: &'a [CountScore],
    /// `[cell types, states, marks]`
    pub errors: Option<&'a [f64]>,
    pub data: &'a ChromatinData,
    pub cells: &'a [Segmentation],
    pub likelihoods: &'a [Likelihood],
}

/// Bins of the stretch that is shown.
const STRIP_BINS: usize = 400;
/// Marks that are drawn above the states.
const STRIP_MARKS: usize = 4;
/// A state is said to carry a mark from this probability on.
const CARRIES: f64 = 0.25;

/// What the emissions are, in words.
fn about(emission: Emission) -> &'static str {
    match emission {
        Emission::Bernoulli => "probability of the mark",
        Emission::Poisson => "mean count (Poisson)",
        Emission::NegativeBinomial => "mean count (negative binomial)",
        Emission::Gaussian => "mean value (Gaussian)",
    }
}

pub fn page(report: &Report<'_>, seed: u64) -> Result<Page> {
    let (model, data) = (report.model, report.data);
    let (states, header) = (model.states(), model.header());
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let marks = many(header.marks.len(), "mark");
    let mut page = Page::new(format!("Chromatin states: {} of {marks}", many(states, "state")));
    page.lead(format!(
        "{states} chromatin states of {} bins of {} bp, {marks} and {}. Each state emits each mark in a way of its own \
         and is followed by other states with probabilities of its own.",
        data.bins(),
        data.bin_size,
        many(data.cells().len(), "cell type"),
    ));
    page.fact("states", states.to_string()).fact("marks", header.marks.len().to_string());
    page.fact("bins", data.bins().to_string());
    match report.fit {
        Some((fit, method)) => {
            page.fact("ln-likelihood", format!("{:.3}", header.ln_likelihood));
            page.fact("BIC", format!("{:.0}", model.bic()));
            if let Some(score) = report.scores.iter().find(|score| score.chosen)
                && let Some(held_out) = score.held_out_per_bin
            {
                page.fact("held-out ln-likelihood a bin", format!("{held_out:.5}"));
            }
            page.fact("method", method).fact("passes", fit.curve.len().to_string());
        }
        None => {
            let total: f64 = report.likelihoods.iter().map(|one| one.ln_likelihood).sum();
            page.fact("ln-likelihood", format!("{total:.3}"));
            page.fact("a bin", format!("{:.5}", total / data.bins() as f64));
        }
    }
    emissions(page.section("States"), report)?;
    let names: Vec<String> = (1..=states).map(|state| format!("E{state}")).collect();
    let map = HeatMap::new("probability of the next state", &names, &names, &model.chain().1).from(0.0);
    page.section("Transitions")
        .figure(map.draw()?, "Probability that a bin in one state (row) is followed by one in another (column).");
    page.section("Where states lie").table(coverage(report)?);
    strips(page.section("On the genome"), report)?;
    training(&mut page, report)?;
    if !report.likelihoods.is_empty() {
        page.section("How well the model explains the data").table(likelihoods(report)?);
    }
    page.footer(format!(
        "gradome {}, seed {seed}. Figures are drawn inside this file; it loads nothing from the network.",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(page)
}

/// Heat maps of what states emit, and of how sure that is.
fn emissions(section: &mut Section, report: &Report<'_>) -> Result<()> {
    let model = report.model;
    let (states, marks, emission) = (model.states(), &model.header().marks, model.config().emission);
    let (order, size) = (model.mark_order(), states * marks.len());
    let names: Vec<String> = (1..=states).map(|state| format!("E{state}")).collect();
    let columns: Vec<String> = order.iter().map(|&mark| marks[mark].clone()).collect();
    let draw = |values: &[f64], what: &str| -> Result<Figure> {
        let rows = values.chunks_exact(marks.len());
        let values: Vec<f64> = rows.flat_map(|row| order.iter().map(move |&mark| row[mark])).collect();
        let map = HeatMap::new(what, &names, &columns, &values);
        Ok(match emission {
            Emission::Bernoulli => map.from(0.0),
            // marks are sequenced to different depths
            Emission::Poisson | Emission::NegativeBinomial => map.from(0.0).scaled_by_column(),
            Emission::Gaussian => map.scaled_by_column(),
        }
        .draw()?)
    };
    let expected = model.expected();
    for (cell, values) in expected.chunks_exact(size).enumerate() {
        let of = if expected.len() > size { format!(" in {}", model.header().cells[cell]) } else { String::new() };
        section
            .figure(draw(values, about(emission))?, format!("What each state (row) emits of each mark (column){of}."));
        if let Some(errors) = report.errors {
            let errors = &errors[cell * size..(cell + 1) * size];
            section.figure(
                draw(errors, "standard error")?,
                format!("Standard errors of the above{of}; grey where the data cannot tell."),
            );
        }
    }
    Ok(())
}

/// Marks of a state in words: those it carries, or those whose mean is highest against other states.
fn carried(model: &TrainedChromatinStates, state: usize) -> String {
    let (states, marks) = (model.states(), &model.header().marks);
    let expected = model.expected();
    let value = |state: usize, mark: usize| expected[state * marks.len() + mark];
    let calls = model.config().emission == Emission::Bernoulli;
    let mut found: Vec<(f64, String)> = (0..marks.len())
        .filter_map(|mark| {
            let own = value(state, mark);
            let mean = (0..states).map(|s| value(s, mark)).sum::<f64>() / states as f64;
            let stands_out = if calls { own >= CARRIES } else { own > mean };
            let weight = if calls { own } else { (own - mean) / mean.abs().max(1e-9) };
            stands_out.then(|| (weight, format!("{} {own:.2}", marks[mark])))
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    match found.is_empty() {
        true => "none".into(),
        false => found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", "),
    }
}

/// Share of each state, and what it carries.
fn coverage(report: &Report<'_>) -> Result<Table> {
    let states = report.model.states();
    let mut table = Table::new("Share of the bins in each state").text_column("state").text_column("stands out by");
    for cell in report.cells {
        table = table.number_column(&cell.prefix, "%", 2);
    }
    let shares: Vec<Vec<f64>> = report.cells.iter().map(|cell| shares(cell, states)).collect();
    for state in 0..states {
        let mut row = vec![Cell::Text(format!("E{}", state + 1)), Cell::Text(carried(report.model, state))];
        row.extend(shares.iter().map(|shares| Cell::Number(shares[state])));
        table.row(row)?;
    }
    Ok(table)
}

/// A strip of the genome for each cell type, around the stretch where most happens.
fn strips(section: &mut Section, report: &Report<'_>) -> Result<()> {
    let (data, bin) = (report.data, report.data.bin_size);
    section.paragraph(
        "The stretch with the most states of each cell type: the marks that change most there, and the states.",
    );
    for (cell, segmentation) in data.cells().iter().zip(report.cells) {
        let length = STRIP_BINS as u64 * bin;
        // segments that start in each stretch, by state
        let mut best: Option<((usize, usize), &str, u64)> = None;
        let mut seen: std::collections::BTreeMap<(&str, u64), (std::collections::BTreeSet<&str>, usize)> =
            std::collections::BTreeMap::new();
        for segment in &segmentation.segments {
            let place = seen.entry((segment.chromosome.as_str(), segment.start / length)).or_default();
            place.0.insert(segment.state.as_str());
            place.1 += 1;
        }
        for ((chromosome, number), (states, count)) in &seen {
            let score = (states.len(), *count);
            if best.is_none_or(|best| score > best.0) {
                best = Some((score, chromosome, number * length));
            }
        }
        let Some((_, chromosome, start)) = best else { continue };
        let Some(sequence) = data.sequences.iter().find(|s| s.cell == *cell && s.chromosome == chromosome) else {
            continue;
        };
        let first = (start / bin) as usize;
        let last = (first + STRIP_BINS).min(data.bins_of(sequence));
        let marks = data.marks.len();
        let value = |at: usize, mark: usize| f64::from(sequence.values[at * marks + mark]);
        let mut changing: Vec<(f64, usize)> = (0..marks)
            .map(|mark| {
                let all = (first..last).map(|at| value(at, mark)).filter(|v| !v.is_nan());
                let (n, sum, squares) = all.fold((0.0, 0.0, 0.0), |(n, s, q), v| (n + 1.0, s + v, q + v * v));
                (if n > 0.0 { (squares / n - (sum / n) * (sum / n)).max(0.0) } else { -1.0 }, mark)
            })
            .collect();
        changing.sort_by(|a, b| b.0.total_cmp(&a.0));
        let missing: Vec<&str> = changing
            .iter()
            .filter(|(variance, _)| *variance < 0.0)
            .map(|&(_, mark)| data.marks[mark].as_str())
            .collect();
        let mut tracks = Tracks::new(chromosome, start, last as u64 * bin);
        for &(_, mark) in changing.iter().take(STRIP_MARKS.min(marks - missing.len())) {
            let runs = (first..last).map(|at| (at as u64 * bin, (at as u64 + 1) * bin, value(at, mark)));
            tracks = tracks.signal(&data.marks[mark], runs.filter(|run| !run.2.is_nan()));
        }
        let end = last as u64 * bin;
        for state in 1..=report.model.states() {
            let label = format!("E{state}");
            let inside = segmentation
                .segments
                .iter()
                .filter(|s| s.state == label && s.chromosome == chromosome && s.end > start && s.start < end);
            let boxes: Vec<_> = inside.map(|s| (s.start.max(start), s.end.min(end), "")).collect();
            if !boxes.is_empty() {
                tracks = tracks.intervals(label, boxes);
            }
        }
        let mut caption = format!("{cell}, {chromosome} from {start} bp on.");
        if !missing.is_empty() {
            caption += &format!(" Not measured here: {}.", missing.join(", "));
        }
        section.figure(tracks.draw()?, caption);
    }
    Ok(())
}

/// The curve of training, the starts and the numbers of states.
fn training(page: &mut Page, report: &Report<'_>) -> Result<()> {
    let Some((fit, _)) = report.fit else { return Ok(()) };
    let section = page.section("Training");
    if fit.curve.len() > 1 {
        let passes: Vec<f64> = (1..=fit.curve.len()).map(|pass| pass as f64).collect();
        let lines = Lines::new("pass", "ln-likelihood").series("ln-likelihood", &passes, &fit.curve);
        section.figure(lines.draw()?, "ln-likelihood of the training data, pass by pass (best so far).");
    }
    if fit.attempts.len() > 1 {
        let mut table = Table::new("Starts").text_column("start").number_column("ln-likelihood", "", 3);
        for attempt in &fit.attempts {
            table.row([attempt.start.as_str().into(), attempt.outcome.as_ref().map_or(f64::NAN, |v| *v).into()])?;
        }
        section.table(table);
    }
    if report.scores.len() > 1 {
        let section = page.section("How many states");
        let (counts, bic): (Vec<f64>, Vec<f64>) = report.scores.iter().map(|s| (s.states as f64, s.bic)).unzip();
        let chosen = fit.trained.states() as f64;
        let lines = Lines::new("states", "BIC").series("BIC", &counts, &bic).mark(chosen, "chosen");
        let mut figures = vec![(lines.draw()?, "Bayesian information criterion; less is better.".to_owned())];
        let held: Vec<f64> = report.scores.iter().filter_map(|s| s.held_out_per_bin).collect();
        if held.len() == counts.len() {
            let lines = Lines::new("states", "held-out ln-likelihood a bin");
            let lines = lines.series("held out", &counts, &held).mark(chosen, "chosen");
            figures.push((lines.draw()?, "Likelihood of what was held out; more is better.".to_owned()));
        }
        section.figures(figures);
        let mut table = Table::new("Numbers of states")
            .number_column("states", "", 0)
            .number_column("ln-likelihood", "", 3)
            .number_column("parameters", "", 0)
            .number_column("BIC", "", 1)
            .number_column("held-out ln-likelihood", "a bin", 6);
        for s in report.scores {
            let held_out = s.held_out_per_bin.unwrap_or(f64::NAN);
            let parameters = s.free_parameters as f64;
            table.row([
                (s.states as f64).into(),
                s.ln_likelihood.into(),
                parameters.into(),
                s.bic.into(),
                held_out.into(),
            ])?;
        }
        section.table(table);
    }
    Ok(())
}

fn likelihoods(report: &Report<'_>) -> Result<Table> {
    let mut table = Table::new("")
        .text_column("cell type")
        .text_column("chromosome")
        .number_column("bins", "", 0)
        .number_column("ln-likelihood", "", 3)
        .number_column("a bin", "", 5);
    for one in report.likelihoods {
        let (bins, value) = (one.bins as f64, one.ln_likelihood);
        let names = [one.cell.as_str().into(), one.chromosome.as_str().into()];
        table.row(names.into_iter().chain([bins.into(), value.into(), (value / bins).into()]))?;
    }
    Ok(table)
}
