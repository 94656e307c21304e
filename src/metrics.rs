//! The metrics: every name and label of the Go authenticator, and ours.
//!
//! Labels are static texts of closed sets: no error text, object name or client input ever becomes one. What the live table knows
//! itself is not counted along but read when somebody scrapes ([`Metrics::read_at_scrape`]).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::audit::Outcome;
use crate::authn::Decision;
use crate::mapping::SourceId;
use crate::mapping::index::{Notice, NoticeKind, SourceState};
use crate::mapping::table::MappingTable;
use crate::sts::{CacheHit, StsObserver};
use families::{Ours, Upstream};

mod families;

/// The media type of [`Metrics::exposition`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is read when somebody scrapes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// How each source is doing.
    pub sources: Vec<SourceState>,
    /// By how many seconds our clock is ahead of STS's.
    pub clock_skew: Option<i64>,
}

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    upstream: Upstream,
    ours: Ours,
    started: Instant,
    snapshot: OnceLock<Box<dyn Fn() -> Snapshot + Send + Sync>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Which change of a mounted file took how long to take effect: the values of upstream's label `type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileChange {
    /// The mappings of the dynamic file.
    Mapping,
    /// The backend mode file.
    BackendMode,
}

impl Metrics {
    /// Everything at zero. `started` is when the process started, `version` is told in `build_info`.
    pub fn new(started: Instant, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("aws_iam_authenticator");
        let upstream = Upstream::register(&mut registry);
        let ours = Ours::register(&mut registry);
        ours.clock_skew.set(f64::NAN);
        ours.build_info.get_or_create(&[("version", version)]).set(1);
        Self {
            registry,
            upstream,
            ours,
            started,
            snapshot: OnceLock::new(),
        }
    }

    /// Sets what is read at each scrape. Only the first call counts.
    pub fn read_at_scrape(&self, snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) {
        // A second one is a mistake in the wiring and must not stop the server.
        let _ = self.snapshot.set(Box::new(snapshot));
    }

    /// A review was answered.
    pub fn reviewed(&self, outcome: &Outcome<'_>, took: Duration) {
        self.upstream
            .latency(ReviewResult::of(outcome))
            .observe(took.as_secs_f64());
        self.ours
            .decisions
            .get_or_create(&[("decision", outcome.decision()), ("reason", outcome.reason())])
            .inc();
        match outcome {
            Outcome::Decided(Decision::NotOurs) => {
                self.ours.foreign_tokens.inc();
            }
            Outcome::Decided(Decision::Granted(grant)) => {
                if let Some(source) = grant.unsynced_before {
                    self.ours
                        .grants_before_sync
                        .get_or_create(&[("unsynced", source.as_str())])
                        .inc();
                }
            }
            _ => {}
        }
    }

    /// A log line about a refusal was left out.
    pub fn log_suppressed(&self, reason: &'static str) {
        self.ours.logs_suppressed.get_or_create(&[("reason", reason)]).inc();
    }

    /// Something happened to a source.
    pub fn notice(&self, notice: &Notice) {
        self.ours
            .notices
            .get_or_create(&[("source", notice.source.as_str()), ("kind", notice.kind.as_str())])
            .inc();
        match (notice.source, notice.kind) {
            (SourceId::EksConfigMap, NoticeKind::Failed) => {
                self.upstream.configmap_watch_failures.inc();
            }
            (SourceId::DynamicFile, NoticeKind::Failed | NoticeKind::DocumentRejected) => {
                self.upstream.dynamic_file_failures.inc();
            }
            _ => {}
        }
    }

    /// A changed table was published.
    pub fn published(&self, table: &MappingTable) {
        self.ours
            .generation
            .set(i64::try_from(table.generation()).unwrap_or(i64::MAX));
        self.ours.swaps.inc();
    }

    /// The backends in use, for two gauges of upstream.
    pub fn backends(&self, order: &[SourceId]) {
        let has_file = order.contains(&SourceId::DynamicFile);
        self.upstream
            .dynamic_file_only
            .set(i64::from(has_file && order.len() == 1));
        self.upstream
            .dynamic_file_enabled
            .set(i64::from(has_file && order.len() > 1));
    }

    /// A changed file took effect so long after the time it carries.
    pub fn file_change(&self, change: FileChange, seconds: f64) {
        let label = match change {
            FileChange::Mapping => "dynamic_iam_mapping",
            FileChange::BackendMode => "dynamic_backend_mode",
        };
        self.upstream
            .e2e_latency
            .get_or_create(&[("type", label)])
            .observe(seconds);
    }

    /// EC2 was asked for instances.
    pub fn ec2_call(&self) {
        self.upstream.ec2_calls.inc();
    }

    /// How this replica stands among the others, and whether it writes status and Events.
    pub fn standing(&self, standing: &'static str, writes: bool) {
        self.ours.leader.set(i64::from(writes));
        self.ours.standing.clear();
        self.ours.standing.get_or_create(&[("standing", standing)]).set(1);
    }

    /// A status was looked at that does not say what it must: what became of it.
    pub fn status_write(&self, result: &'static str) {
        self.ours.status_writes.get_or_create(&[("result", result)]).inc();
    }

