//! The high configuration of `server` and `init`: checked, with every default filled in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::value::{self, closest};
use super::{Low, Problems, Reader, Setting};
use crate::arn::AccountId;
use crate::mapping::SourceId;
use crate::mapping::policy::MappingPolicy;
use crate::partition::{Partition, StsEndpointPolicy};
use crate::token::check_cluster_id;

const DEFAULT_PORT: u16 = 21_362;
const DEFAULT_HEALTH_PORT: u16 = 21_363;
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEFAULT_HOSTNAME: &str = "localhost";
const DEFAULT_STATE_DIR: &str = "/var/aws-iam-authenticator";
const DEFAULT_KUBECONFIG: &str = "/etc/kubernetes/aws-iam-authenticator/kubeconfig.yaml";
const DEFAULT_IDENTITY_CACHE_TTL: Duration = Duration::from_secs(20);
const DEFAULT_SOURCE_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_LEASE: &str = "aws-iam-authenticator";
const DEFAULT_LEASE_NAMESPACE: &str = "kube-system";
const DEFAULT_EC2_QPS: u32 = 15;
const DEFAULT_EC2_BURST: u32 = 5;

/// The username prefixes that one backend may not use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReservedPrefixes {
    /// The backend.
    pub source: SourceId,
    /// The prefixes.
    pub prefixes: Vec<String>,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// `None` means all interfaces.
    pub address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
}

/// Where metrics and details are shown to everybody, not to the loopback alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsAddress {
    /// `None` means all interfaces.
    pub address: Option<IpAddr>,
    /// A port of its own; `None` is the port of the probes, for whoever reaches it by this address.
    pub port: Option<u16>,
}

/// How to reach the API server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiServer {
    /// A kubeconfig file; without it the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The URL of the API server, in place of the kubeconfig's.
    pub master: Option<String>,
}

/// How to ask EC2 for private DNS names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ec2Settings {
    /// Requests a second.
    pub qps: u32,
    /// How many may be made at once.
    pub burst: u32,
    /// A role to assume first.
    pub role_arn: Option<String>,
    /// `aws:SourceArn` for it.
    pub source_arn: Option<String>,
}

/// The lease that decides which replica writes status and Events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseSettings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The files that the API server needs to reach the webhook, and what stands in them. All that `init` needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookFiles {
    /// Where certificate and keys are.
    pub state_dir: PathBuf,
    /// Where the webhook kubeconfig is written.
    pub generate_kubeconfig: PathBuf,
    /// What the API server calls us.
    pub hostname: String,
    /// Where the HTTPS listener is.
    pub bind: Bind,
    /// The authorities that vouch for the API server as a client; `None` asks nobody for a certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// Everything that `server` is told.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct ServerConfig {
    /// `None` when the watched `ConfigMap` is to give it.
    pub cluster_id: Option<String>,
    /// The STS hosts that tokens may name.
    pub endpoints: StsEndpointPolicy,
    /// Our own region.
    pub region: Option<String>,
    /// Where mappings come from, in order of precedence.
    pub backend_modes: Vec<SourceId>,
    /// The file of `--config`, which `MountedFile` reads.
    pub config_file: Option<PathBuf>,
    /// What mappings may grant.
    pub policy: MappingPolicy,
    /// The certificate, the webhook kubeconfig and the HTTPS listener.
    pub webhook: WebhookFiles,
    /// Whether `init` has written the webhook kubeconfig, so that it is not written again and a certificate is never renewed.
    pub kubeconfig_pregenerated: bool,
    /// The plain-HTTP listener of probes and metrics.
    pub health: Bind,
    /// Where metrics are shown beyond the loopback.
    pub metrics: Option<MetricsAddress>,
    /// Whether the ports are shared with a successor.
    pub reuse_port: bool,
    /// The API server.
    pub api_server: ApiServer,
    /// Who writes status and Events; `None` lets every replica.
    pub lease: Option<LeaseSettings>,
    /// How long a verified identity is remembered.
    pub identity_cache_ttl: Duration,
    /// Whether it serves until its token ends while STS is unreachable.
    pub identity_outage_grace: bool,
    /// How long after the start an unsynced source is waited for.
    pub source_sync_timeout: Duration,
    /// The audiences we vouch for; empty means the API server's own.
    pub audiences: Vec<String>,
    /// Whether refusals are 403, as in Go.
    pub legacy_status_codes: bool,
    /// Accounts whose identities stay out of logs and replies.
    pub scrubbed_accounts: Vec<AccountId>,
    /// EC2.
    pub ec2: Ec2Settings,
}

