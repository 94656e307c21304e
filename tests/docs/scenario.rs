//! Walks through a page as its reader would: in a folder of its own, on a control plane of its own, with the credentials of
//! the role that the pages give to their administrator. The absolute paths of the pages lie in that folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit::ports::free_port;
use kit::process::Process;
use kit::{ControlPlane, Options, Parts, Principal, StsDouble, UserAuth, Web, eventually};

use super::blocks::{Page, What, root};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
/// Where the pages put things on a node.
const FOLDERS: [&str; 5] = [
    "/etc/kubernetes/aws-iam-authenticator",
    "/var/aws-iam-authenticator",
    "/var/lib/aws-iam-authenticator",
    "/etc/aws-iam-authenticator",
    "/run/aws-iam-authenticator",
];
const SOON: Duration = Duration::from_secs(30);
const KOPS: &str = include_str!("kops.yaml");

/// A page being walked through.
pub(crate) struct Scenario<'a> {
    page: &'a Page,
    parts: Parts,
    plane: ControlPlane,
    sts: StsDouble,
    alice: Principal,
    folder: PathBuf,
    port: u16,
    health_port: u16,
    server: Option<Process>,
    api_server_runs: bool,
    of_kops: bool,
    last_output: String,
}

impl<'a> Scenario<'a> {
    /// Does all that the page says.
    pub(crate) async fn walk(page: &'a Page, parts: Parts, rights: &str) {
        let mut scenario = Self::new(page, parts).await;
        let has_own_rights = page.text.contains("check: file rbac.yaml");
        scenario.of_kops = page.text.contains("<!-- rights: kops -->");
        if !has_own_rights && !scenario.of_kops {
            scenario.needs_api_server().await;
            scenario.plane.kubectl().apply(rights).await.ok();
        }
        for item in &page.items {
            eprintln!("{}:{}", page.name, item.line);
            match &item.what {
                What::Block { check, text, .. } => scenario.block(item.line, check, text).await,
                What::Directive { name, value } => scenario.directive(item.line, name, value).await,
            }
        }
    }

    async fn new(page: &'a Page, parts: Parts) -> Self {
        let plane = ControlPlane::new(parts.clone(), Options::default()).await;
        let folder = plane.folder().join("page");
        for path in FOLDERS {
            fs::create_dir_all(folder.join(&path[1..])).unwrap();
        }
        let sts = StsDouble::start();
        let alice = sts.add(Principal::assumed_role("111122223333", "KubernetesAdmin", "alice"));
        let scenario = Self {
            page,
            parts,
            plane,
            sts,
            alice,
            folder,
            port: free_port(),
            health_port: free_port(),
            server: None,
            api_server_runs: false,
            of_kops: false,
            last_output: String::new(),
        };
        scenario.write_programs();
        scenario
    }

    /// What a node or a workstation has on its PATH. The pages use the standard ports; here they may be taken.
    fn write_programs(&self) {
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin).unwrap();
        symlink(&self.parts.kubectl, bin.join("kubectl")).unwrap();
        let (port, health) = (self.port, self.health_port);
        let program = format!(
            "#!/bin/sh\ncase $1 in\ninit) exec {PROGRAM} \"$@\" --port {port} ;;\nserver) exec {PROGRAM} \"$@\" --port {port} \
             --health-port {health} ;;\n*) exec {PROGRAM} \"$@\" ;;\nesac\n"
        );
        // Root already, in CI; elsewhere nothing here may become it, and files stay their maker's.
        let sudo = "#!/bin/sh\nif [ \"$1\" = chown ] && [ \"$(id -u)\" != 0 ]; then exit 0; fi\nexec \"$@\"\n";
        for (name, text) in [("aws-iam-authenticator", program.as_str()), ("sudo", sudo)] {
            let path = bin.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::copy(self.plane.kubeconfig(), self.folder.join("kubeconfig")).unwrap();
        self.write_client_kubeconfigs("aws-iam-authenticator");
    }

    /// What `kubeadm kubeconfig user` and `k0s kubeconfig create` make on a node.
    fn write_client_kubeconfigs(&self, user: &str) {
        let made = self.plane.write_kubeconfig("client", UserAuth::cert(user));
        for folder in ["etc/kubernetes/aws-iam-authenticator", "etc/aws-iam-authenticator"] {
            fs::copy(&made, self.folder.join(folder).join("client.conf")).unwrap();
        }
    }

    async fn block(&mut self, line: usize, check: &[String], text: &str) {
        let text = self.here(text);
        match check.first().map(String::as_str) {
            Some("run") => {
                self.needs_api_server().await;
                self.last_output = self.run(line, &text);
            }
            Some("background") => self.start(line, &text).await,
            Some("apiserver") => {
                let wanted = format!(
                    "--authentication-token-webhook-config-file={}",
                    self.webhook_kubeconfig().display()
                );
                assert!(
                    text.contains(&wanted),
                    "{}:{line}: {wanted} is not among the flags",
                    self.page.name
                );
                self.restart_api_server().await;
            }
            Some("apply") => self.validate(line, &text).await,
            Some("file") => {
                let path = self.folder.join(self.here(&check[1]));
                fs::write(path, text).unwrap();
            }
            // Checked without a control plane.
            _ => {}
        }
    }

