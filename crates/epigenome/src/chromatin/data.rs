//! Observations of named marks in bins along the chromosomes of cell types, whatever their kind.

use gradome_io::genome::binarised::{ABSENT, Binarised, BinarisedSequence, MISSING, PRESENT};

use super::annotator::ChromatinTracks;
use crate::{Error, Result};

/// Bins that a pass over the data looks at together: enough for all threads, little memory.
const BINS_TOGETHER: usize = 1 << 20;

/// The bins of one chromosome of one cell type.
#[derive(Clone, Debug, PartialEq)]
pub struct ChromatinSequence {
    /// Name of the cell type.
    pub cell: String,
    /// Name of the chromosome.
    pub chromosome: String,
    /// `[bins, marks]` calls (0 or 1), counts or values; NaN where a mark was not measured.
    pub values: Vec<f32>,
}

/// Observations of the same marks along several chromosomes of one or more cell types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromatinData {
    /// Names of the marks.
    pub marks: Vec<String>,
    /// Size of a bin (bp).
    pub bin_size: u64,
    /// The sequences, whole chromosomes or pieces of them.
    pub sequences: Vec<ChromatinSequence>,
}

/// A stretch of a chromosome (bp), the end not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name of the chromosome.
    pub chromosome: String,
    /// First position (bp).
    pub start: u64,
    /// Position behind the last (bp).
    pub end: u64,
}

impl Region {
    /// Understands `chr11` (all of it) and `chr11:1000000-2000000`.
    ///
    /// # Errors
    /// Says what a region looks like.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((chromosome, range)) = text.rsplit_once(':') else {
            return Ok(Self { chromosome: text.to_owned(), start: 0, end: u64::MAX });
        };
        let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
        let ends = range.split_once('-').and_then(|(start, end)| Some((number(start)?, number(end)?)));
        match ends {
            Some((start, end)) if start < end && !chromosome.is_empty() => {
                Ok(Self { chromosome: chromosome.to_owned(), start, end })
            }
            _ => Err(Error::Data(format!("region '{text}': give CHROMOSOME or CHROMOSOME:START-END in bp"))),
        }
    }
}

impl ChromatinData {
    /// Presence calls as observations; sequences without bins are left out.
    pub fn of_calls(calls: &Binarised, bin_size: u64) -> Self {
        let value = |call: &u8| if *call == MISSING { f32::NAN } else { f32::from(*call) };
        let sequences = calls.sequences.iter().filter(|sequence| !sequence.patterns.is_empty());
        let sequences = sequences.map(|sequence| ChromatinSequence {
            cell: sequence.cell.clone(),
            chromosome: sequence.chromosome.clone(),
            values: sequence.patterns.iter().flat_map(|&p| calls.patterns.calls(p)).map(value).collect(),
        });
        Self { marks: calls.marks.clone(), bin_size, sequences: sequences.collect() }
    }

    /// The observations as presence calls.
    ///
    /// # Errors
    /// Names the first value that is none.
    pub fn calls(&self) -> Result<Binarised> {
        let mut calls = Binarised::new(self.marks.clone());
        let mut row = vec![0; self.marks.len()];
        for sequence in &self.sequences {
            let mut patterns = Vec::with_capacity(self.bins_of(sequence));
            for (bin, values) in sequence.values.chunks_exact(self.marks.len()).enumerate() {
                for (mark, (call, &value)) in row.iter_mut().zip(values).enumerate() {
                    *call = match value {
                        v if v.is_nan() => MISSING,
                        0.0 => ABSENT,
                        1.0 => PRESENT,
                        other => {
                            let ChromatinSequence { cell, chromosome, .. } = sequence;
                            let mark = &self.marks[mark];
                            let problem =
                                format!("{cell} {chromosome} bin {bin}: {mark} is {other}, no call of 0 or 1");
                            return Err(Error::Data(problem));
                        }
                    };
                }
                patterns.push(calls.patterns.number_of(&row));
            }
            let (cell, chromosome) = (sequence.cell.clone(), sequence.chromosome.clone());
            calls.sequences.push(BinarisedSequence { cell, chromosome, patterns });
        }
        Ok(calls)
    }

    /// The same marks and bins.
    pub(super) fn without_sequences(&self) -> Self {
        Self { marks: self.marks.clone(), bin_size: self.bin_size, sequences: Vec::new() }
    }

