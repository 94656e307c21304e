//! Which hosts are STS: the check of a token's host before anything is sent to it.
//!
//! A stranger chooses the host, so the rule is an allow-list: `sts[-fips].<region>.<suffix of our partition>`, where the region is in
//! our table, named by the operator, or at least named like a region. The last kind lets a new AWS region work without a release;
//! the caller rations look-ups of it (see [`StsRegion::Unlisted`]).

use thiserror::Error;

use super::Partition;

/// The global endpoint, which only the partition `aws` has.
pub(super) const GLOBAL_HOST: &str = "sts.amazonaws.com";

/// How `--allowed-regions` and metrics name the global endpoint.
const GLOBAL: &str = "global";

/// The longest label of a host name. Source: RFC 1035, section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;

/// The longest host name. Source: the same section.
const MAX_HOST_BYTES: usize = 253;

/// Which STS hosts a token may name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsEndpointPolicy {
    partition: Partition,
    region: Option<Box<str>>,
    allowed_regions: Option<Box<[Box<str>]>>,
}

/// An STS host that the policy accepts. It cannot exist unchecked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsEndpoint {
    host: Box<str>,
    region: StsRegion,
}

/// How well we know the region of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StsRegion {
    /// The global endpoint.
    Global,
    /// A region in our table.
    Listed(&'static str),
    /// Not in our table, but named by `--region` or `--allowed-regions`.
    Configured,
    /// Only named like a region: strangers can make some thousand of these up.
    Unlisted,
}

/// Why a host is not an STS endpoint we would ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HostError {
    /// Not a plain host name: empty, non-ASCII, a port, user info, a trailing dot, a backslash …
    #[error("the host of the presigned URL is not a plain host name")]
    Malformed,
    /// Not under a domain of AWS, or not `sts` there.
    #[error("the host of the presigned URL is not an STS endpoint")]
    NotSts,
    /// An endpoint of another partition than the server's.
    #[error("the host of the presigned URL is not an STS endpoint of the partition {}", .expected.id())]
    OtherPartition {
        /// The server's own partition.
        expected: Partition,
    },
    /// The global endpoint in a partition that has none.
    #[error("the partition {} has no global STS endpoint", .expected.id())]
    NoGlobalEndpoint {
        /// The server's own partition.
        expected: Partition,
    },
    /// `sts-fips` where there is no such host.
    #[error("this region has no separate FIPS endpoint of STS")]
    NoFipsEndpoint,
    /// The label in the region's place is not a region.
    #[error("the host of the presigned URL names no AWS region")]
    UnknownRegion,
    /// A region that `--allowed-regions` leaves out.
    #[error("the region of the STS endpoint is not allowed here")]
    RegionNotAllowed,
}

impl HostError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "host_malformed",
            Self::NotSts => "host",
            Self::OtherPartition { .. } => "host_partition",
            Self::NoGlobalEndpoint { .. } => "host_no_global_endpoint",
            Self::NoFipsEndpoint => "host_no_fips_endpoint",
            Self::UnknownRegion => "host_region",
            Self::RegionNotAllowed => "region_not_allowed",
        }
    }
}

/// Why a policy cannot be made of its settings.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PolicyError {
    /// A setting that should name a region cannot be part of a host name.
    #[error("{0:?} is not the name of a region: lower-case letters, digits and hyphens only")]
    Region(Box<str>),
}

impl PolicyError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Region(_) => "invalid_region_setting",
        }
    }
}

impl StsEndpointPolicy {
    /// A policy for the server's partition, its own region (`--region`) and the only regions it accepts (`--allowed-regions`; empty
    /// means every region of the partition). `global` among them stands for the global endpoint.
    ///
    /// # Errors
    /// When a region's name could not be part of a host name.
    pub fn new(partition: Partition, region: Option<&str>, allowed_regions: &[String]) -> Result<Self, PolicyError> {
        let region = region.filter(|region| !region.is_empty());
        for name in region.into_iter().chain(allowed_regions.iter().map(String::as_str)) {
            if !is_label(name) {
                return Err(PolicyError::Region(name.into()));
            }
        }
        Ok(Self {
            partition,
            region: region.map(Into::into),
            allowed_regions: (!allowed_regions.is_empty())
                .then(|| allowed_regions.iter().map(|region| region.as_str().into()).collect()),
        })
    }

