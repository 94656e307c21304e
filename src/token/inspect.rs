//! What a token says of itself, for people who look for what is wrong with it: read as leniently as can be, decided upon never.
//!
//! A value is shown only in the form that it should have. What is secret, or could be, is not here at all: of the signature and the
//! session token only whether they are there, of a stranger's text nothing.

use jiff::Timestamp;

use super::presigned::LIFETIME;
use super::query::{Parameter, lenient};
use super::{BearerToken, CLUSTER_ID_HEADER, amz_date};
use crate::partition::{Partition, StsEndpointPolicy, StsRegion};

/// Access key ids, regions and header names are short; what is longer is none.
const MAX_SHOWN_BYTES: usize = 253;

/// The parts of a token that can be told without asking anybody. What is missing or malformed is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inspection {
    /// The length of the whole token.
    pub bytes: usize,
    /// The host that would be asked, when it is a plain host name.
    pub host: Option<Box<str>>,
    /// The partition whose STS that host is; `None` when it is no STS.
    pub partition: Option<Partition>,
    /// The region of that STS, or `global`.
    pub region: Option<Box<str>>,
    /// The access key that signed.
    pub access_key_id: Option<Box<str>>,
    /// The region that the signature is for.
    pub signing_region: Option<Box<str>>,
    /// When it was signed.
    pub signed_at: Option<Timestamp>,
    /// The headers that the signature covers.
    pub signed_headers: Vec<Box<str>>,
    /// Whether it is of temporary credentials.
    pub has_session_token: bool,
}

impl Inspection {
    /// Takes a token apart as far as that goes.
    pub fn of(token: BearerToken<'_>) -> Self {
        let mut told = Self {
            bytes: token.0.len(),
            ..Self::default()
        };
        let Ok(url) = token.url() else { return told };
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let (host, query) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
        told.read_host(host);
        for (parameter, value) in lenient(query.trim_start_matches('?')) {
            told.read(parameter, &value);
        }
        told
    }

    /// The instant from which STS refuses it.
    pub fn ends(&self) -> Option<Timestamp> {
        self.signed_at.and_then(|time| time.checked_add(LIFETIME).ok())
    }

    /// Seconds since it was signed; negative when that is ahead of our clock.
    pub fn age(&self, now: Timestamp) -> Option<i64> {
        self.signed_at.map(|time| now.duration_since(time).as_secs())
    }

    /// Whether the signature covers a cluster id. Which one it was signed for, only STS can tell.
    pub fn signs_cluster_id(&self) -> bool {
        self.signed_headers
            .iter()
            .any(|header| header.eq_ignore_ascii_case(CLUSTER_ID_HEADER))
    }

    fn read_host(&mut self, host: &str) {
        self.host = shown(host, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        let found = Partition::ALL.into_iter().find_map(|partition| {
            let policy = StsEndpointPolicy::new(partition, None, &[]).ok()?;
            Some((partition, policy.check(host).ok()?))
        });
        let Some((partition, endpoint)) = found else { return };
        self.partition = Some(partition);
        self.region = match endpoint.region() {
            StsRegion::Global => Some("global".into()),
            _ => endpoint.host().split('.').nth(1).map(Into::into),
        };
    }

    fn read(&mut self, parameter: Parameter, value: &str) {
        match parameter {
            Parameter::Credential => {
                let mut parts = value.split('/');
                self.access_key_id = parts
                    .next()
                    .and_then(|key| shown(key, |byte| byte.is_ascii_alphanumeric() || byte == b'_'));
                let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                self.signing_region = parts.nth(1).and_then(|region| shown(region, is_region));
            }
            Parameter::Date => self.signed_at = amz_date::parse(value),
            Parameter::SecurityToken => self.has_session_token = true,
            Parameter::SignedHeaders => {
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                self.signed_headers = value.split(';').filter_map(|name| shown(name, is_name)).collect();
            }
            Parameter::Action
            | Parameter::Version
            | Parameter::Algorithm
            | Parameter::Expires
            | Parameter::Signature => {}
        }
    }
}

/// The text, when it is made of nothing but such bytes.
fn shown(text: &str, is_part: impl Fn(u8) -> bool) -> Option<Box<str>> {
    let fits = (1..=MAX_SHOWN_BYTES).contains(&text.len()) && text.bytes().all(is_part);
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::TOKEN_PREFIX;
    use super::super::mint::{SigningCredentials, mint};
    use super::*;

    fn inspect(url: &str) -> Inspection {
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(url));
        Inspection::of(BearerToken::parse(&token).unwrap())
    }

