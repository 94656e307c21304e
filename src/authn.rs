//! From a bearer token to a decision: parse, ask STS, look up, render, check.
//!
//! Everything outside comes in through two ports; what is decided is a value, which the webhook turns into an HTTP reply.

mod decision;
mod ports;

use std::sync::Arc;

use jiff::Timestamp;

pub use decision::{Decision, Denial, Grant, Missing, Outage, RenderError};
pub use ports::{DnsNameError, GetCallerIdentity, PrivateDnsNames, StsError, StsOutage};

use crate::identity::Identity;
use crate::mapping::Mapping;
use crate::mapping::policy::MappingPolicy;
use crate::mapping::table::{Lookup, MappingTable};
use crate::token::presigned::PresignedRequest;
use crate::token::{BearerToken, TokenError, TokenPolicy};

/// The rules and the start-up phase that a decision depends on.
#[derive(Debug)]
pub struct Context<'a> {
    /// What a token must look like; `None` while no cluster id is known.
    pub tokens: Option<&'a TokenPolicy>,
    /// What mappings may grant.
    pub mappings: &'a MappingPolicy,
    /// Whether `--source-sync-timeout` has passed since the start.
    pub settled: bool,
    /// The time of the request.
    pub now: Timestamp,
}

/// Decides about one bearer token.
///
/// The table is taken only once the identity is known: STS may take seconds, and a mapping that was deleted in the
/// meantime must not grant any more.
pub async fn authenticate<S: GetCallerIdentity, D: PrivateDnsNames>(
    token: &str,
    table: impl FnOnce() -> Arc<MappingTable>,
    context: &Context<'_>,
    sts: &S,
    dns_names: &D,
) -> Decision {
    let token = match BearerToken::parse(token) {
        Ok(token) => token,
        Err(TokenError::NotOurs) => return Decision::NotOurs,
        Err(error) => return Decision::Denied(Denial::Token(error), None),
    };
    let Some(policy) = context.tokens else {
        return not_ready(Missing::ClusterId, context.settled, None);
    };
    let request = match PresignedRequest::parse(token, policy, context.now) {
        Ok(request) => request,
        Err(error) => return Decision::Denied(Denial::Token(error), None),
    };
    match sts.get_caller_identity(&request).await {
        Ok(identity) => {
            let decision = authorize(identity, &table(), context, dns_names).await;
            if matches!(decision, Decision::Granted(_)) {
                sts.admitted(&request);
            }
            decision
        }
        Err(StsError::Busy { verified_lately }) => Decision::Busy { verified_lately },
        Err(error @ StsError::Unavailable(_)) => Decision::Unavailable(Outage::Sts(error), None),
        Err(error) => Decision::Denied(Denial::Sts(error), None),
    }
}

async fn authorize<D: PrivateDnsNames>(
    identity: Arc<Identity>,
    table: &MappingTable,
    context: &Context<'_>,
    dns_names: &D,
) -> Decision {
    let (mapping, unsynced_before) = match table.lookup(&identity, context.settled) {
        Lookup::Found {
            mapping,
            unsynced_before,
        } => (mapping, unsynced_before),
        Lookup::NotMapped => return Decision::Denied(Denial::NotMapped, Some(identity)),
        Lookup::Unsynced(source) => return not_ready(Missing::Source(source), context.settled, Some(identity)),
    };
    if mapping.user_id().is_some_and(|pin| pin != identity.user_id()) {
        return Decision::Denied(Denial::PinnedToAnother, Some(identity));
    }
    let dns_name = match private_dns_name(mapping, &identity, dns_names).await {
        Ok(name) => name,
        Err(error @ DnsNameError::NoInstance) => return Decision::Denied(Denial::DnsName(error), Some(identity)),
        Err(error) => return Decision::Unavailable(Outage::Ec2(error), Some(identity)),
    };
    match render(mapping, &identity, &dns_name, context.mappings) {
        Ok((username, groups)) => Decision::Granted(Grant {
            identity,
            username,
            groups,
            source: mapping.source(),
            unsynced_before,
        }),
        Err(error) => Decision::Denied(Denial::Rendered(error), Some(identity)),
    }
}

fn not_ready(missing: Missing, settled: bool, identity: Option<Arc<Identity>>) -> Decision {
    if settled {
        Decision::Denied(Denial::NeverSynced(missing), identity)
    } else {
        Decision::NotReady(missing)
    }
}

