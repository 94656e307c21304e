//! The command line: one tree of commands, with the flags, short flags and environment variables of the Go program.
//!
//! A command turns its arguments into a [`config::Low`], resolves that, and acts. Exit codes: 0, 1 for a failure, 2 for a usage error.

mod add;
mod args;
mod cluster;
mod completion;
mod crd;
mod diff;
mod examples;
mod init;
mod kubeconfig;
mod output;
mod server;
mod token;
mod verify;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{ConfigFile, FeatureGates, FileError, Low, Setting};
use crate::lifecycle::{self, LogFormat, Verbosity};
use output::{Colours, Failure, environment, print};

/// A tool to authenticate to Kubernetes using AWS IAM credentials
#[derive(Debug, Parser)]
#[command(name = "aws-iam-authenticator", version, max_term_width = 100, after_long_help = examples::ALL)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::doc_markdown, reason = "the help texts are for terminals")]
struct GlobalArgs {
    /// Read the configuration from this file; the server maps what is in it, too
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of log lines on stderr: text or json
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// How much to log: panic, fatal, error, warning, info, debug or trace [default: info] [env: AWS_IAM_AUTHENTICATOR_LOG_VERBOSITY]
    #[arg(short = 'v', long, global = true, value_name = "LEVEL")]
    log_verbosity: Option<String>,
    /// The ID of the cluster, the same on the server and in tokens [env: KUBERNETES_AWS_AUTHENTICATOR_CLUSTER_ID]
    #[arg(short = 'i', long, global = true, value_name = "ID")]
    cluster_id: Option<String>,
    /// Feature gates, as <gate>=<bool> pairs. ConfiguredInitDirectories makes `init` write into the configured directories;
    /// SSORoleMatch, IAMIdentityMappingCRD, AllAlpha and AllBeta are accepted, and what they open is always open
    #[arg(long, global = true, value_name = "GATE=BOOL,...")]
    feature_gates: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the webhook server that the API server asks who a token belongs to
    #[command(after_long_help = examples::SERVER)]
    Server(Box<server::ServerArgs>),
    /// Make certificate, private key and webhook kubeconfig before the server runs
    #[command(after_long_help = examples::INIT)]
    Init(init::InitArgs),
    /// Print a token for Kubernetes, made of AWS credentials
    #[command(after_long_help = examples::TOKEN)]
    Token(token::TokenArgs),
    /// Say what a token holds, and ask STS whose it is
    #[command(after_long_help = examples::VERIFY)]
    Verify(verify::VerifyArgs),
    /// Map one more IAM user or role, in the ConfigMap aws-auth or as an IAMIdentityMapping
    #[command(after_long_help = examples::ADD)]
    Add(Box<add::AddArgs>),
    /// Print or write the kubeconfig with which a user logs in
    #[command(after_long_help = examples::KUBECONFIG)]
    Kubeconfig(Box<kubeconfig::KubeconfigArgs>),
    /// Print a script that completes commands and flags in a shell
    #[command(after_long_help = examples::COMPLETION)]
    Completion(completion::CompletionArgs),
    /// Print the version of this build
    #[command(after_long_help = examples::VERSION)]
    Version(version::VersionArgs),
    /// Print the definition of the custom resource IAMIdentityMapping, for kubectl apply -f -
    #[command(after_long_help = examples::CRD)]
    Crd,
}

/// The tree of commands, for manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. When it cannot be printed, there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        None => print(&Cli::command().render_help().to_string()),
        Some(Command::Version(args)) => version::run(&args),
        Some(Command::Completion(args)) => completion::run(&args),
        Some(Command::Crd) => crd::run(),
        Some(Command::Token(args)) => token::run(args, &global),
        Some(Command::Add(args)) => add::run(*args, &global),
        Some(Command::Kubeconfig(args)) => kubeconfig::run(*args, &global),
        Some(Command::Verify(args)) => verify::run(args, &global),
        Some(Command::Init(args)) => init::run(args, &global),
        Some(Command::Server(args)) => server::run(*args, &global),
    }
}

impl GlobalArgs {
    /// The low configuration without the flags of the command.
    fn low(&self) -> Result<Low, Failure> {
        let mut low = Low {
            path: self.config.clone(),
            ..Low::default()
        };
        if let Some(path) = &self.config {
            low.file = ConfigFile::read(path).map_err(|error| match error {
                FileError::Syntax { .. } => Failure::failed(format!(
                    "cannot use the configuration file {}: {error}; correct it and start again",
                    path.display()
                )),
                FileError::Read { .. } => Failure::failed(error),
            })?;
        }
        low.flags
            .flag(Setting::ClusterId, "--cluster-id", self.cluster_id.clone());
        low.flags
            .flag(Setting::LogVerbosity, "--log-verbosity", self.log_verbosity.clone());
        let mut read = |setting, name| low.environment.environment(setting, name, environment(name));
        read(Setting::ClusterId, "KUBERNETES_AWS_AUTHENTICATOR_CLUSTER_ID");
        read(Setting::LogVerbosity, "AWS_IAM_AUTHENTICATOR_LOG_VERBOSITY");
        read(Setting::Role, "DEFAULT_ROLE");
        Ok(low)
    }

    fn gates(&self) -> Result<FeatureGates, Failure> {
        let gates = FeatureGates::parse(self.feature_gates.iter().map(String::as_str));
        gates.map_err(|problems| Failure::usage(format!("--feature-gates: {}", problems.join("\n--feature-gates: "))))
    }

    /// Starts logging as flags, environment and file say.
    fn start_log(&self, low: &Low) -> Result<(), Failure> {
        let verbosity = match low
            .get(Setting::LogVerbosity)
            .map(|given| (&given.place, given.values.first()))
        {
            Some((place, Some(level))) => level
                .parse()
                .map_err(|error| Failure::usage(format!("{place}: {error}")))?,
            _ => Verbosity::default(),
        };
        let format = if self.log_format == "json" {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        let in_colour = Colours::of_stderr() == Colours::Ansi;
        lifecycle::start_log(verbosity, format, in_colour).map_err(Failure::failed)?;
        if !matches!(self.log_format.as_str(), "json" | "text") {
            tracing::warn!(
                "--log-format: {:?} is neither text nor json; it is text now",
                self.log_format
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_as_kops_and_people_write_them() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        for line in [
            "aws-iam-authenticator server --config=/etc/x.yaml --state-dir=/var --generate-kubeconfig=/k --cluster-id=c \
             --backend-mode=CRD,MountedFile --kubeconfig-pregenerated=true",
            "aws-iam-authenticator server -c /x -i c -l json -v debug --backend-mode CRD --backend-mode File",
            "aws-iam-authenticator -i c token -r arn -s name -e id --token-only --region us-east-1",
            "aws-iam-authenticator token -i c --token-only=false --forward-session-name",
            "aws-iam-authenticator init -i c --hostname h --address 0.0.0.0",
            "aws-iam-authenticator version --short",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
        assert_eq!(
            parse("aws-iam-authenticator server --no-such-flag")
                .unwrap_err()
                .exit_code(),
            2
        );
    }
}
