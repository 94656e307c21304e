//! The cluster of the story: what is started in which order, and commands that are shown as they are run.

use crate::aws::{ALICE, Aws, CLUSTER, ROLE};
use crate::narrator::Narrator;
use crate::{Told, World, until};
use kit::{Authenticator, ControlPlane, Kubectl, Options, Output, Parts, StsDouble, UserAuth};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For how long the API server remembers an answer here. Its own default is two minutes; the story shows the end of it.
pub(crate) const CACHE_TTL: Duration = Duration::from_secs(20);
/// The name of the server's user, and of its kubeconfig.
const SERVER: &str = "aws-iam-authenticator";
const MODES: &str = "AuthenticatorConfigMap,CRD";
const RBAC: &str = include_str!("rbac.yaml");
/// A change is there in milliseconds; this much only on a machine that is very busy.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Cluster<'a> {
    pub(crate) narrator: &'a Narrator,
    pub(crate) aws: Aws,
    /// What makes the commands of the story work in another terminal.
    pub(crate) exports: String,
    folder: PathBuf,
    pub(crate) kubectl: Kubectl,
    pub(crate) server: Authenticator,
    plane: ControlPlane,
    sts: StsDouble,
}

impl<'a> Cluster<'a> {
    /// Starts everything, our server first, and sets up what is not part of the story.
    pub(crate) async fn start(narrator: &'a Narrator, program: PathBuf, parts: Parts) -> Told<Self> {
        narrator.step("A cluster that asks us who its users are");
        let kubectl_folder = parts.kubectl.parent().map(Path::to_owned).unwrap_or_default();
        let plane = ControlPlane::new(parts, Options::default().cache_ttl(CACHE_TTL)).await;
        let folder = plane.folder().to_owned();
        let sts = StsDouble::start();
        let aws_folder = folder.join("aws");
        std::fs::create_dir(&aws_folder).map_err(|error| format!("{}: {error}", aws_folder.display()))?;
        let aws = Aws::new(program.clone(), &aws_folder, &sts);
        let kubeconfig = plane.write_kubeconfig(SERVER, UserAuth::cert(SERVER));
        let users = [
            ("admin", UserAuth::admin()),
            (ALICE, aws.user(ALICE)),
            (ROLE, aws.user(ROLE)),
        ];
        let people = plane.write_contexts("playground", &users);
        let path = std::env::join_paths([&kubectl_folder, program.parent().unwrap_or(Path::new("/"))].map(Path::new));
        narrator.say("etcd runs. To type along in another terminal:");
        let exports = format!(
            "export KUBECONFIG={} PLAY={} PATH={}:$PATH",
            people.display(),
            folder.display(),
            path.unwrap_or_default().to_string_lossy()
        );
        narrator.command(&exports);

        narrator.say("Our server starts first: it needs neither an API server nor a mapping.");
        narrator.command(format!(
            "aws-iam-authenticator server --cluster-id {CLUSTER} --backend-mode {MODES} --kubeconfig $PLAY/{SERVER}.kubeconfig …"
        ));
        let server = Authenticator::builder(program)
            .cluster_id(CLUSTER)
            .backend_modes(MODES)
            .kubeconfig(kubeconfig)
            .sts(&sts)
            .start();
        server.wait_listening().await;
        narrator.output(format!(
            "process {}, listening on https://{}",
            server.pid(),
            server.address()
        ));
        let kubectl = plane.kubectl().with_kubeconfig(people);
        let cluster = Self {
            narrator,
            aws,
            exports,
            folder,
            kubectl,
            server,
            plane,
            sts,
        };
        cluster.start_api_server().await;
        cluster.set_up().await?;
        Ok(cluster)
    }

    async fn start_api_server(&self) {
        let webhook = self.server.webhook_kubeconfig();
        self.narrator
            .say("The API server starts with the webhook kubeconfig that our server has written.");
        self.narrator.command(format!(
            "kube-apiserver --authentication-token-webhook-config-file={} --authentication-token-webhook-cache-ttl={}s …",
            webhook.display(),
            CACHE_TTL.as_secs()
        ));
        self.plane.set_webhook_kubeconfig(webhook);
        let started = Instant::now();
        self.plane.start_api_server().await;
        self.narrator
            .output(format!("ready after {:.1} s", started.elapsed().as_secs_f64()));
    }

