//! `LearnModel` and `MakeSegmentation`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gradome::epigenome::chromatin::{
    Algorithm, ChromHmmModel, Decoding, EmSettings, Enrichment, JavaRandom, NeighborhoodOptions, OverlapOptions,
    Segmentation, SegmentationFiles, StateOrder, annotation_files,
};
use gradome::io::genome::ChromSizes;
use gradome::io::genome::binarised::{Binarised, binarised_files};
use gradome::io::{for_each_line, write_text};
use gradome::report::plot::HeatMap;

use super::page::{Annotation, Learned};
use super::words::{Command, Words, switch, value};
use super::{enrich, page};
use crate::console::print;
use crate::error::{Result, wrong};

const SPLIT: (&str, &str) =
    ("-splitrows", "memory does not grow with the length of a chromosome, so none needs to be split");

pub const LEARN: Command = Command {
    name: "LearnModel",
    about: "Learns chromatin states from presence calls and segments the genome with them.",
    positionals: &["BINARY_DIR", "OUT_DIR", "STATES", "ASSEMBLY"],
    words: &[
        value("-b", "BP", "size of a bin [200]"),
        value("-color", "R,G,B", "has no effect: pictures use a scale that all readers can tell apart"),
        value("-d", "GAIN", "stop when a pass gains less ln-likelihood; negative: never [0.001]"),
        value("-e", "SHARE", "uniform emissions mixed into a loaded model [0.02]"),
        value("-f", "FILE", "names of the files in BINARY_DIR to use, a line each"),
        switch("-gzip", "gzip segments, tracks and posteriors"),
        value("-h", "SHARE", "uniform probabilities mixed into the information start [0.02]"),
        switch("-holdcolumnorder", "keep the order of the marks in tables"),
        switch("-holdroworder", "keep the order of the states"),
        value("-i", "NAME", "stands behind the number of states in file names"),
        value("-init", "information|random|load", "how training starts [information]"),
        value("-l", "FILE", "chromosome lengths, or a folder with ASSEMBLY.txt: segments end there"),
        switch("-lowmem", "has no effect: memory is low"),
        value("-m", "MODEL", "the model that -init load starts from"),
        switch("-many", "has no effect: products of many probabilities never underflow"),
        switch("-noautoopen", "has no effect: no browser is opened"),
        switch("-nobed", "write no segments"),
        switch("-nobrowser", "write no browser tracks"),
        switch("-nobrowserheader", "write browser tracks without their first lines"),
        switch("-noenrich", "compute no enrichments"),
        switch("-noimage", "write no pictures beside the tables"),
        value("-p", "N", "plain Baum-Welch on N threads, 0 for all; otherwise incremental passes"),
        switch("-printposterior", "write the probability of every state at every bin"),
        switch("-printstatebyline", "write the state of every bin on a line of its own"),
        switch("-printstatesbyline", "the same"),
        switch("-pseudo", "add 1 to every count"),
        value("-r", "N", "passes, at most [200]"),
        value("-s", "SEED", "seed of the order of files and of a random start [999]"),
        switch("-scalebeta", "has no effect: rows are always scaled by themselves"),
        value("-stateordering", "emission|transition", "by what neighbours among states are alike [emission]"),
        value("-t", "SHARE", "uniform transitions mixed into a loaded model [0.5]"),
        value("-u", "DIR", "intervals for overlap enrichment, in a folder ASSEMBLY below"),
        value("-v", "DIR", "anchors for neighbourhood enrichment, in a folder ASSEMBLY below"),
        value("-x", "SECONDS", "stop after a pass that ends later; negative: never [-1]"),
        value("-z", "POWER", "transitions below 10^-POWER become zero [8]"),
    ],
    refused: &[
        SPLIT,
        ("-n", "all sequences are used in every pass; name fewer with -f"),
        ("-nopseudolast", "-pseudo adds to all counts or leave it out"),
    ],
};

pub const SEGMENT: Command = Command {
    name: "MakeSegmentation",
    about: "Segments the genome with a model that was learned before.",
    positionals: &["MODEL", "BINARY_DIR", "OUT_DIR"],
    words: &[
        value("-b", "BP", "size of a bin [200]"),
        value("-f", "FILE", "names of the files in BINARY_DIR to use, a line each"),
        switch("-gzip", "gzip what is written"),
        value("-i", "NAME", "stands behind the number of states in file names"),
        value("-l", "FILE", "chromosome lengths: segments end there"),
        switch("-lowmem", "has no effect: memory is low"),
        switch("-many", "has no effect: products of many probabilities never underflow"),
        switch("-nobed", "write no segments"),
        switch("-printposterior", "write the probability of every state at every bin"),
        switch("-printstatebyline", "write the state of every bin on a line of its own"),
        switch("-printstatesbyline", "the same"),
        switch("-scalebeta", "has no effect: rows are always scaled by themselves"),
    ],
    refused: &[SPLIT],
};

