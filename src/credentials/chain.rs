//! The default chain of the SDKs, one provider after the other: profile, web identity, container, and only then the metadata
//! service of the instance. A provider that was set up and fails ends the search: to log in as somebody else would be worse.

use std::error::Error as _;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError as SdkError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided};
use jiff::Timestamp;
use tokio::time::timeout;

use super::error::reasons;
use super::http::Network;
use super::profile::{Base, mfa_chain};
use super::settings::Settings;
use super::{CredentialsError, Found, role};

/// The metadata service is on the same host. Who is not on EC2 learns within this time that there are no credentials.
const METADATA_TIMEOUT: Duration = Duration::from_millis(1500);

/// The agents of ECS and EKS are on the same host, too, but may have to ask AWS first.
const CONTAINER_TIMEOUT: Duration = Duration::from_secs(5);
const CONTAINER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A process, an SSO portal or an STS that has not answered by then does not answer; who waits behind us for the same token waits as long.
const PROFILE_TIMEOUT: Duration = Duration::from_mins(1);

/// The caller's own credentials.
pub(super) struct Own {
    pub(super) found: Found,
    /// Whether they are this instance's: there to be asked for each time, together with its region.
    pub(super) is_instance: bool,
    /// The region of this instance, when nobody named one and the instance had the credentials.
    pub(super) region: Option<String>,
}

impl Own {
    fn of(found: Found) -> Self {
        Self {
            found,
            is_instance: false,
            region: None,
        }
    }
}

/// The caller's own credentials, from the first that has any.
pub(super) async fn own(settings: &Settings, network: &Network, now: Timestamp) -> Result<Own, CredentialsError> {
    let config = network.providers(settings);
    let mut tried = vec!["AWS_ACCESS_KEY_ID is not set".to_owned()];
    match from_profile(settings, network, &config, now).await? {
        Ok(found) => return Ok(Own::of(found)),
        Err(why) => tried.push(why),
    }
    match web_identity(settings, &config).await? {
        Ok(found) => return Ok(Own::of(found)),
        Err(why) => tried.push(why),
    }
    match container(settings, &config).await? {
        Ok(found) => return Ok(Own::of(found)),
        Err(why) => tried.push(why),
    }
    match instance(settings, &config).await {
        Ok(found) => {
            return Ok(Own {
                found,
                is_instance: true,
                region: instance_region(settings, &config).await,
            });
        }
        Err(why) => tried.push(why),
    }
    Err(CredentialsError::NoneFound {
        tried: tried.join("; "),
    })
}

/// What a provider gave; or, in the inner error, why there is nothing to be had from it.
type Outcome = Result<Result<Found, String>, CredentialsError>;

async fn from_profile(settings: &Settings, network: &Network, config: &ProviderConfig, now: Timestamp) -> Outcome {
    let name = &settings.profile_name;
    if settings.profile().is_none() {
        return Ok(Err(format!("there is no AWS profile {name:?}")));
    }
    let Some((base, steps)) = mfa_chain(&settings.profiles, name)? else {
        return profile(name, config).await;
    };
    let base = match base {
        Base::Keys(found) => found,
        Base::Profile(base) => profile(&base, config)
            .await?
            .map_err(|reason| CredentialsError::Profile { profile: base, reason })?,
        Base::Source(source) => credential_source(name, &source, settings, config).await?,
    };
    role::walk(base, &steps, settings, network, now).await.map(Ok)
}

async fn profile(name: &str, config: &ProviderConfig) -> Outcome {
    let provider = ProfileFileCredentialsProvider::builder()
        .configure(config)
        .profile_name(name)
        .build();
    let advice = "correct the profile, or log in again with `aws sso login`";
    let given = timeout(PROFILE_TIMEOUT, provider.provide_credentials()).await;
    let given = given.unwrap_or_else(|_| Err(SdkError::provider_timed_out(PROFILE_TIMEOUT)));
    outcome(&format!("the AWS profile {name:?}"), advice, given)
}

