//! `AssumeRole` and `AssumeRoleWithWebIdentity`: new credentials, which the double knows from then on.

use super::answer::{Refusal, escape, xml};
use super::state::Shared;
use super::verify::Query;
use crate::principal::Principal;
use std::sync::Arc;

/// Credentials for the role that `query` names, as XML: the only form the SDKs ask for.
pub(super) fn role(query: &Query, shared: &Shared) -> Result<String, Refusal> {
    let invalid = |what: &str| Refusal::new(400, "ValidationError", format!("{what} is missing or invalid"));
    let arn = query.get("RoleArn").ok_or_else(|| invalid("RoleArn"))?;
    let session = query.get("RoleSessionName").ok_or_else(|| invalid("RoleSessionName"))?;
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return Err(invalid("RoleArn"));
    };
    let name = resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next());
    let name = name.ok_or_else(|| invalid("RoleArn"))?;
    if shared.state().denied_roles.contains(arn) {
        let message = format!("User is not authorized to perform: sts:AssumeRole on resource: {arn}");
        return Err(Refusal::new(403, "AccessDenied", message));
    }
    let wanted = shared.state().mfa.get(arn).cloned();
    let given = query.get("SerialNumber").zip(query.get("TokenCode"));
    if wanted.is_some_and(|(serial, code)| given != Some((&serial, &code))) {
        let message = "MultiFactorAuthentication failed with invalid MFA one time pass code.";
        return Err(Refusal::new(403, "AccessDenied", message));
    }
    let who = Principal::assumed_role(account, name, session).partition(partition);
    let seconds = query
        .get("DurationSeconds")
        .and_then(|text| text.parse().ok())
        .unwrap_or(3600);
    let expiration = (shared.now() + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ");
    let result = format!(
        "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{}\
         </AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{expiration}\
         </Expiration></Credentials>",
        escape(&who.user_id),
        escape(&who.arn),
        who.access_key_id,
        who.secret_access_key,
        who.session_token.as_deref().unwrap_or_default(),
    );
    let action = query.action().to_owned();
    shared
        .state()
        .principals
        .insert(who.access_key_id.clone(), Arc::new(who));
    Ok(xml(&action, &result))
}
