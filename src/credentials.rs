//! The caller's own AWS credentials, and the STS endpoint that a token of theirs is signed for.
//!
//! Keys in the environment or in a profile are used straight away. Only what they do not settle is given to the AWS SDK: its
//! runtime, its HTTP client and the certificate authorities are made when another program or the network must be asked, not
//! before. kubectl waits for us at every command.

mod chain;
mod endpoint;
mod error;
mod http;
mod mfa;
mod profile;
mod role;
mod settings;

use std::fmt;

use aws_credential_types::Credentials;
use jiff::Timestamp;

pub use error::CredentialsError;
use http::Network;
use settings::Settings;

use crate::token::mint::SigningCredentials;

/// Reads an environment variable.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a token is to be signed with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SignerRequest {
    /// The region of the STS endpoint; that of the environment or the profile when absent.
    pub region: Option<String>,
    /// A role to assume first.
    pub role: Option<AssumeRole>,
}

/// A role to assume, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssumeRole {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may ask for.
    pub external_id: Option<String>,
    /// The name of the session; one is made up when absent.
    pub session_name: Option<String>,
    /// Whether the session has the name of the present one, if that has a name.
    pub forward_session_name: bool,
}

/// Credentials, and when they end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What signs.
    pub credentials: SigningCredentials,
    /// `None` for keys that do not end, or whose end nobody told.
    pub expiry: Option<Timestamp>,
}

/// All that goes into a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signer {
    /// Whose token it is.
    pub found: Found,
    /// The STS host that the token names.
    pub host: String,
    /// The region that the signature is for.
    pub region: String,
}

/// Keeps temporary credentials from one invocation to the next.
pub trait Memory: fmt::Debug {
    /// Credentials that are still good.
    fn recall(&self) -> Option<Found>;
    /// Keeps credentials that end.
    fn remember(&self, found: &Found);
}

/// Finds credentials and the endpoint.
///
/// `memory` is asked before the network is, and only for the caller's own credentials, not for those of the role in `request`.
///
/// # Errors
/// When there are no credentials, or what gives them fails; the message says what was tried and what to do.
pub fn signer(
    variables: Variables<'_>,
    request: &SignerRequest,
    memory: Option<&dyn Memory>,
    now: Timestamp,
) -> Result<Signer, CredentialsError> {
    let settings = Settings::read(variables, request.region.as_deref())?;
    if let Some(at) = settings
        .own_keys()
        .and_then(|found| found.expiry)
        .filter(|at| *at <= now)
    {
        return Err(CredentialsError::Ended(at));
    }
    let known = settings
        .own_keys()
        .or_else(|| memory.and_then(Memory::recall).filter(Found::has_keys));
    match (known, &request.role) {
        (Some(found), None) => sign_with(found, &settings, &settings.region()),
        (known, role) => {
            // One thread: a handful of requests, one after the other.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| CredentialsError::Runtime(error.to_string()))?;
            let signer = runtime.block_on(ask(&settings, known, role.as_ref(), memory, now));
            // A look-up of a name that nobody answers may still run; whoever has waited for us need not wait for it.
            runtime.shutdown_background();
            signer
        }
    }
}

async fn ask(
    settings: &Settings,
    known: Option<Found>,
    role: Option<&AssumeRole>,
    memory: Option<&dyn Memory>,
    now: Timestamp,
) -> Result<Signer, CredentialsError> {
    let network = Network::new(settings)?;
    let (own, region) = match known {
        Some(found) => (found, None),
        None => {
            let own = chain::own(settings, &network, now).await?;
            if let Some(memory) = memory.filter(|_| own.found.expiry.is_some() && !own.is_instance) {
                memory.remember(&own.found);
            }
            (own.found, own.region)
        }
    };
    let region = region.unwrap_or_else(|| settings.region());
    let signer = sign_with(own, settings, &region)?;
    let Some(role) = role else { return Ok(signer) };
    let found = role::requested(role, &signer, settings, &network, now).await?;
    Ok(Signer { found, ..signer })
}

fn sign_with(found: Found, settings: &Settings, region: &str) -> Result<Signer, CredentialsError> {
    let endpoint = settings.hosts.endpoint(region)?;
    Ok(Signer {
        found,
        host: endpoint.host,
        region: endpoint.region,
    })
}

impl Found {
    fn has_keys(&self) -> bool {
        !self.credentials.access_key_id.is_empty() && !self.credentials.secret_access_key.is_empty()
    }
}

impl From<&Credentials> for Found {
    fn from(credentials: &Credentials) -> Self {
        Self {
            credentials: SigningCredentials {
                access_key_id: credentials.access_key_id().to_owned(),
                secret_access_key: credentials.secret_access_key().to_owned(),
                session_token: credentials.session_token().map(str::to_owned),
            },
            expiry: credentials.expiry().and_then(|time| Timestamp::try_from(time).ok()),
        }
    }
}

impl From<&Found> for Credentials {
    fn from(found: &Found) -> Self {
        let credentials = &found.credentials;
        // Without an end: the SDK would ask for others instead of letting STS say what is wrong with these.
        Self::new(
            &credentials.access_key_id,
            &credentials.secret_access_key,
            credentials.session_token.clone(),
            None,
            "aws-iam-authenticator",
        )
    }
}
