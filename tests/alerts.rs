//! Alerts and the dashboard: their expressions are sound, fire when they must, and use only what a running server exports.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kit::builders::iam_identity_mapping;
use kit::{
    Authenticator, Behaviour, Connect, ControlPlane, Options, Principal, StsDouble, TokenBuilder, eventually,
    require_parts, require_promtool,
};
use serde_json::{Value, json};

const PREFIX: &str = "aws_iam_authenticator_";
/// Labels that Prometheus adds, or that its operator does.
const OUTSIDE: [&str; 2] = ["cluster", "instance"];
const CHART: &str = "charts/aws-iam-authenticator/files";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).expect("readable")
}

fn promtool(args: &[&str]) -> Option<String> {
    let output = Command::new(require_promtool()?)
        .args(args)
        .output()
        .expect("promtool runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "promtool {args:?}: {said}");
    Some(said)
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&text(&format!("{CHART}/alerts.yaml"))).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|group| group["rules"].as_array().expect("rules").clone())
        .collect()
}

/// Every expression, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let of_alert = |rule: &Value| {
        (
            rule["alert"].to_string(),
            rule["expr"].as_str().expect("a text").to_owned(),
        )
    };
    let mut all: Vec<_> = alerts().iter().map(of_alert).collect();
    let dashboard: Value = serde_json::from_str(&text(&format!("{CHART}/dashboard.json"))).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"]
                .as_str()
                .expect("a text")
                .replace("$__rate_interval", "5m");
            assert!(
                !expression.contains('$'),
                "a variable of Grafana that this test does not know: {expression}"
            );
            all.push((panel["title"].to_string(), expression));
        }
    }
    all
}

#[test]
fn alerts_fire_when_they_must() {
    let alerts_file = file(&format!("{CHART}/alerts.yaml")).display().to_string();
    let Some(checked) = promtool(&["check", "rules", "--lint=all", "--lint-fatal", &alerts_file]) else {
        return;
    };
    assert!(
        checked.contains(&format!("{} rules found", alerts().len())),
        "{checked}"
    );
    promtool(&[
        "test",
        "rules",
        &file("tests/alerts/alerts.test.yaml").display().to_string(),
    ]);
    let tests = text("tests/alerts/alerts.test.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(tests.contains(name), "{name} has no test");
        let heading = format!("### {name}\n");
        assert!(
            text("docs/operating.md").contains(&heading),
            "docs/operating.md does not say what to do about {name}"
        );
        let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
        let description = alert["annotations"]["description"].as_str().unwrap_or_default();
        assert!(
            !summary.is_empty() && !description.is_empty(),
            "{name} does not say what it means"
        );
    }
}

#[test]
fn expressions_of_the_dashboard_are_sound() {
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(
            |(number, (_, expression))| json!({"record": format!("dashboard:expression_{number}"), "expr": expression}),
        )
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules.yaml");
    let group = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&path, group.to_string()).expect("written");
    promtool(&["check", "rules", &path.display().to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_use_what_a_running_server_exports() {
    let Some(scrape) = scrape().await else { return };
    let exported = exported(&scrape);
    let mut used = BTreeSet::new();
    for (place, expression) in expressions() {
        let metrics = metrics_of(&expression);
        assert!(!metrics.is_empty(), "{place}: {expression}");
        for (name, selectors) in &metrics {
            let labels = exported
                .get(name)
                .unwrap_or_else(|| panic!("{place}: no server exports {name}"));
            for label in selectors {
                assert!(
                    labels.contains(label),
                    "{place}: {name} has no label {label}, only {labels:?}"
                );
            }
            used.insert(name.clone());
        }
        for label in grouping(&expression) {
            let known =
                OUTSIDE.contains(&label.as_str()) || metrics.iter().any(|(name, _)| exported[name].contains(&label));
            assert!(known, "{place}: nothing in it has the label {label}");
        }
    }
    assert!(used.len() > 20, "{used:?}");
}

/// The names of a scrape, with the labels of each.
fn exported(scrape: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| line.starts_with(PREFIX)) {
        let end = line.find(['{', ' ']).expect("a sample");
        let labels = all.entry(line[..end].to_owned()).or_default();
        labels.extend(labels_in(&line[end..]));
    }
    all
}

/// The label names of `{name="value",…}`.
fn labels_in(text: &str) -> Vec<String> {
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
        return Vec::new();
    };
    let pairs = inside.split("\",");
    pairs
        .filter_map(|pair| pair.split(['=', '!']).next())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The metrics of an expression, with the labels of their selectors.
fn metrics_of(expression: &str) -> Vec<(String, Vec<String>)> {
    let places = expression.match_indices(PREFIX);
    places
        .map(|(at, _)| {
            let rest = &expression[at..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (rest[..end].to_owned(), labels_in(&rest[end..]))
        })
        .collect()
}

/// The labels of `by (…)`.
fn grouping(expression: &str) -> Vec<String> {
    let parts = expression.split(" by (").skip(1);
    let lists = parts.filter_map(|part| part.split(')').next());
    lists
        .flat_map(|list| list.split(','))
        .map(|label| label.trim().to_owned())
        .collect()
}

/// What a server exports that has seen everything once; `None` without a control plane for it.
async fn scrape() -> Option<String> {
    let plane = ControlPlane::started(require_parts()?, Options::default()).await;
    plane.kubectl().apply(&text("crds/iamidentitymappings.yaml")).await.ok();
    let definition = "crd/iamidentitymappings.iamauthenticator.k8s.aws";
    let wait = ["wait", "--for=condition=Established", definition];
    plane.kubectl().run(&wait).await.ok();
    let mapping = iam_identity_mapping("dev", "arn:aws:iam::111122223333:role/Dev", "dev", &[]);
    plane.kubectl().apply(&mapping).await.ok();
    let sts = StsDouble::start();
    let server = Authenticator::builder(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
        .backend_modes("CRD")
        .kubeconfig(plane.kubeconfig())
        .sts(&sts)
        .start();
    server.wait_ready().await;
    let dev = sts.add(Principal::assumed_role("111122223333", "Dev", "session"));
    let token = |expires| TokenBuilder::new(&dev).expires(expires).build();
    let first = token(60);
    assert!(server.authenticate(&first).await.authenticated());
    assert!(server.authenticate(&first).await.authenticated(), "from memory");
    server.authenticate("k8s-aws-v1.AAAA").await;
    sts.behave(Behaviour::Throttle);
    server.authenticate(&token(61)).await;
    sts.behave(Behaviour::Normal);
    sts.connect(Connect::Refuse);
    server.authenticate(&token(62)).await;
    let counted = eventually("everything was counted", Duration::from_secs(20), async || {
        let text = server.health_get("/metrics").await.text;
        let all = [
            "sts_throttling_total{",
            "sts_connection_failures_total{",
            "identity_cache_hits_total{",
            "status_writes_total{",
            "_events_total{",
        ];
        let missing: Vec<_> = all.into_iter().filter(|name| !text.contains(name)).collect();
        if missing.is_empty() { Ok(text) } else { Err(missing) }
    });
    Some(counted.await)
}
