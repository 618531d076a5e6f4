//! Cells in the plane, coloured by category or by value.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::axes::{Axis, Panel, range};
use super::legend::{self, Legend, Mark};
use super::{Figure, Px, clean, number};
use crate::Result;
use crate::error::{Error, check_finite, check_size};
use crate::palette::{CATEGORIES, step};

/// Side of the square panel, in pixels.
const SIDE: f64 = 350.0;

/// What gives a cell its colour.
#[derive(Clone, Debug, PartialEq)]
pub enum Colour {
    /// All cells have one colour.
    Plain,
    /// One colour for each name: clusters, batches, cell types.
    Categories {
        /// `[cells]` the category of each cell, a position in `names`.
        labels: Vec<usize>,
        /// The categories' names, in the order of the legend.
        names: Vec<String>,
    },
    /// Light to dark by value: expression, a protein, time.
    Values {
        /// `[cells]` the value of each cell; NaN is drawn grey, as not measured.
        values: Vec<f64>,
        /// What the value is, with its unit.
        name: String,
    },
}

impl Colour {
    /// Colours cells by their category's name; names are sorted, numbers inside them as numbers.
    pub fn categories<S: AsRef<str>>(cells: &[S]) -> Self {
        let mut order = BTreeMap::new();
        for name in cells {
            order.entry(natural_key(name.as_ref())).or_insert(0);
        }
        order.values_mut().enumerate().for_each(|(position, label)| *label = position);
        let labels = cells.iter().map(|name| order[&natural_key(name.as_ref())]).collect();
        let names = order.into_keys().map(|(_, name)| name.to_owned()).collect();
        Self::Categories { labels, names }
    }

    /// Colours cells by a value, NaN as not measured.
    pub fn values<T: Copy + Into<f64>>(values: &[T], name: impl Into<String>) -> Self {
        Self::Values { values: values.iter().map(|&v| v.into()).collect(), name: name.into() }
    }
}

/// Parts of a name in an order that puts `cluster 2` before `cluster 10`.
fn natural_key(name: &str) -> (Vec<(u64, String)>, &str) {
    let mut parts: Vec<(u64, String)> = vec![(0, String::new())];
    for c in name.chars() {
        let (number, text) = parts.last_mut().expect("never empty");
        match c.to_digit(10) {
            Some(digit) if text.is_empty() => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
            }
            Some(digit) => parts.push((u64::from(digit), String::new())),
            None => text.push(c),
        }
    }
    (parts, name)
}

/// A scatter plot of cells.
#[derive(Clone, Debug)]
pub struct Scatter<'a> {
    points: &'a [[f64; 2]],
    x_name: String,
    y_name: String,
    title: String,
    colour: Colour,
    names: Option<Vec<String>>,
    ticks: bool,
    label_on_data: bool,
}

impl<'a> Scatter<'a> {
    /// Draws a cell at each of `points`.
    pub fn new(points: &'a [[f64; 2]]) -> Self {
        Self {
            points,
            x_name: String::new(),
            y_name: String::new(),
            title: String::new(),
            colour: Colour::Plain,
            names: None,
            ticks: false,
            label_on_data: false,
        }
    }

