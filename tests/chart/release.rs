//! What a real API server makes of the chart: every combination, and the life of a release.

use kit::builders::iam_identity_mapping;
use kit::{ControlPlane, Helm};

use super::{chart, combinations, documents, rendered};

/// The definitions of the operators that the chart can make objects for, reduced to the fields that it uses: unknown fields are refused.
const OPERATORS: &str = include_str!("operators.yaml");
const NAMESPACE: &str = "kube-system";
const RELEASE: &str = "aws-iam-authenticator";
const DEFINITION: &str = "crd/iamidentitymappings.iamauthenticator.k8s.aws";

pub(super) async fn every_combination_is_accepted(plane: &ControlPlane, helm: &Helm) {
    let kubectl = plane.kubectl();
    kubectl.apply(OPERATORS).await.ok();
    kubectl.apply(&super::text("crds/iamidentitymappings.yaml")).await.ok();
    for definition in [
        DEFINITION,
        "crd/prometheusrules.monitoring.coreos.com",
        "crd/certificates.cert-manager.io",
    ] {
        kubectl
            .run(&["wait", "--for=condition=Established", definition])
            .await
            .ok();
    }
    for (name, values) in combinations() {
        let manifest = rendered(helm, &values, &[]).await;
        let dry = kubectl
            .run_with_input(
                &["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
                &manifest,
            )
            .await;
        assert!(dry.success(), "{name}: {}{}", dry.stdout, dry.stderr);
        // Older clusters have the old label, and the chart is for them too.
        let mut warnings = dry.stderr.lines().filter(|line| line.contains("arning"));
        assert!(
            warnings.all(|line| line.contains("node-role.kubernetes.io/master")),
            "{name}: {}",
            dry.stderr
        );
        let count = documents(&manifest).len();
        assert_eq!(dry.stdout.lines().count(), count, "{name}: {}", dry.stdout);
        for pod in inner_manifests(&manifest) {
            let dry = kubectl
                .run_with_input(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], &pod)
                .await;
            assert!(dry.success(), "{name}: {}{}\n{pod}", dry.stdout, dry.stderr);
        }
    }
    kubectl.run(&["delete", DEFINITION]).await.ok();
}

/// The manifests of static pods, which are texts in ConfigMaps.
fn inner_manifests(manifest: &str) -> Vec<String> {
    let documents = documents(manifest);
    let texts = documents
        .iter()
        .filter_map(|document| document["data"]["aws-iam-authenticator.yaml"].as_str());
    texts.map(ToOwned::to_owned).collect()
}

async fn helm_ok(helm: &Helm, command: &str, values: &str, more: &[&str]) -> String {
    let chart = chart().display().to_string();
    let values = super::chart().join("ci").join(values).display().to_string();
    let mut args = vec![command, RELEASE, &chart, "--namespace", NAMESPACE, "--values", &values];
    args.extend(more);
    helm.run(&args).await.ok()
}

pub(super) async fn it_comes_and_goes(plane: &ControlPlane, helm: &Helm) {
    let kubectl = plane.kubectl();
    let exists = async |what: &[&str]| {
        let mut args = vec!["-n", NAMESPACE, "get", "-o", "name"];
        args.extend(what);
        kubectl.run(&args).await.success()
    };

    // The definition and mappings in one release, onto a cluster that has never heard of either.
    let notes = helm_ok(
        helm,
        "install",
        "daemonset-everything.yaml",
        &["--set", "guardRails.enabled=false"],
    )
    .await;
    assert!(
        notes.contains("Next: start every API server with") && notes.contains("kubeconfig.yaml"),
        "the notes say the next step: {notes}"
    );
    assert!(
        exists(&[
            "iamim/developers",
            "iamim/administrators",
            "daemonset/aws-iam-authenticator"
        ])
        .await
    );
    assert!(notes.contains("wait --for=condition=Ready"), "{notes}");

    // Somebody's own.
    let own = iam_identity_mapping("own", "arn:aws:iam::123456789012:role/Own", "own", &[]);
    kubectl.apply(&own).await.ok();

    // An upgrade takes the mappings into the release, and nothing of them is created anew.
    let uid = ["get", "iamim/developers", "-o", "jsonpath={.metadata.uid}"];
    let before = kubectl.run(&uid).await.ok();
    helm_ok(
        helm,
        "upgrade",
        "daemonset-everything.yaml",
        &["--set", "guardRails.enabled=false"],
    )
    .await;
    assert_eq!(kubectl.run(&uid).await.ok(), before, "the mapping is the same object");
    let manifest = helm
        .run(&["get", "manifest", RELEASE, "--namespace", NAMESPACE])
        .await
        .ok();
    assert!(manifest.contains("name: developers"), "it is of the release now");

    // What is taken off the list is revoked; the rest of the previous values stays.
    helm_ok(
        helm,
        "upgrade",
        "daemonset-everything.yaml",
        &["--set-json", "mappings=[]"],
    )
    .await;
    assert!(!exists(&["iamim/developers"]).await, "revoked");
    assert!(exists(&["iamim/own", "validatingadmissionpolicy/aws-iam-authenticator-mappings"]).await);

    // To another kind and back.
    helm_ok(helm, "upgrade", "deployment.yaml", &[]).await;
    assert!(exists(&["deployment/aws-iam-authenticator", "service/aws-iam-authenticator"]).await);
    assert!(!exists(&["daemonset/aws-iam-authenticator"]).await);
    helm.run(&["rollback", RELEASE, "--namespace", NAMESPACE]).await.ok();
    assert!(exists(&["daemonset/aws-iam-authenticator"]).await);

    helm.run(&["uninstall", RELEASE, "--namespace", NAMESPACE]).await.ok();
    assert!(
        exists(&[DEFINITION, "iamim/own"]).await,
        "the definition and the mappings are kept"
    );
    assert!(!exists(&["daemonset/aws-iam-authenticator"]).await);
    let roles = kubectl
        .run(&[
            "get",
            "roles,clusterroles,rolebindings,clusterrolebindings",
            "-A",
            "-o",
            "name",
        ])
        .await;
    assert!(!roles.ok().contains(RELEASE), "no rights are left");

    // It comes back over what was kept.
    helm_ok(helm, "install", "daemonset.yaml", &[]).await;
    assert!(exists(&["iamim/own", "daemonset/aws-iam-authenticator"]).await);
    helm.run(&["uninstall", RELEASE, "--namespace", NAMESPACE]).await.ok();
}
