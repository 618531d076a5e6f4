//! `gradome inspect`: what is this file?

use std::path::PathBuf;

use clap::Args;
use gradome::nn::checkpoint::{Inspection, inspect};

use crate::console::print;
use crate::error::{Result, wrong};
use crate::run_dir::MODEL_FILE;

/// Say what a data file or a trained model is.
///
/// Of data: format, cells, and for each modality its features, sparsity, depth and whether it holds counts. Of a model:
/// operator, configuration, what it was trained on, and its parameters.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome inspect cite.h5ad
  gradome inspect filtered_feature_bc_matrix/
  gradome inspect run/model.safetensors --json")]
pub struct Inspect {
    /// A data file, a 10x folder, a model, or the folder of a run
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        let model_of_run = self.file.join(MODEL_FILE);
        let file = if model_of_run.is_file() { &model_of_run } else { &self.file };
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            let model = inspect(file)?;
            self.say(&model, || describe(file.display().to_string(), &model))
        } else {
            let data = gradome::io::inspect(file)?;
            self.say(&data, || data.to_string())
        }
    }

    fn say(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            let json = serde_json::to_string(value).map_err(|error| wrong(format!("as JSON: {error}")))?;
            print(json + "\n");
        } else {
            print(text());
        }
        Ok(())
    }
}

/// Longer lists are cut.
const SHOWN: usize = 6;

fn describe(file: String, model: &Inspection) -> String {
    let mut lines = vec![format!(
        "{file}: {} model, {} parameters in {} arrays, written by gradome {}",
        model.card.operator,
        model.parameters,
        model.tensors.len(),
        model.gradome_version
    )];
    if model.unfinished {
        lines.push("  training has not ended: `gradome fit ... --resume` goes on".into());
    }
    lines.push("  config:".into());
    describe_value(&model.card.config, 2, &mut lines);
    for (key, value) in &model.card.metadata {
        lines.push(format!("  {key}:"));
        describe_value(value, 2, &mut lines);
    }
    lines.push("  arrays:".into());
    lines.extend(model.tensors.iter().map(|t| format!("    {} {:?} {}", t.path, t.shape, t.precision)));
    lines.join("\n") + "\n"
}

/// Objects by line, lists of plain values on one.
fn describe_value(value: &serde_json::Value, depth: usize, lines: &mut Vec<String>) {
    use serde_json::Value;
    let indent = "  ".repeat(depth);
    let nested = |value: &Value| match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    let brief = |value: &Value| match value {
        Value::Array(items) if items.len() > SHOWN => {
            let shown: Vec<String> = items[..SHOWN].iter().map(Value::to_string).collect();
            format!("[{}, ... {} in all]", shown.join(", "), items.len())
        }
        other => other.to_string(),
    };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if nested(value) {
                    lines.push(format!("{indent}{key}:"));
                    describe_value(value, depth + 1, lines);
                } else {
                    lines.push(format!("{indent}{key}: {}", brief(value)));
                }
            }
        }
        Value::Array(items) if nested(value) => {
            for item in items.iter().take(SHOWN) {
                lines.push(format!("{indent}-"));
                describe_value(item, depth + 1, lines);
            }
            if items.len() > SHOWN {
                lines.push(format!("{indent}... {} in all", items.len()));
            }
        }
        plain => lines.push(format!("{indent}{}", brief(plain))),
    }
}
