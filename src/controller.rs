//! Writes back: the status of every `IAMIdentityMapping`, and Events on them and on the `ConfigMap`s.
//!
//! Every replica serves, one writes: the holder of a lease, or everybody where leases are not to be had. Then the
//! `resourceVersion` in every write lets only one of them through, and what is there already is not written. Nothing here
//! is ever waited for by a login.

mod attempt;
mod board;
mod call;
mod election;
mod event;
mod events;
mod later;
mod lease;
mod ledger;
mod limits;
mod outbox;
mod say;
mod status;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::live::Statuses;
use crate::metrics::Metrics;
use board::{Board, Place};
pub use election::{NotElected, Standing, Timing};
use events::Sender;
use lease::Keeper;
pub use lease::LeasePlace;
pub use outbox::{EventSender, WatchedConfigMap};
use status::StatusWriter;

/// What the controller is told.
#[derive(Debug)]
pub struct ControllerOptions {
    /// The lease that decides who writes; `None` lets every replica write.
    pub lease: Option<LeasePlace>,
    /// The name of this host, for the lease's holder.
    pub host: String,
    /// The `ConfigMap`s that sources read.
    pub config_maps: Vec<WatchedConfigMap>,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// Everything that writes to the API server, not yet running.
pub struct Controller {
    options: ControllerOptions,
    statuses: Statuses,
    metrics: Arc<Metrics>,
    board: Board,
    standing: watch::Sender<Standing>,
    events: EventSender,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller for the statuses of this process. `show` is given what an operator should know, whenever it changes.
    pub fn new(
        options: ControllerOptions,
        statuses: Statuses,
        metrics: Arc<Metrics>,
        show: impl Fn(Vec<String>) + Send + Sync + 'static,
    ) -> Self {
        let (standing, receiver) = watch::channel(Standing::Unknown);
        let events = EventSender::new(options.config_maps.clone(), receiver, Arc::clone(&metrics));
        Self {
            options,
            statuses,
            metrics,
            board: Board::new(Box::new(show)),
            standing,
            events,
        }
    }

    /// Takes what happened to `ConfigMap`s.
    pub fn events(&self) -> EventSender {
        self.events.clone()
    }

    /// Whether this replica writes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Works until `stop`, and then gives the lease back. It waits for the client first, for as long as it takes.
    pub async fn run(self, client: impl Future<Output = Client>, stop: CancellationToken) {
        let Some(client) = stop.run_until_cancelled(client).await else {
            return;
        };
        let status = StatusWriter {
            client: client.clone(),
            statuses: self.statuses,
            standing: self.standing.subscribe(),
            events: self.events.clone(),
            metrics: Arc::clone(&self.metrics),
            board: self.board.clone(),
            now: self.options.now,
        };
        let events = Sender {
            client: client.clone(),
            queue: self.events,
            standing: self.standing.subscribe(),
            metrics: Arc::clone(&self.metrics),
            board: self.board.clone(),
            now: self.options.now,
        };
        let told = tell(self.standing.subscribe(), &self.metrics, &self.board);
        // The lease is given back only when nothing is written any more.
        let idle = CancellationToken::new();
        let write = Box::pin(async {
            let work = async { tokio::join!(status.run(), events.run(), told) };
            stop.run_until_cancelled(Box::pin(work)).await;
            stop.cancelled().await;
            idle.cancel();
        });
        if let Some(place) = self.options.lease {
            let me = format!("{}_{:016x}", self.options.host, RandomState::new().hash_one(()));
            let keeper = Keeper::new(client, place, me, self.standing, self.options.now);
            tokio::join!(write, keeper.run(idle.clone()));
        } else {
            self.standing.send_replace(Standing::Everyone(NotElected::Disabled));
            write.await;
        }
    }
}

/// Keeps metrics and board in step with the standing.
async fn tell(mut standing: watch::Receiver<Standing>, metrics: &Metrics, board: &Board) {
    loop {
        let now = *standing.borrow_and_update();
        metrics.standing(now.as_str(), !matches!(now, Standing::Unknown | Standing::Follower));
        let text = match now {
            Standing::Unknown => "who writes status and Events is not known yet: the lease was not read",
            Standing::Follower => "another replica writes status and Events",
            Standing::Leader { .. } => "this replica writes status and Events",
            Standing::Everyone(NotElected::Disabled) => "every replica writes status and Events: --leader-elect is off",
            Standing::Everyone(NotElected::NoLeaseRights) => {
                "every replica writes status and Events: no right to get, create and update the lease"
            }
            Standing::Everyone(NotElected::NoLeaseApi) => {
                "every replica writes status and Events: the lease's namespace or API is missing"
            }
        };
        board.set(Place::Lease, Some(text.to_owned()));
        if standing.changed().await.is_err() {
            return;
        }
    }
}
