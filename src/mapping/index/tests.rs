//! What every kind of event does to the table, in every order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::aws_auth::{read_aws_auth, read_config_map};
use super::super::{MappingText, Subject};
use super::*;
use SourceId::{AuthenticatorConfigMap, Crd, EksConfigMap};

const MINUTE: Duration = Duration::from_mins(1);

struct Bed {
    index: Index,
    now: Instant,
    notices: Vec<Notice>,
}

impl Bed {
    fn new(order: &[SourceId]) -> Self {
        Self {
            index: Index::new(order, Arc::default()),
            now: Instant::now(),
            notices: Vec::new(),
        }
    }

    fn update(&mut self, update: SourceUpdate) -> &mut Self {
        self.notices = self.index.update(update, self.now);
        self
    }

    fn aws_auth(&mut self, data: &[(&str, &str)]) -> &mut Self {
        let data: BTreeMap<_, _> = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect();
        self.update(SourceUpdate::Content(EksConfigMap, Some(read_aws_auth(&data))))
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.notices = self.index.tick(self.now);
        self
    }

    fn users(&self) -> Vec<String> {
        users(self.index.table())
    }

    fn has(&self, kind: NoticeKind, part: &str) -> bool {
        self.notices
            .iter()
            .any(|notice| notice.kind == kind && notice.message.contains(part))
    }
}

/// The user each of the roles a to e becomes.
fn users(table: &MappingTable) -> Vec<String> {
    ["a", "b", "c", "d", "e"]
        .iter()
        .filter_map(|role| {
            table
                .contenders(&format!("arn:aws:iam::123456789012:role/{role}"))
                .first()
        })
        .map(|mapping| mapping.username().map(|name| name.to_string()).unwrap_or_default())
        .collect()
}

fn roles(entries: &[(&str, &str)]) -> String {
    let entry = |(role, user): &(&str, &str)| {
        format!("- rolearn: arn:aws:iam::123456789012:role/{role}\n  username: {user}\n  groups: [g]\n")
    };
    entries.iter().map(entry).collect()
}

const BROKEN_ENTRY: &str = "- rolearn: arn:aws:iam::12345:role/b\n  username: ub\n";

fn object(name: &str, role: &str, user: &str, created: i64) -> Object {
    let mapping = Subject::from_arn(&format!("arn:aws:iam::123456789012:role/{role}")).and_then(|subject| {
        let text = MappingText {
            username: user,
            groups: &[],
            user_id: None,
        };
        Mapping::new(
            &subject,
            text,
            Crd,
            Origin::Object {
                name: name.into(),
                created,
            },
        )
    });
    Object {
        name: name.into(),
        mapping,
        stored: Stored::default(),
    }
}

#[test]
fn a_clean_edit_replaces_at_once() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua"), ("b", "ub")]))]);
    assert!(bed.has(NoticeKind::Synced, ""));
    assert_eq!(bed.users(), ["ua", "ub"]);
    bed.aws_auth(&[("mapRoles", &roles(&[("b", "other")]))]);
    assert_eq!(bed.users(), ["other"]);
    bed.update(SourceUpdate::Content(EksConfigMap, None));
    assert_eq!(bed.users(), [""; 0]);
}

#[test]
fn only_a_change_is_published() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua")]))]);
    assert_eq!(bed.index.publish().map(|table| table.generation()), Some(1));
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua")]))]);
    assert!(bed.index.publish().is_none());
    assert!(bed.notices.is_empty(), "{:?}", bed.notices);
}

#[test]
fn a_document_that_does_not_parse_keeps_its_last_good_content_and_holds_no_other_back() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua")])), ("mapUsers", "[]")]);
    let users = "- userarn: arn:aws:iam::123456789012:user/x\n  username: x\n";
    bed.aws_auth(&[("mapRoles", "- rolearn: [oops"), ("mapUsers", users)]);
    assert!(
        bed.has(NoticeKind::DocumentRejected, "mapRoles: line "),
        "{:?}",
        bed.notices
    );
    assert_eq!(bed.users(), ["ua"]);
    assert_eq!(
        bed.index.table().contenders("arn:aws:iam::123456789012:user/x").len(),
        1
    );
    bed.aws_auth(&[("mapRoles", &roles(&[("b", "ub")])), ("mapUsers", users)]);
    assert!(bed.has(NoticeKind::Mended, "mapRoles"));
    assert_eq!(bed.users(), ["ub"]);
}

