//! The controller, as this server needs it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::super::output::now;
use super::{AUTHENTICATOR_CONFIG_MAP, EKS_CONFIG_MAP, NAMESPACE};
use crate::admin::Readiness;
use crate::config::ServerConfig;
use crate::controller::{Controller, ControllerOptions, LeasePlace, WatchedConfigMap};
use crate::live::Statuses;
use crate::mapping::SourceId;
use crate::metrics::Metrics;
use crate::sources::Connector;

/// The kubeconfig of a control plane may be written after we start.
const RETRY: Duration = Duration::from_secs(5);

/// The controller; `None` when no backend is in the API server, so that there is nothing to write about.
pub(super) fn controller(
    config: &ServerConfig,
    statuses: Statuses,
    metrics: &Arc<Metrics>,
    show: impl Fn(Vec<String>) + Send + Sync + 'static,
) -> Option<Controller> {
    let modes = &config.backend_modes;
    let watched = |source: SourceId, name: &str| WatchedConfigMap {
        source,
        namespace: NAMESPACE.into(),
        name: name.into(),
    };
    let config_maps: Vec<_> = [
        watched(SourceId::AuthenticatorConfigMap, AUTHENTICATOR_CONFIG_MAP),
        watched(SourceId::EksConfigMap, EKS_CONFIG_MAP),
    ]
    .into_iter()
    .filter(|watched| modes.contains(&watched.source))
    .collect();
    if config_maps.is_empty() && !modes.contains(&SourceId::Crd) {
        return None;
    }
    let options = ControllerOptions {
        lease: config.lease.as_ref().map(|lease| LeasePlace {
            namespace: lease.namespace.clone(),
            name: lease.name.clone(),
        }),
        host: host_name(),
        config_maps,
        now,
    };
    Some(Controller::new(options, statuses, Arc::clone(metrics), show))
}

/// A client, as soon as there can be one and the sources are read; for one that cannot be read nobody waits for ever. What
/// wins over an object is not known before, so its status would be written twice at every start.
pub(super) async fn settled(connector: Connector, mut readiness: Receiver<Readiness>, patience: Duration) -> Client {
    // The sources say why there is no client.
    while connector.client().await.is_err() {
        sleep(RETRY).await;
    }
    // Time over, or nobody left to tell: either way it goes on.
    let _ = timeout(patience, readiness.wait_for(Readiness::is_ready)).await;
    connector.renewing()
}

/// What the kernel calls this host: in a pod the pod's name, in one on the host's network the node's.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name.to_owned()
    }
}
