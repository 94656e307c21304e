//! The image as a node runs it: uid 10000, a read-only root, no capabilities, no privileges to gain, and a real control
//! plane to serve. Needs `make image`, root (to enter the image) and the real parts; skipped without them, a failure in CI.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a panic is how a test fails; what is skipped says so"
)]

#[path = "image/dns.rs"]
mod dns;
#[path = "image/layout.rs"]
mod layout;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dns::Dns;
use kit::builders::iam_identity_mapping;
use kit::{Authenticator, ControlPlane, Options, Principal, StsDouble, TokenBuilder, UserAuth, eventually};
use layout::{Image, MAX_BYTES};
use serde_json::Value;

/// A name that only the image's own resolver can turn into an address.
const PROXY_HOST: &str = "proxy.image.test";
const SOON: Duration = Duration::from_secs(20);

/// What the server asks of the API server with `--backend-mode CRD`, and nothing more.
const RBAC: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: authenticator}
rules:
- {apiGroups: [iamauthenticator.k8s.aws], resources: [iamidentitymappings], verbs: [get, list, watch]}
- {apiGroups: [iamauthenticator.k8s.aws], resources: [iamidentitymappings/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: authenticator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: authenticator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: authenticator}]
";

/// Enters the image with the program's files mounted at the paths that its flags name, and becomes its user. The process
/// id stays the same from here to the program.
const ENTER: &str = r#"
set -eu
root=$1 uid=$2 resolv=$3 bundle=$4
shift 5
mount --bind "$root" "$root"
show() { if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root$(dirname "$1")"; touch "$root$1"; fi; mount --bind "$1" "$root$1"; }
before=
for argument in "$@"; do
  case $before in
  --state-dir) chown -R "$uid:$uid" "$argument"; show "$argument" ;;
  --kubeconfig) show "$argument" ;;
  esac
  before=$argument
done
touch "$root/etc/resolv.conf"
mount --bind "$resolv" "$root/etc/resolv.conf"
mount --bind "$bundle" "$root$SSL_CERT_FILE"
mount -o remount,bind,ro "$root"
exec capsh --chroot="$root" --drop=all --no-new-privs --groups="$uid" --gid="$uid" --uid="$uid" --shell=/aws-iam-authenticator -- "$@"
"#;

#[test]
fn it_holds_the_program_and_what_it_needs_and_says_what_it_is() {
    let Some(image) = Image::find() else { return };
    let files: Vec<_> = image.files().into_iter().collect();
    assert_eq!(
        files,
        [
            "aws-iam-authenticator",
            "etc/nsswitch.conf",
            "etc/ssl/certs/ca-certificates.crt"
        ]
    );
    let bytes = image.bytes();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes uncompressed, of at most {MAX_BYTES}");

    let config = &image.config["config"];
    assert_eq!(config["User"], "10000:10000");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/aws-iam-authenticator"]));
    assert_eq!(config["Cmd"], Value::Null);
    for key in [
        "title",
        "licenses",
        "source",
        "version",
        "revision",
        "created",
        "description",
    ] {
        let key = format!("org.opencontainers.image.{key}");
        let label = config["Labels"][&key].as_str().unwrap_or_default();
        assert!(!label.is_empty(), "the label {key} is missing");
        assert_eq!(
            image.manifest["annotations"][&key], label,
            "annotation and label {key} say the same"
        );
    }
    let version = config["Labels"]["org.opencontainers.image.version"].as_str().unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let bundle = std::fs::read_to_string(image.root().join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(bundle.matches("-----BEGIN CERTIFICATE-----").count() > 50);
}

#[test]
fn no_path_of_the_machine_that_built_it_is_in_it() {
    let Some(image) = Image::find() else { return };
    let program = std::fs::read(image.root().join("aws-iam-authenticator")).unwrap();
    let home = std::env::home_dir().unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), &format!("{}/.cargo", home.display())] {
        let found = program
            .windows(path.len())
            .filter(|window| *window == path.as_bytes())
            .count();
        assert_eq!(found, 0, "{path} is in the program {found} times");
    }
}

#[test]
fn packed_again_it_has_the_same_digest() {
    let Some(image) = Image::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let label = |name: &str| {
        let value = &image.config["config"]["Labels"][format!("org.opencontainers.image.{name}")];
        value.as_str().unwrap().to_owned()
    };
    let created: jiff::Timestamp = label("created").parse().unwrap();
    let again = Command::new("tools/image.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", folder.path())
        .env("BINARY", image.root().join("aws-iam-authenticator"))
        .env("CA_BUNDLE", image.root().join("etc/ssl/certs/ca-certificates.crt"))
        .env("SOURCE_DATE_EPOCH", created.as_second().to_string())
        .env("REVISION", label("revision"))
        .output()
        .expect("tools/image.sh runs");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let digest = std::fs::read_to_string(folder.path().join("image").join(layout::arch()).join("digest")).unwrap();
    assert_eq!(digest.trim(), image.digest);
}

