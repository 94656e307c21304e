//! The kubeconfig that is printed or written, used by the real kubectl; and the kuberc beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kit::builders::Mappings;
use kit::{Authenticator, ControlPlane, Kubectl, Options, Principal, StsDouble};

use super::{ACCOUNT, PROGRAM, Said, run};

const CLUSTER: &str = "kubeconfig.example";

/// A file that people have, with things in it that are nobody's business.
const MINE: &str = "\
# my clusters
apiVersion: v1
kind: Config
clusters:
- name: home   # the old one
  cluster:
    server: https://home.invalid
contexts:
- name: home
  context: {cluster: home, user: me}
users:
- name: me
  user:
    token: keep-me
current-context: home
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_logs_in_with_it() {
    let Some(parts) = kit::require_parts() else { return };
    let sts = StsDouble::start();
    let plane = ControlPlane::new(parts, Options::default()).await;
    let config = plane.folder().join("config.yaml");
    let mappings = Mappings::new().role(
        &format!("arn:aws:iam::{ACCOUNT}:role/Dev"),
        "dev:{{SessionName}}",
        &["devs"],
    );
    fs::write(&config, mappings.config_yaml()).unwrap();
    let server = Authenticator::builder(PROGRAM)
        .cluster_id(CLUSTER)
        .config_file(&config)
        .sts(&sts)
        .start();
    server.wait_ready().await;
    plane.set_webhook_kubeconfig(server.webhook_kubeconfig());
    plane.start_api_server().await;
    let bob = sts.add(Principal::assumed_role(ACCOUNT, "Dev", "bob"));
    let world = World { plane, sts, bob };
    world.printed().await;
    world.written_beside_others().await;
    world.only_our_plugin_is_allowed().await;
}

struct World {
    plane: ControlPlane,
    sts: StsDouble,
    bob: Principal,
}

impl World {
    /// The command line that makes the kubeconfig of this cluster.
    fn make(&self, args: &[&str], environment: &[(&str, &Path)]) -> Said {
        let (server, ca) = (self.plane.url(), self.plane.ca_file());
        let base = [
            "kubeconfig",
            "-i",
            CLUSTER,
            "--server",
            &server,
            "--certificate-authority",
            ca.to_str().unwrap(),
        ];
        run(&[&base[..], args].concat(), environment)
    }

    /// kubectl as bob's shell has it: our program on the PATH, his keys in the environment.
    fn kubectl(&self, kubeconfig: &Path) -> Kubectl {
        let directory = Path::new(PROGRAM).parent().unwrap();
        let kubectl = self.plane.kubectl().with_kubeconfig(kubeconfig);
        let kubectl = kubectl.with_env("PATH", directory.to_str().unwrap());
        let environment = [
            self.bob.env(),
            self.sts.env(),
            vec![("AWS_REGION".to_owned(), "us-east-1".to_owned())],
        ]
        .concat();
        environment
            .iter()
            .fold(kubectl, |kubectl, (name, value)| kubectl.with_env(name, value))
    }

    async fn printed(&self) {
        let path = self.plane.folder().join("printed");
        let text = self.make(&[], &[]).ok();
        fs::write(&path, &text).unwrap();
        let who = self.kubectl(&path).run(&["auth", "whoami"]).await.ok();
        assert!(who.contains("dev:bob") && who.contains("devs"), "{who}");
        // The cluster id comes from the entry of the cluster, and is the one that is signed.
        let other = self.file(
            "other-cluster",
            &text.replace(&format!("clusterID: {CLUSTER}"), "clusterID: another"),
        );
        self.kubectl(&other).run(&["auth", "whoami"]).await.err();
    }

    async fn written_beside_others(&self) {
        let (path, other) = (self.file("mine", MINE), self.plane.folder().join("other"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let both = PathBuf::from(format!("{}:{}", path.display(), other.display()));
        let write = |args: &[&str]| {
            self.make(
                &[&["--write", "--alias", "work", "--no-cluster-info"], args].concat(),
                &[("KUBECONFIG", &both)],
            )
        };
        let said = write(&[]).ok();
        assert!(
            said.contains("added the context \"work\"") && said.contains("--context \"work\""),
            "{said}"
        );

        let text = fs::read_to_string(&path).unwrap();
        for line in MINE.lines() {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!other.exists() && !path.with_file_name("mine.lock").exists());
        let kubectl = self.kubectl(&path);
        let who = kubectl.with_context("work").run(&["auth", "whoami"]).await.ok();
        assert!(who.contains("dev:bob"), "{who}");
        // kubectl reads all of it, and still takes the old one by default.
        let current = kubectl.run(&["config", "current-context"]).await.ok();
        assert_eq!(current.trim(), "home");

        assert!(write(&[]).ok().starts_with("nothing to do"));
        assert!(write(&["--use"]).ok().contains("it is the current context"));
        let who = kubectl.run(&["auth", "whoami"]).await.ok();
        assert!(who.contains("dev:bob"), "{who}");
        self.a_new_file_is_private();
        self.what_cannot_be_merged_is_left_alone();
    }

    fn a_new_file_is_private(&self) {
        let home = self.plane.folder().join("new-home");
        fs::create_dir(&home).unwrap();
        self.make(&["--write"], &[("HOME", &home)]).ok();
        let mode = |path: &str| fs::metadata(home.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(".kube"), mode(".kube/config")), (0o700, 0o600));
    }

    fn what_cannot_be_merged_is_left_alone(&self) {
        let path = self.file("broken", "clusters: [\n");
        let error = self.make(&["--write"], &[("KUBECONFIG", &path)]).failed(1);
        assert!(
            error.contains("nothing was changed") && error.contains("line "),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "clusters: [\n");
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.plane.folder().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// kubectl runs our program by the list that we print, and refuses it by another list.
    async fn only_our_plugin_is_allowed(&self) {
        let printed = run(&["kubeconfig", "--kuberc"], &[]).ok();
        let ours = self.file("kuberc", &printed);
        let others = self.file(
            "other-kuberc",
            &printed.replace("command: aws-iam-authenticator", "command: another-plugin"),
        );
        let kubectl = self.kubectl(&self.plane.folder().join("printed"));
        let who = |kuberc: PathBuf| {
            let kubectl = kubectl.clone();
            async move {
                kubectl
                    .run(&["--kuberc", kuberc.to_str().unwrap(), "auth", "whoami"])
                    .await
            }
        };
        let allowed = who(ours).await.ok();
        assert!(allowed.contains("dev:bob"), "{allowed}");
        let refused = who(others).await.err();
        assert!(
            refused.contains("not permitted by the credential plugin allowlist"),
            "{refused}"
        );
    }
}
