//! The shared config and credentials files: their profiles, and the roles that profiles assume with an MFA device, which the SDK
//! does not know how to ask for.

use aws_config::profile::{Profile, ProfileSet};
use aws_types::os_shim_internal::{Env, Fs};
use futures::FutureExt as _;

use super::error::reasons;
use super::{CredentialsError, Found};
use crate::token::mint::SigningCredentials;

/// Keys of a profile that lead to other credentials than the profile's own keys.
const LEADS_ELSEWHERE: [&str; 9] = [
    "role_arn",
    "source_profile",
    "credential_source",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "login_session",
];

/// Where a chain of roles begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// Keys in a profile.
    Keys(Found),
    /// Whatever the SDK makes of this profile.
    Profile(String),
    /// `credential_source`: `Environment`, `Ec2InstanceMetadata` or `EcsContainer`.
    Source(String),
}

/// A role that a profile assumes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) profile: String,
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
    pub(super) mfa_serial: Option<String>,
    pub(super) seconds: Option<i32>,
}

/// Reads both files.
pub(super) fn load(profile: &str) -> Result<ProfileSet, CredentialsError> {
    let (files, env) = (Fs::real(), Env::real());
    let files_of_the_environment = aws_runtime::env_config::file::EnvConfigFiles::default();
    let load = aws_config::profile::load(&files, &env, &files_of_the_environment, Some(profile.to_owned().into()));
    // The SDK reads files without waiting; a runtime is not worth its price for that.
    let loaded = load.now_or_never();
    let loaded = loaded.ok_or_else(|| CredentialsError::Profiles("the files are not read at once".to_owned()))?;
    loaded.map_err(|error| CredentialsError::Profiles(reasons(&error)))
}

/// The error for a profile that is not there.
pub(super) fn unknown(name: &str, profiles: &ProfileSet) -> CredentialsError {
    const SHOWN: usize = 10;
    let mut known: Vec<&str> = profiles.profiles().collect();
    known.sort_unstable();
    let more = if known.len() > SHOWN { ", …" } else { "" };
    known.truncate(SHOWN);
    let known = match known.as_slice() {
        [] => "there are no profiles in ~/.aws/config and ~/.aws/credentials".to_owned(),
        names => format!("there are {}{more}", names.join(", ")),
    };
    CredentialsError::UnknownProfile {
        name: name.to_owned(),
        known,
    }
}

/// The keys of a profile that has nothing but keys.
pub(super) fn only_keys(profile: &Profile) -> Option<Found> {
    let leads_elsewhere = LEADS_ELSEWHERE.iter().any(|key| profile.get(key).is_some());
    if leads_elsewhere { None } else { keys(profile) }
}

fn keys(profile: &Profile) -> Option<Found> {
    let value = |key: &str| profile.get(key).map(str::trim).filter(|value| !value.is_empty());
    Some(Found {
        credentials: SigningCredentials {
            access_key_id: value("aws_access_key_id")?.to_owned(),
            secret_access_key: value("aws_secret_access_key")?.to_owned(),
            session_token: value("aws_session_token").map(str::to_owned),
        },
        expiry: None,
    })
}

/// The roles to assume one after the other and where they begin, when one of them wants an MFA code. Without one the SDK walks
/// the chain by itself.
pub(super) fn mfa_chain(profiles: &ProfileSet, name: &str) -> Result<Option<(Base, Vec<Step>)>, CredentialsError> {
    let (base, steps) = match walk(profiles, name) {
        Ok(walked) => walked,
        // Told by whom it hinders only: the SDK has words of its own for a chain without MFA.
        Err(_) if !profiles.profiles().any(|name| wants_mfa(profiles, name)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let wanted = steps.iter().any(|step| step.mfa_serial.is_some());
    Ok(wanted.then_some((base, steps)))
}

fn wants_mfa(profiles: &ProfileSet, name: &str) -> bool {
    profiles
        .get_profile(name)
        .is_some_and(|profile| profile.get("mfa_serial").is_some())
}

fn walk(profiles: &ProfileSet, name: &str) -> Result<(Base, Vec<Step>), CredentialsError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut name = name.to_owned();
    let base = loop {
        let failed = |reason: String| CredentialsError::Profile {
            profile: name.clone(),
            reason,
        };
        let Some(profile) = profiles.get_profile(&name) else {
            return Err(unknown(&name, profiles));
        };
        if steps.iter().any(|step| step.profile == name) {
            return Err(failed(
                "its source_profile leads back to itself; correct source_profile".to_owned(),
            ));
        }
        let own_keys = keys(profile).filter(|_| !steps.is_empty());
        let Some(step) = Step::of(profile).filter(|_| own_keys.is_none()) else {
            break own_keys.map_or(Base::Profile(name), Base::Keys);
        };
        steps.push(step);
        match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(source), None) if source == name => {
                let keys = keys(profile).ok_or_else(|| {
                    failed(
                        "it is its own source_profile and has no keys; add aws_access_key_id and aws_secret_access_key"
                            .to_owned(),
                    )
                })?;
                break Base::Keys(keys);
            }
            (Some(source), None) => source.clone_into(&mut name),
            (None, Some(source)) => break Base::Source(source.to_owned()),
            _ => {
                return Err(failed(
                    "beside role_arn it needs one of source_profile and credential_source; set one of them".to_owned(),
                ));
            }
        }
    };
    steps.reverse();
    Ok((base, steps))
}