#[test]
fn a_misspelled_key_keeps_the_last_good_content_however_often_it_is_applied() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua")])), ("mapUsers", "[]")]);
    for _ in 0..2 {
        bed.aws_auth(&[("mapRole", &roles(&[("b", "ub")])), ("mapUsers", "[]")]);
        assert_eq!(bed.users(), ["ua"]);
    }
    bed.aws_auth(&[("other", "x")]);
    assert!(
        bed.has(NoticeKind::DocumentRejected, "no key that we know"),
        "{:?}",
        bed.notices
    );
    bed.aws_auth(&[]);
    assert_eq!(bed.users(), ["ua"]);
    bed.aws_auth(&[("mapUsers", "[]")]);
    assert_eq!(
        bed.users(),
        [""; 0],
        "removing a key without a misspelling empties its document"
    );
}

#[test]
fn a_misspelled_key_in_config_yaml_keeps_the_last_good_content() {
    let mut bed = Bed::new(&[AuthenticatorConfigMap]);
    let config = |bed: &mut Bed, key: &str, text: String| {
        let content = read_config_map(&BTreeMap::from([(key.to_owned(), text)]));
        bed.update(SourceUpdate::Content(AuthenticatorConfigMap, Some(content)));
    };
    let entry = "  - {roleARN: 'arn:aws:iam::123456789012:role/a', username: ua}\n";
    config(
        &mut bed,
        "config.yaml",
        format!("clusterID: c\nserver:\n  mapRoles:\n{entry}"),
    );
    assert_eq!(
        (bed.users(), bed.index.cluster_id()),
        (vec!["ua".to_owned()], Some("c"))
    );
    for (key, text) in [
        ("config.yaml", format!("clusterID: c\nserver:\n  mapRole:\n{entry}")),
        ("config.yaml", format!("clusterID: c\nsever:\n  mapRoles:\n{entry}")),
        ("config.yml", format!("server:\n  mapRoles:\n{entry}")),
        ("config.yaml", "server: [".to_owned()),
        ("config.yaml", "just text".to_owned()),
    ] {
        config(&mut bed, key, text);
        assert!(bed.has(NoticeKind::DocumentRejected, ""), "{:?}", bed.notices);
        assert_eq!(bed.users(), ["ua"]);
    }
    config(&mut bed, "config.yaml", "clusterID: c\n".to_owned());
    assert_eq!(bed.users(), [""; 0]);
}

#[test]
fn a_bad_entry_costs_nobody_else_anything_and_holds_what_vanished_for_15_minutes() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua"), ("b", "ub"), ("c", "uc")]))]);
    // c is revoked, d is new, a changes, b is misspelled: all in one edit.
    let faulty = roles(&[("a", "new"), ("d", "ud")]) + BROKEN_ENTRY;
    bed.aws_auth(&[("mapRoles", &faulty)]);
    assert!(
        bed.has(NoticeKind::EntryRejected, "mapRoles, line 7: ARN: the account"),
        "{:?}",
        bed.notices
    );
    assert!(
        bed.has(NoticeKind::Held, "role/b, arn:aws:iam::123456789012:role/c"),
        "{:?}",
        bed.notices
    );
    assert_eq!(bed.users(), ["new", "ub", "uc", "ud"]);
    let state = bed.index.sources()[0].clone();
    assert_eq!((state.serving, state.held, state.invalid), (4, 2, 1));

    bed.pass(14 * MINUTE);
    bed.aws_auth(&[("mapRoles", &(roles(&[("a", "new")]) + BROKEN_ENTRY))]);
    assert_eq!(bed.users(), ["new", "ub", "uc"], "d was never in a clean version");
    bed.pass(MINUTE);
    assert!(bed.has(NoticeKind::HoldExpired, "mapRoles"));
    assert_eq!(bed.users(), ["new"], "a second faulty edit does not lengthen the hold");
    bed.aws_auth(&[("mapRoles", &(roles(&[("a", "x")]) + BROKEN_ENTRY))]);
    assert_eq!(bed.users(), ["x"], "nor does one start it again");
    assert_eq!(bed.index.next_deadline(), None);
}

