//! From the API server's answer to an apply until the first granted review.

use crate::client::Client;
use crate::report::{Goal, Report, percentile};
use crate::{Programs, SERVER_CORE, fleet, memory};
use hyper::body::Bytes;
use kit::builders::iam_identity_mapping;
use kit::{Authenticator, AuthenticatorBuilder, ControlPlane, Principal, StsDouble};
use std::time::{Duration, Instant};

pub(crate) const OBJECTS: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";
const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const SAMPLES: usize = 200;
/// Of the peer: it writes two statuses for each object, at client-go's five writes a second.
const PEER_OBJECTS: usize = 50;
/// Mappings that are there before.
const BASE: usize = 100;
const GOAL_MS: f64 = 50.0;
/// Between two reviews: what is timed must not wait for the core that we ask from.
const POLL: Duration = Duration::from_micros(500);
/// Between two applies.
const PAUSE: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Way {
    /// `kube-system/aws-iam-authenticator`; the Go program has nothing like it.
    ConfigMap,
    /// `kube-system/aws-auth`
    AwsAuth,
    /// `IAMIdentityMapping`
    Object,
}

pub(crate) async fn measure(programs: &Programs, report: &mut Report) {
    let Some(plane) = memory::control_plane().await else {
        return;
    };
    install_definition(&plane).await;
    let sts = StsDouble::start();
    let who = fleet::sessions(&sts, BASE + SAMPLES);
    let start = |builder: AuthenticatorBuilder, modes: &str| {
        let builder = builder.backend_modes(modes).kubeconfig(plane.kubeconfig()).sts(&sts);
        builder.wrapper(&["taskset", "-c", SERVER_CORE]).start()
    };
    for (way, mode, figure) in [
        (
            Way::ConfigMap,
            "AuthenticatorConfigMap",
            "ConfigMap aws-iam-authenticator",
        ),
        (Way::AwsAuth, "EKSConfigMap", "ConfigMap aws-auth"),
        (Way::Object, "CRD", "IAMIdentityMapping"),
    ] {
        eprintln!("apply: {figure}");
        let server = start(Authenticator::builder(&programs.ours), mode);
        let ours = samples(&plane, &server, way, &who, SAMPLES).await;
        drop(server);
        let mut peer = Vec::new();
        if let (Some(program), Way::AwsAuth | Way::Object) = (&programs.peer, way) {
            let server = start(Authenticator::peer(program), mode);
            let count = if matches!(way, Way::Object) {
                PEER_OBJECTS
            } else {
                SAMPLES
            };
            peer = samples(&plane, &server, way, &who, count).await;
        }
        for (part, name, goal) in [(0.5, "p50", Goal::None), (0.99, "p99", Goal::AtMost(GOAL_MS))] {
            let peer = (!peer.is_empty()).then(|| percentile(&peer, part));
            let name = format!("from an applied {figure} to the first grant, {name}");
            report.add(name, "ms", percentile(&ours, part), peer, goal);
        }
    }
}

/// Installs our definition and waits until objects can be made.
pub(crate) async fn install_definition(plane: &ControlPlane) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/iamidentitymappings.yaml");
    plane.kubectl().run(&["apply", "--filename", path]).await.ok();
    let mut admin = Client::admin(plane).await;
    let deadline = Instant::now() + DEADLINE;
    while admin.send("GET", OBJECTS, "").await.0 != 200 {
        assert!(Instant::now() < deadline, "the definition is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Milliseconds.
async fn samples(plane: &ControlPlane, server: &Authenticator, way: Way, who: &[Principal], count: usize) -> Vec<f64> {
    let mut admin = Client::admin(plane).await;
    put(&mut admin, way, BASE).await;
    server.wait_listening().await;
    let mut webhook = Client::webhook(server.address()).await;
    granted(
        server,
        &mut webhook,
        &Bytes::from(fleet::review(&fleet::token(&who[0], 0))),
    )
    .await;
    let mut found = Vec::new();
    for (i, principal) in who.iter().enumerate().skip(BASE).take(count) {
        let review = Bytes::from(fleet::review(&fleet::token(principal, 0)));
        assert!(
            !webhook.is_granted(&review).await,
            "{way:?} {i} is granted before it is applied"
        );
        put(&mut admin, way, i + 1).await;
        let applied = Instant::now();
        granted(server, &mut webhook, &review).await;
        found.push(applied.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(PAUSE).await;
    }
    clear(&mut admin, way).await;
    found
}

async fn granted(server: &Authenticator, webhook: &mut Client, review: &Bytes) {
    let deadline = Instant::now() + DEADLINE;
    while !webhook.is_granted(review).await {
        assert!(
            Instant::now() < deadline,
            "never granted; the log ends with {}",
            server.log()
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Makes roles `0..count` mapped; for objects, only the last of them when the others are there.
async fn put(admin: &mut Client, way: Way, count: usize) {
    let (path, document) = match way {
        Way::ConfigMap => (
            "aws-iam-authenticator",
            fleet::mappings(count).authenticator_config_map(),
        ),
        Way::AwsAuth => ("aws-auth", fleet::mappings(count).aws_auth()),
        Way::Object => {
            let first = if count == BASE { 0 } else { count - 1 };
            for i in first..count {
                let (status, body) = admin.send("POST", OBJECTS, object(i)).await;
                assert_eq!(status, 201, "{body}");
            }
            return;
        }
    };
    if count == BASE {
        let (status, body) = admin.send("POST", CONFIG_MAPS, document).await;
        assert_eq!(status, 201, "{body}");
    } else {
        let (status, body) = admin.send("PUT", &format!("{CONFIG_MAPS}/{path}"), document).await;
        assert_eq!(status, 200, "{body}");
    }
}

async fn clear(admin: &mut Client, way: Way) {
    let path = match way {
        Way::ConfigMap => format!("{CONFIG_MAPS}/aws-iam-authenticator"),
        Way::AwsAuth => format!("{CONFIG_MAPS}/aws-auth"),
        Way::Object => OBJECTS.to_owned(),
    };
    let (status, body) = admin.send("DELETE", &path, "").await;
    assert_eq!(status, 200, "{body}");
}

/// Object `i`, as JSON.
pub(crate) fn object(i: usize) -> String {
    let (username, groups) = fleet::grant(i);
    let groups = groups.each_ref().map(String::as_str);
    iam_identity_mapping(&format!("mapping-{i:06}"), &fleet::arn(i), &username, &groups)
}
