//! What `make run` starts: a cluster on loopback ports whose logins we decide, the story of a first login told as it
//! happens, and then a playground until Ctrl-C. With `--once` it ends after the story.
//!
//! Nothing here is pretended: etcd, kube-apiserver and kubectl are real, every output is what came out, and AWS is
//! the kit's STS double, which checks signatures.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "it talks on its output, reads its environment, and ends when its own parts break"
)]

#[path = "playground/aws.rs"]
mod aws;
#[path = "playground/cluster.rs"]
mod cluster;
#[path = "playground/file_story.rs"]
mod file_story;
#[path = "playground/narrator.rs"]
mod narrator;
#[path = "playground/story.rs"]
mod story;

use kit::{Authenticator, ControlPlane, Parts, StsDouble};
use narrator::Narrator;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A server that drains takes less; one that hangs is a failure of the story.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A step that did not come true is told in words.
pub(crate) type Told<T> = Result<T, String>;

/// What runs. Dropped in this order: who asks another goes first.
pub(crate) struct World {
    pub(crate) server: Authenticator,
    pub(crate) plane: Option<ControlPlane>,
    pub(crate) _sts: StsDouble,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => {
            eprintln!("usage: playground [--once]");
            return ExitCode::from(2);
        }
    };
    match run(once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\nThe story broke off: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(once: bool) -> Told<()> {
    let program = program()?;
    let narrator = Narrator::new();
    let mut signals = Signals::new();
    let world = tokio::select! {
        told = tell(&narrator, program) => told?,
        // All that was started is dropped with the story, and ends there.
        name = signals.next() => return Err(name.to_owned()),
    };
    if !once {
        narrator.step("It is yours until Ctrl-C");
        let name = signals.next().await;
        println!();
        narrator.step(format!("{name}: stopping"));
    }
    world.end().await?;
    narrator.step("Everything is stopped and cleared away");
    Ok(())
}

async fn tell(narrator: &Narrator, program: PathBuf) -> Told<World> {
    match Parts::find() {
        Ok(parts) => story::tell(narrator, program, parts).await,
        Err(missing) => file_story::tell(narrator, program, &missing).await,
    }
}

impl World {
    /// Asks the server to stop, as a kubelet does, and then clears everything away.
    async fn end(self) -> Told<()> {
        self.server.terminate();
        let status = self.server.wait_exit(STOP_DEADLINE).await;
        let status = status.ok_or("the server does not stop on SIGTERM")?;
        if let Some(plane) = &self.plane {
            plane.stop_api_server().await;
        }
        status
            .success()
            .then_some(())
            .ok_or_else(|| format!("the server stopped with {status}"))
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Self {
        let listen = |kind| signal(kind).expect("a signal can be listened to");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
        }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// The program of the same profile, beside the folder of the examples; `PLAYGROUND_BINARY` names another.
fn program() -> Told<PathBuf> {
    let named = std::env::var_os("PLAYGROUND_BINARY").filter(|path| !path.is_empty());
    let program = match named {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
            let folder = own.ancestors().nth(2).ok_or("this program is in no folder")?;
            folder.join("aws-iam-authenticator")
        }
    };
    // kubectl runs it from wherever a person is.
    program
        .canonicalize()
        .map_err(|error| format!("{}: {error}; `cargo build` makes it", program.display()))
}

/// Waits for what is to be true soon. A step fails rather than panics, so that all is cleared away.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Told<T> {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(state) if started.elapsed() >= deadline => {
                return Err(format!("{what}: not so after {deadline:?}; last: {state}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