/// The files to use, sorted by name.
fn files(folder: &str, list: Option<&str>) -> Result<Vec<PathBuf>> {
    let folder = Path::new(folder);
    let Some(list) = list else { return Ok(binarised_files(folder)?) };
    let mut files = Vec::new();
    for_each_line(Path::new(list), |line| {
        files.extend((!line.trim().is_empty()).then(|| folder.join(line.trim())));
        Ok(())
    })?;
    if files.is_empty() {
        return Err(wrong(format!("-f {list}: names no files")));
    }
    files.sort();
    Ok(files)
}

/// Reads files in the order given and leaves out sequences without bins; also gives the files that are left.
fn read(files: Vec<PathBuf>) -> Result<(Binarised, Vec<PathBuf>)> {
    let mut data = Binarised::read(&files)?;
    let (mut sequences, mut kept) = (Vec::new(), Vec::new());
    for (sequence, file) in std::mem::take(&mut data.sequences).into_iter().zip(files) {
        if sequence.patterns.is_empty() {
            log::warn!("{}: has no bins and is left out", file.display());
        } else {
            sequences.push(sequence);
            kept.push(file);
        }
    }
    if sequences.is_empty() {
        return Err(wrong("the files hold no bins"));
    }
    for (mark, name) in data.marks.iter().enumerate() {
        let missing = gradome::io::genome::binarised::MISSING;
        if (0..data.patterns.len() as u32).all(|pattern| data.patterns.calls(pattern)[mark] == missing) {
            return Err(wrong(format!("{name} was measured in no bin: leave the mark out")));
        }
    }
    data.sequences = sequences;
    Ok((data, kept))
}

fn sizes(words: &Words, assembly: &str) -> Result<Option<ChromSizes>> {
    let Some(path) = words.text("-l") else { return Ok(None) };
    let folder = Path::new(path);
    let file = if folder.is_dir() { folder.join(format!("{assembly}.txt")) } else { folder.to_owned() };
    Ok(Some(ChromSizes::read(&file)?))
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| wrong(format!("{}: {error}", folder.display())))
}

fn segmentation_files<'a>(words: &'a Words, folder: &'a Path, name: &'a str) -> Result<SegmentationFiles<'a>> {
    Ok(SegmentationFiles {
        folder,
        name,
        bin_size: bin_size(words)?,
        sizes: None,
        segments: !words.has("-nobed"),
        posteriors: words.has("-printposterior"),
        states_by_line: words.has("-printstatebyline") || words.has("-printstatesbyline"),
        gzip: words.has("-gzip"),
        decoding: Decoding::Posterior,
    })
}

fn bin_size(words: &Words) -> Result<u64> {
    match words.number("-b", 200)? {
        0 => Err(wrong("-b 0: a bin has 1 bp or more")),
        size => Ok(size),
    }
}

pub fn segment(words: &Words) -> Result<()> {
    let [model, folder, out] = &words.positionals[..] else { return Err(wrong("three arguments are needed")) };
    let model = ChromHmmModel::read(Path::new(model))?;
    let (data, _) = read(files(folder, words.text("-f"))?)?;
    let sizes = sizes(words, "")?;
    let out = Path::new(out);
    let written = SegmentationFiles {
        sizes: sizes.as_ref(),
        ..segmentation_files(words, out, words.text("-i").unwrap_or_default())?
    };
    if !written.segments && !written.posteriors && !written.states_by_line {
        return Err(wrong("MakeSegmentation: nothing to write; leave out -nobed or give -printposterior"));
    }
    make_folder(out)?;
    for cell in written.write(&model, &data)? {
        print(format_args!("{}\n", out.join(format!("{}_segments.bed", cell.prefix)).display()));
    }
    Ok(())
}

/// The model that training starts from.
fn start(words: &Words, data: &Binarised, states: usize, random: &mut JavaRandom) -> Result<ChromHmmModel> {
    Ok(match words.text("-init").unwrap_or("information") {
        "information" | "0" => ChromHmmModel::from_information(data, states, words.number("-h", 0.02)?)?.0,
        "random" | "1" => ChromHmmModel::random(&data.marks, states, random)?,
        "load" | "2" => {
            let path = words.text("-m").ok_or_else(|| wrong("-init load: give the model with -m"))?;
            let model = ChromHmmModel::read(Path::new(path))?;
            if model.states() != states {
                return Err(wrong(format!("{path} has {} states, STATES is {states}", model.states())));
            }
            model.smoothed(words.number("-e", 0.02)?, words.number("-t", 0.5)?)?
        }
        other => return Err(wrong(format!("-init {other}: give information, random or load"))),
    })
}

