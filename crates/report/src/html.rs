//! One HTML page that holds everything: text, figures, tables, downloads, styles.
//!
//! The page asks for nothing from a network and runs no script. Every text that a caller gives is
//! escaped. It follows the reader's light or dark theme and prints on white.

use std::io::Write;
use std::path::Path;

use atomicwrites::{AtomicFile, OverwriteBehavior};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Result;
use crate::error::{Error, check_size};
use crate::palette;
use crate::plot::{Figure, clean};

/// A page in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    title: String,
    lead: String,
    facts: Vec<(String, String)>,
    sections: Vec<Section>,
    footer: String,
}

/// A part of the page under a heading of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    heading: String,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq)]
enum Block {
    Paragraph(String),
    Note(String),
    Figures(Vec<Captioned>),
    Table(Table),
}

#[derive(Clone, Debug, PartialEq)]
struct Captioned {
    figure: Figure,
    caption: String,
    download: Option<Download>,
}

/// Data behind a figure that the reader can save; they travel inside the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Download {
    /// The name under which the browser saves them, `latent.csv`.
    pub file_name: String,
    /// The whole text of the file.
    pub contents: String,
}

impl Page {
    /// Starts a page.
    pub fn new(title: impl Into<String>) -> Self {
        let (lead, footer) = (String::new(), String::new());
        Self { title: title.into(), lead, facts: Vec::new(), sections: Vec::new(), footer }
    }

    /// Says under the title, in plain words, what the page shows.
    pub fn lead(&mut self, text: impl Into<String>) -> &mut Self {
        self.lead = text.into();
        self
    }

    /// Adds a number that the reader should see first, such as `cells` and `400`.
    pub fn fact(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// Starts a section at the end of the page.
    pub fn section(&mut self, heading: impl Into<String>) -> &mut Section {
        self.sections.push(Section { heading: heading.into(), blocks: Vec::new() });
        self.sections.last_mut().expect("just pushed")
    }

    /// Ends the page with small print: version, command, date.
    pub fn footer(&mut self, text: impl Into<String>) -> &mut Self {
        self.footer = text.into();
        self
    }

    /// The page as HTML.
    pub fn render(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (clean(&self.title)) }
                    style { (PreEscaped(include_str!("style.css"))) (PreEscaped(palette::style_sheet())) }
                }
                body { main {
                    h1 { (clean(&self.title)) }
                    @if !self.lead.is_empty() { p class="lead" { (clean(&self.lead)) } }
                    @if !self.facts.is_empty() {
                        dl class="facts" {
                            @for (name, value) in &self.facts {
                                div { dt { (clean(name)) } dd { (clean(value)) } }
                            }
                        }
                    }
                    @if self.sections.len() > 2 {
                        nav aria-label="Sections" {
                            @for (i, section) in self.sections.iter().enumerate() {
                                a href=(format!("#s{i}")) { (clean(&section.heading)) }
                            }
                        }
                    }
                    @for (i, section) in self.sections.iter().enumerate() {
                        section id=(format!("s{i}")) {
                            h2 { (clean(&section.heading)) }
                            @for block in &section.blocks { (block.render()) }
                        }
                    }
                    @if !self.footer.is_empty() { footer { (clean(&self.footer)) } }
                } }
            }
        };
        page.into_string()
    }

    /// Writes the page to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let page = self.render();
        AtomicFile::new(path, OverwriteBehavior::AllowOverwrite)
            .write(|file| file.write_all(page.as_bytes()))
            .map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })
    }
}

