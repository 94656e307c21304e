//! Which of its hosts STS is asked at: as the SDKs decide, held against the table of hosts that servers accept.

use super::CredentialsError;
use crate::partition::{Partition, StsEndpointPolicy, default_host};

/// As in Go, when nobody names a region.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// The name under which the SDKs know the global endpoint.
const GLOBAL_REGION: &str = "aws-global";

/// The regions of which `AWS_STS_REGIONAL_ENDPOINTS=legacy` means the global endpoint (AWS SDKs and Tools Reference Guide, "AWS STS
/// Regional endpoints"): those from before regional endpoints were the rule.
const LEGACY_REGIONS: [&str; 15] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Which kind of host is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Hosts {
    pub(super) fips: bool,
    pub(super) dual_stack: bool,
    /// `AWS_STS_REGIONAL_ENDPOINTS=legacy`.
    pub(super) legacy: bool,
}

/// A host, and the region that a signature for it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) region: String,
}

impl Hosts {
    /// The endpoint of a region.
    pub(super) fn endpoint(self, region: &str) -> Result<Endpoint, CredentialsError> {
        let refused = |reason: String| CredentialsError::Endpoint {
            region: region.to_owned(),
            reason,
        };
        let plain = !self.fips && !self.dual_stack;
        let is_global = region == GLOBAL_REGION || (self.legacy && plain && LEGACY_REGIONS.contains(&region));
        let (named, signed) = if is_global {
            (GLOBAL_REGION, DEFAULT_REGION)
        } else {
            (region, region)
        };
        let partition = Partition::of_region(signed).unwrap_or(Partition::Aws);
        let host = default_host(partition, named, self.fips, self.dual_stack).ok_or_else(|| {
            refused("STS has no such host there; unset AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT, or give another --region".to_owned())
        })?;
        let checked = StsEndpointPolicy::new(partition, Some(signed), &[])
            .map_err(|error| error.to_string())
            .and_then(|policy| policy.check(&host).map(|_| ()).map_err(|error| error.to_string()));
        match checked {
            Ok(()) => Ok(Endpoint {
                host,
                region: signed.to_owned(),
            }),
            Err(error) => Err(refused(format!("{error}; give another --region"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(hosts: Hosts, region: &str) -> String {
        let found = hosts.endpoint(region);
        found.map_or_else(|_| String::new(), |found| format!("{} {}", found.host, found.region))
    }

    #[test]
    fn hosts_are_those_of_the_sdks() {
        let host = |fips, dual_stack, region: &str| {
            let hosts = Hosts {
                fips,
                dual_stack,
                legacy: false,
            };
            endpoint(hosts, region)
        };
        assert_eq!(host(false, false, "us-west-2"), "sts.us-west-2.amazonaws.com us-west-2");
        assert_eq!(
            host(false, false, "cn-north-1"),
            "sts.cn-north-1.amazonaws.com.cn cn-north-1"
        );
        assert_eq!(host(false, false, "aws-global"), "sts.amazonaws.com us-east-1");
        assert_eq!(host(false, true, "us-east-1"), "sts.us-east-1.api.aws us-east-1");
        assert_eq!(
            host(true, false, "us-east-2"),
            "sts-fips.us-east-2.amazonaws.com us-east-2"
        );
        assert_eq!(
            host(true, false, "us-gov-west-1"),
            "sts.us-gov-west-1.amazonaws.com us-gov-west-1"
        );
        assert_eq!(host(false, false, "xx-new-1"), "sts.xx-new-1.amazonaws.com xx-new-1");
        assert_eq!(host(true, false, "eu-west-1"), "");
        assert_eq!(host(false, false, "evil.com/"), "");
    }

    #[test]
    fn legacy_means_the_global_host_where_it_did() {
        let legacy = |fips, dual_stack, region: &str| {
            let hosts = Hosts {
                fips,
                dual_stack,
                legacy: true,
            };
            endpoint(hosts, region)
        };
        assert_eq!(legacy(false, false, "eu-west-1"), "sts.amazonaws.com us-east-1");
        assert_eq!(
            legacy(false, false, "eu-south-1"),
            "sts.eu-south-1.amazonaws.com eu-south-1"
        );
        assert_eq!(
            legacy(false, false, "cn-north-1"),
            "sts.cn-north-1.amazonaws.com.cn cn-north-1"
        );
        assert_eq!(legacy(false, true, "eu-west-1"), "sts.eu-west-1.api.aws eu-west-1");
        assert_eq!(
            legacy(true, false, "us-west-2"),
            "sts-fips.us-west-2.amazonaws.com us-west-2"
        );
    }
}
