//! `KUBERNETES_EXEC_INFO`: what kubectl tells its credential plugin.

use serde_json::Value;

use crate::cli::output::Failure;
use crate::config::{Low, Setting};
use crate::token::mint::ExecApiVersion;

/// What kubectl told. As in Go, what is not an object is ignored.
#[derive(Debug)]
pub(super) struct ExecInfo(Option<Value>);

impl ExecInfo {
    pub(super) fn parse(text: Option<&str>) -> Self {
        Self(text.and_then(|json| serde_json::from_str(json).ok()))
    }

    /// The version that is asked for.
    pub(super) fn version(&self) -> Result<ExecApiVersion, Failure> {
        let Some(version) = self.0.as_ref().and_then(|info| info.get("apiVersion")?.as_str()) else {
            return Ok(ExecApiVersion::default());
        };
        ExecApiVersion::from_api_version(version).ok_or_else(|| {
            Failure::failed(format!(
                "KUBERNETES_EXEC_INFO asks for {version:?}, which is not known here; set apiVersion of the exec user in the kubeconfig to {}",
                ExecApiVersion::V1.as_str()
            ))
        })
    }

    /// With `provideClusterInfo: true`, `clusterID` in the extension `client.authentication.k8s.io/exec` of the kubeconfig's cluster:
    /// one user entry then serves many clusters. A flag or an environment variable of ours goes before it.
    pub(super) fn put_into(&self, low: &mut Low) {
        let id = self
            .0
            .as_ref()
            .and_then(|info| info.pointer("/spec/cluster/config/clusterID"));
        let is_open = [&low.flags, &low.environment]
            .iter()
            .all(|layer| !layer.has(Setting::ClusterId));
        if let Some(id) = id.and_then(Value::as_str).filter(|_| is_open) {
            low.environment
                .environment(Setting::ClusterId, "KUBERNETES_EXEC_INFO", Some(id.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_about_the_version() {
        let version = |info: Option<&str>| ExecInfo::parse(info).version().ok();
        let ask =
            |version| format!(r#"{{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/{version}"}}"#);
        assert_eq!(version(None), Some(ExecApiVersion::V1Beta1));
        assert_eq!(version(Some("nonsense")), Some(ExecApiVersion::V1Beta1));
        assert_eq!(version(Some(&ask("v1"))), Some(ExecApiVersion::V1));
        assert_eq!(version(Some(&ask("v1alpha1"))), Some(ExecApiVersion::V1Alpha1));
        assert_eq!(version(Some(&ask("v2"))), None);
    }

    #[test]
    fn names_the_cluster_when_nobody_else_does() {
        let info = ExecInfo::parse(Some(r#"{"spec":{"cluster":{"config":{"clusterID":"of-kubectl"}}}}"#));
        let cluster = |mut low: Low| {
            info.put_into(&mut low);
            low.get(Setting::ClusterId).unwrap().values.clone()
        };
        assert_eq!(cluster(Low::default()), ["of-kubectl"]);
        let mut low = Low::default();
        low.environment
            .environment(Setting::ClusterId, "X", Some("of-environment".to_owned()));
        assert_eq!(cluster(low), ["of-environment"]);
        let mut low = Low::default();
        low.flags.flag(Setting::ClusterId, "-i", Some("of-flag".to_owned()));
        assert_eq!(cluster(low), ["of-flag"]);
    }
}
