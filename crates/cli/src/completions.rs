//! `gradome completions`: the flags in the shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::console::print;
use crate::error::Result;

/// Print a script that completes gradome's commands and flags in a shell.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  gradome completions bash > ~/.local/share/bash-completion/completions/gradome
  gradome completions zsh > ~/.zfunc/_gradome
  gradome completions fish > ~/.config/fish/completions/gradome.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "gradome", &mut script);
        print(String::from_utf8_lossy(&script));
        Ok(())
    }
}
