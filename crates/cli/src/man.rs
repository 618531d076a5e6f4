//! `gradome man`: the manual pages.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use gradome::io::write_atomic;

use crate::console::print;
use crate::error::{Result, wrong};

/// Write the manual pages, one a command.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome man | man -l -                           read the first page
  gradome man --out ~/.local/share/man/man1        install all of them")]
pub struct Man {
    /// The folder to write them to; without it the first page goes to standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub fn run(&self) -> Result<()> {
        let mut command = crate::Cli::command();
        command.build();
        let Some(folder) = &self.out else {
            print(String::from_utf8_lossy(&page(&command)?));
            return Ok(());
        };
        let failed = |error: std::io::Error| wrong(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut pending = vec![command];
        while let Some(command) = pending.pop() {
            // the built command of a subcommand is called `gradome-fit`
            let name = command.get_display_name().unwrap_or(command.get_name());
            let page = page(&command)?;
            write_atomic(&folder.join(format!("{name}.1")), |to| to.write_all(&page))?;
            pending.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
        }
        Ok(())
    }
}

fn page(command: &clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| wrong(format!("manual page of {}: {error}", command.get_name())))?;
    Ok(page)
}
