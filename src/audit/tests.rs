use std::io;

use super::*;
use crate::authn::{Outage, StsError, StsOutage};
use crate::token::TokenError;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged at this level while the closure runs.
fn logged(level: Level, run: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_ansi(false);
    tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), run);
    let bytes = lines.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes)
        .expect("text")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn audit(scrubbed: &[&str]) -> Audit {
    let metrics = Arc::new(Metrics::new(Instant::now(), "1"));
    let mut audit = Audit::new(
        metrics,
        scrubbed.iter().filter_map(|id| AccountId::parse(id)).collect(),
        || None,
    );
    audit.clock = frozen;
    audit
}

fn frozen() -> Instant {
    static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn a_second_later() -> Instant {
    frozen() + Duration::from_secs(1)
}

fn identity() -> Arc<Identity> {
    let arn = "arn:aws:sts::123456789012:assumed-role/Admin/alice";
    Arc::new(Identity::new("123456789012", arn, "AROAX:alice", "AKIDSECRET").expect("valid"))
}

fn grant() -> Decision {
    Decision::Granted(Grant {
        identity: identity(),
        username: "admin".into(),
        groups: vec!["system:masters".into()],
        source: SourceId::MountedFile,
        unsynced_before: None,
    })
}

fn tell(audit: &Audit, decision: &Decision, message: &str) {
    audit.reviewed(&Outcome::Decided(decision), message, Duration::ZERO);
}

#[test]
fn a_grant_and_a_denial_are_one_line_each() {
    let audit = audit(&[]);
    let lines = logged(Level::INFO, || {
        tell(&audit, &grant(), "");
        tell(
            &audit,
            &Decision::Denied(Denial::NotMapped, Some(identity())),
            "no mapping",
        );
    });
    let [granted, denied] = &*lines else {
        panic!("{lines:?}")
    };
    for part in [
        "INFO",
        "access granted",
        r#"arn="arn:aws:sts::123456789012:assumed-role/Admin/alice""#,
        r#"username="admin""#,
        "uid=aws-iam-authenticator:123456789012:AROAX",
        r#"groups=["system:masters"]"#,
        r#"source="MountedFile""#,
    ] {
        assert!(granted.contains(part), "{part} in {granted}");
    }
    for part in [
        "WARN",
        "access denied: no mapping",
        r#"reason="not_mapped""#,
        "assumed-role/Admin/alice",
    ] {
        assert!(denied.contains(part), "{part} in {denied}");
    }
}

#[test]
fn a_scrubbed_account_is_in_no_line() {
    let audit = audit(&["123456789012"]);
    let lines = logged(Level::TRACE, || {
        tell(&audit, &grant(), "");
        tell(
            &audit,
            &Decision::Denied(Denial::NotMapped, Some(identity())),
            "no mapping",
        );
    });
    assert_eq!(lines.len(), 2);
    for secret in ["123456789012", "alice", "AROAX", "admin", "Admin"] {
        assert!(lines.iter().all(|line| !line.contains(secret)), "{secret} in {lines:?}");
    }
}

#[test]
fn cheap_refusals_are_bounded_for_each_reason() {
    let mut audit = audit(&[]);
    let refused = |error| Decision::Denied(Denial::Token(error), None);
    let lines = logged(Level::WARN, || {
        for _ in 0..15 {
            tell(&audit, &refused(TokenError::Encoding), "bad");
        }
        tell(&audit, &refused(TokenError::Path), "bad");
    });
    assert_eq!(lines.len(), 11);
    assert!(
        audit
            .metrics()
            .exposition()
            .contains(r#"log_lines_suppressed_total{reason="encoding"} 5"#)
    );
    audit.clock = a_second_later;
    let lines = logged(Level::WARN, || tell(&audit, &refused(TokenError::Encoding), "bad"));
    assert!(lines.iter().any(|line| line.contains("suppressed=5")), "{lines:?}");
    let lines = logged(Level::WARN, || tell(&audit, &refused(TokenError::Encoding), "bad"));
    assert!(lines.iter().all(|line| !line.contains("suppressed")), "{lines:?}");
}

#[test]
fn known_callers_and_refusals_by_sts_are_always_told() {
    let audit = audit(&[]);
    let sts = StsError::Refused {
        code: "ExpiredToken".into(),
        status: 403,
    };
    let outage = Outage::Sts(StsError::Unavailable(StsOutage::Connect));
    for decision in [
        Decision::Denied(Denial::NotMapped, Some(identity())),
        Decision::Denied(Denial::Sts(sts), None),
        Decision::Unavailable(outage, Some(identity())),
    ] {
        let lines = logged(Level::WARN, || (0..15).for_each(|_| tell(&audit, &decision, "why")));
        assert_eq!(lines.len(), 15);
    }
}

#[test]
fn foreign_tokens_are_a_counter_only() {
    let audit = audit(&[]);
    let lines = logged(Level::TRACE, || tell(&audit, &Decision::NotOurs, ""));
    assert!(lines.is_empty(), "{lines:?}");
    assert!(audit.metrics().exposition().contains("foreign_tokens_total 1"));
}