    /// So many objects are left alone because another program keeps overwriting their status.
    pub fn contested(&self, objects: usize) {
        self.ours.contested.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// An Event was to be sent: what became of it.
    pub fn event(&self, result: &'static str) {
        self.ours.events.get_or_create(&[("result", result)]).inc();
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.ours.connections.inc();
    }

    /// An accepted connection ended.
    pub fn connection_closed(&self) {
        self.ours.connections.dec();
    }

    /// A TLS handshake failed or took too long.
    pub fn handshake_failed(&self) {
        self.ours.handshake_failures.inc();
    }

    /// The system would not give us a connection.
    pub fn accept_failed(&self) {
        self.ours.accept_failures.inc();
    }

    /// This certificate is served from now on; `authority_ends` is given when our own authority issued it.
    pub fn certificate_served(&self, ends: Timestamp, authority_ends: Option<Timestamp>) {
        let set = |label, at: Timestamp| {
            self.ours
                .certificate_ends
                .get_or_create(&[("certificate", label)])
                .set(at.as_second());
        };
        set("serving", ends);
        if let Some(ends) = authority_ends {
            set("authority", ends);
        }
    }

    /// Whether the files hold a pair that cannot be served, so that an older one still is.
    pub fn certificate_faulty(&self, faulty: bool) {
        self.ours.certificate_faulty.set(i64::from(faulty));
    }

    /// Whether the serving certificate is ours and due, and cannot be renewed.
    pub fn certificate_overdue(&self, overdue: bool) {
        self.ours.certificate_overdue.set(i64::from(overdue));
    }

    /// The first of the authorities that vouch for clients ends then.
    pub fn client_authority_ends(&self, ends: Timestamp) {
        self.ours
            .certificate_ends
            .get_or_create(&[("certificate", "client_authority")])
            .set(ends.as_second());
    }

    /// Whether the file of client authorities cannot be used, so that those before still are.
    pub fn client_authority_faulty(&self, faulty: bool) {
        self.ours.client_ca_faulty.set(i64::from(faulty));
    }

    /// The text that Prometheus scrapes.
    pub fn exposition(&self) -> String {
        self.read(Instant::now());
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn read(&self, now: Instant) {
        let Some(snapshot) = self.snapshot.get() else { return };
        let Snapshot { sources, clock_skew } = snapshot();
        for state in &sources {
            let entries = |label, count: usize| {
                let gauge = self
                    .ours
                    .entries
                    .get_or_create(&[("source", state.source.as_str()), ("state", label)]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            entries("serving", state.serving.saturating_sub(state.held));
            entries("held", state.held);
            entries("invalid", state.invalid);
            let in_sync = state.synced && state.failure.is_none();
            let since = if in_sync {
                now
            } else {
                state.last_heard.unwrap_or(self.started)
            };
            let label = [("source", state.source.as_str())];
            self.ours
                .out_of_sync
                .get_or_create(&label)
                .set(now.saturating_duration_since(since).as_secs_f64());
        }
        if let Some(skew) = clock_skew.and_then(|skew| i32::try_from(skew).ok()) {
            self.ours.clock_skew.set(f64::from(skew));
        }
    }
}

/// The values of upstream's label `result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReviewResult {
    Malformed,
    Invalid,
    StsError,
    StsThrottling,
    Unknown,
    Success,
}

impl ReviewResult {
    const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Invalid,
        Self::StsError,
        Self::StsThrottling,
        Self::Unknown,
        Self::Success,
    ];

    fn of(outcome: &Outcome<'_>) -> Self {
        use crate::authn::{Denial, Outage};
        match outcome {
            Outcome::Malformed(_) => Self::Malformed,
            Outcome::Overloaded | Outcome::Decided(Decision::Busy { .. }) => Self::StsThrottling,
            Outcome::TimedOut
            | Outcome::Decided(Decision::Denied(Denial::Sts(_), _) | Decision::Unavailable(Outage::Sts(_), _)) => {
                Self::StsError
            }
            Outcome::WrongAudience | Outcome::Decided(Decision::NotOurs | Decision::Denied(Denial::Token(_), _)) => {
                Self::Invalid
            }
            Outcome::Decided(Decision::Denied(..) | Decision::Unavailable(..) | Decision::NotReady(_)) => Self::Unknown,
            Outcome::Decided(Decision::Granted(_)) => Self::Success,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_request",
            Self::Invalid => "invalid_token",
            Self::StsError => "sts_error",
            Self::StsThrottling => "sts_throttling",
            // Upstream's spelling: dashboards and alerts hold it.
            Self::Unknown => "uknown_user",
            Self::Success => "success",
        }
    }
}

impl StsObserver for Metrics {
    fn response(&self, code: u16, region: &'static str, seconds: f64) {
        self.upstream
            .sts_responses
            .get_or_create(&([("ResponseCode", code)], [("StsRegion", region)]))
            .inc();
        self.ours
            .sts_latency
            .get_or_create(&[("StsRegion", region)])
            .observe(seconds);
    }

    fn connection_failure(&self, region: &'static str) {
        self.upstream
            .sts_connection_failures
            .get_or_create(&[("StsRegion", region)])
            .inc();
    }

    fn throttled(&self, region: &'static str) {
        self.upstream
            .sts_throttling
            .get_or_create(&[("StsRegion", region)])
            .inc();
    }

    fn cache_hit(&self, kind: CacheHit) {
        self.ours.cache_hits.get_or_create(&[("kind", kind.label())]).inc();
    }
}

#[cfg(test)]
mod tests;
