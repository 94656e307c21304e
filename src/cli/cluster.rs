//! The cluster that an administrator's command works on, found as kubectl finds it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, Error};
use tokio_rustls::rustls::crypto::aws_lc_rs;

use super::output::Failure;

/// Somebody waits in front of a terminal: an API server that does not answer in this time is away.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The name under which our changes stand in `managedFields`.
pub(super) const FIELD_MANAGER: &str = "aws-iam-authenticator";

/// Which cluster, by whose credentials.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// The kubeconfig to reach the cluster with [default: $KUBECONFIG, then ~/.kube/config, then the pod's service account]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it [default: its current context]
    #[arg(long, global = true, value_name = "NAME")]
    kubeconfig_context: Option<String>,
    /// The URL of the API server, instead of the one in the kubeconfig
    #[arg(long, global = true, value_name = "URL")]
    master_url: Option<String>,
}

impl ClusterArgs {
    /// A client for it. Nothing is sent yet, except what the kubeconfig's own credential plugin sends.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        // The Kubernetes client takes the provider of the process. An error says that there is one, which will do.
        let _ = aws_lc_rs::default_provider().install_default();
        let mut config = self.config().await?;
        if let Some(url) = self.master_url.as_deref().filter(|url| !url.is_empty()) {
            config.cluster_url = url
                .parse::<Uri>()
                .map_err(|_| Failure::usage(format!("--master-url: {url:?} is not a URL; write https://host:port")))?;
        }
        config.connect_timeout = Some(TIMEOUT);
        config.write_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        // kube would repeat a request that meets 429, 503 or 504 for up to 1000 seconds without telling anybody.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| {
            Failure::failed(format!(
                "cannot use the credentials in the kubeconfig: {}; check that kubectl works with it",
                chain(&error)
            ))
        })
    }

    async fn config(&self) -> Result<Config, Failure> {
        let options = KubeConfigOptions {
            context: self.kubeconfig_context.clone().filter(|name| !name.is_empty()),
            ..KubeConfigOptions::default()
        };
        let named = self.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty());
        let found = match named {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let failed = |error: KubeconfigError| {
            let which = named.map_or_else(|| "the kubeconfig".to_owned(), |path| path.display().to_string());
            Failure::failed(format!(
                "cannot use {which}: {}; name a good one with --kubeconfig, and a context in it with --kubeconfig-context",
                chain(&error)
            ))
        };
        let kubeconfig = match found {
            Ok(kubeconfig) => kubeconfig,
            Err(error) if named.is_none() && options.context.is_none() => {
                return Config::incluster().map_err(|_| failed(error));
            }
            Err(error) => return Err(failed(error)),
        };
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(failed)
    }
}

/// Says why the API server did not do what it was asked for.
pub(super) fn api_failure(what: &str, rights: &str, error: &Error) -> Failure {
    match error {
        Error::Api(status) if status.is_forbidden() => Failure::failed(format!(
            "cannot {what}: {}; ask for the right to {rights}",
            status.message
        )),
        Error::Api(status) if status.code == 401 => Failure::failed(format!(
            "cannot {what}: the API server does not know these credentials; log in again, or choose others with --kubeconfig"
        )),
        Error::Api(status) => Failure::failed(format!(
            "cannot {what}: {}; correct that and run it again",
            status.message
        )),
        _ => Failure::failed(format!(
            "cannot {what}: {}; check that kubectl reaches the cluster with this kubeconfig",
            chain(error)
        )),
    }
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
