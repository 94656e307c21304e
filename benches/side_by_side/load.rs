//! The load: `oha`, a load generator that others keep, with one body a line, on the load's core.

use kit::Authenticator;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// In flight at once, over either protocol: a busy API server, and below all our limits.
const IN_FLIGHT: usize = 16;
/// An API server keeps one HTTP/2 connection to its webhook; a highly available control plane has three of them.
const HTTP2_CONNECTIONS: usize = 2;

/// `make bench` names the pinned one in `OHA`.
static OHA: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("OHA")
        .filter(|path| !path.is_empty())
        .map_or_else(|| "oha".into(), Into::into)
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What the load saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The most frequent status, and whether all had it.
    pub(crate) statuses: String,
    /// Answers a second.
    pub(crate) rate: f64,
    /// The 99th percentile of the time to an answer, in milliseconds.
    pub(crate) p99: f64,
}

/// Posts `count` reviews, each a random line of `bodies`, and waits for all answers.
///
/// # Panics
/// When `oha` is not there or a request had no answer.
pub(crate) async fn run(server: &Authenticator, protocol: Protocol, bodies: &Path, count: usize) -> Seen {
    let mut command = Command::new(&*OHA);
    command.args([
        "--no-tui",
        "--output-format",
        "json",
        "--insecure",
        "-m",
        "POST",
        "-T",
        "application/json",
    ]);
    command.arg("-Z").arg(bodies).args(["-n", &count.to_string()]);
    match protocol {
        Protocol::Http1 => command.args(["-c", &IN_FLIGHT.to_string()]),
        Protocol::Http2 => {
            let (connections, each) = (
                HTTP2_CONNECTIONS.to_string(),
                (IN_FLIGHT / HTTP2_CONNECTIONS).to_string(),
            );
            command.args(["--http2", "-c", &connections, "-p", &each])
        }
    };
    command.arg(format!("https://localhost:{}/authenticate", server.address().port()));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("it does not panic");
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; `make bench` installs it", OHA.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let errors = &report["errorDistribution"];
    assert!(
        errors.as_object().is_none_or(serde_json::Map::is_empty),
        "requests without an answer: {errors}"
    );
    Seen {
        statuses: report["statusCodeDistribution"].to_string(),
        rate: report["summary"]["requestsPerSec"].as_f64().unwrap_or_default(),
        p99: report["latencyPercentiles"]["p99"].as_f64().unwrap_or_default() * 1000.0,
    }
}
