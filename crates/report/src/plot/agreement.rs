//! Observed against predicted values.

use maud::html;

use super::axes::{Axis, Panel};
use super::scatter::mixed_order;
use super::{Figure, Px, clean, number};
use crate::Result;
use crate::error::{Error, check_finite, check_size};

/// Side of the square panel, in pixels.
const SIDE: f64 = 320.0;
/// More points than this add weight to the page and no information.
const MOST_POINTS: usize = 3_000;

/// A scatter of predicted over observed values with the line of identity.
///
/// The statistics in the corner are the caller's (Pearson r, R2, ...), computed over all values
/// even where only a part of them is drawn.
#[derive(Clone, Debug)]
pub struct Agreement<'a> {
    observed: &'a [f64],
    predicted: &'a [f64],
    x_name: String,
    y_name: String,
    statistics: Vec<String>,
}

impl<'a> Agreement<'a> {
    /// Compares `predicted` with `observed`, pair by pair.
    pub fn new(observed: &'a [f64], predicted: &'a [f64]) -> Self {
        let (x_name, y_name) = ("observed".into(), "predicted".into());
        Self { observed, predicted, x_name, y_name, statistics: Vec::new() }
    }

    /// Names the axes, with units.
    pub fn axes(mut self, observed: impl Into<String>, predicted: impl Into<String>) -> Self {
        (self.x_name, self.y_name) = (observed.into(), predicted.into());
        self
    }

    /// Writes `name = value` into the corner.
    pub fn statistic(mut self, name: &str, value: f64) -> Self {
        let written = if value.is_nan() { "n/a".into() } else { format!("{value:.3}") };
        self.statistics.push(format!("{name} = {written}"));
        self
    }

    /// Draws the figure; of more than 3,000 pairs a random part is drawn, and the figure says so.
    ///
    /// # Errors
    /// When there are no pairs, the two differ in length, or a value is not finite.
    pub fn draw(&self) -> Result<Figure> {
        let pairs = self.observed.len();
        if pairs == 0 {
            return Err(Error::Empty { what: "observed against predicted", of: "values" });
        }
        check_size("predicted values", self.predicted.len(), pairs, "one per observed value")?;
        check_finite("observed values", self.observed.iter().copied(), 1)?;
        check_finite("predicted values", self.predicted.iter().copied(), 1)?;
        let axis = Axis::around(self.observed.iter().chain(self.predicted).copied());
        let (low, high) = (axis.low, axis.high);
        let panel = Panel::with_ticks(SIDE, SIDE, axis.clone(), axis);
        let mut drawn = mixed_order(pairs);
        drawn.truncate(MOST_POINTS);
        let mut lines = self.statistics.clone();
        if drawn.len() < pairs {
            lines.push(format!("{} of {pairs} pairs drawn", drawn.len()));
        } else {
            lines.push(format!("n = {pairs}"));
        }
        let body = html! {
            (panel.ticks(&self.x_name, &self.y_name))
            line class="ref" x1=(Px(panel.px(low))) y1=(Px(panel.py(low)))
                x2=(Px(panel.px(high))) y2=(Px(panel.py(high))) {}
            g class="p thin c0" {
                @for &pair in &drawn {
                    @let (x, y) = (self.observed[pair], self.predicted[pair]);
                    circle cx=(Px(panel.px(x))) cy=(Px(panel.py(y))) r="2.2" {
                        @if drawn.len() <= 300 { title { (number(x)) " \u{2192} " (number(y)) } }
                    }
                }
            }
            (panel.frame())
            @for (row, line) in lines.iter().enumerate() {
                text class="halo" x=(Px(panel.left + 10.0))
                    y=(Px(panel.top + 18.0 + 16.0 * row as f64)) { (clean(line)) }
            }
        };
        let label = format!("{} against {}", self.y_name, self.x_name);
        Ok(Figure::new(panel.right() + 12.0, panel.bottom() + 44.0, label, body))
    }
}
