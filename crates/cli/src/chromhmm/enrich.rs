//! `OverlapEnrichment` and `NeighborhoodEnrichment`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gradome::epigenome::chromatin::{Enrichment, NeighborhoodOptions, OverlapOptions, Segmentation, annotation_files};
use gradome::io::{for_each_line, write_text};
use gradome::report::plot::{Figure, HeatMap};

use super::words::{Command, Words, switch, value};
use crate::console::print;
use crate::error::{Result, wrong};

const POSTERIOR: (&str, &str) = ("-posterior", "give a segmentation");
const LABELS: (&str, &str) = ("-labels", "states are a letter and a number; -m names them");
const BROWSER: (&str, &str) = ("-browser", "give the file of segments, not the browser's track");
const CELL: (&str, &str) = ("-a", "it goes with -posterior; give a segmentation");

pub const OVERLAP: Command = Command {
    name: "OverlapEnrichment",
    about: "Computes how much more often states lie in annotated intervals than chance has it.",
    positionals: &["SEGMENTS", "COORDINATES", "OUT_PREFIX"],
    words: &[
        value("-b", "BP", "size of a bin [200]"),
        switch("-binres", "count whole bins"),
        switch("-center", "count only the middle of an interval"),
        value("-colfields", "CHR,START,END[,SIGNAL]", "columns from 0 [0,1,2,3]"),
        value("-color", "R,G,B", "has no effect: pictures use a scale that all readers can tell apart"),
        value("-e", "N", "taken from every end [1]"),
        value("-f", "FILE", "names of the files in COORDINATES to use, a line each"),
        switch("-lowmem", "has no effect: memory is low"),
        value("-m", "FILE", "labels of states: E1, a tab, the label"),
        switch("-multicount", "count bases that several intervals hold several times"),
        switch("-noimage", "write no picture"),
        switch("-nopvals", "write no p-values (none are written)"),
        value("-s", "N", "taken from every start [0]"),
        switch("-signal", "weigh intervals by a column"),
        value("-t", "TITLE", "title of the picture"),
        switch("-uniformscale", "one scale of colours for all columns, no column for the genome"),
    ],
    refused: &[POSTERIOR, LABELS, BROWSER, CELL],
};

pub const NEIGHBORHOOD: Command = Command {
    name: "NeighborhoodEnrichment",
    about: "Computes how much more often states lie around anchors than chance has it.",
    positionals: &["SEGMENTS", "ANCHORS", "OUT_PREFIX"],
    words: &[
        value("-b", "BP", "size of a bin [200]"),
        value("-color", "R,G,B", "has no effect: pictures use a scale that all readers can tell apart"),
        value("-colfields", "CHR,POSITION[,STRAND][,SIGNAL]", "columns from 0 [in that order]"),
        value("-l", "N", "positions to the left [10]"),
        switch("-lowmem", "has no effect: memory is low"),
        value("-m", "FILE", "labels of states: E1, a tab, the label"),
        switch("-noimage", "write no picture"),
        switch("-nostrand", "anchors have no strand"),
        value("-o", "N", "taken from every anchor [0]"),
        value("-r", "N", "positions to the right [10]"),
        value("-s", "BP", "distance between positions [the size of a bin]"),
        switch("-signal", "weigh anchors by a column"),
        value("-t", "TITLE", "title of the picture"),
    ],
    refused: &[POSTERIOR, LABELS, BROWSER, CELL],
};

/// Labels of states from a file of `E1<TAB>label`.
pub fn read_labels(path: Option<&str>) -> Result<HashMap<String, String>> {
    let mut labels = HashMap::new();
    if let Some(path) = path {
        for_each_line(Path::new(path), |line| {
            match line.split_once('\t') {
                Some((state, label)) => drop(labels.insert(state.trim().to_owned(), label.trim().to_owned())),
                None if line.trim().is_empty() => {}
                None => return Err("expected a state such as E1, a tab and a label".into()),
            }
            Ok(())
        })?;
    }
    Ok(labels)
}