impl Section {
    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: impl Into<String>) -> &mut Self {
        self.blocks.push(Block::Paragraph(text.into()));
        self
    }

    /// Adds a paragraph that stands out: how to read what follows, what to beware of.
    pub fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.blocks.push(Block::Note(text.into()));
        self
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: Figure, caption: impl Into<String>) -> &mut Self {
        self.figures([(figure, caption.into())])
    }

    /// Adds a figure with the data behind it.
    pub fn figure_with_data(&mut self, figure: Figure, caption: impl Into<String>, data: Download) -> &mut Self {
        let caption = caption.into();
        self.blocks.push(Block::Figures(vec![Captioned { figure, caption, download: Some(data) }]));
        self
    }

    /// Adds figures side by side, as many in a row as the window is wide.
    pub fn figures(&mut self, figures: impl IntoIterator<Item = (Figure, String)>) -> &mut Self {
        let captioned = |(figure, caption)| Captioned { figure, caption, download: None };
        self.blocks.push(Block::Figures(figures.into_iter().map(captioned).collect()));
        self
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.blocks.push(Block::Table(table));
        self
    }
}

impl Block {
    fn render(&self) -> Markup {
        html! {
            @match self {
                Block::Paragraph(text) => p { (clean(text)) },
                Block::Note(text) => p class="note" { (clean(text)) },
                Block::Figures(figures) => div class=[(figures.len() > 1).then_some("row")] {
                    @for figure in figures { (figure.render()) }
                },
                Block::Table(table) => (table.render()),
            }
        }
    }
}

impl Captioned {
    fn render(&self) -> Markup {
        html! {
            figure {
                (PreEscaped(self.figure.inline()))
                figcaption {
                    (clean(&self.caption))
                    @if let Some(data) = &self.download {
                        " "
                        a class="download" download=(clean(&data.file_name)) href=(data.address()) {
                            "Download " (clean(&data.file_name))
                        }
                    }
                }
            }
        }
    }
}

impl Download {
    /// The contents as a data address (RFC 2397), percent-encoded.
    fn address(&self) -> String {
        let mut address = String::from("data:text/plain;charset=utf-8,");
        for byte in self.contents.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b',' | b':' => {
                    address.push(char::from(byte));
                }
                _ => address.push_str(&format!("%{byte:02X}")),
            }
        }
        address
    }
}

/// A table whose numbers stand one under the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    unit: String,
    /// `None` for text
    decimals: Option<usize>,
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, written with the decimals of its column; NaN is a dash.
    Number(f64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Cell::Number(value)
    }
}

impl Table {
    /// Starts a table.
    pub fn new(caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), columns: Vec::new(), rows: Vec::new() }
    }

    /// Adds a column of words; columns come before rows.
    pub fn text_column(self, name: impl Into<String>) -> Self {
        self.column(Column { name: name.into(), unit: String::new(), decimals: None })
    }

    /// Adds a column of numbers with their unit (may be empty) and decimals.
    pub fn number_column(self, name: impl Into<String>, unit: impl Into<String>, decimals: usize) -> Self {
        self.column(Column { name: name.into(), unit: unit.into(), decimals: Some(decimals) })
    }

    fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When there is not one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<&mut Self> {
        let cells: Vec<Cell> = cells.into_iter().collect();
        check_size("cells of a table row", cells.len(), self.columns.len(), "one per column")?;
        self.rows.push(cells);
        Ok(self)
    }

    fn render(&self) -> Markup {
        let class = |column: &Column| column.decimals.map(|_| "n");
        html! {
            div class="wide" { table {
                @if !self.caption.is_empty() { caption { (clean(&self.caption)) } }
                thead { tr {
                    @for column in &self.columns {
                        th scope="col" class=[class(column)] {
                            (clean(&column.name))
                            @if !column.unit.is_empty() { small { (clean(&column.unit)) } }
                        }
                    }
                } }
                tbody {
                    @for row in &self.rows {
                        tr {
                            @for (column, cell) in self.columns.iter().zip(row) {
                                td class=[class(column)] { (cell.render(column)) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

impl Cell {
    fn render(&self, column: &Column) -> String {
        match (self, column.decimals) {
            (Cell::Text(text), _) => clean(text),
            (Cell::Number(value), _) if value.is_nan() => "\u{2013}".into(),
            (Cell::Number(value), None) => crate::plot::number(*value),
            (Cell::Number(value), Some(decimals)) => format!("{value:.decimals$}").replace('-', "\u{2212}"),
        }
    }
}

#[cfg(test)]
mod tests;
