//! Username and group templates: literal text with `{{Placeholder}}`s, checked once when the mapping is read.
//!
//! Rendering is one pass: what a placeholder yields is never looked at again, so a session name that contains
//! `{{AccountID}}` stays as it is.

use std::fmt;

use thiserror::Error;

use crate::identity::Identity;

/// A value of the caller that a template can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placeholder {
    /// The twelve-digit account.
    AccountId,
    /// The role session name with every `@` replaced by `-`, as Kubernetes user names of nodes and services need it.
    SessionName,
    /// The role session name as it is.
    SessionNameRaw,
    /// The access key that signed the token.
    AccessKeyId,
    /// The private DNS name of the EC2 instance whose id is the session name.
    Ec2PrivateDnsName,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 5] = [
        ("AccountID", Self::AccountId),
        ("SessionName", Self::SessionName),
        ("SessionNameRaw", Self::SessionNameRaw),
        ("AccessKeyID", Self::AccessKeyId),
        ("EC2PrivateDNSName", Self::Ec2PrivateDnsName),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, placeholder)| *placeholder)
    }
}

/// Why a text is not a template.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TemplateError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text contains a control character.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// `{{` without `}}`.
    #[error("has {{{{ without a closing }}}}")]
    Unclosed,
    /// A placeholder that does not exist.
    #[error(
        "has the unknown placeholder {{{{{0}}}}}; known are {{{{AccountID}}}}, {{{{SessionName}}}}, {{{{SessionNameRaw}}}}, {{{{AccessKeyID}}}} and {{{{EC2PrivateDNSName}}}}"
    )]
    UnknownPlaceholder(Box<str>),
}

/// A template that was checked. It borrows its text and finds the placeholders anew each time: a hundred thousand
/// mappings then cost their texts and nothing else, and rendering happens once in a login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Template<'a>(&'a str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment<'a> {
    Literal(&'a str),
    Placeholder(Placeholder),
}

impl<'a> Template<'a> {
    /// Parses a template.
    ///
    /// # Errors
    /// When it is empty, has control characters, an unclosed `{{` or an unknown placeholder.
    pub fn parse(text: &'a str) -> Result<Self, TemplateError> {
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(TemplateError::ControlCharacter);
        }
        Segments(text).try_for_each(|segment| segment.map(drop))?;
        Ok(Self(text))
    }

    /// A text that [`Template::parse`] has accepted before; `None` for the empty one.
    pub(super) fn parsed(text: &'a str) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text as it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The text when there is no placeholder in it.
    pub fn as_literal(self) -> Option<&'a str> {
        (self.literal_prefix().len() == self.0.len()).then_some(self.0)
    }

    /// The text before the first placeholder: every rendering begins with it.
    pub fn literal_prefix(self) -> &'a str {
        match self.segments().next() {
            Some(Segment::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether the placeholder occurs.
    pub fn uses(self, placeholder: Placeholder) -> bool {
        self.segments()
            .any(|segment| segment == Segment::Placeholder(placeholder))
    }

    /// Whether the template is exactly this literal followed by this placeholder.
    pub fn is_exactly(self, literal: &str, placeholder: Placeholder) -> bool {
        self.segments()
            .eq([Segment::Literal(literal), Segment::Placeholder(placeholder)])
    }

    /// Renders the template for a caller. `private_dns_name` is empty unless [`Placeholder::Ec2PrivateDnsName`] is used.
    pub fn render(self, identity: &Identity, private_dns_name: &str) -> String {
        let mut out = String::with_capacity(self.0.len());
        for segment in self.segments() {
            match segment {
                Segment::Literal(text) => out.push_str(text),
                Segment::Placeholder(used) => push_value(&mut out, used, identity, private_dns_name),
            }
        }
        out
    }

    fn segments(self) -> impl Iterator<Item = Segment<'a>> {
        // Parsed before, so there are no errors left to drop.
        Segments(self.0).filter_map(Result::ok)
    }
}

