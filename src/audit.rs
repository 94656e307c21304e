//! One log line for every decision, and nothing in it that could log anybody in.
//!
//! Refusals that cost a stranger nothing are logged at most ten times a second for each reason; the next line says how many were left
//! out. Tokens of other authenticators are counted only.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, enabled, info, warn};

use crate::arn::AccountId;
use crate::authn::{Decision, Denial, Grant};
use crate::identity::Identity;
use crate::mapping::SourceId;
use crate::metrics::Metrics;

/// How one request for a review ended.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The token was looked at.
    Decided(&'a Decision),
    /// None of the audiences that the caller asked for is ours.
    WrongAudience,
    /// Too many reviews are under way here.
    Overloaded,
    /// No decision within our own deadline.
    TimedOut,
    /// Not a request for a review; the label says in which way.
    Malformed(&'static str),
}

impl Outcome<'_> {
    /// What was decided, in a word: a label for logs and metrics.
    pub fn decision(&self) -> &'static str {
        match self {
            Self::Decided(Decision::Granted(_)) => "granted",
            Self::Decided(Decision::NotOurs) => "not_ours",
            Self::Decided(Decision::Denied(..)) | Self::WrongAudience => "denied",
            Self::Decided(Decision::Busy { .. }) | Self::Overloaded => "busy",
            Self::Decided(Decision::Unavailable(..)) | Self::TimedOut => "unavailable",
            Self::Decided(Decision::NotReady(_)) => "not_ready",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Why: a label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decided(Decision::Granted(_)) => "mapped",
            Self::Decided(Decision::NotOurs) => "not_ours",
            Self::Decided(Decision::Denied(denial, _)) => denial.reason(),
            Self::Decided(Decision::Busy { .. }) => "busy",
            Self::Decided(Decision::Unavailable(outage, _)) => outage.reason(),
            Self::Decided(Decision::NotReady(missing)) => missing.reason(),
            Self::WrongAudience => "audience",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "review_timeout",
            Self::Malformed(reason) => reason,
        }
    }

    /// The caller, as far as it is known.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Decided(Decision::Granted(grant)) => Some(&grant.identity),
            Self::Decided(Decision::Denied(_, identity) | Decision::Unavailable(_, identity)) => identity.as_deref(),
            _ => None,
        }
    }
}

