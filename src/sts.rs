//! The adapter for AWS STS: sends checked requests and reads identities out of the replies.
//!
//! ```text
//! request ──► memory ──► flights ──► limits ──► client ──► reply
//!             verified   one look-up  permits,   pooled     JSON or an
//!             lately?    per token    rations    HTTPS      outage
//! ```
//!
//! Strangers choose the requests, so every step is bounded; the bounds stand in `limits` and `memory`. Errors carry kinds, never
//! what the HTTP library says, because that may quote the URL, and the URL is a credential.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use jiff::Timestamp;
use rustls::RootCertStore;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::authn::{GetCallerIdentity, StsError, StsOutage};
use crate::identity::Identity;
use crate::token::presigned::PresignedRequest;

mod bounded;
mod client;
mod connector;
mod flights;
mod limits;
mod memory;
mod reply;

use client::Client;
use flights::{Flights, Seat};
use limits::Limits;
use memory::{Memory, Recall};

/// How long STS may take when we already know the answer of a while ago: waiting the whole deadline would make every login slow
/// during an outage that `--identity-outage-grace` is there to bridge.
const KNOWN_DEADLINE: Duration = Duration::from_millis(2500);

/// The least wait before the one retry of a throttled request; up to as much again is added. The retry must begin within 1 s.
const THROTTLE_PAUSE: Duration = Duration::from_millis(350);

/// How the adapter behaves. The defaults of [`StsOptions::new`] are those of the command line.
#[derive(Debug)]
pub struct StsOptions {
    /// How long a verified identity is served without asking again (`--identity-cache-ttl`); zero for never.
    pub identity_cache_ttl: Duration,
    /// Whether a verified identity is served until its token ends while STS is unavailable (`--identity-outage-grace`).
    pub outage_grace: bool,
    /// The time for one look-up in all: waiting for a permit, connecting, a retry, the body.
    pub deadline: Duration,
    /// Which proxy to use.
    pub proxy: Matcher,
    /// The certificate authorities that may vouch for STS; `None` for those of the system (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    pub roots: Option<RootCertStore>,
    /// The wall clock: what `X-Amz-Date` and the `Date` of STS are compared with.
    pub clock: fn() -> Timestamp,
}

impl StsOptions {
    /// The defaults, with the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self {
            identity_cache_ttl: Duration::from_secs(20),
            outage_grace: true,
            deadline: Duration::from_secs(10),
            proxy: Matcher::from_env(),
            roots: None,
            clock,
        }
    }
}

/// Why the adapter cannot be set up.
#[derive(Debug, Error)]
pub enum StsSetupError {
    /// The TLS library refuses its own defaults, or there is no certificate authority at all.
    #[error("TLS for STS cannot be set up: {0}")]
    Tls(Box<str>),
    /// The proxy speaks something else than HTTP.
    #[error("the proxy for STS must be an http:// or https:// URL")]
    ProxyScheme,
}

impl StsSetupError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Tls(_) => "sts_tls_setup",
            Self::ProxyScheme => "sts_proxy_scheme",
        }
    }
}

/// From where a review was answered without a request of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CacheHit {
    /// The token was verified within `--identity-cache-ttl`.
    Fresh,
    /// Another review of the same token was already asking.
    Joined,
    /// STS is unavailable, and the token was verified before.
    Grace,
    /// STS refused the very same token a few seconds ago.
    Refused,
}

impl CacheHit {
    /// A label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Joined => "joined",
            Self::Grace => "grace",
            Self::Refused => "refused",
        }
    }
}

