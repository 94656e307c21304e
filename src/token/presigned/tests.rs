use proptest::prelude::*;

use super::super::TOKEN_PREFIX;
use super::super::mint::{SigningCredentials, mint};
use super::*;
use crate::partition::{HostError, Partition, StsEndpointPolicy};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

const NOW: &str = "2026-11-24T01:52:00Z";
const SIGNATURE: &str = "6c1132e8ebfe7bb2283dfab525ada96a9dc47d85abbbf88ba87b112c4524574c";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn policy() -> TokenPolicy {
    TokenPolicy::new(StsEndpointPolicy::new(Partition::Aws, None, &[]).unwrap(), "my-cluster").unwrap()
}

fn credentials(session_token: Option<String>) -> SigningCredentials {
    SigningCredentials {
        access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token,
    }
}

fn token_of(url: &str) -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(url))
}

fn parse_at(token: &str, now: Timestamp) -> Result<PresignedRequest, TokenError> {
    PresignedRequest::parse(BearerToken::parse(token)?, &policy(), now)
}

fn parse_url(url: &str) -> Result<PresignedRequest, TokenError> {
    parse_at(&token_of(url), now())
}

/// A good URL, in which a test replaces one part.
fn url() -> String {
    format!(
        "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20261124%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date=20261124T015200Z\
         &X-Amz-Expires=60&X-Amz-Security-Token=se%2Fss%2Bion%3D&X-Amz-Signature={SIGNATURE}\
         &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"
    )
}

fn url_of(token: &str) -> String {
    BearerToken::parse(token).unwrap().url().unwrap()
}

/// The parameters of a target or URL, in byte order.
fn sorted(url: &str) -> Vec<&str> {
    let mut parameters: Vec<_> = url.split_once("/?").unwrap().1.split('&').collect();
    parameters.sort_unstable();
    parameters
}

