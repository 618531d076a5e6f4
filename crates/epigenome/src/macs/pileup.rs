//! Pileups as runs of equal height.
//!
//! A track holds one run from each end to the next. Two adjacent runs may have the same value: where a boundary
//! stands decides which of several equally high places becomes a summit, so it is kept where MACS has one, that is
//! at every position at which not as many reads start as end.

/// Heights along a chromosome: `values[i]` holds from `ends[i - 1]` (or 0) to `ends[i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// `[runs]` exclusive ends (bp), increasing.
    pub ends: Vec<u32>,
    /// `[runs]` height of each run.
    pub values: Vec<f32>,
}

/// Treatment and background along a chromosome, cut at the boundaries of both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairedTrack {
    /// `[runs]` exclusive ends (bp), increasing.
    pub ends: Vec<u32>,
    /// `[runs]` treatment pileup after scaling, in reads.
    pub treatment: Vec<f32>,
    /// `[runs]` expected pileup (local lambda) after scaling, in reads.
    pub lambda: Vec<f32>,
}

/// Sorted positions that are all moved by one offset.
#[derive(Clone, Copy)]
pub(super) struct Moved<'a> {
    positions: &'a [u32],
    /// How much each counts; all count 1 when empty.
    weights: &'a [u32],
    offset: i64,
}

impl<'a> Moved<'a> {
    pub fn new(positions: &'a [u32], offset: i64) -> Self {
        Self { positions, weights: &[], offset }
    }

    pub fn weighted(positions: &'a [u32], weights: &'a [u32], offset: i64) -> Self {
        Self { positions, weights, offset }
    }

    /// The next position, kept on the chromosome.
    fn head(&self, limit: i64) -> Option<u32> {
        self.positions.first().map(|&position| (i64::from(position) + self.offset).clamp(0, limit) as u32)
    }

    /// Takes the first position; how much it counts.
    fn pop(&mut self) -> i64 {
        self.positions = &self.positions[1..];
        match self.weights.split_first() {
            Some((&weight, rest)) => {
                self.weights = rest;
                i64::from(weight)
            }
            None => 1,
        }
    }
}

/// Largest position of a chromosome whose length is not known, as in MACS.
const FAR_END: u32 = i32::MAX as u32;

/// The height between starts and ends: their number times `scale`, at least `floor`.
pub(super) fn pile_up(starts: &[Moved<'_>], ends: &[Moved<'_>], length: Option<u32>, scale: f32, floor: f32) -> Track {
    let limit = i64::from(length.unwrap_or(FAR_END));
    let mut heads: Vec<(Moved<'_>, i64)> =
        starts.iter().map(|&s| (s, 1)).chain(ends.iter().map(|&e| (e, -1))).collect();
    let most = heads.iter().map(|(moved, _)| moved.positions.len()).sum();
    let mut track = Track { ends: Vec::with_capacity(most), values: Vec::with_capacity(most) };
    let mut height = 0_i64;
    let mut next: Vec<Option<u32>> = heads.iter().map(|(moved, _)| moved.head(limit)).collect();
    while let Some(position) = next.iter().flatten().min().copied() {
        let mut change = 0;
        for ((moved, sign), next) in heads.iter_mut().zip(&mut next) {
            while *next == Some(position) {
                change += *sign * moved.pop();
                *next = moved.head(limit);
            }
        }
        if change != 0 && position != 0 {
            track.ends.push(position);
            track.values.push((height as f32 * scale).max(floor));
        }
        height += change;
    }
    track
}

/// Calls `visit` with the end and the values of each stretch on which both tracks are constant, up to the end of the
/// shorter one.
fn walk_both(a: &Track, b: &Track, mut visit: impl FnMut(u32, f32, f32)) {
    let (mut i, mut j) = (0, 0);
    while i < a.ends.len() && j < b.ends.len() {
        let end = a.ends[i].min(b.ends[j]);
        visit(end, a.values[i], b.values[j]);
        i += usize::from(a.ends[i] == end);
        j += usize::from(b.ends[j] == end);
    }
}

/// The higher of two tracks at each place.
pub(super) fn higher(a: &Track, b: &Track) -> Track {
    let most = a.ends.len() + b.ends.len();
    let mut track = Track { ends: Vec::with_capacity(most), values: Vec::with_capacity(most) };
    walk_both(a, b, |end, a, b| {
        track.ends.push(end);
        track.values.push(a.max(b));
    });
    track
}

/// Treatment beside background.
pub(super) fn pair(treatment: &Track, lambda: &Track) -> PairedTrack {
    let most = treatment.ends.len() + lambda.ends.len();
    let mut paired = PairedTrack {
        ends: Vec::with_capacity(most),
        treatment: Vec::with_capacity(most),
        lambda: Vec::with_capacity(most),
    };
    walk_both(treatment, lambda, |end, treatment, lambda| {
        paired.ends.push(end);
        paired.treatment.push(treatment);
        paired.lambda.push(lambda);
    });
    paired
}

impl PairedTrack {
    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no run: nothing lies on the chromosome.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where a run starts (bp).
    pub fn start(&self, run: usize) -> u32 {
        run.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pileup(starts: &[u32], ends: &[u32]) -> Track {
        pile_up(&[Moved::new(starts, 0)], &[Moved::new(ends, 0)], None, 1.0, 0.0)
    }

    #[test]
    fn a_pileup_counts_the_reads_over_each_place() {
        let track = pileup(&[2, 4], &[6, 8]);
        assert_eq!(track.ends, [2, 4, 6, 8]);
        assert_eq!(track.values, [0.0, 1.0, 2.0, 1.0]);
    }

    #[test]
    fn a_start_and_an_end_at_one_place_leave_no_boundary() {
        let track = pileup(&[0, 5], &[5, 9]);
        assert_eq!((track.ends, track.values), (vec![9], vec![1.0]));
        // one more start than ends: a boundary
        let track = pileup(&[0, 5, 5], &[5, 9, 9]);
        assert_eq!((track.ends, track.values), (vec![5, 9], vec![1.0, 2.0]));
    }

    #[test]
    fn positions_stay_on_the_chromosome() {
        let starts = [Moved::new(&[3, 95], -10)];
        let ends = [Moved::new(&[3, 95], 10)];
        let track = pile_up(&starts, &ends, Some(100), 2.0, 0.5);
        assert_eq!(track.ends, [13, 85, 100]);
        assert_eq!(track.values, [2.0, 0.5, 2.0]);
    }

    #[test]
    fn weights_count_as_so_many_reads() {
        let starts = [Moved::weighted(&[1, 3], &[2, 5], 0)];
        let ends = [Moved::weighted(&[4, 6], &[5, 2], 0)];
        let track = pile_up(&starts, &ends, None, 1.0, 0.0);
        assert_eq!((track.ends, track.values), (vec![1, 3, 4, 6], vec![0.0, 2.0, 7.0, 2.0]));
    }

    #[test]
    fn two_tracks_are_joined_up_to_the_end_of_the_shorter() {
        let a = Track { ends: vec![4, 10], values: vec![1.0, 3.0] };
        let b = Track { ends: vec![4, 7], values: vec![2.0, 2.0] };
        assert_eq!(higher(&a, &b), Track { ends: vec![4, 7], values: vec![2.0, 3.0] });
        let paired = pair(&a, &b);
        assert_eq!((paired.ends, paired.treatment, paired.lambda), (vec![4, 7], vec![1.0, 3.0], vec![2.0, 2.0]));
    }
}
