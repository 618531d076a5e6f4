//! The report about a model of chromatin states.

use gradome::epigenome::chromatin::{ChromHmmModel, Enrichment, Segmentation};
use gradome::io::genome::binarised::Binarised;
use gradome::report::html::{Cell, Page, Table};
use gradome::report::plot::Lines;

use super::{enrich, learn};
use crate::error::Result;

/// An enrichment and what it is of.
pub struct Annotation {
    pub title: String,
    pub enrichment: Enrichment,
}

/// Everything about a learned model.
pub struct Learned<'a> {
    pub model: &'a ChromHmmModel,
    /// Marks in the order of the tables.
    pub columns: &'a [usize],
    /// ln-likelihood of each pass.
    pub curve: &'a [f64],
    pub data: &'a Binarised,
    pub cells: &'a [Segmentation],
    pub annotations: &'a [Annotation],
}

/// A state is said to carry a mark from this probability on.
const CARRIES: f64 = 0.25;

/// The marks of a state, the most probable first.
fn carried(model: &ChromHmmModel, state: usize) -> String {
    let mut marks: Vec<(f64, &str)> =
        model.emissions_of(state).iter().zip(&model.marks).map(|(p, mark)| (p[1], mark.as_str())).collect();
    marks.retain(|mark| mark.0 >= CARRIES);
    marks.sort_by(|a, b| b.0.total_cmp(&a.0));
    match marks.len() {
        0 => "none".to_owned(),
        _ => marks.iter().map(|(p, mark)| format!("{mark} {p:.2}")).collect::<Vec<_>>().join(", "),
    }
}

pub fn page(learned: &Learned<'_>, command: &str) -> Result<Page> {
    let Learned { model, data, .. } = learned;
    let states = model.states();
    let mut page = Page::new(format!("Chromatin states: {states} states of {} marks", model.marks.len()));
    page.lead(format!(
        "A hidden Markov model learned {states} chromatin states from which marks occur together in {} bins of {} \
         sequences. Each state emits each mark with a probability of its own and is followed by other states with \
         probabilities of their own.",
        data.bins(),
        data.sequences.len()
    ));
    page.fact("states", states.to_string()).fact("marks", model.marks.len().to_string());
    page.fact("cell types", learned.cells.len().to_string()).fact("passes", learned.curve.len().to_string());
    if let Some(last) = learned.curve.last() {
        page.fact("ln-likelihood", format!("{last:.3}"));
    }
    let [emissions, transitions] = learn::maps(model, learned.columns);
    page.section("States")
        .figure(emissions.draw()?, "Probability that a bin in the state (row) carries the mark (column).")
        .table(summary(learned)?);
    page.section("Transitions").figure(
        transitions.draw()?,
        "Probability that a bin in one state (row) is followed by one in another (column).",
    );
    if learned.curve.len() > 1 {
        let passes: Vec<f64> = (1..=learned.curve.len()).map(|pass| pass as f64).collect();
        let lines = Lines::new("pass", "ln-likelihood").series("ln-likelihood", &passes, learned.curve);
        page.section("Training").figure(lines.draw()?, "ln-likelihood of the calls, pass by pass.");
    }
    if !learned.annotations.is_empty() {
        let section = page.section("Enrichment");
        section.paragraph(
            "How many times more often the state (row) lies in the annotation than it would if states were spread \
             evenly over the segmented genome.",
        );
        for annotation in learned.annotations {
            let by_column = !annotation.enrichment.base_percent.is_empty();
            let map = enrich::picture(&annotation.enrichment, "fold enrichment", by_column)?;
            section.figure(map, &annotation.title);
        }
    }
    page.footer(format!("gradome {}: chromhmm {command}", env!("CARGO_PKG_VERSION")));
    Ok(page)
}

/// Share of the genome and marks of each state.
fn summary(learned: &Learned<'_>) -> Result<Table> {
    let states = learned.model.states();
    let mut table = Table::new("States and what they carry").text_column("state").text_column("marks");
    for cell in learned.cells {
        table = table.number_column(&cell.prefix, "% of bins", 2);
    }
    let shares: Vec<Vec<f64>> = learned.cells.iter().map(|cell| shares(cell, states)).collect();
    for state in 0..states {
        let label = format!("{}{}", learned.model.order.letter(), state + 1);
        let mut row = vec![Cell::Text(label), Cell::Text(carried(learned.model, state))];
        row.extend(shares.iter().map(|shares| Cell::Number(shares[state])));
        table.row(row)?;
    }
    Ok(table)
}

/// Share of the segmented positions in each state (%).
pub fn shares(cell: &Segmentation, states: usize) -> Vec<f64> {
    let mut lengths = vec![0.0; states];
    for segment in &cell.segments {
        let state = segment.state.get(1..).and_then(|number| number.parse::<usize>().ok());
        if let Some(length) = state.and_then(|state| lengths.get_mut(state.wrapping_sub(1))) {
            *length += (segment.end - segment.start) as f64;
        }
    }
    let total: f64 = lengths.iter().sum();
    lengths.iter().map(|length| 100.0 * length / total).collect()
}
