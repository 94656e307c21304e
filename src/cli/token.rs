//! `token`: what kubectl runs to log in.

mod cache;
mod exec_info;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::GlobalArgs;
use super::output::{Failure, environment, now, print, warn};
use crate::config::{Low, Problems, Reader, Setting};
use crate::credentials::{self, AssumeRole, Memory, SignerRequest};
use crate::token::check_cluster_id;
use crate::token::mint::{exec_credential, mint};
use crate::token_cache::CachedToken;
use cache::Cache;
use exec_info::ExecInfo;

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
    /// Keep the token until it ends and the credentials until they do, in files for you alone, and use what is kept there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cache: Option<String>,
}

/// What `token` is told, checked.
#[derive(Debug)]
struct TokenConfig {
    cluster_id: String,
    signer: SignerRequest,
    token_only: bool,
    cache: bool,
}

pub(super) fn run(args: TokenArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let mut low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    args.put_into(&mut low);
    let exec_info = ExecInfo::parse(environment("KUBERNETES_EXEC_INFO").as_deref());
    exec_info.put_into(&mut low);
    let (config, warnings) = TokenConfig::resolve(&low)?;
    warnings.iter().for_each(warn);
    // Asked for before the network is: a version that we cannot speak makes all else pointless.
    let version = exec_info.version()?;
    let mut cache = config.cache.then(|| Cache::open(&config));
    let kept = cache.as_mut().and_then(|cache| cache.token(now()));
    let token = match kept {
        Some(token) => token,
        None => fresh(&config, cache.as_mut())?,
    };
    if config.token_only {
        print(&token.token)
    } else {
        print(&exec_credential(version, &token.token, token.expiration))
    }
}

/// A new token, kept if there is a place for it.
fn fresh(config: &TokenConfig, cache: Option<&mut Cache>) -> Result<CachedToken, Failure> {
    let memory = cache
        .as_ref()
        .and_then(|cache| cache.memory())
        .map(|memory| memory as &dyn Memory);
    let signer = credentials::signer(&environment, &config.signer, memory, now()).map_err(Failure::failed)?;
    // Read again: a person may have typed a code meanwhile.
    let now = now();
    let keys = &signer.found.credentials;
    let token = CachedToken {
        token: mint(keys, &signer.host, &signer.region, &config.cluster_id, now),
        expiration: expiration(signer.found.expiry, now),
    };
    if let Some(cache) = cache {
        cache.keep(&token, signer.found.expiry, now);
    }
    Ok(token)
}

fn expiration(expiry: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let end = now.saturating_add(LIFETIME).unwrap_or(now);
    expiry.map_or(end, |expiry| expiry.min(end))
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
            reader.missing("the cluster ID is missing; give it with --cluster-id (-i), as the server has it, or let the kubeconfig name it (provideClusterInfo: true)");
        }
        let role = Self::role(&mut reader);
        let region = reader.text(Setting::TokenRegion);
        let cache = reader.flag(Setting::Cache, false);
        let token_only = reader.flag(Setting::TokenOnly, false);
        let signer = SignerRequest { region, role };
        reader.finish(Self {
            cluster_id: cluster_id.unwrap_or_default(),
            signer,
            token_only,
            cache,
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
        let flags = [(Setting::ClusterId, "-i", "c"), (Setting::SessionName, "-s", "x")];
        let (config, warnings) = resolve(&flags).unwrap();
        assert!(config.signer.role.is_none());
        assert!(warnings.is_empty());
    }

    #[test]
    fn credentials_that_end_sooner_end_the_token() {
        let at = |time: &str| format!("2026-11-24T{time}Z").parse::<Timestamp>().unwrap();
        let now = at("02:00:00");
        assert_eq!(expiration(None, now), at("02:14:00"));
        assert_eq!(expiration(Some(at("02:03:00")), now), at("02:03:00"));
        assert_eq!(expiration(Some(at("03:00:00")), now), at("02:14:00"));
    }
}