    /// The number of bins of a sequence.
    pub fn bins_of(&self, sequence: &ChromatinSequence) -> usize {
        sequence.values.len() / self.marks.len().max(1)
    }

    /// The number of bins of all sequences.
    pub fn bins(&self) -> usize {
        self.sequences.iter().map(|sequence| self.bins_of(sequence)).sum()
    }

    /// The cell types, in order of first appearance.
    pub fn cells(&self) -> Vec<String> {
        let mut cells: Vec<String> = Vec::new();
        for sequence in &self.sequences {
            if !cells.contains(&sequence.cell) {
                cells.push(sequence.cell.clone());
            }
        }
        cells
    }

    /// Checks that there is something to look at: sequences with bins, and a measurement of every mark.
    ///
    /// # Errors
    /// Names the mark or sequence that holds nothing.
    pub fn validate(&self) -> Result<()> {
        let marks = self.marks.len();
        if self.bins() == 0 || marks == 0 {
            return Err(Error::Data("there are no bins: are the files empty, or all chromosomes left out?".into()));
        }
        for ChromatinSequence { cell, chromosome, values } in &self.sequences {
            if values.is_empty() || values.len() % marks != 0 {
                let problem = format!("{cell} {chromosome}: {} values are no bins of {marks} marks", values.len());
                return Err(Error::Data(problem));
            }
        }
        for (mark, name) in self.marks.iter().enumerate() {
            let mut all = self.sequences.iter().flat_map(|s| s.values.iter().skip(mark).step_by(marks));
            if all.all(|value| value.is_nan()) {
                return Err(Error::Data(format!("{name} was measured in no bin: leave the mark out")));
            }
        }
        Ok(())
    }

    /// Brings the marks into another order.
    ///
    /// # Errors
    /// When a mark is missing or there are others; names both lists.
    pub fn with_marks(mut self, marks: &[String]) -> Result<Self> {
        let places: Option<Vec<usize>> =
            marks.iter().map(|mark| self.marks.iter().position(|own| own == mark)).collect();
        let Some(places) = places.filter(|places| places.len() == self.marks.len()) else {
            let (known, given) = (marks.join(", "), self.marks.join(", "));
            return Err(Error::Data(format!("the model knows the marks {known}; the data has {given}")));
        };
        if self.marks == marks {
            return Ok(self);
        }
        for sequence in &mut self.sequences {
            let rows = sequence.values.chunks_exact(places.len());
            sequence.values = rows.flat_map(|row| places.iter().map(|&place| row[place])).collect();
        }
        self.marks = marks.to_vec();
        Ok(self)
    }

    /// Cuts regions out of all cell types: what lies outside of them, and what lies inside.
    ///
    /// # Errors
    /// Names a region that holds no bin, and says when nothing is left.
    pub fn hold_out(&self, regions: &[Region]) -> Result<(Self, Self)> {
        let (mut kept, mut held) = (self.without_sequences(), self.without_sequences());
        let mut found = vec![false; regions.len()];
        for sequence in &self.sequences {
            let mut last: Option<bool> = None;
            for (bin, row) in sequence.values.chunks_exact(self.marks.len()).enumerate() {
                let at = bin as u64 * self.bin_size;
                let mut inside = false;
                for (region, found) in regions.iter().zip(&mut found) {
                    if region.chromosome == sequence.chromosome && region.start <= at && at < region.end {
                        (inside, *found) = (true, true);
                    }
                }
                let to = if inside { &mut held.sequences } else { &mut kept.sequences };
                if last != Some(inside) {
                    to.push(ChromatinSequence { values: Vec::new(), ..sequence.named() });
                    last = Some(inside);
                }
                if let Some(piece) = to.last_mut() {
                    piece.values.extend_from_slice(row);
                }
            }
        }
        if let Some(missing) = found.iter().position(|found| !found) {
            let Region { chromosome, start, .. } = &regions[missing];
            return Err(Error::Data(format!("the data has no bin of {chromosome} from {start} bp on to hold out")));
        }
        if kept.sequences.is_empty() {
            return Err(Error::Data("all bins are held out: nothing is left to learn from".into()));
        }
        Ok((kept, held))
    }