#[test]
fn a_mended_edit_ends_the_hold_at_once() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "ua"), ("b", "ub")]))]);
    bed.aws_auth(&[("mapRoles", BROKEN_ENTRY)]);
    assert_eq!(bed.users(), ["ua", "ub"]);
    bed.aws_auth(&[("mapRoles", &roles(&[("b", "ub")]))]);
    assert!(bed.has(NoticeKind::Mended, "mapRoles"));
    assert_eq!(bed.users(), ["ub"]);
}

#[test]
fn at_the_start_bad_entries_are_skipped() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &(roles(&[("a", "ua")]) + BROKEN_ENTRY))]);
    assert_eq!(bed.users(), ["ua"]);
    bed.aws_auth(&[("mapRoles", BROKEN_ENTRY)]);
    assert_eq!(bed.users(), [""; 0], "there is no clean version to hold");
}

#[test]
fn the_last_entry_for_a_subject_wins_and_the_other_is_reported() {
    let mut bed = Bed::new(&[EksConfigMap]);
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "first"), ("b", "ub"), ("path/A", "last")]))]);
    assert!(
        bed.has(
            NoticeKind::Duplicate,
            "mapRoles, line 1: arn:aws:iam::123456789012:role/a"
        ),
        "{:?}",
        bed.notices
    );
    assert_eq!(bed.users(), ["last", "ub"]);
}

#[test]
fn objects_come_go_change_and_become_invalid() {
    let mut bed = Bed::new(&[Crd]);
    bed.update(SourceUpdate::Reset(vec![
        object("x", "a", "ua", 1),
        object("y", "b", "ub", 1),
    ]));
    assert_eq!(bed.users(), ["ua", "ub"]);
    bed.update(SourceUpdate::Apply(object("x", "c", "uc", 1)));
    assert_eq!(bed.users(), ["ub", "uc"], "the old subject is free again");
    bed.update(SourceUpdate::Apply(object("x", "c", "", 1)));
    assert!(
        bed.has(NoticeKind::EntryRejected, "\"x\": username must not be empty"),
        "{:?}",
        bed.notices
    );
    assert_eq!(bed.users(), ["ub"]);
    bed.update(SourceUpdate::Apply(object("x", "c", "again", 1)));
    assert_eq!(bed.users(), ["ub", "again"]);
    bed.update(SourceUpdate::Delete("y".into()));
    bed.update(SourceUpdate::Reset(vec![object("z", "d", "ud", 1)]));
    assert_eq!(bed.users(), ["ud"], "a relist drops what was deleted unseen");
}

#[test]
fn between_two_objects_the_older_wins_then_the_lower_name() {
    let mut bed = Bed::new(&[Crd]);
    bed.update(SourceUpdate::Apply(object("b", "a", "young", 9)));
    bed.update(SourceUpdate::Apply(object("z", "a", "old", 1)));
    assert_eq!(bed.users(), ["old"]);
    bed.update(SourceUpdate::Apply(object("y", "a", "same age, lower name", 1)));
    assert_eq!(bed.users(), ["same age, lower name"]);
    bed.update(SourceUpdate::Delete("y".into()));
    bed.update(SourceUpdate::Delete("z".into()));
    assert_eq!(bed.users(), ["young"], "the next one is promoted");
}

#[test]
fn an_earlier_backend_wins_whatever_came_first() {
    let mut bed = Bed::new(&[EksConfigMap, Crd]);
    bed.update(SourceUpdate::Reset(vec![object("x", "a", "crd", 1)]));
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "config map")]))]);
    assert_eq!(bed.users(), ["config map"]);
    bed.update(SourceUpdate::Content(EksConfigMap, None));
    assert_eq!(bed.users(), ["crd"]);
}