    #[test]
    fn tells_all_of_a_good_token_and_nothing_secret() {
        let credentials = SigningCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "hunter2".to_owned(),
            session_token: Some("c2Vzc2lvbg".to_owned()),
        };
        let now: Timestamp = "2026-11-24T02:00:00Z".parse().unwrap();
        let token = mint(&credentials, "sts.eu-west-1.amazonaws.com", "eu-west-1", "c", now);
        let told = Inspection::of(BearerToken::parse(&token).unwrap());
        assert_eq!(told.host.as_deref(), Some("sts.eu-west-1.amazonaws.com"));
        assert_eq!(told.partition, Some(Partition::Aws));
        assert_eq!(told.region.as_deref(), Some("eu-west-1"));
        assert_eq!(told.signing_region.as_deref(), Some("eu-west-1"));
        assert_eq!(told.access_key_id.as_deref(), Some("ASIAEXAMPLE"));
        assert_eq!(told.ends().unwrap().to_string(), "2026-11-24T02:15:00Z");
        assert_eq!(told.age("2026-11-24T02:01:00Z".parse().unwrap()), Some(60));
        assert!(told.signs_cluster_id() && told.has_session_token);
        let all = format!("{told:?}");
        assert!(!all.contains("c2Vzc2lvbg") && !all.contains("Signature="), "{all}");
    }

    #[test]
    fn tells_the_partition_by_the_host() {
        let partition = |host: &str| {
            let told = inspect(&format!("https://{host}/?"));
            (told.partition.map(Partition::id), told.region.map(String::from))
        };
        let is = |id, region: &str| (Some(id), Some(region.to_owned()));
        assert_eq!(partition("sts.amazonaws.com"), is("aws", "global"));
        assert_eq!(partition("sts-fips.us-east-1.api.aws"), is("aws", "us-east-1"));
        assert_eq!(
            partition("sts.us-gov-west-1.amazonaws.com"),
            is("aws-us-gov", "us-gov-west-1")
        );
        assert_eq!(partition("sts.cn-north-1.amazonaws.com.cn"), is("aws-cn", "cn-north-1"));
        assert_eq!(partition("evil.example"), (None, None));
    }

    #[test]
    fn a_broken_token_is_told_as_far_as_it_goes() {
        let told = inspect(
            "https://evil\u{1b}[31m.example?X-Amz-Credential=AKID/20261124/us-east-1/sts/x&x-amz-date=20261124T020000Z&bad=%zz&X-Amz-Signature=s3cret",
        );
        assert_eq!(told.host, None);
        assert_eq!(told.access_key_id.as_deref(), Some("AKID"));
        assert_eq!(told.signing_region.as_deref(), Some("us-east-1"));
        assert!(told.signed_at.is_some() && !told.signs_cluster_id());
        assert!(!format!("{told:?}").contains("s3cret"));
        let told = inspect("X-Amz-Credential=top secret");
        assert_eq!((told.host, told.access_key_id), (None, None));
        let garbage = Inspection::of(BearerToken::parse("k8s-aws-v1.!!").unwrap());
        assert_eq!(
            garbage,
            Inspection {
                bytes: 13,
                ..Inspection::default()
            }
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(https://|/|\\?|&|=|%|;|sts|X-Amz-Date|X-Amz-Credential|[a-z0-9.]){0,20}") {
            let _ = inspect(&text);
        }
    }
}
