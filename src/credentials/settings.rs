//! What environment variables and the profile say: all that is known before anybody is asked.

use aws_config::profile::{Profile, ProfileSet};
use jiff::Timestamp;

use super::endpoint::{DEFAULT_REGION, Hosts};
use super::{CredentialsError, Found, Variables, profile};
use crate::token::mint::SigningCredentials;

/// What environment variables and the profile say.
#[derive(Debug)]
pub(super) struct Settings {
    /// Keys in the environment go before everything else.
    keys: Option<Found>,
    pub(super) profile_name: String,
    pub(super) profiles: ProfileSet,
    region: Option<String>,
    pub(super) hosts: Hosts,
    /// Where STS is asked for a role, when that is not where tokens lead: a VPC endpoint.
    pub(super) sts_url: Option<String>,
    pub(super) proxy: Option<String>,
    pub(super) no_proxy: String,
    /// Certificate authorities instead of the system's: of a proxy that looks into TLS, mostly.
    pub(super) ca_bundle: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` is set.
    pub(super) has_web_identity: bool,
    /// The address of a container's credentials is set.
    pub(super) has_container: bool,
    /// `AWS_EC2_METADATA_DISABLED=true`.
    pub(super) metadata_is_disabled: bool,
}

impl Settings {
    pub(super) fn read(variables: Variables<'_>, region: Option<&str>) -> Result<Self, CredentialsError> {
        let variable = |name: &str| variables(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let keys = keys(&variable);
        let named = first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
        let is_named = named.is_some();
        let profile_name = named.unwrap_or_else(|| "default".to_owned());
        let profiles = match profile::load(&profile_name) {
            Ok(profiles) => profiles,
            // Whoever has keys in the environment is not kept out by a file.
            Err(_) if keys.is_some() => ProfileSet::default(),
            Err(error) => return Err(error),
        };
        let profile = profiles.get_profile(&profile_name);
        if profile.is_none() && is_named && keys.is_none() {
            return Err(profile::unknown(&profile_name, &profiles));
        }
        let in_profile = |key: &str| profile.and_then(|profile| profile.get(key)).map(str::to_owned);
        let is_on = |name: &str, key: &str| {
            let value = variable(name).or_else(|| in_profile(key));
            value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let hosts = Hosts {
            fips: is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            legacy: is_legacy(
                variable("AWS_STS_REGIONAL_ENDPOINTS"),
                in_profile("sts_regional_endpoints"),
            )?,
        };
        let ignores_urls = is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
        let sts_url = first(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]).or_else(|| in_profile("endpoint_url"));
        Ok(Self {
            region: region
                .map(str::to_owned)
                .or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
                .or_else(|| in_profile("region")),
            hosts,
            sts_url: sts_url.filter(|_| !ignores_urls),
            proxy: first(&["HTTPS_PROXY", "https_proxy"]),
            ca_bundle: variable("AWS_CA_BUNDLE").or_else(|| in_profile("ca_bundle")),
            no_proxy: first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
            has_web_identity: variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some(),
            has_container: first(&[
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            ])
            .is_some(),
            metadata_is_disabled: variable("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            keys,
            profile_name,
            profiles,
        })
    }

    /// Keys that are at hand: in the environment, or in a profile that has nothing but keys.
    pub(super) fn own_keys(&self) -> Option<Found> {
        self.keys
            .clone()
            .or_else(|| self.profile().and_then(profile::only_keys))
    }

    /// The profile that was chosen, if there is one.
    pub(super) fn profile(&self) -> Option<&Profile> {
        self.profiles.get_profile(&self.profile_name)
    }

    /// Whether anybody named a region.
    pub(super) fn has_region(&self) -> bool {
        self.region.is_some()
    }

    /// The region, or the one that is taken when nobody names one.
    pub(super) fn region(&self) -> String {
        self.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }
}

fn keys(variable: &dyn Fn(&str) -> Option<String>) -> Option<Found> {
    Some(Found {
        credentials: SigningCredentials {
            access_key_id: variable("AWS_ACCESS_KEY_ID")?.trim().to_owned(),
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?.trim().to_owned(),
            session_token: variable("AWS_SESSION_TOKEN").map(|token| token.trim().to_owned()),
        },
        expiry: variable("AWS_CREDENTIAL_EXPIRATION").and_then(|time| time.parse::<Timestamp>().ok()),
    })
}

fn is_legacy(variable: Option<String>, in_profile: Option<String>) -> Result<bool, CredentialsError> {
    let (place, value) = match (variable, in_profile) {
        (Some(value), _) => ("AWS_STS_REGIONAL_ENDPOINTS", value),
        (None, Some(value)) => ("sts_regional_endpoints in the AWS profile", value),
        (None, None) => return Ok(false),
    };
    match value.to_ascii_lowercase().as_str() {
        "legacy" => Ok(true),
        "regional" => Ok(false),
        _ => Err(CredentialsError::Setting {
            place,
            value,
            expected: "regional or legacy",
        }),
    }
}
