//! A genome-browser strip: signals and intervals along a stretch of a chromosome.

use maud::{Markup, html};

use super::axes::{Axis, Panel};
use super::scatter::category;
use super::{Figure, Px, clean, number, text_width};
use crate::Result;
use crate::error::{Error, check_finite};

const WIDTH: f64 = 720.0;
const SIGNAL_HEIGHT: f64 = 70.0;
const INTERVAL_HEIGHT: f64 = 18.0;
const GAP: f64 = 10.0;
/// Columns per pixel in which a signal is drawn by its highest value, however many runs it has.
const COLUMNS_PER_PIXEL: f64 = 2.0;

/// Rows of signals and intervals over common coordinates, in base pairs.
///
/// ```
/// use gradome_report::plot::Tracks;
///
/// let figure = Tracks::new("chr22", 17_000, 18_000)
///     .signal("ChIP", [(17_000, 17_400, 2.0), (17_400, 17_600, 25.0), (17_600, 18_000, 1.0)])
///     .over("expected", [(17_000, 18_000, 1.5)])
///     .intervals("peaks", [(17_400, 17_600, "peak 1")])
///     .draw()?;
/// assert!(figure.inline().contains("peak 1"));
/// # Ok::<(), gradome_report::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tracks {
    chromosome: String,
    start: u64,
    end: u64,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    content: Content,
}

/// Start and end (bp), and value.
type Run = (u64, u64, f64);

/// A signal that is drawn as a line: its name and runs.
type Overlay = (String, Vec<Run>);

#[derive(Clone, Debug)]
enum Content {
    /// A filled area, and outlines over it with their names.
    Signal { runs: Vec<Run>, over: Vec<Overlay>, top: Option<f64> },
    /// Boxes with what a pointer shows.
    Intervals(Vec<(u64, u64, String)>),
    /// Single positions.
    Positions(Vec<u64>),
}

impl Tracks {
    /// Starts a strip of a chromosome from `start` to `end` (bp, the end exclusive).
    pub fn new(chromosome: impl Into<String>, start: u64, end: u64) -> Self {
        Self { chromosome: chromosome.into(), start, end, rows: Vec::new() }
    }

    /// Adds a signal as a filled area: runs of start, end (bp) and value; where there is no run it is 0.
    pub fn signal(mut self, name: impl Into<String>, runs: impl IntoIterator<Item = (u64, u64, f64)>) -> Self {
        let content = Content::Signal { runs: runs.into_iter().collect(), over: Vec::new(), top: None };
        self.rows.push(Row { name: name.into(), content });
        self
    }

    /// Draws another signal as a line over the last one, on the same scale.
    pub fn over(mut self, name: impl Into<String>, runs: impl IntoIterator<Item = (u64, u64, f64)>) -> Self {
        if let Some(Row { content: Content::Signal { over, .. }, .. }) = self.rows.last_mut() {
            over.push((name.into(), runs.into_iter().collect()));
            return self;
        }
        self.signal(name, runs)
    }

    /// Fixes the top of the last signal's scale, so that strips compare; what is higher is cut off.
    pub fn up_to(mut self, highest: f64) -> Self {
        if let Some(Row { content: Content::Signal { top, .. }, .. }) = self.rows.last_mut() {
            *top = Some(highest);
        }
        self
    }