/// What the adapter tells the metrics. Regions are labels of a closed set.
pub trait StsObserver: Send + Sync {
    /// STS answered with an HTTP status after so many seconds.
    fn response(&self, code: u16, region: &'static str, seconds: f64);
    /// There was no connection, or no answer in time.
    fn connection_failure(&self, region: &'static str);
    /// STS throttled a request.
    fn throttled(&self, region: &'static str);
    /// STS was not asked.
    fn cache_hit(&self, kind: CacheHit);
}

/// Asks STS, within limits, and remembers what it said.
pub struct Sts {
    client: Client,
    memory: Memory,
    flights: Flights,
    limits: Limits,
    observer: Arc<dyn StsObserver>,
    deadline: Duration,
    clock: fn() -> Timestamp,
    /// What STS's clock said, and when we heard it.
    heard: Mutex<Option<(Timestamp, Instant)>>,
}

/// Why there is no identity.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Refusal {
    /// Our own limits are reached: STS was not asked.
    NoTurn,
    /// STS wants to be asked later.
    Throttled,
    /// Anything else.
    Error(StsError),
}

impl From<StsError> for Refusal {
    fn from(error: StsError) -> Self {
        Self::Error(error)
    }
}

impl From<StsOutage> for Refusal {
    fn from(outage: StsOutage) -> Self {
        Self::Error(StsError::Unavailable(outage))
    }
}

impl Sts {
    /// Sets the adapter up; nothing is connected yet.
    ///
    /// # Errors
    /// When TLS or the proxy cannot be set up.
    pub fn new(options: StsOptions, observer: Arc<dyn StsObserver>) -> Result<Self, StsSetupError> {
        let connector = connector::build(options.proxy, options.roots)?;
        Ok(Self {
            client: Client::new(connector),
            memory: Memory::new(options.identity_cache_ttl, options.outage_grace),
            flights: Flights::default(),
            limits: Limits::default(),
            observer,
            deadline: options.deadline,
            clock: options.clock,
            heard: Mutex::default(),
        })
    }

    /// How many seconds our clock is ahead of STS's (negative: behind), by its last answer.
    pub fn clock_skew_seconds(&self) -> Option<i64> {
        let last = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (date, at) = last?;
        // By the monotonic clock, so that a step of ours shows although STS is not asked any more.
        let elapsed = i64::try_from(at.elapsed().as_secs()).ok()?;
        Some((self.clock)().as_second() - date.as_second() - elapsed)
    }

    /// Asks STS, learns from the answer, and falls back on what was known if there is none.
    async fn look_up(&self, request: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
        let now = Instant::now();
        let known = self.memory.verified_before(request.digest(), now);
        let verified_lately = self.memory.key_verified_lately(request.access_key_id(), now);
        let deadline = if known.is_some() {
            self.deadline.min(KNOWN_DEADLINE)
        } else {
            self.deadline
        };
        let answer = timeout(deadline, self.ask_within_limits(request, verified_lately)).await;
        let refusal = match answer.unwrap_or_else(|_| Err(StsOutage::Timeout.into())) {
            Ok(identity) => return Ok(identity),
            Err(refusal) => refusal,
        };
        if let Refusal::Error(StsError::Unavailable(StsOutage::Connect | StsOutage::Timeout)) = refusal {
            self.observer.connection_failure(request.endpoint().region_label());
        }
        match (refusal, known) {
            // Without a turn too: during an outage, others who wait for their deadline hold all of them.
            (Refusal::NoTurn | Refusal::Error(StsError::Unavailable(_)), Some(identity)) => {
                self.observer.cache_hit(CacheHit::Grace);
                Ok(identity)
            }
            (Refusal::NoTurn | Refusal::Throttled, _) => Err(StsError::Busy { verified_lately }),
            (Refusal::Error(error), _) => Err(error),
        }
    }

    async fn ask_within_limits(
        &self,
        request: &PresignedRequest,
        verified_lately: bool,
    ) -> Result<Arc<Identity>, Refusal> {
        let permit = self.limits.admit(verified_lately, request.endpoint().region()).await;
        let _permit = permit.ok_or(Refusal::NoTurn)?;
        match self.ask(request).await {
            Err(Refusal::Throttled) => {
                sleep(throttle_pause(request.digest())).await;
                self.ask(request).await
            }
            answer => answer,
        }
    }

    /// One request and its reply.
    async fn ask(&self, request: &PresignedRequest) -> Result<Arc<Identity>, Refusal> {
        let region = request.endpoint().region_label();
        let start = Instant::now();
        let reply = self.client.get(request).await?;
        let now = Instant::now();
        self.observer
            .response(reply.status, region, (now - start).as_secs_f64());
        if let Some(date) = reply.date {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, now));
        }
        match reply::read(reply.status, &reply.body, request.access_key_id()) {
            Ok(identity) => {
                let identity = Arc::new(identity);
                let left = request.ends().duration_since((self.clock)());
                let ends = now + Duration::try_from(left).unwrap_or_default();
                self.memory
                    .remember(request.digest(), &identity, reply.body.len(), now, ends);
                Ok(identity)
            }
            Err(refusal) => {
                match &refusal {
                    Refusal::Throttled => self.observer.throttled(region),
                    Refusal::NoTurn | Refusal::Error(StsError::Unavailable(_) | StsError::Busy { .. }) => {}
                    Refusal::Error(definite) => self.memory.refuse(request.digest(), definite, now),
                }
                Err(refusal)
            }
        }
    }
}

impl GetCallerIdentity for Sts {
    async fn get_caller_identity(&self, request: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
        loop {
            match self.memory.recall(request.digest(), Instant::now()) {
                Recall::Verified(identity) => {
                    self.observer.cache_hit(CacheHit::Fresh);
                    return Ok(identity);
                }
                Recall::Refused(error) => {
                    self.observer.cache_hit(CacheHit::Refused);
                    return Err(error);
                }
                Recall::Unknown => {}
            }
            match self.flights.board(request.digest()) {
                Seat::Pilot(flight) => {
                    let outcome = self.look_up(request).await;
                    flight.land(outcome.clone());
                    return outcome;
                }
                Seat::Passenger(flight) => {
                    // None: the pilot's review was cancelled on the way. Then the next one flies.
                    if let Some(outcome) = flight.outcome().await {
                        self.observer.cache_hit(CacheHit::Joined);
                        return outcome;
                    }
                }
            }
        }
    }

    fn admitted(&self, request: &PresignedRequest) {
        self.memory.admit(request.access_key_id(), Instant::now());
        self.client.trust(request.endpoint().host());
    }
}

impl std::fmt::Debug for Sts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sts")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Spreads retries over twice the least pause by a byte of the digest, which is as good as a random number here.
fn throttle_pause(digest: &[u8; 32]) -> Duration {
    let [byte, ..] = digest;
    THROTTLE_PAUSE + THROTTLE_PAUSE * u32::from(*byte) / 256
}