    /// The server's partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Checks a host exactly as it stands in the URL, between `//` and the next `/`.
    ///
    /// # Errors
    /// When it is not an STS endpoint of this partition in an allowed region.
    pub fn check(&self, host: &str) -> Result<StsEndpoint, HostError> {
        if !is_host_name(host) {
            return Err(HostError::Malformed);
        }
        let host = host.to_ascii_lowercase();
        let region = if host == GLOBAL_HOST {
            self.check_global()?
        } else {
            self.check_regional(&host)?
        };
        Ok(StsEndpoint {
            host: host.into(),
            region,
        })
    }

    fn check_global(&self) -> Result<StsRegion, HostError> {
        if !self.partition.has_global_endpoint() {
            return Err(HostError::NoGlobalEndpoint {
                expected: self.partition,
            });
        }
        self.check_allowed(GLOBAL)?;
        Ok(StsRegion::Global)
    }

    fn check_regional(&self, host: &str) -> Result<StsRegion, HostError> {
        let (service, rest) = host.split_once('.').ok_or(HostError::NotSts)?;
        let (region, suffix) = rest.split_once('.').ok_or(HostError::NotSts)?;
        if service != "sts" && service != "sts-fips" {
            return Err(HostError::NotSts);
        }
        if !has_suffix(self.partition, suffix) {
            let elsewhere = Partition::ALL
                .into_iter()
                .any(|partition| has_suffix(partition, suffix));
            return Err(if elsewhere {
                self.other_partition()
            } else {
                HostError::NotSts
            });
        }
        let known = self.know(region)?;
        if service == "sts-fips" && !self.partition.has_fips_host(region) {
            return Err(HostError::NoFipsEndpoint);
        }
        self.check_allowed(region)?;
        Ok(known)
    }

    fn know(&self, region: &str) -> Result<StsRegion, HostError> {
        let listed_by_operator = || {
            self.allowed_regions
                .iter()
                .flatten()
                .any(|allowed| **allowed == *region)
        };
        if let Some(name) = self.partition.known_region(region) {
            Ok(StsRegion::Listed(name))
        } else if self.region.as_deref() == Some(region) || listed_by_operator() {
            Ok(StsRegion::Configured)
        } else if self.partition.is_well_formed_region(region) {
            Ok(StsRegion::Unlisted)
        } else if Partition::of_region(region).is_some() {
            Err(self.other_partition())
        } else {
            Err(HostError::UnknownRegion)
        }
    }

    fn check_allowed(&self, region: &str) -> Result<(), HostError> {
        match &self.allowed_regions {
            Some(allowed) if !allowed.iter().any(|name| **name == *region) => Err(HostError::RegionNotAllowed),
            _ => Ok(()),
        }
    }

    fn other_partition(&self) -> HostError {
        HostError::OtherPartition {
            expected: self.partition,
        }
    }
}

impl StsEndpoint {
    /// The host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How well we know its region.
    pub fn region(&self) -> StsRegion {
        self.region
    }

    /// The region as a metric label: the table's name, `global`, or `other`.
    pub fn region_label(&self) -> &'static str {
        match self.region {
            StsRegion::Global => GLOBAL,
            StsRegion::Listed(name) => name,
            StsRegion::Configured | StsRegion::Unlisted => "other",
        }
    }
}

fn has_suffix(partition: Partition, suffix: &str) -> bool {
    suffix == partition.dns_suffix() || suffix == partition.dual_stack_suffix()
}

