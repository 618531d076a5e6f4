//! Distributions of values.

use maud::html;

use super::axes::{Axis, Panel, range};
use super::legend::{self, Mark};
use super::scatter::category;
use super::{Figure, number};
use crate::Result;
use crate::error::{Error, check_finite};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 240.0;
/// Fewest and most bins.
const BINS: [f64; 2] = [8.0, 60.0];

/// A histogram of one or several series over common bins.
///
/// One series shows counts. Several show densities (each has area 1), so that groups of different
/// size compare.
#[derive(Clone, Debug)]
pub struct Histogram {
    x_name: String,
    series: Vec<(String, Vec<f64>)>,
}

impl Histogram {
    /// Starts a histogram with the name of its values, with unit.
    pub fn new(x_name: impl Into<String>) -> Self {
        Self { x_name: x_name.into(), series: Vec::new() }
    }

    /// Adds a series.
    pub fn series(mut self, name: impl Into<String>, values: &[f64]) -> Self {
        self.series.push((name.into(), values.to_vec()));
        self
    }

    /// Draws the histogram; the width of the bins follows Freedman and Diaconis (1981).
    ///
    /// # Errors
    /// When there is no series, a series is empty, or a value is not finite.
    pub fn draw(&self) -> Result<Figure> {
        if self.series.is_empty() {
            return Err(Error::Empty { what: "histogram", of: "series" });
        }
        for (_, values) in &self.series {
            if values.is_empty() {
                return Err(Error::Empty { what: "histogram", of: "values" });
            }
            check_finite("values of the histogram", values.iter().copied(), 1)?;
        }
        let all: Vec<f64> = self.series.iter().flat_map(|(_, values)| values).copied().collect();
        let edges = bin_edges(&all);
        let width = edges[1] - edges[0];
        let single = self.series.len() == 1;
        let heights: Vec<Vec<f64>> = self
            .series
            .iter()
            .map(|(_, values)| {
                let scale = if single { 1.0 } else { 1.0 / (values.len() as f64 * width) };
                counts(values, &edges).into_iter().map(|count| count * scale).collect()
            })
            .collect();
        let x = Axis::new(edges[0] - width / 2.0, edges[edges.len() - 1] + width / 2.0);
        let y = Axis::from_zero(heights.iter().flatten().copied());
        let panel = Panel::with_ticks(WIDTH, HEIGHT, x, y);
        let entries: Vec<_> = self
            .series
            .iter()
            .enumerate()
            .map(|(i, (name, values))| (category(i), Mark::Square, format!("{name} ({})", values.len())))
            .collect();
        let legend = legend::names(&entries, panel.right() + 18.0, panel.top);
        let outline = |heights: &[f64]| -> String {
            let mut points = format!("{:.1},{:.1}", panel.px(edges[0]), panel.py(0.0));
            for (bin, &height) in heights.iter().enumerate() {
                for edge in [edges[bin], edges[bin + 1]] {
                    points += &format!(" {:.1},{:.1}", panel.px(edge), panel.py(height));
                }
            }
            points + &format!(" {:.1},{:.1}", panel.px(edges[edges.len() - 1]), panel.py(0.0))
        };
        let y_name = if single { "count" } else { "density" };
        let body = html! {
            (panel.ticks(&self.x_name, y_name))
            @for (i, heights) in heights.iter().enumerate() {
                g class=(category(i)) {
                    polygon class="area" points=(outline(heights)) {
                        title { "bins of " (number(width)) }
                    }
                    polyline class="l" points=(outline(heights)) {}
                }
            }
            (panel.frame())
            @if !single { (legend.markup) }
        };
        let right = panel.right() + if single { 12.0 } else { 26.0 + legend.width };
        let bottom = (panel.bottom() + 44.0).max(panel.top + legend.height + 6.0);
        Ok(Figure::new(right, bottom, format!("Histogram of {}", self.x_name), body))
    }
}

/// Edges of equal bins over all values, each 2 IQR / n^(1/3) wide, within limits.
fn bin_edges(all: &[f64]) -> Vec<f64> {
    let (low, high) = range(all.iter().copied()).expect("values were checked");
    let mut sorted = all.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let quartile = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    let width = 2.0 * (quartile(0.75) - quartile(0.25)) / (all.len() as f64).cbrt();
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
    let bins = ((high - low) / width).ceil().clamp(BINS[0], BINS[1]) as usize;
    (0..=bins).map(|edge| low + (high - low) * edge as f64 / bins as f64).collect()
}

/// How many values lie in each bin; the last bin holds its right edge.
fn counts(values: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![0.0; edges.len() - 1];
    for value in values {
        let bin = edges.partition_point(|edge| edge <= value).saturating_sub(1);
        counts[bin.min(edges.len() - 2)] += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once_and_edges_belong_to_the_right_bin() {
        assert_eq!(counts(&[0.0, 0.5, 1.0, 1.5, 2.0], &[0.0, 1.0, 2.0]), [2.0, 3.0]);
    }

    #[test]
    fn bins_have_the_width_of_freedman_and_diaconis() {
        // 0..=1000: IQR 500, n^(1/3) = 10.003: width 99.97, 11 bins
        let values: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert_eq!(bin_edges(&values).len() - 1, 11);
        // no spread between the quartiles: the most bins; no spread at all: around the value
        let spike: Vec<f64> = [vec![0.0; 99], vec![1.0]].concat();
        assert_eq!(bin_edges(&spike).len() - 1, 60);
        assert_eq!(bin_edges(&[3.0, 3.0])[0], 2.5);
    }
}