#[test]
fn a_missing_definition_counts_as_read_and_a_vanished_one_is_forgiven_for_30_seconds() {
    let mut bed = Bed::new(&[Crd]);
    bed.update(SourceUpdate::NotFound(Crd));
    assert!(bed.index.sources()[0].synced);
    bed.update(SourceUpdate::Reset(vec![object("x", "a", "ua", 1)]));
    bed.update(SourceUpdate::NotFound(Crd)).pass(Duration::from_secs(29));
    bed.update(SourceUpdate::NotFound(Crd));
    assert_eq!(bed.users(), ["ua"]);
    bed.update(SourceUpdate::Failed(Crd, SourceFailure::Unreachable))
        .pass(MINUTE);
    assert_eq!(bed.users(), ["ua"], "while nobody answers, nothing is known");
    bed.update(SourceUpdate::NotFound(Crd)).pass(Duration::from_secs(29));
    assert_eq!(bed.users(), ["ua"]);
    bed.pass(Duration::from_secs(1));
    assert_eq!(bed.users(), [""; 0]);
}

#[test]
fn failing_to_read_neither_syncs_nor_empties() {
    let mut bed = Bed::new(&[Crd, EksConfigMap]);
    bed.update(SourceUpdate::Failed(Crd, SourceFailure::Forbidden));
    assert!(!bed.index.sources()[0].synced);
    assert!(bed.has(NoticeKind::Failed, "forbidden"));
    bed.update(SourceUpdate::Failed(Crd, SourceFailure::Forbidden));
    assert!(bed.notices.is_empty(), "said once");
    bed.update(SourceUpdate::Reset(vec![object("x", "a", "ua", 1)]));
    assert!(bed.has(NoticeKind::Recovered, ""));
    bed.update(SourceUpdate::Failed(Crd, SourceFailure::Unreachable));
    assert_eq!(bed.users(), ["ua"]);
}

#[test]
fn a_reserved_username_is_refused_at_the_door() {
    let mut bed = Bed::new(&[Crd, EksConfigMap]);
    bed.update(SourceUpdate::Apply(object("x", "a", "system:admin", 1)));
    assert!(bed.has(NoticeKind::EntryRejected, "reserved"));
    bed.aws_auth(&[(
        "mapRoles",
        &roles(&[("a", "'system:node:{{EC2PrivateDNSName}}'"), ("b", "system:x")]),
    )]);
    assert!(
        bed.has(NoticeKind::EntryRejected, "mapRoles, line 4: username begins with"),
        "{:?}",
        bed.notices
    );
    assert_eq!(bed.users(), ["system:node:{{EC2PrivateDNSName}}"]);
}

impl Bed {
    fn verdict(&self, name: &str) -> String {
        match self.index.verdict(name) {
            Some(verdict) => format!("{}: {}", verdict.state.as_str(), verdict.message),
            None => "none".to_owned(),
        }
    }
}

#[test]
fn verdicts_say_what_the_table_does() {
    let mut bed = Bed::new(&[EksConfigMap, Crd]);
    bed.update(SourceUpdate::Reset(vec![
        object("old", "a", "u", 1),
        object("young", "a", "u", 2),
        object("bad", "b", "", 1),
        object("system", "c", "system:x", 1),
    ]));
    assert!(bed.verdict("old").starts_with("Serving"));
    assert!(
        bed.verdict("young")
            .starts_with("Conflict: IAMIdentityMapping \"old\" maps the same principal")
    );
    assert_eq!(bed.verdict("bad"), "Invalid: username must not be empty");
    assert!(
        bed.verdict("system")
            .starts_with("ReservedPrefix: username begins with the prefix \"system:\"")
    );
    bed.aws_auth(&[("mapRoles", &roles(&[("a", "config map")]))]);
    assert!(
        bed.verdict("old").starts_with("Conflict: mapRoles of EKSConfigMap"),
        "{}",
        bed.verdict("old")
    );
    bed.update(SourceUpdate::Content(EksConfigMap, None));
    bed.update(SourceUpdate::Delete("old".into()));
    assert!(bed.verdict("young").starts_with("Serving"), "the next one is promoted");
    assert_eq!(bed.verdict("old"), "none");
}