/// The segments of a text that is not read yet, none of them empty.
struct Segments<'a>(&'a str);

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Segment<'a>, TemplateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0;
        match text.find("{{") {
            _ if text.is_empty() => None,
            Some(0) => Some(self.placeholder()),
            found => {
                let (literal, rest) = text.split_at(found.unwrap_or(text.len()));
                self.0 = rest;
                Some(Ok(Segment::Literal(literal)))
            }
        }
    }
}

impl<'a> Segments<'a> {
    fn placeholder(&mut self) -> Result<Segment<'a>, TemplateError> {
        let text = std::mem::take(&mut self.0);
        let (name, rest) = text
            .strip_prefix("{{")
            .and_then(|text| text.split_once("}}"))
            .ok_or(TemplateError::Unclosed)?;
        self.0 = rest;
        Placeholder::parse(name)
            .map(Segment::Placeholder)
            .ok_or_else(|| TemplateError::UnknownPlaceholder(shortened(name).into()))
    }
}

fn push_value(out: &mut String, placeholder: Placeholder, identity: &Identity, private_dns_name: &str) {
    match placeholder {
        Placeholder::AccountId => out.push_str(identity.account().as_str()),
        Placeholder::SessionName => out.extend(identity.session_name().chars().map(|c| if c == '@' { '-' } else { c })),
        Placeholder::SessionNameRaw => out.push_str(identity.session_name()),
        Placeholder::AccessKeyId => out.push_str(identity.access_key_id()),
        Placeholder::Ec2PrivateDnsName => out.push_str(private_dns_name),
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

impl fmt::Display for Template<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Template<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(session: &str) -> Identity {
        let arn = format!("arn:aws:sts::123456789012:assumed-role/Admin/{session}");
        Identity::new("123456789012", &arn, &format!("AROAX:{session}"), "AKIDEXAMPLE").expect("valid")
    }

    #[test]
    fn renders_every_placeholder_once() {
        for (template, session, wanted) in [
            ("plain", "s", "plain"),
            ("{{AccountID}}:{{SessionName}}", "a@b", "123456789012:a-b"),
            ("{{SessionNameRaw}}!", "a@b", "a@b!"),
            ("k-{{AccessKeyID}}", "s", "k-AKIDEXAMPLE"),
            (
                "system:node:{{EC2PrivateDNSName}}",
                "i-1",
                "system:node:ip-10-0-0-1.ec2.internal",
            ),
            ("x{{SessionName}}", "{{AccountID}}", "x{{AccountID}}"),
            ("}}{", "s", "}}{"),
        ] {
            let parsed = Template::parse(template).expect(template);
            assert_eq!(parsed.render(&identity(session), "ip-10-0-0-1.ec2.internal"), wanted);
            assert_eq!(parsed.to_string(), template);
        }
    }

    #[test]
    fn refuses_what_it_cannot_render() {
        for (template, wanted) in [
            ("", TemplateError::Empty),
            ("  ", TemplateError::Empty),
            ("a\nb", TemplateError::ControlCharacter),
            ("a{{AccountID", TemplateError::Unclosed),
            ("{{accountid}}", TemplateError::UnknownPlaceholder("accountid".into())),
            (
                "{{ AccountID }}",
                TemplateError::UnknownPlaceholder(" AccountID ".into()),
            ),
            ("{{}}", TemplateError::UnknownPlaceholder("".into())),
        ] {
            assert_eq!(Template::parse(template), Err(wanted), "{template}");
        }
    }

    #[test]
    fn knows_its_shape() {
        let node = Template::parse("system:node:{{EC2PrivateDNSName}}").expect("valid");
        assert!(node.is_exactly("system:node:", Placeholder::Ec2PrivateDnsName));
        assert!(!node.is_exactly("system:node:", Placeholder::SessionName));
        assert!(node.uses(Placeholder::Ec2PrivateDnsName) && !node.uses(Placeholder::AccountId));
        assert_eq!(node.literal_prefix(), "system:node:");
    }
}
