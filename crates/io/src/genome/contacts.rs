//! Pairs of places that touch (BEDPE with a score, as loop callers and `cooler dump --join` write them).

use std::{collections::BTreeMap, io::Read, ops::Range, path::Path};

use super::rows::for_each_row;
use crate::{Result, text::open_raw};

/// Two places of one chromosome that touch; the first starts no later than the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// The first place (bp).
    pub first: Range<u32>,
    /// The second place (bp).
    pub second: Range<u32>,
    /// How often they touch, 0 or more.
    pub score: f64,
}

/// Contacts within each chromosome, by the start of their first place.
pub type Contacts = BTreeMap<String, Vec<Contact>>;

/// Reads pairs of places: chromosome, start and end of one and of the other, then a score in column 7 where there are
/// seven columns, or in column 8, behind a name, where there are more; without a score it is 1. Pairs on two chromosomes
/// are left out.
///
/// # Errors
/// The line that cannot be understood, an empty place, a score below 0.
pub fn read_contacts(path: &Path) -> Result<Contacts> {
    contacts_from(&path.display().to_string(), open_raw(path)?)
}

/// As [`read_contacts`], from any source; `file` names it in errors.
///
/// # Errors
/// As [`read_contacts`].
pub fn contacts_from(file: &str, source: impl Read) -> Result<Contacts> {
    let mut contacts = Contacts::new();
    for_each_row(file, source, |row| {
        let (chromosome, start, end) = row.stretch(None)?;
        let other = row.text(3, "second chromosome")?;
        let second = row.position(4, "second start")?..row.position(5, "second end")?;
        if second.end <= second.start {
            return Err(format!("second end {} is not behind second start {}", second.end, second.start));
        }
        let score = match row.count() {
            ..=6 => 1.0,
            7 => row.number(6, "score")?,
            _ => row.number(7, "score")?,
        };
        if score < 0.0 {
            return Err(format!("score {score} is below 0"));
        }
        if chromosome == other {
            let first = start..end;
            let (first, second) = if second.start < first.start { (second, first) } else { (first, second) };
            contacts.entry(chromosome.to_owned()).or_default().push(Contact { first, second, score });
        }
        Ok(())
    })?;
    for list in contacts.values_mut() {
        list.sort_by_key(|contact| (contact.first.start, contact.second.start));
    }
    Ok(contacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stand_in_column_7_or_behind_a_name() {
        let text = "chr1\t500\t600\tchr1\t100\t200\t3\n\
                    chr1\t0\t50\tchr1\t900\t950\tloop1\t0.5\t+\t-\n\
                    chr1\t0\t50\tchr2\t900\t950\tloop2\t9\n\
                    chr2\t0\t50\tchr2\t90\t95\n";
        let contacts = contacts_from("loops.bedpe", text.as_bytes()).unwrap();
        let expected = [
            Contact { first: 0..50, second: 900..950, score: 0.5 },
            Contact { first: 100..200, second: 500..600, score: 3.0 },
        ];
        assert_eq!(contacts["chr1"], expected);
        assert_eq!(contacts["chr2"], [Contact { first: 0..50, second: 90..95, score: 1.0 }]);
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, words) in [
            ("chr1\t5\t5\tchr1\t1\t2\n", "empty"),
            ("chr1\t5\t6\tchr1\t2\t2\n", "second end 2"),
            ("chr1\t5\t6\tchr1\t1\n", "second end (column 6) is missing"),
            ("chr1\t5\t6\tchr1\t1\t2\t.\n", "score `.`"),
            ("chr1\t5\t6\tchr1\t1\t2\tx\t-1\n", "below 0"),
        ] {
            let error = contacts_from("loops.bedpe", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("line 1"), "{error}");
        }
    }
}
