//! What a mapping may grant, by source: reserved username prefixes and privileged groups.
//!
//! Applied twice, on purpose: when a mapping is read, as far as its text tells, so that its owner learns of it; and on
//! what was rendered for a caller, because a session name can complete a prefix.

use super::template::{Placeholder, Template};
use super::{Mapping, MappingError, SourceId};

const SYSTEM: &str = "system:";
const MASTERS: &str = "system:masters";

/// The rules of one server.
#[derive(Clone, Debug, Default)]
pub struct MappingPolicy {
    /// Username prefixes that a source may not use (`server.reservedPrefixConfig`).
    pub reserved_prefixes: Vec<(SourceId, Box<str>)>,
    /// Lifts the reservation of `system:` usernames in sources that live in the API (`--allow-system-usernames`).
    pub allow_system_usernames: bool,
    /// The sources that may grant `system:masters`; `None` is every source (`--privileged-groups-from`).
    pub privileged_groups_from: Option<Vec<SourceId>>,
}

impl MappingPolicy {
    /// Checks what the text of a mapping already tells.
    ///
    /// # Errors
    /// When no caller could ever be granted what it says.
    pub fn check_mapping(&self, mapping: &Mapping) -> Result<(), MappingError> {
        if let Some(template) = mapping.username() {
            self.check_username(mapping, template.literal_prefix())?;
        }
        self.check_groups(mapping.source(), mapping.groups().filter_map(Template::as_literal))
    }

    /// Checks a rendered username and rendered groups.
    ///
    /// # Errors
    /// When the source of the mapping may not grant them.
    pub fn check_rendered<'a>(
        &self,
        mapping: &Mapping,
        username: &str,
        groups: impl Iterator<Item = &'a str>,
    ) -> Result<(), MappingError> {
        self.check_username(mapping, username)?;
        self.check_groups(mapping.source(), groups)
    }

    fn check_username(&self, mapping: &Mapping, username: &str) -> Result<(), MappingError> {
        let configured = self
            .reserved_prefixes
            .iter()
            .filter(|(source, _)| *source == mapping.source())
            .map(|(_, prefix)| &**prefix)
            .find(|prefix| !prefix.is_empty() && username.starts_with(prefix));
        let default = (username.starts_with(SYSTEM) && self.reserves_system(mapping)).then_some(SYSTEM);
        match configured.or(default) {
            Some(prefix) => Err(MappingError::ReservedPrefix(prefix.into())),
            None => Ok(()),
        }
    }

    fn reserves_system(&self, mapping: &Mapping) -> bool {
        let is_node = |template: Template<'_>| {
            [Placeholder::Ec2PrivateDnsName, Placeholder::SessionName]
                .into_iter()
                .any(|placeholder| template.is_exactly("system:node:", placeholder))
        };
        !self.allow_system_usernames && !mapping.source().is_local_file() && !mapping.username().is_some_and(is_node)
    }

    fn check_groups<'a>(&self, source: SourceId, groups: impl Iterator<Item = &'a str>) -> Result<(), MappingError> {
        let may_grant = self
            .privileged_groups_from
            .as_ref()
            .is_none_or(|sources| sources.contains(&source));
        if !may_grant && groups.into_iter().any(|group| group == MASTERS) {
            return Err(MappingError::PrivilegedGroup);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MappingText, Origin, Subject, aws_auth};
    use super::*;

    fn mapping(source: SourceId, username: &str, group: &str) -> Mapping {
        let subject = Subject::from_arn("arn:aws:iam::123456789012:role/Admin").expect("valid");
        let text = MappingText {
            username,
            groups: &[group.to_owned()],
            user_id: None,
        };
        Mapping::new(
            &subject,
            text,
            source,
            Origin::Entry {
                list: aws_auth::List::MapRoles,
                line: 1,
            },
        )
        .expect("valid")
    }

    #[test]
    fn system_usernames_are_reserved_in_the_api() {
        let policy = MappingPolicy::default();
        let check = |source, username| policy.check_mapping(&mapping(source, username, "g")).is_ok();
        for source in [SourceId::Crd, SourceId::EksConfigMap, SourceId::AuthenticatorConfigMap] {
            assert!(!check(source, "system:admin"));
            assert!(!check(source, "system:node:{{SessionNameRaw}}"));
            assert!(check(source, "system:node:{{EC2PrivateDNSName}}"));
            assert!(check(source, "system:node:{{SessionName}}"));
        }
        assert!(check(SourceId::MountedFile, "system:admin"));
        let lifted = MappingPolicy {
            allow_system_usernames: true,
            ..MappingPolicy::default()
        };
        assert!(
            lifted
                .check_mapping(&mapping(SourceId::Crd, "system:admin", "g"))
                .is_ok()
        );
    }

    #[test]
    fn a_session_name_cannot_complete_a_prefix() {
        let policy = MappingPolicy::default();
        let whole = mapping(SourceId::Crd, "{{SessionNameRaw}}", "g");
        assert!(policy.check_mapping(&whole).is_ok());
        assert!(
            policy
                .check_rendered(&whole, "system:admin", ["g"].into_iter())
                .is_err()
        );
    }

    #[test]
    fn configured_prefixes_and_privileged_groups() {
        let policy = MappingPolicy {
            reserved_prefixes: vec![(SourceId::MountedFile, "ops:".into())],
            privileged_groups_from: Some(vec![SourceId::MountedFile]),
            ..MappingPolicy::default()
        };
        assert_eq!(
            policy.check_mapping(&mapping(SourceId::MountedFile, "ops:x", "g")),
            Err(MappingError::ReservedPrefix("ops:".into()))
        );
        assert!(policy.check_mapping(&mapping(SourceId::Crd, "ops:x", "g")).is_ok());
        assert!(
            policy
                .check_mapping(&mapping(SourceId::MountedFile, "u", MASTERS))
                .is_ok()
        );
        assert_eq!(
            policy.check_mapping(&mapping(SourceId::Crd, "u", MASTERS)),
            Err(MappingError::PrivilegedGroup)
        );
    }
}
