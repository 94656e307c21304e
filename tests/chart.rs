//! The chart: what it renders, what a real API server makes of it, and that the rights it grants are enough and no more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

#[path = "chart/deployment.rs"]
mod deployment;
#[path = "chart/release.rs"]
mod release;
#[path = "chart/rights.rs"]
mod rights;

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::{ControlPlane, Helm, Options, require_helm, require_parts};
use serde_json::Value;

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/aws-iam-authenticator")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("readable")
}

/// The values of every documented combination, by name.
fn combinations() -> Vec<(String, PathBuf)> {
    let folder = std::fs::read_dir(chart().join("ci")).expect("the combinations");
    let mut all: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    all.sort();
    all
}

/// The documents of a manifest.
fn documents(manifest: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// What a combination renders, in `kube-system`.
async fn rendered(helm: &Helm, values: &Path, more: &[&str]) -> String {
    let (chart, values) = (chart().display().to_string(), values.display().to_string());
    let mut args = vec![
        "template",
        "aws-iam-authenticator",
        &chart,
        "--namespace",
        "kube-system",
        "--values",
        &values,
    ];
    args.extend(more);
    helm.run(&args).await.ok()
}

#[test]
fn the_definition_is_the_generated_one() {
    assert!(
        text("crds/iamidentitymappings.yaml") == text("charts/aws-iam-authenticator/files/iamidentitymappings.yaml"),
        "the chart's definition is not that of crds/: run `make generate` and commit the files"
    );
}

#[test]
fn the_readme_lists_every_value() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/chart-readme.sh");
    let output = Command::new(script).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let generated = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        generated == text("charts/aws-iam-authenticator/README.md"),
        "the chart's README is out of date: run `make generate` and commit it"
    );
    let values: Value = serde_saphyr::from_str(&text("charts/aws-iam-authenticator/values.yaml")).expect("YAML");
    let schema: Value =
        serde_json::from_str(&text("charts/aws-iam-authenticator/values.schema.json")).expect("a schema");
    let mut known = Vec::new();
    every_value("", &values, &schema, &mut known);
    assert!(known.len() > 90, "{known:?}");
    for name in known {
        assert!(
            generated.contains(&format!("| `{name}` |")),
            "{name} is not in the README: give it a comment"
        );
    }
}

/// The names of the values that the schema knows one by one. Both must agree.
fn every_value(name: &str, values: &Value, schema: &Value, known: &mut Vec<String>) {
    let properties = schema["properties"].as_object();
    let (Some(properties), Some(map)) = (properties, values.as_object()) else {
        known.push(name.to_owned());
        return;
    };
    assert_eq!(
        schema["additionalProperties"], false,
        "{name}: a misspelled key would be taken"
    );
    for key in properties.keys().filter(|key| *key != "global") {
        let is_optional = ["resources", "tls.certManager.issuerRef"].contains(&name);
        assert!(
            is_optional || map.contains_key(key),
            "{name}.{key} is in the schema and not in values.yaml"
        );
    }
    if ["resources", "tls.certManager.issuerRef"].contains(&name) {
        known.push(name.to_owned());
        return;
    }
    for (key, value) in map {
        let name = format!("{name}.{key}").trim_start_matches('.').to_owned();
        assert!(
            properties.contains_key(key),
            "{name} is in values.yaml and not in the schema"
        );
        every_value(&name, value, &properties[key], known);
    }
}

#[test]
fn every_combination_is_documented() {
    let readme = text("charts/aws-iam-authenticator/README.md");
    for (name, _) in combinations() {
        assert!(
            readme.contains(&format!("(ci/{name}.yaml)")),
            "{name} is not in the chart's README"
        );
    }
}

#[test]
fn argo_cd_is_told_the_same_everywhere() {
    let script = text("charts/aws-iam-authenticator/files/argocd-health.lua");
    assert!(
        text("docs/status.md").contains(script.trim_end()),
        "docs/status.md has another script"
    );
}

#[tokio::test]
async fn lint_is_strict() {
    let Some(helm) = require_helm().map(|program| Helm::new(&program)) else {
        return;
    };
    let chart = chart().display().to_string();
    for (name, values) in combinations() {
        let values = values.display().to_string();
        let output = helm
            .run(&[
                "lint",
                "--strict",
                &chart,
                "--values",
                &values,
                "--namespace",
                "kube-system",
            ])
            .await;
        assert!(output.success(), "{name}: {}{}", output.stdout, output.stderr);
    }
}

#[tokio::test]
async fn mistakes_are_refused() {
    let Some(helm) = require_helm().map(|program| Helm::new(&program)) else {
        return;
    };
    let chart = chart().display().to_string();
    for (set, said) in [
        ("clusterId=x", "clusterId"),
        ("clusterID=x,guardrails.enabled=true", "guardrails"),
        ("clusterID=x,crds.enable=false", "enable"),
        ("clusterID=x,kind=Daemonset", "kind"),
        ("clusterID=x,backendModes={CDR}", "backendModes"),
        ("clusterID=x,image.digest=sha256:abc", "digest"),
        (
            "clusterID=x,mappings[0].name=a,mappings[0].username=u,mappings[0].arm=b",
            "arm",
        ),
        (
            "clusterID=x,mappings[0].name=a,mappings[0].username=u",
            "exactly one of arn and sso",
        ),
        (
            "clusterID=x,guardRails.validationActions={Deny,Warn}",
            "validationActions",
        ),
        ("backendModes={CRD}", "clusterID is missing"),
        (
            "clusterID=x,backendModes={MountedFile}",
            "neither config nor configPath",
        ),
        ("clusterID=x,kind=Deployment", "needs a serving certificate"),
        (
            "clusterID=x,kind=Deployment,tls.secretName=t",
            "needs to know who may ask",
        ),
        ("clusterID=x,networkPolicy.enabled=true", "networkPolicy has no effect"),
        (
            "clusterID=x,metrics.podMonitor.enabled=true",
            "metrics.address is empty",
        ),
    ] {
        let output = helm.run(&["template", "x", &chart, "--set", set]).await;
        let message = output.err();
        assert!(message.contains(said), "{set}: {message}");
    }
}

#[tokio::test]
async fn every_flag_is_one_of_the_program() {
    let Some(helm) = require_helm().map(|program| Helm::new(&program)) else {
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
        .args(["server", "--help"])
        .output()
        .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let known: Vec<&str> = text.split([' ', '[', ',', '\n']).collect();
    for (name, values) in combinations() {
        let manifest = rendered(&helm, &values, &[]).await;
        let flags: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- ").map(|flag| flag.trim_matches('"')))
            .filter(|line| line.starts_with("--"))
            .collect();
        assert!(name == "none" || flags.len() > 8, "{name}: {flags:?}");
        for flag in flags {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(known.contains(&flag), "{name}: `server` knows no {flag}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_control_plane() {
    let (Some(parts), Some(program)) = (require_parts(), require_helm()) else {
        return;
    };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let helm = Helm::new(&program).with_kubeconfig(plane.kubeconfig());
    release::every_combination_is_accepted(&plane, &helm).await;
    Box::pin(release::it_comes_and_goes(&plane, &helm)).await;
    deployment::answers_the_api_server_alone(&plane, &helm).await;
    Box::pin(rights::are_exactly_enough(&plane, &helm)).await;
}
