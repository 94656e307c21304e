//! How kube-apiserver is started.

use super::Options;
use super::pki::Pki;
use crate::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) pki: &'a Pki,
    pub(super) port: u16,
    pub(super) etcd_url: &'a str,
    pub(super) options: &'a Options,
}

pub(super) fn log_path(folder: &Path) -> PathBuf {
    folder.join("kube-apiserver.log")
}

impl Start<'_> {
    pub(super) fn run(&self) -> Process {
        let pki = self.pki;
        let mut command = Command::new(self.program);
        let mut flag = |name: &str, value: &dyn std::fmt::Display| {
            command.arg(format!("--{name}={value}"));
        };
        flag("etcd-servers", &self.etcd_url);
        flag("bind-address", &"127.0.0.1");
        flag("advertise-address", &"127.0.0.1");
        flag("secure-port", &self.port);
        flag("cert-dir", &self.folder.display());
        flag("tls-cert-file", &pki.serving_cert.display());
        flag("tls-private-key-file", &pki.serving_key.display());
        flag("client-ca-file", &pki.ca_file.display());
        flag("service-account-issuer", &"https://kubernetes.default.svc");
        flag("service-account-key-file", &pki.account_public_key.display());
        flag("service-account-signing-key-file", &pki.account_private_key.display());
        flag("service-cluster-ip-range", &"10.96.0.0/16");
        flag("authorization-mode", &"RBAC");
        // No controller manager makes service accounts, and no node has an endpoint to reconcile.
        flag("disable-admission-plugins", &"ServiceAccount");
        flag("endpoint-reconciler-type", &"none");
        if let Some(webhook) = &self.options.webhook_kubeconfig {
            flag("authentication-token-webhook-config-file", &webhook.display());
            flag("authentication-token-webhook-version", &self.options.webhook_version);
            let ttl = format!("{}ms", self.options.cache_ttl.as_millis());
            flag("authentication-token-webhook-cache-ttl", &ttl);
        }
        command.args(&self.options.extra_args);
        // A proxy of the developer's must not come between the API server and the webhook.
        for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        Process::spawn("kube-apiserver", &mut command, &log_path(self.folder), None).expect("kube-apiserver starts")
    }
}
