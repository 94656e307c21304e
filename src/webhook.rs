//! The webhook that the API server asks: `POST /authenticate`, and beside it `/healthz` and `/metrics`.
//!
//! [`service`] is a function of its state; [`tls`] and [`certificate`] say how it is reached. It holds no Kubernetes client: an API
//! server that is away must not stop logins.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use hyper::service::{Service, service_fn};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::arn::AccountId;
use crate::audit::{Audit, Outcome};
use crate::authn::{Context, Decision, GetCallerIdentity, PrivateDnsNames, authenticate};
use crate::live::LiveTable;
use crate::mapping::policy::MappingPolicy;
use crate::metrics::EXPOSITION_TYPE;
use crate::token::{TOKEN_PREFIX, TokenPolicy};
use crate::token_review::TokenReview;
use body::BodyError;
use clients::{Client, ClientError};
use reply::Replies;

mod body;
pub mod certificate;
pub mod clients;
mod reply;
pub mod tls;

/// What a user of the webhook chooses.
#[derive(Clone, Debug, Default)]
pub struct WebhookOptions {
    /// The audiences that tokens are good for; none leaves it to the API server.
    pub audiences: Vec<String>,
    /// Answers with the status codes of the Go authenticator.
    pub legacy_status_codes: bool,
    /// Whether all but probes needs a certificate of the client (`--client-ca-file`).
    pub client_certificates: bool,
    /// Accounts whose identities appear neither in replies nor in logs.
    pub scrubbed_accounts: Vec<AccountId>,
}

/// How long sources may take to come up.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// When the server started.
    pub started: Instant,
    /// `--source-sync-timeout`.
    pub timeout: Duration,
}

impl Settle {
    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.timeout
    }
}

/// The bounds of one webhook.
#[derive(Clone, Copy, Debug)]
pub struct ReviewLimits {
    /// The largest body: a token of 16 KiB, or one four times as long that is not ours and must reach another authenticator,
    /// and the envelope.
    pub body_bytes: usize,
    /// How many bodies are read at a time. With [`Self::body_bytes`] it bounds what those that arrive can fill: 4 MiB.
    pub bodies: usize,
    /// How many bytes of bodies are held while their reviews wait for STS. Bodies of the usual 3 KiB leave room for all
    /// [`Self::reviews`]; the largest ones do not.
    pub held_bytes: usize,
    /// How long a body may take to arrive. The API server sends its 2 KiB at once, over the loopback.
    pub body_deadline: Duration,
    /// How many reviews are under way at a time. They wait for STS, which has lower limits of its own, so more than these are an attack.
    pub reviews: usize,
    /// How long a review may take: STS has 10 s and EC2 comes after it, but the API server goes away after 30 s and would not hear us.
    pub review_deadline: Duration,
}

impl Default for ReviewLimits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            bodies: 64,
            held_bytes: 4 * 1024 * 1024,
            body_deadline: Duration::from_secs(5),
            reviews: 1024,
            review_deadline: Duration::from_secs(20),
        }
    }
}

/// All that reviews depend on.
pub struct WebhookState<S, D> {
    /// The mappings.
    pub table: LiveTable,
    /// Who says who a caller is.
    pub sts: S,
    /// Who says what an EC2 instance is called.
    pub dns_names: D,
    /// What a token must look like; empty while no cluster id is known.
    pub tokens: Arc<ArcSwapOption<TokenPolicy>>,
    /// What mappings may grant.
    pub mappings: Arc<MappingPolicy>,
    /// What the user chose.
    pub options: WebhookOptions,
    /// How long to wait for sources.
    pub settle: Settle,
    /// What bounds a review.
    pub limits: ReviewLimits,
    /// Who is told, and counts.
    pub audit: Arc<Audit>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Answers what comes to the HTTPS port: `/authenticate`, and beside it `/healthz` and `/metrics`.
///
/// Reviews do not go through the router: what strangers send is refused in a few microseconds, and the router would be
/// one of them.
pub fn service<S, D, B>(
    state: WebhookState<S, D>,
) -> impl Service<Request<B>, Response = Response, Error = Infallible, Future: Send + 'static> + Clone + Send
where
    S: GetCallerIdentity + 'static,
    D: PrivateDnsNames + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError> + Send> + Unpin + Send + 'static,
{
    let webhook = Webhook {
        bodies: Semaphore::new(state.limits.bodies),
        held_bytes: Semaphore::new(state.limits.held_bytes),
        reviews: Semaphore::new(state.limits.reviews),
        replies: Replies {
            legacy: state.options.legacy_status_codes,
        },
        state,
    };
    let webhook = Arc::new(webhook);
    let others = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(metrics::<S, D>))
        .with_state(Arc::clone(&webhook));
    service_fn(move |request: Request<B>| {
        let receiver = match request.uri().path() {
            "/authenticate" => Receiver::Reviews(Arc::clone(&webhook)),
            path => match webhook.admit(path, &request) {
                Ok(()) => Receiver::Others(others.clone()),
                Err(error) => Receiver::Nobody(error),
            },
        };
        async {
            match receiver {
                Receiver::Reviews(webhook) => Ok(review(&webhook, request).await),
                Receiver::Others(others) => others.oneshot(request).await,
                Receiver::Nobody(error) => Ok(reply::forbidden(&error.to_string())),
            }
        }
    })
}

/// Who answers a request.
enum Receiver<S, D> {
    Reviews(Arc<Webhook<S, D>>),
    Others(Router),
    Nobody(ClientError),
}

