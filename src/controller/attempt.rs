//! One attempt to write one status, with every answer that the API server can give.

use jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::call::{FIELD_MANAGER, Refusal, call};
use super::ledger::Uid;
use crate::crd::status::{is_blank, patch, view};
use crate::mapping::index::Verdict;

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The API server accepted it. Whether it kept it is another question.
    Written(Written),
    /// Somebody else has written it already.
    Already,
    /// The object is another one than the verdict is about: a newer one comes with the watch.
    Moved,
    /// There is no such object any more.
    Gone,
    /// The definition has no status.
    NoStatus,
    /// The object is still the one that was given up or is to be written later.
    Same,
    /// Our service account may not.
    Forbidden(String),
    /// The API server will never accept it.
    Invalid(String),
    /// No answer that would say anything about it.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Written {
    /// The object's `metadata.uid`.
    pub(super) uid: String,
    /// The reason that the status gave before; empty when it gave none.
    pub(super) reason_before: String,
    /// The status as it is stored now.
    pub(super) status: Value,
}

/// What an object was before the attempt.
struct Before {
    version: String,
    status: Value,
}

/// How to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// Write, if the object is still what it was; read it first only when the old status matters.
    Write,
    /// Read, and write only if it is another object than this one.
    Unless(Uid),
}

/// Writes the status.
pub(super) async fn attempt(
    api: &Api<DynamicObject>,
    verdict: &Verdict,
    start: Start,
    now: fn() -> Timestamp,
) -> Outcome {
    let before = if start == Start::Write && is_blank(&verdict.stored) && verdict.stored.resource_version != 0 {
        Before {
            version: verdict.stored.resource_version.to_string(),
            status: Value::Null,
        }
    } else {
        let object = match call(api.get(&verdict.name)).await {
            Ok(object) => object,
            Err(refusal) => return refused(refusal, Outcome::Gone),
        };
        if object.metadata.generation.unwrap_or_default() != verdict.stored.generation {
            return Outcome::Moved;
        }
        let status = object.data.get("status").cloned().unwrap_or_default();
        if view(&status).digest() == verdict.view().digest() {
            return Outcome::Already;
        }
        if start == Start::Unless(Uid::of(&object.metadata.uid.unwrap_or_default())) {
            return Outcome::Same;
        }
        Before {
            version: object.metadata.resource_version.unwrap_or_default(),
            status,
        }
    };
    write(api, verdict, &before, now()).await
}

async fn write(api: &Api<DynamicObject>, verdict: &Verdict, before: &Before, now: Timestamp) -> Outcome {
    // With the version, nothing is written over what we have not seen.
    let body = json!({
        "metadata": { "resourceVersion": before.version },
        "status": patch(verdict, &before.status, now),
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match call(api.patch_status(&verdict.name, &params, &Patch::Merge(&body))).await {
        Ok(mut object) => Outcome::Written(Written {
            uid: object.metadata.uid.unwrap_or_default(),
            reason_before: view(&before.status).reason.to_owned(),
            status: object.data.get_mut("status").map(Value::take).unwrap_or_default(),
        }),
        // The object is gone, or there is one and it has no status.
        Err(Refusal::NotFound(_)) => match call(api.get(&verdict.name)).await {
            Ok(_) => Outcome::NoStatus,
            Err(refusal) => refused(refusal, Outcome::Gone),
        },
        Err(refusal) => refused(refusal, Outcome::Gone),
    }
}

fn refused(refusal: Refusal, not_found: Outcome) -> Outcome {
    match refusal {
        Refusal::NotFound(_) => not_found,
        Refusal::Conflict(_) => Outcome::Moved,
        Refusal::Forbidden(message) => Outcome::Forbidden(message),
        Refusal::Invalid(message) => Outcome::Invalid(message),
        Refusal::Failed(message) => Outcome::Failed(message),
    }
}
