//! The answer of `verify`, for people and for programs.

use jiff::Timestamp;
use serde::Serialize;

use super::super::output::Failure;
use crate::identity::Identity;
use crate::partition::Partition;
use crate::token::inspect::Inspection;

/// STS itself lets clocks differ by five minutes; this much is worth a word before it hurts.
const NOTABLE_SKEW_SECONDS: i64 = 30;

/// What can be said about one token.
pub(super) struct Report<'a> {
    told: &'a Inspection,
    cluster_id: &'a str,
    now: Timestamp,
    /// How far our clock is ahead of STS's, once STS has answered.
    pub(super) clock_skew: Option<i64>,
}

/// What `-o json` prints: the keys of the Go program, and ours besides.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    #[serde(flatten)]
    identity: Option<JsonIdentity<'a>>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew_seconds: Option<i64>,
    token: JsonToken<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonIdentity<'a> {
    #[serde(rename = "ARN")]
    arn: &'a str,
    #[serde(rename = "CanonicalARN")]
    canonical_arn: &'a str,
    #[serde(rename = "AccountID")]
    account_id: &'a str,
    #[serde(rename = "UserID")]
    user_id: &'a str,
    session_name: &'a str,
    #[serde(rename = "AccessKeyID")]
    access_key_id: &'a str,
    #[serde(rename = "STSEndpoint")]
    sts_endpoint: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonToken<'a> {
    bytes: usize,
    host: Option<&'a str>,
    partition: Option<&'static str>,
    region: Option<&'a str>,
    signing_region: Option<&'a str>,
    #[serde(rename = "AccessKeyID")]
    access_key_id: Option<&'a str>,
    signed_at: Option<String>,
    age_seconds: Option<i64>,
    ends_at: Option<String>,
    signed_headers: &'a [Box<str>],
    has_session_token: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(told: &'a Inspection, cluster_id: &'a str, now: Timestamp) -> Self {
        Self {
            told,
            cluster_id,
            now,
            clock_skew: None,
        }
    }

    /// What the token says, before anybody is asked.
    pub(super) fn local_text(&self) -> String {
        let told = self.told;
        let unknown = || "cannot be told".to_owned();
        let text = |value: &Option<Box<str>>| value.as_deref().map_or_else(unknown, str::to_owned);
        let partition = match (&told.host, told.partition) {
            (Some(_), None) => "none: this host is not an STS endpoint".to_owned(),
            (_, partition) => partition.map_or_else(unknown, |partition| partition.id().to_owned()),
        };
        let cluster = if told.signs_cluster_id() {
            "signed with the token; which one it is, only STS can confirm"
        } else {
            "not signed: this is no token for Kubernetes"
        };
        let headers = match told.signed_headers.join(", ") {
            headers if headers.is_empty() => unknown(),
            headers => headers,
        };
        let session_token = if told.has_session_token {
            "yes (temporary credentials)"
        } else {
            "no (a user's own keys)"
        };
        lines(&[
            ("token", &format!("{} bytes", told.bytes)),
            ("STS host", &text(&told.host)),
            ("partition", &partition),
            ("region", &text(&told.region)),
            ("access key ID", &text(&told.access_key_id)),
            ("signature for", &text(&told.signing_region)),
            ("session token", session_token),
            ("signed at", &self.signed_at().unwrap_or_else(unknown)),
            ("ends at", &self.ends_at().unwrap_or_else(unknown)),
            ("signed headers", &headers),
            ("cluster ID", cluster),
        ])
    }

    fn signed_at(&self) -> Option<String> {
        let age = self.told.age(self.now)?;
        let when = match age {
            0.. => format!("{} ago", duration(age)),
            _ => format!("{} ahead of this machine's clock", duration(-age)),
        };
        Some(format!("{} ({when})", self.told.signed_at?))
    }

    fn ends_at(&self) -> Option<String> {
        let ends = self.told.ends()?;
        let left = ends.duration_since(self.now).as_secs();
        let when = match left {
            0.. => format!("in {}", duration(left)),
            _ => format!("{} ago", duration(-left)),
        };
        Some(format!("{ends} ({when})"))
    }

    /// What STS says.
    pub(super) fn identity_text(&self, identity: &Identity) -> String {
        let mut rows = vec![
            ("ARN", identity.arn()),
            ("canonical ARN", identity.canonical().as_str()),
        ];
        let account = identity.account();
        rows.extend([("account", account.as_str()), ("user ID", identity.user_id())]);
        if !identity.session_name().is_empty() {
            rows.push(("session name", identity.session_name()));
        }
        let skew = self.notable_skew();
        if let Some(skew) = &skew {
            rows.push(("clock", skew));
        }
        format!(
            "\nSTS vouches for this token, and for the cluster ID {:?} in it:\n{}",
            self.cluster_id,
            lines(&rows)
        )
    }

    fn notable_skew(&self) -> Option<String> {
        let skew = self.clock_skew.filter(|skew| skew.abs() >= NOTABLE_SKEW_SECONDS)?;
        let side = if skew > 0 { "ahead of" } else { "behind" };
        Some(format!(
            "this machine's clock is {} {side} that of STS; set it by NTP",
            duration(skew.abs())
        ))
    }

    pub(super) fn json(&self, verified: Result<&Identity, &Failure>) -> Result<String, Failure> {
        let told = self.told;
        let account = verified.ok().map(Identity::account);
        let identity = verified.ok().map(|identity| JsonIdentity {
            arn: identity.arn(),
            canonical_arn: identity.canonical().as_str(),
            account_id: account.as_ref().map_or("", |account| account.as_str()),
            user_id: identity.user_id(),
            session_name: identity.session_name(),
            access_key_id: identity.access_key_id(),
            sts_endpoint: told.host.as_deref(),
        });
        let json = Json {
            identity,
            verified: verified.is_ok(),
            problem: verified.err().map(Failure::message),
            clock_skew_seconds: self.clock_skew,
            token: JsonToken {
                bytes: told.bytes,
                host: told.host.as_deref(),
                partition: told.partition.map(Partition::id),
                region: told.region.as_deref(),
                signing_region: told.signing_region.as_deref(),
                access_key_id: told.access_key_id.as_deref(),
                signed_at: told.signed_at.map(|time| time.to_string()),
                age_seconds: told.age(self.now),
                ends_at: told.ends().map(|time| time.to_string()),
                signed_headers: &told.signed_headers,
                has_session_token: told.has_session_token,
            },
        };
        serde_json::to_string_pretty(&json).map_err(Failure::failed)
    }
}