#[test]
fn a_status_is_stored_when_its_digest_is() {
    let mut bed = Bed::new(&[Crd]);
    let mut new = object("x", "a", "u", 1);
    new.stored.generation = 3;
    bed.update(SourceUpdate::Apply(new.clone()));
    let verdict = bed.index.verdict("x").expect("an object");
    assert!(!verdict.is_stored());
    new.stored.status = verdict.view().digest();
    bed.update(SourceUpdate::Apply(new.clone()));
    assert!(bed.index.verdict("x").expect("an object").is_stored());
    assert!(bed.index.publish().is_some());
    new.stored.generation = 4;
    bed.update(SourceUpdate::Apply(new));
    assert!(
        !bed.index.verdict("x").expect("an object").is_stored(),
        "the generation is part of the status"
    );
    assert!(bed.index.publish().is_none(), "a status changes no mapping");
}

#[derive(Clone, Debug)]
enum Event {
    Apply(usize, usize, i64),
    Break(usize),
    Delete(usize),
    Reset,
    AwsAuth(Vec<usize>),
    NoAwsAuth,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4usize, 0..3usize, 0..3i64).prop_map(|(name, role, created)| Event::Apply(name, role, created)),
        1 => (0..4usize).prop_map(Event::Break),
        2 => (0..4usize).prop_map(Event::Delete),
        1 => Just(Event::Reset),
        2 => proptest::collection::vec(0..4usize, 0..3).prop_map(Event::AwsAuth),
        1 => Just(Event::NoAwsAuth),
    ]
}

const NAMES: [&str; 4] = ["n0", "n1", "n2", "n3"];
const ROLES: [&str; 4] = ["a", "b", "c", "d"];

proptest! {
    /// Any sequence of events gives the table that a fresh server builds from the final objects.
    #[test]
    fn history_does_not_matter(events in proptest::collection::vec(event(), 0..40)) {
        let mut bed = Bed::new(&[EksConfigMap, Crd]);
        let mut objects: BTreeMap<&str, Object> = BTreeMap::new();
        let mut config: Option<String> = None;
        for event in events {
            let before = NAMES.map(|name| bed.verdict(name));
            bed.index.take_touched();
            match event {
                Event::Apply(name, role, created) => {
                    let new = object(NAMES[name], ROLES[role], NAMES[name], created);
                    objects.insert(NAMES[name], new.clone());
                    bed.update(SourceUpdate::Apply(new));
                }
                Event::Break(name) => {
                    let new = object(NAMES[name], "a", "", 0);
                    objects.insert(NAMES[name], new.clone());
                    bed.update(SourceUpdate::Apply(new));
                }
                Event::Delete(name) => {
                    objects.remove(NAMES[name]);
                    bed.update(SourceUpdate::Delete(NAMES[name].into()));
                }
                Event::Reset => {
                    bed.update(SourceUpdate::Reset(objects.values().cloned().collect()));
                }
                Event::AwsAuth(entries) => {
                    let entries: Vec<_> = entries.iter().map(|role| (ROLES[*role], "config map")).collect();
                    let text = roles(&entries);
                    bed.aws_auth(&[("mapRoles", &text)]);
                    config = Some(text);
                }
                Event::NoAwsAuth => {
                    bed.update(SourceUpdate::Content(EksConfigMap, None));
                    config = None;
                }
            }
            let touched = bed.index.take_touched();
            for (name, before) in NAMES.iter().zip(before) {
                let after = bed.verdict(name);
                let told = touched.iter().any(|touched| **touched == **name);
                prop_assert!(before == after || told || after == "none", "{}: {} became {}", name, before, after);
            }
        }
        let mut fresh = Bed::new(&[EksConfigMap, Crd]);
        fresh.update(SourceUpdate::Reset(objects.into_values().collect()));
        if let Some(text) = config {
            fresh.aws_auth(&[("mapRoles", &text)]);
        }
        let contenders = |bed: &Bed, role: &str| -> Vec<String> {
            let key = format!("arn:aws:iam::123456789012:role/{role}");
            bed.index.table().contenders(&key).iter().map(|mapping| format!("{:?}", mapping.origin())).collect()
        };
        for role in ROLES {
            prop_assert_eq!(contenders(&bed, role), contenders(&fresh, role));
        }
        prop_assert_eq!(bed.index.table().len(), fresh.index.table().len());
    }
}
