//! `init`: certificate, key and webhook kubeconfig, made before the server runs, for whoever bakes them into a control plane.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use clap::Args;

use super::GlobalArgs;
use super::args::FilesArgs;
use super::output::{Failure, now};
use crate::config::{FeatureGates, WebhookFiles};
use crate::webhook::certificate::client::{ClientPair, ClientSettings, load_or_make_client};
use crate::webhook::certificate::files::write_whole;
use crate::webhook::certificate::kubeconfig::{server_url, webhook_kubeconfig};
use crate::webhook::certificate::{CertificateSettings, Loaded, load_or_make};

/// Where everything goes without the feature gate, as in Go.
const CURRENT_DIR: &str = "./";
const CURRENT_KUBECONFIG: &str = "aws-iam-authenticator.kubeconfig";

/// The webhook kubeconfig holds no secret, and the API server may run as another user.
const KUBECONFIG_MODE: u32 = 0o644;

/// With a client certificate it holds a key.
const SECRET_KUBECONFIG_MODE: u32 = 0o600;

/// The state directory holds private keys.
const STATE_DIR_MODE: u32 = 0o700;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    files: FilesArgs,
}

pub(super) fn run(args: InitArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let mut low = global.low()?;
    let FeatureGates {
        configured_init_directories,
    } = global.gates()?;
    global.start_log(&low)?;
    args.files.put_into(&mut low.flags);
    let (configured, warnings) = WebhookFiles::resolve(&low)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let mut files = configured.clone();
    if !configured_init_directories {
        files.state_dir = CURRENT_DIR.into();
        files.generate_kubeconfig = CURRENT_KUBECONFIG.into();
        if let Some(ca) = &mut files.client_ca_file
            && let Ok(inside) = ca.strip_prefix(&configured.state_dir)
        {
            *ca = files.state_dir.join(inside);
        }
    }
    // What is baked in is not renewed behind the baker's back.
    let loaded = load_certificate(&files, false)?;
    write_kubeconfig(&files, &loaded)?;
    report(&files, &configured, &loaded);
    Ok(())
}

/// The pair in the state directory, made there when absent.
pub(super) fn load_certificate(files: &WebhookFiles, renew: bool) -> Result<Loaded, Failure> {
    let directory = &files.state_dir;
    let created = DirBuilder::new().recursive(true).mode(STATE_DIR_MODE).create(directory);
    let loaded = created
        .map_err(|error| error.to_string())
        .and_then(|()| load_or_make(&certificate_settings(files, renew), now()).map_err(|error| error.to_string()));
    loaded.map_err(|error| {
        Failure::failed(format!(
            "there is no certificate to serve in {}: {error}; make the directory writable, or set --state-dir",
            directory.display()
        ))
    })
}

pub(super) fn certificate_settings(files: &WebhookFiles, renew: bool) -> CertificateSettings {
    CertificateSettings {
        state_dir: files.state_dir.clone(),
        hostname: files.hostname.clone(),
        address: files.bind.address,
        renew,
    }
}

/// Writes the kubeconfig that the API server reaches us with, unless it says that already.
pub(super) fn write_kubeconfig(files: &WebhookFiles, loaded: &Loaded) -> Result<(), Failure> {
    let path = &files.generate_kubeconfig;
    let client = client_pair(files)?;
    let url = server_url(&files.hostname, files.bind.port);
    let text = webhook_kubeconfig(&loaded.trust_pem, &url, client.as_ref());
    let mode = if client.is_some() {
        SECRET_KUBECONFIG_MODE
    } else {
        KUBECONFIG_MODE
    };
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write_whole(path, text.as_bytes(), mode).map_err(|error| {
        Failure::failed(format!(
            "cannot write the webhook kubeconfig {}: {error}; make its directory writable, set --generate-kubeconfig, or, when \
             `init` has made it already, --kubeconfig-pregenerated",
            path.display()
        ))
    })
}

/// What the API server has to show, when it is asked for a certificate.
fn client_pair(files: &WebhookFiles) -> Result<Option<ClientPair>, Failure> {
    let Some(ca_file) = files.client_ca_file.clone() else {
        return Ok(None);
    };
    let settings = ClientSettings {
        state_dir: files.state_dir.clone(),
        ca_file,
    };
    let pair = load_or_make_client(&settings, now());
    pair.map(Some)
        .map_err(|error| Failure::failed(format!("--client-ca-file: {error}")))
}

fn report(files: &WebhookFiles, configured: &WebhookFiles, loaded: &Loaded) {
    let mut names = vec!["cert.pem", "key.pem"];
    if loaded.ours {
        names.extend(["ca.pem", "ca-key.pem"]);
    }
    if files.client_ca_file.is_some() {
        names.extend(["client.pem", "client-key.pem"]);
    }
    let made = names
        .into_iter()
        .map(|name| (files.state_dir.join(name), configured.state_dir.join(name)));
    let kubeconfig = (
        files.generate_kubeconfig.clone(),
        configured.generate_kubeconfig.clone(),
    );
    let client_ca = files.client_ca_file.clone().zip(configured.client_ca_file.clone());
    for (made, wanted) in made.chain(client_ca).chain([kubeconfig]) {
        if made == wanted {
            tracing::info!("{} is in place", made.display());
        } else {
            tracing::info!(
                "copy {} to {} on the control plane nodes",
                made.display(),
                wanted.display()
            );
        }
    }
    hint(&configured.generate_kubeconfig);
}

/// Says how the API server learns of us.
pub(super) fn hint(kubeconfig: &Path) {
    tracing::info!(
        "start your API server with --authentication-token-webhook-config-file={} and it asks this webhook",
        kubeconfig.display()
    );
}
