//! What can be decided about a token, and why.

use std::sync::Arc;

use thiserror::Error;

use super::ports::{DnsNameError, StsError};
use crate::identity::Identity;
use crate::mapping::{MappingError, SourceId};
use crate::token::TokenError;

/// What is decided about one token.
#[derive(Debug)]
pub enum Decision {
    /// A mapped caller.
    Granted(Grant),
    /// Not one of our tokens: another authenticator may know it.
    NotOurs,
    /// Refused for good: asking again with the same token cannot help until a mapping changes.
    Denied(Denial, Option<Arc<Identity>>),
    /// Too much to do. `verified_lately` tells whether the caller may be asked to come back.
    Busy {
        /// Whether this access key was verified in the last minutes.
        verified_lately: bool,
    },
    /// STS or EC2 cannot be asked.
    Unavailable(Outage, Option<Arc<Identity>>),
    /// Something that the answer depends on was not read yet, and the server has only just started.
    NotReady(Missing),
}

/// A caller and the user it becomes.
#[derive(Debug)]
pub struct Grant {
    /// Who STS says it is.
    pub identity: Arc<Identity>,
    /// The Kubernetes username.
    pub username: String,
    /// The Kubernetes groups.
    pub groups: Vec<String>,
    /// The source of the mapping.
    pub source: SourceId,
    /// A source that comes first but was never read, so that a local file had to do.
    pub unsynced_before: Option<SourceId>,
}

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Denial {
    /// The token is not a presigned `GetCallerIdentity` request that we would send.
    #[error(transparent)]
    Token(TokenError),
    /// STS said no.
    #[error(transparent)]
    Sts(StsError),
    /// No mapping is for this caller.
    #[error("no mapping for this AWS identity")]
    NotMapped,
    /// A mapping exists but is pinned to another IAM unique id.
    #[error("the mapping is pinned to another IAM unique id (the principal may have been deleted and created anew)")]
    PinnedToAnother,
    /// What the mapping renders to may not be granted.
    #[error("the mapping cannot be used for this caller: {0}")]
    Rendered(RenderError),
    /// The mapping wants the private DNS name of an EC2 instance, and the session is not one's.
    #[error(transparent)]
    DnsName(DnsNameError),
    /// Something needed was never read since the start.
    #[error("not served yet: {0}")]
    NeverSynced(Missing),
}

impl Denial {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::Sts(error) => error.reason(),
            Self::NotMapped => "not_mapped",
            Self::PinnedToAnother => "pinned_to_another",
            Self::Rendered(_) => "rendered",
            Self::DnsName(_) => "no_instance",
            Self::NeverSynced(missing) => missing.reason(),
        }
    }
}

/// Why a rendered user is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RenderError {
    /// The username is empty.
    #[error("its username is empty")]
    Empty,
    /// The username or a group contains a control character.
    #[error("its username or a group has a control character")]
    ControlCharacter,
    /// A group with a placeholder became a group of Kubernetes itself.
    #[error("a group with a placeholder may not become a system: group")]
    SystemGroup,
    /// The source may not grant it.
    #[error(transparent)]
    Policy(MappingError),
}

/// What cannot be asked at the moment.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Outage {
    /// STS.
    #[error(transparent)]
    Sts(StsError),
    /// EC2.
    #[error("the mapping needs {{{{EC2PrivateDNSName}}}}: {0}")]
    Ec2(DnsNameError),
}

impl Outage {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Sts(error) => error.reason(),
            Self::Ec2(_) => "ec2_unavailable",
        }
    }
}

/// What was not read yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Missing {
    /// A source of mappings.
    #[error("mappings of {} have not been read", .0.as_str())]
    Source(SourceId),
    /// The cluster id, which the watched ConfigMap may give.
    #[error("the cluster ID is not known (--cluster-id, or clusterID in the configuration)")]
    ClusterId,
}

impl Missing {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) => "source_unsynced",
            Self::ClusterId => "cluster_id_unknown",
        }
    }
}
