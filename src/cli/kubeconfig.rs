//! `kubeconfig`: the entries with which a user's kubectl logs in here, printed or merged into the user's file.

mod file;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Uri;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::GlobalArgs;
use super::output::{Failure, environment, print, warn};
use crate::arn::{Arn, PrincipalKind};
use crate::config::Setting;
use crate::kubeconfig::{Login, MergeError, kuberc, merge};
use crate::token::check_cluster_id;

/// A bundle of certificates is smaller; what is larger is another file.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(super) struct KubeconfigArgs {
    /// The name of the cluster in the kubeconfig [default: the cluster ID]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// The URL of the API server
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The certificates that the API server is trusted by, as a PEM file; they are copied into the kubeconfig [default: those that
    /// the system trusts]
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// The IAM role to assume for it
    #[arg(short, long, value_name = "ARN")]
    role: Option<String>,
    /// The AWS profile to log in with
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The AWS region whose STS endpoint is asked
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The name of the context [default: the name of the cluster]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Merge it into the first file of $KUBECONFIG (else ~/.kube/config), and keep what else is there
    #[arg(long)]
    write: bool,
    /// With --write: the file, instead of the one of $KUBECONFIG
    #[arg(long, value_name = "FILE", requires = "write")]
    kubeconfig: Option<PathBuf>,
    /// With --write: make it the current context also when there is one already
    #[arg(long = "use", requires = "write")]
    switch: bool,
    /// Put the cluster ID into the arguments of the user instead of the entry of the cluster. One user entry then serves one
    /// cluster only
    #[arg(long)]
    no_cluster_info: bool,
    /// Print the kuberc preferences (~/.kube/kuberc) that allow this program and no other credential plugin
    #[arg(long, exclusive = true)]
    kuberc: bool,
}

pub(super) fn run(args: KubeconfigArgs, global: &GlobalArgs) -> Result<(), Failure> {
    if args.kuberc {
        return print(&kuberc());
    }
    let low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    let cluster_id = low.get(Setting::ClusterId).and_then(|given| given.values.first());
    let (write, switch, path) = (args.write, args.switch, args.kubeconfig.clone());
    let login = args.login(cluster_id.map(String::as_str))?;
    if write {
        merge_into(&login, switch, path)
    } else {
        print(&login.kubeconfig())
    }
}

impl KubeconfigArgs {
    fn login(self, cluster_id: Option<&str>) -> Result<Login, Failure> {
        let given = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
        let name = given(self.cluster_name);
        let Some(cluster_id) = cluster_id.or(name.as_deref()).map(str::to_owned) else {
            return Err(Failure::usage(
                "it is not said which cluster to log in to; give --cluster-id (-i) as the server has it, and --cluster-name if \
                 it shall be called otherwise here",
            ));
        };
        check_cluster_id(&cluster_id)
            .map_err(|error| Failure::usage(format!("--cluster-id: {error}; give the one of the server")))?;
        let cluster = name.unwrap_or_else(|| cluster_id.clone());
        let server = given(self.server)
            .ok_or_else(|| Failure::usage("the API server is missing; give its URL with --server https://host:port"))?;
        check_server(&server)?;
        let role = given(self.role);
        role.as_deref().map_or(Ok(()), check_role)?;
        let data = self
            .certificate_authority
            .map(|path| certificate_data(&path))
            .transpose()?;
        Ok(Login {
            context: given(self.alias).unwrap_or_else(|| cluster.clone()),
            cluster,
            server,
            certificate_authority_data: data,
            cluster_id,
            role,
            profile: given(self.profile),
            region: given(self.region),
            cluster_info: !self.no_cluster_info,
        })
    }
}

/// Over plain HTTP the token would be for everybody to read.
fn check_server(url: &str) -> Result<(), Failure> {
    let is_https = |uri: Uri| uri.scheme_str() == Some("https") && uri.host().is_some();
    if url.parse().is_ok_and(is_https) {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "--server: {url:?} is not an https URL; write https://host:port"
        )))
    }
}

fn check_role(arn: &str) -> Result<(), Failure> {
    match Arn::parse(arn) {
        Ok(parsed) if parsed.kind == PrincipalKind::Role => Ok(()),
        Ok(_) => Err(Failure::usage(format!(
            "--role: {arn} is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME"
        ))),
        Err(error) => Err(Failure::usage(format!("--role: {error}"))),
    }
}

fn certificate_data(path: &std::path::Path) -> Result<String, Failure> {
    let failed = |why: &str| {
        Failure::failed(format!(
            "cannot use --certificate-authority {}: {why}; give the PEM file of the cluster's certificate authority",
            path.display()
        ))
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error.to_string()))?;
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(failed("it is too large"));
    }
    if bytes
        .windows(b"PRIVATE KEY-----".len())
        .any(|part| part == b"PRIVATE KEY-----")
    {
        return Err(failed("there is a private key in it, which must not be copied"));
    }
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(STANDARD.encode(&bytes)),
        Ok(_) => Err(failed("there is no certificate in it")),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn merge_into(login: &Login, switch: bool, path: Option<PathBuf>) -> Result<(), Failure> {
    let path = path.or_else(default_path).ok_or_else(|| {
        Failure::failed("cannot tell which kubeconfig to write: neither KUBECONFIG nor HOME is set; give --kubeconfig")
    })?;
    let file = file::Locked::open(&path)?;
    let merged = merge(file.text(), login, switch).map_err(|error| {
        let advice = match error {
            MergeError::Syntax { .. } => "correct that line",
            MergeError::Shape(_) => "correct it, or name another file with --kubeconfig",
        };
        Failure::failed(format!(
            "cannot merge into the kubeconfig {}: {error}; nothing was changed: {advice}",
            path.display()
        ))
    })?;
    if merged.text == file.text() {
        return print(&format!("nothing to do: {} has this login already", path.display()));
    }
    file.write(&merged.text)?;
    if !merged.in_place {
        warn(format!(
            "{} was written anew: its style and comments are lost",
            path.display()
        ));
    }
    let verb = if merged.replaces { "updated" } else { "added" };
    print(&format!("{verb} the context {:?} in {}", login.context, path.display()))?;
    if merged.is_current {
        print("it is the current context")
    } else {
        print(&format!("use it with: kubectl --context {:?}", login.context))
    }
}

/// Where kubectl writes: the first file of the list, else the one in the home directory.
fn default_path() -> Option<PathBuf> {
    let listed = environment("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    first.or_else(|| {
        let home = environment("HOME").filter(|home| !home.is_empty())?;
        Some(PathBuf::from(home).join(".kube").join("config"))
    })
}
