//! The model: a hidden Markov chain whose states emit each mark independently (Ernst & Kellis 2012).

use std::path::Path;

use gradome_io::genome::binarised::{ABSENT, MISSING, MarkPatterns};
use gradome_io::{for_each_line, write_text};

use crate::{Error, Result};

/// Where every state emits a combination with a smaller probability, ChromHMM takes this for all of them.
pub(super) const LEAST_EMISSION: f64 = 1e-300;

/// How the states of a model are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateOrder {
    /// By the user.
    User,
    /// Neighbours emit similar marks.
    Emission,
    /// Neighbours follow each other often.
    Transition,
    /// As the states came.
    Fixed,
}

impl StateOrder {
    const ALL: [(Self, char, &'static str); 4] = [
        (Self::User, 'U', "User"),
        (Self::Emission, 'E', "Emission"),
        (Self::Transition, 'T', "Transition"),
        (Self::Fixed, 'F', "Fixed"),
    ];

    /// The letter before a state's number, as in `E7`.
    pub fn letter(self) -> char {
        self.entry().1
    }

    /// The word in the tables' headers.
    pub fn word(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> &'static (Self, char, &'static str) {
        // the table holds every variant
        Self::ALL.iter().find(|entry| entry.0 == self).unwrap_or(&Self::ALL[0])
    }

    /// The order that the letter of a state's label stands for, that of the user when it is none of ours.
    pub(super) fn of_label(label: &str) -> Self {
        label.chars().next().and_then(Self::of_letter).unwrap_or(Self::User)
    }

    fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.iter().find(|entry| entry.1 == letter).map(|entry| entry.0)
    }
}

/// A multivariate-Bernoulli hidden Markov model of chromatin states, as ChromHMM's model files hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChromHmmModel {
    /// Names of the marks.
    pub marks: Vec<String>,
    /// `[states]` probability of the first bin's state.
    pub initial: Vec<f64>,
    /// `[states, states]` probability of the next bin's state (from, to).
    pub transitions: Vec<f64>,
    /// `[states, marks]` probability that the mark is absent, and that it is present.
    pub emissions: Vec<[f64; 2]>,
    /// How the states are ordered.
    pub order: StateOrder,
    /// ln-likelihood that training saw in its last pass, and how many passes it took.
    pub training: Option<(f64, usize)>,
}

impl ChromHmmModel {
    /// The number of states.
    pub fn states(&self) -> usize {
        self.initial.len()
    }

    /// The row `[states]` of transitions from a state.
    ///
    /// # Panics
    /// When there is no such state.
    pub fn transitions_from(&self, state: usize) -> &[f64] {
        let states = self.states();
        &self.transitions[state * states..(state + 1) * states]
    }

    /// The row `[marks]` of emissions of a state.
    ///
    /// # Panics
    /// When there is no such state.
    pub fn emissions_of(&self, state: usize) -> &[[f64; 2]] {
        let marks = self.marks.len();
        &self.emissions[state * marks..(state + 1) * marks]
    }

    /// The same model with its states in another order: `order[new]` is the old number.
    ///
    /// # Panics
    /// When the order is no permutation of the states.
    pub fn reordered(&self, order: &[usize], name: StateOrder) -> Self {
        let states = self.states();
        let mut seen = vec![false; states];
        order.iter().for_each(|&old| seen[old] = true);
        assert!(order.len() == states && seen.iter().all(|&s| s), "the order is no permutation of the states");
        Self {
            marks: self.marks.clone(),
            initial: order.iter().map(|&s| self.initial[s]).collect(),
            transitions: order
                .iter()
                .flat_map(|&from| order.iter().map(move |&to| (from, to)))
                .map(|(from, to)| self.transitions[from * states + to])
                .collect(),
            emissions: order.iter().flat_map(|&s| self.emissions_of(s)).copied().collect(),
            order: name,
            training: self.training,
        }
    }

    /// ln of the probability of a combination of calls in each state `[states]`; a missing call counts for nothing.
    pub(super) fn ln_emission(&self, calls: &[u8]) -> Vec<f64> {
        let of = |state: usize| {
            let pairs = self.emissions_of(state).iter().zip(calls);
            pairs.filter(|(_, call)| **call != MISSING).map(|(p, call)| p[usize::from(*call != ABSENT)].ln()).sum()
        };
        (0..self.states()).map(of).collect()
    }

