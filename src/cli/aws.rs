//! Credentials and an STS endpoint to sign a token for, as the AWS SDK finds them.
//!
//! Keys in the environment are used straight away, without the SDK: kubectl waits for us at every command.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector, tls};
use jiff::Timestamp;

use super::output::{Failure, environment, now};
use crate::authn::GetCallerIdentity as _;
use crate::lifecycle::command_runtime;
use crate::partition::{Partition, StsEndpointPolicy, default_host};
use crate::sts::{CacheHit, Sts, StsObserver, StsOptions};
use crate::token::mint::{SigningCredentials, mint};
use crate::token::presigned::PresignedRequest;
use crate::token::{BearerToken, TokenPolicy};

/// As in Go, when nobody names a region.
const DEFAULT_REGION: &str = "us-east-1";

/// The name under which the SDKs know the global endpoint.
const GLOBAL_REGION: &str = "aws-global";

/// What a token is to be signed with.
#[derive(Debug)]
pub(super) struct SignerRequest {
    /// The region of the STS endpoint.
    pub(super) region: Option<String>,
    /// A role to assume first.
    pub(super) role: Option<AssumeRole>,
}

/// A role to assume.
#[derive(Debug)]
pub(super) struct AssumeRole {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
    pub(super) forward_session_name: bool,
}

/// All that goes into a signature.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) credentials: SigningCredentials,
    /// When the credentials end.
    pub(super) expiry: Option<Timestamp>,
    pub(super) host: String,
    pub(super) region: String,
}

/// Finds credentials and the endpoint.
pub(super) fn signer(cluster_id: &str, request: SignerRequest) -> Result<Signer, Failure> {
    if let Some(signer) = from_environment(&request) {
        return signer;
    }
    let runtime = command_runtime().map_err(Failure::failed)?;
    runtime.block_on(from_chain(cluster_id, request))
}

/// Keys and region in the environment leave nothing to look for.
fn from_environment(request: &SignerRequest) -> Option<Result<Signer, Failure>> {
    if request.role.is_some() {
        return None;
    }
    let variable = |name| environment(name).filter(|value| !value.is_empty());
    let region = request
        .region
        .clone()
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))?;
    let credentials = SigningCredentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: variable("AWS_SESSION_TOKEN"),
    };
    let expiry = variable("AWS_CREDENTIAL_EXPIRATION").and_then(|time| time.parse().ok());
    let is_on = |name| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let hosts = Hosts {
        fips: is_on("AWS_USE_FIPS_ENDPOINT"),
        dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT"),
    };
    let endpoint = hosts.endpoint(&region);
    Some(endpoint.map(|(host, region)| Signer {
        credentials,
        expiry,
        host,
        region,
    }))
}

/// The whole default chain: environment, profiles, web identity, containers, and only then the metadata service.
async fn from_chain(cluster_id: &str, request: SignerRequest) -> Result<Signer, Failure> {
    let named = RegionProviderChain::first_try(request.region.map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .region()
        .await;
    let region = named.unwrap_or(Region::from_static(DEFAULT_REGION));
    let config = loader(region.clone())?.load().await;
    let hosts = Hosts {
        fips: config.use_fips().unwrap_or_default(),
        dual_stack: config.use_dual_stack().unwrap_or_default(),
    };
    let (host, signing_region) = hosts.endpoint(region.as_ref())?;
    let mut signer = Signer::new(&own_credentials(&config).await?, host, signing_region);
    if let Some(role) = request.role {
        let credentials = assume(role, cluster_id, &config, &signer).await?;
        signer = Signer::new(&credentials, signer.host, signer.region);
    }
    Ok(signer)
}

async fn own_credentials(config: &SdkConfig) -> Result<Credentials, Failure> {
    let advice = "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in (aws sso login)";
    let Some(provider) = config.credentials_provider() else {
        return Err(Failure::failed(format!("there are no AWS credentials; {advice}")));
    };
    let found = provider.provide_credentials().await;
    found.map_err(|error| Failure::failed(format!("cannot find AWS credentials: {}; {advice}", chain(&error))))
}

async fn assume(role: AssumeRole, cluster_id: &str, config: &SdkConfig, own: &Signer) -> Result<Credentials, Failure> {
    let session_name = if role.forward_session_name {
        own_session_name(cluster_id, own).await?
    } else {
        role.session_name
    };
    let mut builder = AssumeRoleProvider::builder(role.arn.as_str())
        .configure(config)
        .session_name(session_name.unwrap_or_else(|| format!("aws-iam-authenticator-{}", now().as_millisecond())));
    if let Some(id) = role.external_id {
        builder = builder.external_id(id);
    }
    builder.build().await.provide_credentials().await.map_err(|error| {
        Failure::failed(format!(
            "cannot assume the role {}: {}; check that its trust policy allows your credentials, and that STS can be reached",
            role.arn,
            chain(&error)
        ))
    })
}

/// The session name of our own credentials, when they have one.
async fn own_session_name(cluster_id: &str, own: &Signer) -> Result<Option<String>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "cannot find out the current session name for --forward-session-name: {error}"
        ))
    };
    let partition = Partition::of_region(&own.region).unwrap_or(Partition::Aws);
    let endpoints = StsEndpointPolicy::new(partition, Some(&own.region), &[]).map_err(|error| failed(&error))?;
    let policy = TokenPolicy::new(endpoints, cluster_id).map_err(|error| failed(&error))?;
    let now_ = now();
    let token = mint(&own.credentials, &own.host, &own.region, cluster_id, now_);
    let request = BearerToken::parse(&token).and_then(|token| PresignedRequest::parse(token, &policy, now_));
    let request = request.map_err(|error| failed(&error))?;
    let sts = Sts::new(StsOptions::new(now), Arc::new(Nobody)).map_err(|error| failed(&error))?;
    let identity = sts
        .get_caller_identity(&request)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Some(identity.session_name().to_owned()).filter(|name| !name.is_empty()))
}