#[test]
fn a_good_url_is_taken_apart_and_put_together_again() {
    let request = parse_url(&url()).unwrap();
    assert_eq!(request.endpoint().host(), "sts.us-west-2.amazonaws.com");
    assert_eq!(request.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
    assert_eq!(request.cluster_id(), "my-cluster");
    assert_eq!(request.signed_at(), now());
    assert_eq!(request.ends().to_string(), "2026-11-24T02:07:00Z");
    assert_eq!(
        format!("https://sts.us-west-2.amazonaws.com{}", request.path_and_query()),
        url()
    );
}

#[test]
fn a_minted_token_is_accepted_and_sent_as_it_was_signed() {
    for session_token in [None, Some("short+/=".to_owned()), Some("x/+=".repeat(1024))] {
        let token = mint(
            &credentials(session_token),
            "sts.us-west-2.amazonaws.com",
            "us-west-2",
            "my-cluster",
            now(),
        );
        let request = parse_at(&token, now()).unwrap();
        let target = request.path_and_query();
        assert_eq!(sorted(&url_of(&token)), sorted(&target));
        assert!(
            sorted(&target)
                .into_iter()
                .eq(target.split_once("/?").unwrap().1.split('&'))
        );
    }
}

#[test]
fn names_count_in_any_letter_case_and_are_sent_in_one() {
    let lower = url().replace("Action=", "action=").replace("X-Amz-", "x-amz-");
    assert_eq!(
        parse_url(&lower).unwrap().path_and_query(),
        parse_url(&url()).unwrap().path_and_query()
    );
    let encoded = url()
        .replace("X-Amz-Date", "X%2DAmz%2dDate")
        .replace("https://", "HTTPS://");
    assert_eq!(
        parse_url(&encoded).unwrap().path_and_query(),
        parse_url(&url()).unwrap().path_and_query()
    );
}

#[test]
fn what_may_be_missing_stays_missing() {
    let bare = url()
        .replace("&Version=2011-06-15", "")
        .replace("&X-Amz-Security-Token=se%2Fss%2Bion%3D", "");
    let target = parse_url(&bare).unwrap().path_and_query();
    assert_eq!(format!("https://sts.us-west-2.amazonaws.com{target}"), bare);
}

#[test]
fn further_signed_headers_are_named_but_never_sent() {
    let more = url().replace("=host%3B", "=accept%3Bhost%3B");
    assert!(
        parse_url(&more)
            .unwrap()
            .path_and_query()
            .ends_with("X-Amz-SignedHeaders=accept%3Bhost%3Bx-k8s-aws-id")
    );
}

/// Each case replaces one part of the good URL.
fn refuses(cases: &[(&str, &str, TokenError)]) {
    for (part, replacement, expected) in cases {
        let spoilt = url().replacen(part, replacement, 1);
        assert_ne!(spoilt, url(), "{part} is not in the URL");
        assert_eq!(parse_url(&spoilt).err(), Some(*expected), "{part} -> {replacement}");
    }
}

#[test]
fn only_the_root_of_an_sts_host_over_https_is_accepted() {
    use TokenError::{Fragment, Host, Path, Scheme};
    let host = "sts.us-west-2.amazonaws.com";
    let malformed = Host(HostError::Malformed);
    let other = Host(HostError::OtherPartition {
        expected: Partition::Aws,
    });
    refuses(&[
        ("https://", "http://", Scheme),
        ("https://", "ftp://", Scheme),
        ("https://", "//", Scheme),
        ("https://", "https:/", Scheme),
        ("https://", " https://", Scheme),
        (host, "", malformed),
        (host, "user@sts.us-west-2.amazonaws.com", malformed),
        (host, "user:pw@sts.us-west-2.amazonaws.com", malformed),
        (host, "sts.us-west-2.amazonaws.com:443", malformed),
        (host, "sts.us-west-2.amazonaws.com:", malformed),
        (host, "sts.us-west-2.amazonaws.com.", malformed),
        (host, "sts.us-west-2.amazonaws.com\\", malformed),
        (host, "evil.example\\@sts.us-west-2.amazonaws.com", malformed),
        (host, "sts.us-west-2.amazonaws.com\t", malformed),
        (host, "sts.us\u{2010}west-2.amazonaws.com", malformed),
        (host, "evil.example", Host(HostError::NotSts)),
        (host, "sts.not-a-region.amazonaws.com", Host(HostError::UnknownRegion)),
        (host, "sts.cn-north-1.amazonaws.com.cn", other),
        ("com/?", "com?", Path),
        ("com/?", "com//?", Path),
        ("com/?", "com/x?", Path),
        ("com/?", "com/%2F?", Path),
        ("com/?Action", "com/", Path),
        ("x-k8s-aws-id", "x-k8s-aws-id#", Fragment),
        ("com/?", "com/#?", Fragment),
    ]);
}

#[test]
fn only_the_known_parameters_once_each_are_accepted() {
    use TokenError::{DuplicateParameter, Escape, InvalidParameter, MissingParameter, UnknownParameter};
    let version = "Version=2011-06-15";
    let action = "Action=GetCallerIdentity";
    let token_twice = DuplicateParameter("X-Amz-Security-Token");
    refuses(&[
        (action, "Action=GetSessionToken", InvalidParameter("Action")),
        (action, "Action=getcalleridentity", InvalidParameter("Action")),
        ("Action=GetCallerIdentity&", "", MissingParameter("Action")),
        (version, "Version=2010-01-01", InvalidParameter("Version")),
        (version, "Version=", InvalidParameter("Version")),
        (version, action, DuplicateParameter("Action")),
        (version, "action=AssumeRole", DuplicateParameter("Action")),
        (version, "x%2damz-security-TOKEN=other", token_twice),
        (version, "RoleArn=x", UnknownParameter),
        (version, "X-Amz-Foo=x", UnknownParameter),
        (version, "Version=2011-06-1%", Escape),
        (version, "Version=2011-06-15%0d%0aHost:evil", Escape),
        ("&X-Amz-Signature=", "&x=", UnknownParameter),
    ]);
}

#[test]
fn only_signatures_that_sts_could_accept_are_accepted() {
    use TokenError::{ClusterIdNotSigned, MissingParameter};
    let algorithm = TokenError::InvalidParameter("X-Amz-Algorithm");
    let headers = TokenError::InvalidParameter("X-Amz-SignedHeaders");
    let credential = TokenError::InvalidParameter("X-Amz-Credential");
    let signature = TokenError::InvalidParameter("X-Amz-Signature");
    let token = TokenError::InvalidParameter("X-Amz-Security-Token");
    let signed = "=host%3Bx-k8s-aws-id";
    let no_headers = MissingParameter("X-Amz-SignedHeaders");
    let no_algorithm = MissingParameter("X-Amz-Algorithm");
    let long = format!("=host%3B{}%3B", "a".repeat(256));
    refuses(&[
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", algorithm),
        ("&X-Amz-Algorithm=AWS4-HMAC-SHA256", "", no_algorithm),
        (signed, "=host", ClusterIdNotSigned),
        (signed, "=host%3Bx-k8s-aws-id2", ClusterIdNotSigned),
        (signed, "=", ClusterIdNotSigned),
        ("&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id", "", no_headers),
        ("=host%3B", "=host,x%3B", headers),
        ("=host%3B", &long, headers),
        (SIGNATURE, "", signature),
        ("c4524574c", "c4524574", signature),
        ("c4524574c", "c4524574g", signature),
        ("se%2Fss%2Bion%3D", "", token),
        ("ASIAIOSFODNN7EXAMPLE%2F", "%2F", credential),
        ("ASIAIOSFODNN7EXAMPLE%2F", "AS%3CIA%2F", credential),
        ("%2F20261124%2F", "%2F20261123%2F", credential),
        ("%2Fus-west-2%2F", "%2F%2F", credential),
        ("%2Fsts%2F", "%2Fiam%2F", credential),
        ("%2Faws4_request", "%2Faws4_request%2F", credential),
        ("%2Fsts%2Faws4_request", "", credential),
    ]);
}

#[test]
fn only_times_in_their_one_form_are_accepted() {
    let expires = TokenError::InvalidParameter("X-Amz-Expires");
    let date = TokenError::InvalidParameter("X-Amz-Date");
    let no_date = TokenError::MissingParameter("X-Amz-Date");
    refuses(&[
        ("&X-Amz-Expires=60", "", TokenError::MissingParameter("X-Amz-Expires")),
        ("Expires=60", "Expires=901", expires),
        ("Expires=60", "Expires=-1", expires),
        ("Expires=60", "Expires=%2B60", expires),
        ("Expires=60", "Expires=060", expires),
        ("Expires=60", "Expires=", expires),
        ("Expires=60", "Expires=99999999999999999999", expires),
        ("&X-Amz-Date=20261124T015200Z", "", no_date),
        ("Date=20261124T015200Z", "Date=2026-11-24T01:52:00Z", date),
        ("Date=20261124T015200Z", "Date=", date),
    ]);
}

#[test]
fn the_limits_of_expires_are_inclusive() {
    for seconds in ["0", "60", "900"] {
        let url = url().replace("Expires=60", &format!("Expires={seconds}"));
        assert!(
            parse_url(&url)
                .unwrap()
                .path_and_query()
                .contains(&format!("&X-Amz-Expires={seconds}&"))
        );
    }
}

#[test]
fn a_token_lives_from_five_minutes_ahead_to_fifteen_minutes_behind() {
    let cases = [
        ("2026-11-24T01:47:00Z", None),
        ("2026-11-24T01:46:59.5Z", Some(TokenError::Future { seconds: 300 })),
        ("2026-11-24T01:46:00Z", Some(TokenError::Future { seconds: 360 })),
        ("2026-11-24T02:07:00Z", None),
        ("2026-11-24T02:07:01Z", Some(TokenError::Expired { seconds: 901 })),
        (
            "2027-11-24T01:52:00Z",
            Some(TokenError::Expired { seconds: 31_536_000 }),
        ),
    ];
    for (now, expected) in cases {
        assert_eq!(
            parse_at(&token_of(&url()), now.parse().unwrap()).err(),
            expected,
            "{now}"
        );
    }
    let first = url().replace("20261124", "00010101");
    assert!(matches!(parse_url(&first), Err(TokenError::Expired { .. })));
    let last = url().replace("20261124", "99991231");
    assert!(matches!(
        parse_url(&last),
        Err(TokenError::Future { .. } | TokenError::InvalidParameter(_))
    ));
}

#[test]
fn only_unpadded_base64url_is_read() {
    // One byte more than a multiple of three: base64 would pad it, and its last character has four bits to spare.
    let filler = "s".repeat((1 + 3 - url().len() % 3) % 3);
    let url = url().replace("se%2Fss", &format!("se%2Fss{filler}"));
    let good = token_of(&url);
    assert!(parse_at(&good, now()).is_ok());
    let spoilt = [
        format!("{TOKEN_PREFIX}{}", URL_SAFE.encode(&url)),
        format!("{good}\n"),
        format!("{good}+/"),
        format!("{TOKEN_PREFIX}%%%"),
        format!("{}_", good.get(..good.len() - 1).unwrap()),
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode([0xff, 0xfe])),
    ];
    for token in spoilt {
        assert_eq!(parse_at(&token, now()).err(), Some(TokenError::Encoding), "{token}");
    }
    assert_eq!(parse_at(TOKEN_PREFIX, now()).err(), Some(TokenError::Scheme));
}

