//! What the writer of the table has to say, to whom it matters: metrics, readiness, and the cluster id that a `ConfigMap` gives.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::admin::Readiness;
use crate::config::ServerConfig;
use crate::controller::EventSender;
use crate::live::{LiveObserver, LiveTable};
use crate::mapping::index::{Notice, SourceState};
use crate::mapping::table::MappingTable;
use crate::metrics::Metrics;
use crate::partition::StsEndpointPolicy;
use crate::token::{ClusterIdError, TokenPolicy};

/// The cluster id in use. One that was not configured is adopted from the watched `ConfigMap`, once.
#[derive(Debug)]
pub(super) struct ClusterIds {
    endpoints: StsEndpointPolicy,
    tokens: Arc<ArcSwapOption<TokenPolicy>>,
    reported: Mutex<Option<String>>,
}

impl ClusterIds {
    /// With the configured id, if there is one; and what reviews read.
    pub(super) fn new(config: &ServerConfig) -> Result<(Self, Arc<ArcSwapOption<TokenPolicy>>), ClusterIdError> {
        let endpoints = config.endpoints.clone();
        let policy = config
            .cluster_id
            .as_deref()
            .map(|id| TokenPolicy::new(endpoints.clone(), id))
            .transpose()?;
        let tokens = Arc::new(ArcSwapOption::from_pointee(policy));
        Ok((
            Self {
                endpoints,
                tokens: Arc::clone(&tokens),
                reported: Mutex::default(),
            },
            tokens,
        ))
    }

    fn is_known(&self) -> bool {
        self.tokens.load().is_some()
    }

    fn adopt(&self, id: &str) {
        if let Some(policy) = self.tokens.load_full() {
            if policy.cluster_id() != id && self.is_news(id) {
                let used = policy.cluster_id();
                tracing::warn!(
                    "the ConfigMap gives the cluster ID {id:?}, but {used:?} is in use; restart to change it"
                );
            }
            return;
        }
        match TokenPolicy::new(self.endpoints.clone(), id) {
            Ok(policy) => {
                tracing::info!("the cluster ID is {id:?}, as the ConfigMap gives it");
                self.tokens.store(Some(Arc::new(policy)));
            }
            Err(error) if self.is_news(id) => {
                tracing::warn!("the ConfigMap gives a cluster ID that cannot be used: {error}");
            }
            Err(_) => {}
        }
    }

    /// Whether this id was not complained about just before.
    fn is_news(&self, id: &str) -> bool {
        // Nothing in the section can panic.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = reported.as_deref() != Some(id);
        *reported = Some(id.to_owned());
        is_news
    }
}

/// Tells metrics and probes.
pub(super) struct Reporter {
    metrics: Arc<Metrics>,
    table: LiveTable,
    ids: ClusterIds,
    readiness: watch::Sender<Readiness>,
    events: Option<EventSender>,
}

impl Reporter {
    /// A reporter, and the readiness that it keeps up to date.
    pub(super) fn new(metrics: Arc<Metrics>, table: LiveTable, ids: ClusterIds) -> (Self, watch::Receiver<Readiness>) {
        let (readiness, receiver) = watch::channel(Readiness {
            missing: missing(&table.sources(), ids.is_known()),
            notes: Vec::new(),
        });
        (
            Self {
                metrics,
                table,
                ids,
                readiness,
                events: None,
            },
            receiver,
        )
    }

    /// From now on what happens to `ConfigMap`s is told here too.
    pub(super) fn tell(&mut self, events: EventSender) {
        self.events = Some(events);
    }

    /// Sets what an operator should know besides.
    pub(super) fn notes(&self) -> impl Fn(Vec<String>) + Send + Sync + 'static {
        let readiness = self.readiness.clone();
        move |notes| readiness.send_modify(|readiness| readiness.notes = notes)
    }

    fn update_readiness(&self) {
        let missing = missing(&self.table.sources(), self.ids.is_known());
        self.readiness.send_if_modified(|readiness| {
            let changed = readiness.missing != missing;
            readiness.missing = missing;
            changed
        });
    }
}

impl LiveObserver for Reporter {
    fn notice(&self, notice: &Notice) {
        self.metrics.notice(notice);
        if let Some(events) = &self.events {
            events.notice(notice);
        }
        self.update_readiness();
    }

    fn published(&self, table: &MappingTable) {
        self.metrics.published(table);
    }

    fn cluster_id(&self, id: &str) {
        self.ids.adopt(id);
        self.update_readiness();
    }
}

/// What keeps the server from answering every review. A source that was read once counts for good: it keeps what it said.
fn missing(sources: &[SourceState], cluster_id: bool) -> Vec<String> {
    let unsynced = sources.iter().filter(|state| !state.synced).map(|state| {
        let reason = state
            .failure
            .as_ref()
            .map(|failure| format!(": {failure}"))
            .unwrap_or_default();
        format!("{} was not read yet{reason}", state.source.as_str())
    });
    let id = (!cluster_id).then(|| "the cluster ID is not known yet".to_owned());
    unsynced.chain(id).collect()
}
