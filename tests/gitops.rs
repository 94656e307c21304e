//! GitOps: the examples are what Flux and Argo CD take, the kustomize base is the chart, and neither drift nor prune surprises.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit::{
    Authenticator, ControlPlane, Helm, Kubectl, Options, Principal, StsDouble, TokenBuilder, eventually, require_helm,
    require_parts,
};
use serde_json::Value;

const OPERATORS: &str = include_str!("gitops/operators.yaml");
const SOON: Duration = Duration::from_secs(20);

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).expect("readable")
}

fn examples() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(file("charts/gitops")).expect("the examples");
    let mut all: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

#[test]
fn the_page_has_every_file() {
    let page = text("docs/gitops.md");
    for path in examples() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // tests/docs.rs sees to it that such a block is the file.
        let included = format!("<!-- check: included charts/gitops/{name} -->");
        assert!(page.contains(&included), "docs/gitops.md does not show {name}");
    }
    let health: Value = serde_saphyr::from_str(&text("charts/gitops/argocd-health.yaml")).expect("YAML");
    let key = "resource.customizations.health.iamauthenticator.k8s.aws_IAMIdentityMapping";
    assert_eq!(
        health["data"][key].as_str().expect("the script"),
        text("charts/aws-iam-authenticator/files/argocd-health.lua")
    );
}

#[test]
fn the_base_is_what_the_chart_renders() {
    let Some(helm) = require_helm() else { return };
    let script = Command::new(file("tools/chart-manifests.sh")).arg(helm).output();
    let output = script.expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        String::from_utf8_lossy(&output.stdout) == text("charts/kustomize/base/install.yaml"),
        "charts/kustomize/base/install.yaml is out of date: run `make generate` and commit it"
    );
}

#[tokio::test]
async fn values_of_the_examples_are_values_of_the_chart() {
    let Some(helm) = require_helm().map(|program| Helm::new(&program)) else {
        return;
    };
    let chart = file("charts/aws-iam-authenticator").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for path in examples() {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(&path).expect("readable")).expect("YAML");
        for document in documents {
            let spec = &document["spec"];
            let values = [&spec["values"], &spec["source"]["helm"]["valuesObject"]];
            for values in values.into_iter().filter(|values| values.is_object()) {
                let given = folder.path().join("values.yaml");
                std::fs::write(&given, values.to_string()).expect("written");
                let given = given.display().to_string();
                helm.run(&["template", "x", &chart, "--values", &given]).await.ok();
                count += 1;
            }
        }
    }
    assert_eq!(count, 2, "one of Flux, one of Argo CD");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_control_plane() {
    let Some(parts) = require_parts() else { return };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let kubectl = plane.kubectl();
    kubectl.apply(OPERATORS).await.ok();
    let applications = "crd/applications.argoproj.io";
    kubectl
        .run(&["wait", "--for=condition=Established", applications])
        .await
        .ok();
    for path in examples() {
        let path = path.display().to_string();
        let dry = ["apply", "--dry-run=server", "--validate=strict", "-f", &path];
        kubectl.run(&dry).await.ok();
    }

    let sts = StsDouble::start();
    let server = Authenticator::builder(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
        .no_cluster_id()
        .backend_modes("AuthenticatorConfigMap,CRD")
        .kubeconfig(plane.kubeconfig())
        .sts(&sts)
        .start();
    let commands = commands_of_the_page();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        kubectl.run(&words).await.ok();
    }
    let cluster = file("charts/kustomize/cluster").display().to_string();
    let shown = kubectl.run(&["kustomize", &cluster]).await.ok();
    assert!(
        shown.contains("image: ghcr.io/kubernetes-sigs/aws-iam-authenticator@sha256:"),
        "the image is pinned"
    );
    server.wait_ready().await;
    let developer = sts.add(Principal::assumed_role("123456789012", "Developers", "bob"));
    let token = || TokenBuilder::new(&developer).cluster_id("my-cluster").build();
    assert_eq!(server.authenticate(&token()).await.username(), Some("dev:bob"));

    // What is served is no drift.
    let drift = kubectl.run(&["diff", "-k", &cluster]).await;
    assert!(drift.success(), "{}{}", drift.stdout, drift.stderr);
    let edit = [
        "patch",
        "iamim/developers",
        "--type=merge",
        "-p",
        r#"{"spec":{"username":"root"}}"#,
    ];
    kubectl.run(&edit).await.ok();
    let drift = kubectl.run(&["diff", "-k", &cluster]).await;
    assert!(
        drift.stdout.contains("-  username: root"),
        "{}{}",
        drift.stdout,
        drift.stderr
    );
    kubectl.run(&["apply", "-k", &cluster]).await.ok();

    prune(&kubectl).await;
    eventually("revoked", SOON, async || {
        !server.authenticate(&token()).await.authenticated()
    })
    .await;
}

/// What docs/gitops.md has for kubectl, in its order, without the name of the program.
fn commands_of_the_page() -> Vec<String> {
    let page = text("docs/gitops.md").replace("\\\n", " ");
    let blocks = page
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(|block| block.lines().map(ToOwned::to_owned).collect::<Vec<_>>());
    lines
        .map(|line| line.strip_prefix("kubectl ").expect("a command of kubectl").to_owned())
        .collect()
}

/// The same without the developers, as after a commit that takes them out.
async fn prune(kubectl: &Kubectl) {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = text("charts/kustomize/cluster/mappings.yaml");
    let (_, kept) = kept.split_once("---\n").expect("two mappings");
    assert!(!kept.contains("name: developers"));
    std::fs::write(folder.path().join("mappings.yaml"), kept).expect("written");
    std::fs::write(folder.path().join("kustomization.yaml"), "resources: [mappings.yaml]\n").expect("written");
    let folder = folder.path().display().to_string();
    let allow = "--prune-allowlist=iamauthenticator.k8s.aws/v1alpha1/IAMIdentityMapping";
    let prune = ["apply", "-k", &folder, "--prune", "--selector", "team", allow];
    let pruned = kubectl.run(&prune).await.ok();
    assert!(pruned.contains("developers pruned"), "{pruned}");
    kubectl.run(&["get", "iamim/administrators"]).await.ok();
}