impl WebhookFiles {
    /// Reads the settings that `server` and `init` share.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            state_dir: reader
                .text(Setting::StateDir)
                .unwrap_or_else(|| DEFAULT_STATE_DIR.to_owned())
                .into(),
            generate_kubeconfig: reader
                .text(Setting::GenerateKubeconfig)
                .unwrap_or_else(|| DEFAULT_KUBECONFIG.to_owned())
                .into(),
            hostname: reader.parsed(Setting::Hostname, DEFAULT_HOSTNAME.to_owned(), value::host),
            bind: Bind {
                address: reader.parsed(Setting::Address, Some(DEFAULT_ADDRESS), value::address),
                port: reader.parsed(Setting::Port, DEFAULT_PORT, value::port),
            },
            client_ca_file: reader.text(Setting::ClientCaFile).map(Into::into),
        }
    }

    /// The configuration of `init`, with warnings.
    ///
    /// # Errors
    /// All problems at once.
    pub fn resolve(low: &Low) -> Result<(Self, Vec<String>), Problems> {
        let mut reader = Reader::new(low);
        let files = Self::read(&mut reader);
        reader.finish(files)
    }
}

impl ServerConfig {
    /// The configuration of `server`, with warnings.
    ///
    /// # Errors
    /// All problems at once.
    pub fn resolve(low: &Low) -> Result<(Self, Vec<String>), Problems> {
        let mut reader = Reader::new(low);
        let backend_modes = backend_modes(&mut reader);
        warn_of_unsupported(&mut reader, low, &backend_modes);
        let (endpoints, region) = endpoints(&mut reader);
        let mut config = Self {
            cluster_id: cluster_id(&mut reader, &backend_modes),
            endpoints,
            region,
            policy: policy(&mut reader, low),
            config_file: low.path.clone(),
            webhook: WebhookFiles::read(&mut reader),
            kubeconfig_pregenerated: reader.flag(Setting::KubeconfigPregenerated, false),
            health: Bind {
                address: reader.parsed(Setting::HealthAddress, None, value::address),
                port: reader.parsed(Setting::HealthPort, DEFAULT_HEALTH_PORT, value::port),
            },
            metrics: reader.optional(Setting::MetricsAddress, |text| {
                value::address_and_port(text).map(|(address, port)| MetricsAddress { address, port })
            }),
            reuse_port: reader.flag(Setting::ReusePort, false),
            api_server: api_server(&mut reader),
            lease: lease(&mut reader),
            identity_cache_ttl: reader.parsed(Setting::IdentityCacheTtl, DEFAULT_IDENTITY_CACHE_TTL, value::duration),
            identity_outage_grace: reader.flag(Setting::IdentityOutageGrace, true),
            source_sync_timeout: reader.parsed(
                Setting::SourceSyncTimeout,
                DEFAULT_SOURCE_SYNC_TIMEOUT,
                value::duration,
            ),
            audiences: audiences(&reader),
            legacy_status_codes: reader.flag(Setting::LegacyStatusCodes, false),
            scrubbed_accounts: reader
                .parsed_list(Setting::ScrubbedAccounts, account)
                .unwrap_or_default(),
            ec2: Ec2Settings {
                qps: reader.parsed(Setting::Ec2Qps, DEFAULT_EC2_QPS, value::positive),
                burst: reader.parsed(Setting::Ec2Burst, DEFAULT_EC2_BURST, value::positive),
                role_arn: reader.text(Setting::Ec2RoleArn),
                source_arn: reader.text(Setting::SourceArn),
            },
            backend_modes,
        };
        check_ports(&mut reader, &mut config);
        reader.finish(config)
    }
}