/// The table of an enrichment as a picture; overlaps have a scale a column unless told otherwise.
pub fn picture(enrichment: &Enrichment, title: &str, by_column: bool) -> Result<Figure> {
    let rows: Vec<String> = enrichment.states.iter().map(usize::to_string).collect();
    let map = HeatMap::new(title, &rows, &enrichment.columns, &enrichment.fold).from(0.0);
    Ok(if by_column { map.scaled_by_column() } else { map }.draw()?)
}

/// Writes the table, and the picture unless it is not wanted.
pub fn write(
    enrichment: &Enrichment,
    prefix: &str,
    (title, by_column, image): (&str, bool, bool),
    labels: &HashMap<String, String>,
) -> Result<()> {
    let table = PathBuf::from(format!("{prefix}.txt"));
    enrichment.write(&table, !by_column && !enrichment.base_percent.is_empty(), labels)?;
    print(format_args!("{}\n", table.display()));
    if image {
        let by_column = by_column && !enrichment.base_percent.is_empty();
        let svg = picture(enrichment, title, by_column)?.standalone();
        let path = PathBuf::from(format!("{prefix}.svg"));
        write_text(&path, |to| to.write_all(svg.as_bytes()))?;
        print(format_args!("{}\n", path.display()));
    }
    Ok(())
}

pub fn overlap(words: &Words) -> Result<()> {
    let [segments, coordinates, prefix] = &words.positionals[..] else {
        return Err(wrong("three arguments are needed"));
    };
    let defaults = OverlapOptions::default();
    let columns = match words.numbers("-colfields")?.as_deref() {
        None => defaults.columns,
        Some(&[chromosome, start, end]) => [chromosome, start, end, usize::MAX],
        Some(&[chromosome, start, end, signal]) => [chromosome, start, end, signal],
        Some(_) => return Err(wrong("-colfields: give chromosome,start,end and with -signal the signal's column")),
    };
    let options = OverlapOptions {
        bin_size: words.number("-b", defaults.bin_size)?,
        offset_start: words.number("-s", defaults.offset_start)?,
        offset_end: words.number("-e", defaults.offset_end)?,
        center: words.has("-center"),
        count_repeats: words.has("-multicount"),
        weighted: words.has("-signal"),
        base_resolution: !words.has("-binres"),
        columns,
    };
    let labels = read_labels(words.text("-m"))?;
    let files = annotation_files(Path::new(coordinates), words.text("-f").map(Path::new))?;
    let enrichment = Enrichment::overlap(&Segmentation::read(Path::new(segments))?, &files, &options)?;
    let title = words.text("-t").unwrap_or("Fold enrichment");
    write(&enrichment, prefix, (title, !words.has("-uniformscale"), !words.has("-noimage")), &labels)
}

pub fn neighborhood(words: &Words) -> Result<()> {
    let [segments, anchors, prefix] = &words.positionals[..] else { return Err(wrong("three arguments are needed")) };
    let defaults = NeighborhoodOptions::default();
    let bin_size = words.number("-b", defaults.bin_size)?;
    let options = NeighborhoodOptions {
        bin_size,
        left: words.number("-l", defaults.left)?,
        right: words.number("-r", defaults.right)?,
        spacing: words.number("-s", bin_size)?,
        offset: words.number("-o", defaults.offset)?,
        stranded: !words.has("-nostrand"),
        weighted: words.has("-signal"),
        columns: words.numbers("-colfields")?.unwrap_or(defaults.columns),
    };
    let labels = read_labels(words.text("-m"))?;
    let enrichment = Enrichment::around(&Segmentation::read(Path::new(segments))?, Path::new(anchors), &options)?;
    let title = words.text("-t").unwrap_or("Fold enrichment");
    write(&enrichment, prefix, (title, true, !words.has("-noimage")), &labels)
}
