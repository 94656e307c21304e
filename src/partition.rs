//! AWS partitions: the closed table of what each one is called, where its endpoints live and which regions it has.
//!
//! Everything that decides whether a host name may be an AWS endpoint is in this table, so that a review of it is a review of the
//! whole allow-list. The facts are those of botocore's `partitions.json` and `endpoints.json`. [`StsEndpointPolicy`] applies them to
//! the host of a token.

mod endpoint;

pub use endpoint::{HostError, PolicyError, StsEndpoint, StsEndpointPolicy, StsRegion};

/// An AWS partition: a set of regions with accounts, endpoints and ARNs of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// `GovCloud` (US).
    AwsUsGov,
    /// The isolated partition C2S.
    AwsIso,
    /// The isolated partition SC2S.
    AwsIsoB,
    /// The isolated partition in Europe.
    AwsIsoE,
    /// The isolated partition F.
    AwsIsoF,
    /// The European Sovereign Cloud.
    AwsEusc,
}

/// One row of the table.
struct Facts {
    id: &'static str,
    dns_suffix: &'static str,
    dual_stack_suffix: &'static str,
    /// What may stand before `-<direction>-<digit>` in a region's name.
    region_prefixes: &'static [&'static str],
    /// Region prefixes under which `sts-fips.<region>` exists. Empty where it does not, or where the plain host is the FIPS one.
    fips_prefixes: &'static [&'static str],
    regions: &'static [&'static str],
}

/// The compass of region names. It is closed: with one digit after it, it bounds how many names can ever be accepted.
const DIRECTIONS: [&str; 9] = [
    "north",
    "south",
    "east",
    "west",
    "central",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
];

const AWS: Facts = Facts {
    id: "aws",
    dns_suffix: "amazonaws.com",
    dual_stack_suffix: "api.aws",
    region_prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
    fips_prefixes: &["us", "ca"],
    regions: &[
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "me-west-1",
        "mx-central-1",
        "sa-east-1",
        "sa-west-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    ],
};

const AWS_CN: Facts = Facts {
    id: "aws-cn",
    dns_suffix: "amazonaws.com.cn",
    dual_stack_suffix: "api.amazonwebservices.com.cn",
    region_prefixes: &["cn"],
    fips_prefixes: &[],
    regions: &["cn-north-1", "cn-northwest-1"],
};

const AWS_US_GOV: Facts = Facts {
    id: "aws-us-gov",
    dns_suffix: "amazonaws.com",
    dual_stack_suffix: "api.aws",
    region_prefixes: &["us-gov"],
    fips_prefixes: &[],
    regions: &["us-gov-east-1", "us-gov-west-1"],
};

const AWS_ISO: Facts = Facts {
    id: "aws-iso",
    dns_suffix: "c2s.ic.gov",
    dual_stack_suffix: "api.aws.ic.gov",
    region_prefixes: &["us-iso"],
    fips_prefixes: &[],
    regions: &["us-iso-east-1", "us-iso-west-1"],
};

const AWS_ISO_B: Facts = Facts {
    id: "aws-iso-b",
    dns_suffix: "sc2s.sgov.gov",
    dual_stack_suffix: "api.aws.scloud",
    region_prefixes: &["us-isob"],
    fips_prefixes: &[],
    regions: &["us-isob-east-1", "us-isob-west-1"],
};

const AWS_ISO_E: Facts = Facts {
    id: "aws-iso-e",
    dns_suffix: "cloud.adc-e.uk",
    dual_stack_suffix: "api.cloud-aws.adc-e.uk",
    region_prefixes: &["eu-isoe"],
    fips_prefixes: &[],
    regions: &["eu-isoe-west-1"],
};

const AWS_ISO_F: Facts = Facts {
    id: "aws-iso-f",
    dns_suffix: "csp.hci.ic.gov",
    dual_stack_suffix: "api.aws.hci.ic.gov",
    region_prefixes: &["us-isof"],
    fips_prefixes: &[],
    regions: &["us-isof-east-1", "us-isof-south-1"],
};

const AWS_EUSC: Facts = Facts {
    id: "aws-eusc",
    dns_suffix: "amazonaws.eu",
    dual_stack_suffix: "api.amazonwebservices.eu",
    region_prefixes: &["eusc-de"],
    fips_prefixes: &[],
    regions: &["eusc-de-east-1"],
};

impl Partition {
    /// Every partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
        Self::AwsEusc,
    ];

    const fn facts(self) -> &'static Facts {
        match self {
            Self::Aws => &AWS,
            Self::AwsCn => &AWS_CN,
            Self::AwsUsGov => &AWS_US_GOV,
            Self::AwsIso => &AWS_ISO,
            Self::AwsIsoB => &AWS_ISO_B,
            Self::AwsIsoE => &AWS_ISO_E,
            Self::AwsIsoF => &AWS_ISO_F,
            Self::AwsEusc => &AWS_EUSC,
        }
    }

    /// The name that ARNs and `--partition` use: `aws`, `aws-cn`, …
    pub const fn id(self) -> &'static str {
        self.facts().id
    }

    /// The partition of that exact name.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|partition| partition.id() == id)
    }

    /// The partition that has this region, or whose regions are named like it.
    pub fn of_region(region: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.known_region(region).is_some() || partition.is_well_formed_region(region))
    }

    /// The domain of its endpoints.
    pub const fn dns_suffix(self) -> &'static str {
        self.facts().dns_suffix
    }

    /// The domain of its endpoints that speak IPv6 too.
    pub const fn dual_stack_suffix(self) -> &'static str {
        self.facts().dual_stack_suffix
    }

    /// The regions in our table.
    pub const fn regions(self) -> &'static [&'static str] {
        self.facts().regions
    }

    /// The table's own copy of a region's name, if it is in the table.
    pub fn known_region(self, region: &str) -> Option<&'static str> {
        self.regions().iter().copied().find(|known| *known == region)
    }

    /// Whether a name could be a region of this partition: a known prefix, a direction, one digit 1-9.
    pub fn is_well_formed_region(self, region: &str) -> bool {
        self.facts()
            .region_prefixes
            .iter()
            .any(|prefix| is_region_under(prefix, region))
    }

    /// Whether the global endpoint `sts.amazonaws.com` serves this partition.
    pub const fn has_global_endpoint(self) -> bool {
        matches!(self, Self::Aws)
    }

    /// Whether `sts-fips.<region>` is a host of its own. In `aws-us-gov` the plain hosts are the FIPS ones.
    pub fn has_fips_host(self, region: &str) -> bool {
        self.facts()
            .fips_prefixes
            .iter()
            .any(|prefix| is_region_under(prefix, region))
    }
}

