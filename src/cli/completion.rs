//! `completion`: what makes a shell complete our commands and flags.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::{Failure, print};

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut tree = Cli::command();
    let name = tree.get_name().to_owned();
    clap_complete::generate(args.shell, &mut tree, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}
