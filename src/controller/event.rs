//! One Event, as the API server stores it.
//!
//! Its name follows from what it says about which object, so that the same Event of another replica, or of us before a
//! restart, is met and not repeated.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use sha2::{Digest, Sha256};

use super::outbox::{About, Occasion};
use crate::crd::IAMIdentityMapping;

/// Who reports.
const COMPONENT: &str = "aws-iam-authenticator";

/// Where Events about objects without a namespace are.
const CLUSTER_NAMESPACE: &str = "default";

/// The longest message that the API server takes in its newer form of Events.
const MESSAGE: usize = 1024;

/// The longest name of an object that fits before the dot and the digest.
const NAME: usize = 200;

/// Where the Event of an occasion is.
pub(super) fn namespace(about: &About) -> &str {
    match about {
        About::Mapping { .. } => CLUSTER_NAMESPACE,
        About::ConfigMap { namespace, .. } => namespace,
    }
}

/// Its name: the object's and a digest of the rest.
pub(super) fn name(occasion: &Occasion) -> String {
    let (object, uid) = match &occasion.about {
        About::Mapping { name, uid } => (name, &**uid),
        About::ConfigMap { name, .. } => (name, ""),
    };
    let mut digest = Sha256::new();
    for part in [&**object, uid, occasion.reason, &occasion.message] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest: Vec<String> = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let object = object.get(..NAME).unwrap_or(object).trim_end_matches(['.', '-']);
    format!("{object}.{}", digest.concat())
}

/// The Event, new. `uid` is the object's, when it is known; `kubectl describe` finds it by that.
pub(super) fn new(occasion: &Occasion, uid: Option<String>, now: Timestamp) -> Event {
    let kind = if occasion.is_warning { "Warning" } else { "Normal" };
    Event {
        metadata: ObjectMeta {
            name: Some(name(occasion)),
            namespace: Some(namespace(&occasion.about).to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: involved(&occasion.about, uid),
        reason: Some(occasion.reason.to_owned()),
        message: Some(shortened(&occasion.message)),
        type_: Some(kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: None,
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}

fn involved(about: &About, uid: Option<String>) -> ObjectReference {
    match about {
        About::Mapping { name, uid } => ObjectReference {
            api_version: Some(IAMIdentityMapping::api_version(&()).into_owned()),
            kind: Some(IAMIdentityMapping::kind(&()).into_owned()),
            name: Some(name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        },
        About::ConfigMap { namespace, name } => ObjectReference {
            api_version: Some(ConfigMap::api_version(&()).into_owned()),
            kind: Some(ConfigMap::kind(&()).into_owned()),
            namespace: Some(namespace.to_string()),
            name: Some(name.to_string()),
            uid,
            ..ObjectReference::default()
        },
    }
}

fn shortened(message: &str) -> String {
    const DOTS: &str = "...";
    if message.len() <= MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MESSAGE - DOTS.len())
        .rev()
        .find(|end| message.is_char_boundary(*end));
    format!("{}{DOTS}", message.get(..end.unwrap_or_default()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion(name: &str, uid: &str, message: &str) -> Occasion {
        let about = About::Mapping {
            name: name.into(),
            uid: uid.into(),
        };
        Occasion {
            about,
            is_warning: false,
            reason: "Serving",
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_name_follows_from_what_it_says() {
        let first = name(&occasion("m", "u", "x"));
        assert_eq!(first, name(&occasion("m", "u", "x")));
        assert!(first.starts_with("m.") && first.len() == 18, "{first}");
        for other in [
            occasion("m", "u", "y"),
            occasion("m", "v", "x"),
            occasion("m", "ux", ""),
        ] {
            assert_ne!(first, name(&other));
        }
        let long = name(&occasion(&format!("{}.{}", "a".repeat(199), "b".repeat(53)), "u", "x"));
        assert!(
            long.len() <= 253 && long.starts_with("aa") && !long.contains(".."),
            "{long}"
        );
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let message = "ü".repeat(600);
        let event = new(&occasion("m", "u", &message), None, Timestamp::UNIX_EPOCH);
        let message = event.message.expect("a message");
        assert!(message.len() <= MESSAGE && message.ends_with("ü..."), "{message}");
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.involved_object.kind.as_deref(), Some("IAMIdentityMapping"));
    }
}
