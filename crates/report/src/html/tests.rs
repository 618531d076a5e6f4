use super::*;
use crate::plot::{Colour, Scatter};

fn figure() -> Figure {
    Scatter::new(&[[0.0, 1.0], [2.0, 3.0]]).draw().unwrap()
}

fn full_page(text: &str) -> Page {
    let mut page = Page::new(text);
    page.lead(text).fact(text, text).footer(text);
    for _ in 0..3 {
        let mut table = Table::new(text).text_column(text).number_column(text, text, 2);
        table.row([text.into(), 1.0.into()]).unwrap();
        let data = Download { file_name: text.into(), contents: text.into() };
        page.section(text)
            .paragraph(text)
            .note(text)
            .figure(figure(), text)
            .figure_with_data(figure(), text, data)
            .figures([(figure(), text.into()), (figure(), text.into())])
            .table(table);
    }
    page
}

#[test]
fn every_text_is_escaped() {
    let hostile = "<script>alert(\"1\")</script>&'\u{0}<img src=x onerror='x'>";
    let page = full_page(hostile).render();
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\0'));
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;'"));
    // inside an attribute a quotation mark would end the value
    assert!(!page.contains("download=\"<") && !page.contains("alert(\"1\")"));
}

#[test]
fn the_page_asks_for_nothing_from_a_network() {
    let page = full_page("plain").render();
    for request in ["src=", "@import", "url(", "<link", "<iframe", "<script"] {
        assert!(!page.contains(request), "{request}");
    }
    let addresses: Vec<&str> = page.split("href=\"").skip(1).collect();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|a| a.starts_with('#') || a.starts_with("data:")));
    // the one address left is the name of the SVG language
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn elements_are_closed_in_order() {
    // the two void elements of the head are the only ones that XML would not accept
    let page = full_page("a & b").render();
    let page = page.trim_start_matches("<!DOCTYPE html>");
    let mut closed = String::new();
    for (i, part) in page.split("<meta").enumerate() {
        if i == 0 {
            closed.push_str(part);
        } else {
            let (attributes, rest) = part.split_once('>').unwrap();
            closed += &format!("<meta{attributes}/>{rest}");
        }
    }
    let document = roxmltree::Document::parse(&closed).unwrap();
    let figures = document.descendants().filter(|node| node.has_tag_name("figure")).count();
    assert_eq!(figures, 12);
}

#[test]
fn numbers_have_the_decimals_of_their_column_and_nan_is_a_dash() {
    let mut table = Table::new("").text_column("protein").number_column("r", "", 2);
    table.row(["CD3".into(), 0.5.into()]).unwrap();
    table.row(["CD4".into(), (-0.125).into()]).unwrap();
    table.row(["CD8".into(), f64::NAN.into()]).unwrap();
    let html = table.render().into_string();
    for cell in [">0.50<", ">\u{2212}0.12<", ">\u{2013}<", "class=\"n\""] {
        assert!(html.contains(cell), "{cell} in {html}");
    }
}

#[test]
fn a_row_of_another_length_is_an_error() {
    let mut table = Table::new("").text_column("protein");
    let error = table.row(["CD3".into(), 0.5.into()]).unwrap_err().to_string();
    assert!(error.contains("2 values, but 1"), "{error}");
}

#[test]
fn downloads_carry_their_contents_percent_encoded() {
    let data = Download { file_name: "a.csv".into(), contents: "a,b\n1,\u{e9} \"%\n".into() };
    assert_eq!(data.address(), "data:text/plain;charset=utf-8,a,b%0A1,%C3%A9%20%22%25%0A");
}

#[test]
fn a_page_of_eight_figures_of_two_thousand_cells_weighs_less_than_two_megabytes() {
    let points: Vec<[f64; 2]> =
        (0..2_000).map(|i| [f64::from(i).sin() * 40.0, f64::from(i * i).cos() * 40.0]).collect();
    let names: Vec<String> = (0..2_000).map(|i| format!("AAACCTGAGAAA{i:04}-1")).collect();
    let types: Vec<String> = (0..2_000).map(|i| format!("type {}", i % 9)).collect();
    let mut page = Page::new("weight");
    for _ in 0..8 {
        let scatter = Scatter::new(&points).names(&names).colour(Colour::categories(&types));
        page.section("figure").figure(scatter.draw().unwrap(), "");
    }
    let weight = page.render().len();
    assert!(weight < 2_000_000, "{weight} bytes");
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    let folder = std::env::temp_dir().join(format!("gradome-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("report.html");
    let page = full_page("text");
    page.write(&path).unwrap();
    page.write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page.render());
    // a folder stands where the file should go: nothing is left behind
    let taken = folder.join("taken");
    std::fs::create_dir_all(taken.join("inside")).unwrap();
    let error = page.write(&taken).unwrap_err().to_string();
    assert!(error.contains("taken"), "{error}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
