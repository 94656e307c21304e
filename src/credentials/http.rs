//! The HTTP client of the SDK: proxies and certificate authorities as the system has them, made when it is first used.

use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::settings::Settings;
use super::{CredentialsError, Found};

/// A connection that is not there by then is not coming; kubectl's user waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For one operation with all its retries: STS answers within a second when it answers.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// The way to the network.
#[derive(Debug)]
pub(super) struct Network {
    http: SharedHttpClient,
}

impl Network {
    pub(super) fn new(settings: &Settings) -> Result<Self, CredentialsError> {
        let proxy = proxy(settings)?;
        let trust = trust(settings)?;
        let http = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder().proxy_config(proxy.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(
                components.and_then(aws_smithy_runtime_api::client::runtime_components::RuntimeComponents::sleep_impl),
            );
            let connector = connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc));
            match trust.clone() {
                Some(trust) => connector.tls_context(trust).build(),
                None => connector.build(),
            }
        });
        Ok(Self { http })
    }

    /// What the SDK's own providers are made with.
    pub(super) fn providers(&self, settings: &Settings) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_region(Some(Region::new(settings.region())))
            .with_use_fips(Some(settings.hosts.fips))
            .with_use_dual_stack(Some(settings.hosts.dual_stack))
            .with_http_client(self.http.clone())
            .with_timeout_config(timeouts())
            .with_retry_config(RetryConfig::standard())
    }

    /// A client for STS that acts as `who`.
    pub(super) fn sts(&self, who: &Found, url: &str, region: &str) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::from(who))
            .region(Region::new(region.to_owned()))
            .endpoint_url(url)
            .http_client(self.http.clone())
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard())
            .build();
        aws_sdk_sts::Client::from_conf(config)
    }
}

/// The authorities of `AWS_CA_BUNDLE`, instead of the system's; as in the SDKs of AWS.
fn trust(settings: &Settings) -> Result<Option<TlsContext>, CredentialsError> {
    let Some(path) = &settings.ca_bundle else {
        return Ok(None);
    };
    let failed = |reason: String| CredentialsError::Authorities {
        path: path.clone(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let store = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map(Some).map_err(|error| failed(error.to_string()))
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// The proxy for HTTPS. What speaks plain HTTP is on this node (the metadata and container credential services): never proxied.
fn proxy(settings: &Settings) -> Result<ProxyConfig, CredentialsError> {
    let Some(url) = &settings.proxy else {
        return Ok(ProxyConfig::disabled());
    };
    let url = if url.contains("://") {
        url.clone()
    } else {
        format!("http://{url}")
    };
    let proxy = ProxyConfig::https(url).map_err(|_| CredentialsError::Proxy)?;
    Ok(proxy.no_proxy(&settings.no_proxy))
}
