//! What the colours mean: a list of names, or a bar of values.

use maud::{Markup, html};

use super::axes::Axis;
use super::{Px, clean, text_width};
use crate::palette::STEPS;

/// Names longer than this are cut; the whole name appears under the pointer.
const LONGEST_NAME: usize = 30;
const ROW: f64 = 18.0;

/// How a name is marked.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Dot,
    Square,
    /// A line with this dash pattern.
    Line(&'static str),
}

/// A legend and the room it needs, in pixels.
pub(super) struct Legend {
    pub markup: Markup,
    pub width: f64,
    pub height: f64,
}

/// A list of names, each with a class that gives its colour.
pub(super) fn names(entries: &[(String, Mark, String)], left: f64, top: f64) -> Legend {
    let shown = |name: &str| -> String {
        let name = clean(name);
        if name.chars().count() <= LONGEST_NAME {
            return name;
        }
        name.chars().take(LONGEST_NAME - 1).chain(['\u{2026}']).collect()
    };
    let widest = entries.iter().map(|(.., name)| text_width(&shown(name))).fold(0.0, f64::max);
    let markup = html! {
        @for (row, (class, mark, name)) in entries.iter().enumerate() {
            @let y = top + ROW * (row as f64 + 0.5);
            g class=(class) {
                @match mark {
                    Mark::Dot => circle class="a" cx=(Px(left + 7.0)) cy=(Px(y)) r="5" {},
                    Mark::Square => {
                        rect class="a" x=(Px(left + 1.0)) y=(Px(y - 6.0)) width="12" height="12" {}
                    },
                    Mark::Line(dash) => {
                        line class="l" x1=(Px(left - 4.0)) x2=(Px(left + 16.0)) y1=(Px(y)) y2=(Px(y))
                            stroke-dasharray=(dash) {}
                    },
                }
                text x=(Px(left + 20.0)) y=(Px(y + 4.0)) {
                    (shown(name))
                    @if shown(name) != clean(name) { title { (clean(name)) } }
                }
            }
        }
    };
    Legend { markup, width: 20.0 + widest, height: ROW * entries.len() as f64 }
}

/// A vertical bar of the colour scale from `low` to `high`.
pub(super) fn colour_bar(name: &str, low: f64, high: f64, left: f64, top: f64) -> Legend {
    const HEIGHT: f64 = 160.0;
    let bar_top = top + 22.0;
    let each = HEIGHT / STEPS as f64;
    let axis = (high > low).then(|| Axis::new(low, high));
    let ticks: Vec<(f64, String)> = match &axis {
        Some(axis) => axis.ticks.iter().map(|&t| (axis.part(t), axis.label(t))).collect(),
        None => vec![(0.5, super::number(low))],
    };
    let widest = ticks.iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max);
    let markup = html! {
        text x=(Px(left)) y=(Px(top + 10.0)) { (clean(name)) }
        @for step in 0..STEPS {
            // a little taller than its share, so that no seam shows
            rect class=(format!("a v{step}")) x=(Px(left)) width="14" height=(Px(each + 0.6))
                y=(Px(bar_top + HEIGHT - each * (step as f64 + 1.0))) {}
        }
        @for (part, label) in &ticks {
            @let y = bar_top + HEIGHT * (1.0 - part);
            line class="frame" x1=(Px(left + 14.0)) x2=(Px(left + 18.0)) y1=(Px(y)) y2=(Px(y)) {}
            text class="soft" x=(Px(left + 22.0)) y=(Px(y + 4.0)) { (label) }
        }
    };
    let width = text_width(name).max(22.0 + widest);
    Legend { markup, width, height: HEIGHT + 30.0 }
}
