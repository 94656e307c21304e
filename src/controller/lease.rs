//! The lease on the API server: what [`Election`] decides, done.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::call::{FIELD_MANAGER, Refusal, call};
use super::election::{Action, Election, NotElected, Record, Standing, Timing};

/// The end of the process does not wait longer for an API server.
const RELEASE: Duration = Duration::from_secs(2);

/// Where the lease is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeasePlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Keeps the lease, or waits for it.
pub(super) struct Keeper {
    api: Api<Lease>,
    place: LeasePlace,
    me: String,
    timing: Timing,
    election: Election,
    /// The version last seen, to replace exactly it.
    last: Option<Lease>,
    standing: watch::Sender<Standing>,
    now: fn() -> Timestamp,
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        place: LeasePlace,
        me: String,
        standing: watch::Sender<Standing>,
        now: fn() -> Timestamp,
    ) -> Self {
        let timing = Timing::default();
        Self {
            api: Api::namespaced(client, &place.namespace),
            place,
            election: Election::new(me.clone(), timing),
            me,
            timing,
            last: None,
            standing,
            now,
        }
    }

    /// Takes part in the election until `stop`; then gives the lease back, if it is ours.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.take_part()).await;
        // It ends by itself if that does not work out.
        let _ = timeout(RELEASE, self.release()).await;
    }

    async fn take_part(&mut self) {
        loop {
            self.publish();
            match self.election.next(Instant::now()) {
                Action::Wait(until) => sleep_until(until).await,
                Action::Read => self.read().await,
                Action::Write => self.write().await,
            }
        }
    }

    async fn read(&mut self) {
        let found = call(self.api.get_opt(&self.place.name)).await;
        let now = Instant::now();
        match found {
            Ok(lease) => {
                self.election.on_read(lease.as_ref().map(record), now);
                self.last = lease;
            }
            Err(refusal) => self.refused(&refusal),
        }
    }

    async fn write(&mut self) {
        let lease = self.wanted(Some(&self.me));
        let asked = Instant::now();
        let answer = match lease.metadata.resource_version {
            None => call(self.api.create(&post(), &lease)).await,
            Some(_) => call(self.api.replace(&self.place.name, &post(), &lease)).await,
        };
        match answer {
            Ok(lease) => {
                self.election.on_written(record(&lease), asked);
                self.last = Some(lease);
            }
            // Deleted since we read it; without a version we would have created it, and then the namespace is missing.
            Err(Refusal::NotFound(_)) if lease.metadata.resource_version.is_some() => self.election.on_conflict(),
            Err(refusal) => self.refused(&refusal),
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let now = Instant::now();
        match refusal {
            Refusal::Conflict(_) => self.election.on_conflict(),
            Refusal::Forbidden(_) => self.election.on_refused(NotElected::NoLeaseRights, now),
            Refusal::NotFound(_) | Refusal::Invalid(_) => self.election.on_refused(NotElected::NoLeaseApi, now),
            Refusal::Failed(_) => {
                tracing::debug!("the lease {}: {refusal}", self.name());
                self.election.on_failed(now);
            }
        }
    }

    /// The lease as it is to be, held by `holder`.
    fn wanted(&self, holder: Option<&str>) -> Lease {
        let mut lease = self.last.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.place.name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let old = lease.spec.take().unwrap_or_default();
        let now = MicroTime((self.now)());
        let is_new = holder.is_some() && old.holder_identity.as_deref() != holder;
        let transitions = old.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            acquire_time: if is_new { Some(now.clone()) } else { old.acquire_time },
            holder_identity: Some(holder.unwrap_or_default().to_owned()),
            lease_duration_seconds: Some(i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX)),
            lease_transitions: Some(transitions.saturating_add(i32::from(is_new && self.last.is_some()))),
            renew_time: Some(now),
            preferred_holder: old.preferred_holder,
            strategy: old.strategy,
        });
        lease
    }

    async fn release(&mut self) {
        let is_ours = matches!(self.election.standing(Instant::now()), Standing::Leader { .. });
        self.standing.send_replace(Standing::Unknown);
        if !is_ours {
            return;
        }
        let mut answer = self.give_back().await;
        if matches!(answer, Err(Refusal::Conflict(_))) {
            // A renewal was under way when we were stopped.
            self.read().await;
            if self.election.holder() == Some(&self.me) {
                answer = self.give_back().await;
            }
        }
        match answer {
            Ok(_) => tracing::info!("gave the lease {} back", self.name()),
            Err(refusal) => tracing::debug!("the lease {} could not be given back: {refusal}", self.name()),
        }
    }

    async fn give_back(&self) -> Result<Lease, Refusal> {
        let lease = self.wanted(None);
        call(self.api.replace(&self.place.name, &post(), &lease)).await
    }

    fn publish(&self) {
        let standing = self.election.standing(Instant::now());
        let before = self.standing.send_replace(standing);
        if before.as_str() == standing.as_str() {
            return;
        }
        let name = self.name();
        match standing {
            Standing::Leader { .. } => tracing::info!("elected: this replica writes status and Events (lease {name})"),
            Standing::Follower => {
                let holder = self.election.holder().unwrap_or_default();
                tracing::info!(holder, "another replica writes status and Events (lease {name})");
            }
            Standing::Unknown => {}
            Standing::Everyone(NotElected::NoLeaseApi) => tracing::warn!(
                "the lease {name} can be neither read nor created, as its namespace or API is missing: every replica writes \
                 status and Events"
            ),
            Standing::Everyone(_) => tracing::warn!(
                "no right to get, create and update the lease {name}: every replica writes status and Events. Logins do not \
                 depend on it"
            ),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.place.namespace, self.place.name)
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        lease: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
