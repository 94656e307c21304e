//! `IAMIdentityMapping` objects.

use std::mem;

use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::Connector;
use super::outbox::Outbox;
use super::watch::{self, Feed};
use crate::crd::StoredMapping;
use crate::mapping::SourceId;
use crate::mapping::index::{Object, SourceUpdate};

/// Follows all `IAMIdentityMapping` objects until `shutdown`. A definition that is not installed is looked for again
/// and again.
pub async fn run(connector: Connector, updates: Sender<SourceUpdate>, shutdown: CancellationToken) {
    let outbox = Outbox::new(SourceId::Crd, updates);
    shutdown
        .run_until_cancelled(watch::follow(Objects::default(), &connector, outbox))
        .await;
}

/// The objects of a list that is not complete yet, already reduced.
#[derive(Default)]
struct Objects {
    listed: Vec<Object>,
}

impl Feed for Objects {
    type Object = StoredMapping;

    fn api(&self, client: Client) -> Api<StoredMapping> {
        Api::all(client)
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn take(&mut self, event: Event<StoredMapping>) -> Option<SourceUpdate> {
        match event {
            Event::Init => {
                self.listed = Vec::new();
                None
            }
            Event::InitApply(stored) => {
                self.listed.push(stored.object);
                None
            }
            Event::InitDone => Some(SourceUpdate::Reset(mem::take(&mut self.listed))),
            Event::Apply(stored) => Some(SourceUpdate::Apply(stored.object)),
            Event::Delete(stored) => Some(SourceUpdate::Delete(stored.object.name)),
        }
    }

    fn may_be_undefined(&self) -> bool {
        true
    }
}
