//! The status of an object: what a verdict says as JSON, and what a stored one says, whoever wrote it.
//!
//! A stored status is read leniently: older definitions prune it, other programs write it, and it never decides anything.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::IAMIdentityMappingStatus;
use crate::mapping::index::{StatusView, Stored, Verdict, VerdictState};

/// The condition that says whether the object is served.
const READY: &str = "Ready";

/// Beside `Ready: False`: somebody has to do something before it can become `True`. kstatus, and so Flux and `kpt`,
/// takes `Ready: False` alone for work that is still going on, and would wait for it in vain.
const STALLED: &str = "Stalled";

/// What a stored status says.
pub fn view(status: &Value) -> StatusView<'_> {
    let ready = condition(status, READY);
    let is_true = |found: Option<&Value>| found.is_some_and(|found| text(found, "status") == "True");
    let is_ready = is_true(ready);
    // One without the other is not ours.
    let is_whole = is_ready != is_true(condition(status, STALLED));
    StatusView {
        canonical_arn: text(status, "canonicalARN"),
        user_id: text(status, "userID"),
        observed_generation: status
            .get("observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        ready: is_ready,
        reason: ready
            .filter(|_| is_whole)
            .map(|ready| text(ready, "reason"))
            .unwrap_or_default(),
        message: ready.map(|ready| text(ready, "message")).unwrap_or_default(),
    }
}

/// Whether an object has no status at all.
pub fn is_blank(stored: &Stored) -> bool {
    stored.status == view(&Value::Null).digest()
}

/// The merge patch that makes the status say what the verdict says. `before` is the status that it replaces: of it stay
/// the time of the last transition, unless there is a new one, and the conditions that are not ours.
pub fn patch(verdict: &Verdict, before: &Value, now: Timestamp) -> Value {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let status = IAMIdentityMappingStatus {
        canonical_arn: given(&verdict.canonical_arn),
        user_id: given(&verdict.user_id),
        observed_generation: Some(verdict.stored.generation),
        conditions: Some(conditions(verdict, before, now)),
    };
    // What is absent must be removed; in a merge patch that is null.
    json!({
        "canonicalARN": status.canonical_arn,
        "userID": status.user_id,
        "observedGeneration": status.observed_generation,
        "conditions": status.conditions,
    })
}

fn conditions(verdict: &Verdict, before: &Value, now: Timestamp) -> Vec<Condition> {
    let is_ready = verdict.state == VerdictState::Serving;
    let ours = |type_: &str, is_true: bool| {
        let status = if is_true { "True" } else { "False" };
        Condition {
            last_transition_time: Time(transition(before, type_, status).unwrap_or(now)),
            message: verdict.message.clone(),
            observed_generation: Some(verdict.stored.generation),
            reason: verdict.state.as_str().to_owned(),
            status: status.to_owned(),
            type_: type_.to_owned(),
        }
    };
    let mut conditions = vec![ours(READY, is_ready)];
    if !is_ready {
        conditions.push(ours(STALLED, true));
    }
    let others = all_conditions(before).filter(|other| !matches!(text(other, "type"), READY | STALLED));
    conditions.extend(others.filter_map(|other| serde_json::from_value(other.clone()).ok()));
    conditions
}

/// When the condition became what it still is.
fn transition(before: &Value, type_: &str, status: &str) -> Option<Timestamp> {
    let before = condition(before, type_).filter(|before| text(before, "status") == status)?;
    text(before, "lastTransitionTime").parse().ok()
}

fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    all_conditions(status).find(|condition| text(condition, "type") == type_)
}

