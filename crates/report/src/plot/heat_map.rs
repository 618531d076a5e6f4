//! Heat maps: a value for each pair of a row and a column.

use maud::html;

use super::axes::range;
use super::legend;
use super::{Figure, Px, clean, number, text_width};
use crate::Result;
use crate::error::{Error, check_size};
use crate::palette::step;

const CELL: f64 = 26.0;
const HEIGHT: f64 = 22.0;

/// A grid of coloured cells with names of rows and columns.
#[derive(Clone, Debug)]
pub struct HeatMap {
    value_name: String,
    rows: Vec<String>,
    columns: Vec<String>,
    values: Vec<f64>,
    by_column: bool,
    least: Option<f64>,
}

impl HeatMap {
    /// Starts a heat map of `value_name` (with its unit): `[rows, columns]` values; NaN is grey.
    pub fn new<S: AsRef<str>>(value_name: impl Into<String>, rows: &[S], columns: &[S], values: &[f64]) -> Self {
        let owned = |names: &[S]| names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self {
            value_name: value_name.into(),
            rows: owned(rows),
            columns: owned(columns),
            values: values.to_vec(),
            by_column: false,
            least: None,
        }
    }

    /// Gives each column a scale of its own, from its least to its largest value.
    pub fn scaled_by_column(mut self) -> Self {
        self.by_column = true;
        self
    }

    /// Lets the scale begin at a value instead of the least one.
    pub fn from(mut self, least: f64) -> Self {
        self.least = Some(least);
        self
    }

    /// Draws the map; exact values appear under the pointer.
    ///
    /// # Errors
    /// When there are no rows or columns, there is not one value per cell, or a value is infinite.
    pub fn draw(&self) -> Result<Figure> {
        for (count, of) in [(self.rows.len(), "rows"), (self.columns.len(), "columns")] {
            if count == 0 {
                return Err(Error::Empty { what: "heat map", of });
            }
        }
        let columns = self.columns.len();
        check_size("heat map", self.values.len(), self.rows.len() * columns, "one per row and column")?;
        if let Some(at) = self.values.iter().position(|value| value.is_infinite()) {
            let value = self.values[at];
            return Err(Error::NotFinite { what: "heat map", row: at / columns, column: at % columns, value });
        }
        let scale = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = range(values).unwrap_or((0.0, 1.0));
            (self.least.map_or(low, |least| least.min(low)), high)
        };
        let whole = scale(&mut self.values.iter().copied());
        let of_column: Vec<(f64, f64)> =
            (0..columns)
                .map(|c| {
                    if self.by_column {
                        scale(&mut self.values.iter().skip(c).step_by(columns).copied())
                    } else {
                        whole
                    }
                })
                .collect();
        let widest = |names: &[String]| names.iter().map(|name| text_width(name)).fold(0.0, f64::max);
        let (left, top) = (widest(&self.rows) + 12.0, widest(&self.columns) * 0.75 + 16.0);
        let (width, height) = (CELL * columns as f64, HEIGHT * self.rows.len() as f64);
        let bar = if self.by_column {
            legend::colour_bar(
                &format!("{}, each column by itself", self.value_name),
                0.0,
                1.0,
                left + width + 40.0,
                top,
            )
        } else {
            legend::colour_bar(&self.value_name, whole.0, whole.1, left + width + 40.0, top)
        };
        let body = html! {
            @for (c, name) in self.columns.iter().enumerate() {
                @let x = left + CELL * (c as f64 + 0.5) + 4.0;
                text transform=(format!("translate({x:.1} {:.1}) rotate(-50)", top - 6.0)) { (clean(name)) }
            }
            @for (r, name) in self.rows.iter().enumerate() {
                @let y = top + HEIGHT * r as f64;
                text x=(Px(left - 6.0)) y=(Px(y + HEIGHT / 2.0 + 4.0)) text-anchor="end" { (clean(name)) }
                @for c in 0..columns {
                    @let value = self.values[r * columns + c];
                    @let (low, high) = of_column[c];
                    @let class = if value.is_nan() { "a na".to_owned() } else { format!("a v{}", step(value, low, high)) };
                    rect class=(class) x=(Px(left + CELL * c as f64)) y=(Px(y)) width=(Px(CELL)) height=(Px(HEIGHT)) {
                        title { (clean(name)) ", " (clean(&self.columns[c])) ": " (number(value)) }
                    }
                }
            }
            rect class="frame" x=(Px(left)) y=(Px(top)) width=(Px(width)) height=(Px(height)) {}
            (bar.markup)
        };
        let right = left + width + 40.0 + bar.width + widest(&self.columns) * 0.2;
        let bottom = top + height.max(bar.height) + 14.0;
        Ok(Figure::new(right, bottom, format!("Heat map of {}", self.value_name), body))
    }
}
