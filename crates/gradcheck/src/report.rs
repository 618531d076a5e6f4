//! What a check found, as data and as a table.

use std::fmt;

use crate::{Error, Fault, Place};

/// The outcome of a check: whether it passed and, for every input, where it is furthest off.
///
/// Nothing is an error until [`into_result`](Self::into_result) or
/// [`assert_passed`](Self::assert_passed) makes it one. `Display` gives a table and a sentence for each failure.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was checked: `gradient`, `vjp`, `jvp` or `second order`.
    pub kind: &'static str,
    /// The relative tolerance.
    pub rtol: f64,
    /// The absolute tolerance.
    pub atol: f64,
    /// The share of kinks above which an input fails.
    pub max_kink_share: f64,
    /// Why nothing could be compared; `inputs` is empty then.
    pub fault: Option<Fault>,
    /// One entry for each input, in their order.
    pub inputs: Vec<InputReport>,
    /// The element whose gradient the negative control changed.
    pub(crate) sabotaged: Option<Place>,
}

/// What was found for one input.
#[derive(Clone, Debug)]
pub struct InputReport {
    /// Name of the input.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Places compared: its elements, or random directions if it is large; without the kinks.
    pub checked: usize,
    /// Places where the function has a kink or a jump, so that there is no derivative to compare.
    pub kinks: Vec<Place>,
    /// Places where the two derivatives differ by more than the tolerance for some output.
    pub wrong: usize,
    /// Places whose derivative is not zero but so small that the tolerance would take it for zero:
    /// nothing is proved there.
    pub tiny: usize,
    /// The largest absolute error; infinite where a derivative is not finite.
    pub max_abs_error: f64,
    /// The largest relative error, as defined at [`Check`](crate::Check); infinite likewise.
    pub max_rel_error: f64,
    /// The comparison with the largest relative error; none if nothing was compared.
    pub worst: Option<Comparison>,
    /// Whether no place is wrong and the kinks are few enough.
    pub passed: bool,
}

/// An analytic derivative beside its numeric counterpart.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Where in the input.
    pub place: Place,
    /// Of which output; none if the function is a scalar.
    pub output: Option<String>,
    /// The derivative under check.
    pub analytic: f64,
    /// The derivative by finite differences; NaN if the function is not finite near the point.
    pub numeric: f64,
    /// Estimated error of `numeric`.
    pub uncertainty: f64,
    /// |analytic - numeric|; infinite where one of them is not finite.
    pub abs_error: f64,
    /// The relative error, as defined at [`Check`](crate::Check); infinite likewise.
    pub rel_error: f64,
}

impl Report {
    /// Whether every input passed; false if nothing could be compared.
    pub fn passed(&self) -> bool {
        self.fault.is_none() && self.inputs.iter().all(|input| input.passed)
    }

    /// The largest relative error of all inputs; infinite if nothing could be compared.
    pub fn max_rel_error(&self) -> f64 {
        self.largest(|input| input.max_rel_error)
    }

    /// The largest absolute error of all inputs; infinite if nothing could be compared.
    pub fn max_abs_error(&self) -> f64 {
        self.largest(|input| input.max_abs_error)
    }

    fn largest(&self, error: impl Fn(&InputReport) -> f64) -> f64 {
        match self.fault {
            Some(_) => f64::INFINITY,
            None => self.inputs.iter().map(error).fold(0.0, f64::max),
        }
    }

    /// The input with the largest relative error and its worst comparison.
    pub fn worst(&self) -> Option<(&InputReport, &Comparison)> {
        self.inputs
            .iter()
            .filter_map(|input| input.worst.as_ref().map(|worst| (input, worst)))
            .max_by(|a, b| a.1.rel_error.total_cmp(&b.1.rel_error))
    }

    /// The report itself if it passed.
    ///
    /// # Errors
    /// [`Error::Failed`] with the report, whose text it shows.
    pub fn into_result(self) -> Result<Self, Error> {
        if self.passed() { Ok(self) } else { Err(Error::Failed(Box::new(self))) }
    }

