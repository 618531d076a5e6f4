//! The report of a peak call: fragment size, peaks in numbers, and the strongest ones on the genome.

use gradome::epigenome::macs::{Calls, FragmentModel, MacsConfig, MacsResult, PairedTrack, ReadCounts, RunDescription};
use gradome::report::html::{Cell, Page, Table};
use gradome::report::plot::{Figure, Histogram, Lines, Tracks};

use crate::error::Result;

/// Peaks that are shown on the genome.
const STRIPS: usize = 6;
/// Peaks in the table.
const LISTED: usize = 20;

/// What narrow and broad peaks have in common.
struct Called<'a> {
    chromosome: &'a str,
    start: u32,
    end: u32,
    /// Summits of the region; none of broad ones.
    summits: Vec<u32>,
    /// Strong parts of a broad region.
    strong: &'a [(u32, u32)],
    name: String,
    pileup: f32,
    fold: f32,
    p_score: f32,
    q_score: f32,
}

fn regions<'a>(result: &'a MacsResult, name: &str) -> Vec<Called<'a>> {
    match &result.calls {
        Calls::Narrow(peaks) => (1..)
            .zip(peaks.chunk_by(|a, b| a.end == b.end && a.chromosome == b.chromosome))
            .map(|(number, summits)| {
                let best = summits.iter().max_by(|a, b| a.p_score.total_cmp(&b.p_score)).unwrap_or(&summits[0]);
                Called {
                    chromosome: &best.chromosome,
                    start: best.start,
                    end: best.end,
                    summits: summits.iter().map(|peak| peak.summit).collect(),
                    strong: &[],
                    name: format!("{name}_peak_{number}"),
                    pileup: best.pileup,
                    fold: best.fold,
                    p_score: best.p_score,
                    q_score: best.q_score,
                }
            })
            .collect(),
        Calls::Broad(peaks) => (1..)
            .zip(peaks)
            .map(|(number, peak)| Called {
                chromosome: &peak.chromosome,
                start: peak.start,
                end: peak.end,
                summits: Vec::new(),
                strong: &peak.strong,
                name: format!("{name}_peak_{number}"),
                pileup: peak.pileup,
                fold: peak.fold,
                p_score: peak.p_score,
                q_score: peak.q_score,
            })
            .collect(),
    }
}

/// The page about a peak call.
pub fn page(result: &MacsResult, run: &RunDescription, config: &MacsConfig) -> Result<Page> {
    let regions = regions(result, &run.name);
    let noun = if config.broad_cutoff.is_some() { "broad regions" } else { "peaks" };
    let mut page = Page::new(format!("{}: {} {noun}", run.name, grouped(regions.len() as u64)));
    page.lead(lead(result, config, regions.len(), noun));
    page.fact(noun, grouped(regions.len() as u64));
    if config.call_summits {
        page.fact("summits", grouped(result.calls.len() as u64));
    }
    let covered: u64 = regions.iter().map(|peak| u64::from(peak.end - peak.start)).sum();
    page.fact("covered", format!("{} bp", grouped(covered)))
        .fact("fragment size", format!("{:.0} bp", result.fragment_size))
        .fact("treatment", grouped(result.treatment.after));
    if let Some(control) = &result.control {
        page.fact("control", grouped(control.after));
    }
    if !regions.is_empty() {
        strips(&mut page, result, &regions)?;
        numbers(&mut page, &regions, noun)?;
    }
    if let Some(model) = &result.model {
        fragment_size(&mut page, result, model)?;
    }
    samples(&mut page, result, run)?;
    page.footer(format!(
        "gradome {}, {}. Figures are drawn inside this file; it loads nothing from the network.",
        env!("CARGO_PKG_VERSION"),
        run.command
    ));
    Ok(page)
}

fn lead(result: &MacsResult, config: &MacsConfig, count: usize, noun: &str) -> String {
    use gradome::epigenome::macs::Cutoff;
    let cutoff = match config.cutoff {
        Cutoff::Q(q) => format!("a false discovery rate of {q}"),
        Cutoff::P(p) => format!("a p-value of {p}"),
    };
    let against = match (&result.control, config.local_lambda) {
        (Some(_), true) => "the control around it",
        (Some(_), false) => "the mean of the control",
        (None, true) => "the treatment's own wider surroundings",
        (None, false) => "the mean of the genome",
    };
    if count == 0 {
        return format!("No place is enriched over {against} at {cutoff}.");
    }
    format!(
        "{} {noun} where reads pile up over what {against} lets expect, at {cutoff}, called as MACS3 calls them.",
        grouped(count as u64)
    )
}