impl Step {
    fn of(profile: &Profile) -> Option<Self> {
        let value = |key: &str| profile.get(key).map(str::to_owned);
        if profile.get("web_identity_token_file").is_some() {
            return None;
        }
        Some(Self {
            profile: profile.name().to_owned(),
            arn: value("role_arn")?,
            external_id: value("external_id"),
            session_name: value("role_session_name"),
            mfa_serial: value("mfa_serial"),
            seconds: value("duration_seconds").and_then(|seconds| seconds.trim().parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_config::profile::ProfileSet;
    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

    use super::*;

    fn parse(config: &str) -> ProfileSet {
        let files = EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, config)
            .build();
        aws_config::profile::load(&Fs::real(), &Env::from_slice(&[]), &files, None)
            .now_or_never()
            .unwrap()
            .unwrap()
    }

    const KEYS: &str = "aws_access_key_id = AKID\naws_secret_access_key = s\n";

    #[test]
    fn keys_beside_a_role_are_not_the_profiles_own() {
        let profiles = parse(&format!(
            "[profile a]\n{KEYS}[profile b]\n{KEYS}role_arn = r\nsource_profile = a\n"
        ));
        let found = |name| profiles.get_profile(name).and_then(only_keys);
        assert_eq!(found("a").unwrap().credentials.access_key_id, "AKID");
        assert_eq!(found("b"), None);
    }

    #[test]
    fn the_sdk_keeps_chains_without_mfa() {
        let profiles = parse("[profile a]\nrole_arn = r\nsource_profile = gone\n");
        assert_eq!(mfa_chain(&profiles, "a"), Ok(None));
    }

    #[test]
    fn a_chain_is_walked_from_its_base() {
        let profiles = parse(&format!(
            "[profile top]\nrole_arn = r2\nsource_profile = mid\nduration_seconds = 900\n\
             [profile mid]\nrole_arn = r1\nsource_profile = base\nmfa_serial = dev\nexternal_id = x\n[profile base]\n{KEYS}"
        ));
        let (base, steps) = mfa_chain(&profiles, "top").unwrap().unwrap();
        assert!(matches!(base, Base::Keys(_)));
        let arns: Vec<&str> = steps.iter().map(|step| step.arn.as_str()).collect();
        assert_eq!(arns, ["r1", "r2"]);
        assert_eq!(steps.first().unwrap().mfa_serial.as_deref(), Some("dev"));
        assert_eq!(steps.last().unwrap().seconds, Some(900));
    }

    #[test]
    fn other_bases() {
        let base = |config: &str| mfa_chain(&parse(config), "a").map(|chain| chain.unwrap().0);
        let own = format!("[profile a]\nrole_arn = r\nmfa_serial = m\nsource_profile = a\n{KEYS}");
        assert!(matches!(base(&own), Ok(Base::Keys(_))));
        let process =
            "[profile a]\nrole_arn = r\nmfa_serial = m\nsource_profile = b\n[profile b]\ncredential_process = x\n";
        assert_eq!(base(process), Ok(Base::Profile("b".to_owned())));
        let source = "[profile a]\nrole_arn = r\nmfa_serial = m\ncredential_source = Environment\n";
        assert_eq!(base(source), Ok(Base::Source("Environment".to_owned())));
    }

    #[test]
    fn circles_and_gaps_are_told() {
        let error = |config: &str| mfa_chain(&parse(config), "a").unwrap_err().to_string();
        let circle = "[profile a]\nrole_arn = r\nmfa_serial = m\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n";
        assert!(error(circle).contains("leads back to itself"));
        let gap = "[profile a]\nrole_arn = r\nmfa_serial = m\nsource_profile = gone\n";
        assert!(
            error(gap).contains(r#"no AWS profile "gone"; there are a;"#),
            "{}",
            error(gap)
        );
        let neither = "[profile a]\nrole_arn = r\nmfa_serial = m\n";
        assert!(error(neither).contains("one of source_profile and credential_source"));
    }
}
