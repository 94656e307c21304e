//! The flavour behind a Service: the program runs with the arguments of the rendered container, over files as the Secrets hold them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::builders::token_review;
use kit::ports::free_port;
use kit::process::Process;
use kit::{ControlPlane, Helm, Web, eventually};

use super::{chart, documents, rendered};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn answers_the_api_server_alone(plane: &ControlPlane, helm: &Helm) {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made");
    make(&made);
    let (serving, authority) = (folder.path().join("serving"), folder.path().join("client-ca"));
    for (from, secret, to) in [
        ("cert.pem", &serving, "cert.pem"),
        ("key.pem", &serving, "key.pem"),
        ("client-ca.pem", &authority, "ca.crt"),
    ] {
        fs::create_dir_all(secret).expect("a folder");
        fs::copy(made.join(from), secret.join(to)).expect("a file of a Secret");
    }

    let manifest = rendered(helm, &chart().join("ci/deployment.yaml"), &[]).await;
    let documents = documents(&manifest);
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment");
    let container = &deployment.expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
    let (port, health) = (free_port(), free_port());
    let mut command = Command::new(PROGRAM);
    kit::authenticator::clean_environment(&mut command);
    for argument in container["args"].as_array().expect("arguments") {
        let argument = argument.as_str().expect("a text");
        // Where the Secrets are mounted, and ports that nobody else has here.
        command.arg(
            argument
                .replace("/var/aws-iam-authenticator", &serving.display().to_string())
                .replace("/etc/aws-iam-authenticator-client-ca", &authority.display().to_string())
                .replace("21362", &port.to_string())
                .replace("21363", &health.to_string()),
        );
    }
    command.arg("--kubeconfig").arg(plane.kubeconfig());
    let log = folder.path().join("log");
    let process = Process::spawn("the program", &mut command, &log, None).expect("it starts");

    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the probe answers", SOON, async || {
        process.assert_running();
        Web::plain(at(health))
            .get("/readyz")
            .await
            .is_ok_and(|reply| reply.status == 200)
    })
    .await;
    let read = |name: &str| fs::read_to_string(made.join(name)).expect("what init has made");
    let review = token_review("v1", "somebody-elses-token", &[]).to_string();
    let api_server = Web::mutual_tls(at(port), &read("ca.pem"), &read("client.pem"), &read("client-key.pem"));
    let reply = api_server
        .post("/authenticate", review.as_bytes(), &[])
        .await
        .expect("an answer");
    assert_eq!((reply.status, reply.authenticated()), (200, false), "{}", reply.text);
    assert_eq!(reply.body["kind"], "TokenReview");
    let stranger = Web::tls(at(port), &read("ca.pem"));
    let reply = stranger
        .post("/authenticate", review.as_bytes(), &[])
        .await
        .expect("an answer");
    assert_eq!(reply.status, 403, "{}", reply.text);
}

/// Has `init` make every file.
fn make(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let output = Command::new(PROGRAM)
        .args([
            "init",
            "--cluster-id=my-cluster",
            "--feature-gates=ConfiguredInitDirectories=true",
        ])
        .arg("--hostname=aws-iam-authenticator.kube-system.svc")
        .arg(format!("--state-dir={}", folder.display()))
        .arg(format!("--client-ca-file={}", folder.join("client-ca.pem").display()))
        .arg(format!(
            "--generate-kubeconfig={}",
            folder.join("kubeconfig.yaml").display()
        ))
        .output()
        .expect("init runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
