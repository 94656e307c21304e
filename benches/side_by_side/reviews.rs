//! CPU a review: with STS asked each time, with garbage, with the same token again.

use crate::fleet;
use crate::load::{self, Protocol};
use crate::os;
use crate::report::{Goal, Report, median};
use crate::{Programs, SERVER_CORE};
use kit::{Authenticator, AuthenticatorBuilder, Principal, StsDouble};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const MAPPINGS: usize = 1_000;
const ROUNDS: usize = 5;
/// Tokens of each principal: so many that a token is hardly ever in flight twice, which ours would ask STS about once.
const TOKENS_EACH: i64 = 10;

struct Case {
    name: String,
    protocol: Protocol,
    bodies: PathBuf,
    /// Whether our memory of verified identities is on.
    cached: bool,
    /// Whether each review has to ask STS.
    asks: bool,
    /// Reviews a round, so that the clock's ticks of 10 ms do not matter.
    ours: usize,
    peer: usize,
    goal: Goal,
}

/// Per case, a value a round.
#[derive(Default)]
struct Found {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// What the double speaks to the Go program; ours asks for HTTP/1.1 alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StsSpeaks {
    Http1,
    Http2,
}

pub(crate) async fn measure(programs: &Programs, report: &mut Report) {
    eprintln!("reviews: {MAPPINGS} mappings, {ROUNDS} rounds, STS over HTTP/1.1");
    pass(programs, StsSpeaks::Http1, report).await;
    if programs.peer.is_some() {
        eprintln!("reviews: the same with an STS that offers HTTP/2, which Go takes");
        pass(programs, StsSpeaks::Http2, report).await;
    }
}

async fn pass(programs: &Programs, sts_speaks: StsSpeaks, report: &mut Report) {
    let sts = StsDouble::start();
    let folder = fleet::folder();
    let config = fleet::config_file(&folder, MAPPINGS);
    let start = |builder: AuthenticatorBuilder| {
        let builder = builder.wrapper(&["taskset", "-c", SERVER_CORE]);
        builder.config_file(&config).sts(&sts).start()
    };
    let asking = start(Authenticator::builder(&programs.ours).arg("--identity-cache-ttl=0s"));
    let caching = start(Authenticator::builder(&programs.ours));
    let peer = programs.peer.as_ref().map(|program| {
        let http2 = if sts_speaks == StsSpeaks::Http2 { "1" } else { "0" };
        start(Authenticator::peer(program).env("GODEBUG", format!("http2client={http2}")))
    });
    let all = || [&asking, &caching].into_iter().chain(&peer);
    let who = fleet::sessions(&sts, MAPPINGS);
    for server in all() {
        server.wait_ready().await;
        check(server, &who).await;
    }
    let cases = cases(&folder, sts_speaks);
    let mut found: Vec<Found> = cases.iter().map(|_| Found::default()).collect();
    for round in 0..=ROUNDS {
        write_bodies(&folder, &who);
        for (case, found) in cases.iter().zip(&mut found) {
            let server = if case.cached { &caching } else { &asking };
            // Who goes first changes with the round; round zero only warms up.
            let mut order = vec![(server, case.ours, &mut found.ours)];
            order.extend(peer.as_ref().map(|peer| (peer, case.peer, &mut found.peer)));
            if round % 2 == 1 {
                order.reverse();
            }
            for (server, count, values) in order {
                let count = if round == 0 { count / 10 } else { count };
                let value = one(server, case, count, &sts).await;
                if round > 0 {
                    values.push(value);
                }
            }
        }
    }
    for (case, found) in cases.iter().zip(&found) {
        let peer = (!found.peer.is_empty()).then(|| median(&found.peer));
        report.add(&case.name, "µs CPU", median(&found.ours), peer, case.goal);
    }
    if sts_speaks == StsSpeaks::Http1 {
        let reviews = ROUNDS
            * cases
                .iter()
                .filter(|case| !case.cached)
                .map(|case| case.ours)
                .sum::<usize>();
        let name = format!("own memory after {reviews} different tokens, {MAPPINGS} mappings");
        let after = peer.as_ref().map(|peer| os::own_memory(peer.pid()));
        report.add(name, "MiB", os::own_memory(asking.pid()), after, Goal::None);
    }
}

