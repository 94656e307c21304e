//! A home folder, an STS, a metadata service and a server: all that a token meets.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::builders::Mappings;
use kit::{Authenticator, Principal, StsDouble};
use sha1::{Digest as _, Sha1};

use super::metadata::Metadata;

pub(crate) const ACCOUNT: &str = "123456789012";
const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const CLUSTER: &str = "kit.example";

pub(crate) struct World {
    pub(crate) sts: StsDouble,
    pub(crate) server: Authenticator,
    pub(crate) metadata: Metadata,
    home: PathBuf,
}

/// The keys of a profile.
pub(crate) fn keys(who: &Principal) -> String {
    let session = who.session_token.as_ref();
    let session = session.map_or_else(String::new, |token| format!("aws_session_token = {token}\n"));
    format!(
        "aws_access_key_id = {}\naws_secret_access_key = {}\n{session}",
        who.access_key_id, who.secret_access_key
    )
}

fn token_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let credential: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an ExecCredential");
    credential["status"]["token"].as_str().expect("a token").to_owned()
}

/// The STS host that a token names.
pub(crate) fn host_of(output: &Output) -> String {
    let token = token_of(output);
    let url = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("k8s-aws-v1.").unwrap())
        .unwrap();
    let url = String::from_utf8(url).unwrap();
    url.split('/').nth(2).unwrap().to_owned()
}

impl World {
    pub(crate) async fn start(name: &str) -> Self {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("token").join(name);
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
        let sts = StsDouble::start();
        let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let mappings = Mappings::new()
            .user(&format!("arn:aws:iam::{ACCOUNT}:user/alice"), "alice", &[])
            .role(&role("Admin"), "admin:{{SessionName}}", &[])
            .role(&role("AWSReservedSSO_Ops_*"), "ops:{{SessionName}}", &[]);
        let config = home.join("server.yaml");
        std::fs::write(&config, mappings.config_yaml()).unwrap();
        let server = Authenticator::builder(PROGRAM).sts(&sts).config_file(&config).start();
        server.wait_ready().await;
        Self {
            sts,
            server,
            metadata: Metadata::start(),
            home,
        }
    }

    /// Writes `~/.aws/config`.
    pub(crate) fn config(&self, text: &str) {
        std::fs::write(self.home.join(".aws/config"), text).unwrap();
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The same, for a program.
    pub(crate) fn script(&self, body: &str) -> String {
        let path = self.file("script.sh", &format!("#!/bin/sh\n{body}"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// What `aws sso login` leaves behind.
    pub(crate) fn sso_token(&self, session: &str, token: &str) {
        let name = format!("{:x}", Sha1::digest(session));
        let text = format!(
            r#"{{"accessToken":"{token}","expiresAt":"2099-01-01T00:00:00Z","region":"us-east-1","startUrl":"https://corp.awsapps.com/start"}}"#
        );
        std::fs::write(self.home.join(format!(".aws/sso/cache/{name}.json")), text).unwrap();
    }

    /// Where `--cache` has put its only token.
    pub(crate) fn only_token_file(&self) -> PathBuf {
        let folder = self.home.join(".cache/aws-iam-authenticator/tokens");
        let mut files = std::fs::read_dir(folder).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    /// An environment that holds nothing else, and a program.
    fn command(&self, program: &str, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.home)
            // There to be asked, so that a call too many is seen.
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.metadata.url(""))
            .envs(self.sts.env())
            .envs(environment.iter().copied())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with exactly these arguments.
    pub(crate) fn run_bare(&self, environment: &[(&str, &str)], args: &[&str]) -> Output {
        // Without a terminal, wherever the test runs.
        let mut command = self.command("/usr/bin/setsid", environment);
        command.args(["--wait", PROGRAM]).args(args).output().unwrap()
    }

    pub(crate) fn run_without_region_and(&self, environment: &[(&str, &str)], args: &[&str]) -> Output {
        let cluster: &[&str] = if args.contains(&"-i") { &[] } else { &["-i", CLUSTER] };
        self.run_bare(environment, &[&["token"], cluster, args].concat())
    }

    pub(crate) fn run_without_region(&self, environment: &[(&str, &str)]) -> Output {
        self.run_without_region_and(environment, &[])
    }

    pub(crate) fn run(&self, environment: &[(&str, &str)], args: &[&str]) -> Output {
        self.run_without_region_and(&[&[("AWS_REGION", "us-east-1")], environment].concat(), args)
    }

    /// Whom the server takes the token's bearer for.
    pub(crate) async fn whose(&self, output: &Output) -> String {
        let reply = self.server.authenticate(&token_of(output)).await;
        reply.username().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
    }

    /// Makes a token and logs in with it.
    pub(crate) async fn login(&self, environment: &[(&str, &str)], args: &[&str]) -> String {
        self.whose(&self.run(environment, args)).await
    }

    /// What is said when there is no token.
    pub(crate) fn refused(&self, environment: &[(&str, &str)], args: &[&str]) -> String {
        let output = self.run(environment, args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs the program with a terminal on which `typed` is typed; gives what the terminal shows and the output.
    pub(crate) fn run_in_a_terminal(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        typed: &str,
    ) -> (String, Output) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let mut person: File = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap().into();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        person.write_all(typed.as_bytes()).unwrap();
        let region: &[(&str, &str)] = &[("AWS_REGION", "us-east-1")];
        let mut command = self.command("/usr/bin/setsid", &[region, environment].concat());
        // Stdin is kubectl's: it is not the terminal.
        command
            .args(["--ctty", "--wait", "sh", "-c", r#""$0" "$@" </dev/null"#, PROGRAM])
            .args(["token", "-i", CLUSTER])
            .args(args)
            .stdin(terminal);
        let output = command.output().unwrap();
        drop(command);
        let mut shown = vec![0; 4096];
        let count = person.read(&mut shown).unwrap_or(0);
        (String::from_utf8_lossy(&shown[..count]).into_owned(), output)
    }
}
