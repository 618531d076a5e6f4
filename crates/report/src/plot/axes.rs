//! The panel of a figure: ranges, ticks, frame and labels.

use maud::{Markup, html};

use super::{Px, clean, text_width};

/// About how many ticks an axis gets.
const TICKS: f64 = 6.0;
/// Part of the range left free at each end of the data.
const MARGIN: f64 = 0.04;

/// The range of one axis and its ticks, in data units.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
    pub step: f64,
}

impl Axis {
    /// A range a little wider than the finite values among `values`; 0 to 1 when there are none.
    pub fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        // a single value gets room on both sides
        let margin = if high > low { MARGIN * (high - low) } else { 0.5 * low.abs().max(1.0) };
        Self::new(low - margin, high + margin)
    }

    /// A range for bars, from 0 to a little beyond the values.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        let (low, high) = (low.min(0.0), high.max(0.0));
        let margin = MARGIN * if high > low { high - low } else { 1.0 };
        let low = if low < 0.0 { low - margin } else { low };
        Self::new(low, if high > 0.0 || low == 0.0 { high + margin } else { high })
    }

    /// Exactly from `low` to `high`, which must be larger.
    pub fn new(low: f64, high: f64) -> Self {
        let rough = (high - low) / TICKS;
        let power = 10.0_f64.powf(rough.log10().floor());
        let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough * 0.999);
        let step = power * nice.unwrap_or(10.0);
        let first = (low / step).ceil();
        let ticks = (0..)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|&tick| tick <= high)
            // more never fit; stops where rounding makes a step vanish beside the value
            .take(20)
            .collect();
        Self { low, high, ticks, step }
    }

    /// The position of a value, 0 at the low end and 1 at the high end.
    pub fn part(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// A tick's label: as many decimals as the distance of ticks needs.
    pub fn label(&self, tick: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        if !(1e-3..1e6).contains(&largest) {
            return if tick == 0.0 { "0".into() } else { format!("{tick:.1e}") };
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let written = format!("{tick:.decimals$}");
        if written.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') {
            written.trim_start_matches('-').into()
        } else {
            written.replace('-', "\u{2212}")
        }
    }

    /// How wide the widest tick label is, in pixels.
    pub fn label_width(&self) -> f64 {
        self.ticks.iter().map(|&tick| text_width(&self.label(tick))).fold(0.0, f64::max)
    }
}

/// The smallest and the largest finite value.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// The rectangle that data are drawn in, in pixels, with its axes.
pub(super) struct Panel {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
}

impl Panel {
    /// A panel with room on the left for tick labels and the name of the y axis.
    pub fn with_ticks(width: f64, height: f64, x: Axis, y: Axis) -> Self {
        Self { left: 34.0 + y.label_width(), top: 10.0, width, height, x, y }
    }

    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub fn px(&self, x: f64) -> f64 {
        self.left + self.x.part(x) * self.width
    }

    pub fn py(&self, y: f64) -> f64 {
        self.bottom() - self.y.part(y) * self.height
    }

    /// Grid lines, ticks and names of both axes.
    pub fn ticks(&self, x_name: &str, y_name: &str) -> Markup {
        html! {
            @for &tick in &self.x.ticks {
                @let x = self.px(tick);
                line class="grid" x1=(Px(x)) x2=(Px(x)) y1=(Px(self.top)) y2=(Px(self.bottom())) {}
                text class="soft" x=(Px(x)) y=(Px(self.bottom() + 16.0)) text-anchor="middle" {
                    (self.x.label(tick))
                }
            }
            @for &tick in &self.y.ticks {
                @let y = self.py(tick);
                line class="grid" x1=(Px(self.left)) x2=(Px(self.right())) y1=(Px(y)) y2=(Px(y)) {}
                text class="soft" x=(Px(self.left - 6.0)) y=(Px(y + 4.0)) text-anchor="end" {
                    (self.y.label(tick))
                }
            }
            (self.names(x_name, y_name, 36.0))
        }
    }

    /// The names of the axes; that of x stands `below` pixels under the panel.
    pub fn names(&self, x_name: &str, y_name: &str, below: f64) -> Markup {
        let (middle_x, middle_y) = (self.left + self.width / 2.0, self.top + self.height / 2.0);
        let turned = format!("translate(14 {middle_y:.1}) rotate(-90)");
        html! {
            text x=(Px(middle_x)) y=(Px(self.bottom() + below)) text-anchor="middle" {
                (clean(x_name))
            }
            text transform=(turned) text-anchor="middle" { (clean(y_name)) }
        }
    }

    /// The frame around the panel.
    pub fn frame(&self) -> Markup {
        html! {
            rect class="frame" x=(Px(self.left)) y=(Px(self.top))
                width=(Px(self.width)) height=(Px(self.height)) {}
        }
    }

    /// `content` cut off at the panel's border.
    pub fn clip(&self, content: Markup) -> Markup {
        let view = format!("{:.1} {:.1} {:.1} {:.1}", self.left, self.top, self.width, self.height);
        html! {
            svg x=(Px(self.left)) y=(Px(self.top)) width=(Px(self.width)) height=(Px(self.height))
                viewBox=(view) { (content) }
        }
    }
}
