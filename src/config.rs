//! What the program is told, in two types: [`Low`] as it was given, and [`ServerConfig`], which exists only checked.
//!
//! Low is layers of text (flags, environment, file): all optional, nothing checked, each value with the place it was given at.
//! The first layer that has a setting wins. High is made of it in one go, and every problem on the way is reported, not the first.

mod file;
mod gates;
mod reader;
mod server;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use file::{ConfigFile, FileError};
pub use gates::{FeatureGates, KNOWN_GATES};
pub use reader::Reader;
pub use server::{
    ApiServer, Bind, Ec2Settings, LeaseSettings, MetricsAddress, ReservedPrefixes, ServerConfig, WebhookFiles,
};
pub use value::parse_bool;

/// Everything that can be set, for all commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(
    missing_docs,
    reason = "each is the flag or key of that name, described by the command line's help"
)]
pub enum Setting {
    ClusterId,
    LogVerbosity,
    Partition,
    GenerateKubeconfig,
    KubeconfigPregenerated,
    StateDir,
    Kubeconfig,
    Master,
    Address,
    BackendMode,
    Port,
    Ec2Qps,
    Ec2Burst,
    Ec2RoleArn,
    SourceArn,
    Hostname,
    ScrubbedAccounts,
    DynamicFilePath,
    DynamicFileUserIdStrict,
    DynamicBackendModePath,
    HealthAddress,
    HealthPort,
    ReusePort,
    MetricsAddress,
    ClientCaFile,
    ServerRegion,
    AllowedRegions,
    IdentityCacheTtl,
    IdentityOutageGrace,
    SourceSyncTimeout,
    Audience,
    LegacyStatusCodes,
    AllowSystemUsernames,
    PrivilegedGroupsFrom,
    LeaderElect,
    LeaseName,
    LeaseNamespace,
    TokenRegion,
    Role,
    ExternalId,
    SessionName,
    ForwardSessionName,
    TokenOnly,
    Cache,
}

impl Setting {
    /// Each setting with its key in the configuration file.
    const KEYS: [(Self, &'static str); 44] = [
        (Self::ClusterId, "clusterID"),
        (Self::LogVerbosity, "log-verbosity"),
        (Self::Partition, "server.partition"),
        (Self::GenerateKubeconfig, "server.generateKubeconfig"),
        (Self::KubeconfigPregenerated, "server.kubeconfigPregenerated"),
        (Self::StateDir, "server.stateDir"),
        (Self::Kubeconfig, "server.kubeconfig"),
        (Self::Master, "server.master"),
        (Self::Address, "server.address"),
        (Self::BackendMode, "server.backendMode"),
        (Self::Port, "server.port"),
        (Self::Ec2Qps, "server.ec2DescribeInstancesQps"),
        (Self::Ec2Burst, "server.ec2DescribeInstancesBurst"),
        (Self::Ec2RoleArn, "server.ec2DescribeInstancesRoleARN"),
        (Self::SourceArn, "server.sourceARN"),
        (Self::Hostname, "server.hostname"),
        (Self::ScrubbedAccounts, "server.scrubbedAccounts"),
        (Self::DynamicFilePath, "server.dynamicfilepath"),
        (Self::DynamicFileUserIdStrict, "server.dynamicfileUserIDStrict"),
        (Self::DynamicBackendModePath, "server.dynamicBackendModePath"),
        (Self::HealthAddress, "server.healthAddress"),
        (Self::HealthPort, "server.healthPort"),
        (Self::ReusePort, "server.reusePort"),
        (Self::MetricsAddress, "server.metricsAddress"),
        (Self::ClientCaFile, "server.clientCAFile"),
        (Self::ServerRegion, "server.region"),
        (Self::AllowedRegions, "server.allowedRegions"),
        (Self::IdentityCacheTtl, "server.identityCacheTTL"),
        (Self::IdentityOutageGrace, "server.identityOutageGrace"),
        (Self::SourceSyncTimeout, "server.sourceSyncTimeout"),
        (Self::Audience, "server.audience"),
        (Self::LegacyStatusCodes, "server.legacyStatusCodes"),
        (Self::AllowSystemUsernames, "server.allowSystemUsernames"),
        (Self::PrivilegedGroupsFrom, "server.privilegedGroupsFrom"),
        (Self::LeaderElect, "server.leaderElect"),
        (Self::LeaseName, "server.leaseName"),
        (Self::LeaseNamespace, "server.leaseNamespace"),
        (Self::TokenRegion, "region"),
        (Self::Role, "role"),
        (Self::ExternalId, "externalID"),
        (Self::SessionName, "sessionName"),
        (Self::ForwardSessionName, "forwardSessionName"),
        (Self::TokenOnly, "tokenOnly"),
        (Self::Cache, "cache"),
    ];

    /// The key in the configuration file; its letter case does not matter there.
    pub fn key(self) -> &'static str {
        Self::KEYS
            .into_iter()
            .find(|(setting, _)| *setting == self)
            .map_or("", |(_, key)| key)
    }