fn check_ports(reader: &mut Reader<'_>, config: &mut ServerConfig) {
    let (webhook, health) = (config.webhook.bind.port, config.health.port);
    if webhook == health {
        reader.missing(format!(
            "--port and --health-port are both {health}; the two listeners need a port each"
        ));
    }
    let Some(metrics) = &mut config.metrics else { return };
    if metrics.port == Some(webhook) {
        reader.missing(format!(
            "--port and the port of --metrics-address are both {webhook}; leave the port away to use that of the probes"
        ));
    }
    // The same listener, in other words.
    metrics.port = metrics.port.filter(|port| *port != health);
}

pub(super) fn unknown_backend(name: &str) -> String {
    let names = SourceId::ALL.map(SourceId::as_str);
    let meant = closest(name, names)
        .map(|meant| format!(" (did you mean {meant}?)"))
        .unwrap_or_default();
    format!(
        "{name:?} is not a backend{meant}; the backends are {}",
        names.join(", ")
    )
}

fn backend_modes(reader: &mut Reader<'_>) -> Vec<SourceId> {
    let Some((names, place)) = reader.list(Setting::BackendMode) else {
        return vec![SourceId::MountedFile];
    };
    if names.is_empty() {
        reader.problem(place, "name at least one backend, or leave it out for MountedFile");
    }
    let mut modes = Vec::new();
    for name in names {
        match SourceId::parse(name) {
            None => reader.problem(place, unknown_backend(name)),
            Some(mode) if modes.contains(&mode) => {
                reader.problem(place, format!("{} is named twice; name each backend once", mode.as_str()));
            }
            Some(SourceId::DynamicFile) => reader.problem(
                place,
                "DynamicFile is not supported yet by this version; use MountedFile, which follows changes of its file too",
            ),
            Some(mode) => {
                if name != mode.as_str() {
                    reader.warn(format!("{place}: {name} is the old name of {}; use the new one", mode.as_str()));
                }
                modes.push(mode);
            }
        }
    }
    modes
}

fn warn_of_unsupported(reader: &mut Reader<'_>, low: &Low, modes: &[SourceId]) {
    let unsupported = [
        Setting::DynamicFilePath,
        Setting::DynamicFileUserIdStrict,
        Setting::DynamicBackendModePath,
    ];
    for given in unsupported.into_iter().filter_map(|setting| low.get(setting)) {
        reader.warn(format!(
            "{} has no effect: the DynamicFile backend is not supported yet",
            given.place
        ));
    }
    if modes.contains(&SourceId::MountedFile) && low.path.is_none() {
        reader.warn("the backend MountedFile has no file, as --config is not given: it maps nobody");
    }
}

fn cluster_id(reader: &mut Reader<'_>, modes: &[SourceId]) -> Option<String> {
    let id = reader.optional(Setting::ClusterId, |id| {
        check_cluster_id(id)
            .map(|()| id.to_owned())
            .map_err(|error| error.to_string())
    });
    if reader.given(Setting::ClusterId).is_none() && !modes.contains(&SourceId::AuthenticatorConfigMap) {
        reader.missing(
            "the cluster ID is missing; set --cluster-id (-i), KUBERNETES_AWS_AUTHENTICATOR_CLUSTER_ID or clusterID in the \
             configuration file to the ID that clients put into their tokens",
        );
    }
    id
}