/// Microseconds of CPU a review.
async fn one(server: &Authenticator, case: &Case, count: usize, sts: &StsDouble) -> f64 {
    let (calls, before) = (sts.total_calls(), os::cpu(server.pid()));
    let seen = load::run(server, case.protocol, &case.bodies, count).await;
    let spent = os::cpu(server.pid()).saturating_sub(before);
    let calls = sts.total_calls() - calls;
    let each = spent.as_secs_f64() * 1e6 / count as f64;
    eprintln!(
        "  {:58} {each:7.1} µs  {:6.0}/s  p99 {:5.1} ms  STS {calls}/{count}  {}",
        case.name, seen.rate, seen.p99, seen.statuses
    );
    if case.asks {
        assert!(calls as f64 > 0.95 * count as f64, "STS is asked each time");
    }
    each
}

async fn check(server: &Authenticator, who: &[Principal]) {
    let reply = server.authenticate(&fleet::token(&who[7], 0)).await;
    assert_eq!(reply.username(), Some("deployer-7:session"), "{}", reply.text);
    assert_eq!(reply.groups(), ["developers", "team-007"]);
    let reply = server.authenticate("k8s-aws-v1.AAAA").await;
    assert!(!reply.authenticated(), "{}", reply.text);
}

fn cases(folder: &Path, sts_speaks: StsSpeaks) -> Vec<Case> {
    let both = [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2")];
    let sts = if sts_speaks == StsSpeaks::Http2 {
        ", STS offers HTTP/2"
    } else {
        ""
    };
    let mut cases: Vec<Case> = both
        .map(|(protocol, name)| Case {
            name: format!("review, STS asked each time, {name}{sts}"),
            protocol,
            bodies: folder.join("fresh"),
            cached: false,
            asks: true,
            ours: 10_000,
            peer: 3_000,
            goal: Goal::OfPeer(1.0 / 4.0),
        })
        .into();
    if sts_speaks == StsSpeaks::Http1 {
        for (bodies, what, goal) in [
            ("garbage", "garbage token", Goal::OfPeer(1.0 / 8.0)),
            ("again", "the same token again", Goal::None),
        ] {
            cases.extend(both.map(|(protocol, name)| Case {
                name: format!("{what}, {name}"),
                protocol,
                bodies: folder.join(bodies),
                cached: true,
                asks: false,
                ours: 40_000,
                peer: 4_000,
                goal,
            }));
        }
    }
    cases
}

/// Anew in each round: no token is older than the run is long.
fn write_bodies(folder: &Path, who: &[Principal]) {
    let mut fresh = String::new();
    for k in 0..TOKENS_EACH {
        for principal in who {
            writeln!(fresh, "{}", fleet::review(&fleet::token(principal, k))).expect("writing to a string");
        }
    }
    std::fs::write(folder.join("fresh"), fresh).expect("the bodies are written");
    let one = fleet::token(&who[0], 0);
    std::fs::write(folder.join("again"), fleet::review(&one) + "\n").expect("the body is written");
    std::fs::write(
        folder.join("garbage"),
        who.iter().flat_map(|who| garbage(who, &one)).collect::<String>(),
    )
    .expect("the bodies are written");
}

/// What a stranger may send, in equal parts, as long as a real token: no base64, base64 of something that is no URL,
/// and a well-formed request to a host that is not STS.
fn garbage(who: &Principal, like: &str) -> [String; 3] {
    let random = who.session_token.as_deref().unwrap_or_default().repeat(3);
    let bytes = like.len() - "k8s-aws-v1.".len();
    let no_base64 = format!("k8s-aws-v1.{}", &random[..bytes]);
    let no_url = kit::token_of_url(&random[..bytes * 3 / 4]);
    let no_sts = kit::TokenBuilder::new(who).host("sts.us-east-1.example.com").build();
    [no_base64, no_url, no_sts].map(|token| fleet::review(&token) + "\n")
}
