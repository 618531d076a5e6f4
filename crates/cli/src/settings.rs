//! Flags from a file: `run.toml` has a key for each long flag, and flags on the command line override it.
//!
//! A file becomes flags and is parsed with the others, so flags and keys cannot differ in meaning, range or message.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::Cli;
use crate::error::{Result, wrong};
use crate::run_dir::SETTINGS_FILE;

/// Flags that say what to do with a run, not what the run is.
const NOT_SETTINGS: [&str; 8] = ["config", "resume", "overwrite", "threads", "quiet", "verbose", "help", "version"];

/// Commands that take a file of settings; runs of `fit` leave theirs and go on from them.
const WITH_FILE: [&[&str]; 7] = [
    &["fit", "multiomics-vae"],
    &["fit", "contextual-epigenomics"],
    &["fit", "peak-caller"],
    &["fit", "fno-peak-caller"],
    &["fit", "scale"],
    &["fit", "chromatin-states"],
    &["macs", "callpeak"],
];

/// Parses the command line and the file it names; also gives the text of the `run.toml` that repeats it.
///
/// Ends the program where the command line asks for help or is wrong.
pub fn parse() -> Result<(Cli, String)> {
    let mut command = Cli::command();
    command.build();
    let given: Vec<OsString> = std::env::args_os().collect();
    let mut matches = command.clone().try_get_matches_from(&given).unwrap_or_else(|error| error.exit());
    let mut settings = String::new();
    if let Some(path) = WITH_FILE.into_iter().find(|path| matches_of(&matches, path).is_some())
        && let (Some(called), Some(flags)) = (deepest(&command, path).cloned(), matches_of(&matches, path))
    {
        let left = (path[0] == "fit").then(|| file_of_run(flags)).flatten();
        if let Some(file) = flags.get_one::<PathBuf>("config").cloned().or(left) {
            let more = flags_from_file(&file, &called, flags)?;
            let all = command.clone().try_get_matches_from(given.into_iter().chain(more));
            // the command line alone was right
            matches = all.map_err(|error| {
                let text = error.render().to_string();
                let first = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
                wrong(format!("{}: {first}", file.display()))
            })?;
        }
        if path[0] == "fit" {
            settings = matches_of(&matches, path).map_or_else(|| Ok(String::new()), |flags| to_toml(&called, flags))?;
        }
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Ok((cli, settings))
}

fn deepest<'a>(command: &'a clap::Command, path: &[&str]) -> Option<&'a clap::Command> {
    path.iter().try_fold(command, |command, name| command.find_subcommand(name))
}

fn matches_of<'a>(matches: &'a ArgMatches, path: &[&str]) -> Option<&'a ArgMatches> {
    path.iter().try_fold(matches, |matches, name| matches.subcommand_matches(name))
}

/// Where a run goes on, the file that it left.
fn file_of_run(flags: &ArgMatches) -> Option<PathBuf> {
    // not every run can go on
    let resume = flags.try_get_one::<bool>("resume").ok().flatten();
    let folder = flags.get_one::<PathBuf>("out").filter(|_| resume == Some(&true))?;
    Some(folder.join(SETTINGS_FILE)).filter(|file| file.exists())
}

/// The flags that a file stands for, without those that the command line gives itself.
fn flags_from_file(file: &Path, command: &clap::Command, given: &ArgMatches) -> Result<Vec<OsString>> {
    let at_file = |problem: String| wrong(format!("{}: {problem}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| at_file(error.to_string()))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| at_file(error.to_string().trim_end().into()))?;
    let mut flags = Vec::new();
    for (key, value) in &table {
        let Some(arg) = keys(command).find(|arg| arg.get_long() == Some(key)) else {
            let known: Vec<&str> = keys(command).filter_map(Arg::get_long).collect();
            return Err(at_file(format!("unknown key '{key}'; there are {}", known.join(", "))));
        };
        if given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let takes_value = arg.get_action().takes_values();
        match value {
            Value::Boolean(on) if !takes_value => flags.extend(on.then(|| format!("--{key}").into())),
            // several values at once, as of --mfold
            Value::Array(values) if arg.get_num_args().is_some_and(|count| count.min_values() > 1) => {
                flags.push(format!("--{key}").into());
                flags.extend(values.iter().map(|value| value.to_string().into()));
            }
            Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
                for value in values {
                    flags.push(flag(key, value).ok_or_else(|| at_file(format!("key '{key}' holds a list of lists")))?);
                }
            }
            value if takes_value => {
                flags.push(flag(key, value).ok_or_else(|| at_file(format!("key '{key}' takes one value")))?);
            }
            _ => return Err(at_file(format!("key '{key}' is true or false"))),
        }
    }
    Ok(flags)
}

fn flag(key: &str, value: &Value) -> Option<OsString> {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Table(_) => return None,
        other => other.to_string(),
    };
    Some(format!("--{key}={value}").into())
}

/// The flags that are keys.
fn keys(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| !NOT_SETTINGS.contains(&long)))
}

/// Every setting of a run with what it means, in the order of the help.
fn to_toml(command: &clap::Command, flags: &ArgMatches) -> Result<String> {
    let name = command.get_name();
    let mut text = format!("# The settings of a run, one key a flag of `gradome fit {name}`.\n");
    for arg in keys(command) {
        let (id, Some(key)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let Some(raw) = flags.try_get_raw(id).ok().flatten() else { continue };
        let mut values = Vec::new();
        for value in raw {
            let text = value.to_str().ok_or_else(|| wrong(format!("--{key}: '{}' is not UTF-8", value.display())))?;
            // a list may be written with commas
            let delimiter = arg.get_value_delimiter().unwrap_or('\0');
            values.extend(text.split(delimiter).map(scalar));
        }
        let value = match arg.get_action() {
            ArgAction::Append => Value::Array(values),
            _ => values.remove(0),
        };
        if value != Value::Boolean(false) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            // writing to a String does not fail
            let _ = write!(text, "\n# {help}\n{key} = {value}\n");
        }
    }
    Ok(text)
}

/// A number where the text is one and stays the same, else the text.
fn scalar(text: &str) -> Value {
    let number = text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float));
    let number = number.ok().filter(|number| number.to_string() == text);
    number.or_else(|| text.parse().ok().map(Value::Boolean)).unwrap_or_else(|| text.into())
}