fn endpoints(reader: &mut Reader<'_>) -> (StsEndpointPolicy, Option<String>) {
    let partition = reader.parsed(Setting::Partition, Partition::Aws, |id| {
        Partition::from_id(id).ok_or_else(|| {
            format!(
                "{id:?} is not an AWS partition; the partitions are {}",
                Partition::ALL.map(Partition::id).join(", ")
            )
        })
    });
    let anywhere = StsEndpointPolicy::new(partition, None, &[]);
    let check = |name: &str| {
        StsEndpointPolicy::new(partition, Some(name), &[])
            .map(|_| name.to_owned())
            .map_err(|error| error.to_string())
    };
    let region = reader.optional(Setting::ServerRegion, check);
    let allowed = reader.parsed_list(Setting::AllowedRegions, check).unwrap_or_default();
    match StsEndpointPolicy::new(partition, region.as_deref(), &allowed).or(anywhere) {
        Ok(policy) => (policy, region),
        // Without a region there is nothing in it that could be wrong.
        Err(error) => unreachable!("{error}"),
    }
}

fn policy(reader: &mut Reader<'_>, low: &Low) -> MappingPolicy {
    let reserved = low.file.reserved_prefixes.iter();
    MappingPolicy {
        reserved_prefixes: reserved
            .flat_map(|reserved| {
                reserved
                    .prefixes
                    .iter()
                    .map(|prefix| (reserved.source, prefix.as_str().into()))
            })
            .collect(),
        allow_system_usernames: reader.flag(Setting::AllowSystemUsernames, false),
        privileged_groups_from: reader.parsed_list(Setting::PrivilegedGroupsFrom, |name| {
            SourceId::parse(name).ok_or_else(|| unknown_backend(name))
        }),
    }
}

fn api_server(reader: &mut Reader<'_>) -> ApiServer {
    ApiServer {
        kubeconfig: reader.text(Setting::Kubeconfig).map(Into::into),
        master: reader.text(Setting::Master),
    }
}

fn lease(reader: &mut Reader<'_>) -> Option<LeaseSettings> {
    let mut name = |setting, default: &str| reader.parsed(setting, default.to_owned(), value::object_name);
    let lease = LeaseSettings {
        namespace: name(Setting::LeaseNamespace, DEFAULT_LEASE_NAMESPACE),
        name: name(Setting::LeaseName, DEFAULT_LEASE),
    };
    reader.flag(Setting::LeaderElect, true).then_some(lease)
}

/// An audience may hold anything but is never empty.
fn audiences(reader: &Reader<'_>) -> Vec<String> {
    let given = reader.given(Setting::Audience);
    given
        .map(|given| given.values.iter().filter(|value| !value.is_empty()).cloned().collect())
        .unwrap_or_default()
}

