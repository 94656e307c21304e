//! The committed definition of the custom resource is the one that the program prints.

use std::path::Path;

#[test]
fn the_committed_definition_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/iamidentitymappings.yaml");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let generated = iam_authenticator::crd::yaml();
    assert!(
        committed == generated,
        "{} is not what `aws-iam-authenticator crd` prints: run `make generate` and commit the file.\n{}",
        path.display(),
        first_difference(&committed, &generated),
    );
}

fn first_difference(committed: &str, generated: &str) -> String {
    let mut lines = committed.lines().zip(generated.lines()).enumerate();
    match lines.find(|(_, (committed, generated))| committed != generated) {
        Some((at, (committed, generated))) => {
            format!("line {}:\n  committed: {committed}\n  generated: {generated}", at + 1)
        }
        None => format!(
            "committed: {} lines, generated: {}",
            committed.lines().count(),
            generated.lines().count()
        ),
    }
}
