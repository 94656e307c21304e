//! The control plane boots, obeys RBAC, and keeps its data over a restart of the API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use kit::builders::config_map;
use kit::{ControlPlane, Options, UserAuth, require_parts};

#[tokio::test]
async fn it_boots_obeys_rbac_and_keeps_its_data() {
    let Some(parts) = require_parts() else { return };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let admin = plane.kubectl();
    admin
        .apply(&config_map("default", "kept", &[("key", "value: \"1\"\nmore")]))
        .await
        .ok();

    let nobody = plane
        .kubectl()
        .with_kubeconfig(plane.write_kubeconfig("nobody", UserAuth::cert("nobody")));
    assert!(nobody.run(&["get", "configmaps"]).await.err().contains("forbidden"));
    assert!(nobody.run(&["auth", "whoami"]).await.ok().contains("nobody"));
    let stranger = plane.write_kubeconfig("stranger", UserAuth::Token("no such token".to_owned()));
    assert!(
        admin
            .with_kubeconfig(stranger)
            .run(&["get", "pods"])
            .await
            .err()
            .contains("Unauthorized")
    );

    let url = plane.url();
    plane.stop_api_server().await;
    assert!(admin.run(&["get", "configmaps"]).await.err().contains("refused"));
    plane.start_api_server().await;
    assert_eq!(plane.url(), url);
    let kept = admin
        .run(&["get", "configmap", "kept", "-o", "jsonpath={.data.key}"])
        .await
        .ok();
    assert_eq!(kept, "value: \"1\"\nmore");
    assert!(plane.api_server_log().contains("Serving securely"));
}
