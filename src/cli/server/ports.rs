//! The ports of the domain, as the server fills them.

use std::sync::Arc;

use crate::authn::{DnsNameError, GetCallerIdentity, PrivateDnsNames, StsError};
use crate::identity::Identity;
use crate::sts::Sts;
use crate::token::presigned::PresignedRequest;

/// STS, shared with whoever wants to know about our clock.
#[derive(Debug)]
pub(super) struct SharedSts(pub(super) Arc<Sts>);

impl GetCallerIdentity for SharedSts {
    async fn get_caller_identity(&self, request: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
        self.0.get_caller_identity(request).await
    }

    fn admitted(&self, request: &PresignedRequest) {
        self.0.admitted(request);
    }
}

/// EC2 cannot be asked yet, and a mapping that needs it says so.
#[derive(Debug)]
pub(super) struct NoDnsNames;

impl PrivateDnsNames for NoDnsNames {
    async fn private_dns_name(&self, _: &str) -> Result<String, DnsNameError> {
        Err(DnsNameError::Unavailable(
            "this version does not look up private DNS names yet".into(),
        ))
    }
}
