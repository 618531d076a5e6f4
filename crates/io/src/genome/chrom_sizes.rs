//! Lengths of chromosomes (`chrom.sizes`, also the first two columns of `.fai`).

use std::{collections::HashMap, io::Read, path::Path};

use super::rows::for_each_row;
use crate::{Error, Result, text::open_raw, write_atomic};

/// The chromosomes of an assembly and their lengths, in the order of the file.
///
/// ```
/// use gradome_io::genome::ChromSizes;
///
/// let sizes = ChromSizes::from_text("hg18.sizes", "chr1\t247249719\nchr2\t242951149\n".as_bytes())?;
/// assert_eq!(sizes.get("chr2"), Some(242_951_149));
/// # Ok::<(), gradome_io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromSizes {
    chromosomes: Vec<(String, u32)>,
    places: HashMap<String, usize>,
}

impl ChromSizes {
    /// Reads a file of two columns: the name and the length (bp); further columns are not looked at.
    ///
    /// # Errors
    /// A length that is zero or no number, a chromosome that stands twice, no chromosome at all.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_text(&path.display().to_string(), open_raw(path)?)
    }

    /// As [`Self::read`], from any source; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_text(file: &str, source: impl Read) -> Result<Self> {
        let mut sizes = Self::default();
        for_each_row(file, source, |row| sizes.add(row.text(0, "chromosome")?, row.position(1, "length")?))?;
        if sizes.chromosomes.is_empty() {
            return Err(Error::file(file, "names no chromosome: expected lines of `name<TAB>length`"));
        }
        Ok(sizes)
    }

    /// Takes names and lengths (bp) as they are given.
    ///
    /// # Errors
    /// A length that is zero, an empty name, a chromosome that stands twice.
    pub fn new<N: AsRef<str>>(chromosomes: impl IntoIterator<Item = (N, u32)>) -> Result<Self> {
        let mut sizes = Self::default();
        for (name, size) in chromosomes {
            sizes.add(name.as_ref(), size).map_err(Error::Data)?;
        }
        Ok(sizes)
    }

    fn add(&mut self, name: &str, size: u32) -> Result<(), String> {
        if name.is_empty() || size == 0 {
            return Err(format!("chromosome `{name}` of length {size}: a name and at least one base pair are needed"));
        }
        if self.places.insert(name.to_owned(), self.chromosomes.len()).is_some() {
            return Err(format!("chromosome `{name}` stands twice"));
        }
        self.chromosomes.push((name.to_owned(), size));
        Ok(())
    }

    /// The length of a chromosome (bp).
    pub fn get(&self, name: &str) -> Option<u32> {
        self.place(name).map(|place| self.chromosomes[place].1)
    }

    /// Where a chromosome stands among the others, from 0.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Names and lengths (bp), in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.chromosomes.iter().map(|(name, size)| (name.as_str(), *size))
    }

    /// How many chromosomes there are.
    pub fn len(&self) -> usize {
        self.chromosomes.len()
    }

    /// Whether there is no chromosome.
    pub fn is_empty(&self) -> bool {
        self.chromosomes.is_empty()
    }

    /// The sum of all lengths (bp).
    pub fn total(&self) -> u64 {
        self.chromosomes.iter().map(|(_, size)| u64::from(*size)).sum()
    }

    /// Writes the two columns.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        use std::io::Write;
        write_atomic(path, |to| self.iter().try_for_each(|(name, size)| writeln!(to, "{name}\t{size}")))
    }

    /// Says what is wrong with a record that ends at `end` of a chromosome.
    pub(super) fn check(&self, name: &str, end: u32) -> Result<(), String> {
        match self.get(name) {
            None => Err(format!("chromosome `{name}` is not among the chromosome sizes: is this another assembly?")),
            Some(size) if end > size => {
                Err(format!("end {end} is past the end of {name}, which has {size} bp: is this another assembly?"))
            }
            Some(_) => Ok(()),
        }
    }
}
