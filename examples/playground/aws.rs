//! The AWS of the playground: alice, a role, their credential files, and the tokens that the program makes of them.

use crate::Told;
use kit::authenticator::clean_environment;
use kit::builders::{aws_files_env, write_aws_files};
use kit::{Principal, StsDouble, UserAuth};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const CLUSTER: &str = "playground.example";
pub(crate) const ALICE_ARN: &str = "arn:aws:iam::111122223333:user/alice";
pub(crate) const ROLE_ARN: &str = "arn:aws:iam::111122223333:role/Deployer";
pub(crate) const SESSION: &str = "nightly-build";
/// The profiles, and the contexts of their users.
pub(crate) const ALICE: &str = "alice";
pub(crate) const ROLE: &str = "role";

/// Where the credentials are, and what makes tokens of them.
pub(crate) struct Aws {
    program: PathBuf,
    folder: PathBuf,
}

impl Aws {
    /// Makes alice and the role known to STS, and writes their credentials into `folder`.
    pub(crate) fn new(program: PathBuf, folder: &Path, sts: &StsDouble) -> Self {
        let alice = sts.add(Principal::user("111122223333", "alice"));
        let role = sts.add(Principal::assumed_role("111122223333", "Deployer", SESSION));
        write_aws_files(folder, &[(ALICE, &alice), (ROLE, &role)]);
        Self {
            program,
            folder: folder.to_owned(),
        }
    }

    /// The environment of a person with this profile, whatever else theirs holds.
    fn env(&self, profile: &str) -> Vec<(String, String)> {
        let blank = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        let blank = blank.into_iter().map(|name| (name.to_owned(), String::new()));
        aws_files_env(&self.folder, profile).into_iter().chain(blank).collect()
    }

    /// A kubectl user that logs in with this profile.
    pub(crate) fn user(&self, profile: &str) -> UserAuth {
        UserAuth::exec(
            self.program.to_string_lossy(),
            &["token", "-i", CLUSTER],
            &self.env(profile),
        )
    }

    /// A fresh token of this profile.
    pub(crate) fn token(&self, profile: &str) -> Told<String> {
        let args = ["token", "-i", CLUSTER, "--token-only"];
        self.run(&args, &self.env(profile)).map(|token| token.trim().to_owned())
    }

    /// The command that [`Self::token`] runs, as a person types it; `folder` is what the folder is called.
    pub(crate) fn token_command(profile: &str, folder: &str) -> String {
        format!(
            "AWS_SHARED_CREDENTIALS_FILE={folder}/credentials AWS_PROFILE={profile} aws-iam-authenticator token -i \
             {CLUSTER} --token-only"
        )
    }

    /// The definition of the custom resource, as the program prints it.
    pub(crate) fn definition(&self) -> Told<String> {
        self.run(&["crd"], &[])
    }

    fn run(&self, args: &[&str], env: &[(String, String)]) -> Told<String> {
        let mut command = Command::new(&self.program);
        clean_environment(&mut command);
        command.args(args).envs(env.iter().map(|(name, value)| (name, value)));
        let output = command
            .output()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "aws-iam-authenticator {}: {}: {said}",
            args.join(" "),
            output.status
        ))
    }
}
