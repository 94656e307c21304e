//! Waiting for something that will be so, with a deadline that says what it waited for.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// What a probe may answer: `true`, `Some` and `Ok` end the wait.
pub trait Probe {
    /// What the wait gives.
    type Value;

    /// The value, or the present state in words.
    fn settle(self) -> Result<Self::Value, String>;
}

impl Probe for bool {
    type Value = ();

    fn settle(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

impl<T> Probe for Option<T> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "none".to_owned())
    }
}

impl<T, E: Debug> Probe for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Asks `probe` every 20 ms until it answers `true`, `Some` or `Ok`.
///
/// # Panics
/// At the deadline, with `what` and the last answer. A probe that hangs is cut off there too.
pub async fn eventually<P, F>(what: &str, deadline: Duration, mut probe: impl FnMut() -> F) -> P::Value
where
    P: Probe,
    F: Future<Output = P>,
{
    let started = Instant::now();
    let mut last = "it was never answered".to_owned();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await.map(Probe::settle) {
            Ok(Ok(value)) => return value,
            Ok(Err(state)) => last = state,
            Err(_) => {}
        }
        assert!(
            started.elapsed() < deadline,
            "not so after {deadline:?}: {what}; last: {last}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for tests without a runtime.
///
/// # Panics
/// At the deadline, with `what` and the last answer.
pub fn eventually_sync<P: Probe>(what: &str, deadline: Duration, mut probe: impl FnMut() -> P) -> P::Value {
    let started = Instant::now();
    loop {
        match probe().settle() {
            Ok(value) => return value,
            Err(state) if started.elapsed() >= deadline => panic!("not so after {deadline:?}: {what}; last: {state}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