fn account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text).ok_or_else(|| format!("{text:?} is not an AWS account; write its 12 digits in quotes"))
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigFile, Layer};
    use super::*;

    fn low(file: &str, flags: &[(Setting, &'static str, &str)]) -> Low {
        let mut layer = Layer::default();
        for (setting, flag, value) in flags {
            layer.flag(*setting, flag, Some((*value).to_owned()));
        }
        Low {
            flags: layer,
            file: ConfigFile::parse(file).unwrap(),
            path: Some("config.yaml".into()),
            ..Low::default()
        }
    }

    #[test]
    fn defaults_are_those_of_go() {
        let (config, warnings) = ServerConfig::resolve(&low("clusterID: c\n", &[])).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.cluster_id.as_deref(), Some("c"));
        assert_eq!(config.backend_modes, [SourceId::MountedFile]);
        assert_eq!(
            config.webhook.bind,
            Bind {
                address: Some(DEFAULT_ADDRESS),
                port: 21362
            }
        );
        assert_eq!(
            config.health,
            Bind {
                address: None,
                port: 21363
            }
        );
        assert_eq!(config.webhook.state_dir.to_str(), Some("/var/aws-iam-authenticator"));
        assert_eq!(config.webhook.hostname, "localhost");
        assert!(config.identity_outage_grace && !config.kubeconfig_pregenerated && !config.legacy_status_codes);
        assert_eq!(config.policy.privileged_groups_from, None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = "clusterID: c\nserver:\n  port: 1000\n  backendMode: [EKSConfigMap]\n  address: 0.0.0.0\n";
        let flags = [
            (Setting::Port, "--port", "2000"),
            (Setting::BackendMode, "--backend-mode", "CRD,File"),
        ];
        let (config, warnings) = ServerConfig::resolve(&low(file, &flags)).unwrap();
        assert_eq!(
            config.webhook.bind,
            Bind {
                address: Some(Ipv4Addr::UNSPECIFIED.into()),
                port: 2000
            }
        );
        assert_eq!(config.backend_modes, [SourceId::Crd, SourceId::MountedFile]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let file = "clusterID: ü\nserver:\n  port: 70000\n  partition: aws-mars\n  scrubbedAccounts: ['123']\n";
        let flags = [
            (
                Setting::BackendMode,
                "--backend-mode",
                "EKSConfigmap,DynamicFile,CRD,CRD",
            ),
            (Setting::IdentityCacheTtl, "--identity-cache-ttl", "20"),
            (Setting::LegacyStatusCodes, "--legacy-status-codes", "maybe"),
            (Setting::AllowedRegions, "--allowed-regions", "us-east-1,EVIL.COM"),
        ];
        let problems = ServerConfig::resolve(&low(file, &flags)).unwrap_err();
        assert!(problems.is_usage());
        let text = problems.to_string();
        assert_eq!(text.lines().count(), 10, "{text}");
        for part in [
            "clusterID in line 1 of the configuration file: the cluster ID may hold printable ASCII",
            "server.port in line 3 of the configuration file: \"70000\" is not a port",
            "did you mean EKSConfigMap?",
            "--backend-mode: DynamicFile is not supported yet",
            "--backend-mode: CRD is named twice",
            "--identity-cache-ttl: \"20\" is not a duration",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn the_cluster_id_may_come_from_the_watched_config_map() {
        let missing = ServerConfig::resolve(&low("", &[])).unwrap_err();
        assert!(
            missing.is_usage() && missing.to_string().contains("--cluster-id"),
            "{missing}"
        );
        let flags = [(Setting::BackendMode, "--backend-mode", "AuthenticatorConfigMap")];
        assert_eq!(ServerConfig::resolve(&low("", &flags)).unwrap().0.cluster_id, None);
    }

    #[test]
    fn nobody_may_grant_privileged_groups_when_the_list_is_empty() {
        let flags = [(Setting::PrivilegedGroupsFrom, "--privileged-groups-from", "")];
        let (config, _) = ServerConfig::resolve(&low("clusterID: c\n", &flags)).unwrap();
        assert_eq!(config.policy.privileged_groups_from, Some(Vec::new()));
    }

    #[test]
    fn metrics_have_a_port_of_their_own_or_that_of_the_probes() {
        let metrics = |text: &str| {
            let flags = [(Setting::MetricsAddress, "--metrics-address", text)];
            let resolved = ServerConfig::resolve(&low("clusterID: c\n", &flags));
            resolved.map(|(config, _)| config.metrics.map(|metrics| (metrics.address, metrics.port)))
        };
        let ip = |text: &str| Some(text.parse().unwrap());
        for (text, wanted) in [
            ("0.0.0.0", (None, None)),
            ("::", (None, None)),
            ("10.0.0.1", (ip("10.0.0.1"), None)),
            ("10.0.0.1:9100", (ip("10.0.0.1"), Some(9100))),
            (":9100", (None, Some(9100))),
            ("[::1]:9100", (ip("::1"), Some(9100))),
            ("0.0.0.0:21363", (None, None)),
        ] {
            assert_eq!(metrics(text).unwrap(), Some(wanted), "{text}");
        }
        assert_eq!(metrics("").unwrap(), None);
        for bad in [":21362", "here", "10.0.0.1:0", "10.0.0.1:x"] {
            assert!(metrics(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_alone_at_fault_is_not_a_usage_error() {
        let problems = ServerConfig::resolve(&low("clusterID: c\nserver:\n  port: x\n", &[])).unwrap_err();
        assert!(!problems.is_usage());
    }
}