/// The `uid` of a user, the same as the Go authenticator's: it must not change for anybody in a migration.
#[derive(Clone, Copy, Debug)]
pub enum Uid<'a> {
    /// By account and IAM unique id.
    Principal(&'a Identity),
    /// By username, in accounts whose identities are kept out of everything.
    Administrative(&'a str),
}

impl<'a> Uid<'a> {
    /// The uid of a caller that became `username`.
    pub fn new(identity: &'a Identity, username: &'a str, scrubbed: &[AccountId]) -> Self {
        if scrubbed.contains(&identity.account()) { Self::Administrative(username) } else { Self::Principal(identity) }
    }
}

impl fmt::Display for Uid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(identity) => {
                write!(f, "aws-iam-authenticator:{}:{}", identity.account(), identity.user_id())
            }
            Self::Administrative(username) => write!(f, "aws-iam-authenticator:administrative:{username}"),
        }
    }
}

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
        Self { metrics, scrubbed, clock_skew: Box::new(clock_skew), windows, clock: Instant::now }
    }

    /// Whether to write this line, and how many were left out before it.
    fn admit(&self, reason: &'static str) -> Option<u64> {
        let now = (self.clock)();
        // Nothing in the section can panic; a poisoned lock would still hold good numbers.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(reason).or_insert(Window { began: now, lines: 0, suppressed: 0 });
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
        let Grant { identity, username, groups, source, unsynced_before } = grant;
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
        let arn = outcome.identity().filter(|identity| !self.scrubbed.contains(&identity.account())).map(Identity::arn);
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
mod tests {
    use std::io;

    use super::*;
    use crate::authn::{Outage, StsError, StsOutage};
    use crate::token::TokenError;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged at this level while the closure runs.
    fn logged(level: Level, run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).without_time().with_ansi(false);
        tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), run);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    fn audit(scrubbed: &[&str]) -> Audit {
        let metrics = Arc::new(Metrics::new(Instant::now(), "1"));
        let mut audit = Audit::new(metrics, scrubbed.iter().filter_map(|id| AccountId::parse(id)).collect(), || None);
        audit.clock = frozen;
        audit
    }

    fn frozen() -> Instant {
        static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *NOW.get_or_init(Instant::now)
    }

    fn a_second_later() -> Instant {
        frozen() + Duration::from_secs(1)
    }

    fn identity() -> Arc<Identity> {
        let arn = "arn:aws:sts::123456789012:assumed-role/Admin/alice";
        Arc::new(Identity::new("123456789012", arn, "AROAX:alice", "AKIDSECRET").expect("valid"))
    }

    fn grant() -> Decision {
        Decision::Granted(Grant {
            identity: identity(),
            username: "admin".into(),
            groups: vec!["system:masters".into()],
            source: SourceId::MountedFile,
            unsynced_before: None,
        })
    }

    fn tell(audit: &Audit, decision: &Decision, message: &str) {
        audit.reviewed(&Outcome::Decided(decision), message, Duration::ZERO);
    }

    #[test]
    fn a_grant_and_a_denial_are_one_line_each() {
        let audit = audit(&[]);
        let lines = logged(Level::INFO, || {
            tell(&audit, &grant(), "");
            tell(&audit, &Decision::Denied(Denial::NotMapped, Some(identity())), "no mapping");
        });
        let [granted, denied] = &*lines else { panic!("{lines:?}") };
        for part in [
            "INFO",
            "access granted",
            r#"arn="arn:aws:sts::123456789012:assumed-role/Admin/alice""#,
            r#"username="admin""#,
            "uid=aws-iam-authenticator:123456789012:AROAX",
            r#"groups=["system:masters"]"#,
            r#"source="MountedFile""#,
        ] {
            assert!(granted.contains(part), "{part} in {granted}");
        }
        for part in ["WARN", "access denied: no mapping", r#"reason="not_mapped""#, "assumed-role/Admin/alice"] {
            assert!(denied.contains(part), "{part} in {denied}");
        }
    }

    #[test]
    fn a_scrubbed_account_is_in_no_line() {
        let audit = audit(&["123456789012"]);
        let lines = logged(Level::TRACE, || {
            tell(&audit, &grant(), "");
            tell(&audit, &Decision::Denied(Denial::NotMapped, Some(identity())), "no mapping");
        });
        assert_eq!(lines.len(), 2);
        for secret in ["123456789012", "alice", "AROAX", "admin", "Admin"] {
            assert!(lines.iter().all(|line| !line.contains(secret)), "{secret} in {lines:?}");
        }
    }

    #[test]
    fn cheap_refusals_are_bounded_for_each_reason() {
        let mut audit = audit(&[]);
        let refused = |error| Decision::Denied(Denial::Token(error), None);
        let lines = logged(Level::WARN, || {
            for _ in 0..15 {
                tell(&audit, &refused(TokenError::Encoding), "bad");
            }
            tell(&audit, &refused(TokenError::Path), "bad");
        });
        assert_eq!(lines.len(), 11);
        assert!(audit.metrics().exposition().contains(r#"log_lines_suppressed_total{reason="encoding"} 5"#));
        audit.clock = a_second_later;
        let lines = logged(Level::WARN, || tell(&audit, &refused(TokenError::Encoding), "bad"));
        assert!(lines.iter().any(|line| line.contains("suppressed=5")), "{lines:?}");
        let lines = logged(Level::WARN, || tell(&audit, &refused(TokenError::Encoding), "bad"));
        assert!(lines.iter().all(|line| !line.contains("suppressed")), "{lines:?}");
    }

    #[test]
    fn known_callers_and_refusals_by_sts_are_always_told() {
        let audit = audit(&[]);
        let sts = StsError::Refused { code: "ExpiredToken".into(), status: 403 };
        let outage = Outage::Sts(StsError::Unavailable(StsOutage::Connect));
        for decision in [
            Decision::Denied(Denial::NotMapped, Some(identity())),
            Decision::Denied(Denial::Sts(sts), None),
            Decision::Unavailable(outage, Some(identity())),
        ] {
            let lines = logged(Level::WARN, || (0..15).for_each(|_| tell(&audit, &decision, "why")));
            assert_eq!(lines.len(), 15);
        }
    }

    #[test]
    fn foreign_tokens_are_a_counter_only() {
        let audit = audit(&[]);
        let lines = logged(Level::TRACE, || tell(&audit, &Decision::NotOurs, ""));
        assert!(lines.is_empty(), "{lines:?}");
        assert!(audit.metrics().exposition().contains("foreign_tokens_total 1"));
    }
}