#[test]
fn the_bill_of_materials_lists_what_is_compiled_in() {
    let Some(image) = Image::find() else { return };
    let bom = layout::bill_of_materials();
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    let properties = &bom["metadata"]["component"]["properties"];
    assert_eq!(properties[0]["value"], image.digest.as_str());
    let components = bom["components"].as_array().unwrap();
    let shipped: BTreeSet<_> = components
        .iter()
        .filter(|component| component["scope"] == "required")
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    for name in ["rustls", "aws-lc-rs", "kube", "tikv-jemallocator"] {
        assert!(shipped.contains(name), "{name} is missing");
    }
    for name in ["criterion", "tower-test", "iam-authenticator-kit"] {
        assert!(!shipped.contains(name), "{name} is only for tests");
    }
    for component in components {
        let name = &component["name"];
        assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{name} has no checksum");
        if component["type"] == "library" {
            assert!(
                component["licenses"][0]["expression"].is_string(),
                "{name} has no licence"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_logins_with_no_rights_at_all() {
    let Some(image) = Image::find() else { return };
    let Some(parts) = kit::require_parts() else { return };
    if !layout::can_enter() {
        return;
    }
    let sts = StsDouble::start();
    let plane = ControlPlane::new(parts, Options::default()).await;
    let dns = Dns::start(PROXY_HOST);
    let server = start(&image, &plane, &sts);
    server.wait_listening().await;
    plane.set_webhook_kubeconfig(server.webhook_kubeconfig());
    plane.start_api_server().await;
    plane.kubectl().apply(RBAC).await.ok();
    plane
        .kubectl()
        .apply(include_str!("../crds/iamidentitymappings.yaml"))
        .await
        .ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert_confined(&status);

    let alice = sts.add(Principal::user("111122223333", "alice"));
    let mapping = iam_identity_mapping("alice", &alice.arn, "alice", &["developers"]);
    eventually("the definition is there", SOON, async || {
        plane.kubectl().apply(&mapping).await.success()
    })
    .await;
    server.wait_ready().await;
    let kubectl = plane.kubectl().with_kubeconfig(
        plane.write_kubeconfig("alice", UserAuth::Token(TokenBuilder::new(&alice).expires(600).build())),
    );
    eventually("alice is let in", SOON, async || {
        let whoami = kubectl.run(&["auth", "whoami", "-o", "json"]).await;
        whoami.success() && whoami.stdout.contains("\"developers\"")
    })
    .await;
    assert!(dns.asked() > 0, "the image resolved {PROXY_HOST} by itself");
    server.terminate();
    let ended = server
        .wait_exit(Duration::from_secs(10))
        .await
        .expect("it ends on SIGTERM");
    assert!(ended.success(), "{ended}");
}

fn start(image: &Image, plane: &ControlPlane, sts: &StsDouble) -> Authenticator {
    let resolv = plane.folder().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {}\n", Dns::ADDRESS)).unwrap();
    let bundle = plane.folder().join("bundle.crt");
    let roots = std::fs::read_to_string(image.root().join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    std::fs::write(&bundle, roots + &sts.ca_pem()).unwrap();
    let (uid, _) = image.config["config"]["User"]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    let words = [image.root(), Path::new(uid), &resolv, &bundle].map(|word| word.to_str().unwrap().to_owned());
    let mut wrapper = vec!["unshare", "--mount", "bash", "-c", ENTER, "enter"];
    wrapper.extend(words.iter().map(String::as_str));
    let mut builder = Authenticator::builder("/aws-iam-authenticator")
        .backend_modes("CRD")
        .kubeconfig(plane.write_kubeconfig("authenticator", UserAuth::cert("authenticator")))
        .sts(sts)
        .env("HTTPS_PROXY", format!("http://{PROXY_HOST}:{}", sts.address().port()))
        .wrapper(&wrapper);
    for variable in image.config["config"]["Env"].as_array().unwrap() {
        let (name, value) = variable.as_str().unwrap().split_once('=').unwrap();
        builder = builder.env(name, value);
    }
    builder.start()
}

/// The kernel's own word for it.
fn assert_confined(status: &str) {
    for line in [
        "Uid:\t10000\t10000\t10000\t10000",
        "Gid:\t10000\t10000\t10000\t10000",
        "Groups:\t10000 ",
        "NoNewPrivs:\t1",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "{line:?} is not in\n{status}"
        );
    }
}