#[test]
fn a_session_token_of_4096_bytes_passes() {
    for session_token in ["a".repeat(4096), "aZ/+".repeat(1024)] {
        let token = mint(
            &credentials(Some(session_token)),
            "sts.amazonaws.com",
            "us-east-1",
            "my-cluster",
            now(),
        );
        assert!(token.len() > 4096);
        assert!(parse_at(&token, now()).is_ok());
    }
}

#[test]
fn debug_hides_signature_and_session_token() {
    let debug = format!("{:?}", parse_url(&url()).unwrap());
    assert!(debug.contains("ASIAIOSFODNN7EXAMPLE"));
    assert!(!debug.contains(SIGNATURE) && !debug.contains("se/ss"), "{debug}");
}

#[test]
fn messages_are_short_printable_ascii_and_quote_nothing() {
    let evil = "https://sts.se\u{1}cret.example/?secret=secret";
    for url in [
        evil.to_owned(),
        url().replace("GetCallerIdentity", "secret"),
        url().replace("aws-id", "secret"),
    ] {
        let message = parse_url(&url).unwrap_err().to_string();
        assert!(
            message.len() <= 256 && message.bytes().all(|b| matches!(b, b' '..=b'~')),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
}

proptest! {
    #[test]
    fn no_input_panics(raw in "\\PC{0,200}") {
        let _ = parse_at(&raw, now());
        let _ = parse_at(&format!("{TOKEN_PREFIX}{raw}"), now());
        let _ = parse_at(&token_of(&raw), now());
        let _ = parse_url(&format!("https://sts.amazonaws.com/?{raw}"));
    }

    #[test]
    fn no_change_of_a_good_url_is_sent_other_than_parsed(position in 0_usize..400, text in "[ -~]{0,6}", cut in 0_usize..6) {
        let mut url = url();
        let start = position.min(url.len());
        url.replace_range(start..(start + cut).min(url.len()), &text);
        if let Ok(request) = parse_url(&url) {
            let rebuilt = format!("https://{}{}", request.endpoint().host(), request.path_and_query());
            let again = parse_url(&rebuilt).unwrap();
            prop_assert_eq!(again.path_and_query(), request.path_and_query());
            prop_assert_eq!(again.endpoint(), request.endpoint());
            prop_assert_eq!(again.access_key_id(), request.access_key_id());
        }
    }

    #[test]
    fn minted_tokens_survive(
        session in proptest::option::of("[!-~]{1,200}"),
        key in "[A-Z0-9]{16,20}",
        region in "us-(east|west)-[12]",
        seconds in -900_i64..300,
    ) {
        let now = now();
        let at = Timestamp::from_second(now.as_second() + seconds).unwrap();
        let mut credentials = credentials(session);
        credentials.access_key_id = key.clone();
        let token = mint(&credentials, &format!("sts.{region}.amazonaws.com"), &region, "my-cluster", at);
        let request = parse_at(&token, now).unwrap();
        prop_assert_eq!(request.access_key_id(), key);
        let (target, url) = (request.path_and_query(), url_of(&token));
        prop_assert_eq!(sorted(&target), sorted(&url));
    }
}