    /// Ends a test unless the check passed.
    ///
    /// # Panics
    /// With the report as its text if the check did not pass.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        let Self { kind, rtol, atol, .. } = self;
        write!(f, "{kind} check {verdict} (rtol {rtol:e}, atol {atol:e})")?;
        if let Some(fault) = &self.fault {
            return write!(f, "\n{fault}");
        }
        write_table(f, &self.inputs)?;
        self.inputs.iter().try_for_each(|input| self.explain(f, input))
    }
}

impl Report {
    fn explain(&self, f: &mut fmt::Formatter<'_>, input: &InputReport) -> fmt::Result {
        let name = &input.name;
        let places = input.checked + input.kinks.len();
        if let (Some(worst), true) = (&input.worst, input.wrong > 0) {
            let Comparison { place, analytic, numeric, uncertainty, rel_error, .. } = worst;
            write!(f, "\n{name}{place}: ")?;
            if numeric.is_nan() {
                write!(f, "the function is not finite near this point at any step")?;
            } else {
                write!(f, "analytic {analytic}, finite differences {numeric} (± {uncertainty:.0e})")?;
                write!(f, ", relative error {rel_error:.2e}")?;
                if analytic.is_finite() && *numeric != 0.0 {
                    write!(f, ", analytic / numeric = {:.6}", analytic / numeric)?;
                }
                if *uncertainty >= 0.5 * worst.abs_error {
                    write!(f, ", which rounding may explain: the function's values are large beside its derivative")?;
                }
            }
            if let Some(output) = &worst.output {
                write!(f, ", for {output}")?;
            }
            write!(f, "; {} of {places} places in {name} wrong", input.wrong)?;
        }
        if let Some(first) = input.kinks.first() {
            let kinks = input.kinks.len();
            write!(f, "\n{name}: {kinks} of {places} places are kinks or jumps, first {name}{first}")?;
            if kinks as f64 > self.max_kink_share * places as f64 {
                let limit = 100.0 * self.max_kink_share;
                write!(f, "; above the limit of {limit} %: move the inputs off the kinks")?;
            }
        }
        if input.tiny > 0 && input.tiny == input.checked {
            write!(f, "\n{name}: all derivatives are so small that zero would pass: lower atol or scale the function")?;
        }
        Ok(())
    }
}

const HEADINGS: [&str; 10] =
    ["input", "shape", "checked", "kinks", "tiny", "max abs", "max rel", "worst at", "analytic", "numeric"];

fn write_table(f: &mut fmt::Formatter<'_>, inputs: &[InputReport]) -> fmt::Result {
    let rows: Vec<[String; 10]> = std::iter::once(HEADINGS.map(String::from)).chain(inputs.iter().map(cells)).collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let verdicts = inputs.iter().map(|input| if input.passed { "ok" } else { "WRONG" });
    for (row, verdict) in rows.iter().zip(std::iter::once("").chain(verdicts)) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("  {cell:<width$}");
        }
        line += &format!("  {verdict}");
        write!(f, "\n{}", line.trim_end())?;
    }
    Ok(())
}

fn cells(input: &InputReport) -> [String; 10] {
    let [place, analytic, numeric] = match &input.worst {
        Some(worst) => [
            format!("{}{}", input.name, worst.place),
            format!("{:.9e}", worst.analytic),
            format!("{:.9e}", worst.numeric),
        ],
        None => ["-", "-", "-"].map(String::from),
    };
    [
        input.name.clone(),
        format!("{:?}", input.shape),
        input.checked.to_string(),
        input.kinks.len().to_string(),
        input.tiny.to_string(),
        format!("{:.1e}", input.max_abs_error),
        format!("{:.1e}", input.max_rel_error),
        place,
        analytic,
        numeric,
    ]
}
