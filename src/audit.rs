//! One log line for every decision, and nothing in it that could log anybody in.
//!
//! Refusals that cost a stranger nothing are logged at most ten times a second for each reason; the next line says how many were left
//! out. Tokens of other authenticators are counted only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, enabled, info, warn};

use crate::arn::AccountId;
use crate::authn::{Decision, Denial, Grant};
use crate::identity::Identity;
use crate::mapping::SourceId;
use crate::metrics::Metrics;

pub use outcome::{Outcome, Uid};

mod outcome;

/// Enough to see what is going on, too little to fill a disk.
const LINES_PER_SECOND: u32 = 10;

/// Reports reviews to the metrics and the log.
pub struct Audit {
    metrics: Arc<Metrics>,
    scrubbed: Vec<AccountId>,
    clock_skew: Box<dyn Fn() -> Option<i64> + Send + Sync>,
    windows: Mutex<HashMap<&'static str, Window>>,
    clock: fn() -> Instant,
}

/// The lines of one reason in one second.
#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

impl Audit {
    /// `clock_skew` tells by how many seconds our clock is ahead of STS's, when that is known.
    pub fn new(
        metrics: Arc<Metrics>,
        scrubbed: Vec<AccountId>,
        clock_skew: impl Fn() -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        let windows = Mutex::default();
        Self {
            metrics,
            scrubbed,
            clock_skew: Box::new(clock_skew),
            windows,
            clock: Instant::now,
        }
    }

    /// Whether to write this line, and how many were left out before it.
    fn admit(&self, reason: &'static str) -> Option<u64> {
        let now = (self.clock)();
        // Nothing in the section can panic; a poisoned lock would still hold good numbers.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(reason).or_insert(Window {
            began: now,
            lines: 0,
            suppressed: 0,
        });
        if now.saturating_duration_since(window.began) >= Duration::from_secs(1) {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines < LINES_PER_SECOND {
            window.lines += 1;
            return Some(std::mem::take(&mut window.suppressed));
        }
        window.suppressed += 1;
        drop(windows);
        self.metrics.log_suppressed(reason);
        None
    }

    fn granted(&self, grant: &Grant) {
        if !enabled!(Level::INFO) {
            return;
        }
        let Grant {
            identity,
            username,
            groups,
            source,
            unsynced_before,
        } = grant;
        let source = source.as_str();
        let unsynced = unsynced_before.map(SourceId::as_str);
        if self.scrubbed.contains(&identity.account()) {
            info!(source, unsynced, scrubbed = true, "access granted");
        } else {
            let uid = Uid::new(identity, username, &self.scrubbed);
            info!(arn = identity.arn(), username, %uid, ?groups, source, unsynced, "access granted");
        }
    }

    fn refused(&self, outcome: &Outcome<'_>, message: &str) {
        if !enabled!(Level::WARN) {
            return;
        }
        let reason = outcome.reason();
        let suppressed = if costs_nothing(outcome) {
            let Some(suppressed) = self.admit(reason) else { return };
            (suppressed > 0).then_some(suppressed)
        } else {
            None
        };
        let arn = outcome
            .identity()
            .filter(|identity| !self.scrubbed.contains(&identity.account()))
            .map(Identity::arn);
        match outcome.decision() {
            "denied" => warn!(arn, reason, suppressed, "access denied: {message}"),
            decision => warn!(arn, decision, reason, suppressed, "no decision: {message}"),
        }
    }

    /// A request was answered. `message` is what the caller was told, empty for a grant.
    pub fn reviewed(&self, outcome: &Outcome<'_>, message: &str, took: Duration) {
        self.metrics.reviewed(outcome, took);
        match outcome {
            Outcome::Decided(Decision::Granted(grant)) => self.granted(grant),
            Outcome::Decided(Decision::NotOurs) => {}
            _ => self.refused(outcome, message),
        }
    }

    /// By how many seconds our clock is ahead of STS's, when that is known.
    pub fn clock_skew(&self) -> Option<i64> {
        (self.clock_skew)()
    }

    /// Where it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Whether anybody can cause it as often as they like: it was decided without STS vouching for the caller. A refusal by STS itself is
/// not among them: our limits on requests to STS bound it.
fn costs_nothing(outcome: &Outcome<'_>) -> bool {
    outcome.identity().is_none() && !matches!(outcome, Outcome::Decided(Decision::Denied(Denial::Sts(_), _)))
}

#[cfg(test)]
mod tests;
