//! `version`: what was built, in the words of the Go program.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::{Failure, print};

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// Print the version number alone
    #[arg(short, long)]
    short: bool,
    /// The form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Yaml,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Build {
    version: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    commit: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    date: &'static str,
}

pub(super) fn run(args: &VersionArgs) -> Result<(), Failure> {
    let build = Build {
        version: VERSION,
        commit: option_env!("AWS_IAM_AUTHENTICATOR_COMMIT").unwrap_or_default(),
        date: option_env!("AWS_IAM_AUTHENTICATOR_DATE").unwrap_or_default(),
    };
    let text = match args.output {
        _ if args.short => VERSION.to_owned(),
        Format::Json => serde_json::to_string(&build).map_err(Failure::failed)?,
        Format::Yaml => format!(
            "version: {}\ncommit: {:?}\ndate: {:?}",
            build.version, build.commit, build.date
        ),
    };
    print(&text)
}