    /// Rows `[patterns]` of emission probabilities over their largest, and ln of that.
    ///
    /// A combination that no state can emit gets ChromHMM's floor in all of them.
    pub(super) fn emission_rows<const W: usize>(&self, patterns: &MarkPatterns) -> (Vec<[f64; W]>, Vec<f64>) {
        (0..patterns.len() as u32)
            .map(|pattern| {
                let calls = patterns.calls(pattern);
                let mut row = [0.0; W];
                for (state, product) in row.iter_mut().take(self.states()).enumerate() {
                    let pairs = self.emissions_of(state).iter().zip(calls);
                    let seen = pairs.filter(|(_, call)| **call != MISSING);
                    *product = seen.fold(1.0, |product, (p, call)| product * p[usize::from(*call != ABSENT)]);
                }
                let largest = row.iter().copied().fold(0.0, f64::max);
                if largest >= LEAST_EMISSION {
                    return (row.map(|p| p / largest), largest.ln());
                }
                // so many marks that products underflow, or none possible
                let ln = self.ln_emission(calls);
                let largest = ln.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if largest == f64::NEG_INFINITY {
                    let states = self.states();
                    return (std::array::from_fn(|s| if s < states { 1.0 } else { 0.0 }), LEAST_EMISSION.ln());
                }
                row.iter_mut().zip(&ln).for_each(|(p, ln)| *p = (ln - largest).exp());
                (row, largest)
            })
            .unzip()
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// Names the line of a number that is no probability, of a state or mark that the header does not allow for, and of
    /// a mark with two names; says what is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reading = None;
        for_each_line(path, |line| {
            let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
            match &mut reading {
                None => reading = Some(Reading::start(&fields)?),
                Some(_) if line.trim().is_empty() => {}
                Some(reading) => reading.take(&fields)?,
            }
            Ok(())
        })?;
        let name = path.display();
        let reading = reading.ok_or_else(|| Error::Data(format!("{name}: the file is empty")))?;
        reading.finish().map_err(|problem| Error::Data(format!("{name}: {problem}")))
    }

