//! What an administrator does from a shell, on the real API server and with the real kubectl: mappings that are added, and
//! the kubeconfig and kuberc that are printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

#[path = "admin_commands/add.rs"]
mod add;
#[path = "admin_commands/kubeconfig.rs"]
mod kubeconfig;

use std::path::Path;
use std::process::Command;

const ACCOUNT: &str = "111122223333";
const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");

/// How a command ended and what it printed.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Said {
    /// What it printed, once it has succeeded.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Its errors, once it has failed with this code.
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.error
    }
}

/// Runs our program with nothing in its environment but these.
fn run(args: &[&str], environment: &[(&str, &Path)]) -> Said {
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(environment.iter().copied()).args(args);
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}
