//! What is reported about a review.

use std::fmt;

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
        if scrubbed.contains(&identity.account()) {
            Self::Administrative(username)
        } else {
            Self::Principal(identity)
        }
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
