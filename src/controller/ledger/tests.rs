use serde_json::json;

use super::*;
use crate::crd::status::patch;
use crate::mapping::index::{Stored, VerdictState};

const ARN: &str = "arn:aws:iam::123456789012:role/admin";

/// An object whose stored status has this digest.
fn verdict(generation: i64, status: &Value) -> Verdict {
    let stored = Stored {
        generation,
        resource_version: 7,
        status: view(status).digest(),
    };
    Verdict {
        name: "m".into(),
        stored,
        state: VerdictState::Serving,
        message: "because".to_owned(),
        canonical_arn: ARN.to_owned(),
        user_id: String::new(),
    }
}

fn ours(verdict: &Verdict) -> Value {
    patch(verdict, &Value::Null, "2026-01-02T03:04:05Z".parse().expect("a time"))
}

/// What the Go program writes, and what its definition keeps.
fn theirs() -> Value {
    json!({ "canonicalARN": ARN, "userID": "" })
}

/// Writes when it may; the definition keeps everything. Returns what was advised.
fn attempt(ledger: &mut Ledger, before: &Value, now: Instant) -> Advice {
    let verdict = verdict(1, before);
    let advice = ledger.advise(&verdict, now);
    if advice == Advice::Write {
        ledger.wrote(&verdict, "uid", &ours(&verdict), now);
    }
    advice
}

#[test]
fn whoever_overwrites_it_is_answered_three_times_ever_slower() {
    let (mut ledger, start) = (Ledger::new(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(attempt(&mut ledger, &Value::Null, at(0)), Advice::Write);
    let overwritten = theirs();
    for (now, advice) in [
        (1, Advice::Write),
        (2, Advice::Later(at(6))),
        (6, Advice::Write),
        (7, Advice::Later(at(36))),
        (36, Advice::Write),
        (37, Advice::GiveUp { news: true }),
        (38, Advice::GiveUp { news: false }),
        (4000, Advice::GiveUp { news: false }),
    ] {
        assert_eq!(attempt(&mut ledger, &overwritten, at(now)), advice, "after {now} s");
    }
    assert_eq!(ledger.given_up(), 1);
    ledger.tidy(at(5000));
    assert_eq!(ledger.given_up(), 1, "it stays given up");
    let changed = verdict(2, &overwritten);
    assert_eq!(
        ledger.advise(&changed, at(5000)),
        Advice::Write,
        "until its spec changes"
    );
    ledger.wrote(&changed, "uid", &ours(&changed), at(5000));
    assert_eq!(ledger.given_up(), 0);
}

#[test]
fn what_is_new_is_written_at_once() {
    let (mut ledger, now) = (Ledger::new(), Instant::now());
    for message in ["a", "b", "c", "a", "b", "c", "a", "b"] {
        let verdict = Verdict {
            message: message.to_owned(),
            ..verdict(1, &theirs())
        };
        assert_eq!(ledger.advise(&verdict, now), Advice::Write);
        ledger.wrote(&verdict, "uid", &ours(&verdict), now);
    }
}

#[test]
fn objects_at_peace_are_forgotten() {
    let (mut ledger, start) = (Ledger::new(), Instant::now());
    attempt(&mut ledger, &Value::Null, start);
    ledger.tidy(start + PEACE - Duration::from_secs(1));
    assert_eq!(ledger.notes.len(), 1);
    ledger.tidy(start + PEACE);
    assert!(ledger.notes.is_empty());
}

#[test]
fn an_object_made_anew_is_another_one() {
    let (mut ledger, now) = (Ledger::new(), Instant::now());
    attempt(&mut ledger, &Value::Null, now);
    assert_eq!(ledger.uid("m"), Some(Uid::of("uid")));
    assert_ne!(ledger.uid("m"), Some(Uid::of("another")));
    assert_eq!(ledger.uid("n"), None);
    let again = verdict(1, &Value::Null);
    ledger.wrote(&again, "another", &ours(&again), now);
    assert_eq!(
        (ledger.uid("m"), ledger.notes["m"].writes),
        (Some(Uid::of("another")), 1)
    );
    ledger.forget("m");
    assert_eq!(ledger.uid("m"), None);
}

/// The definition of kops keeps two fields of the status; conditions and generation are dropped.
#[test]
fn a_dropped_field_is_noticed_once_and_never_written_again() {
    let (mut ledger, start) = (Ledger::new(), Instant::now());
    let fresh = verdict(1, &Value::Null);
    assert_eq!(ledger.advise(&fresh, start), Advice::Write);
    let lesson = ledger.wrote(&fresh, "uid", &theirs(), start);
    assert_eq!(lesson.dropped, Some(vec!["observedGeneration", "conditions"]));

    let done = verdict(1, &theirs());
    let soon = start + Duration::from_secs(59);
    assert_eq!(ledger.advise(&done, soon), Advice::Dropped);
    assert_eq!(ledger.any_left_alone().as_deref(), Some("m"));
    assert_eq!(
        ledger.advise(&verdict(1, &Value::Null), soon),
        Advice::Write,
        "what it keeps is written"
    );

    // A look now and then whether the definition was replaced; it is no second writing of the status.
    let later = start + Duration::from_mins(2);
    assert_eq!(ledger.advise(&done, later), Advice::Write);
    assert_eq!(ledger.advise(&done, later), Advice::Dropped, "one look at a time");
    let writes = ledger.notes["m"].writes;
    let lesson = ledger.wrote(&done, "uid", &theirs(), later);
    assert_eq!((lesson.dropped, ledger.notes["m"].writes), (None, writes));

    let other = Verdict {
        name: "n".into(),
        ..done.clone()
    };
    assert_eq!(ledger.advise(&other, later), Advice::Dropped);
    let lesson = ledger.wrote(&done, "uid", &ours(&done), later + PROBE);
    assert_eq!(lesson.dropped, Some(vec![]), "it keeps everything now");
    assert_eq!(lesson.again, ["n".into()], "and the others get the rest too");
    assert_eq!(ledger.any_left_alone(), None);
}

#[test]
fn a_definition_without_status_is_left_alone() {
    let (mut ledger, start) = (Ledger::new(), Instant::now());
    let verdict = verdict(1, &Value::Null);
    let lesson = ledger.no_status(&verdict, start);
    assert_eq!(lesson.dropped.map(|fields| fields.len()), Some(4));
    assert_eq!(ledger.advise(&verdict, start), Advice::Dropped);
    assert_eq!(
        ledger.advise(&verdict, start + PROBE),
        Advice::Write,
        "a look now and then"
    );
    assert_eq!(ledger.no_status(&verdict, start + PROBE).dropped, None, "said once");
}

#[test]
fn an_invalid_object_teaches_nothing_about_the_fields_it_leaves_empty() {
    let (mut ledger, now) = (Ledger::new(), Instant::now());
    let invalid = Verdict {
        state: VerdictState::Invalid,
        canonical_arn: String::new(),
        ..verdict(1, &Value::Null)
    };
    let lesson = ledger.wrote(&invalid, "uid", &ours(&invalid), now);
    assert_eq!(lesson.dropped, None);
}

#[test]
fn what_would_not_be_accepted_is_given_up_too() {
    let (mut ledger, start) = (Ledger::new(), Instant::now());
    let verdict = verdict(1, &Value::Null);
    for write in 1..=u64::from(WRITES) {
        let now = start + Duration::from_mins(write);
        assert_eq!(ledger.advise(&verdict, now), Advice::Write);
        ledger.note(&verdict, "", now);
    }
    assert_eq!(
        ledger.advise(&verdict, start + Duration::from_hours(1)),
        Advice::GiveUp { news: true }
    );
}