async fn private_dns_name<D: PrivateDnsNames>(
    mapping: &Mapping,
    identity: &Identity,
    dns_names: &D,
) -> Result<String, DnsNameError> {
    if !mapping.needs_private_dns_name() {
        return Ok(String::new());
    }
    if !is_instance_id(identity.session_name()) {
        return Err(DnsNameError::NoInstance);
    }
    dns_names.private_dns_name(identity.session_name()).await
}

/// `i-` and 8 or 17 hexadecimal digits.
fn is_instance_id(text: &str) -> bool {
    let digits = text.strip_prefix("i-").unwrap_or_default();
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn render(
    mapping: &Mapping,
    identity: &Identity,
    private_dns_name: &str,
    policy: &MappingPolicy,
) -> Result<(String, Vec<String>), RenderError> {
    let (username, groups) = mapping.render(identity, private_dns_name);
    if username.trim().is_empty() {
        return Err(RenderError::Empty);
    }
    if groups
        .iter()
        .chain([&username])
        .any(|text| text.chars().any(char::is_control))
    {
        return Err(RenderError::ControlCharacter);
    }
    let became_system = mapping
        .groups()
        .zip(&groups)
        .any(|(template, group)| template.as_literal().is_none() && group.starts_with("system:"));
    if became_system {
        return Err(RenderError::SystemGroup);
    }
    policy
        .check_rendered(mapping, &username, groups.iter().map(String::as_str))
        .map_err(RenderError::Policy)?;
    Ok((username, groups))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::identity::IdentityError;
    use crate::mapping::SourceId;
    use crate::mapping::aws_auth::read_aws_auth;
    use crate::mapping::index::{Index, SourceUpdate};
    use crate::partition::{Partition, StsEndpointPolicy};
    use crate::token::mint::{SigningCredentials, mint};

    const SOURCE: SourceId = SourceId::EksConfigMap;

    struct Sts(Result<Arc<Identity>, StsError>);

    impl GetCallerIdentity for Sts {
        async fn get_caller_identity(&self, _: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
            self.0.clone()
        }

        fn admitted(&self, _: &PresignedRequest) {}
    }

    struct DnsNames(Result<String, DnsNameError>);

    impl PrivateDnsNames for DnsNames {
        async fn private_dns_name(&self, _: &str) -> Result<String, DnsNameError> {
            self.0.clone()
        }
    }

    struct Case {
        sts: Sts,
        dns_names: DnsNames,
        map_roles: Option<String>,
        cluster_id: bool,
        settled: bool,
        policy: MappingPolicy,
    }

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().expect("valid")
    }

    fn token() -> String {
        let credentials = SigningCredentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: None,
        };
        mint(&credentials, "sts.us-east-1.amazonaws.com", "us-east-1", "c", now())
    }

    fn session(name: &str) -> Case {
        let arn = format!("arn:aws:sts::123456789012:assumed-role/R/{name}");
        let identity = Identity::new("123456789012", &arn, &format!("AROAX:{name}"), "AKIDEXAMPLE");
        Case {
            sts: Sts(Ok(Arc::new(identity.expect("valid")))),
            dns_names: DnsNames(Ok("ip-10-0-0-1.ec2.internal".into())),
            map_roles: Some(String::new()),
            cluster_id: true,
            settled: true,
            policy: MappingPolicy::default(),
        }
    }

    impl Case {
        fn mapped(mut self, rest: &str) -> Self {
            self.map_roles = Some(format!("- rolearn: arn:aws:iam::123456789012:role/r\n  {rest}"));
            self
        }

        fn decide(&self, token: &str) -> Decision {
            let mut index = Index::new(&[SOURCE], Arc::new(self.policy.clone()));
            if let Some(text) = &self.map_roles {
                let content = read_aws_auth(&BTreeMap::from([("mapRoles".to_owned(), text.clone())]));
                index.update(SourceUpdate::Content(SOURCE, Some(content)), Instant::now());
            }
            let endpoints = StsEndpointPolicy::new(Partition::Aws, None, &[]).expect("valid");
            let tokens = TokenPolicy::new(endpoints, "c").expect("valid");
            let context = Context {
                tokens: self.cluster_id.then_some(&tokens),
                mappings: &self.policy,
                settled: self.settled,
                now: now(),
            };
            let decision = authenticate(
                token,
                || Arc::new(index.table().clone()),
                &context,
                &self.sts,
                &self.dns_names,
            );
            tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("runtime")
                .block_on(decision)
        }

        /// The user and groups, or the reason.
        fn outcome(&self) -> String {
            match self.decide(&token()) {
                Decision::Granted(grant) => format!("{} {}", grant.username, grant.groups.join("+")),
                Decision::NotOurs => "not ours".into(),
                Decision::Denied(denial, _) => format!("denied {}", denial.reason()),
                Decision::Busy { verified_lately } => format!("busy {verified_lately}"),
                Decision::Unavailable(outage, _) => format!("unavailable {}", outage.reason()),
                Decision::NotReady(missing) => format!("not ready {}", missing.reason()),
            }
        }
    }

    #[test]
    fn a_mapped_caller_is_granted_its_user() {
        let case =
            session("me@x").mapped("username: 'u:{{SessionName}}'\n  groups: ['g-{{AccountID}}', system:masters]");
        assert_eq!(case.outcome(), "u:me-x g-123456789012+system:masters");
    }

    #[test]
    fn what_is_not_ours_is_left_to_others() {
        assert!(matches!(session("s").decide("eyJhbGciOi.x.y"), Decision::NotOurs));
        assert!(matches!(
            session("s").decide("k8s-aws-v1.!"),
            Decision::Denied(Denial::Token(_), None)
        ));
    }

    #[test]
    fn refusals() {
        assert_eq!(session("s").outcome(), "denied not_mapped");
        let pinned = session("s").mapped("username: u\n  userid: AROAOTHER");
        assert_eq!(pinned.outcome(), "denied pinned_to_another");
        assert_eq!(session("s").mapped("username: u\n  userid: AROAX").outcome(), "u ");
        for (session_name, mapping) in [
            ("system:admin", "username: '{{SessionNameRaw}}'"),
            ("system:masters", "username: u\n  groups: ['{{SessionNameRaw}}']"),
        ] {
            let mut case = session("s").mapped(mapping);
            let arn = "arn:aws:sts::123456789012:assumed-role/R/x";
            // STS allows no colon in a session name; a federation proxy in front of it might.
            let identity = Identity::new("123456789012", arn, "AROAX:s", "AKID").expect("valid");
            case.sts = Sts(Ok(Arc::new(identity.with_session_name(session_name))));
            assert_eq!(case.outcome(), "denied rendered", "{session_name}");
        }
    }

    #[test]
    fn sts_decides_who_it_is() {
        let with = |error: StsError| {
            let mut case = session("s").mapped("username: u");
            case.sts = Sts(Err(error));
            case.outcome()
        };
        let refused = StsError::Refused {
            code: "SignatureDoesNotMatch".into(),
            status: 403,
        };
        assert_eq!(with(refused), "denied sts_refused");
        assert_eq!(
            with(StsError::Identity(IdentityError::Account)),
            "denied identity_account_mismatch"
        );
        assert_eq!(with(StsError::Busy { verified_lately: true }), "busy true");
        assert_eq!(
            with(StsError::Unavailable(StsOutage::Timeout)),
            "unavailable sts_timeout"
        );
    }

    #[test]
    fn private_dns_names_are_asked_for_instances_only() {
        let node = "username: 'system:node:{{EC2PrivateDNSName}}'";
        assert_eq!(
            session("i-0123456789abcdef0").mapped(node).outcome(),
            "system:node:ip-10-0-0-1.ec2.internal "
        );
        assert_eq!(session("someone").mapped(node).outcome(), "denied no_instance");
        let mut case = session("i-01234567").mapped(node);
        case.dns_names = DnsNames(Err(DnsNameError::Unavailable("no adapter".into())));
        assert_eq!(case.outcome(), "unavailable ec2_unavailable");
    }

    #[test]
    fn what_was_never_read_is_an_outage_at_first_and_a_refusal_later() {
        let mut case = session("s");
        case.map_roles = None;
        case.settled = false;
        assert_eq!(case.outcome(), "not ready source_unsynced");
        case.settled = true;
        assert_eq!(case.outcome(), "denied source_unsynced");
        case.cluster_id = false;
        assert_eq!(case.outcome(), "denied cluster_id_unknown");
        case.settled = false;
        assert_eq!(case.outcome(), "not ready cluster_id_unknown");
    }
}
