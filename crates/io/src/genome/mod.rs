//! Genomic files: reads, fragments, intervals, peaks, signal and sequence.
//!
//! Positions count from 0 and ends are exclusive, in base pairs, as in BED. Text may be gzipped. What a file cannot
//! mean (an end before its start, a record past the chromosome's end, overlapping signal) is an error with the line.
//!
//! ```
//! use gradome_io::genome::{ReadsOptions, Tags};
//!
//! let text = "chr1\t100\t136\t.\t.\t+\nchr1\t180\t216\t.\t.\t-\n";
//! let tags = Tags::from_bed("reads.bed", text.as_bytes(), &ReadsOptions::default())?;
//! assert_eq!(tags.chromosomes[0].forward, [100]);
//! assert_eq!(tags.chromosomes[0].reverse, [216]);
//! # Ok::<(), gradome_io::Error>(())
//! ```

mod bam;
mod bed;
mod bedgraph;
mod bigwig;
pub mod binarised;
mod chrom_sizes;
mod contacts;
mod coverage;
mod fasta;
mod fragments;
mod general;
mod peaks;
mod reads;
mod rows;
mod signal;
mod tags;

pub use bam::{MappedRead, for_each_mapped_read};
pub use bed::{BedRecord, Strand, bed_from, read_bed, write_bed};
pub use bedgraph::{bedgraph_from, read_bedgraph, write_bedgraph};
pub use bigwig::{BigWig, write_bigwig};
pub use chrom_sizes::ChromSizes;
pub use contacts::{Contact, Contacts, contacts_from, read_contacts};
pub use coverage::Strands;
pub use fasta::{
    FastaRecord, OneHot, PastEnd, Window, fasta_from, one_hot, read_fasta, read_windows, reverse_complement,
    windows_from,
};
pub use fragments::{ChromosomeFragments, Fragment, Fragments};
pub use general::general;
pub use peaks::{
    GappedPeak, Peak, PeakFormat, gapped_peaks_from, peaks_from, read_gapped_peaks, read_peaks, write_gapped_peaks,
    write_peaks,
};
pub use reads::{ReadFormat, ReadsOptions};
pub use signal::{ChromosomeSignal, Gaps, Run, Signal};
pub use tags::{ChromosomeTags, Tags};