    async fn directive(&mut self, line: usize, name: &str, value: &str) {
        match name {
            "start" => {
                let command = match value.strip_prefix("unit ") {
                    Some(unit) => self.unit(unit),
                    None => self.here(value),
                };
                if self.of_kops {
                    self.write_client_kubeconfigs("system:serviceaccount:kube-system:aws-iam-authenticator");
                }
                self.start(line, &command).await;
                self.restart_api_server().await;
            }
            "rights" => {
                self.plane.kubectl().apply(KOPS).await.ok();
                self.definition_is_there().await;
            }
            "expect" => assert!(
                self.last_output.contains(value),
                "{}:{line}: {value:?} is not in the output:\n{}",
                self.page.name,
                self.last_output
            ),
            other => panic!("{}:{line}: there is no directive `{other}`", self.page.name),
        }
    }

    /// The text with the node's paths in this folder.
    fn here(&self, text: &str) -> String {
        let folder = self.folder.display();
        let mut text = text.replace("/usr/local/bin/aws-iam-authenticator", "aws-iam-authenticator");
        for path in FOLDERS {
            text = text.replace(path, &format!("{folder}{path}"));
        }
        text
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", &self.alice.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.alice.secret_access_key)
            .env(
                "AWS_SESSION_TOKEN",
                self.alice.session_token.as_deref().unwrap_or_default(),
            )
            .envs(self.sts.env());
        command
    }

    fn run(&self, line: usize, script: &str) -> String {
        let output = self.command(script).output().expect("bash runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}:{line}: {}\n{script}\n{text}\nthe server said:\n{}",
            self.page.name,
            output.status,
            self.server.as_ref().map(Process::log).unwrap_or_default()
        );
        text
    }

    async fn start(&mut self, line: usize, command: &str) {
        let log = self.folder.join("server.log");
        let mut command = self.command(&format!("exec {}", command.trim()));
        self.server = Some(Process::spawn(&format!("{}:{line}", self.page.name), &mut command, &log, None).unwrap());
        let web = Web::plain(([127, 0, 0, 1], self.health_port).into());
        eventually("the server of the page lives", SOON, async || {
            if let Some(server) = &self.server {
                server.assert_running();
            }
            web.get("/livez").await.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The command of a unit, after what is to run before it.
    fn unit(&self, name: &str) -> String {
        let unit = fs::read_to_string(root().join("packaging/systemd").join(name)).unwrap();
        let value = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(key))
                .expect(key)
                .to_owned()
        };
        self.run(0, &self.here(&value("ExecStartPre=")));
        self.here(&value("ExecStart="))
    }

    /// The kubeconfig that the page's server, or `init`, made.
    fn webhook_kubeconfig(&self) -> PathBuf {
        let candidates = ["etc/kubernetes/aws-iam-authenticator", "run/aws-iam-authenticator"];
        let paths = candidates.map(|folder| self.folder.join(folder).join("kubeconfig.yaml"));
        paths
            .into_iter()
            .find(|path| path.is_file())
            .expect("a webhook kubeconfig was made")
    }

    async fn needs_api_server(&mut self) {
        if !self.api_server_runs {
            self.plane.start_api_server().await;
            self.api_server_runs = true;
        }
    }

    async fn restart_api_server(&mut self) {
        self.plane.stop_api_server().await;
        let version = if self.of_kops { "v1beta1" } else { "v1" };
        let options = Options::default().webhook_version(version);
        self.plane
            .set_options(options.webhook_kubeconfig(self.webhook_kubeconfig()));
        self.plane.start_api_server().await;
        self.api_server_runs = true;
    }

    async fn definition_is_there(&self) {
        let kubectl = self.plane.kubectl();
        let crd = "crd/iamidentitymappings.iamauthenticator.k8s.aws";
        kubectl.run(&["wait", "--for=condition=Established", crd]).await.ok();
    }

    async fn validate(&mut self, line: usize, manifest: &str) {
        self.needs_api_server().await;
        let kubectl = self.plane.kubectl();
        if manifest.contains("iamauthenticator.k8s.aws") {
            kubectl
                .apply(include_str!("../../crds/iamidentitymappings.yaml"))
                .await
                .ok();
            self.definition_is_there().await;
        }
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = kubectl.run_with_input(&arguments, manifest).await;
        assert!(
            output.success(),
            "{}:{line}: {}{}",
            self.page.name,
            output.stdout,
            output.stderr
        );
        // An unknown field may come as a warning only.
        assert!(
            !output.stderr.contains("Warning"),
            "{}:{line}: {}",
            self.page.name,
            output.stderr
        );
    }
}

/// Whether a page has anything to walk through.
pub(crate) fn has_steps(page: &Page) -> bool {
    let is_step = |what: &What| match what {
        What::Block { check, .. } => check
            .first()
            .is_some_and(|check| ["run", "background", "apply", "apiserver"].contains(&check.as_str())),
        What::Directive { .. } => false,
    };
    page.items.iter().any(|item| is_step(&item.what))
}

/// The unit files as systemd itself reads them, where it is.
pub(crate) fn verify_units() {
    let scratch = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(root().join("packaging/systemd/aws-iam-authenticator.service")).unwrap();
    let path = scratch.path().join("aws-iam-authenticator.service");
    fs::write(&path, unit.replace("/usr/local/bin/aws-iam-authenticator", PROGRAM)).unwrap();
    for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=20"]] {
        let Ok(output) = analyze(arguments, &path) else {
            eprintln!("skipped: systemd-analyze is missing");
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert_eq!(text, "", "systemd-analyze {arguments:?} warns");
    }
}

fn analyze(arguments: &[&str], path: &Path) -> std::io::Result<std::process::Output> {
    Command::new("systemd-analyze").args(arguments).arg(path).output()
}
