//! Own memory (`RssAnon`): with mappings of a file, and with custom resources of a real API server.

use crate::client::Client;
use crate::fleet;
use crate::load::{self, Protocol};
use crate::os::{self, Peak};
use crate::report::{Goal, Report};
use crate::{Programs, SERVER_CORE, apply};
use hyper::body::Bytes;
use kit::{Authenticator, AuthenticatorBuilder, ControlPlane, Options, Parts, Principal, StsDouble};
use std::path::Path;
use std::time::{Duration, Instant};

const SIZES: [(usize, f64); 2] = [(1_000, 8.0), (100_000, 60.0)];
const OBJECTS: usize = 100_000;
const RELIST_PEAK: f64 = 120.0;
/// Reviews before a reading: buffers, connections and memories are filled as in daily life.
const REVIEWS: usize = 2_000;
const CREATORS: usize = 16;
const DEADLINE: Duration = Duration::from_mins(2);
/// What is given back to the system late, is.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) async fn measure_file(programs: &Programs, report: &mut Report) {
    let sts = StsDouble::start();
    let folder = fleet::folder();
    let who = fleet::sessions(&sts, 1_000);
    for (size, most) in SIZES {
        eprintln!("memory: a file with {size} mappings");
        let config = fleet::config_file(&folder, size);
        let (ours, peak) = of_file(Authenticator::builder(&programs.ours), &sts, &config, &who).await;
        let peer = match &programs.peer {
            Some(program) => Some(of_file(Authenticator::peer(program), &sts, &config, &who).await),
            None => None,
        };
        let name = format!("own memory, file with {size} mappings");
        report.add(name, "MiB", ours, peer.map(|(steady, _)| steady), Goal::AtMost(most));
        let name = format!("highest while the file with {size} is read again");
        report.add(name, "MiB", peak, peer.map(|(_, peak)| peak), Goal::None);
    }
}

/// Steady, and the highest while the file is replaced (which the Go program does not read again).
async fn of_file(builder: AuthenticatorBuilder, sts: &StsDouble, config: &Path, who: &[Principal]) -> (f64, f64) {
    let builder = builder
        .wrapper(&["taskset", "-c", SERVER_CORE])
        .config_file(config)
        .sts(sts);
    let server = builder.start();
    server.wait_ready().await;
    let steady = steady(&server, who).await;
    let peak = Peak::of(server.pid());
    let text = std::fs::read_to_string(config).expect("the config");
    let next = config.with_extension("next");
    std::fs::write(&next, text.replace("developers", "engineers")).expect("the config is written");
    std::fs::rename(&next, config).expect("the config is replaced");
    tokio::time::sleep(3 * SETTLE).await;
    (steady, peak.end())
}

async fn steady(server: &Authenticator, who: &[Principal]) -> f64 {
    let bodies = fleet::folder().join("steady");
    let reviews: String = who
        .iter()
        .map(|who| fleet::review(&fleet::token(who, 0)) + "\n")
        .collect();
    std::fs::write(&bodies, reviews).expect("the bodies are written");
    load::run(server, Protocol::Http2, &bodies, REVIEWS).await;
    tokio::time::sleep(SETTLE).await;
    os::own_memory(server.pid())
}

pub(crate) async fn measure_objects(programs: &Programs, report: &mut Report) {
    let Some(plane) = control_plane().await else { return };
    apply::install_definition(&plane).await;
    let started = Instant::now();
    create(&plane, OBJECTS).await;
    eprintln!("memory: {OBJECTS} objects created in {} s", started.elapsed().as_secs());
    let sts = StsDouble::start();
    let who = fleet::sessions(&sts, 1_000);
    let builder = Authenticator::builder(&programs.ours)
        .backend_modes("CRD")
        .kubeconfig(plane.kubeconfig())
        .sts(&sts);
    let started = Instant::now();
    let server = builder.wrapper(&["taskset", "-c", SERVER_CORE]).start();
    let peak = Peak::of(server.pid());
    // The last one created is the last one listed: with it, all are there.
    let last = fleet::token(&sts_add_last(&sts), 0);
    granted(&server, &last).await;
    report.add(
        format!("from start to the last of {OBJECTS} objects"),
        "s",
        started.elapsed().as_secs_f64(),
        None,
        Goal::None,
    );
    report.add("highest in the first list", "MiB", peak.end(), None, Goal::None);
    let value = steady(&server, &who).await;
    report.add(
        format!("own memory, {OBJECTS} objects"),
        "MiB",
        value,
        None,
        Goal::AtMost(60.0),
    );

    // A restarted API server does not know the version that we would resume from, so all is listed anew.
    let before = lists(&plane).await;
    let peak = Peak::of(server.pid());
    plane.stop_api_server().await;
    plane.start_api_server().await;
    let pages = listed(&plane).await;
    eprintln!("  pages listed: {before} before the restart, {pages} after it");
    tokio::time::sleep(3 * SETTLE).await;
    report.add(
        format!("highest while {OBJECTS} objects are listed again"),
        "MiB",
        peak.end(),
        None,
        Goal::AtMost(RELIST_PEAK),
    );
    let value = steady(&server, &who).await;
    report.add("own memory after that", "MiB", value, None, Goal::AtMost(60.0));
}

fn sts_add_last(sts: &StsDouble) -> Principal {
    fleet::sessions(sts, OBJECTS).pop().expect("there are some")
}

async fn granted(server: &Authenticator, token: &str) {
    server.wait_listening().await;
    let mut client = Client::webhook(server.address()).await;
    let review = Bytes::from(fleet::review(token));
    let deadline = Instant::now() + DEADLINE;
    while !client.is_granted(&review).await {
        assert!(Instant::now() < deadline, "not granted: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A control plane on the load's core, when the parts are there.
pub(crate) async fn control_plane() -> Option<ControlPlane> {
    match Parts::find() {
        Ok(parts) => Some(ControlPlane::started(parts, Options::default()).await),
        Err(missing) => {
            eprintln!("no control plane: {missing}");
            None
        }
    }
}

async fn create(plane: &ControlPlane, count: usize) {
    let mut creators = tokio::task::JoinSet::new();
    for creator in 0..CREATORS {
        let mut client = Client::admin(plane).await;
        creators.spawn(async move {
            for i in (creator..count).step_by(CREATORS) {
                let (status, body) = client.send("POST", apply::OBJECTS, apply::object(i)).await;
                assert_eq!(status, 201, "{body}");
            }
        });
    }
    creators.join_all().await;
}

/// Waits until a whole list was asked for and no more pages are.
async fn listed(plane: &ControlPlane) -> u64 {
    let deadline = Instant::now() + DEADLINE;
    let mut pages = 0;
    while Instant::now() < deadline {
        tokio::time::sleep(SETTLE).await;
        let now = lists(plane).await;
        if now > 0 && now == pages {
            break;
        }
        pages = now;
    }
    pages
}

/// How many pages of the list were asked for since the API server started: by its own metrics.
async fn lists(plane: &ControlPlane) -> u64 {
    let reply = plane.admin_web().get("/metrics").await.expect("metrics");
    let of_lists = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"iamidentitymappings\"")
            && line.contains("verb=\"LIST\"")
    };
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or_default()
    };
    reply.text.lines().filter(of_lists).map(value).sum()
}