    /// The observations as the annotator takes them, in parts of bounded size; with `cells` each sequence is told of
    /// which cell type it is, by its place among them.
    ///
    /// # Errors
    /// Names a cell type that is not among them.
    pub fn tracks(&self, cells: Option<&[String]>) -> Result<Vec<ChromatinTracks>> {
        let mut parts: Vec<ChromatinTracks> = Vec::new();
        for sequence in &self.sequences {
            let bins = self.bins_of(sequence);
            let room = |part: &ChromatinTracks| part.lengths.iter().sum::<usize>() + bins <= BINS_TOGETHER;
            if !parts.last().is_some_and(room) {
                parts.push(ChromatinTracks::default());
            }
            let Some(part) = parts.last_mut() else { continue };
            part.lengths.push(bins);
            part.observations.extend(sequence.values.iter().map(|&value| f64::from(value)));
            if let Some(cells) = cells.filter(|cells| cells.len() > 1) {
                let Some(place) = cells.iter().position(|cell| *cell == sequence.cell) else {
                    return Err(Error::Data(format!(
                        "the model has emissions of {}, none of {}",
                        cells.join(", "),
                        sequence.cell
                    )));
                };
                part.cell_types.extend((0..cells.len()).map(|cell| if cell == place { 1.0 } else { 0.0 }));
            }
        }
        Ok(parts)
    }
}

impl ChromatinSequence {
    /// The same cell type and chromosome without values.
    pub(super) fn named(&self) -> Self {
        Self { cell: self.cell.clone(), chromosome: self.chromosome.clone(), values: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> ChromatinData {
        let sequence = |cell: &str, chromosome: &str, values: &[f32]| ChromatinSequence {
            cell: cell.into(),
            chromosome: chromosome.into(),
            values: values.to_vec(),
        };
        ChromatinData {
            marks: vec!["x".into(), "y".into()],
            bin_size: 200,
            sequences: vec![
                sequence("a", "chr1", &[0.0, 1.0, 1.0, f32::NAN, 0.0, 0.0, 1.0, 1.0]),
                sequence("b", "chr2", &[1.0, 0.0]),
            ],
        }
    }

    #[test]
    fn calls_go_there_and_back() {
        let calls = data().calls().unwrap();
        assert_eq!(calls.calls(0, 1), [PRESENT, MISSING]);
        let back = ChromatinData::of_calls(&calls, 200);
        assert_eq!(format!("{back:?}"), format!("{:?}", data()));
        let mut counts = data();
        counts.sequences[1].values[0] = 3.0;
        assert!(counts.calls().unwrap_err().to_string().contains("b chr2 bin 0: x is 3, no call"));
    }

    #[test]
    fn a_held_out_region_is_cut_out_of_its_chromosome() {
        let (kept, held) = data().hold_out(&[Region::parse("chr1:200-600").unwrap()]).unwrap();
        assert_eq!((kept.bins(), held.bins()), (3, 2));
        assert_eq!(kept.sequences.iter().map(|s| s.values.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(held.sequences[0].values[2..], [0.0, 0.0]);
        let error = data().hold_out(&[Region::parse("chr7").unwrap()]).unwrap_err().to_string();
        assert!(error.contains("no bin of chr7"), "{error}");
        let all = [Region::parse("chr1").unwrap(), Region::parse("chr2").unwrap()];
        assert!(data().hold_out(&all).unwrap_err().to_string().contains("nothing is left"));
        assert!(Region::parse("chr1:9-3").unwrap_err().to_string().contains("CHROMOSOME:START-END"));
    }

    #[test]
    fn marks_are_found_by_their_names() {
        let swapped = data().with_marks(&["y".into(), "x".into()]).unwrap();
        assert_eq!(swapped.sequences[1].values, [0.0, 1.0]);
        let error = data().with_marks(&["y".into()]).unwrap_err().to_string();
        assert!(error.contains("the model knows the marks y; the data has x, y"), "{error}");
    }

    #[test]
    fn what_holds_nothing_is_an_error_that_names_it() {
        let mut unmeasured = data();
        unmeasured
            .sequences
            .iter_mut()
            .for_each(|s| s.values.iter_mut().skip(1).step_by(2).for_each(|v| *v = f32::NAN));
        assert!(unmeasured.validate().unwrap_err().to_string().contains("y was measured in no bin"));
        let none = ChromatinData { sequences: Vec::new(), ..data() };
        assert!(none.validate().unwrap_err().to_string().contains("there are no bins"));
        let strange = data().tracks(Some(&["a".into(), "c".into()])).unwrap_err().to_string();
        assert!(strange.contains("emissions of a, c, none of b"), "{strange}");
    }
}