async fn credential_source(
    profile: &str,
    source: &str,
    settings: &Settings,
    config: &ProviderConfig,
) -> Result<Found, CredentialsError> {
    let failed = |reason: String| CredentialsError::Profile {
        profile: profile.to_owned(),
        reason: format!("its credential_source {source:?} has none: {reason}"),
    };
    let found = match source {
        "Environment" => {
            let provider = EnvironmentVariableCredentialsProvider::new();
            outcome(
                "the environment",
                "set AWS_ACCESS_KEY_ID",
                provider.provide_credentials().await,
            )?
        }
        "EcsContainer" => container(settings, config).await?,
        "Ec2InstanceMetadata" => instance(settings, config).await,
        _ => {
            return Err(failed(
                "it is none of Environment, Ec2InstanceMetadata, EcsContainer; correct credential_source".to_owned(),
            ));
        }
    };
    found.map_err(failed)
}

async fn web_identity(settings: &Settings, config: &ProviderConfig) -> Outcome {
    if !settings.has_web_identity {
        return Ok(Err("AWS_WEB_IDENTITY_TOKEN_FILE is not set".to_owned()));
    }
    let provider = WebIdentityTokenCredentialsProvider::builder().configure(config).build();
    let advice = "check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN and the trust policy of that role";
    outcome("the web identity", advice, provider.provide_credentials().await)
}

async fn container(settings: &Settings, config: &ProviderConfig) -> Outcome {
    if !settings.has_container {
        return Ok(Err("AWS_CONTAINER_CREDENTIALS_FULL_URI is not set".to_owned()));
    }
    let provider = EcsCredentialsProvider::builder()
        .configure(config)
        .connect_timeout(CONTAINER_CONNECT_TIMEOUT)
        .build();
    let advice = "check the role of the task or of the pod, and the agent on this node";
    let given = timeout(CONTAINER_TIMEOUT, provider.provide_credentials()).await;
    let given = given.unwrap_or_else(|_| Err(SdkError::provider_timed_out(CONTAINER_TIMEOUT)));
    outcome("the container's agent", advice, given)
}

/// The metadata service. Whether there is one is not known before it is asked, so that it does not answer is no failure.
async fn instance(settings: &Settings, config: &ProviderConfig) -> Result<Found, String> {
    if settings.metadata_is_disabled {
        return Err("the EC2 metadata service is switched off (AWS_EC2_METADATA_DISABLED)".to_owned());
    }
    let provider = ImdsCredentialsProvider::builder()
        .configure(config)
        .imds_client(metadata(config))
        .build();
    match timeout(METADATA_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(credentials)) => Ok(Found::from(&credentials)),
        Ok(Err(error)) => Err(format!("the EC2 metadata service: {}", reasons(&error))),
        Err(_) => Err("the EC2 metadata service does not answer".to_owned()),
    }
}

async fn instance_region(settings: &Settings, config: &ProviderConfig) -> Option<String> {
    if settings.has_region() {
        return None;
    }
    let provider = ImdsRegionProvider::builder()
        .configure(config)
        .imds_client(metadata(config))
        .build();
    let region = timeout(METADATA_TIMEOUT, provider.region()).await;
    region.ok().flatten().map(|region| region.to_string())
}

fn metadata(config: &ProviderConfig) -> imds::Client {
    imds::Client::builder().configure(config).max_attempts(2).build()
}

fn outcome(provider: &str, advice: &'static str, given: Provided) -> Outcome {
    match given {
        Ok(credentials) => Ok(Ok(Found::from(&credentials))),
        // With a reason it was set up, and wrongly: going on would log in as somebody else.
        Err(error @ SdkError::CredentialsNotLoaded(_)) if error.source().is_none() => {
            Ok(Err(format!("{provider}: {}", reasons(&error))))
        }
        Err(error) => Err(CredentialsError::Provider {
            provider: provider.to_owned(),
            reason: reasons(&error),
            advice,
        }),
    }
}