/// Name and value in two columns.
fn lines(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    let rows = rows
        .iter()
        .map(|(name, value)| format!("{:width$}{value}", format!("{name}:")));
    rows.collect::<Vec<_>>().join("\n")
}

/// Seconds as people say them.
fn duration(seconds: i64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_here() {
        let told = Inspection {
            signed_at: "2026-11-24T02:00:00Z".parse().ok(),
            ..Inspection::default()
        };
        let at = |now: &str| {
            let report = Report::new(&told, "c", now.parse().unwrap());
            (report.signed_at().unwrap(), report.ends_at().unwrap())
        };
        let (signed, ends) = at("2026-11-24T02:01:05Z");
        assert_eq!(signed, "2026-11-24T02:00:00Z (1 min 5 s ago)");
        assert_eq!(ends, "2026-11-24T02:15:00Z (in 13 min 55 s)");
        let (signed, ends) = at("2026-11-24T04:00:00Z");
        assert!(signed.ends_with("(2 h 0 min ago)") && ends.ends_with("(1 h 45 min ago)"));
        assert!(
            at("2026-11-24T01:59:50Z")
                .0
                .ends_with("(10 s ahead of this machine's clock)")
        );
    }

    #[test]
    fn a_clock_that_is_off_is_named() {
        let told = Inspection::default();
        let mut report = Report::new(&told, "c", Timestamp::UNIX_EPOCH);
        assert_eq!(report.notable_skew(), None);
        report.clock_skew = Some(3);
        assert_eq!(report.notable_skew(), None);
        report.clock_skew = Some(-120);
        assert!(report.notable_skew().unwrap().contains("2 min 0 s behind"));
    }
}
