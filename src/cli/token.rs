//! `token`: what kubectl runs to log in.

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::GlobalArgs;
use super::aws::{self, AssumeRole, Signer, SignerRequest};
use super::output::{Failure, environment, now, print, warn};
use crate::config::{Low, Problems, Reader, Setting};
use crate::token::check_cluster_id;
use crate::token::mint::{ExecApiVersion, exec_credential, mint};

/// STS accepts a token for 15 minutes; a minute is left for clocks that differ.
const LIFETIME: SignedDuration = SignedDuration::from_mins(14);

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the help texts are for terminals")]
pub(super) struct TokenArgs {
    /// Assume this IAM role first [env: DEFAULT_ROLE]
    #[arg(short, long, value_name = "ARN")]
    role: Option<String>,
    /// The external ID to assume it with
    #[arg(short, long, value_name = "ID")]
    external_id: Option<String>,
    /// The session name to assume it with
    #[arg(short, long, value_name = "NAME")]
    session_name: Option<String>,
    /// Assume it with the session name of the current credentials
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    forward_session_name: Option<String>,
    /// The AWS region whose STS endpoint is asked [default: that of the environment or profile, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print the token alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    token_only: Option<String>,
    /// Not supported yet: ignored with a warning
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cache: Option<String>,
}

/// What `token` is told, checked.
#[derive(Debug)]
struct TokenConfig {
    cluster_id: String,
    signer: SignerRequest,
    token_only: bool,
}

pub(super) fn run(args: TokenArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let mut low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    args.put_into(&mut low);
    let (config, warnings) = TokenConfig::resolve(&low)?;
    warnings.iter().for_each(warn);
    // Asked for before the network is: a version that we cannot speak makes all else pointless.
    let version = exec_api_version(environment("KUBERNETES_EXEC_INFO").as_deref())?;
    let signer = aws::signer(&config.cluster_id, config.signer)?;
    let now = now();
    let token = mint(
        &signer.credentials,
        &signer.host,
        &signer.region,
        &config.cluster_id,
        now,
    );
    if config.token_only {
        print(&token)
    } else {
        print(&exec_credential(version, &token, expiration(&signer, now)))
    }
}

fn expiration(signer: &Signer, now: Timestamp) -> Timestamp {
    let end = now.saturating_add(LIFETIME).unwrap_or(now);
    signer.expiry.map_or(end, |expiry| expiry.min(end))
}

impl TokenArgs {
    fn put_into(self, low: &mut Low) {
        let flags = &mut low.flags;
        flags.flag(Setting::Role, "--role", self.role);
        flags.flag(Setting::ExternalId, "--external-id", self.external_id);
        flags.flag(Setting::SessionName, "--session-name", self.session_name);
        flags.flag(
            Setting::ForwardSessionName,
            "--forward-session-name",
            self.forward_session_name,
        );
        flags.flag(Setting::TokenRegion, "--region", self.region);
        flags.flag(Setting::TokenOnly, "--token-only", self.token_only);
        flags.flag(Setting::Cache, "--cache", self.cache);
    }
}

impl TokenConfig {
    fn resolve(low: &Low) -> Result<(Self, Vec<String>), Problems> {
        let mut reader = Reader::new(low);
        let cluster_id = reader.optional(Setting::ClusterId, |id| {
            check_cluster_id(id)
                .map(|()| id.to_owned())
                .map_err(|error| error.to_string())
        });
        if reader.given(Setting::ClusterId).is_none() {
            reader.missing("the cluster ID is missing; give it with --cluster-id (-i), as the server has it");
        }
        let role = Self::role(&mut reader);
        let region = reader.text(Setting::TokenRegion);
        if reader.flag(Setting::Cache, false) {
            reader.warn("--cache is not supported yet and has no effect");
        }
        let token_only = reader.flag(Setting::TokenOnly, false);
        let signer = SignerRequest { region, role };
        reader.finish(Self {
            cluster_id: cluster_id.unwrap_or_default(),
            signer,
            token_only,
        })
    }