/// Whether `region` is `<prefix>-<direction>-<digit 1-9>`.
fn is_region_under(prefix: &str, region: &str) -> bool {
    let Some(rest) = region.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    let Some((direction, number)) = rest.split_once('-') else {
        return false;
    };
    DIRECTIONS.contains(&direction) && matches!(number.as_bytes(), [b'1'..=b'9'])
}

/// The STS host that a token for `region` is signed for, or `None` when the partition has no such variant.
///
/// `aws-global` names the global endpoint. A FIPS host is never replaced by a plain one, except where the plain one is the FIPS host.
pub fn default_host(partition: Partition, region: &str, fips: bool, dualstack: bool) -> Option<String> {
    if region == "aws-global" {
        let plain = partition.has_global_endpoint() && !fips && !dualstack;
        return plain.then(|| endpoint::GLOBAL_HOST.to_owned());
    }
    let service = match (fips, partition) {
        (false, _) => "sts",
        (true, Partition::AwsUsGov) if !dualstack => "sts",
        (true, _) if partition.has_fips_host(region) => "sts-fips",
        (true, _) => return None,
    };
    let suffix = if dualstack {
        partition.dual_stack_suffix()
    } else {
        partition.dns_suffix()
    };
    Some(format!("{service}.{region}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_found_by_its_id() {
        for partition in Partition::ALL {
            assert_eq!(Partition::from_id(partition.id()), Some(partition));
        }
        assert_eq!(Partition::from_id("AWS"), None);
        assert_eq!(Partition::from_id("aws-mars"), None);
    }

    #[test]
    fn the_table_obeys_its_own_pattern_and_no_region_is_in_two_partitions() {
        for partition in Partition::ALL {
            for region in partition.regions() {
                assert!(partition.is_well_formed_region(region), "{region}");
                assert_eq!(Partition::of_region(region), Some(partition), "{region}");
                let others = Partition::ALL.into_iter().filter(|other| *other != partition);
                assert_eq!(
                    others.filter(|other| other.is_well_formed_region(region)).count(),
                    0,
                    "{region}"
                );
            }
        }
    }

    #[test]
    fn a_region_that_aws_may_open_tomorrow_is_well_formed() {
        for region in ["us-northeast-1", "eu-southwest-9", "mx-west-2", "il-east-1"] {
            assert!(Partition::Aws.is_well_formed_region(region), "{region}");
        }
        assert!(Partition::AwsEusc.is_well_formed_region("eusc-de-west-1"));
    }

    #[test]
    fn a_name_that_no_region_can_have_is_not() {
        let bad = "not-a-region us-east-0 us-east-10 us-east us-east-1- us--east-1 us-middle-1 zz-east-1 us-gov-west-1 US-EAST-1 us-east-1x";
        for region in bad.split(' ').chain([""]) {
            assert!(!Partition::Aws.is_well_formed_region(region), "{region}");
        }
    }

    #[test]
    fn hosts_for_minting() {
        let cases = [
            (
                Partition::Aws,
                "us-west-2",
                false,
                false,
                Some("sts.us-west-2.amazonaws.com"),
            ),
            (
                Partition::Aws,
                "us-west-2",
                true,
                false,
                Some("sts-fips.us-west-2.amazonaws.com"),
            ),
            (
                Partition::Aws,
                "us-west-2",
                true,
                true,
                Some("sts-fips.us-west-2.api.aws"),
            ),
            (Partition::Aws, "eu-west-1", false, true, Some("sts.eu-west-1.api.aws")),
            (Partition::Aws, "eu-west-1", true, false, None),
            (Partition::Aws, "aws-global", false, false, Some("sts.amazonaws.com")),
            (Partition::AwsCn, "aws-global", false, false, None),
            (
                Partition::AwsCn,
                "cn-north-1",
                false,
                false,
                Some("sts.cn-north-1.amazonaws.com.cn"),
            ),
            (
                Partition::AwsUsGov,
                "us-gov-west-1",
                true,
                false,
                Some("sts.us-gov-west-1.amazonaws.com"),
            ),
            (Partition::AwsUsGov, "us-gov-west-1", true, true, None),
            (
                Partition::AwsEusc,
                "eusc-de-east-1",
                false,
                true,
                Some("sts.eusc-de-east-1.api.amazonwebservices.eu"),
            ),
        ];
        for (partition, region, fips, dualstack, expected) in cases {
            assert_eq!(
                default_host(partition, region, fips, dualstack).as_deref(),
                expected,
                "{region} {fips} {dualstack}"
            );
        }
    }
}
