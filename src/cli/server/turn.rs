//! With `--reuse-port`: when it is our turn to take connections.
//!
//! A new process that listened at once would get its share of the reviews before it has read its mappings, and answer "not yet" to
//! people whom its predecessor would let in.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::admin::Readiness;
use crate::config::{Bind, ServerConfig};
use crate::listener::is_taken;

/// A predecessor that dies while we wait is noticed within so long.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What our turn depends on.
pub(super) struct Turn {
    at: Bind,
    readiness: watch::Receiver<Readiness>,
    patience: Duration,
}

impl Turn {
    /// `None` without `--reuse-port`: then it is always ours.
    pub(super) fn new(config: &ServerConfig, readiness: watch::Receiver<Readiness>) -> Option<Self> {
        config.reuse_port.then(|| Self {
            at: config.webhook.bind.clone(),
            readiness,
            patience: config.source_sync_timeout,
        })
    }

    /// Waits until nobody else takes connections there, or we can do it as well, or waiting has no use any more.
    pub(super) async fn wait(mut self) {
        let Bind { address, port } = self.at;
        if !is_taken(address, port).await {
            return;
        }
        tracing::info!("another process takes connections on port {port}; joining it when the mappings are read");
        let left_alone = async {
            while is_taken(address, port).await {
                sleep(LOOK_EVERY).await;
            }
        };
        let ready = timeout(self.patience, self.readiness.wait_for(Readiness::is_ready));
        tokio::select! {
            () = left_alone => {}
            // Time over, or nobody left to tell: either way it goes on, as it would alone.
            _ = ready => {}
        }
    }
}
