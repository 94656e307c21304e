//! Names, helps, labels and buckets. The library adds `_total` to the names of counters itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::ReviewResult;

pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];
/// `ResponseCode`, `StsRegion`.
pub(super) type ResponseLabels = ([(&'static str, u16); 1], Labels<1>);
type FloatGauge = Gauge<f64, AtomicU64>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// The default buckets of Prometheus's Go library, which upstream uses.
const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upstream's buckets for files that are replaced by kubelet.
const FILE_BUCKETS: [f64; 8] = [1.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0];

fn latency_histogram() -> Histogram {
    Histogram::new(DEFAULT_BUCKETS)
}

fn file_histogram() -> Histogram {
    Histogram::new(FILE_BUCKETS)
}

fn latencies() -> Histograms {
    Family::new_with_constructor(latency_histogram as fn() -> Histogram)
}

fn new<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    add(registry, name, help, M::default())
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// What the Go authenticator has.
pub(super) struct Upstream {
    pub(super) configmap_watch_failures: Counter,
    pub(super) dynamic_file_failures: Counter,
    pub(super) sts_connection_failures: Family<Labels<1>, Counter>,
    pub(super) sts_throttling: Family<Labels<1>, Counter>,
    pub(super) sts_responses: Family<ResponseLabels, Counter>,
    latency: [(ReviewResult, Histogram); ReviewResult::ALL.len()],
    pub(super) ec2_calls: Counter,
    pub(super) e2e_latency: Histograms,
    pub(super) dynamic_file_enabled: Gauge,
    pub(super) dynamic_file_only: Gauge,
    rest: Histogram,
}

impl Upstream {
    pub(super) fn register(r: &mut Registry) -> Self {
        let latency = add(
            r,
            "authenticate_latency_seconds",
            "Authenticate call latency",
            latencies(),
        );
        let e2e_latency: Histograms = Family::new_with_constructor(file_histogram as fn() -> Histogram);
        let e2e_help = "End to end latency in seconds partitioned by type";
        Self {
            configmap_watch_failures: new(r, "configmap_watch_failures", "EKS Configmap watch failures"),
            dynamic_file_failures: new(r, "dynamicfile_failures", "Dynamic file failures"),
            sts_connection_failures: new(r, "sts_connection_failures", "Sts call could not succeed or timedout"),
            sts_throttling: new(r, "sts_throttling", "Sts call got throttled"),
            sts_responses: new(r, "sts_responses", "Sts responses with error code label"),
            // Found once: on every review there is no look-up left.
            latency: ReviewResult::ALL
                .map(|result| (result, latency.get_or_create_owned(&[("result", result.label())]))),
            ec2_calls: new(
                r,
                "ec2_describe_instances_calls",
                "Number of EC2 describe instances calls",
            ),
            e2e_latency: add(r, "dynamic_e2e_latency_seconds", e2e_help, e2e_latency),
            dynamic_file_enabled: new(r, "dynamic_file_enabled", "Dynamic file in backend mode is enabled"),
            dynamic_file_only: new(r, "dynamic_file_only", "Only dynamic file in backend mode is enabled"),
            rest: latency_histogram(),
        }
    }

    pub(super) fn latency(&self, result: ReviewResult) -> &Histogram {
        self.latency
            .iter()
            .find(|(of, _)| *of == result)
            .map_or(&self.rest, |(_, histogram)| histogram)
    }
}

/// What we have besides.
pub(super) struct Ours {
    pub(super) decisions: Family<Labels<2>, Counter>,
    pub(super) foreign_tokens: Counter,
    pub(super) grants_before_sync: Family<Labels<1>, Counter>,
    pub(super) logs_suppressed: Family<Labels<1>, Counter>,
    pub(super) sts_latency: Histograms,
    pub(super) cache_hits: Family<Labels<1>, Counter>,
    pub(super) clock_skew: FloatGauge,
    pub(super) entries: Family<Labels<2>, Gauge>,
    pub(super) out_of_sync: Family<Labels<1>, FloatGauge>,
    pub(super) notices: Family<Labels<2>, Counter>,
    pub(super) generation: Gauge,
    pub(super) swaps: Counter,
    pub(super) leader: Gauge,
    pub(super) standing: Family<Labels<1>, Gauge>,
    pub(super) status_writes: Family<Labels<1>, Counter>,
    pub(super) contested: Gauge,
    pub(super) events: Family<Labels<1>, Counter>,
    pub(super) certificate_ends: Family<Labels<1>, Gauge>,
    pub(super) certificate_faulty: Gauge,
    pub(super) certificate_overdue: Gauge,
    pub(super) client_ca_faulty: Gauge,
    pub(super) connections: Gauge,
    pub(super) handshake_failures: Counter,
    pub(super) accept_failures: Counter,
    pub(super) build_info: Family<Labels<1>, Gauge>,
}

impl Ours {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            decisions: new(r, "decisions", "Reviews by what was decided and why"),
            foreign_tokens: new(r, "foreign_tokens", "Bearer tokens of other authenticators"),
            grants_before_sync: new(
                r,
                "grants_before_sync",
                "Grants from a file although a source before it was never read",
            ),
            logs_suppressed: new(r, "log_lines_suppressed", "Log lines about refusals that were left out"),
            sts_latency: add(r, "sts_latency_seconds", "Time until STS answered", latencies()),
            cache_hits: new(r, "identity_cache_hits", "Reviews answered without a request to STS"),
            clock_skew: new(
                r,
                "clock_skew_seconds",
                "How far our clock is ahead of STS's, NaN until it answered",
            ),
            entries: new(r, "mapping_entries", "Entries and objects by source and state"),
            out_of_sync: new(
                r,
                "source_out_of_sync_seconds",
                "Time since the source was last in sync, 0 while it is",
            ),
            notices: new(r, "source_notices", "What happened to sources"),
            generation: new(r, "mapping_table_generation", "Generation of the table served"),
            swaps: new(r, "mapping_table_swaps", "Published changes of the table"),
            leader: new(r, "leader", "Whether this replica writes status and Events"),
            standing: new(
                r,
                "election_standing",
                "How this replica stands in the election, with the value 1",
            ),
            status_writes: new(
                r,
                "status_writes",
                "Statuses that did not say what they must, by what became of them",
            ),
            contested: new(
                r,
                "status_contested",
                "Objects whose status is left alone because another program keeps overwriting it",
            ),
            events: new(r, "events", "Events by what became of them"),
            certificate_ends: new(r, "certificate_expiry_timestamp_seconds", "When the certificate ends"),
            certificate_faulty: new(
                r,
                "certificate_reload_faulty",
                "Whether an older pair is served than the files hold",
            ),
            certificate_overdue: new(
                r,
                "certificate_renewal_faulty",
                "Whether the serving certificate is due and cannot be renewed",
            ),
            client_ca_faulty: new(
                r,
                "client_ca_reload_faulty",
                "Whether older client authorities are used than the file holds",
            ),
            connections: new(r, "connections", "Open connections on all ports"),
            handshake_failures: new(r, "tls_handshake_failures", "Failed or slow TLS handshakes"),
            accept_failures: new(r, "accept_failures", "Connections that the system did not give"),
            build_info: new(r, "build_info", "The version, with the value 1"),
        }
    }
}
