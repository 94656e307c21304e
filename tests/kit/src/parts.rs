//! Where the real parts are: etcd, kube-apiserver, kubectl, the Go peer, and the tools that the chart is checked with.
//!
//! `KUBEBUILDER_ASSETS` wins when set; else the folder that `make tools` fills for the version pinned in `tools/`.

use std::fmt;
use std::path::{Path, PathBuf};

/// The programs of a control plane.
#[derive(Debug, Clone)]
pub struct Parts {
    /// etcd
    pub etcd: PathBuf,
    /// kube-apiserver
    pub kube_apiserver: PathBuf,
    /// kubectl of the same version
    pub kubectl: PathBuf,
}

/// Why there are no parts, and how to get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingParts(String);

impl fmt::Display for MissingParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MissingParts {}

impl Parts {
    /// Finds the parts.
    pub fn find() -> Result<Self, MissingParts> {
        let folder = match std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => tools_folder().join(format!("kubernetes-{}", pinned("kubernetes", "k8s.io/kubernetes"))),
        };
        let part = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                return Ok(path);
            }
            Err(MissingParts(format!(
                "{} is missing: run `make tools` (about five minutes once; needs a Go toolchain), or name a folder with \
                 etcd, kube-apiserver and kubectl in KUBEBUILDER_ASSETS",
                path.display()
            )))
        };
        Ok(Self {
            etcd: part("etcd")?,
            kube_apiserver: part("kube-apiserver")?,
            kubectl: part("kubectl")?,
        })
    }
}

/// The parts for a test: `None`, after a line that says so, when they are missing.
///
/// # Panics
/// With `CI=true` a missing part is a failure: there nothing may be skipped silently.
pub fn require_parts() -> Option<Parts> {
    required(Parts::find())
}

/// The same for any other part.
pub fn required<T>(part: Result<T, MissingParts>) -> Option<T> {
    match part {
        Ok(part) => Some(part),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("CI needs all parts: {missing}"),
        Err(missing) => {
            eprintln!("skipped: {missing}");
            None
        }
    }
}

/// The AWS CLI that `make awscli` installs: a maker of tokens that is not ours.
pub fn aws_cli() -> Result<PathBuf, MissingParts> {
    let requirements = workspace().join("tools/awscli/requirements.txt");
    let text =
        std::fs::read_to_string(&requirements).unwrap_or_else(|error| panic!("{}: {error}", requirements.display()));
    let version = text.trim().trim_start_matches("awscli==");
    let path = tools_folder().join(format!("awscli-{version}")).join("bin/aws");
    if path.is_file() {
        return Ok(path);
    }
    Err(MissingParts(format!(
        "{} is missing: run `make awscli` (needs Python 3 with venv)",
        path.display()
    )))
}

/// The Go authenticator that `make peer` builds.
pub fn peer_binary() -> Result<PathBuf, MissingParts> {
    built(
        "peer",
        "sigs.k8s.io/aws-iam-authenticator",
        "aws-iam-authenticator",
        "make peer",
    )
}

/// helm, for a test: `None`, after a line that says so, when it is missing.
///
/// # Panics
/// With `CI=true` when it is missing.
pub fn require_helm() -> Option<PathBuf> {
    require_tool("helm", "helm.sh/helm/v4")
}

/// promtool, for a test: `None`, after a line that says so, when it is missing.
///
/// # Panics
/// With `CI=true` when it is missing.
pub fn require_promtool() -> Option<PathBuf> {
    require_tool("promtool", "github.com/prometheus/prometheus")
}

fn require_tool(name: &str, module: &str) -> Option<PathBuf> {
    required(built(name, module, name, "make tools"))
}

/// A program that `make` builds from the Go module `module`, whose version `tools/<folder>/go.mod` pins.
fn built(folder: &str, module: &str, program: &str, command: &str) -> Result<PathBuf, MissingParts> {
    let path = tools_folder()
        .join(format!("{folder}-{}", pinned(folder, module)))
        .join(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(MissingParts(format!(
        "{} is missing: run `{command}` (needs a Go toolchain)",
        path.display()
    )))
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn tools_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    let target = target.map_or_else(|| workspace().join("target"), |folder| workspace().join(folder));
    let tools = target.join("tools");
    tools.canonicalize().unwrap_or(tools)
}

/// The version of `module` in `tools/<folder>/go.mod`: the one place that pins it.
fn pinned(folder: &str, module: &str) -> String {
    let path = workspace().join("tools").join(folder).join("go.mod");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| {
            line.strip_prefix(module)?
                .split_whitespace()
                .next()
                .filter(|word| word.starts_with('v'))
        })
        .unwrap_or_else(|| panic!("{} does not pin {module}", path.display()))
        .to_owned()
}