    /// Names the axes.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        (self.x_name, self.y_name) = (x.into(), y.into());
        self
    }

    /// Writes a title above the panel.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Colours the cells.
    pub fn colour(mut self, colour: Colour) -> Self {
        self.colour = colour;
        self
    }

    /// Names the cells, one each; a name appears under the pointer.
    pub fn names<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        self.names = Some(names.iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// Draws ticks and a grid, for axes whose numbers mean something (those of t-SNE do not).
    pub fn ticks(mut self) -> Self {
        self.ticks = true;
        self
    }

    /// Writes each category's name at the middle of its cells as well as in the legend.
    pub fn label_on_data(mut self) -> Self {
        self.label_on_data = true;
        self
    }

    /// Draws the figure.
    ///
    /// Categories are drawn in a mixed order, so that no batch hides another; values are drawn
    /// from low to high, as in scanpy, so that rare high cells show.
    ///
    /// # Errors
    /// When a position is not finite, a value is infinite, a category has no name, or there is not
    /// one colour and one name per cell.
    pub fn draw(&self) -> Result<Figure> {
        let cells = self.points.len();
        let positions = self.points.as_flattened().iter().copied();
        check_finite("positions", positions, 2)?;
        if let Some(names) = &self.names {
            check_size("names", names.len(), cells, "one per cell")?;
        }
        let panel = self.panel();
        let (left, top) = (panel.right() + 18.0, panel.top);
        let (classes, order, legend) = match &self.colour {
            Colour::Plain => (vec!["c0".into(); cells], mixed_order(cells), None),
            Colour::Categories { labels, names } => {
                check_size("categories", labels.len(), cells, "one per cell")?;
                if let Some(label) = labels.iter().find(|&&label| label >= names.len()) {
                    let range = format!("below the number of names, {}", names.len());
                    return Err(Error::setting("a category", label, range));
                }
                let classes: Vec<String> = labels.iter().map(|&label| category(label)).collect();
                let legend = legend::names(&category_entries(labels, names), left, top);
                (classes, mixed_order(cells), Some(legend))
            }
            Colour::Values { values, name } => {
                check_size("values", values.len(), cells, "one per cell")?;
                if let Some(cell) = values.iter().position(|value| value.is_infinite()) {
                    let value = values[cell];
                    return Err(Error::NotFinite { what: "values", row: cell, column: 0, value });
                }
                let (classes, order, legend) = by_value(values, name, left, top);
                (classes, order, Some(legend))
            }
        };
        let radius = Px((70.0 / (cells.max(1) as f64).sqrt()).clamp(1.4, 4.0));
        let body = html! {
            @if !self.title.is_empty() {
                text class="strong" x=(Px(panel.left)) y="14" font-size="13" { (clean(&self.title)) }
            }
            @if self.ticks {
                (panel.ticks(&self.x_name, &self.y_name))
            } @else {
                (panel.names(&self.x_name, &self.y_name, 18.0))
            }
            (panel.frame())
            g class="p" {
                @for &cell in &order {
                    @let [x, y] = self.points[cell];
                    circle class=(classes[cell]) cx=(Px(panel.px(x))) cy=(Px(panel.py(y)))
                        r=(radius) {
                        @if let Some(names) = &self.names {
                            title { (clean(&names[cell])) (self.meaning(cell)) }
                        }
                    }
                }
            }
            @if self.label_on_data { (self.centre_labels(&panel)) }
            @if let Some(legend) = &legend { (legend.markup) }
        };
        let (legend_width, legend_height) = legend.map_or((0.0, 0.0), |legend| (legend.width + 18.0, legend.height));
        let below = if self.ticks { 46.0 } else { 28.0 };
        let height = (panel.bottom() + below).max(top + legend_height + 6.0);
        let label = format!("Scatter plot of {cells} cells. {}", self.title);
        Ok(Figure::new(panel.right() + legend_width + 8.0, height, label, body))
    }

    /// A square panel whose two axes have one scale, unless they have ticks of their own.
    fn panel(&self) -> Panel {
        let mut x = Axis::around(self.points.iter().map(|point| point[0]));
        let mut y = Axis::around(self.points.iter().map(|point| point[1]));
        let top = if self.title.is_empty() { 8.0 } else { 24.0 };
        if self.ticks {
            return Panel { top, ..Panel::with_ticks(SIDE, SIDE, x, y) };
        }
        let half = (x.high - x.low).max(y.high - y.low) / 2.0;
        for axis in [&mut x, &mut y] {
            let middle = (axis.low + axis.high) / 2.0;
            *axis = Axis::new(middle - half, middle + half);
        }
        Panel { left: 26.0, top, width: SIDE, height: SIDE, x, y }
    }

    /// What a cell's colour says, for the text under the pointer.
    fn meaning(&self, cell: usize) -> String {
        match &self.colour {
            Colour::Plain => String::new(),
            Colour::Categories { labels, names } => format!(" · {}", clean(&names[labels[cell]])),
            Colour::Values { values, .. } => format!(" · {}", number(values[cell])),
        }
    }

    /// Each category's name at the median of its cells.
    fn centre_labels(&self, panel: &Panel) -> Markup {
        let Colour::Categories { labels, names } = &self.colour else {
            return html! {};
        };
        let median = |label: usize, axis: usize| -> Option<f64> {
            let mine = labels.iter().zip(self.points).filter(|&(&other, _)| other == label);
            let mut values: Vec<f64> = mine.map(|(_, point)| point[axis]).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        html! {
            @for (label, name) in names.iter().enumerate() {
                @if let (Some(x), Some(y)) = (median(label, 0), median(label, 1)) {
                    text class="strong halo" text-anchor="middle" x=(Px(panel.px(x)))
                        y=(Px(panel.py(y) + 4.0)) { (clean(name)) }
                }
            }
        }
    }
}

/// The class that gives category `label` its colour.
pub(super) fn category(label: usize) -> String {
    format!("c{}", label % CATEGORIES.len())
}

/// Legend entries with the number of cells behind each name.
fn category_entries(labels: &[usize], names: &[String]) -> Vec<(String, Mark, String)> {
    let mut counts = vec![0_usize; names.len()];
    labels.iter().for_each(|&label| counts[label] += 1);
    let entry =
        |(label, (name, count)): (usize, (&String, usize))| (category(label), Mark::Dot, format!("{name} ({count})"));
    names.iter().zip(counts).enumerate().map(entry).collect()
}

/// Classes, drawing order (not measured first, then low to high) and legend of a value.
fn by_value(values: &[f64], name: &str, left: f64, top: f64) -> (Vec<String>, Vec<usize>, Legend) {
    let (low, high) = range(values.iter().copied()).unwrap_or((f64::NAN, f64::NAN));
    let class = |&value: &f64| {
        if value.is_nan() { "na".into() } else { format!("v{}", step(value, low, high)) }
    };
    let mut order = mixed_order(values.len());
    let key = |cell: usize| if values[cell].is_nan() { f64::NEG_INFINITY } else { values[cell] };
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let missing = values.iter().filter(|value| value.is_nan()).count();
    let mut legend = if missing < values.len() {
        legend::colour_bar(name, low, high, left, top)
    } else {
        legend::names(&[], left, top)
    };
    if missing > 0 {
        let entry = ("na".into(), Mark::Dot, format!("not measured ({missing})"));
        let extra = legend::names(&[entry], left, top + legend.height + 8.0);
        legend = Legend {
            markup: html! { (legend.markup) (extra.markup) },
            width: legend.width.max(extra.width),
            height: legend.height + 8.0 + extra.height,
        };
    }
    (values.iter().map(class).collect(), order, legend)
}

/// The numbers 0..count in an order that has nothing to do with the data's.
pub(super) fn mixed_order(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    order
}
