//! What authentication needs from outside, and in which ways it may fail to get it.

use std::sync::Arc;

use thiserror::Error;

use crate::identity::{Identity, IdentityError};
use crate::token::presigned::PresignedRequest;

/// Asks AWS who signed a request.
pub trait GetCallerIdentity: Send + Sync {
    /// Sends the request and reads the identity out of the reply.
    fn get_caller_identity(
        &self,
        request: &PresignedRequest,
    ) -> impl Future<Output = Result<Arc<Identity>, StsError>> + Send;

    /// Hears that a mapping admitted who signed this request. Everybody has an AWS identity: only this tells those who
    /// belong here from strangers.
    fn admitted(&self, request: &PresignedRequest);
}

/// Finds the private DNS name of an EC2 instance.
pub trait PrivateDnsNames: Send + Sync {
    /// The name that EC2 gave to the instance, in the form kubelets register with.
    fn private_dns_name(&self, instance_id: &str) -> impl Future<Output = Result<String, DnsNameError>> + Send;
}

/// Why STS did not vouch for a caller.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StsError {
    /// STS said no for good: a bad signature, an unknown key, an expired request.
    #[error("STS refused the token: {code}")]
    Refused {
        /// The error code of STS, letters and dots only.
        code: Box<str>,
        /// The HTTP status.
        status: u16,
    },
    /// Our own limits are reached, or STS throttles.
    #[error("busy: too many requests to STS, try again in a few seconds")]
    Busy {
        /// Whether this access key was verified in the last minutes: only such a caller is told to come back.
        verified_lately: bool,
    },
    /// STS cannot be reached or does not answer as STS does.
    #[error("STS is not available: {0}")]
    Unavailable(StsOutage),
    /// STS vouches for a principal that cannot be mapped.
    #[error(transparent)]
    Identity(IdentityError),
}

/// In which way STS is not available.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum StsOutage {
    /// No connection, or it broke.
    #[error("no connection")]
    Connect,
    /// No whole answer within the deadline.
    #[error("no answer in time")]
    Timeout,
    /// A 5xx status.
    #[error("HTTP status {0}")]
    Server(u16),
    /// An answer that is not one of STS's.
    #[error("not a reply of STS")]
    Malformed,
    /// An answer larger than any of STS's.
    #[error("reply too large")]
    Oversize,
    /// A redirect, which is never followed.
    #[error("redirected")]
    Redirect,
}

impl StsError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "sts_refused",
            Self::Busy { .. } => "busy",
            Self::Unavailable(outage) => match outage {
                StsOutage::Connect => "sts_connect",
                StsOutage::Timeout => "sts_timeout",
                StsOutage::Server(_) => "sts_server_error",
                StsOutage::Malformed => "sts_malformed_reply",
                StsOutage::Oversize => "sts_oversize_reply",
                StsOutage::Redirect => "sts_redirect",
            },
            Self::Identity(error) => error.reason(),
        }
    }
}

/// Why there is no private DNS name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DnsNameError {
    /// The session name is not an instance id, or EC2 knows no such instance.
    #[error("the session name is not the id of an EC2 instance")]
    NoInstance,
    /// EC2 cannot be asked.
    #[error("{0}")]
    Unavailable(Box<str>),
}
