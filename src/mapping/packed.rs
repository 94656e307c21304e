//! A mapping in one allocation: a few numbers, then all its texts.
//!
//! There may be a hundred thousand of them, and one review reads one at random: a single place in memory is less to
//! keep and less to wait for than a dozen small ones.

use std::fmt;

use triomphe::ThinArc;

use super::template::{Placeholder, Template};
use super::{MAX_GROUPS, MappingError, MappingText, Origin, SourceId, Subject};
use crate::arn::AccountId;
use crate::identity::Identity;

/// Who becomes whom. Cloning it is cheap: clones share everything.
#[derive(Clone, PartialEq, Eq)]
pub struct Mapping(ThinArc<Header, u8>);

/// What comes before the texts, and where each of them ends: subject key, username, pin, groups.
#[derive(PartialEq, Eq)]
struct Header {
    origin: Origin,
    key_end: u32,
    username_end: u32,
    user_id_end: u32,
    source: SourceId,
}

/// Stands between groups; no template may have a control character.
const BETWEEN_GROUPS: char = '\n';

/// More than any text may have: a `ConfigMap` ends at 1 MiB.
const MAX_TEXT_BYTES: usize = u32::MAX as usize;

impl Mapping {
    /// Checks a mapping as it is written.
    ///
    /// # Errors
    /// Names the faulty field.
    pub fn new(
        subject: &Subject,
        text: MappingText<'_>,
        source: SourceId,
        origin: Origin,
    ) -> Result<Self, MappingError> {
        if text.groups.len() > MAX_GROUPS {
            return Err(MappingError::TooManyGroups(text.groups.len()));
        }
        Template::parse(text.username).map_err(MappingError::Username)?;
        for (i, group) in text.groups.iter().enumerate() {
            check_group(group, i + 1)?;
        }
        text.user_id.map_or(Ok(()), check_user_id)?;
        Ok(Self::pack(subject, text, source, origin))
    }

    /// The mapping of everybody in an account to a user named by the canonical ARN, without groups.
    pub fn account(account: AccountId, source: SourceId, origin: Origin) -> Self {
        let none = MappingText {
            username: "",
            groups: &[],
            user_id: None,
        };
        Self::pack(&Subject::account(account), none, source, origin)
    }

    fn pack(subject: &Subject, text: MappingText<'_>, source: SourceId, origin: Origin) -> Self {
        let groups = text.groups.join(BETWEEN_GROUPS.encode_utf8(&mut [0; 4]));
        let parts = [
            subject.key(),
            text.username,
            text.user_id.unwrap_or_default(),
            groups.as_str(),
        ];
        let texts = parts.concat();
        debug_assert!(texts.len() <= MAX_TEXT_BYTES);
        let end = |parts: usize| {
            let bytes = [subject.key(), text.username, text.user_id.unwrap_or_default()]
                .into_iter()
                .take(parts)
                .map(str::len)
                .sum::<usize>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let header = Header {
            origin,
            key_end: end(1),
            username_end: end(2),
            user_id_end: end(3),
            source,
        };
        Self(ThinArc::from_header_and_slice(header, texts.as_bytes()))
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }

    fn text(&self, start: u32, end: u32) -> &str {
        let bytes = self.0.slice.get(start as usize..end as usize).unwrap_or_default();
        // Cut from texts where they were joined, so this does not fail.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whom it is for, see [`Subject::key`].
    pub fn subject_key(&self) -> &str {
        self.text(0, self.header().key_end)
    }

    /// The same as bytes: the table compares them in every review.
    pub(super) fn subject_key_bytes(&self) -> &[u8] {
        self.0.slice.get(..self.header().key_end as usize).unwrap_or_default()
    }

    /// The username template; `None` for an account-wide mapping.
    pub fn username(&self) -> Option<Template<'_>> {
        let header = self.header();
        Template::parsed(self.text(header.key_end, header.username_end))
    }

    /// The group templates.
    pub fn groups(&self) -> impl Iterator<Item = Template<'_>> {
        let groups = self.text(
            self.header().user_id_end,
            u32::try_from(self.0.slice.len()).unwrap_or(u32::MAX),
        );
        groups.split(BETWEEN_GROUPS).filter_map(Template::parsed)
    }

    /// The pin on the IAM unique id.
    pub fn user_id(&self) -> Option<&str> {
        let header = self.header();
        Some(self.text(header.username_end, header.user_id_end)).filter(|pin| !pin.is_empty())
    }

    /// Where it comes from.
    pub fn source(&self) -> SourceId {
        self.header().source
    }

