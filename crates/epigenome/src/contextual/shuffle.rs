//! Random sequences that keep the counts of neighbouring bases.

use gradome_nn::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

/// A random sequence of the same length with the same first and last base and exactly as many of each pair of
/// neighbours, all such sequences being equally likely (Altschul & Erickson, Mol. Biol. Evol. 2:526, 1985; the random
/// last edges are a uniform spanning tree by Wilson's loop-erased walks, STOC 1996).
///
/// Works on any bytes; letters of either case are different.
pub fn dinucleotide_shuffle(sequence: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (Some(&first), Some(&last)) = (sequence.first(), sequence.last()) else { return Vec::new() };
    let mut followers: Vec<Vec<u8>> = vec![Vec::new(); 256];
    for pair in sequence.windows(2) {
        followers[usize::from(pair[0])].push(pair[1]);
    }
    // for each letter the edge that leaves it last: a tree towards the last letter
    let mut last_edge: [Option<usize>; 256] = [None; 256];
    let mut in_tree = [false; 256];
    in_tree[usize::from(last)] = true;
    for letter in 0..256 {
        if followers[letter].is_empty() {
            continue;
        }
        // walk until the tree is met; a letter met again forgets the loop
        let mut at = letter;
        while !in_tree[at] {
            let edge = rng.random_range(0..followers[at].len());
            last_edge[at] = Some(edge);
            at = usize::from(followers[at][edge]);
        }
        let mut at = letter;
        while !in_tree[at] {
            in_tree[at] = true;
            at = usize::from(followers[at][last_edge[at].expect("the walk left it")]);
        }
    }
    for (letter, edges) in followers.iter_mut().enumerate() {
        let tail = (letter != usize::from(last)).then_some(last_edge[letter]).flatten().map(|edge| edges.remove(edge));
        edges.shuffle(rng);
        edges.extend(tail);
        // edges are taken from the back
        edges.reverse();
    }
    let mut out = Vec::with_capacity(sequence.len());
    let mut at = first;
    out.push(at);
    while let Some(next) = followers[usize::from(at)].pop() {
        out.push(next);
        at = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::{BTreeMap, BTreeSet};

    fn pairs(sequence: &[u8]) -> BTreeMap<Vec<u8>, usize> {
        let mut counts = BTreeMap::new();
        sequence.windows(2).for_each(|pair| *counts.entry(pair.to_vec()).or_default() += 1);
        counts
    }

    #[test]
    fn neighbours_are_kept_and_the_order_is_not() {
        let mut rng = Rng::seed_from_u64(4);
        let sequence: Vec<u8> = (0..200).map(|_| b"ACGTN"[rng.random_range(0..5)]).collect();
        for _ in 0..50 {
            let shuffled = dinucleotide_shuffle(&sequence, &mut rng);
            assert_eq!(pairs(&shuffled), pairs(&sequence));
            assert_ne!(shuffled, sequence);
        }
        assert_eq!(dinucleotide_shuffle(b"", &mut rng), b"");
        assert_eq!(dinucleotide_shuffle(b"G", &mut rng), b"G");
        assert_eq!(dinucleotide_shuffle(b"AAAA", &mut rng), b"AAAA");
    }

    #[test]
    fn every_sequence_with_these_neighbours_is_equally_likely() {
        // by brute force: all orders of ABACADA's letters that keep pairs, first and last
        let original = b"ABACABDA".to_vec();
        let mut all = BTreeSet::new();
        let mut stack = vec![vec![original[0]]];
        while let Some(path) = stack.pop() {
            if path.len() == original.len() {
                if pairs(&path) == pairs(&original) {
                    all.insert(path);
                }
                continue;
            }
            for next in b"ABCD" {
                stack.push([&path[..], &[*next]].concat());
            }
        }
        let mut rng = Rng::seed_from_u64(1);
        let mut counts: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        let draws = 20_000;
        for _ in 0..draws {
            *counts.entry(dinucleotide_shuffle(&original, &mut rng)).or_default() += 1.0;
        }
        assert!(all.len() > 3 && counts.keys().eq(all.iter()), "{} of {}", counts.len(), all.len());
        let expected = f64::from(draws) / all.len() as f64;
        for count in counts.values() {
            // five standard deviations of a binomial count
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{count} is not about {expected}");
        }
    }
}
