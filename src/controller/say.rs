//! What the status writer has to say to people: a line in the log when it is news, and a note for as long as it holds.

use super::board::{Board, Place};

/// So many objects that another program writes too are named in the log; how many there are is in a metric.
const NAMED: usize = 20;

/// These fields are dropped by the installed definition; none when that is over.
pub(super) fn dropped(board: &Board, fields: &[&str]) {
    if fields.is_empty() {
        tracing::info!("the installed definition of IAMIdentityMapping keeps the whole status now");
        board.set(Place::Definition, None);
        return;
    }
    let text = format!(
        "the installed definition of IAMIdentityMapping drops {} of the status",
        fields.join(", ")
    );
    tracing::warn!(
        "{text}, and that is not written again; install the definition that `aws-iam-authenticator crd` prints. Logins do not \
         depend on it"
    );
    board.set(Place::Definition, Some(text));
}

/// Our service account may not write the status.
pub(super) fn forbidden(board: &Board, message: &str) {
    let text = "status cannot be written: no right to get iamidentitymappings and to patch iamidentitymappings/status";
    if board.set(Place::Status, Some(text.to_owned())) {
        tracing::warn!("{text} ({message}). Logins do not depend on it");
    }
}

/// So many objects are given up, this one just now.
pub(super) fn contested(board: &Board, name: Option<&str>, given_up: usize) {
    if let Some(object) = name.filter(|_| given_up <= NAMED) {
        tracing::warn!(
            object,
            "another program keeps overwriting the status of this IAMIdentityMapping: it is left alone until its spec \
             changes. Logins do not depend on it"
        );
    }
    let text = (given_up > 0)
        .then(|| format!("the status of {given_up} objects is left alone, as another program overwrites it"));
    board.set(Place::Contested, text);
}
