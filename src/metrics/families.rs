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
    pub(super) fn register(registry: &mut Registry) -> Self {
        let r = registry;
        let latency: Histograms = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        let latency = add(r, "authenticate_latency_seconds", "Authenticate call latency", latency);
        let e2e_latency: Histograms = Family::new_with_constructor(file_histogram as fn() -> Histogram);
        Self {
            configmap_watch_failures: add(r, "configmap_watch_failures", "EKS Configmap watch failures", Counter::default()),
            dynamic_file_failures: add(r, "dynamicfile_failures", "Dynamic file failures", Counter::default()),
            sts_connection_failures: add(
                r,
                "sts_connection_failures",
                "Sts call could not succeed or timedout",
                Family::default(),
            ),
            sts_throttling: add(r, "sts_throttling", "Sts call got throttled", Family::default()),
            sts_responses: add(r, "sts_responses", "Sts responses with error code label", Family::default()),
            // Found once: on every review there is no look-up left.
            latency: ReviewResult::ALL.map(|result| (result, latency.get_or_create_owned(&[("result", result.label())]))),
            ec2_calls: add(r, "ec2_describe_instances_calls", "Number of EC2 describe instances calls", Counter::default()),
            e2e_latency: add(
                r,
                "dynamic_e2e_latency_seconds",
                "End to end latency in seconds partitioned by type",
                e2e_latency,
            ),
            dynamic_file_enabled: add(
                r,
                "dynamic_file_enabled",
                "Dynamic file in backend mode is enabled",
                Gauge::default(),
            ),
            dynamic_file_only: add(
                r,
                "dynamic_file_only",
                "Only dynamic file in backend mode is enabled",
                Gauge::default(),
            ),
            rest: latency_histogram(),
        }
    }

    pub(super) fn latency(&self, result: ReviewResult) -> &Histogram {
        self.latency.iter().find(|(of, _)| *of == result).map_or(&self.rest, |(_, histogram)| histogram)
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
    pub(super) certificate_ends: Family<Labels<1>, Gauge>,
    pub(super) certificate_faulty: Gauge,
    pub(super) connections: Gauge,
    pub(super) handshake_failures: Counter,
    pub(super) accept_failures: Counter,
    pub(super) build_info: Family<Labels<1>, Gauge>,
}

impl Ours {
    pub(super) fn register(r: &mut Registry) -> Self {
        let sts_latency: Histograms = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        Self {
            decisions: add(r, "decisions", "Reviews by what was decided and why", Family::default()),
            foreign_tokens: add(r, "foreign_tokens", "Bearer tokens of other authenticators", Counter::default()),
            grants_before_sync: add(
                r,
                "grants_before_sync",
                "Grants from a local file although a source before it was never read",
                Family::default(),
            ),
            logs_suppressed: add(r, "log_lines_suppressed", "Log lines about refusals that were left out", Family::default()),
            sts_latency: add(r, "sts_latency_seconds", "Time until STS answered", sts_latency),
            cache_hits: add(r, "identity_cache_hits", "Reviews answered without a request to STS", Family::default()),
            clock_skew: add(r, "clock_skew_seconds", "How far our clock is ahead of STS's, NaN until it answered", FloatGauge::default()),
            entries: add(r, "mapping_entries", "Entries and objects by source and state", Family::default()),
            out_of_sync: add(
                r,
                "source_out_of_sync_seconds",
                "Seconds since the source was last in sync, 0 while it is",
                Family::default(),
            ),
            notices: add(r, "source_notices", "What happened to sources", Family::default()),
            generation: add(r, "mapping_table_generation", "Generation of the table served", Gauge::default()),
            swaps: add(r, "mapping_table_swaps", "Published changes of the table", Counter::default()),
            leader: add(r, "leader", "Whether this replica writes status and Events", Gauge::default()),
            certificate_ends: add(
                r,
                "certificate_expiry_timestamp_seconds",
                "When the certificate ends",
                Family::default(),
            ),
            certificate_faulty: add(
                r,
                "certificate_reload_faulty",
                "Whether the certificate files cannot be served, so that an older pair still is",
                Gauge::default(),
            ),
            connections: add(r, "connections", "Open connections on all ports", Gauge::default()),
            handshake_failures: add(r, "tls_handshake_failures", "Failed or slow TLS handshakes", Counter::default()),
            accept_failures: add(r, "accept_failures", "Connections that the system did not give", Counter::default()),
            build_info: add(r, "build_info", "The version, with the value 1", Family::default()),
        }
    }
}
