//! One `ConfigMap`, read through the API: no mount, no restart, and its deletion is noticed even when it happens while
//! the API server cannot be reached.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::Connector;
use super::outbox::Outbox;
use super::watch::{self, Feed};
use crate::mapping::SourceId;
use crate::mapping::aws_auth::Content;
use crate::mapping::index::SourceUpdate;

/// The `ConfigMap` that is followed, and how its data is read.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The source that it is.
    pub source: SourceId,
    /// Reads its `data`.
    pub parse: fn(&BTreeMap<String, String>) -> Content,
}

/// Follows one `ConfigMap` until `shutdown`.
pub async fn run(connector: Connector, watched: Watched, updates: Sender<SourceUpdate>, shutdown: CancellationToken) {
    let outbox = Outbox::new(watched.source, updates);
    let feed = OneConfigMap { watched, listed: None };
    shutdown
        .run_until_cancelled(watch::follow(feed, &connector, outbox))
        .await;
}

struct OneConfigMap {
    watched: Watched,
    /// What the list that is not complete yet has brought.
    listed: Option<Content>,
}

impl OneConfigMap {
    fn read(&self, object: ConfigMap) -> Content {
        let binary = object.binary_data.unwrap_or_default();
        if !binary.is_empty() {
            let keys = binary.into_keys().collect::<Vec<_>>().join(", ");
            let source = self.watched.source.as_str();
            tracing::warn!(source, keys, "binaryData is not read: write the text under data");
        }
        (self.watched.parse)(&object.data.unwrap_or_default())
    }

    fn content(&self, content: Option<Content>) -> SourceUpdate {
        SourceUpdate::Content(self.watched.source, content)
    }
}

impl Feed for OneConfigMap {
    type Object = ConfigMap;

    fn api(&self, client: Client) -> Api<ConfigMap> {
        Api::namespaced(client, &self.watched.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(&self.watched.name)
    }

    fn take(&mut self, event: Event<ConfigMap>) -> Option<SourceUpdate> {
        match event {
            Event::Init => {
                self.listed = None;
                None
            }
            Event::InitApply(object) => {
                self.listed = Some(self.read(object));
                None
            }
            // A list without the object is how a deletion during a disconnect shows.
            Event::InitDone => {
                let listed = self.listed.take();
                Some(self.content(listed))
            }
            Event::Apply(object) => Some(self.content(Some(self.read(object)))),
            Event::Delete(_) => Some(self.content(None)),
        }
    }

    fn may_be_undefined(&self) -> bool {
        false
    }
}