fn settings(words: &Words) -> Result<EmSettings> {
    let defaults = EmSettings::default();
    let seconds: i64 = words.number("-x", -1)?;
    let power: i32 = words.number("-z", 8)?;
    Ok(EmSettings {
        algorithm: if words.has("-p") { Algorithm::BaumWelch } else { Algorithm::Incremental },
        threads: words.number("-p", 0)?,
        max_iterations: words.number("-r", defaults.max_iterations)?,
        tolerance: words.number("-d", defaults.tolerance)?,
        least_transition: 10f64.powi(-power),
        pseudocounts: words.has("-pseudo"),
        max_time: u64::try_from(seconds).ok().map(Duration::from_secs),
    })
}

/// Names and orders of what is written.
struct Out<'a> {
    folder: &'a Path,
    name: String,
    order: StateOrder,
    hold_columns: bool,
    images: bool,
}

impl Out<'_> {
    fn file(&self, what: &str, states: usize, extension: &str) -> PathBuf {
        let name = if self.name.is_empty() { String::new() } else { format!("_{}", self.name) };
        self.folder.join(format!("{what}_{states}{name}.{extension}"))
    }

    fn columns(&self, model: &ChromHmmModel) -> Vec<usize> {
        if self.hold_columns { (0..model.marks.len()).collect() } else { model.mark_order() }
    }

    /// Writes the model and its tables, so that an interrupted training leaves the last pass.
    fn write(&self, model: &ChromHmmModel) -> gradome::epigenome::Result<()> {
        let states = model.states();
        model.write(&self.file("model", states, "txt"))?;
        model.write_emissions(&self.file("emissions", states, "txt"), &self.columns(model))?;
        model.write_transitions(&self.file("transitions", states, "txt"))
    }

    fn write_images(&self, model: &ChromHmmModel) -> Result<()> {
        let [emissions, transitions] = maps(model, &self.columns(model));
        for (what, map) in [("emissions", emissions), ("transitions", transitions)] {
            let svg = map.draw()?.standalone();
            write_text(&self.file(what, model.states(), "svg"), |to| to.write_all(svg.as_bytes()))?;
        }
        Ok(())
    }
}

/// Heat maps of emissions and transitions.
pub fn maps(model: &ChromHmmModel, columns: &[usize]) -> [HeatMap; 2] {
    let states: Vec<String> = (1..=model.states()).map(|state| state.to_string()).collect();
    let marks: Vec<String> = columns.iter().map(|&mark| model.marks[mark].clone()).collect();
    let present: Vec<f64> = (0..model.states())
        .flat_map(|s| columns.iter().map(move |&m| (s, m)))
        .map(|(s, m)| model.emissions_of(s)[m][1])
        .collect();
    [
        HeatMap::new("probability of the mark", &states, &marks, &present).from(0.0),
        HeatMap::new("probability of the next state", &states, &states, &model.transitions).from(0.0),
    ]
}