/// The runs of a track over a window, one of its two signals.
fn runs(track: &PairedTrack, values: &[f32], from: u32, to: u32) -> Vec<(u64, u64, f64)> {
    let first = track.ends.partition_point(|&end| end <= from);
    (first..track.len())
        .take_while(|&run| track.start(run) < to)
        .map(|run| (u64::from(track.start(run)), u64::from(track.ends[run]), f64::from(values[run])))
        .collect()
}

fn strips(page: &mut Page, result: &MacsResult, regions: &[Called<'_>]) -> Result<()> {
    let mut strongest: Vec<&Called<'_>> = regions.iter().collect();
    strongest.sort_by(|a, b| b.p_score.total_cmp(&a.p_score));
    strongest.truncate(STRIPS);
    // strips of one chromosome follow each other, so that its pileup is made once
    let mut by_chromosome: Vec<(usize, &Called<'_>)> = strongest.iter().copied().enumerate().collect();
    by_chromosome.sort_by_key(|(_, peak)| peak.chromosome);
    let mut drawn: Vec<(usize, Figure, String)> = Vec::new();
    for of_one in by_chromosome.chunk_by(|a, b| a.1.chromosome == b.1.chromosome) {
        let Some(place) = result.signal.position(of_one[0].1.chromosome) else { continue };
        let track = result.signal.tracks(place);
        for &(rank, peak) in of_one {
            let margin = (2 * (peak.end - peak.start)).clamp(1_000, 20_000);
            let (from, to) = (peak.start.saturating_sub(margin), peak.end.saturating_add(margin));
            drawn.push((rank, strip(&track, peak, regions, (from, to))?, caption(peak)));
        }
    }
    drawn.sort_by_key(|(rank, ..)| *rank);
    let section = page.section("The strongest on the genome");
    section.paragraph(
        "Pileup of fragments (area) and the background that is expected there (local lambda, dashed), both after \
         scaling, in reads; boxes are what was called, ticks are summits.",
    );
    for (_, figure, caption) in drawn {
        section.figure(figure, caption);
    }
    Ok(())
}

fn strip(track: &PairedTrack, peak: &Called<'_>, regions: &[Called<'_>], (from, to): (u32, u32)) -> Result<Figure> {
    let near: Vec<&Called<'_>> = regions
        .iter()
        .filter(|other| other.chromosome == peak.chromosome && other.start < to && other.end > from)
        .collect();
    let wide = |(start, end): (u32, u32)| (u64::from(start), u64::from(end));
    let boxes = near.iter().map(|other| {
        let (start, end) = wide((other.start, other.end));
        (start, end, other.name.clone())
    });
    let mut tracks = Tracks::new(peak.chromosome, u64::from(from), u64::from(to))
        .signal("pileup", runs(track, &track.treatment, from, to))
        .over("expected", runs(track, &track.lambda, from, to))
        .intervals("called", boxes);
    let strong = near.iter().flat_map(|other| other.strong.iter().copied().map(wide));
    let strong: Vec<(u64, u64, &str)> = strong.map(|(start, end)| (start, end, "")).collect();
    if !strong.is_empty() {
        tracks = tracks.intervals("strong", strong);
    }
    let summits: Vec<u64> = near.iter().flat_map(|other| other.summits.iter().copied().map(u64::from)).collect();
    if !summits.is_empty() {
        tracks = tracks.positions("summits", summits);
    }
    Ok(tracks.draw()?)
}

fn caption(peak: &Called<'_>) -> String {
    format!(
        "{} at {}:{}-{}, {:.1} times what is expected, -log10 q {:.1}.",
        peak.name,
        peak.chromosome,
        grouped(u64::from(peak.start) + 1),
        grouped(peak.end.into()),
        peak.fold,
        peak.q_score
    )
}

fn numbers(page: &mut Page, regions: &[Called<'_>], noun: &str) -> Result<()> {
    let values = |of: &dyn Fn(&Called<'_>) -> f64| -> Vec<f64> { regions.iter().map(of).collect() };
    let widths = Histogram::new("width (bp)").series(noun, &values(&|peak| f64::from(peak.end - peak.start)));
    let folds = Histogram::new("fold enrichment").series(noun, &values(&|peak| f64::from(peak.fold)));
    let scores = Histogram::new("-log10 q").series(noun, &values(&|peak| f64::from(peak.q_score)));
    let mut table = Table::new("")
        .text_column("Name")
        .text_column("Place")
        .number_column("Width", "bp", 0)
        .number_column("Pileup", "reads", 1)
        .number_column("Fold", "over expected", 1)
        .number_column("-log10 p", "", 1)
        .number_column("-log10 q", "", 1);
    let mut strongest: Vec<&Called<'_>> = regions.iter().collect();
    strongest.sort_by(|a, b| b.p_score.total_cmp(&a.p_score));
    for peak in strongest.iter().take(LISTED) {
        let place = format!("{}:{}-{}", peak.chromosome, grouped(u64::from(peak.start) + 1), grouped(peak.end.into()));
        table.row([
            Cell::from(peak.name.as_str()),
            Cell::from(place),
            f64::from(peak.end - peak.start).into(),
            f64::from(peak.pileup).into(),
            f64::from(peak.fold).into(),
            f64::from(peak.p_score).into(),
            f64::from(peak.q_score).into(),
        ])?;
    }
    let section = page.section("In numbers");
    section.figures([
        (widths.draw()?, "How wide they are.".to_owned()),
        (folds.draw()?, "Fragments over what is expected, with 1 added to both.".to_owned()),
        (scores.draw()?, "How sure they are.".to_owned()),
    ]);
    section.paragraph(format!("The strongest {}:", strongest.len().min(LISTED)));
    section.table(table);
    Ok(())
}

fn fragment_size(page: &mut Page, result: &MacsResult, model: &FragmentModel) -> Result<()> {
    let size = f64::from(model.fragment_size);
    let correlation = Lines::new("lag (bp)", "correlation of the strands")
        .series("smoothed", &model.lags, &model.correlation)
        .mark(size, format!("{} bp", model.fragment_size))
        .draw()?;
    let profiles = Lines::new("distance from the middle of a pair (bp)", "reads")
        .series("forward", &model.positions, &model.forward)
        .series("reverse", &model.positions, &model.reverse)
        .draw()?;
    let section = page.section("How long fragments are");
    section.paragraph(format!(
        "{} pairs of peaks, one on each strand, were laid over each other. The reverse strand follows the forward one \
         at the fragment size, where the correlation of the two is highest.",
        grouped(model.pairs as u64)
    ));
    if size != result.fragment_size {
        section.note(format!("The estimate was not believed: {:.0} bp were used.", result.fragment_size));
    }
    section.figures([
        (profiles, "Reads of each strand around the middles of the pairs.".to_owned()),
        (correlation, "Correlation of the strands when one is moved.".to_owned()),
    ]);
    Ok(())
}

fn samples(page: &mut Page, result: &MacsResult, run: &RunDescription) -> Result<()> {
    let unit = if result.paired { "fragments" } else { "reads" };
    let mut table = Table::new("")
        .text_column("Sample")
        .text_column("Files")
        .number_column("Read", unit, 0)
        .number_column("Kept", unit, 0)
        .number_column("Redundant", "%", 1);
    let mut row = |name: &str, files: &[String], counts: ReadCounts| -> Result<()> {
        let redundant = 100.0 * counts.before.saturating_sub(counts.after) as f64 / counts.before.max(1) as f64;
        let (before, after) = (counts.before as f64, counts.after as f64);
        table.row([Cell::from(name), files.join(", ").into(), before.into(), after.into(), redundant.into()])?;
        Ok(())
    };
    row("treatment", &run.treatment_files, result.treatment)?;
    if let Some(control) = result.control {
        row("control", &run.control_files, control)?;
    }
    let section = page.section("What was read");
    section.table(table);
    for note in &result.notes {
        section.note(note.as_str());
    }
    Ok(())
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