fn all_conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "2026-01-02T03:04:05Z";
    const NOW: &str = "2026-02-03T04:05:06Z";

    fn verdict(state: VerdictState) -> Verdict {
        let canonical_arn = match state {
            VerdictState::Serving | VerdictState::Conflict => "arn:aws:iam::123456789012:role/admin".to_owned(),
            VerdictState::Invalid | VerdictState::ReservedPrefix => String::new(),
        };
        let stored = Stored {
            generation: 3,
            resource_version: 7,
            status: 0,
        };
        Verdict {
            name: "m".into(),
            stored,
            state,
            message: "because".to_owned(),
            canonical_arn,
            user_id: String::new(),
        }
    }

    /// What the API server makes of it: a merge patch removes what is null.
    fn status(verdict: &Verdict, before: &Value) -> Value {
        let mut status = patch(verdict, before, NOW.parse().expect("a time"));
        status
            .as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        status
    }

    const ALL: [VerdictState; 4] = [
        VerdictState::Serving,
        VerdictState::Invalid,
        VerdictState::Conflict,
        VerdictState::ReservedPrefix,
    ];

    #[test]
    fn what_is_written_is_read_back_as_the_same() {
        for state in ALL {
            let verdict = verdict(state);
            let status = status(&verdict, &Value::Null);
            assert_eq!(view(&status), verdict.view(), "{status}");
            assert_eq!(view(&status).digest(), verdict.view().digest());
        }
    }

    #[test]
    fn every_part_that_matters_changes_the_digest() {
        let verdict = verdict(VerdictState::Conflict);
        let good = status(&verdict, &Value::Null);
        for (pointer, value) in [
            ("/canonicalARN", json!("arn:aws:iam::123456789012:role/other")),
            ("/userID", json!("AROAX")),
            ("/observedGeneration", json!(2)),
            ("/conditions/0/status", json!("True")),
            ("/conditions/0/reason", json!("Serving")),
            ("/conditions/0/message", json!("?")),
            ("/conditions/1/status", json!("False")),
            ("/conditions", json!([])),
            ("/conditions", json!("text")),
        ] {
            let mut forged = good.clone();
            if let Some(part) = forged.pointer_mut(pointer) {
                *part = value;
            } else {
                forged["userID"] = value;
            }
            assert_ne!(view(&forged).digest(), verdict.view().digest(), "{pointer}: {forged}");
        }
        let mut later = good.clone();
        later["conditions"][0]["lastTransitionTime"] = json!(NOW);
        assert_eq!(view(&later).digest(), verdict.view().digest(), "times do not matter");
    }

    #[test]
    fn anything_can_be_read() {
        for odd in [
            json!(null),
            json!(5),
            json!([]),
            json!({ "conditions": [1, {}] }),
            json!({ "canonicalARN": 1 }),
        ] {
            assert_eq!(view(&odd), view(&Value::Null), "{odd}");
        }
    }

    #[test]
    fn the_time_of_the_transition_stays_while_the_state_does() {
        let before = status(&verdict(VerdictState::Invalid), &Value::Null)
            .to_string()
            .replace(NOW, THEN);
        let before: Value = serde_json::from_str(&before).expect("JSON");
        let same = status(&verdict(VerdictState::Conflict), &before);
        assert_eq!(same["conditions"][0]["lastTransitionTime"], THEN);
        assert_eq!(same["conditions"][0]["reason"], "Conflict");
        let other = status(&verdict(VerdictState::Serving), &before);
        assert_eq!(other["conditions"][0]["lastTransitionTime"], NOW);
        assert_eq!(
            other["conditions"].as_array().expect("a list").len(),
            1,
            "nothing is stalled any more: {other}"
        );
    }

    #[test]
    fn conditions_of_others_stay_and_old_fields_go() {
        let other =
            json!({ "type": "Audited", "status": "True", "reason": "r", "message": "", "lastTransitionTime": THEN });
        let before = json!({ "canonicalARN": "x", "userID": "y", "conditions": [other, { "type": "Broken" }] });
        let patch = patch(&verdict(VerdictState::Invalid), &before, NOW.parse().expect("a time"));
        assert_eq!((&patch["canonicalARN"], &patch["userID"]), (&Value::Null, &Value::Null));
        let types: Vec<_> = patch["conditions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|found| &found["type"])
            .collect();
        assert_eq!(types, ["Ready", "Stalled", "Audited"]);
    }

    /// The rules of sigs.k8s.io/cli-utils/pkg/kstatus for a custom resource, which Flux and others go by.
    fn kstatus(generation: i64, status: &Value) -> &'static str {
        let is =
            |type_: &str, wanted: &str| condition(status, type_).is_some_and(|found| text(found, "status") == wanted);
        if status["observedGeneration"]
            .as_i64()
            .is_some_and(|observed| observed != generation)
        {
            return "InProgress";
        }
        match () {
            () if is("Reconciling", "True") => "InProgress",
            () if is("Stalled", "True") => "Failed",
            () if is("Ready", "False") || is("Ready", "Unknown") => "InProgress",
            () => "Current",
        }
    }

    #[test]
    fn kstatus_understands_it() {
        for (state, expected) in ALL.into_iter().zip(["Current", "Failed", "Failed", "Failed"]) {
            let status = status(&verdict(state), &Value::Null);
            assert_eq!(kstatus(3, &status), expected, "{state:?}");
            assert_eq!(
                kstatus(4, &status),
                "InProgress",
                "{state:?}: the spec has changed since"
            );
        }
    }
}