pub fn learn(words: &Words) -> Result<()> {
    let [folder, out, states, assembly] = &words.positionals[..] else {
        return Err(wrong("four arguments are needed"));
    };
    let states: usize = states.parse().map_err(|_| wrong(format!("STATES {states}: not a number")))?;
    let order = match (words.has("-holdroworder"), words.text("-stateordering").unwrap_or("emission")) {
        (true, _) => StateOrder::Fixed,
        (false, "emission") => StateOrder::Emission,
        (false, "transition") => StateOrder::Transition,
        (false, other) => return Err(wrong(format!("-stateordering {other}: give emission or transition"))),
    };
    let seed: i64 = words.number("-s", 999)?;
    let settings = settings(words)?;
    let sizes = sizes(words, assembly)?;
    let sorted = files(folder, words.text("-f"))?;
    let mut random = JavaRandom::new(seed);
    let visits = random.visiting_order(sorted.len());
    let (mut data, names) = read(visits.into_iter().map(|place| sorted[place].clone()).collect())?;
    let first = start(words, &data, states, &mut random)?;
    let of_seed = matches!(words.text("-init"), Some("random" | "1")).then(|| seed.to_string());
    let out = Out {
        folder: Path::new(out),
        name: words.text("-i").map(str::to_owned).or(of_seed).unwrap_or_default(),
        order,
        hold_columns: words.has("-holdcolumnorder"),
        images: !words.has("-noimage"),
    };
    make_folder(out.folder)?;
    log::info!(
        "{} bins of {} marks in {} sequences, {} combinations of calls",
        data.bins(),
        data.marks.len(),
        data.sequences.len(),
        data.patterns.len()
    );
    print(format_args!(
        "{:>10} {:>25} {:>10} {:>20}\n",
        "Iteration", "Estimated Log Likelihood", "Change", "Total Time (secs)"
    ));
    let mut curve: Vec<f64> = Vec::new();
    let model = first.fit(&data, &settings, |pass| {
        let change = curve.last().map_or("-".to_owned(), |last| format!("{:.3}", pass.ln_likelihood - last));
        let (value, time) = (format!("{:.3}", pass.ln_likelihood), format!("{:.1}", pass.elapsed.as_secs_f64()));
        print(format_args!("{:>10} {value:>25} {change:>10} {time:>20}\n", pass.iteration));
        curve.push(pass.ln_likelihood);
        out.write(&pass.model.sorted(out.order))
    })?;
    let model = model.sorted(order);
    if out.images {
        out.write_images(&model)?;
    }
    // outputs go through the files by name
    let mut by_name: Vec<_> = names.into_iter().zip(std::mem::take(&mut data.sequences)).collect();
    by_name.sort_by(|a, b| a.0.cmp(&b.0));
    data.sequences = by_name.into_iter().map(|(_, sequence)| sequence).collect();
    let files = SegmentationFiles { sizes: sizes.as_ref(), ..segmentation_files(words, out.folder, &out.name)? };
    let cells = files.write(&model, &data)?;
    if files.segments && !words.has("-nobrowser") {
        for cell in &cells {
            cell.write_browser_tracks(out.folder, states, model.order, !words.has("-nobrowserheader"), files.gzip)?;
        }
    }
    let mut annotations = Vec::new();
    if files.segments && !words.has("-noenrich") {
        annotations = enrichments(words, assembly, &out, &cells)?;
    }
    let columns = out.columns(&model);
    let learned = Learned {
        model: &model,
        columns: &columns,
        curve: &curve,
        data: &data,
        cells: &cells,
        annotations: &annotations,
    };
    let path = out.file("webpage", states, "html");
    page::page(&learned, &words.line)?.write(&path)?;
    print(format_args!("{}\n", path.display()));
    Ok(())
}

/// Enrichments of every cell type in the annotations of the assembly.
fn enrichments(words: &Words, assembly: &str, out: &Out<'_>, cells: &[Segmentation]) -> Result<Vec<Annotation>> {
    let bin_size = bin_size(words)? as i64;
    let below = |word: &str, what: &str| -> Result<Option<PathBuf>> {
        let Some(folder) = words.text(word) else {
            log::info!("no {what} enrichment: {word} names no folder of annotations");
            return Ok(None);
        };
        let path = Path::new(folder).join(assembly);
        if !path.is_dir() {
            return Err(wrong(format!("{word} {folder}: there is no folder {} for the assembly", path.display())));
        }
        Ok(Some(path))
    };
    let (intervals, anchors) = (below("-u", "overlap")?, below("-v", "neighbourhood")?);
    let none = HashMap::new();
    let mut all = Vec::new();
    for cell in cells {
        let prefix = |what: &str| out.folder.join(format!("{}_{what}", cell.prefix)).display().to_string();
        if let Some(folder) = &intervals {
            let options = OverlapOptions { bin_size, ..OverlapOptions::default() };
            let enrichment = Enrichment::overlap(cell, &annotation_files(folder, None)?, &options)?;
            let title = format!("Fold enrichment {}", cell.prefix);
            enrich::write(&enrichment, &prefix("overlap"), (&title, true, out.images), &none)?;
            all.push(Annotation { title, enrichment });
        }
        if let Some(folder) = &anchors {
            for (name, path) in annotation_files(folder, None)? {
                let anchor = name.split('.').next().unwrap_or(&name);
                let options = NeighborhoodOptions { bin_size, spacing: bin_size, ..NeighborhoodOptions::default() };
                let enrichment = Enrichment::around(cell, &path, &options)?;
                let title = format!("Fold enrichment {} {anchor}", cell.prefix);
                let prefix = prefix(&format!("{anchor}_neighborhood"));
                enrich::write(&enrichment, &prefix, (&title, false, out.images), &none)?;
                all.push(Annotation { title, enrichment });
            }
        }
    }
    Ok(all)
}
