//! `add user` and `add role`: one more mapping, in the ConfigMap `kube-system/aws-auth` or as an `IAMIdentityMapping`.

mod aws_auth;
mod entry;
mod object;

use std::io::{BufRead as _, Write as _};

use clap::{Args, Subcommand, ValueEnum};

use super::GlobalArgs;
use super::cluster::ClusterArgs;
use super::examples;
use super::output::{Failure, print};
use crate::config::parse_bool;
use crate::lifecycle::command_runtime;
use crate::mapping::policy::MappingPolicy;
use entry::{RoleArgs, UserArgs};

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the help texts are for terminals")]
pub(super) struct AddArgs {
    #[command(subcommand)]
    what: What,
    /// Ask before anything is changed; --prompt=false does not ask
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    prompt: String,
    /// Show what would change and let the API server check it, but change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Where the mapping goes: an entry of the ConfigMap kube-system/aws-auth (backend mode EKSConfigMap), or an
    /// IAMIdentityMapping (backend mode CRD)
    #[arg(
        long = "as",
        global = true,
        value_name = "FORM",
        default_value = "aws-auth",
        ignore_case = true
    )]
    form: Form,
    /// The name of the IAMIdentityMapping [default: made of the ARN]
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// Allow usernames that begin with system:, as a server with this flag does
    #[arg(long, global = true)]
    allow_system_usernames: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Map an IAM user (or an account's root user, or a federated user)
    #[command(after_long_help = examples::ADD)]
    User(UserArgs),
    /// Map an IAM role, or a permission set of IAM Identity Center
    #[command(after_long_help = examples::ADD)]
    Role(RoleArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Form {
    #[value(alias = "EKSConfigMap", alias = "ConfigMap")]
    AwsAuth,
    #[value(alias = "IAMIdentityMapping")]
    Crd,
}

/// How a change is made.
struct How {
    prompt: bool,
    dry_run: bool,
    policy: MappingPolicy,
}

pub(super) fn run(args: AddArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    let prompt = parse_bool(&args.prompt).ok_or_else(|| {
        Failure::usage(format!(
            "--prompt: {:?} is neither true nor false; write one of them",
            args.prompt
        ))
    })?;
    if args.name.is_some() && args.form != Form::Crd {
        return Err(Failure::usage(
            "--name has no effect on an entry of aws-auth, which has no name; leave it out, or give --as crd",
        ));
    }
    let entry = match args.what {
        What::User(user) => user.entry()?,
        What::Role(role) => role.entry()?,
    };
    let how = How {
        prompt,
        dry_run: args.dry_run,
        policy: MappingPolicy {
            allow_system_usernames: args.allow_system_usernames,
            ..MappingPolicy::default()
        },
    };
    // What the server would refuse is told before any cluster is looked for.
    let mapping = entry.text().mapping(&how.policy);
    mapping.map_err(|error| Failure::usage(entry::refused(&error)))?;
    let runtime = command_runtime().map_err(Failure::failed)?;
    runtime.block_on(async {
        let client = args.cluster.client().await?;
        match args.form {
            Form::AwsAuth => aws_auth::add(client, &entry, &how).await,
            Form::Crd => object::add(client, &entry, args.name, &how).await,
        }
    })
}

/// Shows the change and asks whether it shall be made. `false` when it shall not.
fn confirmed(change: &str, question: &str, how: &How) -> Result<bool, Failure> {
    print(change)?;
    if !how.prompt || how.dry_run {
        return Ok(true);
    }
    let mut out = std::io::stdout().lock();
    let asked = write!(out, "{question} [y/N]: ").and_then(|()| out.flush());
    asked.map_err(|error| Failure::failed(format!("cannot ask on stdout: {error}; give --prompt=false")))?;
    drop(out);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(1..) => {}
        Ok(0) => {
            return Err(Failure::failed(
                "there is no answer, because stdin is at its end; nothing was changed: answer y, or give --prompt=false",
            ));
        }
        Err(error) => {
            return Err(Failure::failed(format!(
                "cannot read the answer: {error}; nothing was changed: give --prompt=false"
            )));
        }
    }
    let yes = ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes));
    if !yes {
        print("cancelled: nothing was changed")?;
    }
    Ok(yes)
}
