//! `gradome chromhmm`: ChromHMM's commands, words and files.

mod binarise;
mod enrich;
mod learn;
pub mod page;
mod words;

use clap::Args;

use crate::console::print;
use crate::error::{Result, wrong};
use words::{Command, Words};

/// Do what ChromHMM does, with its own words and files.
///
/// Scripts written for ChromHMM keep working: the same commands, single-dash words, file formats, names and defaults,
/// and the same numbers. Words may stand before or among the files. What ChromHMM knows and this does not is refused
/// with a message; nothing is silently different. `gradome chromhmm COMMAND --help` explains the words of a command.
/// Flags such as --threads and --quiet stand before `chromhmm`.
#[derive(Args)]
#[command(after_long_help = "\
Commands:
  LearnModel [words] BINARY_DIR OUT_DIR STATES ASSEMBLY
  BinarizeBed [words] CHROMOSOME_LENGTHS BED_DIR CELL_MARK_TABLE OUT_DIR
  BinarizeBam [words] CHROMOSOME_LENGTHS BAM_DIR CELL_MARK_TABLE OUT_DIR
  MakeSegmentation [words] MODEL BINARY_DIR OUT_DIR
  OverlapEnrichment [words] SEGMENTS COORDINATES OUT_PREFIX
  NeighborhoodEnrichment [words] SEGMENTS ANCHORS OUT_PREFIX

Examples:
  gradome chromhmm BinarizeBed hg38.sizes reads/ cellmark.txt binary/
  gradome chromhmm LearnModel -p 4 -printposterior binary/ model/ 15 hg38
  gradome chromhmm OverlapEnrichment model/K562_15_segments.bed coords/hg38 model/K562_15_overlap

What differs: pictures are SVG, not PNG; a state that no bin supports keeps its parameters (ChromHMM: not
a number); products of many probabilities never underflow (ChromHMM: with -many); marks of another order
are an error (ChromHMM: a warning); no browser is opened.")]
pub struct Chromhmm {
    /// The command and its words
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What a command does with its words.
type Run = fn(&Words) -> Result<()>;

const COMMANDS: [(&Command, Run); 6] = [
    (&learn::LEARN, learn::learn),
    (&binarise::BED, binarise::bed),
    (&binarise::BAM, binarise::bam),
    (&learn::SEGMENT, learn::segment),
    (&enrich::OVERLAP, enrich::overlap),
    (&enrich::NEIGHBORHOOD, enrich::neighborhood),
];

impl Chromhmm {
    pub fn run(&self) -> Result<()> {
        let Some((name, words)) = self.words.split_first() else {
            return Err(wrong("chromhmm: give a command; `gradome chromhmm --help` lists them"));
        };
        let Some((command, run)) = COMMANDS.iter().find(|(command, _)| command.name.eq_ignore_ascii_case(name)) else {
            let known: Vec<&str> = COMMANDS.iter().map(|(command, _)| command.name).collect();
            return Err(wrong(format!("chromhmm: '{name}' is no command; there are {}", known.join(", "))));
        };
        if words.iter().any(|word| word == "--help") {
            print(command.help());
            return Ok(());
        }
        run(&command.parse(words)?)
    }
}