struct Webhook<S, D> {
    state: WebhookState<S, D>,
    bodies: Semaphore,
    held_bytes: Semaphore,
    reviews: Semaphore,
    replies: Replies,
}

async fn metrics<S, D>(State(webhook): State<Arc<Webhook<S, D>>>) -> Response {
    let mut response = Response::new(Body::from(webhook.state.audit.metrics().exposition()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(EXPOSITION_TYPE));
    response
}

async fn review<S, D, B>(webhook: &Webhook<S, D>, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
    S: GetCallerIdentity,
    D: PrivateDnsNames,
{
    let started = Instant::now();
    if let Err(error) = webhook.admit("/authenticate", &request) {
        return webhook.stranger(error, started);
    }
    let body = match webhook.read(request).await {
        Ok(body) => body,
        Err(error) => return webhook.malformed(error, started),
    };
    match TokenReview::parse(&body) {
        Ok(review) => webhook.answer(&review, body.len(), started).await,
        Err(error) => webhook.malformed(BodyError::Review(error), started),
    }
}

impl<S, D> Webhook<S, D> {
    /// Whether this client may ask for this. Probes are for everybody.
    fn admit<B>(&self, path: &str, request: &Request<B>) -> Result<(), ClientError> {
        if !self.state.options.client_certificates || path == "/healthz" {
            return Ok(());
        }
        let client = request.extensions().get::<Arc<Client>>();
        client.map_or(Err(ClientError::Missing), |client| client.check((self.state.now)()))
    }
}

impl<S: GetCallerIdentity, D: PrivateDnsNames> Webhook<S, D> {
    fn stranger(&self, error: ClientError, started: Instant) -> Response {
        let message = error.to_string();
        self.state
            .audit
            .reviewed(&Outcome::Malformed(error.reason()), &message, started.elapsed());
        reply::forbidden(&message)
    }

    async fn read<B: HttpBody<Data = Bytes> + Unpin>(&self, request: Request<B>) -> Result<Bytes, BodyError> {
        if request.method() != Method::POST {
            return Err(BodyError::Method);
        }
        let limits = &self.state.limits;
        let read = async {
            // Closed never, so an error cannot happen; without a place there is no reading.
            let _place = self.bodies.acquire().await.map_err(|_| BodyError::Slow)?;
            body::collect(request.into_body(), limits.body_bytes).await
        };
        tokio::time::timeout(limits.body_deadline, read)
            .await
            .unwrap_or(Err(BodyError::Slow))
    }

    async fn answer(&self, review: &TokenReview<'_>, bytes: usize, started: Instant) -> Response {
        let audiences = self.audiences(review);
        // A token that is not ours is told apart first: the API server may remember that, whatever the audience.
        if audiences.is_none() && review.token.starts_with(TOKEN_PREFIX) {
            return self.finish(review, &Outcome::WrongAudience, &[], started);
        }
        // The review borrows its body, so the body stays until STS has answered.
        let held = self
            .held_bytes
            .try_acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX));
        let (Ok(_place), Ok(_held)) = (self.reviews.try_acquire(), held) else {
            return self.finish(review, &Outcome::Overloaded, &[], started);
        };
        let decision = self.decide(&review.token);
        let Ok(decision) = tokio::time::timeout(self.state.limits.review_deadline, decision).await else {
            return self.finish(review, &Outcome::TimedOut, &[], started);
        };
        self.finish(
            review,
            &Outcome::Decided(&decision),
            &audiences.unwrap_or_default(),
            started,
        )
    }

    /// The audiences to answer with; `None` when the review asks for none of ours.
    fn audiences<'r>(&self, review: &'r TokenReview<'_>) -> Option<Vec<&'r str>> {
        let ours = &self.state.options.audiences;
        if ours.is_empty() {
            return Some(Vec::new());
        }
        let both = review
            .audiences
            .iter()
            .map(AsRef::as_ref)
            .filter(|asked| ours.iter().any(|own| own == asked));
        let both: Vec<&str> = both.collect();
        (!both.is_empty()).then_some(both)
    }

    async fn decide(&self, token: &str) -> Decision {
        let state = &self.state;
        // Owned: the guards of arc-swap are few and must not be held while STS is asked.
        let tokens = state.tokens.load_full();
        let table = || Arc::clone(&state.table.load());
        let context = Context {
            tokens: tokens.as_deref(),
            mappings: &state.mappings,
            settled: state.settle.is_over(),
            now: (state.now)(),
        };
        authenticate(token, table, &context, &state.sts, &state.dns_names).await
    }

    fn finish(
        &self,
        review: &TokenReview<'_>,
        outcome: &Outcome<'_>,
        audiences: &[&str],
        started: Instant,
    ) -> Response {
        let audit = &*self.state.audit;
        let message = reply::message_of(outcome, || audit.clock_skew());
        audit.reviewed(outcome, &message, started.elapsed());
        let scrubbed = &self.state.options.scrubbed_accounts;
        self.replies
            .reply(review.version, outcome, &message, audiences, scrubbed)
    }

    fn malformed(&self, error: BodyError, started: Instant) -> Response {
        let message = error.to_string();
        self.state
            .audit
            .reviewed(&Outcome::Malformed(error.reason()), &message, started.elapsed());
        reply::plain(error.status(), message, (error == BodyError::Method).then_some("POST"))
    }
}

#[cfg(test)]
mod tests;
