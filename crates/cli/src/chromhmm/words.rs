//! Single-dash words before and among positional arguments.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::error::{Result, wrong};

/// A word that a command knows.
pub struct Word {
    /// The word with its dash.
    pub word: &'static str,
    /// What follows it; nothing after a switch.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// A word with a value.
pub const fn value(word: &'static str, value: &'static str, help: &'static str) -> Word {
    Word { word, value: Some(value), help }
}

/// A word that switches something.
pub const fn switch(word: &'static str, help: &'static str) -> Word {
    Word { word, value: None, help }
}

/// A command of ChromHMM.
pub struct Command {
    pub name: &'static str,
    pub about: &'static str,
    pub positionals: &'static [&'static str],
    pub words: &'static [Word],
    /// Words of ChromHMM that are not done here, and what to do instead.
    pub refused: &'static [(&'static str, &'static str)],
}

/// What was given to a command.
#[derive(Debug, Default)]
pub struct Words {
    command: &'static str,
    given: HashMap<&'static str, String>,
    pub positionals: Vec<String>,
    /// All of it, as it was written.
    pub line: String,
}

impl Command {
    pub fn help(&self) -> String {
        let mut text = format!("{}\n\nUsage: {}\n\nWords:\n", self.about, self.usage());
        for word in self.words {
            let head = word.value.map_or_else(|| word.word.to_owned(), |value| format!("{} {value}", word.word));
            // writing to a String does not fail
            let _ = writeln!(text, "  {head:<28} {}", word.help);
        }
        text
    }

    fn usage(&self) -> String {
        format!("gradome chromhmm {} [words] {}", self.name, self.positionals.join(" "))
    }

    /// Tells words from positional arguments.
    pub fn parse(&self, given: &[String]) -> Result<Words> {
        let problem = |text: String| wrong(format!("{}: {text}\nusage: {}", self.name, self.usage()));
        let line = format!("{} {}", self.name, given.join(" "));
        let mut words = Words { command: self.name, line, ..Words::default() };
        let mut left = given.iter();
        while let Some(text) = left.next() {
            if !text.starts_with('-') || text.len() == 1 {
                words.positionals.push(text.clone());
                continue;
            }
            if let Some((_, instead)) = self.refused.iter().find(|(word, _)| word == text) {
                return Err(problem(format!("{text} is not supported: {instead}")));
            }
            let Some(known) = self.words.iter().find(|known| known.word == text) else {
                let known: Vec<&str> = self.words.iter().map(|word| word.word).collect();
                return Err(problem(format!("unknown word '{text}'; there are {}", known.join(" "))));
            };
            let value = match known.value {
                None => String::new(),
                Some(what) => {
                    let value = left.next().ok_or_else(|| problem(format!("{text} needs {what} behind it")))?;
                    value.clone()
                }
            };
            if words.given.insert(known.word, value).is_some() {
                return Err(problem(format!("{text} stands there twice")));
            }
        }
        if words.positionals.len() != self.positionals.len() {
            let (found, wanted) = (words.positionals.len(), self.positionals.len());
            return Err(problem(format!("{found} positional arguments, {wanted} were expected")));
        }
        Ok(words)
    }
}

impl Words {
    /// Whether a word was given.
    pub fn has(&self, word: &str) -> bool {
        self.given.contains_key(word)
    }

    /// The text behind a word.
    pub fn text(&self, word: &str) -> Option<&str> {
        self.given.get(word).map(String::as_str)
    }

    /// The number behind a word, or what counts without it.
    pub fn number<T: FromStr>(&self, word: &str, default: T) -> Result<T> {
        self.text(word).map_or(Ok(default), |text| {
            text.parse().map_err(|_| wrong(format!("{}: {word} {text}: not a number that fits", self.command)))
        })
    }

    /// Numbers with commas between behind a word.
    pub fn numbers(&self, word: &str) -> Result<Option<Vec<usize>>> {
        let parse = |text: &str| -> Result<Vec<usize>> {
            let numbers = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>();
            numbers.ok_or_else(|| {
                wrong(format!("{}: {word} {text}: give column numbers from 0 with commas", self.command))
            })
        };
        self.text(word).map(parse).transpose()
    }
}
