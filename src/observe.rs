//! Ports through which the surfaces report what happened. Logs and metrics implement them; the surfaces know neither.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::arn::AccountId;
use crate::authn::Decision;
use crate::identity::Identity;

/// How one request for a review ended.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The token was looked at.
    Decided(&'a Decision),
    /// None of the audiences that the caller asked for is ours.
    WrongAudience,
    /// Too many reviews are under way here.
    Overloaded,
    /// No decision within our own deadline.
    TimedOut,
    /// Not a request for a review; the label says in which way.
    Malformed(&'static str),
}

impl Outcome<'_> {
    /// What was decided, in a word: a label for logs and metrics.
    pub fn decision(&self) -> &'static str {
        match self {
            Self::Decided(Decision::Granted(_)) => "granted",
            Self::Decided(Decision::NotOurs) => "not_ours",
            Self::Decided(Decision::Denied(..)) | Self::WrongAudience => "denied",
            Self::Decided(Decision::Busy { .. }) | Self::Overloaded => "busy",
            Self::Decided(Decision::Unavailable(..)) | Self::TimedOut => "unavailable",
            Self::Decided(Decision::NotReady(_)) => "not_ready",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Why: a label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decided(Decision::Granted(_)) => "mapped",
            Self::Decided(Decision::NotOurs) => "not_ours",
            Self::Decided(Decision::Denied(denial, _)) => denial.reason(),
            Self::Decided(Decision::Busy { .. }) => "busy",
            Self::Decided(Decision::Unavailable(outage, _)) => outage.reason(),
            Self::Decided(Decision::NotReady(missing)) => missing.reason(),
            Self::WrongAudience => "audience",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "review_timeout",
            Self::Malformed(reason) => reason,
        }
    }

    /// The caller, as far as it is known.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Decided(Decision::Granted(grant)) => Some(&grant.identity),
            Self::Decided(Decision::Denied(_, identity) | Decision::Unavailable(_, identity)) => identity.as_deref(),
            _ => None,
        }
    }
}

/// The `uid` of a user, the same as the Go authenticator's: it must not change for anybody in a migration.
#[derive(Clone, Copy, Debug)]
pub enum Uid<'a> {
    /// By account and IAM unique id.
    Principal(&'a Identity),
    /// By username, in accounts whose identities are kept out of everything.
    Administrative(&'a str),
}

impl<'a> Uid<'a> {
    /// The uid of a caller that became `username`.
    pub fn new(identity: &'a Identity, username: &'a str, scrubbed: &[AccountId]) -> Self {
        if scrubbed.contains(&identity.account()) { Self::Administrative(username) } else { Self::Principal(identity) }
    }
}

impl fmt::Display for Uid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(identity) => {
                write!(f, "aws-iam-authenticator:{}:{}", identity.account(), identity.user_id())
            }
            Self::Administrative(username) => write!(f, "aws-iam-authenticator:administrative:{username}"),
        }
    }
}

/// Told about every review.
pub trait ReviewObserver: Send + Sync + 'static {
    /// A request was answered. `message` is what the caller was told, empty for a grant.
    fn reviewed(&self, outcome: &Outcome<'_>, message: &str, took: Duration);

    /// By how many seconds our clock is ahead of STS's, when that is known.
    fn clock_skew(&self) -> Option<i64>;
}

/// Told about connections.
pub trait ConnectionObserver: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self);
    /// An accepted connection ended.
    fn closed(&self);
    /// The handshake failed or took too long.
    fn handshake_failed(&self);
    /// The system would not give us a connection.
    fn accept_failed(&self);
}

/// Told about the serving certificate.
pub trait CertificateObserver: Send + Sync + 'static {
    /// This is served from now on. `authority_ends` is given for a certificate of our own authority.
    fn certificate_served(&self, ends: Timestamp, authority_ends: Option<Timestamp>);
    /// Whether the files hold a pair that cannot be served, so that an older one still is.
    fn certificate_faulty(&self, faulty: bool);
}

/// The text that Prometheus scrapes.
pub trait Exposition: Send + Sync + 'static {
    /// Everything as it is now.
    fn exposition(&self) -> String;
}

/// The media type of [`Exposition::exposition`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