    async fn set_up(&self) -> Told<()> {
        self.narrator
            .step("What our server may do there: read mappings, and say what became of them");
        self.write("rbac.yaml", RBAC)?;
        let rules = RBAC.lines().filter(|line| {
            ["apiGroups", "resources", "verbs"]
                .iter()
                .any(|word| line.contains(word))
        });
        self.narrator
            .command("grep -E 'apiGroups|resources|verbs' $PLAY/rbac.yaml");
        self.narrator.output(rules.collect::<Vec<_>>().join("\n"));
        self.well("--context admin apply -f $PLAY/rbac.yaml").await?;
        self.narrator
            .command("aws-iam-authenticator crd | kubectl --context admin apply -f -");
        let definition = self.aws.definition()?;
        let applied = self.kubectl.with_context("admin").apply(&definition).await;
        self.shown(&applied)
            .success()
            .then_some(())
            .ok_or("the definition is not accepted")?;
        let started = Instant::now();
        until("the server is ready", Duration::from_secs(30), async || {
            let reply = self.server.health_get("/readyz?verbose").await;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await?;
        self.narrator
            .command(format!("curl http://{}/readyz", self.server.health_address()));
        self.narrator
            .output(format!("ok ({:.1} s later)", started.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Writes a file that commands call `$PLAY/<name>`.
    pub(crate) fn write(&self, name: &str, text: &str) -> Told<()> {
        std::fs::write(self.folder.join(name), text).map_err(|error| format!("{name}: {error}"))
    }

    /// Shows a file.
    pub(crate) fn show(&self, name: &str, text: &str) -> Told<()> {
        self.write(name, text)?;
        self.narrator.command(format!("cat $PLAY/{name}"));
        self.narrator.output(text);
        Ok(())
    }

    /// Runs kubectl and shows what it said.
    pub(crate) async fn run(&self, command: &str) -> Output {
        self.narrator.command(format!("kubectl {command}"));
        let output = self.quietly(command).await;
        self.shown(&output);
        output
    }

    /// The same for what must succeed.
    pub(crate) async fn well(&self, command: &str) -> Told<Output> {
        let output = self.run(command).await;
        if output.success() {
            Ok(output)
        } else {
            Err(format!("kubectl {command} failed"))
        }
    }

    /// The same for what must fail with these words.
    pub(crate) async fn fails(&self, command: &str, with: &str) -> Told<()> {
        let output = self.run(command).await;
        if !output.success() && output.stderr.contains(with) {
            return Ok(());
        }
        Err(format!("kubectl {command} was to fail with {with:?}"))
    }

    /// Changes something by kubectl, and tells when the webhook's answer for a profile has changed with it.
    pub(crate) async fn change(&self, command: &str, profile: &str, granted: bool) -> Told<()> {
        let token = self.aws.token(profile)?;
        let word = if granted { "granted" } else { "refused" };
        self.narrator.command(format!("kubectl {command}"));
        let change = async {
            let output = self.quietly(command).await;
            (output, Instant::now())
        };
        let what = format!("{profile} is {word}");
        let seen = until(&what, SOON, async || {
            let reply = self.server.authenticate(&token).await;
            if reply.authenticated() == granted {
                Ok(Instant::now())
            } else {
                Err(reply.text)
            }
        });
        let ((output, answered), seen) = tokio::join!(change, seen);
        if !self.shown(&output).success() {
            return Err(format!("kubectl {command} failed"));
        }
        let seen = seen?;
        let pid = self.server.pid();
        match seen.checked_duration_since(answered).map(|time| time.as_millis()) {
            Some(late) => self.narrator.say(format!(
                "{what} {late} ms after kubectl's return, by the same process {pid}."
            )),
            None => {
                let early = answered.duration_since(seen).as_millis();
                self.narrator.say(format!(
                    "{what} 0 ms after kubectl's return ({early} ms before it, in fact), by the same process {pid}."
                ));
            }
        }
        Ok(())
    }

    /// The last line of the API server's log that says why it refused somebody.
    pub(crate) fn api_server_reason(&self, reason: &str) -> Told<String> {
        let log = self.plane.api_server_log();
        let line = log.lines().rfind(|line| line.contains(reason)).map(str::to_owned);
        line.ok_or_else(|| format!("the API server's log does not say {reason:?}"))
    }

    /// A kubeconfig, as `$PLAY/<name>.kubeconfig`, of somebody who has a token and nothing to renew it with.
    pub(crate) fn with_token(&self, name: &str, token: String) -> Kubectl {
        self.kubectl
            .with_kubeconfig(self.plane.write_kubeconfig(name, UserAuth::Token(token)))
    }

    pub(crate) fn into_world(self) -> World {
        World {
            server: self.server,
            plane: Some(self.plane),
            _sts: self.sts,
        }
    }

    async fn quietly(&self, command: &str) -> Output {
        let folder = self.folder.display().to_string();
        let command = command.replace("$PLAY", &folder);
        let args: Vec<&str> = command.split(' ').collect();
        self.kubectl.run(&args).await
    }

    pub(crate) fn shown<'o>(&self, output: &'o Output) -> &'o Output {
        self.narrator.output(&output.stdout);
        self.narrator.output(&output.stderr);
        output
    }
}