    /// Writes the model as ChromHMM does (`model_N.txt`).
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_text(path, |to| {
            let states = self.states();
            write!(to, "{states}\t{}\t{}", self.marks.len(), self.order.letter())?;
            match self.training {
                Some((ln_likelihood, passes)) => writeln!(to, "\t{}\t{passes}", Number(ln_likelihood))?,
                None => writeln!(to)?,
            }
            for (state, p) in self.initial.iter().enumerate() {
                writeln!(to, "probinit\t{}\t{}", state + 1, Number(*p))?;
            }
            for (i, p) in self.transitions.iter().enumerate() {
                writeln!(to, "transitionprobs\t{}\t{}\t{}", i / states + 1, i % states + 1, Number(*p))?;
            }
            for state in 0..states {
                for (m, (name, pair)) in self.marks.iter().zip(self.emissions_of(state)).enumerate() {
                    for (call, p) in pair.iter().enumerate() {
                        writeln!(to, "emissionprobs\t{}\t{m}\t{name}\t{call}\t{}", state + 1, Number(*p))?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes the table of emissions (`emissions_N.txt`), its columns in the order given.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// When the order names a mark that is not there.
    pub fn write_emissions(&self, path: &Path, columns: &[usize]) -> Result<()> {
        write_text(path, |to| {
            write!(to, "State ({} order)", self.order.word())?;
            columns.iter().try_for_each(|&m| write!(to, "\t{}", self.marks[m]))?;
            writeln!(to)?;
            for state in 0..self.states() {
                write!(to, "{}", state + 1)?;
                columns.iter().try_for_each(|&m| write!(to, "\t{}", Number(self.emissions_of(state)[m][1])))?;
                writeln!(to)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes the table of transitions (`transitions_N.txt`).
    ///
    /// # Errors
    /// What the system says.
    pub fn write_transitions(&self, path: &Path) -> Result<()> {
        write_text(path, |to| {
            write!(to, "State (from\\to) ({} order)", self.order.word())?;
            (1..=self.states()).try_for_each(|state| write!(to, "\t{state}"))?;
            writeln!(to)?;
            for state in 0..self.states() {
                write!(to, "{}", state + 1)?;
                self.transitions_from(state).iter().try_for_each(|p| write!(to, "\t{}", Number(*p)))?;
                writeln!(to)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// A number as Java prints it, so that other readers of these files see what they are used to.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.0;
        if value == 0.0 || (1e-3..1e7).contains(&value.abs()) || !value.is_finite() {
            return write!(to, "{value:?}");
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        write!(to, "{digits}{point}E{exponent}")
    }
}

/// A model file half read.
struct Reading {
    marks: Vec<Option<String>>,
    initial: Vec<Option<f64>>,
    transitions: Vec<Option<f64>>,
    emissions: Vec<[Option<f64>; 2]>,
    order: StateOrder,
    training: Option<(f64, usize)>,
}

/// More would not fit into any memory; a header that says so is damaged.
const MOST: usize = 10_000;

impl Reading {
    fn start(fields: &[&str]) -> Result<Self, String> {
        let expected = "expected the number of states, the number of marks and the order's letter, with tabs between";
        let &[states, marks, order, ref rest @ ..] = fields else { return Err(expected.into()) };
        let size = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MOST).contains(n));
        let (Some(states), Some(marks)) = (size(states), size(marks)) else { return Err(expected.into()) };
        let order = order.chars().next().and_then(StateOrder::of_letter);
        let order = order.ok_or("the order must be U, E, T or F")?;
        let training = match rest {
            [ln_likelihood, passes, ..] => ln_likelihood.parse().ok().zip(passes.parse().ok()),
            _ => None,
        };
        Ok(Self {
            marks: vec![None; marks],
            initial: vec![None; states],
            transitions: vec![None; states * states],
            emissions: vec![[None; 2]; states * marks],
            order,
            training,
        })
    }

    fn take(&mut self, fields: &[&str]) -> Result<(), String> {
        let (states, marks) = (self.initial.len(), self.marks.len());
        let number = |at: usize, what: &str, first: usize, count: usize| {
            let text = fields.get(at).copied().unwrap_or_default();
            let value = text.parse::<usize>().ok().filter(|n| (first..first + count).contains(n));
            value.map(|n| n - first).ok_or_else(|| {
                format!("field {} ('{text}') must be a {what}, {first} to {}", at + 1, first + count - 1)
            })
        };
        let probability = |at: usize| {
            let text = fields.get(at).copied().unwrap_or_default();
            // sums of rounded numbers may be a little above 1
            let value = text.parse::<f64>().ok().filter(|p| (0.0..=1.0 + 1e-6).contains(p));
            value.ok_or_else(|| format!("field {} ('{text}') must be a probability", at + 1))
        };
        match fields[0].to_ascii_lowercase().as_str() {
            "probinit" => self.initial[number(1, "state", 1, states)?] = Some(probability(2)?),
            "transitionprobs" => {
                let place = number(1, "state", 1, states)? * states + number(2, "state", 1, states)?;
                self.transitions[place] = Some(probability(3)?);
            }
            "emissionprobs" => {
                let (state, mark) = (number(1, "state", 1, states)?, number(2, "mark", 0, marks)?);
                let name = fields.get(3).copied().unwrap_or_default();
                let known = self.marks[mark].get_or_insert_with(|| name.to_owned());
                if known != name {
                    return Err(format!("mark {mark} is called '{name}' here and '{known}' before"));
                }
                self.emissions[state * marks + mark][number(4, "call", 0, 2)?] = Some(probability(5)?);
            }
            other => {
                return Err(format!("'{other}' is none of probinit, transitionprobs and emissionprobs"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ChromHmmModel, String> {
        let all = |values: Vec<Option<f64>>, what: &str| {
            values.into_iter().collect::<Option<Vec<f64>>>().ok_or_else(|| format!("some {what} are missing"))
        };
        let emissions = self.emissions.into_iter().map(|[absent, present]| Some([absent?, present?]));
        Ok(ChromHmmModel {
            marks: self.marks.into_iter().collect::<Option<_>>().ok_or("some marks have no emissions")?,
            initial: all(self.initial, "probinit lines")?,
            transitions: all(self.transitions, "transitionprobs lines")?,
            emissions: emissions.collect::<Option<_>>().ok_or("some emissionprobs lines are missing")?,
            order: self.order,
            training: self.training,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_java_prints_them() {
        let printed = |value: f64| Number(value).to_string();
        assert_eq!(printed(2.810519654408964e-129), "2.810519654408964E-129");
        assert_eq!(printed(5.864110146646524e-4), "5.864110146646524E-4");
        assert_eq!(printed(1e-5), "1.0E-5");
        assert_eq!(printed(1.0), "1.0");
        assert_eq!(printed(-346070.77040849585), "-346070.77040849585");
        assert_eq!(printed(0.9661258272534178), "0.9661258272534178");
    }

    #[test]
    fn a_model_file_is_written_as_it_was_read() {
        let folder = std::env::temp_dir().join(format!("gradome-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = "1\t2\tE\t-12.5\t3\nprobinit\t1\t1.0\ntransitionprobs\t1\t1\t1.0\nemissionprobs\t1\t0\tx\t0\t0.25\n\
                    emissionprobs\t1\t0\tx\t1\t0.75\nemissionprobs\t1\t1\ty\t0\t1.0\nemissionprobs\t1\t1\ty\t1\t0.0\n";
        let (a, b) = (folder.join("a.txt"), folder.join("b.txt"));
        std::fs::write(&a, text).unwrap();
        ChromHmmModel::read(&a).unwrap().write(&b).unwrap();
        assert_eq!(std::fs::read_to_string(&b).unwrap(), text);
        for (from, to, problem) in [
            ("0.25", "1.25", "a.txt line 4: field 6 ('1.25') must be a probability"),
            ("probinit\t1", "probinit\t2", "line 2: field 2 ('2') must be a state, 1 to 1"),
            ("1\ty\t0", "1\tx\t0", "called 'y' here and 'x' before"),
            ("probinit\t1\t1.0\n", "", "some probinit lines are missing"),
        ] {
            std::fs::write(&a, text.replacen(from, to, 1)).unwrap();
            let error = ChromHmmModel::read(&a).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