    /// Adds intervals as boxes: start, end (bp) and a name that shows under the pointer, and beside the box where there
    /// is room.
    pub fn intervals<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        intervals: impl IntoIterator<Item = (u64, u64, S)>,
    ) -> Self {
        let boxes = intervals.into_iter().map(|(start, end, name)| (start, end, name.into())).collect();
        self.rows.push(Row { name: name.into(), content: Content::Intervals(boxes) });
        self
    }

    /// Adds single positions (bp) as ticks: summits, motif hits.
    pub fn positions(mut self, name: impl Into<String>, positions: impl IntoIterator<Item = u64>) -> Self {
        self.rows.push(Row { name: name.into(), content: Content::Positions(positions.into_iter().collect()) });
        self
    }

    /// Draws the strip; what lies outside its stretch is left out.
    ///
    /// # Errors
    /// When there is no row, the stretch is empty, a run or interval ends before it starts, or a value is not finite.
    pub fn draw(&self) -> Result<Figure> {
        if self.rows.is_empty() {
            return Err(Error::Empty { what: "strip of tracks", of: "rows" });
        }
        if self.end <= self.start {
            let found = format!("{} to {}", self.start, self.end);
            return Err(Error::setting("the stretch of the tracks", found, "from low to high"));
        }
        for row in &self.rows {
            row.check()?;
        }
        let left = 16.0 + self.rows.iter().map(Row::label_width).fold(40.0, f64::max) + 44.0;
        let mut top = 8.0;
        let mut drawn = Vec::new();
        for row in &self.rows {
            let height = row.height();
            let panel = Panel { left, top, width: WIDTH, height, x: self.axis(), y: row.axis() };
            drawn.push(row.draw(&panel, self.columns(&panel)));
            top += height + GAP;
        }
        let whole =
            Panel { left, top: 8.0, width: WIDTH, height: top - GAP - 8.0, x: self.axis(), y: Axis::new(0.0, 1.0) };
        let unit = format!("{} (bp)", self.chromosome);
        let body = html! {
            @for &tick in &whole.x.ticks {
                @let x = whole.px(tick);
                line class="grid" x1=(Px(x)) x2=(Px(x)) y1=(Px(whole.top)) y2=(Px(whole.bottom())) {}
                text class="soft" x=(Px(x)) y=(Px(whole.bottom() + 16.0)) text-anchor="middle" { (grouped(tick)) }
            }
            @for row in drawn { (row) }
            text x=(Px(left + WIDTH / 2.0)) y=(Px(whole.bottom() + 34.0)) text-anchor="middle" { (clean(&unit)) }
        };
        let label = format!("Tracks of {} from {} to {}", self.chromosome, self.start, self.end);
        Ok(Figure::new(left + WIDTH + 34.0, whole.bottom() + 42.0, label, body))
    }

    fn axis(&self) -> Axis {
        Axis::new(self.start as f64, self.end as f64)
    }

    /// How a signal is sampled: columns of equal width.
    fn columns(&self, panel: &Panel) -> Columns {
        let count = ((self.end - self.start) as f64).min(panel.width * COLUMNS_PER_PIXEL).ceil();
        Columns { start: self.start, end: self.end, count: count as usize }
    }
}

