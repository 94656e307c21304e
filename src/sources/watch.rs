//! List and watch, for ever: what the custom resources and `ConfigMap`s have in common.
//!
//! The raw events of kube's `watcher` are used, never filtered ones: a filter by generation swallows deletions. A
//! watch that ends is resumed by it; after any error we begin anew with a list, because the versions that a restored
//! or restarted API server counts need not be the ones we last heard of.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::Connector;
use super::outbox::{ALIVE_EVERY, Closed, Outbox};
use crate::mapping::index::{SourceFailure, SourceUpdate};

/// The API server ends a watch after this time and we open the next one. It bounds how long a connection that died
/// silently goes unnoticed; bookmarks make the new watch cheap.
pub(super) const WATCH: Duration = Duration::from_mins(2);

/// A page of a list that takes longer than the API server's own deadline for requests will not come.
const PAGE: Duration = Duration::from_secs(65);

/// Few enough objects for a page to be small (about 1 MiB), enough for 100 000 to take 200 requests.
const PAGE_SIZE: u32 = 500;

/// Every delay is stretched by up to its own length, so that replicas do not ask in step: at most five seconds pass
/// between the return of the API server and our next request.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_millis(2500);

/// A watch that held this long was a good one; the next failure begins with short delays again. A server that answers
/// lists but refuses watches must not be asked for everything ten times a second.
const GOOD_WATCH: Duration = Duration::from_secs(10);

/// What a source makes of the events of its watch.
pub(super) trait Feed {
    /// What is watched.
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static;

    /// Where it is watched.
    fn api(&self, client: Client) -> Api<Self::Object>;

    /// The one object that is watched, `None` for all.
    fn name(&self) -> Option<&str>;

    /// What the index must know of the event.
    fn take(&mut self, event: Event<Self::Object>) -> Option<SourceUpdate>;

    /// Whether a 404 means that nobody can have made such an object yet. It does not for the API's own kinds: there
    /// it comes from something that is no API server.
    fn may_be_undefined(&self) -> bool;
}

/// Follows the source until nobody listens any more.
pub(super) async fn follow(mut feed: impl Feed, connector: &Connector, mut outbox: Outbox) -> Closed {
    let mut delays = new_delays();
    loop {
        let (trouble, good_for) = match connector.client().await {
            Ok(client) => match watch_once(&mut feed, client, &mut outbox).await {
                Ok(end) => end,
                Err(closed) => return closed,
            },
            Err(error) => (Trouble::Failed(error.failure(), error.to_string()), Duration::ZERO),
        };
        if trouble.may_be_stale_credentials() {
            connector.failed().await;
        }
        if good_for >= GOOD_WATCH {
            delays = new_delays();
        }
        let reported = match trouble {
            Trouble::Expired => Ok(()),
            Trouble::NotFound if feed.may_be_undefined() => outbox.not_found().await,
            Trouble::NotFound => outbox.failed(SourceFailure::Status(404), None).await,
            Trouble::Failed(failure, detail) => outbox.failed(failure, Some(&detail)).await,
        };
        if let Err(closed) = reported {
            return closed;
        }
        sleep(delays.next().unwrap_or(LAST_DELAY)).await;
    }
}

/// Lists and watches until something goes wrong; tells what, and how long all was well before.
async fn watch_once(feed: &mut impl Feed, client: Client, outbox: &mut Outbox) -> Result<(Trouble, Duration), Closed> {
    let mut config = watcher::Config::default().page_size(PAGE_SIZE);
    config.timeout = u32::try_from(WATCH.as_secs()).ok();
    config.field_selector = feed.name().map(|name| format!("metadata.name={name}"));
    let mut events = pin!(watcher(feed.api(client), config));
    let mut listed: Option<Instant> = None;
    loop {
        let patience = if listed.is_some() { ALIVE_EVERY } else { PAGE };
        match timeout(patience, events.next()).await {
            Ok(Some(Ok(event))) => {
                if matches!(event, Event::InitDone) {
                    listed = Some(Instant::now());
                }
                if let Some(update) = feed.take(event) {
                    outbox.news(update).await?;
                }
            }
            Err(_) if listed.is_some() => outbox.alive().await?,
            Err(_) => return Ok((Trouble::unreachable("the list did not come in time"), Duration::ZERO)),
            Ok(Some(Err(error))) => return Ok((error.into(), listed.map_or(Duration::ZERO, |at| at.elapsed()))),
            Ok(None) => return Ok((Trouble::unreachable("the watch ended"), Duration::ZERO)),
        }
    }
}

fn new_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LAST_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Why a watch ended.
#[derive(Debug)]
enum Trouble {
    /// Our version is too old to go on from (410): an ordinary thing, answered with a new list.
    Expired,
    /// 404.
    NotFound,
    /// Anything else, with the detail for the log.
    Failed(SourceFailure, String),
}

impl Trouble {
    /// Whether other credentials, or trust in another authority, could help.
    fn may_be_stale_credentials(&self) -> bool {
        matches!(
            self,
            Self::Failed(
                SourceFailure::Unreachable | SourceFailure::Status(401) | SourceFailure::Forbidden,
                _
            )
        )
    }

    fn unreachable(detail: impl Into<String>) -> Self {
        Self::Failed(SourceFailure::Unreachable, detail.into())
    }

    fn from_status(code: u16, detail: String) -> Self {
        match code {
            410 => Self::Expired,
            404 => Self::NotFound,
            403 => Self::Failed(SourceFailure::Forbidden, detail),
            // JSON that merely looks like a Status has no code: that was no API server.
            0 => Self::unreachable(detail),
            code => Self::Failed(SourceFailure::Status(code), detail),
        }
    }
}

impl From<watcher::Error> for Trouble {
    fn from(error: watcher::Error) -> Self {
        use watcher::Error;
        match error {
            Error::InitialListFailed(kube::Error::Api(status))
            | Error::WatchStartFailed(kube::Error::Api(status))
            | Error::WatchFailed(kube::Error::Api(status))
            | Error::WatchError(status) => Self::from_status(status.code, status.message),
            Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
                Self::unreachable(chain(&error))
            }
            Error::NoResourceVersion => Self::unreachable("the answer has no resourceVersion"),
        }
    }
}

/// The whole story: the outermost error of a client mostly says only that it failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_at_most_five_seconds() {
        let delays: Vec<Duration> = new_delays().take(12).collect();
        assert!(
            delays
                .first()
                .is_some_and(|first| (FIRST_DELAY..2 * FIRST_DELAY).contains(first)),
            "{delays:?}"
        );
        assert!(delays.iter().all(|delay| *delay <= 2 * LAST_DELAY), "{delays:?}");
        assert!(delays.last().is_some_and(|last| *last >= LAST_DELAY), "{delays:?}");
        assert_ne!(
            delays,
            new_delays().take(12).collect::<Vec<_>>(),
            "two replicas do not ask in step"
        );
    }
}
