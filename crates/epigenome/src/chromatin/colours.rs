//! Colours of states that are easy to tell apart, those of ChromHMM's browser tracks.

use super::java::JavaRandom;

/// Levels of red, green and blue that all screens show.
const LEVELS: [u8; 6] = [0, 51, 102, 153, 204, 255];
/// Seed of the colours that are drawn when all are taken.
const SEED: i64 = 132;

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(&a, b)| u32::from(a.abs_diff(b))).sum()
}

/// So many colours, each as far from the others as can be, in an order in which neighbours are alike.
///
/// Starting from blue, each next is the web-safe colour (white and black left out) farthest from all before; then,
/// starting from blue again, the nearest that is left comes next.
pub fn diverse_colours(count: usize) -> Vec<[u8; 3]> {
    let candidates: Vec<[u8; 3]> = (0..216).map(|i| [LEVELS[i / 36], LEVELS[i / 6 % 6], LEVELS[i % 6]]).collect();
    let mut random = JavaRandom::new(SEED);
    let mut taken = vec![false; candidates.len()];
    (taken[0], taken[candidates.len() - 1]) = (true, true);
    // blue itself is not marked as taken: nothing is nearer to it than it is to itself
    let mut chosen = vec![candidates[LEVELS.len() - 1]];
    while chosen.len() < count {
        let mut best: Option<(u32, usize)> = None;
        for (i, &candidate) in candidates.iter().enumerate().filter(|(i, _)| !taken[*i]) {
            let nearest = chosen.iter().map(|&c| distance(candidate, c)).min().unwrap_or(0);
            if best.is_none_or(|(farthest, _)| nearest > farthest) {
                best = Some((nearest, i));
            }
        }
        let next = best.map_or_else(|| random.next_below(candidates.len() as u32) as usize, |(_, i)| i);
        taken[next] = true;
        chosen.push(candidates[next]);
    }
    let mut left = chosen.split_off(chosen.len().min(1));
    let mut ordered = chosen;
    while let Some(&last) = ordered.last().filter(|_| !left.is_empty()) {
        let mut nearest = (u32::MAX, 0);
        for (i, &colour) in left.iter().enumerate() {
            if distance(colour, last) < nearest.0 {
                nearest = (distance(colour, last), i);
            }
        }
        ordered.push(left.remove(nearest.1));
    }
    ordered.truncate(count);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_states_have_chromhmms_colours() {
        // from the tracks that ChromHMM 1.24 writes for a model of six states
        let colours = diverse_colours(6);
        assert_eq!(colours[5], [204, 153, 255]);
        assert_eq!(colours[3], [255, 255, 0]);
        assert_eq!(colours[2], [51, 255, 153]);
        assert_eq!(colours[0], [0, 0, 255]);
    }

    #[test]
    fn there_are_as_many_colours_as_states() {
        assert!(diverse_colours(0).is_empty());
        assert_eq!(diverse_colours(1), [[0, 0, 255]]);
        assert_eq!(diverse_colours(300).len(), 300);
    }
}
