//! The story without a control plane: mappings from a file, and `TokenReview`s posted as an API server posts them.

use crate::aws::{ALICE, ALICE_ARN, Aws, CLUSTER, ROLE, ROLE_ARN};
use crate::narrator::Narrator;
use crate::{Told, World, until};
use kit::builders::{Mappings, token_review};
use kit::{Authenticator, MissingParts, Reply, StsDouble};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file is looked at once a second.
const SOON: Duration = Duration::from_secs(20);

struct FileStory<'a> {
    narrator: &'a Narrator,
    aws: Aws,
    server: Authenticator,
    folder: PathBuf,
}

/// Tells it; what runs is given back.
pub(crate) async fn tell(narrator: &Narrator, program: PathBuf, missing: &MissingParts) -> Told<World> {
    narrator.step("No control plane here, so the story is told from a file");
    narrator.say(missing);
    let sts = StsDouble::start();
    let folder = sts.ca_file().parent().map(Path::to_owned).unwrap_or_default();
    let config = folder.join("config.yaml");
    write(&config, &Mappings::new())?;
    let server = Authenticator::builder(program.clone())
        .cluster_id(CLUSTER)
        .backend_modes("MountedFile")
        .config_file(&config)
        .sts(&sts)
        .start();
    server.wait_ready().await;
    let aws = Aws::new(program, &folder, &sts);
    let story = FileStory {
        narrator,
        aws,
        server,
        folder,
    };
    narrator.command(format!("export PLAY={}", story.folder.display()));
    narrator.command(format!(
        "aws-iam-authenticator server --cluster-id {CLUSTER} --backend-mode MountedFile --config $PLAY/config.yaml …"
    ));
    narrator.output(format!(
        "process {}, listening on https://{}",
        story.server.pid(),
        story.server.address()
    ));
    story.play().await?;
    Ok(World {
        server: story.server,
        plane: None,
        _sts: sts,
    })
}

impl FileStory<'_> {
    async fn play(&self) -> Told<()> {
        let pid = self.server.pid();
        let narrator = self.narrator;
        narrator.step("alice is in AWS, but nobody here knows her");
        let reply = self.post(ALICE).await?;
        if reply.authenticated() || reply.reason().is_none() {
            return Err("alice was to be refused with a reason".to_owned());
        }

        narrator.step("The file lets alice in");
        let alice = Mappings::new().user(ALICE_ARN, "alice", &["system:masters"]);
        self.edit(&alice, ALICE, true).await?;
        self.post(ALICE).await?;

        narrator.step("and then a role");
        let both = alice.role(ROLE_ARN, "deployer:{{SessionName}}", &["pod-readers"]);
        self.edit(&both, ROLE, true).await?;
        self.post(ROLE).await?;

        narrator.step("Both are taken out of the file, and both are out");
        self.edit(&Mappings::new(), ALICE, false).await?;
        for profile in [ALICE, ROLE] {
            if self.post(profile).await?.authenticated() {
                return Err(format!("{profile} was to be out"));
            }
        }
        if self.server.pid() != pid {
            return Err("the server was restarted".to_owned());
        }
        narrator.step("The end of the story");
        narrator.say("Edit $PLAY/config.yaml, make a token, and post it as above.");
        Ok(())
    }

    /// Posts a fresh token as the API server does.
    async fn post(&self, profile: &str) -> Told<Reply> {
        let review = token_review("v1", &self.aws.token(profile)?, &[]);
        let path = self.folder.join(format!("{profile}.json"));
        std::fs::write(&path, review.to_string()).map_err(|error| format!("{}: {error}", path.display()))?;
        self.narrator
            .say(format!("$PLAY/{profile}.json is a TokenReview with the token of"));
        self.narrator.command(Aws::token_command(profile, "$PLAY"));
        self.narrator.command(format!(
            "curl -s --cacert {} --json @$PLAY/{profile}.json https://{}/authenticate",
            self.server.state_dir().join("ca.pem").display(),
            self.server.address()
        ));
        let reply = self.server.review(&review).await;
        self.narrator.output(&reply.text);
        Ok(reply)
    }

    /// Writes the file and tells when the answer for a profile has changed with it.
    async fn edit(&self, mappings: &Mappings, profile: &str, granted: bool) -> Told<()> {
        let token = self.aws.token(profile)?;
        let word = if granted { "granted" } else { "refused" };
        write(&self.folder.join("config.yaml"), mappings)?;
        let written = Instant::now();
        self.narrator.command("cat $PLAY/config.yaml");
        self.narrator.output(mappings.config_yaml());
        let what = format!("{profile} is {word}");
        until(&what, SOON, async || {
            let reply = self.server.authenticate(&token).await;
            if reply.authenticated() == granted {
                Ok(())
            } else {
                Err(reply.text)
            }
        })
        .await?;
        let (late, pid) = (written.elapsed().as_millis(), self.server.pid());
        self.narrator.say(format!(
            "{what} {late} ms after the file was written, by the same process {pid}."
        ));
        Ok(())
    }
}

fn write(path: &Path, mappings: &Mappings) -> Told<()> {
    std::fs::write(path, mappings.config_yaml()).map_err(|error| format!("{}: {error}", path.display()))
}
