//! The story of a first login: refused, mapped by a ConfigMap, mapped by a custom resource, and out again.

use crate::aws::{ALICE, ALICE_ARN, Aws, ROLE, ROLE_ARN, SESSION};
use crate::cluster::{CACHE_TTL, Cluster};
use crate::narrator::Narrator;
use crate::{Told, World, until};
use kit::Parts;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const NOT_MAPPED: &str = "no mapping for this AWS identity";
const GROUP: &str = "pod-readers";
const CACHE_SLACK: Duration = Duration::from_secs(10);

/// Tells it; what runs is given back.
pub(crate) async fn tell(narrator: &Narrator, program: PathBuf, parts: Parts) -> Told<World> {
    let cluster = Cluster::start(narrator, program, parts).await?;
    let pid = cluster.server.pid();
    a_stranger(&cluster).await?;
    a_config_map(&cluster).await?;
    a_custom_resource(&cluster).await?;
    out_again(&cluster).await?;
    if cluster.server.pid() != pid {
        return Err("the server was restarted".to_owned());
    }
    cluster.narrator.step("The end of the story");
    cluster
        .narrator
        .say("The contexts are admin, alice and role. To let the two in again:");
    cluster.narrator.command(&cluster.exports);
    cluster
        .narrator
        .command("kubectl --context admin apply -f $PLAY/configmap.yaml -f $PLAY/mapping.yaml");
    Ok(cluster.into_world())
}

async fn a_stranger(cluster: &Cluster<'_>) -> Told<()> {
    let narrator = cluster.narrator;
    narrator.step("alice is in AWS, but nobody here knows her");
    narrator.say("Her kubectl runs `aws-iam-authenticator token` with AWS_PROFILE=alice and sends what it prints.");
    cluster.fails("--context alice get pods", "Unauthorized").await?;
    narrator.say("A client is never told more than that. The reason is in the API server's log:");
    narrator.command(format!("grep '{NOT_MAPPED}' $PLAY/kube-apiserver.log | tail -1"));
    narrator.output(cluster.api_server_reason(NOT_MAPPED)?);
    narrator.say("and, with who it was, in ours:");
    let log = cluster.server.log();
    let line = log
        .lines()
        .rfind(|line| line.contains(NOT_MAPPED))
        .ok_or("our log does not give the reason")?;
    narrator.command(format!(
        "grep '{NOT_MAPPED}' {}/authenticator.log | tail -1",
        cluster.server.state_dir().display()
    ));
    narrator.output(line);
    Ok(())
}

async fn a_config_map(cluster: &Cluster<'_>) -> Told<()> {
    let narrator = cluster.narrator;
    narrator.step("A ConfigMap lets alice in");
    cluster.show("configmap.yaml", &config_map())?;
    cluster
        .change("--context admin apply -f $PLAY/configmap.yaml", ALICE, true)
        .await?;
    let who = cluster.well("--context alice auth whoami").await?;
    if !who.stdout.contains(ALICE_ARN) {
        return Err("the API server does not know who alice is".to_owned());
    }
    cluster.well("--context alice create namespace shop").await?;
    cluster.well("--context alice run web --image=nginx").await?;
    Ok(())
}

async fn a_custom_resource(cluster: &Cluster<'_>) -> Told<()> {
    let narrator = cluster.narrator;
    narrator.step(format!(
        "A custom resource lets a role in, with the rights of the group {GROUP}"
    ));
    cluster.show("readers.yaml", &readers())?;
    cluster.well("--context admin apply -f $PLAY/readers.yaml").await?;
    cluster.show("mapping.yaml", &mapping())?;
    cluster
        .change("--context admin apply -f $PLAY/mapping.yaml", ROLE, true)
        .await?;
    let who = cluster
        .well("--context role auth whoami -o jsonpath={.status.userInfo.username}")
        .await?;
    if who.stdout.trim() != format!("deployer:{SESSION}") {
        return Err("the API server does not know who the role is".to_owned());
    }
    cluster.well("--context role get pods").await?;
    cluster.fails("--context role delete namespace shop", "forbidden").await
}

async fn out_again(cluster: &Cluster<'_>) -> Told<()> {
    let narrator = cluster.narrator;
    narrator.step("Both are deleted, and both are out");
    narrator.say("First a token that alice keeps, and uses once:");
    let kept = cluster.aws.token(ALICE)?;
    let used = Instant::now();
    narrator.command(format!("TOKEN=$({})", Aws::token_command(ALICE, "$PLAY/aws")));
    let kubectl = cluster.with_token("kept", kept);
    let shown = "kubectl --kubeconfig $PLAY/kept.kubeconfig get pods   # with that token";
    narrator.command(shown);
    if !cluster.shown(&kubectl.run(&["get", "pods"]).await).success() {
        return Err("the token is not good".to_owned());
    }
    // A token is signed for a second: what comes now must not be the same again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    cluster
        .change("--context admin delete -f $PLAY/configmap.yaml", ALICE, false)
        .await?;
    cluster
        .change("--context admin delete -f $PLAY/mapping.yaml", ROLE, false)
        .await?;
    narrator.say("kubectl makes a fresh token each time, and that is refused at once:");
    cluster.fails("--context alice get pods", "Unauthorized").await?;
    cluster.fails("--context role get pods", "Unauthorized").await?;

    let ttl = CACHE_TTL.as_secs();
    narrator.say(format!(
        "The kept token was seen by the API server before, which does not ask us again for {ttl} s\n\
         (--authentication-token-webhook-cache-ttl={ttl}s here; 2m0s unless it is set):"
    ));
    let still = used.elapsed();
    narrator.command(shown);
    let output = kubectl.run(&["get", "pods"]).await;
    if cluster.shown(&output).success() {
        narrator.say(format!(
            "Still good {:.1} s after its first use. Waiting for the end of that…",
            still.as_secs_f64()
        ));
    } else if still < CACHE_TTL {
        return Err("the API server forgot the token before its time".to_owned());
    }
    let output = until("the kept token is refused", CACHE_TTL + CACHE_SLACK, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let output = kubectl.run(&["get", "pods"]).await;
        if output.success() {
            Err(output.stdout)
        } else {
            Ok(output)
        }
    })
    .await?;
    narrator.command(shown);
    cluster.shown(&output);
    narrator.say(format!("{:.1} s after its first use.", used.elapsed().as_secs_f64()));
    Ok(())
}

fn config_map() -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{namespace: kube-system, name: aws-iam-authenticator}}
data:
  config.yaml: |
    server:
      mapUsers:
      - userARN: {ALICE_ARN}
        username: alice
        groups: [system:masters]
"
    )
}

fn mapping() -> String {
    format!(
        "apiVersion: iamauthenticator.k8s.aws/v1alpha1
kind: IAMIdentityMapping
metadata: {{name: deployer}}
spec:
  arn: {ROLE_ARN}
  username: \"deployer:{{{{SessionName}}}}\"
  groups: [{GROUP}]
"
    )
}

fn readers() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {GROUP}}}
rules:
- {{apiGroups: [\"\"], resources: [pods], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {GROUP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {GROUP}}}
subjects:
- {{apiGroup: rbac.authorization.k8s.io, kind: Group, name: {GROUP}}}
"
    )
}
