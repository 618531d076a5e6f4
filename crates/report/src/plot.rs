//! Figures as SVG.
//!
//! A figure holds no colours of its own, only classes: the page's style sheet (or the one inside
//! [`Figure::standalone`]) gives them their light, dark and printed colours. Names of cells and
//! exact values appear when the pointer rests on a mark, by `<title>` elements, without a script.

mod agreement;
mod axes;
mod bars;
mod heat_map;
mod histogram;
mod legend;
mod lines;
mod scatter;
mod tracks;

pub use agreement::Agreement;
pub use bars::Bars;
pub use heat_map::HeatMap;
pub use histogram::Histogram;
pub use lines::Lines;
pub use scatter::{Colour, Scatter};
pub use tracks::Tracks;

use maud::{Markup, PreEscaped, Render, html};

/// A finished drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    width: f64,
    height: f64,
    /// What a screen reader says.
    label: String,
    body: String,
}

impl Figure {
    fn new(width: f64, height: f64, label: String, body: Markup) -> Self {
        Self { width, height, label, body: body.into_string() }
    }

    /// The drawing as an SVG element for a page that brings the style sheet.
    pub fn inline(&self) -> String {
        self.element("").into_string()
    }

    /// The drawing as an SVG file of its own, style sheet included.
    pub fn standalone(&self) -> String {
        self.element(&crate::palette::style_sheet()).into_string()
    }

    /// The natural width, in CSS pixels.
    pub fn width(&self) -> f64 {
        self.width
    }

    fn element(&self, style: &str) -> Markup {
        let view_box = format!("0 0 {} {}", self.width.ceil(), self.height.ceil());
        html! {
            svg class="gf" xmlns="http://www.w3.org/2000/svg" role="img"
                aria-label=(clean(&self.label)) viewBox=(view_box)
                width=(self.width.ceil()) height=(self.height.ceil()) {
                @if !style.is_empty() { style { (PreEscaped(style)) } }
                (PreEscaped(&self.body))
            }
        }
    }
}

/// A length or position in pixels, written with one decimal at most.
struct Px(f64);

impl Render for Px {
    fn render_to(&self, buffer: &mut String) {
        let written = format!("{:.1}", self.0);
        let short = written.strip_suffix(".0").unwrap_or(&written);
        buffer.push_str(if short == "-0" { "0" } else { short });
    }
}

/// Text without the control characters that XML forbids; escaping is maud's part.
pub(crate) fn clean(text: &str) -> String {
    let forbidden = |c: char| (c.is_control() && !matches!(c, '\t' | '\n')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.replace(forbidden, "\u{fffd}")
}

/// The number as a person writes it: about three significant digits, powers of ten where it must.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "n/a".into()
    } else if value.is_infinite() || size >= 1e6 || (size > 0.0 && size < 1e-3) {
        format!("{value:.2e}")
    } else if size == size.trunc() {
        format!("{value}")
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
        format!("{value:.decimals$}")
    }
}

/// How wide 12-pixel text is, about: figures are laid out without a font at hand.
fn text_width(text: &str) -> f64 {
    7.0 * text.chars().count() as f64
}

#[cfg(test)]
mod tests;
