//! Arguments that several commands have.

use clap::Args;

use crate::config::{Layer, Setting};

/// The files and addresses that `init` writes and `server` uses.
#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// The host name by which the API server reaches the webhook [default: localhost]
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
    /// The IP address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// The port to listen on [default: 21362]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// The directory of certificate and private key. In a container, mount it from the host, so that they outlive the pod
    /// [default: /var/aws-iam-authenticator]
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<String>,
    /// Where to write the webhook kubeconfig, which the API server reads (--authentication-token-webhook-config-file). In a
    /// container, mount its directory from the host [default: /etc/kubernetes/aws-iam-authenticator/kubeconfig.yaml]
    #[arg(long, value_name = "FILE")]
    generate_kubeconfig: Option<String>,
    /// Take reviews only from clients with a certificate of these authorities (PEM); probes need none. Read again when it changes.
    /// In the state directory it is made when absent, with a client certificate that stands in the webhook kubeconfig
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<String>,
}

impl FilesArgs {
    /// Adds them to the layer of flags.
    pub(super) fn put_into(self, flags: &mut Layer) {
        flags.flag(Setting::Hostname, "--hostname", self.hostname);
        flags.flag(Setting::Address, "--address", self.address);
        flags.flag(Setting::Port, "--port", self.port);
        flags.flag(Setting::StateDir, "--state-dir", self.state_dir);
        flags.flag(
            Setting::GenerateKubeconfig,
            "--generate-kubeconfig",
            self.generate_kubeconfig,
        );
        flags.flag(Setting::ClientCaFile, "--client-ca-file", self.client_ca_file);
    }
}
