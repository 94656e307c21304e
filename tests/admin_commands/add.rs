//! `add user` and `add role` against the real API server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use kit::builders::config_map;
use kit::{ControlPlane, Kubectl, Options, UserAuth};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{ACCOUNT, PROGRAM, Said, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mappings_are_added_to_a_running_cluster() {
    let Some(parts) = kit::require_parts() else { return };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let world = World {
        kubectl: plane.kubectl(),
        kubeconfig: plane.kubeconfig(),
    };
    world.the_first_entry_makes_the_config_map().await;
    world.nothing_else_is_touched().await;
    world.it_asks_first().await;
    world.somebody_else_is_faster().await;
    world.many_at_once().await;
    world.what_would_lock_people_out_is_refused().await;
    world.objects().await;
    world.a_right_is_missing(&plane);
}

struct World {
    kubectl: Kubectl,
    kubeconfig: PathBuf,
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

impl World {
    fn add(&self, args: &[&str]) -> Said {
        run(&[&["add"], args].concat(), &[("KUBECONFIG", &self.kubeconfig)])
    }

    fn add_role(&self, name: &str, args: &[&str]) -> Said {
        let arn = role(name);
        let base = ["role", "--rolearn", &arn, "--username", name, "--groups", "ops,dev"];
        self.add(&[&base[..], args].concat())
    }

    /// The text of a key of `aws-auth`.
    async fn text(&self, key: &str) -> String {
        let map = self
            .kubectl
            .run(&["-n", "kube-system", "get", "configmap", "aws-auth", "-o", "json"])
            .await
            .ok();
        let map: Value = serde_json::from_str(&map).unwrap();
        map["data"][key].as_str().unwrap_or_default().to_owned()
    }

    async fn put(&self, data: &[(&str, &str)]) {
        self.kubectl
            .apply(&config_map("kube-system", "aws-auth", data))
            .await
            .ok();
    }

    async fn the_first_entry_makes_the_config_map(&self) {
        let said = self.add_role("First", &["--dry-run"]).ok();
        assert!(
            said.contains("+- rolearn: ") && said.contains("nothing was changed"),
            "{said}"
        );
        let gone = self
            .kubectl
            .run(&["-n", "kube-system", "get", "configmap", "aws-auth"])
            .await
            .err();
        assert!(gone.contains("not found"), "{gone}");

        let said = self.add_role("First", &["--prompt=false"]).ok();
        assert!(said.contains("to kube-system/aws-auth, which is new"), "{said}");
        let expected = format!(
            "- rolearn: {}\n  username: First\n  groups:\n  - ops\n  - dev\n",
            role("First")
        );
        assert_eq!(self.text("mapRoles").await, expected);
        let said = self.add_role("First", &["--prompt=false"]).ok();
        assert!(said.starts_with("nothing to do: mapRoles, line 1"), "{said}");
    }

    async fn nothing_else_is_touched(&self) {
        let roles = format!(
            "# the nodes\n- groups: [system:nodes]   # all of them\n  rolearn: {}\n  username: node\n\n# end\n",
            role("Node")
        );
        self.put(&[
            ("mapRoles", &roles),
            ("mapAccounts", "- '444455556666' # ours\n"),
            ("other", "x"),
        ])
        .await;
        let alice = format!("arn:aws:iam::{ACCOUNT}:user/alice");
        let said = self.add(&["user", "--userarn", &alice, "--username", "alice", "--prompt=false"]);
        assert!(
            said.error.contains("has the key \"other\", which no server reads"),
            "{said:?}"
        );
        said.ok();
        self.add_role("Admin", &["--prompt=false"]).ok();
        assert_eq!(
            self.text("mapUsers").await,
            format!("- userarn: {alice}\n  username: alice\n")
        );
        let added = format!(
            "- rolearn: {}\n  username: Admin\n  groups:\n  - ops\n  - dev\n",
            role("Admin")
        );
        assert_eq!(self.text("mapRoles").await, format!("{roles}{added}"));
        assert_eq!(self.text("mapAccounts").await, "- '444455556666' # ours\n");
        assert_eq!(self.text("other").await, "x");
    }

    async fn it_asks_first(&self) {
        let before = self.text("mapRoles").await;
        let asked = self.asks("Asked", "n\n", async {}).await;
        assert!(
            asked
                .out
                .contains("should we continue? [y/N]: cancelled: nothing was changed"),
            "{asked:?}"
        );
        asked.ok();
        let silent = self.asks("Asked", "", async {}).await.failed(1);
        assert!(silent.contains("--prompt=false"), "{silent}");
        assert_eq!(self.text("mapRoles").await, before);
    }

    /// Somebody writes while we wait for the answer: what they wrote stays.
    async fn somebody_else_is_faster(&self) {
        let theirs = format!("- rolearn: {}\n  username: theirs\n", role("Theirs"));
        let said = self.asks("Ours", "y\n", self.put(&[("mapRoles", &theirs)])).await;
        assert!(
            said.error.contains("was changed by somebody else meanwhile"),
            "{said:?}"
        );
        said.ok();
        let text = self.text("mapRoles").await;
        assert!(text.starts_with(&theirs) && text.contains(&role("Ours")), "{text}");
        // They may also have taken the very principal.
        let taken = format!("- rolearn: {}\n  username: else\n", role("Taken"));
        let error = self
            .asks("Taken", "y\n", self.put(&[("mapRoles", &taken)]))
            .await
            .failed(1);
        assert!(
            error.contains("mapRoles, line 1, maps this principal already, to \"else\" without groups"),
            "{error}"
        );
        assert_eq!(self.text("mapRoles").await, taken);
    }

    /// Starts `add role`, waits for its question, lets something happen, and answers.
    async fn asks(&self, name: &str, answer: &str, meanwhile: impl Future<Output = ()>) -> Said {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["add", "role", "--rolearn", &role(name), "--username", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut out = Vec::new();
        while !out.ends_with(b"[y/N]: ") {
            out.push(stdout.read_u8().await.expect("the question"));
        }
        meanwhile.await;
        stdin.write_all(answer.as_bytes()).await.unwrap();
        drop(stdin);
        stdout.read_to_end(&mut out).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(out).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn many_at_once(&self) {
        self.put(&[("mapRoles", "# everybody\n")]).await;
        let names = ["A", "B", "C", "D"];
        std::thread::scope(|scope| {
            let all = names.map(|name| scope.spawn(move || self.add_role(name, &["--prompt=false"])));
            for said in all {
                said.join().unwrap().ok();
            }
        });
        let text = self.text("mapRoles").await;
        for name in names {
            assert_eq!(text.matches(&role(name)).count(), 1, "{text}");
        }
        assert!(text.starts_with("# everybody\n"), "{text}");
    }

    async fn what_would_lock_people_out_is_refused(&self) {
        let broken = "- rolearn: x\n  username: [\n";
        self.put(&[("mapRoles", broken)]).await;
        let error = self.add_role("New", &["--prompt=false"]).failed(1);
        assert!(error.contains("mapRoles cannot be read as it is now: line "), "{error}");
        assert_eq!(self.text("mapRoles").await, broken);
        let args = ["role", "--rolearn", &role("X"), "--username", "system:admin"];
        let error = self.add(&args).failed(2);
        assert!(
            error.contains("prefix \"system:\"") && error.contains("--allow-system-usernames"),
            "{error}"
        );
    }

    async fn objects(&self) {
        let error = self.add_role("Dev", &["--as", "crd", "--prompt=false"]).failed(1);
        assert!(
            error.contains("aws-iam-authenticator crd | kubectl apply -f -"),
            "{error}"
        );
        self.kubectl.apply(&run(&["crd"], &[]).ok()).await.ok();
        let established = [
            "wait",
            "--for=condition=Established",
            "crd/iamidentitymappings.iamauthenticator.k8s.aws",
        ];
        self.kubectl.run(&established).await.ok();

        let said = self.add_role("Dev", &["--as", "crd", "--dry-run"]).ok();
        assert!(said.contains("nothing was changed"), "{said}");
        let said = self.add_role("Dev", &["--as", "crd", "--prompt=false"]).ok();
        let name = format!("role-dev-{ACCOUNT}");
        assert!(said.contains(&format!("added IAMIdentityMapping {name}")), "{said}");
        let object = self
            .kubectl
            .run(&["get", "iamidentitymapping", &name, "-o", "jsonpath={.spec}"])
            .await
            .ok();
        let spec: Value = serde_json::from_str(&object).unwrap();
        assert_eq!(
            spec,
            serde_json::json!({ "arn": role("Dev"), "username": "Dev", "groups": ["ops", "dev"] })
        );
        let said = self
            .add_role("Dev", &["--as", "CRD", "--prompt=false", "--name", "again"])
            .ok();
        assert!(
            said.contains(&format!("nothing to do: IAMIdentityMapping {name}")),
            "{said}"
        );
        let error = self
            .add_role("DEV", &["--as", "crd", "--prompt=false", "--name", "again"])
            .failed(1);
        assert!(
            error.contains(&format!("IAMIdentityMapping {name} maps this principal already")),
            "{error}"
        );
        let sso = format!("permissionSetName=View,accountID={ACCOUNT}");
        let args = [
            "role",
            "--sso",
            &sso,
            "--username",
            "viewer",
            "--as",
            "crd",
            "--prompt=false",
        ];
        self.add(&args).ok();
        let object = self
            .kubectl
            .run(&["get", "iamidentitymapping", &format!("sso-view-{ACCOUNT}")])
            .await
            .ok();
        assert!(object.contains("viewer"), "{object}");
    }

    fn a_right_is_missing(&self, plane: &ControlPlane) {
        let _ = self;
        let nobody = plane.write_kubeconfig("nobody", UserAuth::cert("nobody"));
        let nobody: &Path = &nobody;
        let arn = role("X");
        let args = [
            "add",
            "role",
            "--rolearn",
            &arn,
            "--username",
            "x",
            "--kubeconfig",
            nobody.to_str().unwrap(),
        ];
        let error = run(&args, &[]).failed(1);
        assert!(
            error.starts_with("error: cannot read the ConfigMap kube-system/aws-auth: ")
                && error.contains("ask for the right to get, create and patch configmaps in kube-system"),
            "{error}"
        );
    }
}
