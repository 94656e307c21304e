//! How a command reads its environment, prints, warns and fails: always through here.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use jiff::Timestamp;

use crate::config::Problems;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It could not be done: exit code 1.
    pub(super) fn failed(message: impl Display) -> Self {
        Self {
            code: 1,
            message: message.to_string(),
        }
    }

    /// It was asked for in a wrong way: exit code 2.
    pub(super) fn usage(message: impl Display) -> Self {
        Self {
            code: 2,
            message: message.to_string(),
        }
    }

    /// Why.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The same, for a server: why goes into the log, in the form that the log has.
    pub(super) fn logged(self) -> Self {
        tracing::error!("{}", self.message);
        Self {
            message: String::new(),
            ..self
        }
    }

    /// Says why on stderr.
    pub(super) fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            to_stderr("error", line);
        }
        ExitCode::from(self.code)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        if problems.is_usage() {
            Self::usage(problems)
        } else {
            Self::failed(problems)
        }
    }
}

/// Prints to stdout, with a newline at the end.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let done = out
        .write_all(text.trim_end_matches('\n').as_bytes())
        .and_then(|()| out.write_all(b"\n"));
    done.and_then(|()| out.flush())
        .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
}

/// Warns on stderr. For commands that people and kubectl run; the server logs.
pub(super) fn warn(message: impl Display) {
    to_stderr("warning", message);
}

fn to_stderr(kind: &str, message: impl Display) {
    // When stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{kind}: {message}");
}

/// Whether a stream gets colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colours {
    /// A file, a pipe, or somebody who wants none.
    None,
    /// A terminal.
    Ansi,
}

impl Colours {
    /// Colours for what goes to stdout.
    pub(super) fn of_stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// Colours for what goes to stderr.
    pub(super) fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// Only for a terminal that knows them, and never with `NO_COLOR` (<https://no-color.org>).
    fn of(stream: &impl IsTerminal) -> Self {
        let refused = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = environment("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && !refused && !is_dumb {
            Self::Ansi
        } else {
            Self::None
        }
    }

    /// Headings.
    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What goes away.
    pub(super) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is new.
    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Places.
    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// The value of an environment variable; `None` when it is not set or not a text.
pub(super) fn environment(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    std::env::var(name).ok()
}

/// The time.
pub(super) fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "commands read the clock here and pass the time on"
    )]
    Timestamp::now()
}