/// A position with commas between thousands.
fn grouped(position: f64) -> String {
    let digits = format!("{position:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Equal columns over a stretch.
struct Columns {
    start: u64,
    end: u64,
    count: usize,
}

impl Columns {
    /// The highest value in each column.
    fn highest(&self, runs: &[Run]) -> Vec<f64> {
        let mut highest = vec![f64::NEG_INFINITY; self.count];
        let per_column = (self.end - self.start) as f64 / self.count as f64;
        for &(start, end, value) in runs.iter().filter(|run| run.0 < self.end && run.1 > self.start && run.0 < run.1) {
            let first = ((start.max(self.start) - self.start) as f64 / per_column) as usize;
            let last = ((end.min(self.end) - self.start) as f64 / per_column).ceil() as usize;
            for column in &mut highest[first.min(self.count - 1)..last.min(self.count)] {
                *column = column.max(value);
            }
        }
        highest.iter().map(|&value| if value == f64::NEG_INFINITY { 0.0 } else { value }).collect()
    }

    /// Corners of the outline of a signal, in pixels; a run of equal columns has two.
    fn outline(&self, panel: &Panel, runs: &[Run]) -> String {
        let highest = self.highest(runs);
        let x = |column: usize| panel.left + panel.width * column as f64 / self.count as f64;
        let y = |value: f64| panel.py(value.clamp(panel.y.low, panel.y.high));
        let mut points = Vec::new();
        let mut first = 0;
        for same in highest.chunk_by(|a, b| a == b) {
            let last = first + same.len();
            points.push(format!("{:.1},{:.1} {:.1},{:.1}", x(first), y(same[0]), x(last), y(same[0])));
            first = last;
        }
        points.join(" ")
    }
}

impl Row {
    fn check(&self) -> Result<()> {
        let bounds: Vec<(u64, u64)> = match &self.content {
            Content::Signal { runs, over, top } => {
                check_finite("the top of a track", top.iter().copied(), 1)?;
                let all = || std::iter::once(runs).chain(over.iter().map(|(_, runs)| runs)).flatten();
                check_finite("values of a track", all().map(|run| run.2), 1)?;
                all().map(|run| (run.0, run.1)).collect()
            }
            Content::Intervals(boxes) => boxes.iter().map(|b| (b.0, b.1)).collect(),
            Content::Positions(_) => Vec::new(),
        };
        match bounds.iter().find(|(start, end)| end < start) {
            Some((start, end)) => Err(Error::setting("an interval", format!("{start} to {end}"), "from low to high")),
            None => Ok(()),
        }
    }

    fn label_width(&self) -> f64 {
        let over = match &self.content {
            Content::Signal { over, .. } => over.iter().map(|(name, _)| text_width(name)).fold(0.0, f64::max),
            _ => 0.0,
        };
        text_width(&self.name).max(over)
    }

    fn height(&self) -> f64 {
        if matches!(self.content, Content::Signal { .. }) { SIGNAL_HEIGHT } else { INTERVAL_HEIGHT }
    }

    fn axis(&self) -> Axis {
        let Content::Signal { runs, over, top } = &self.content else {
            return Axis::new(0.0, 1.0);
        };
        let values = runs.iter().chain(over.iter().flat_map(|(_, runs)| runs)).map(|run| run.2);
        let low = values.clone().fold(0.0, f64::min);
        let high = top.unwrap_or_else(|| values.fold(0.0, f64::max) * 1.05);
        Axis::new(low, if high > low { high } else { low + 1.0 })
    }

    fn draw(&self, panel: &Panel, columns: Columns) -> Markup {
        let middle = panel.top + panel.height / 2.0;
        let name_x = panel.left - if matches!(self.content, Content::Signal { .. }) { 44.0 } else { 10.0 };
        html! {
            text x=(Px(name_x)) y=(Px(middle + 4.0)) text-anchor="end" { (clean(&self.name)) }
            @match &self.content {
                Content::Signal { runs, over, .. } => { (signal(panel, &columns, runs, over)) }
                Content::Intervals(boxes) => {
                    line class="grid" x1=(Px(panel.left)) x2=(Px(panel.right())) y1=(Px(middle)) y2=(Px(middle)) {}
                    (panel.clip(intervals(panel, boxes)))
                }
                Content::Positions(positions) => {
                    line class="grid" x1=(Px(panel.left)) x2=(Px(panel.right())) y1=(Px(middle)) y2=(Px(middle)) {}
                    g class=(category(3)) {
                        @for &at in positions.iter().filter(|at| (columns.start..columns.end).contains(*at)) {
                            @let x = panel.px(at as f64 + 0.5);
                            line class="l" x1=(Px(x)) x2=(Px(x)) y1=(Px(panel.top + 1.0)) y2=(Px(panel.bottom() - 1.0)) {
                                title { (grouped(at as f64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn signal(panel: &Panel, columns: &Columns, runs: &[Run], over: &[Overlay]) -> Markup {
    let base = panel.py(0.0_f64.clamp(panel.y.low, panel.y.high));
    let outline = columns.outline(panel, runs);
    let area = format!("{:.1},{base:.1} {outline} {:.1},{base:.1}", panel.left, panel.right());
    let highest = panel.y.ticks.iter().copied().fold(0.0, f64::max);
    html! {
        g class=(category(0)) {
            polygon class="area" points=(area) {}
            polyline class="l" points=(outline) {}
        }
        @for (i, (name, runs)) in over.iter().enumerate() {
            g class=(category(i + 3)) {
                polyline class="l" stroke-dasharray="5 3" points=(columns.outline(panel, runs)) { title { (clean(name)) } }
                // its name stands under the signal's, with a sample of the line
                @let y = panel.top + panel.height / 2.0 + 18.0 * (i + 1) as f64;
                text x=(Px(panel.left - 44.0)) y=(Px(y + 2.0)) text-anchor="end" { (clean(name)) }
                line class="l" stroke-dasharray="5 3" x1=(Px(panel.left - 44.0 - text_width(name) - 2.0))
                    x2=(Px(panel.left - 44.0)) y1=(Px(y + 7.0)) y2=(Px(y + 7.0)) {}
            }
        }
        line class="frame" x1=(Px(panel.left)) x2=(Px(panel.left)) y1=(Px(panel.top)) y2=(Px(panel.bottom())) {}
        line class="frame" x1=(Px(panel.left)) x2=(Px(panel.right())) y1=(Px(base)) y2=(Px(base)) {}
        @for tick in [0.0, highest] {
            text class="soft" x=(Px(panel.left - 6.0)) y=(Px(panel.py(tick) + 4.0)) text-anchor="end" { (number(tick)) }
        }
    }
}

fn intervals(panel: &Panel, boxes: &[(u64, u64, String)]) -> Markup {
    let seen = |b: &&(u64, u64, String)| (b.0 as f64) < panel.x.high && (b.1 as f64) > panel.x.low;
    html! {
        @for (start, end, name) in boxes.iter().filter(seen) {
            // what is left of a box at the border, at least as wide as can be seen
            @let (left, right) = (panel.px((*start as f64).max(panel.x.low)), panel.px((*end as f64).min(panel.x.high)));
            g class=(category(2)) {
                rect class="a" x=(Px(left)) y=(Px(panel.top + 3.0)) width=(Px((right - left).max(1.0)))
                    height=(Px(panel.height - 6.0)) { title { (clean(name)) } }
            }
            @if right + 8.0 + text_width(name) < panel.right() && boxes.len() == 1 {
                text class="soft halo" x=(Px(right + 5.0)) y=(Px(panel.top + panel.height / 2.0 + 4.0)) { (clean(name)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_run_is_not_lost_between_columns() {
        let columns = Columns { start: 100, end: 1_000_100, count: 100 };
        let highest = columns.highest(&[(100, 1_000_100, 1.0), (500_103, 500_104, 9.0)]);
        assert_eq!(highest.iter().filter(|&&value| value == 9.0).count(), 1);
        assert_eq!(highest[50], 9.0);
        assert_eq!(highest[49], 1.0);
    }

    #[test]
    fn what_lies_outside_the_stretch_is_not_drawn() {
        let figure = Tracks::new("chr1", 1_000, 2_000)
            .intervals("genes", [(100, 900, "before"), (1_500, 3_000, "across"), (2_000, 2_100, "behind")])
            .positions("summits", [999, 1_000, 1_999, 2_000])
            .draw()
            .unwrap();
        let svg = figure.standalone();
        assert!(svg.contains("across") && !svg.contains("before") && !svg.contains("behind"));
        assert!(svg.contains("<title>1,000</title>") && !svg.contains("<title>999</title>"));
    }

    #[test]
    fn positions_have_commas_between_thousands() {
        assert_eq!(grouped(17_400_000.0), "17,400,000");
        assert_eq!(grouped(5.0), "5");
    }

    #[test]
    fn an_empty_stretch_and_a_backward_interval_are_errors() {
        assert!(Tracks::new("chr1", 5, 5).positions("a", [5]).draw().is_err());
        assert!(Tracks::new("chr1", 0, 50).intervals("a", [(9, 5, "")]).draw().is_err());
        assert!(Tracks::new("chr1", 0, 50).signal("a", [(5, 9, f64::NAN)]).draw().is_err());
        assert!(Tracks::new("chr1", 0, 50).draw().is_err());
    }
}
