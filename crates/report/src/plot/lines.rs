//! Curves: training runs, learning rates, profiles.

use maud::{Markup, html};

use super::axes::{Axis, Panel};
use super::legend::{self, Mark};
use super::scatter::category;
use super::{Figure, Px, clean, number};
use crate::Result;
use crate::error::{Error, check_finite, check_size};

/// Dash patterns, so that curves differ in black and white too.
const DASHES: [&str; 4] = ["none", "7 4", "2 3", "9 3 2 3"];
const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 280.0;

/// A line chart of one or several series.
#[derive(Clone, Debug)]
pub struct Lines {
    x_name: String,
    y_name: String,
    series: Vec<Series>,
    mark: Option<(f64, String)>,
    y_range: Option<(f64, f64)>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Lines {
    /// Starts a chart with the names of its axes.
    pub fn new(x: impl Into<String>, y: impl Into<String>) -> Self {
        let (x_name, y_name) = (x.into(), y.into());
        Self { x_name, y_name, series: Vec::new(), mark: None, y_range: None }
    }

    /// Adds a curve; NaN in `y` leaves a gap.
    pub fn series(mut self, name: impl Into<String>, x: &[f64], y: &[f64]) -> Self {
        self.series.push(Series { name: name.into(), x: x.to_vec(), y: y.to_vec() });
        self
    }

    /// Marks one place along x by a vertical line with a label: the epoch that was kept.
    pub fn mark(mut self, x: f64, label: impl Into<String>) -> Self {
        self.mark = Some((x, label.into()));
        self
    }

    /// Fixes the range of y; what lies outside is cut off. A first epoch far from the rest would
    /// otherwise flatten everything after it.
    pub fn y_range(mut self, low: f64, high: f64) -> Self {
        self.y_range = Some((low, high));
        self
    }

    /// Draws the chart.
    ///
    /// # Errors
    /// When there is no series, a series has not one y per x, an x is not finite, a y is infinite,
    /// or the fixed range is empty.
    pub fn draw(&self) -> Result<Figure> {
        if self.series.is_empty() {
            return Err(Error::Empty { what: "line chart", of: "series" });
        }
        for series in &self.series {
            check_size("y values", series.y.len(), series.x.len(), "one per x")?;
            check_finite("x values", series.x.iter().copied(), 1)?;
            let not_missing = |&y: &f64| if y.is_nan() { 0.0 } else { y };
            check_finite("y values", series.y.iter().map(not_missing), 1)?;
        }
        let y = match self.y_range {
            None => Axis::around(self.series.iter().flat_map(|s| s.y.iter().copied())),
            Some((low, high)) if low < high && (high - low).is_finite() => Axis::new(low, high),
            Some((low, high)) => {
                let found = format!("{low} to {high}");
                return Err(Error::setting("the range of y", found, "from low to high"));
            }
        };
        let marked = self.mark.iter().map(|&(x, _)| x);
        let x = Axis::around(self.series.iter().flat_map(|s| s.x.iter().copied()).chain(marked));
        let panel = Panel::with_ticks(WIDTH, HEIGHT, x, y);
        let entries: Vec<_> = self
            .series
            .iter()
            .enumerate()
            .map(|(i, s)| (category(i), Mark::Line(DASHES[i % DASHES.len()]), s.name.clone()))
            .collect();
        let legend = legend::names(&entries, panel.right() + 22.0, panel.top);
        let curves = html! {
            @for (i, series) in self.series.iter().enumerate() {
                g class=(category(i)) { (curve(&panel, series, DASHES[i % DASHES.len()])) }
            }
        };
        let body = html! {
            (panel.ticks(&self.x_name, &self.y_name))
            @if let Some((x, label)) = &self.mark { (vertical_mark(&panel, *x, label)) }
            (panel.clip(curves))
            (panel.frame())
            (legend.markup)
        };
        let label = format!("Line chart of {} over {}", self.y_name, self.x_name);
        let height = (panel.bottom() + 44.0).max(panel.top + legend.height + 6.0);
        Ok(Figure::new(panel.right() + 30.0 + legend.width, height, label, body))
    }
}

/// One polyline per stretch without gaps; a point alone in its stretch is a dot.
fn curve(panel: &Panel, series: &Series, dash: &str) -> Markup {
    let points: Vec<(f64, f64)> = series.x.iter().copied().zip(series.y.iter().copied()).collect();
    let stretches = points.split(|(_, y)| y.is_nan()).filter(|stretch| !stretch.is_empty());
    // far outside a fixed range a position would only cost bytes
    let py = |y: f64| panel.py(y).clamp(panel.top - 9e3, panel.bottom() + 9e3);
    html! {
        @for stretch in stretches {
            @if let [(x, y)] = stretch {
                circle class="a" cx=(Px(panel.px(*x))) cy=(Px(py(*y))) r="3" {
                    title { (number(*y)) }
                }
            } @else {
                @let path: Vec<String> = stretch
                    .iter()
                    .map(|&(x, y)| format!("{:.1},{:.1}", panel.px(x), py(y)))
                    .collect();
                polyline class="l" stroke-dasharray=(dash) points=(path.join(" ")) {
                    title { (clean(&series.name)) }
                }
            }
        }
    }
}

/// A dashed vertical line; its label stands on the side where there is room.
fn vertical_mark(panel: &Panel, x: f64, label: &str) -> Markup {
    let at = panel.px(x);
    let left_half = panel.x.part(x) < 0.5;
    let (text_x, anchor) = if left_half { (at + 5.0, "start") } else { (at - 5.0, "end") };
    html! {
        line class="ref" x1=(Px(at)) x2=(Px(at)) y1=(Px(panel.top)) y2=(Px(panel.bottom())) {}
        text class="soft halo" x=(Px(text_x)) y=(Px(panel.top + 14.0)) text-anchor=(anchor) {
            (clean(label))
        }
    }
}
