//! The OCI layout that `make image` leaves, read as a container runtime reads it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What all files of the image may come to.
pub(crate) const MAX_BYTES: u64 = 20_000_000;

/// An unpacked image; its folder goes with it.
pub(crate) struct Image {
    pub(crate) digest: String,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    root: PathBuf,
    _folder: tempfile::TempDir,
}

/// The name of this machine's processor in OCI's words.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn output() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    let target = target.map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.join(target).join("image").join(arch())
}

/// Says why a test is skipped; in CI nothing may be.
fn missing(what: &str) {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "CI needs the image: {what}");
    eprintln!("skipped: {what}");
}

/// Whether this process may enter the image as its user.
pub(crate) fn can_enter() -> bool {
    for tool in ["unshare", "capsh"] {
        if Command::new(tool).arg("--help").output().is_err() {
            missing(&format!(
                "{tool} is missing (Debian and Ubuntu: util-linux, libcap2-bin)"
            ));
            return false;
        }
    }
    let mounts = Command::new("unshare").args(["--mount", "true"]).output();
    let allowed = mounts.is_ok_and(|done| done.status.success());
    if !allowed {
        missing("only root may mount and enter the image");
    }
    allowed
}

impl Image {
    /// Unpacks the image of this machine's processor, every blob checked against its digest.
    pub(crate) fn find() -> Option<Self> {
        let layout = output().join("oci");
        if !layout.join("index.json").is_file() {
            missing(&format!("there is no image in {}: run `make image`", layout.display()));
            return None;
        }
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_slice(&blob(&layout, &digest)).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap();
        let config: Value = serde_json::from_slice(&blob(&layout, config)).unwrap();
        let folder = tempfile::Builder::new().prefix("iam-image-").tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let archive = folder.path().join("layer.tar.gz");
            fs::write(&archive, blob(&layout, layer["digest"].as_str().unwrap())).unwrap();
            let tar = Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(&root)
                .status();
            assert!(tar.expect("tar runs").success());
        }
        Some(Self {
            digest,
            manifest,
            config,
            root,
            _folder: folder,
        })
    }

    /// Its root file system.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The paths of its files.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    found.insert(path.strip_prefix(self.root()).unwrap().display().to_string());
                }
            }
        }
        found
    }

    /// The size of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |path: &String| fs::metadata(self.root().join(path)).unwrap().len();
        self.files().iter().map(size).sum()
    }
}

/// What lies beside the image.
pub(crate) fn bill_of_materials() -> Value {
    serde_json::from_slice(&fs::read(output().join("sbom.cdx.json")).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").expect("a SHA-256 digest");
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    let found = Sha256::digest(&bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string");
        hex
    });
    assert_eq!(found, hex, "a blob is not what its digest says");
    bytes
}