    fn role(reader: &mut Reader<'_>) -> Option<AssumeRole> {
        let arn = reader.text(Setting::Role);
        let external_id = reader.text(Setting::ExternalId);
        let session_name = reader.text(Setting::SessionName);
        let forward_session_name = reader.flag(Setting::ForwardSessionName, false);
        if forward_session_name && session_name.is_some() {
            reader.missing("--forward-session-name and --session-name contradict each other; give one of them");
        }
        Some(AssumeRole {
            arn: arn?,
            external_id,
            session_name,
            forward_session_name,
        })
    }
}

/// The version that kubectl asks for, by what it says of itself. As in Go, what is not an object with a version is ignored.
fn exec_api_version(exec_info: Option<&str>) -> Result<ExecApiVersion, Failure> {
    let info: Option<Value> = exec_info.and_then(|json| serde_json::from_str(json).ok());
    let Some(version) = info.as_ref().and_then(|info| info.get("apiVersion")?.as_str()) else {
        return Ok(ExecApiVersion::default());
    };
    ExecApiVersion::from_api_version(version).ok_or_else(|| {
        Failure::failed(format!(
            "KUBERNETES_EXEC_INFO asks for {version:?}, which is not known here; set apiVersion of the exec user in the kubeconfig to {}",
            ExecApiVersion::V1.as_str()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &[(Setting, &'static str, &str)]) -> Result<(TokenConfig, Vec<String>), Problems> {
        let mut low = Low::default();
        for (setting, flag, value) in flags {
            low.flags.flag(*setting, flag, Some((*value).to_owned()));
        }
        TokenConfig::resolve(&low)
    }

    #[test]
    fn the_exec_info_decides_about_the_version() {
        let version = |info: Option<&str>| exec_api_version(info).ok();
        let ask =
            |version| format!(r#"{{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/{version}"}}"#);
        assert_eq!(version(None), Some(ExecApiVersion::V1Beta1));
        assert_eq!(version(Some("nonsense")), Some(ExecApiVersion::V1Beta1));
        assert_eq!(version(Some(&ask("v1"))), Some(ExecApiVersion::V1));
        assert_eq!(version(Some(&ask("v1alpha1"))), Some(ExecApiVersion::V1Alpha1));
        assert_eq!(version(Some(&ask("v2"))), None);
    }

    #[test]
    fn problems_come_together() {
        let flags = [
            (Setting::SessionName, "--session-name", "x"),
            (Setting::ForwardSessionName, "--forward-session-name", "true"),
            (Setting::TokenOnly, "--token-only", "perhaps"),
        ];
        let problems = resolve(&flags).unwrap_err();
        assert_eq!(problems.0.len(), 3, "{problems}");
    }

    #[test]
    fn session_options_without_a_role_are_ignored() {
        let flags = [
            (Setting::ClusterId, "-i", "c"),
            (Setting::SessionName, "-s", "x"),
            (Setting::Cache, "--cache", "true"),
        ];
        let (config, warnings) = resolve(&flags).unwrap();
        assert!(config.signer.role.is_none());
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn credentials_that_end_sooner_end_the_token() {
        let now: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        let mut signer = Signer {
            credentials: crate::token::mint::SigningCredentials {
                access_key_id: String::new(),
                secret_access_key: String::new(),
                session_token: None,
            },
            expiry: None,
            host: String::new(),
            region: String::new(),
        };
        assert_eq!(expiration(&signer, now).to_string(), "2026-11-24T02:14:00Z");
        signer.expiry = Some("2026-11-24T02:03:00Z".parse().unwrap());
        assert_eq!(expiration(&signer, now).to_string(), "2026-11-24T02:03:00Z");
        signer.expiry = Some("2026-11-24T03:00:00Z".parse().unwrap());
        assert_eq!(expiration(&signer, now).to_string(), "2026-11-24T02:14:00Z");
    }
}
