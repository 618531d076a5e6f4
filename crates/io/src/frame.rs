//! Data frames inside `.h5ad` files: the index and columns of `obs`, `var` and `obsm` frames.

use crate::{
    Column, ColumnValues, Result,
    hdf::{Element, Hdf, Node},
};

/// The row names of a data frame group.
pub(crate) fn index(hdf: &Hdf, frame: &str) -> Result<Vec<String>> {
    let name = hdf.text_attribute(frame, "_index").unwrap_or_else(|| {
        let usual = ["_index", "index"].into_iter().find(|name| hdf.node(&format!("{frame}/{name}")).is_some());
        usual.unwrap_or("_index").to_owned()
    });
    texts(hdf, &format!("{frame}/{name}"))
}

/// Texts of a string array, a nullable string array, a categorical or a list of numbers.
fn texts(hdf: &Hdf, path: &str) -> Result<Vec<String>> {
    match hdf.node(path) {
        Some(Node::Group) if hdf.node(&format!("{path}/values")).is_some() => texts(hdf, &format!("{path}/values")),
        Some(Node::Group) => {
            let (categories, codes) = categorical(hdf, path)?;
            Ok(codes
                .into_iter()
                .map(|code| code.map_or_else(String::new, |code| categories[code as usize].clone()))
                .collect())
        }
        _ if hdf.element(path)? == Element::Text => hdf.texts(path),
        _ if hdf.element(path)? == Element::Integer => Ok(hdf.integers(path)?.iter().map(i64::to_string).collect()),
        _ => Ok(hdf.f64s(path)?.iter().map(f64::to_string).collect()),
    }
}

/// Categories and codes of today's categorical group.
fn categorical(hdf: &Hdf, path: &str) -> Result<(Vec<String>, Vec<Option<u32>>)> {
    let categories = texts(hdf, &format!("{path}/categories"))?;
    let codes = codes(hdf, &format!("{path}/codes"), categories.len())?;
    Ok((categories, codes))
}

/// Codes into a list of categories; -1 stands for none.
fn codes(hdf: &Hdf, path: &str, categories: usize) -> Result<Vec<Option<u32>>> {
    let code = |code: i64| match usize::try_from(code) {
        Ok(known) if known < categories => Ok(Some(known as u32)),
        Err(_) if code == -1 => Ok(None),
        _ => Err(hdf.error(path, format!("holds code {code} but there are {categories} categories"))),
    };
    hdf.integers(path)?.into_iter().map(code).collect()
}

/// The columns of a data frame group; one that cannot be told what it is, is left out with a note.
pub(crate) fn columns(hdf: &Hdf, frame: &str, rows: usize, notes: &mut Vec<String>) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for name in column_names(hdf, frame)? {
        match column(hdf, frame, &name, rows)? {
            Some(values) => columns.push(Column { name, values }),
            None => notes.push(format!("{frame}/{name}: left out, its encoding is not known here")),
        }
    }
    Ok(columns)
}

/// Names in the order of `column-order`, or all children but the index and the categories.
pub(crate) fn column_names(hdf: &Hdf, frame: &str) -> Result<Vec<String>> {
    if let Some(order) = hdf.texts_attribute(frame, "column-order") {
        return Ok(order);
    }
    let index = hdf.text_attribute(frame, "_index").unwrap_or_else(|| "_index".into());
    let mut names = hdf.children(frame)?;
    names.retain(|name| *name != index && name != "_index" && name != "index" && name != "__categories");
    Ok(names)
}

fn column(hdf: &Hdf, frame: &str, name: &str, rows: usize) -> Result<Option<ColumnValues>> {
    let path = format!("{frame}/{name}");
    let older = format!("{frame}/__categories/{name}");
    let values = match hdf.node(&path) {
        None => return Err(hdf.error(&path, "is listed in `column-order` but missing")),
        Some(Node::Group) => match hdf.text_attribute(&path, "encoding-type").as_deref() {
            Some("categorical") => {
                let (categories, codes) = categorical(hdf, &path)?;
                ColumnValues::Categorical { categories, codes }
            }
            Some("nullable-integer" | "nullable-float") => ColumnValues::Numeric(masked(hdf, &path)?),
            Some("nullable-boolean") => boolean(masked(hdf, &path)?),
            Some("nullable-string-array") => ColumnValues::Text(texts(hdf, &path)?),
            _ => return Ok(None),
        },
        Some(Node::Array) if hdf.node(&older).is_some() => {
            let categories = texts(hdf, &older)?;
            let codes = codes(hdf, &path, categories.len())?;
            ColumnValues::Categorical { categories, codes }
        }
        Some(Node::Array) => match hdf.element(&path)? {
            Element::Integer | Element::Float => ColumnValues::Numeric(hdf.f64s(&path)?),
            Element::Boolean => boolean(hdf.f64s(&path)?),
            Element::Text => ColumnValues::Text(hdf.texts(&path)?),
            Element::Other => return Ok(None),
        },
    };
    let column = Column { name: name.into(), values };
    if column.len() != rows {
        return Err(hdf.error(&path, format!("has {} values for {rows} rows", column.len())));
    }
    Ok(Some(column.values))
}

/// `values` of a nullable column, NaN where `mask` is set.
fn masked(hdf: &Hdf, path: &str) -> Result<Vec<f64>> {
    let values = hdf.f64s(&format!("{path}/values"))?;
    let mask = hdf.integers(&format!("{path}/mask"))?;
    if mask.len() != values.len() {
        return Err(hdf.error(path, format!("has {} values but a mask of {}", values.len(), mask.len())));
    }
    Ok(values.into_iter().zip(mask).map(|(value, hidden)| if hidden == 0 { value } else { f64::NAN }).collect())
}

fn boolean(values: Vec<f64>) -> ColumnValues {
    let code = |value: f64| (!value.is_nan()).then_some(u32::from(value != 0.0));
    let categories = vec!["False".to_owned(), "True".to_owned()];
    ColumnValues::Categorical { categories, codes: values.into_iter().map(code).collect() }
}

/// A text or categorical column as texts, if the frame has it.
pub(crate) fn text_column(hdf: &Hdf, frame: &str, name: &str, rows: usize) -> Result<Option<Vec<String>>> {
    if hdf.node(&format!("{frame}/{name}")).is_none() {
        return Ok(None);
    }
    Ok(match column(hdf, frame, name, rows)? {
        Some(ColumnValues::Text(texts)) => Some(texts),
        Some(ColumnValues::Categorical { categories, codes }) => {
            let label = |code: Option<u32>| code.map_or_else(String::new, |code| categories[code as usize].clone());
            Some(codes.into_iter().map(label).collect())
        }
        _ => None,
    })
}

/// Column names and `[rows][columns]` values of a data frame of numbers.
pub(crate) fn numeric_frame(hdf: &Hdf, frame: &str, rows: usize) -> Result<(Vec<String>, Vec<Vec<f32>>)> {
    let names = column_names(hdf, frame)?;
    let mut values = vec![Vec::new(); rows];
    for name in &names {
        let path = format!("{frame}/{name}");
        match column(hdf, frame, name, rows)? {
            Some(ColumnValues::Numeric(column)) => {
                values.iter_mut().zip(column).for_each(|(row, value)| row.push(value as f32));
            }
            _ => return Err(hdf.error(&path, "is not a column of numbers")),
        }
    }
    Ok((names, values))
}