fn is_host_name(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    host.len() <= MAX_HOST_BYTES
        && host
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(is_part))
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(partition: Partition) -> StsEndpointPolicy {
        StsEndpointPolicy::new(partition, None, &[]).unwrap()
    }

    #[test]
    fn accepts_the_hosts_that_exist() {
        use Partition::{Aws, AwsCn, AwsEusc, AwsIso, AwsIsoB, AwsUsGov};
        let cases = [
            (Aws, "sts.amazonaws.com", "global"),
            (Aws, "sts.us-east-1.amazonaws.com", "us-east-1"),
            (Aws, "STS.US-EAST-1.amazonaws.com", "us-east-1"),
            (Aws, "sts-fips.us-west-2.amazonaws.com", "us-west-2"),
            (Aws, "sts-fips.us-west-2.api.aws", "us-west-2"),
            (Aws, "sts.mx-central-1.api.aws", "mx-central-1"),
            (Aws, "sts.eu-southwest-3.amazonaws.com", "other"),
            (AwsCn, "sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            (
                AwsCn,
                "sts.cn-northwest-1.api.amazonwebservices.com.cn",
                "cn-northwest-1",
            ),
            (AwsUsGov, "sts.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            (AwsIso, "sts.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
            (AwsIsoB, "sts.us-isob-south-1.sc2s.sgov.gov", "other"),
            (AwsEusc, "sts.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ];
        for (partition, host, label) in cases {
            let endpoint = policy(partition)
                .check(host)
                .unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(endpoint.host(), host.to_ascii_lowercase());
            assert_eq!(endpoint.region_label(), label, "{host}");
            assert_eq!(endpoint.region() == StsRegion::Unlisted, label == "other", "{host}");
        }
    }

    #[test]
    fn refuses_what_is_no_sts_host_of_the_partition() {
        use Partition::{Aws, AwsCn, AwsEusc, AwsUsGov};
        let cases = [
            (Aws, "", HostError::Malformed),
            (Aws, "sts.us-east-1.amazonaws.com.", HostError::Malformed),
            (Aws, ".sts.us-east-1.amazonaws.com", HostError::Malformed),
            (Aws, "sts..amazonaws.com", HostError::Malformed),
            (Aws, "sts.us-east-1.amazonaws.com:443", HostError::Malformed),
            (Aws, "evil@sts.us-east-1.amazonaws.com", HostError::Malformed),
            (Aws, "sts.us-east-1.amazonaws.com\\.evil.example", HostError::Malformed),
            (Aws, "sts.us\u{2010}east-1.amazonaws.com", HostError::Malformed),
            (Aws, "sts.us%2deast-1.amazonaws.com", HostError::Malformed),
            (Aws, "[::1]", HostError::Malformed),
            (Aws, "localhost", HostError::NotSts),
            (Aws, "169.254.169.254", HostError::NotSts),
            (Aws, "sts.us-east-1.amazonaws.com.evil.example", HostError::NotSts),
            (Aws, "sts.us-east-1.evilamazonaws.com", HostError::NotSts),
            (Aws, "iam.us-east-1.amazonaws.com", HostError::NotSts),
            (Aws, "sts.us-east-1.vpce.amazonaws.com", HostError::NotSts),
            (Aws, "sts.us-east-1.s3.amazonaws.com", HostError::NotSts),
            (Aws, "sts-fips.amazonaws.com", HostError::NotSts),
            (Aws, "sts.api.aws", HostError::NotSts),
            (Aws, "sts.not-a-region.amazonaws.com", HostError::UnknownRegion),
            (Aws, "sts.us-east-0.amazonaws.com", HostError::UnknownRegion),
            (Aws, "sts.s3.amazonaws.com", HostError::UnknownRegion),
            (Aws, "sts-fips.eu-west-1.amazonaws.com", HostError::NoFipsEndpoint),
            (
                Aws,
                "sts.us-gov-west-1.amazonaws.com",
                HostError::OtherPartition { expected: Aws },
            ),
            (
                Aws,
                "sts.cn-north-1.amazonaws.com.cn",
                HostError::OtherPartition { expected: Aws },
            ),
            (
                AwsCn,
                "sts.us-east-1.amazonaws.com",
                HostError::OtherPartition { expected: AwsCn },
            ),
            (
                AwsCn,
                "sts.amazonaws.com",
                HostError::NoGlobalEndpoint { expected: AwsCn },
            ),
            (AwsCn, "sts-fips.cn-north-1.amazonaws.com.cn", HostError::NoFipsEndpoint),
            (
                AwsUsGov,
                "sts.us-east-1.amazonaws.com",
                HostError::OtherPartition { expected: AwsUsGov },
            ),
            (
                AwsUsGov,
                "sts-fips.us-gov-west-1.amazonaws.com",
                HostError::NoFipsEndpoint,
            ),
            (
                AwsEusc,
                "sts.amazonaws.com",
                HostError::NoGlobalEndpoint { expected: AwsEusc },
            ),
        ];
        for (partition, host, expected) in cases {
            assert_eq!(policy(partition).check(host), Err(expected), "{host}");
        }
    }

    #[test]
    fn the_configured_region_needs_no_pattern() {
        let policy = StsEndpointPolicy::new(Partition::Aws, Some("luna-1"), &[]).unwrap();
        let endpoint = policy.check("sts.luna-1.amazonaws.com").unwrap();
        assert_eq!(
            (endpoint.region(), endpoint.region_label()),
            (StsRegion::Configured, "other")
        );
        assert_eq!(policy.check("sts.luna-2.amazonaws.com"), Err(HostError::UnknownRegion));
    }

    #[test]
    fn allowed_regions_leave_out_every_other() {
        let policy = StsEndpointPolicy::new(Partition::Aws, Some("us-east-1"), &["eu-west-1".to_owned()]).unwrap();
        assert!(policy.check("sts.eu-west-1.amazonaws.com").is_ok());
        assert!(policy.check("sts.eu-west-1.api.aws").is_ok());
        for host in [
            "sts.us-east-1.amazonaws.com",
            "sts.amazonaws.com",
            "sts.eu-west-4.amazonaws.com",
        ] {
            assert_eq!(policy.check(host), Err(HostError::RegionNotAllowed), "{host}");
        }
        let global = StsEndpointPolicy::new(Partition::Aws, None, &["global".to_owned()]).unwrap();
        assert!(global.check("sts.amazonaws.com").is_ok());
    }

    #[test]
    fn a_setting_that_is_no_label_is_refused() {
        for region in ["us east", "us-east-1.evil.example", "US-EAST-1"] {
            assert_eq!(
                StsEndpointPolicy::new(Partition::Aws, Some(region), &[]),
                Err(PolicyError::Region(region.into()))
            );
        }
        assert!(StsEndpointPolicy::new(Partition::Aws, None, &[String::new()]).is_err());
    }

    #[test]
    fn fewer_than_2000_names_can_ever_pass() {
        let words = [
            "north",
            "south",
            "east",
            "west",
            "central",
            "northeast",
            "northwest",
            "southeast",
            "southwest",
            "middle",
        ];
        let prefixes = [
            "us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx", "cn", "us-gov", "us-iso", "eusc-de", "xx",
        ];
        let policy = policy(Partition::Aws);
        let mut passed = 1;
        for (prefix, word) in prefixes
            .iter()
            .flat_map(|prefix| words.iter().map(move |word| (prefix, word)))
        {
            for number in 0..100 {
                for (service, suffix) in [
                    ("sts", "amazonaws.com"),
                    ("sts-fips", "amazonaws.com"),
                    ("sts", "api.aws"),
                    ("sts-fips", "api.aws"),
                ] {
                    passed += usize::from(
                        policy
                            .check(&format!("{service}.{prefix}-{word}-{number}.{suffix}"))
                            .is_ok(),
                    );
                }
            }
        }
        assert!(passed < 2000, "{passed}");
    }
}
