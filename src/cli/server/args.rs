//! The flags of `server`. They are texts here; [`crate::config`] reads them, so that all problems are reported at once.
#![expect(clippy::doc_markdown, reason = "the help texts are for terminals")]

use clap::Args;

use super::super::args::FilesArgs;
use crate::config::{Layer, Setting};

#[derive(Debug, Args)]
pub(in crate::cli) struct ServerArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Where mappings come from, in order of precedence; comma-separated or repeated: MountedFile, AuthenticatorConfigMap, EKSConfigMap,
    /// CRD [default: MountedFile]
    #[arg(long, value_name = "BACKENDS")]
    backend_mode: Vec<String>,
    /// The AWS partition: aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f or aws-eusc [default: aws]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<String>,
    /// The AWS region of this server; tokens for it are accepted even if this version does not know it
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The only regions whose STS endpoints tokens may name, comma-separated; `global` is the global endpoint [default: all]
    #[arg(long, value_name = "REGIONS")]
    allowed_regions: Vec<String>,
    /// The webhook kubeconfig was made by `init`: do not write it, and never renew the certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    kubeconfig_pregenerated: Option<String>,
    /// The kubeconfig by which this server reaches the API server [default: the service account of its pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The URL of the API server, in place of the one in the kubeconfig
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// The IP address of the plain-HTTP listener for probes and metrics [default: all interfaces]
    #[arg(long, value_name = "IP")]
    health_address: Option<String>,
    /// The port of that listener [default: 21363]
    #[arg(long, value_name = "PORT")]
    health_port: Option<String>,
    /// Show /metrics and the details of /readyz?verbose to everybody, not to the node alone: an IP address for those who reach the
    /// health port by it (0.0.0.0 for all), or IP:PORT for a port of their own
    #[arg(long, value_name = "IP[:PORT]")]
    metrics_address: Option<String>,
    /// Share the ports with another process of this program that has the flag too and runs as the same user, so that an old and a
    /// new one can change places without a gap. The new one leaves the webhook to the old one until it has read its backends
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reuse_port: Option<String>,
    /// How long a verified identity is remembered; 0 is not at all [default: 20s]
    #[arg(long, value_name = "DURATION")]
    identity_cache_ttl: Option<String>,
    /// While STS is unreachable, let a token that was verified before serve until it ends [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    identity_outage_grace: Option<String>,
    /// How long after the start to wait for backends that were not read yet [default: 30s]
    #[arg(long, value_name = "DURATION")]
    source_sync_timeout: Option<String>,
    /// An audience that this server vouches for; may be repeated [default: those of the API server]
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Answer with the HTTP status codes of the Go program: 403 for every refusal
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    legacy_status_codes: Option<String>,
    /// Let mappings that live in the API server give usernames that begin with `system:`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_system_usernames: Option<String>,
    /// The backends that may grant the group `system:masters`, comma-separated [default: all]
    #[arg(long, value_name = "BACKENDS")]
    privileged_groups_from: Vec<String>,
    /// Elect one replica to write the status of mappings and Events; without it every replica does [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: Option<String>,
    /// The Lease by which that replica is elected [default: aws-iam-authenticator]
    #[arg(long, value_name = "NAME")]
    lease_name: Option<String>,
    /// The namespace of the Lease [default: kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// How many EC2 DescribeInstances calls to make a second [default: 15]
    #[arg(long = "ec2-describeInstances-qps", value_name = "NUMBER")]
    ec2_qps: Option<String>,
    /// How many of them to make at once [default: 5]
    #[arg(long = "ec2-describeInstances-burst", value_name = "NUMBER")]
    ec2_burst: Option<String>,
}

impl ServerArgs {
    /// Adds them to the layer of flags.
    pub(super) fn put_into(self, flags: &mut Layer) {
        self.files.put_into(flags);
        flags.flags(Setting::BackendMode, "--backend-mode", self.backend_mode);
        flags.flag(Setting::Partition, "--partition", self.partition);
        flags.flag(Setting::ServerRegion, "--region", self.region);
        flags.flags(Setting::AllowedRegions, "--allowed-regions", self.allowed_regions);
        flags.flag(
            Setting::KubeconfigPregenerated,
            "--kubeconfig-pregenerated",
            self.kubeconfig_pregenerated,
        );
        flags.flag(Setting::Kubeconfig, "--kubeconfig", self.kubeconfig);
        flags.flag(Setting::Master, "--master", self.master);
        flags.flag(Setting::HealthAddress, "--health-address", self.health_address);
        flags.flag(Setting::HealthPort, "--health-port", self.health_port);
        flags.flag(Setting::MetricsAddress, "--metrics-address", self.metrics_address);
        flags.flag(Setting::ReusePort, "--reuse-port", self.reuse_port);
        flags.flag(
            Setting::IdentityCacheTtl,
            "--identity-cache-ttl",
            self.identity_cache_ttl,
        );
        flags.flag(
            Setting::IdentityOutageGrace,
            "--identity-outage-grace",
            self.identity_outage_grace,
        );
        flags.flag(
            Setting::SourceSyncTimeout,
            "--source-sync-timeout",
            self.source_sync_timeout,
        );
        flags.flags(Setting::Audience, "--audience", self.audience);
        flags.flag(
            Setting::LegacyStatusCodes,
            "--legacy-status-codes",
            self.legacy_status_codes,
        );
        flags.flag(
            Setting::AllowSystemUsernames,
            "--allow-system-usernames",
            self.allow_system_usernames,
        );
        flags.flags(
            Setting::PrivilegedGroupsFrom,
            "--privileged-groups-from",
            self.privileged_groups_from,
        );
        flags.flag(Setting::LeaderElect, "--leader-elect", self.leader_elect);
        flags.flag(Setting::LeaseName, "--lease-name", self.lease_name);
        flags.flag(Setting::LeaseNamespace, "--lease-namespace", self.lease_namespace);
        flags.flag(Setting::Ec2Qps, "--ec2-describeInstances-qps", self.ec2_qps);
        flags.flag(Setting::Ec2Burst, "--ec2-describeInstances-burst", self.ec2_burst);
    }
}
