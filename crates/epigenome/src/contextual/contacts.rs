//! Chromatin contacts as maps of windows.

use std::ops::Range;

use gradome_io::genome::{Contact, Contacts, Window};

use crate::{Error, Result};

/// Numbers of all maps together, at most: 1 GiB of them.
const MOST: usize = 1 << 28;

/// The map `[length, length]` of each window: how often positions of `bin` base pairs touch, 0 to 1, row-major.
///
/// Where the highest score of all contacts is above 1 scores are divided by it. A position touches itself; pairs that no
/// contact covers do not touch; where several cover a pair the highest counts.
///
/// # Errors
/// When the maps would hold more than 2^28 numbers.
pub fn contact_maps(contacts: &Contacts, windows: &[Window], length: usize, bin: usize) -> Result<Vec<f32>> {
    let size = length.checked_mul(length).and_then(|map| map.checked_mul(windows.len()));
    if size.is_none_or(|size| size > MOST) {
        return Err(Error::Data(format!(
            "contact maps of {} windows of {length} positions are too large; give shorter windows or larger bins",
            windows.len()
        )));
    }
    let highest = contacts.values().flatten().map(|contact| contact.score).fold(1.0, f64::max);
    let mut maps = Vec::with_capacity(windows.len() * length * length);
    for window in windows {
        let from = maps.len();
        maps.extend((0..length * length).map(|i| if i / length == i % length { 1.0 } else { 0.0 }));
        let map: &mut [f32] = &mut maps[from..];
        let all = contacts.get(&window.chromosome).map_or(&[][..], Vec::as_slice);
        let positions = |place: &Range<u32>| {
            let at = |bp: i64| bp.clamp(0, (length * bin) as i64) as usize;
            let (start, end) = (at(i64::from(place.start) - window.start), at(i64::from(place.end) - window.start));
            start / bin..end.div_ceil(bin)
        };
        let before = all.partition_point(|contact| i64::from(contact.first.start) < window.end);
        for Contact { first, second, score } in &all[..before] {
            let share = (score / highest) as f32;
            for i in positions(first) {
                for j in positions(second) {
                    for at in [i * length + j, j * length + i] {
                        map[at] = map[at].max(share);
                    }
                }
            }
        }
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_marks_all_positions_of_its_places_and_its_mirror_image() {
        let contact = |first, second, score| Contact { first, second, score };
        let list =
            vec![contact(95..110, 125..126, 4.0), contact(100..101, 120..130, 1.0), contact(100..110, 900..910, 2.0)];
        let contacts = Contacts::from([("chr1".to_owned(), list)]);
        let window = |chromosome: &str| Window { chromosome: chromosome.into(), start: 100, end: 130 };
        let maps = contact_maps(&contacts, &[window("chr1"), window("chr2")], 3, 10).unwrap();
        assert_eq!(maps[..9], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(maps[9..], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(contact_maps(&contacts, &[window("chr1")], 1 << 15, 1).is_err());
    }
}
