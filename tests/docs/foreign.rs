//! Manifests of tools that cannot run here: each path in them has to be one that the tool's own reference has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A kind of another tool and the paths it knows, of those that the pages use. `[]` is an item of a list, `*` any key.
struct Kind {
    check: &'static str,
    api_version: &'static str,
    name: &'static str,
    paths: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    // https://kops.sigs.k8s.io/authentication/, pkg/apis/kops/cluster.go: AWSAuthenticationSpec
    Kind {
        check: "kops",
        api_version: "kops.k8s.io/v1alpha2",
        name: "Cluster",
        paths: &[
            "spec.authentication.aws.image",
            "spec.authentication.aws.backendMode",
            "spec.authentication.aws.clusterID",
            "spec.authentication.aws.memoryRequest",
            "spec.authentication.aws.memoryLimit",
            "spec.authentication.aws.cpuRequest",
            "spec.authentication.aws.cpuLimit",
            "spec.authentication.aws.identityMappings[].arn",
            "spec.authentication.aws.identityMappings[].username",
            "spec.authentication.aws.identityMappings[].groups[]",
            "spec.authorization.rbac",
        ],
    },
    // https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/
    Kind {
        check: "kubeadm",
        api_version: "kubeadm.k8s.io/v1beta4",
        name: "ClusterConfiguration",
        paths: &[
            "apiServer.extraArgs[].name",
            "apiServer.extraArgs[].value",
            "apiServer.extraVolumes[].name",
            "apiServer.extraVolumes[].hostPath",
            "apiServer.extraVolumes[].mountPath",
            "apiServer.extraVolumes[].readOnly",
            "apiServer.extraVolumes[].pathType",
        ],
    },
    // https://docs.siderolabs.com/talos/v1.15/reference/configuration/kubernetes/kubeauthenticationwebhookconfig
    Kind {
        check: "talos",
        api_version: "v1alpha1",
        name: "KubeAuthenticationWebhookConfig",
        paths: &["kubeconfig", "version", "cacheTTL"],
    },
    // https://docs.k0sproject.io/stable/configuration/
    Kind {
        check: "k0s",
        api_version: "k0s.k0sproject.io/v1beta1",
        name: "ClusterConfig",
        paths: &["spec.api.extraArgs.*"],
    },
    // https://anywhere.eks.amazonaws.com/docs/getting-started/optional/iamauth/
    Kind {
        check: "eks-anywhere",
        api_version: "anywhere.eks.amazonaws.com/v1alpha1",
        name: "AWSIamConfig",
        paths: &[
            "spec.awsRegion",
            "spec.partition",
            "spec.backendMode[]",
            "spec.mapRoles[].roleARN",
            "spec.mapRoles[].username",
            "spec.mapRoles[].groups[]",
        ],
    },
    // https://cluster-api.sigs.k8s.io/: controlplane/kubeadm, bootstrap/kubeadm v1beta2
    Kind {
        check: "cluster-api",
        api_version: "controlplane.cluster.x-k8s.io/v1beta2",
        name: "KubeadmControlPlane",
        paths: &[
            "spec.replicas",
            "spec.version",
            "spec.machineTemplate.spec.infrastructureRef.apiGroup",
            "spec.machineTemplate.spec.infrastructureRef.kind",
            "spec.machineTemplate.spec.infrastructureRef.name",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraArgs[].name",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraArgs[].value",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraVolumes[].name",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraVolumes[].hostPath",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraVolumes[].mountPath",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraVolumes[].readOnly",
            "spec.kubeadmConfigSpec.clusterConfiguration.apiServer.extraVolumes[].pathType",
            "spec.kubeadmConfigSpec.files[].path",
            "spec.kubeadmConfigSpec.files[].owner",
            "spec.kubeadmConfigSpec.files[].permissions",
            "spec.kubeadmConfigSpec.files[].content",
            "spec.kubeadmConfigSpec.files[].contentFrom.secret.name",
            "spec.kubeadmConfigSpec.files[].contentFrom.secret.key",
            "spec.kubeadmConfigSpec.preKubeadmCommands[]",
            "spec.kubeadmConfigSpec.postKubeadmCommands[]",
        ],
    },
];

/// Whether `check` names a tool of this file.
pub(crate) fn knows(check: &str) -> bool {
    KINDS.iter().any(|kind| kind.check == check)
}

