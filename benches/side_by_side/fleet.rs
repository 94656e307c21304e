//! Who is mapped and who logs in: roles by number, with principals for some of them, and tokens of realistic size.

use jiff::{SignedDuration, Timestamp};
use kit::builders::{Mappings, token_review};
use kit::{Principal, StsDouble, TokenBuilder};
use std::path::{Path, PathBuf};

const ACCOUNT: &str = "111122223333";

/// The ARN under which role `i` is mapped.
pub(crate) fn arn(i: usize) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{}", role(i))
}

fn role(i: usize) -> String {
    format!("Team{:03}-Deployer-{i:06}", i % 997)
}

/// A username template and the groups of role `i`.
pub(crate) fn grant(i: usize) -> (String, [String; 2]) {
    (
        format!("deployer-{i}:{{{{SessionName}}}}"),
        ["developers".to_owned(), format!("team-{:03}", i % 997)],
    )
}

/// Roles `0..size` as mappings of a document.
pub(crate) fn mappings(size: usize) -> Mappings {
    (0..size).fold(Mappings::new(), |mappings, i| {
        let (username, [first, second]) = grant(i);
        mappings.role(&arn(i), &username, &[&first, &second])
    })
}

/// Writes a `config.yaml` with roles `0..size`.
pub(crate) fn config_file(folder: &Path, size: usize) -> PathBuf {
    let path = folder.join(format!("config-{size}.yaml"));
    std::fs::write(&path, mappings(size).config_yaml()).expect("the config is written");
    path
}

/// Sessions of roles `0..size`, known to the double.
pub(crate) fn sessions(sts: &StsDouble, size: usize) -> Vec<Principal> {
    (0..size)
        .map(|i| sts.add(Principal::assumed_role(ACCOUNT, &role(i), "session")))
        .collect()
}

/// A token of this principal; another for each `k`.
pub(crate) fn token(who: &Principal, k: i64) -> String {
    TokenBuilder::new(who)
        .at(Timestamp::now() - SignedDuration::from_secs(k))
        .build()
}

/// A `TokenReview` with this token, on one line.
pub(crate) fn review(token: &str) -> String {
    token_review("v1", token, &[]).to_string()
}

/// A folder for this run's files.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("side_by_side");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
