//! The hot path without the network: what one review, one change and one document cost in memory and arithmetic alone.
//!
//! A look-up is timed as a review meets it: the caller's identity was made a moment ago, and the table was not touched
//! for this caller before.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench: what it cannot do ends it; it reads the clock"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use iam_authenticator::identity::Identity;
use iam_authenticator::mapping::aws_auth;
use iam_authenticator::mapping::index::{Index, Object, SourceUpdate, Stored};
use iam_authenticator::mapping::policy::MappingPolicy;
use iam_authenticator::mapping::table::{Lookup, MappingTable};
use iam_authenticator::mapping::{Mapping, MappingText, Origin, SourceId, Subject};
use iam_authenticator::partition::{Partition, StsEndpointPolicy};
use iam_authenticator::token::presigned::PresignedRequest;
use iam_authenticator::token::{BearerToken, TokenPolicy};
use jiff::Timestamp;
use kit::{Principal, TokenBuilder};

const ACCOUNT: &str = "123456789012";
/// So many identities fit into the second-level cache; the table's entries for them do not come along.
const BATCH: usize = 256;

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for size in [1_000, 100_000, 1_000_000] {
        let table = published(&mut index(size));
        for (name, look_up) in [
            ("", look_up_all as fn(&MappingTable, &[Identity]) -> usize),
            (", each after the one before", look_up_in_turn),
        ] {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            group.bench_function(format!("{size} mappings{name}"), |bencher| {
                bencher.iter_custom(|times| {
                    let mut spent = Duration::ZERO;
                    let mut left = usize::try_from(times).expect("a count");
                    while left > 0 {
                        let callers: Vec<_> = (0..left.min(BATCH)).map(|_| caller(random.below(size))).collect();
                        let started = Instant::now();
                        let found = look_up(&table, &callers);
                        spent += started.elapsed();
                        assert_eq!(found, callers.len());
                        left -= callers.len();
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

/// As fast as it goes: the processor may begin with the next while it waits for memory.
fn look_up_all(table: &MappingTable, callers: &[Identity]) -> usize {
    callers.iter().map(|caller| groups(table, caller)).sum()
}

/// Which one is next depends on what was found: all the waiting of one look-up, as a lone review has it.
fn look_up_in_turn(table: &MappingTable, callers: &[Identity]) -> usize {
    let mut at = 0;
    while let Some(caller) = callers.get(at) {
        at += groups(table, caller);
    }
    at
}

/// Everybody is mapped, to one group.
fn groups(table: &MappingTable, caller: &Identity) -> usize {
    match table.lookup(caller, true) {
        Lookup::Found { mapping, .. } => mapping.groups().count(),
        _ => 0,
    }
}

fn token(criterion: &mut Criterion) {
    let endpoints = StsEndpointPolicy::new(Partition::Aws, Some("us-east-1"), &[]).expect("a policy");
    let policy = TokenPolicy::new(endpoints, "kit.example").expect("a policy");
    let role = Principal::assumed_role(ACCOUNT, "Admin", "session");
    let token = TokenBuilder::new(&role).build();
    let now = Timestamp::now();
    let mut group = criterion.benchmark_group("token");
    let name = format!(
        "parse {} bytes, session token {}",
        token.len(),
        role.session_token.map_or(0, |token| token.len())
    );
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let token = BearerToken::parse(black_box(&token)).expect("a token");
            PresignedRequest::parse(token, &policy, now).expect("a good one")
        });
    });
    let request = PresignedRequest::parse(BearerToken::parse(&token).expect("a token"), &policy, now).expect("good");
    group.bench_function("rebuild the request", |bencher| {
        bencher.iter(|| black_box(&request).path_and_query());
    });
    group.finish();
}

fn change(criterion: &mut Criterion) {
    let size = 100_000;
    let mut index = index(size);
    // The snapshot that readers have: a change must leave it as it is, so it copies what it changes.
    let mut live = published(&mut index);
    let mut random = Random(1);
    let mut round = 0;
    criterion.bench_function("one change published among 100000", |bencher| {
        bencher.iter_batched(
            || {
                round += 1;
                object(random.below(size), &format!("changed-{round}"))
            },
            |object| {
                index.update(SourceUpdate::Apply(object), Instant::now());
                live = index.publish().expect("a change");
            },
            BatchSize::PerIteration,
        );
    });
    black_box(live.generation());
}

fn document(criterion: &mut Criterion) {
    let mut roles = String::new();
    for i in 0..1_000 {
        let name = role(i);
        writeln!(
            roles,
            "- rolearn: arn:aws:iam::{ACCOUNT}:role/{name}\n  username: {name}:{{{{SessionName}}}}\n  groups:\n  - \
             developers\n  - team-{}",
            i % 40
        )
        .expect("writing to a string");
    }
    let data = BTreeMap::from([("mapRoles".to_owned(), roles)]);
    criterion.bench_function("read aws-auth with 1000 entries", |bencher| {
        bencher.iter(|| {
            let content = aws_auth::read_aws_auth(black_box(&data));
            let entries = content.documents[0].entries.as_ref().expect("it parses");
            assert_eq!(entries.mappings.len(), 1_000);
            content
        });
    });
}

fn index(size: usize) -> Index {
    let mut index = Index::new(&[SourceId::Crd], Arc::new(MappingPolicy::default()));
    let objects = (0..size).map(|i| object(i, &format!("user-{i}"))).collect();
    index.update(SourceUpdate::Reset(objects), Instant::now());
    index
}

fn published(index: &mut Index) -> MappingTable {
    index.publish().expect("it has just been filled")
}

fn object(i: usize, username: &str) -> Object {
    let name: Arc<str> = format!("mapping-{i}").into();
    let subject = Subject::from_arn(&format!("arn:aws:iam::{ACCOUNT}:role/{}", role(i))).expect("an ARN");
    let groups = [format!("team-{}", i % 40)];
    let text = MappingText {
        username,
        groups: &groups,
        user_id: None,
    };
    let origin = Origin::Object {
        name: Arc::clone(&name),
        created: 0,
    };
    let mapping = Mapping::new(&subject, text, SourceId::Crd, origin);
    Object {
        name,
        mapping,
        stored: Stored::default(),
    }
}

fn role(i: usize) -> String {
    format!("Team{:03}-Deployer-{i:07}", i % 997)
}

fn caller(i: usize) -> Identity {
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/session", role(i));
    Identity::new(ACCOUNT, &arn, "AROAEXAMPLEEXAMPLEEXA:session", "ASIAEXAMPLEEXAMPLEEX").expect("a role")
}

/// xorshift64: good enough to be no pattern for the hardware.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64 bits") % end
    }
}

criterion_group! {
    name = hot_path;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(4)).without_plots();
    targets = lookup, token, change, document
}
criterion_main!(hot_path);