impl Signer {
    fn new(credentials: &Credentials, host: String, region: String) -> Self {
        let expiry = credentials.expiry().and_then(|time| Timestamp::try_from(time).ok());
        let credentials = SigningCredentials {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: credentials.secret_access_key().to_owned(),
            session_token: credentials.session_token().map(str::to_owned),
        };
        Self {
            credentials,
            expiry,
            host,
            region,
        }
    }
}

/// Which of its hosts STS is asked at.
#[derive(Clone, Copy, Debug, Default)]
struct Hosts {
    fips: bool,
    dual_stack: bool,
}

impl Hosts {
    /// The host of a region and the region that a signature for it names.
    fn endpoint(self, region: &str) -> Result<(String, String), Failure> {
        if region == GLOBAL_REGION {
            return Ok(("sts.amazonaws.com".to_owned(), DEFAULT_REGION.to_owned()));
        }
        let partition = Partition::of_region(region).unwrap_or(Partition::Aws);
        let host = default_host(partition, region, self.fips, self.dual_stack).ok_or_else(|| {
            Failure::failed(format!(
                "STS has no such host in the region {region:?}; unset AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT, or give another --region"
            ))
        })?;
        let checked = StsEndpointPolicy::new(partition, Some(region), &[])
            .map_err(|error| error.to_string())
            .and_then(|policy| policy.check(&host).map_err(|error| error.to_string()));
        match checked {
            Ok(_) => Ok((host, region.to_owned())),
            Err(error) => Err(Failure::failed(format!(
                "cannot sign for the region {region:?}: {error}; give another --region"
            ))),
        }
    }
}

/// The SDK's configuration, with an HTTP client that honours proxies and the system's certificate authorities.
fn loader(region: Region) -> Result<ConfigLoader, Failure> {
    let proxy = proxy()?;
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the type is one of a crate that we do not depend on"
    )]
    let http = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()
    });
    Ok(aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region))
}

/// The proxy for HTTPS. What speaks plain HTTP is on this node (the metadata and container credential services): never proxied.
fn proxy() -> Result<ProxyConfig, Failure> {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| environment(name).filter(|value| !value.is_empty()))
    };
    let Some(url) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
        return Ok(ProxyConfig::disabled());
    };
    let url = if url.contains("://") {
        url
    } else {
        format!("http://{url}")
    };
    let proxy = ProxyConfig::https(url)
        .map_err(|_| Failure::failed("HTTPS_PROXY is not the URL of a proxy; write http://host:port, or unset it"))?;
    Ok(proxy.no_proxy(first(&["NO_PROXY", "no_proxy"]).unwrap_or_default()))
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Nobody measures a command.
struct Nobody;

impl StsObserver for Nobody {
    fn response(&self, _: u16, _: &'static str, _: f64) {}
    fn connection_failure(&self, _: &'static str) {}
    fn throttled(&self, _: &'static str) {}
    fn cache_hit(&self, _: CacheHit) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_sdks() {
        let host = |fips, dual_stack, region: &str| {
            Hosts { fips, dual_stack }
                .endpoint(region)
                .map(|(host, region)| format!("{host} {region}"))
                .unwrap_or_default()
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
}
