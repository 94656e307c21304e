//! Ours and the Go authenticator in one run: CPU a review, memory, and how soon an applied mapping grants.
//!
//! Both servers run at once on one core and are asked in turns; the load, the STS double and the control plane have the
//! other core. CPU time is what the kernel booked for the server's process, so a busy machine disturbs it little. It
//! never fails: figures are read by people (`docs/performance.md`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench: what it cannot do ends it; it reads the clock and the environment, and prints"
)]

mod apply;
mod client;
mod fleet;
mod load;
mod memory;
mod os;
mod report;
mod reviews;
mod token;

use kit::peer_binary;
use report::Report;
use std::path::PathBuf;

/// The server's core, and the one of all else.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// The programs under test. Without a Go toolchain there is no peer, and its column stays empty.
struct Programs {
    ours: PathBuf,
    peer: Option<PathBuf>,
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| part.contains(wanted.as_str()));
    let programs = Programs {
        // Another build can be named, to compare two of ours.
        ours: std::env::var_os("OURS")
            .map_or_else(|| env!("CARGO_BIN_EXE_aws-iam-authenticator").into(), PathBuf::from),
        peer: peer_binary()
            .inspect_err(|missing| eprintln!("no peer: {missing}"))
            .ok(),
    };
    // Threads and children inherit it; servers are moved to their own core one by one.
    os::pin(std::process::id(), LOAD_CORE);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut report = Report::default();
    if is_wanted("token") {
        token::measure(&programs, &mut report);
    }
    runtime.block_on(async {
        if is_wanted("reviews") {
            reviews::measure(&programs, &mut report).await;
        }
        if is_wanted("memory") {
            memory::measure_file(&programs, &mut report).await;
        }
        if is_wanted("apply") {
            apply::measure(&programs, &mut report).await;
        }
        if is_wanted("objects") {
            memory::measure_objects(&programs, &mut report).await;
        }
    });
    report.print();
}
