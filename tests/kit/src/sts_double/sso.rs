//! The portal of IAM Identity Center: credentials of a permission set's role, for whoever is logged in.

use super::Seen;
use super::state::Shared;
use crate::principal::Principal;
use serde_json::json;
use std::sync::Arc;

/// What the names of its hosts begin with.
pub(super) const PORTAL: &str = "portal.sso.";

const LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// `GetRoleCredentials`.
pub(super) fn credentials(seen: &Seen, shared: &Shared) -> (u16, String) {
    let token = seen
        .headers
        .get("x-amz-sso_bearer_token")
        .and_then(|value| value.to_str().ok());
    if !token.is_some_and(|token| shared.state().sso_tokens.contains(token)) {
        return (
            401,
            json!({"message": "Session token not found or invalid"}).to_string(),
        );
    }
    let parameter = |name: &str| {
        let query = seen.path_and_query.split_once('?').map_or("", |(_, query)| query);
        let pair = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.unwrap_or_default().to_owned()
    };
    let role = format!("AWSReservedSSO_{}_0123456789abcdef", parameter("role_name"));
    let who = Principal::assumed_role(&parameter("account_id"), &role, "sso-user");
    let body = json!({"roleCredentials": {
        "accessKeyId": who.access_key_id,
        "secretAccessKey": who.secret_access_key,
        "sessionToken": who.session_token,
        "expiration": (shared.now() + LIFETIME).as_millisecond(),
    }});
    shared
        .state()
        .principals
        .insert(who.access_key_id.clone(), Arc::new(who));
    (200, body.to_string())
}
