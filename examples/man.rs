//! Writes the manual pages, one for each command, into the folder that is its argument: what `make man` runs.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("target/man"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(iam_authenticator::cli::command(), &folder)
}