/// The YAML documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let parts = text.split("\n---\n").map(|part| part.trim_start_matches("---\n"));
    parts
        .filter(|part| !part.trim().is_empty())
        .map(|part| serde_saphyr::from_str(part).map_err(|error| error.to_string()))
        .collect()
}

/// Every leaf of a document by its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, &format!("{path}[]"), found)),
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

/// What is wrong with the manifests of a block.
pub(crate) fn faults(check: &str, text: &str) -> Vec<String> {
    let documents = match documents(text) {
        Ok(documents) => documents,
        Err(error) => return vec![error],
    };
    documents
        .iter()
        .flat_map(|document| faults_of(check, document))
        .collect()
}

fn faults_of(check: &str, document: &Value) -> Vec<String> {
    let (version, name) = (&document["apiVersion"], &document["kind"]);
    let of_kind = |kind: &&Kind| kind.check == check && version == kind.api_version && name == kind.name;
    let Some(kind) = KINDS.iter().find(of_kind) else {
        return vec![format!("{version} {name} is no kind of {check}")];
    };
    let mut found = Vec::new();
    leaves(document, "", &mut found);
    let mut faults = Vec::new();
    for (path, value) in &found {
        let general = ["apiVersion", "kind", "metadata.name"].contains(&path.as_str());
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let known = kind
            .paths
            .iter()
            .any(|known| known == path || known.strip_suffix(".*") == Some(parent));
        if !general && !known {
            faults.push(format!("{path} is no field of {name}"));
        }
        if path == "kubeconfig" {
            faults.extend(kubeconfig_faults(value.as_str().unwrap_or_default()));
        }
    }
    faults
}

/// A kubeconfig that is to need no other file.
fn kubeconfig_faults(text: &str) -> Option<String> {
    let parsed: Value = match serde_saphyr::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error.to_string()),
    };
    let cluster = &parsed["clusters"][0]["cluster"];
    let complete = cluster["server"]
        .as_str()
        .is_some_and(|url| url.starts_with("https://"))
        && cluster["certificate-authority-data"].is_string()
        && cluster["certificate-authority"].is_null()
        && parsed["current-context"] == parsed["contexts"][0]["name"];
    (!complete).then(|| "the kubeconfig is not complete in itself".to_owned())
}

/// The flags of kube-apiserver that a manifest sets through its tool.
pub(crate) fn api_server_flags(text: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for document in documents(text).unwrap_or_default() {
        let mut found = Vec::new();
        leaves(&document, "", &mut found);
        for (path, value) in found {
            if path.ends_with("extraArgs[].name") {
                flags.insert(value.as_str().unwrap_or_default().to_owned());
            } else if let Some((_, flag)) = path.split_once("extraArgs.") {
                flags.insert(flag.to_owned());
            }
        }
    }
    flags
}

/// The argument lists of containers, by their first word.
pub(crate) fn arguments(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for document in documents(text).unwrap_or_default() {
        let mut found = Vec::new();
        leaves(&document, "", &mut found);
        let words: Vec<_> = found
            .iter()
            .filter(|(path, _)| path.ends_with("containers[].args[]"))
            .filter_map(|(_, value)| value.as_str())
            .collect();
        if let Some((command, rest)) = words.split_first() {
            let rest = rest.iter().map(|&word| word.to_owned());
            all.entry((*command).to_owned()).or_default().extend(rest);
        }
    }
    all
}

#[test]
fn a_field_that_the_tool_does_not_have_is_a_fault() {
    let cluster = "apiVersion: kops.k8s.io/v1alpha2\nkind: Cluster\nmetadata: {name: c}\nspec: {authentication: {aws: {image: i}}}\n";
    assert_eq!(faults("kops", cluster), [] as [String; 0]);
    let typo = cluster.replace("image:", "imgae:");
    assert_eq!(
        faults("kops", &typo),
        ["spec.authentication.aws.imgae is no field of \"Cluster\""]
    );
    assert_eq!(faults("talos", cluster).len(), 1);
    let talos = "apiVersion: v1alpha1\nkind: KubeAuthenticationWebhookConfig\nkubeconfig: 'clusters: []'\n";
    assert_eq!(faults("talos", talos), ["the kubeconfig is not complete in itself"]);
}
