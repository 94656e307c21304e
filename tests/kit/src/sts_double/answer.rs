//! One request in, one answer out: behaviours first, then what STS would say.

use super::behaviour::Behaviour;
use super::caller::Caller;
use super::state::Shared;
use super::{Seen, assume, sso, verify};
use crate::principal::Principal;
use crate::sts_double::verify::Query;
use http::header::{CONTENT_TYPE, DATE, HeaderValue, LOCATION};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// An answer of the `https://sts.amazonaws.com` kind, before it is written as JSON or XML.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn json(&self) -> String {
        let error = json!({"Code": self.code, "Message": self.message, "Type": "Sender"});
        json!({"Error": error, "RequestId": request_id()}).to_string()
    }

    fn xml(&self) -> String {
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message>\
             </Error><RequestId>{}</RequestId></ErrorResponse>",
            self.code,
            escape(&self.message),
            request_id()
        )
    }
}

type Response = http::Response<Full<Bytes>>;

/// `None` ends the connection.
pub(super) async fn answer(seen: Seen, shared: &Shared) -> Option<Response> {
    if seen.host.starts_with(sso::PORTAL) {
        let (status, body) = sso::credentials(&seen, shared);
        return Some(respond(
            status,
            HeaderValue::from_static("application/json"),
            body,
            shared,
        ));
    }
    let query = Query::parse(&seen);
    let caller = Caller::of(&seen, &query);
    let behaviour = shared.state().admit(
        seen.clone(),
        caller.as_ref().map(|caller| caller.access_key_id.as_str()),
    );
    let json = seen
        .headers
        .get("accept")
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    let sts = |json: bool| sts(&seen, &query, caller.as_ref(), shared, json);
    let (status, body, json) = match behaviour {
        Behaviour::Normal => sts(json),
        Behaviour::Delay(time) => {
            tokio::time::sleep(time).await;
            sts(json)
        }
        Behaviour::Throttle => written(&Refusal::new(400, "Throttling", "Rate exceeded"), json),
        Behaviour::Status(status, body) => (status, body, true),
        Behaviour::Redirect(location) => return Some(redirect(&location, shared)),
        Behaviour::Xml => sts(false),
        Behaviour::Garbage => (200, "{\"GetCallerIdentityResponse\": <garbage".to_owned(), true),
        Behaviour::Oversize(size) => {
            let (status, mut body, json) = sts(json);
            body.extend(std::iter::repeat_n(' ', size.saturating_sub(body.len())));
            (status, body, json)
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Close => return None,
    };
    let kind = if json { "application/json" } else { "text/xml" };
    Some(respond(status, HeaderValue::from_static(kind), body, shared))
}

/// What STS would say.
fn sts(seen: &Seen, query: &Query, caller: Option<&Caller>, shared: &Shared, json: bool) -> (u16, String, bool) {
    let answered = match query.action() {
        // Web identities are signed by nobody we know.
        "AssumeRoleWithWebIdentity" => assume::role(query, shared),
        "GetCallerIdentity" => verify::verify(seen, query, caller, shared).map(|who| identity(&who, json)),
        "AssumeRole" => verify::verify(seen, query, caller, shared).and_then(|_| assume::role(query, shared)),
        other => Err(Refusal::new(
            400,
            "InvalidAction",
            format!("Could not find operation {other} for version 2011-06-15"),
        )),
    };
    match answered {
        Ok(body) => (200, body, json),
        Err(refusal) => written(&refusal, json),
    }
}

fn written(refusal: &Refusal, json: bool) -> (u16, String, bool) {
    (refusal.status, if json { refusal.json() } else { refusal.xml() }, json)
}

fn identity(who: &Principal, json: bool) -> String {
    if json {
        let result = json!({"Account": who.account, "Arn": who.arn, "UserId": who.user_id});
        let metadata = json!({"RequestId": request_id()});
        let response = json!({"GetCallerIdentityResult": result, "ResponseMetadata": metadata});
        return json!({"GetCallerIdentityResponse": response}).to_string();
    }
    let result = format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        escape(&who.arn),
        escape(&who.user_id),
        who.account
    );
    xml("GetCallerIdentity", &result)
}

/// The XML frame of every good answer.
pub(super) fn xml(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
         <RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        request_id()
    )
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn request_id() -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    format!(
        "00000000-0000-4000-8000-{:012x}",
        REQUESTS.fetch_add(1, Ordering::Relaxed)
    )
}

fn redirect(location: &str, shared: &Shared) -> Response {
    let mut response = respond(302, HeaderValue::from_static("text/plain"), String::new(), shared);
    response
        .headers_mut()
        .insert(LOCATION, location.parse().expect("an address that fits a header"));
    response
}

fn respond(status: u16, kind: HeaderValue, body: String, shared: &Shared) -> Response {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&shared.now())
        .expect("a date");
    let response = http::Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(DATE, date);
    response.body(Full::new(Bytes::from(body))).expect("a response")
}