    /// The setting of a key, in any letter case.
    fn of_key(key: &str) -> Option<Self> {
        Self::KEYS
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(key))
            .map(|(setting, _)| setting)
    }
}

/// Where a value was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// On the command line.
    Flag(&'static str),
    /// In an environment variable.
    Environment(&'static str),
    /// In the configuration file.
    File {
        /// The key, with its section.
        key: String,
        /// The line, from 1.
        line: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::File { key, line } => write!(f, "{key} in line {line} of the configuration file"),
        }
    }
}

/// A value as it was given: one text, or several for lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The texts.
    pub values: Vec<String>,
    /// Where.
    pub place: Place,
}

/// All values that came from one kind of place.
#[derive(Clone, Debug, Default)]
pub struct Layer(BTreeMap<Setting, Given>);

impl Layer {
    /// Adds a flag, if it was given. An empty cluster id counts as absent: a variable that is not set is no name.
    pub fn flag(&mut self, setting: Setting, flag: &'static str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty() || setting != Setting::ClusterId) {
            self.put(setting, vec![value], Place::Flag(flag));
        }
    }

    /// Adds a flag that may be repeated, if it was given.
    pub fn flags(&mut self, setting: Setting, flag: &'static str, values: Vec<String>) {
        if !values.is_empty() {
            self.put(setting, values, Place::Flag(flag));
        }
    }

    /// Adds the value of an environment variable. An empty one counts as absent.
    pub fn environment(&mut self, setting: Setting, name: &'static str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.put(setting, vec![value], Place::Environment(name));
        }
    }

    /// Whether the layer has the setting.
    pub fn has(&self, setting: Setting) -> bool {
        self.0.contains_key(&setting)
    }

    fn put(&mut self, setting: Setting, values: Vec<String>, place: Place) {
        self.0.insert(setting, Given { values, place });
    }
}

/// The configuration as it was given.
#[derive(Debug, Default)]
pub struct Low {
    /// Flags.
    pub flags: Layer,
    /// Environment variables.
    pub environment: Layer,
    /// The file of `--config`, when there is one.
    pub file: ConfigFile,
    /// Its path.
    pub path: Option<PathBuf>,
}

impl Low {
    /// What was given, by the first layer that has it.
    pub fn get(&self, setting: Setting) -> Option<&Given> {
        [&self.flags, &self.environment, &self.file.layer]
            .into_iter()
            .find_map(|layer| layer.0.get(&setting))
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where it was given; `None` when it is missing.
    pub place: Option<Place>,
    /// A sentence.
    pub message: String,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether the command line or the environment is at fault, rather than the file.
    pub fn is_usage(&self) -> bool {
        self.0
            .iter()
            .any(|problem| !matches!(problem.place, Some(Place::File { .. })))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Problem { place, message } in &self.0 {
            f.write_str(separator)?;
            if let Some(place) = place {
                write!(f, "{place}: ")?;
            }
            f.write_str(message)?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_key_of_its_own() {
        for (setting, key) in Setting::KEYS {
            assert_eq!(setting.key(), key);
            assert_eq!(Setting::of_key(&key.to_uppercase()), Some(setting));
        }
    }

    #[test]
    fn every_setting_is_known_where_the_mappings_of_the_file_are_read() {
        use crate::mapping::aws_auth::{SERVER_SETTINGS, TOP_SETTINGS};
        for (_, key) in Setting::KEYS {
            let known = match key.strip_prefix("server.") {
                Some(key) => SERVER_SETTINGS.contains(&key),
                None => TOP_SETTINGS.contains(&key),
            };
            assert!(known, "{key} would be taken for a misspelling there");
        }
    }

    #[test]
    fn flag_over_environment_over_file() {
        let mut low = Low {
            file: ConfigFile::parse("clusterID: from-file\n").unwrap(),
            ..Low::default()
        };
        let value = |low: &Low| low.get(Setting::ClusterId).unwrap().values.clone();
        assert_eq!(value(&low), ["from-file"]);
        low.environment
            .environment(Setting::ClusterId, "X", Some(String::new()));
        assert_eq!(value(&low), ["from-file"]);
        low.environment
            .environment(Setting::ClusterId, "X", Some("from-env".to_owned()));
        assert_eq!(value(&low), ["from-env"]);
        low.flags.flag(Setting::ClusterId, "--cluster-id", None);
        assert_eq!(value(&low), ["from-env"]);
        low.flags
            .flag(Setting::ClusterId, "--cluster-id", Some("from-flag".to_owned()));
        assert_eq!(value(&low), ["from-flag"]);
    }
}
