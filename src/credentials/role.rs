//! Assuming roles. Source identity and session tags are left alone: STS passes on what the session has.

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use jiff::Timestamp;

use super::error::{first_line, reasons};
use super::http::Network;
use super::profile::Step;
use super::settings::Settings;
use super::{AssumeRole, CredentialsError, Found, Signer, mfa};

/// The role of `--role`, assumed by `own`.
pub(super) async fn requested(
    role: &AssumeRole,
    own: &Signer,
    settings: &Settings,
    network: &Network,
    now: Timestamp,
) -> Result<Found, CredentialsError> {
    let session_name = if role.forward_session_name {
        own_session_name(own, settings, network).await?
    } else {
        role.session_name.clone()
    };
    let step = Step {
        profile: String::new(),
        arn: role.arn.clone(),
        external_id: role.external_id.clone(),
        session_name,
        mfa_serial: None,
        seconds: None,
    };
    assume(&step, own, settings, network, now).await
}

/// Roles of profiles, one after the other.
pub(super) async fn walk(
    base: Found,
    steps: &[Step],
    settings: &Settings,
    network: &Network,
    now: Timestamp,
) -> Result<Found, CredentialsError> {
    let endpoint = settings.hosts.endpoint(&settings.region())?;
    let mut signer = Signer {
        found: base,
        host: endpoint.host,
        region: endpoint.region,
    };
    for step in steps {
        signer.found = assume(step, &signer, settings, network, now).await?;
    }
    Ok(signer.found)
}

async fn assume(
    step: &Step,
    own: &Signer,
    settings: &Settings,
    network: &Network,
    now: Timestamp,
) -> Result<Found, CredentialsError> {
    let client = network.sts(&own.found, &url(own, settings), &own.region);
    let made_up = || format!("aws-iam-authenticator-{}", now.as_millisecond());
    let mut request = client
        .assume_role()
        .role_arn(&step.arn)
        .role_session_name(step.session_name.clone().unwrap_or_else(made_up))
        .set_external_id(step.external_id.clone())
        .set_duration_seconds(step.seconds);
    if let Some(serial) = &step.mfa_serial {
        request = request.serial_number(serial).token_code(mfa::code(serial)?);
    }
    let failed = |(reason, advice)| CredentialsError::AssumeRole {
        arn: step.arn.clone(),
        reason,
        advice,
    };
    let answer = request
        .send()
        .await
        .map_err(|error| failed(explain(&error, &own.host)))?;
    let credentials = answer
        .credentials()
        .ok_or_else(|| failed(("STS answered without credentials".to_owned(), "try again".to_owned())))?;
    Ok(Found {
        credentials: crate::token::mint::SigningCredentials {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: credentials.secret_access_key().to_owned(),
            session_token: Some(credentials.session_token().to_owned()),
        },
        expiry: Timestamp::from_second(credentials.expiration().secs()).ok(),
    })
}

/// The session name of our own credentials, when they have one.
async fn own_session_name(
    own: &Signer,
    settings: &Settings,
    network: &Network,
) -> Result<Option<String>, CredentialsError> {
    let client = network.sts(&own.found, &url(own, settings), &own.region);
    let identity = client.get_caller_identity().send().await.map_err(|error| {
        let (reason, advice) = explain(&error, &own.host);
        CredentialsError::Identity { reason, advice }
    })?;
    let session = identity
        .user_id()
        .and_then(|id| id.split_once(':'))
        .map(|(_, name)| name);
    Ok(session.filter(|name| !name.is_empty()).map(str::to_owned))
}

fn url(own: &Signer, settings: &Settings) -> String {
    settings
        .sts_url
        .clone()
        .unwrap_or_else(|| format!("https://{}", own.host))
}

/// Why STS did not do it, and what to check.
fn explain<E>(error: &SdkError<E>, host: &str) -> (String, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(code) = error.code() else {
        let reason = format!("STS cannot be reached at {host}: {}", reasons(error));
        return (reason, unreachable(host));
    };
    let message = first_line(error.message().unwrap_or_default());
    (format!("{code}: {message}"), advice(code).to_owned())
}

fn unreachable(host: &str) -> String {
    let advice = "check the network, HTTPS_PROXY and NO_PROXY";
    if host == "sts.amazonaws.com" {
        format!(
            "{advice}; this host has no IPv6: with IPv6 alone, set AWS_STS_REGIONAL_ENDPOINTS=regional, AWS_USE_DUALSTACK_ENDPOINT=true and a region"
        )
    } else if host.ends_with(".amazonaws.com") {
        format!("{advice}; with IPv6 alone, set AWS_USE_DUALSTACK_ENDPOINT=true")
    } else {
        advice.to_owned()
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "AccessDenied" => {
            "check that the trust policy of the role allows you (its external ID and MFA condition, too) and that a policy of yours allows sts:AssumeRole"
        }
        "ExpiredToken" | "ExpiredTokenException" => "your credentials have expired: log in again",
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN, and that the key was not deleted"
        }
        "SignatureDoesNotMatch" | "IncompleteSignature" => "check AWS_SECRET_ACCESS_KEY and the clock of this machine",
        "RegionDisabledException" => "activate STS for this region in the account, or give another --region",
        "Throttling" | "ThrottlingException" => "wait a little and try again",
        _ => "check the ARN of the role and the options it is assumed with",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_without_ipv6_are_blamed_on_it() {
        assert!(unreachable("sts.amazonaws.com").contains("AWS_STS_REGIONAL_ENDPOINTS=regional"));
        assert!(unreachable("sts.eu-west-1.amazonaws.com").contains("AWS_USE_DUALSTACK_ENDPOINT=true"));
        assert!(!unreachable("sts.eu-west-1.api.aws").contains("IPv6"));
    }
}
