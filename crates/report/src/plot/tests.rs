use std::collections::BTreeSet;

use super::axes::{Axis, range};
use super::*;
use crate::Result;

const SQUARE: [[f64; 2]; 4] = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];

fn count(figure: &Figure, element: &str, class: &str) -> usize {
    let svg = figure.standalone();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let marks = document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", element)));
    marks.filter(|node| node.attribute("class") == Some(class)).count()
}

/// Every kind of figure, with a hostile text wherever a caller can give one.
fn every_figure(text: &str) -> Vec<Result<Figure>> {
    let names = [text; 4];
    let scatter = || Scatter::new(&SQUARE).axes(text, text).title(text).names(&names);
    let values = [1.0, f64::NAN, 2.0, -3.0];
    let series = [1.0, 2.0, 4.0, 8.0];
    vec![
        scatter().draw(),
        scatter().ticks().colour(Colour::categories(&names)).label_on_data().draw(),
        scatter().colour(Colour::values(&values, text)).draw(),
        Lines::new(text, text).series(text, &series, &values).mark(3.0, text).draw(),
        Agreement::new(&series, &series).axes(text, text).statistic(text, 1.0).draw(),
        Bars::new(text, &names).series(text, &values).series(text, &series).draw(),
        Histogram::new(text).series(text, &series).series(text, &[1.0]).draw(),
        Tracks::new(text, 5, 90)
            .signal(text, [(0, 20, 1.0), (20, 100, -3.0)])
            .over(text, [(5, 90, 2.0)])
            .up_to(4.0)
            .intervals(text, [(7, 12, text)])
            .positions(text, [4, 30])
            .draw(),
    ]
}

