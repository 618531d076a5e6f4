//! How many reads or fragments cover each base pair.

use super::{ChromosomeFragments, ChromosomeSignal, ChromosomeTags, Run};
use crate::{Error, Result};

/// Which reads are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strands {
    /// Those of both strands, together.
    Both,
    /// Forward reads alone.
    Forward,
    /// Reverse reads alone.
    Reverse,
}

impl ChromosomeTags {
    /// Coverage by reads that reach from their 5' ends over `extension` base pairs (the fragment size).
    ///
    /// A forward read at 5' covers `[5', 5' + extension)`, a reverse one `[5' - extension, 5')`, cut at the ends of the
    /// chromosome. An extension of 1 counts 5' ends. Memory is in proportion to the reads; stretches without a read are
    /// gaps.
    ///
    /// # Errors
    /// An extension of zero.
    pub fn coverage(&self, extension: u32, strands: Strands) -> Result<ChromosomeSignal> {
        if extension == 0 {
            return Err(Error::Data(
                "reads cannot be extended to 0 bp: give the fragment size, or 1 for 5' ends".into(),
            ));
        }
        let forward = if strands == Strands::Reverse { &[][..] } else { &self.forward };
        let reverse = if strands == Strands::Forward { &[][..] } else { &self.reverse };
        let forward = forward.iter().map(|&end| (end, end.saturating_add(extension)));
        let reverse = reverse.iter().map(|&end| (end.saturating_sub(extension), end));
        Ok(pileup(&self.name, self.size, forward.chain(reverse)))
    }
}

impl ChromosomeFragments {
    /// Coverage by fragments from end to end, each counted once, cut at the end of the chromosome.
    ///
    /// Memory is in proportion to the fragments; stretches without one are gaps.
    pub fn coverage(&self) -> ChromosomeSignal {
        pileup(&self.name, self.size, self.fragments.iter().map(|fragment| (fragment.start, fragment.end)))
    }
}

/// The depth of intervals at each base pair, as runs.
fn pileup(name: &str, size: Option<u32>, intervals: impl Iterator<Item = (u32, u32)>) -> ChromosomeSignal {
    let last = size.unwrap_or(u32::MAX);
    let (mut starts, mut ends): (Vec<u32>, Vec<u32>) =
        intervals.map(|(start, end)| (start, end.min(last))).filter(|(start, end)| start < end).unzip();
    starts.sort_unstable();
    ends.sort_unstable();
    let (mut runs, mut depth, mut from, mut started): (Vec<Run>, u32, u32, usize) = (Vec::new(), 0, 0, 0);
    let mut ended = 0;
    while ended < ends.len() {
        let at = starts.get(started).map_or(ends[ended], |&start| start.min(ends[ended]));
        let before = depth;
        while starts.get(started) == Some(&at) {
            started += 1;
            depth += 1;
        }
        while ends.get(ended) == Some(&at) {
            ended += 1;
            depth -= 1;
        }
        // As many begin as end: the run goes on.
        if depth != before {
            if before > 0 {
                runs.push(Run { start: from, end: at, value: before as f32 });
            }
            from = at;
        }
    }
    ChromosomeSignal { name: name.to_owned(), size, runs }
}