    /// Where in its source it stands.
    pub fn origin(&self) -> &Origin {
        &self.header().origin
    }

    /// Whether rendering needs the private DNS name of an EC2 instance.
    pub fn needs_private_dns_name(&self) -> bool {
        let uses = |template: Template<'_>| template.uses(Placeholder::Ec2PrivateDnsName);
        self.username().is_some_and(uses) || self.groups().any(uses)
    }

    /// Whether it does the same as another one, wherever in the source either stands.
    pub fn grants_the_same(&self, other: &Self) -> bool {
        let ends = |mapping: &Self| {
            let header = mapping.header();
            (header.key_end, header.username_end, header.user_id_end, header.source)
        };
        ends(self) == ends(other) && self.0.slice == other.0.slice
    }

    /// Whether it is the very same value, not one like it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.header(), other.header())
    }

    /// The user this caller becomes; the rendered name and groups are not yet checked against any policy.
    pub fn render(&self, identity: &Identity, private_dns_name: &str) -> (String, Vec<String>) {
        let username = match self.username() {
            Some(template) => template.render(identity, private_dns_name),
            None => identity.canonical().as_str().to_owned(),
        };
        let groups = self.groups().map(|group| group.render(identity, private_dns_name));
        (username, groups.collect())
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("subject_key", &self.subject_key())
            .field("username", &self.username())
            .field("groups", &self.groups().collect::<Vec<_>>())
            .field("user_id", &self.user_id())
            .field("source", &self.source())
            .field("origin", &self.origin())
            .finish()
    }
}

fn check_group(text: &str, number: usize) -> Result<(), MappingError> {
    let template = Template::parse(text).map_err(|error| MappingError::Group(number, error))?;
    let may_become_system = template.as_literal().is_none() && template.literal_prefix().starts_with("system:");
    if may_become_system {
        Err(MappingError::SystemGroupTemplate(number))
    } else {
        Ok(())
    }
}

fn check_user_id(text: &str) -> Result<(), MappingError> {
    let allowed = |b: u8| b.is_ascii_graphic();
    let valid = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
    if valid { Ok(()) } else { Err(MappingError::UserId) }
}

#[cfg(test)]
mod tests {
    use super::super::aws_auth::List;
    use super::*;

    #[test]
    fn every_text_comes_out_as_it_went_in() {
        let origin = Origin::Entry {
            list: List::MapRoles,
            line: 7,
        };
        let subject = Subject::from_arn("arn:aws:iam::123456789012:role/Ädmin")
            .or_else(|_| Subject::from_arn("arn:aws:iam::123456789012:role/Admin"));
        let subject = subject.expect("an ARN");
        for (groups, user_id) in [
            (&[][..], None),
            (&["grüße"][..], Some("AROAX")),
            (&["a", "b:{{SessionName}}", "c"][..], None),
        ] {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            let text = MappingText {
                username: "müller-{{AccountID}}",
                groups: &groups,
                user_id,
            };
            let mapping = Mapping::new(&subject, text, SourceId::Crd, origin.clone()).expect("valid");
            let shown: Vec<_> = mapping.groups().map(|group| group.as_str().to_owned()).collect();
            assert_eq!(mapping.subject_key(), subject.key());
            assert_eq!(mapping.username().map(Template::as_str), Some("müller-{{AccountID}}"));
            assert_eq!((shown, mapping.user_id()), (groups.clone(), user_id));
            assert_eq!((mapping.source(), mapping.origin()), (SourceId::Crd, &origin));
        }
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let mapping = |username: &str, user_id: &str, group: &str| {
            let groups = [group.to_owned()];
            let text = MappingText {
                username,
                groups: &groups,
                user_id: Some(user_id),
            };
            let subject = Subject::from_arn("arn:aws:iam::123456789012:role/Admin").expect("an ARN");
            let name = "n".into();
            Mapping::new(&subject, text, SourceId::Crd, Origin::Object { name, created: 0 }).expect("valid")
        };
        let one = mapping("ab", "c", "d");
        assert!(one == mapping("ab", "c", "d") && one.grants_the_same(&mapping("ab", "c", "d")));
        for other in [
            mapping("a", "bc", "d"),
            mapping("ab", "cd", "e"),
            mapping("a", "b", "cd"),
        ] {
            assert!(one != other && !one.grants_the_same(&other), "{other:?}");
        }
        assert!(one.is_same(&one.clone()) && !one.is_same(&mapping("ab", "c", "d")));
    }
}
