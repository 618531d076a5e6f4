//! Bars: a few numbers side by side.

use maud::html;

use super::axes::{Axis, Panel};
use super::legend::{self, Mark};
use super::scatter::category;
use super::{Figure, Px, clean, number, text_width};
use crate::Result;
use crate::error::{Error, check_size};

const WIDTH: f64 = 380.0;
const BAR: f64 = 14.0;
const GAP: f64 = 10.0;

/// Horizontal bars, in groups of one bar per series.
#[derive(Clone, Debug)]
pub struct Bars {
    value_name: String,
    groups: Vec<String>,
    series: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// Starts a chart of `value_name` (with its unit) with one group of bars per name.
    pub fn new<S: AsRef<str>>(value_name: impl Into<String>, groups: &[S]) -> Self {
        let groups = groups.iter().map(|name| name.as_ref().to_owned()).collect();
        Self { value_name: value_name.into(), groups, series: Vec::new() }
    }

    /// Adds one bar to each group; NaN is written as n/a.
    pub fn series(mut self, name: impl Into<String>, values: &[f64]) -> Self {
        self.series.push((name.into(), values.to_vec()));
        self
    }

    /// Draws the chart, with the number at the end of each bar and a legend where there are
    /// several series.
    ///
    /// # Errors
    /// When there are no groups or series, a series has not one value per group, or a value is
    /// infinite.
    pub fn draw(&self) -> Result<Figure> {
        for (count, of) in [(self.groups.len(), "groups"), (self.series.len(), "series")] {
            if count == 0 {
                return Err(Error::Empty { what: "bar chart", of });
            }
        }
        for (_, values) in &self.series {
            check_size("bars", values.len(), self.groups.len(), "one per group")?;
            if let Some(row) = values.iter().position(|value| value.is_infinite()) {
                let value = values[row];
                return Err(Error::NotFinite { what: "bars", row, column: 0, value });
            }
        }
        let bars = self.series.len() as f64;
        let group = BAR * bars + GAP;
        let x = Axis::from_zero(self.series.iter().flat_map(|(_, values)| values.iter().copied()));
        let widest = self.groups.iter().map(|name| text_width(name)).fold(0.0, f64::max);
        let panel = Panel {
            left: widest + 16.0,
            top: 8.0,
            width: WIDTH,
            height: group * self.groups.len() as f64 + GAP / 2.0,
            x,
            // the vertical axis holds names: positions are computed below
            y: Axis { ticks: Vec::new(), ..Axis::new(0.0, 1.0) },
        };
        let entries: Vec<_> =
            self.series.iter().enumerate().map(|(i, (name, _))| (category(i), Mark::Square, name.clone())).collect();
        let legend_left = panel.right() + 58.0;
        let legend = legend::names(&entries, legend_left, panel.top);
        let zero = panel.px(0.0);
        let body = html! {
            (panel.ticks(&self.value_name, ""))
            @for (row, name) in self.groups.iter().enumerate() {
                @let top = panel.top + GAP / 2.0 + group * row as f64;
                text x=(Px(panel.left - 8.0)) y=(Px(top + BAR * bars / 2.0 + 4.0))
                    text-anchor="end" { (clean(name)) }
                @for (i, (series, values)) in self.series.iter().enumerate() {
                    @let y = top + BAR * i as f64;
                    @let value = values[row];
                    @let end = if value.is_nan() { zero } else { panel.px(value) };
                    rect class=(format!("a {}", category(i))) x=(Px(zero.min(end))) y=(Px(y))
                        width=(Px((end - zero).abs())) height=(Px(BAR - 2.0)) {
                        title { (clean(series)) ": " (number(value)) }
                    }
                    text class="soft halo" font-size="11" x=(Px(zero.max(end) + 5.0))
                        y=(Px(y + BAR - 4.0)) { (number(value)) }
                }
            }
            line class="frame" x1=(Px(zero)) x2=(Px(zero)) y1=(Px(panel.top))
                y2=(Px(panel.bottom())) {}
            @if self.series.len() > 1 { (legend.markup) }
        };
        let (mut right, mut bottom) = (panel.right() + 50.0, panel.bottom() + 44.0);
        if self.series.len() > 1 {
            right = legend_left + legend.width + 8.0;
            bottom = bottom.max(panel.top + legend.height + 6.0);
        }
        Ok(Figure::new(right, bottom, format!("Bar chart of {}", self.value_name), body))
    }
}