#[test]
fn every_figure_is_well_formed_whatever_the_texts_are() {
    for text in ["T cells", "<script>\"&'</svg>]]>", "\u{0}\u{1b}[1m\u{ffff}", "\u{3b1}\u{3b2} T-\u{7d30}\u{80de}", ""]
    {
        for figure in every_figure(text) {
            let figure = figure.unwrap();
            for svg in [figure.inline(), figure.standalone()] {
                let document = roxmltree::Document::parse(&svg).unwrap();
                assert!(document.descendants().all(|node| !node.has_tag_name("script")));
                let numbers = ["cx", "cy", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "points"];
                for attribute in document.descendants().flat_map(|node| node.attributes()) {
                    let value = attribute.value();
                    assert!(
                        !numbers.contains(&attribute.name()) || !(value.contains("NaN") || value.contains("inf")),
                        "{} is {value}",
                        attribute.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_scatter_has_one_dot_per_cell_in_its_category() {
    let figure = Scatter::new(&SQUARE).colour(Colour::categories(&["B", "T", "T", "B"])).draw().unwrap();
    assert_eq!((count(&figure, "circle", "c0"), count(&figure, "circle", "c1")), (2, 2));
    // the legend's own dots take their colour from the group around them
    assert_eq!((count(&figure, "g", "c0"), count(&figure, "g", "c1")), (1, 1));
    assert!(figure.inline().contains("B (2)"));
}

#[test]
fn values_run_from_the_first_to_the_last_colour_and_nan_is_grey() {
    let colour = Colour::values(&[0.0, 1.0, f64::NAN, 0.5], "CD3");
    let figure = Scatter::new(&SQUARE).colour(colour).draw().unwrap();
    for class in ["v0", "v31", "na", "v16"] {
        assert_eq!(count(&figure, "circle", class), 1, "{class}");
    }
    assert!(figure.inline().contains("not measured (1)"));
}

#[test]
fn names_are_sorted_with_their_numbers_as_numbers() {
    let Colour::Categories { labels, names } = Colour::categories(&["c 10", "c 2", "b", "c 10"]) else {
        panic!("categories make categories");
    };
    assert_eq!(names, ["b", "c 2", "c 10"]);
    assert_eq!(labels, [2, 1, 0, 2]);
}

#[test]
fn cells_are_drawn_once_each_in_an_order_that_mixes_batches() {
    let order = scatter::mixed_order(200);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 200);
    let of_first_batch = order[..100].iter().filter(|&&cell| cell < 100).count();
    assert!((30..=70).contains(&of_first_batch));
}

#[test]
fn no_cells_one_cell_and_equal_cells_give_figures() {
    for points in [vec![], vec![[3.0, 4.0]], vec![[1.0, 1.0]; 5]] {
        let labels = vec!["a"; points.len()];
        let values = vec![2.0; points.len()];
        for colour in [Colour::Plain, Colour::categories(&labels), Colour::values(&values, "v")] {
            let figure = Scatter::new(&points).colour(colour).ticks().draw().unwrap();
            assert!(!figure.inline().contains("NaN"));
        }
    }
    let missing = Colour::values(&[f64::NAN; 4], "v");
    assert!(Scatter::new(&SQUARE).colour(missing).draw().unwrap().inline().contains("not measured (4)"));
}

#[test]
fn wrong_input_is_an_error_that_names_it() {
    let short = |result: Result<Figure>| result.unwrap_err().to_string();
    let nan = [[0.0, 1.0], [f64::NAN, 0.0]];
    assert!(short(Scatter::new(&nan).draw()).contains("row 1, column 0 is NaN"));
    assert!(short(Scatter::new(&SQUARE).names(&["a"]).draw()).contains("1 values, but 4"));
    let colour = Colour::Categories { labels: vec![0, 0, 0, 1], names: vec!["a".into()] };
    assert!(short(Scatter::new(&SQUARE).colour(colour).draw()).contains("a category is 1"));
    let infinite = Colour::values(&[0.0, 0.0, f64::INFINITY, 0.0], "v");
    assert!(short(Scatter::new(&SQUARE).colour(infinite).draw()).contains("row 2"));
    assert!(short(Lines::new("x", "y").draw()).contains("no series"));
    assert!(short(Lines::new("x", "y").series("a", &[1.0], &[]).draw()).contains("0 values, but 1"));
    let flat = Lines::new("x", "y").series("a", &[1.0], &[1.0]).y_range(1.0, 1.0);
    assert!(short(flat.draw()).contains("range of y"));
    assert!(short(Agreement::new(&[], &[]).draw()).contains("no values"));
    assert!(short(Agreement::new(&[1.0], &[f64::NAN]).draw()).contains("predicted"));
    assert!(short(Bars::new::<&str>("v", &[]).series("a", &[]).draw()).contains("no groups"));
    assert!(short(Bars::new("v", &["g"]).draw()).contains("no series"));
    assert!(short(Histogram::new("v").series("a", &[]).draw()).contains("no values"));
    assert!(short(Histogram::new("v").series("a", &[f64::NAN]).draw()).contains("NaN"));
}

#[test]
fn of_many_pairs_a_part_is_drawn_and_the_figure_says_so() {
    let values: Vec<f64> = (0..4_000).map(f64::from).collect();
    let svg = Agreement::new(&values, &values).draw().unwrap().inline();
    assert_eq!(svg.matches("<circle").count(), 3_000);
    assert!(svg.contains("3000 of 4000 pairs drawn"));
}

#[test]
fn a_gap_in_a_curve_splits_it() {
    let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let y = [1.0, 2.0, f64::NAN, 2.0, f64::NAN, 3.0];
    let svg = Lines::new("x", "y").series("a", &x, &y).draw().unwrap().inline();
    // one stretch of two points; two points alone
    assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 2));
}

#[test]
fn ticks_are_round_numbers_inside_the_range() {
    assert_eq!(Axis::new(0.0, 10.0).ticks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(Axis::new(-1.3, 1.3).ticks, [-1.0, -0.5, 0.0, 0.5, 1.0]);
    let axis = Axis::new(0.001, 0.0042);
    assert!(axis.ticks.iter().all(|&tick| (axis.low..=axis.high).contains(&tick)));
    let labels = |axis: &Axis| -> Vec<String> { axis.ticks.iter().map(|&t| axis.label(t)).collect() };
    assert_eq!(labels(&Axis::new(-1.3, 1.3)), ["\u{2212}1.0", "\u{2212}0.5", "0.0", "0.5", "1.0"]);
    assert_eq!(labels(&Axis::new(0.0, 4e6))[1], "1.0e6");
    assert_eq!(range([f64::NAN, 2.0, -1.0]), Some((-1.0, 2.0)));
    assert_eq!(range([f64::NAN]), None);
}

#[test]
fn numbers_read_as_a_person_writes_them() {
    let written = [0.0, 3.0, 0.9137, 12.345, 1234.5, 0.00123, 1.5e7, 2e-5, -0.5, f64::NAN].map(number);
    let expected = ["0", "3", "0.914", "12.3", "1234", "0.00123", "1.50e7", "2.00e-5", "-0.500", "n/a"];
    assert_eq!(written, expected);
}

#[test]
fn a_heat_map_has_a_cell_for_each_value_and_says_it() {
    let map = HeatMap::new("probability", &["1", "2"], &["x", "y", "z"], &[0.0, 0.5, 1.0, f64::NAN, 0.25, 0.75]);
    let svg = map.draw().unwrap().standalone();
    roxmltree::Document::parse(&svg).unwrap();
    assert_eq!(svg.matches("<title>").count(), 6);
    assert!(svg.contains("1, y: 0.500") && svg.contains("2, x: n/a"));
    // the largest value has the last colour, or the largest of each column when columns have scales of their own
    let last = format!("a v{}", crate::palette::STEPS - 1);
    let values = [0.0, 100.0, 1.0, 200.0];
    let whole = HeatMap::new("v", &["1", "2"], &["x", "y"], &values);
    let cells = |map: &HeatMap| count(&map.draw().unwrap(), "rect", &last);
    // one of them is the top of the bar of colours
    assert_eq!((cells(&whole), cells(&whole.clone().scaled_by_column())), (2, 3));
    assert!(HeatMap::new::<&str>("v", &[], &[], &[]).draw().unwrap_err().to_string().contains("no rows"));
    assert!(HeatMap::new("v", &["1"], &["x"], &[]).draw().unwrap_err().to_string().contains("0 values, but 1"));
}
