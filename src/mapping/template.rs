//! Username and group templates: literal text with `{{Placeholder}}`s, parsed once when the mapping is read.
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

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, placeholder)| *placeholder == self)
            .map_or("", |(name, _)| name)
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

/// A parsed template.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Parsed);

// Most templates are plain text, and there may be a hundred thousand of them: the common case is one allocation.
#[derive(Clone, PartialEq, Eq)]
enum Parsed {
    Literal(Box<str>),
    Segments(Box<[Segment]>),
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Placeholder(Placeholder),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it is empty, has control characters, an unclosed `{{` or an unknown placeholder.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(TemplateError::ControlCharacter);
        }
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (name, tail) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
            let placeholder =
                Placeholder::parse(name).ok_or_else(|| TemplateError::UnknownPlaceholder(shortened(name).into()))?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.into()));
            }
            segments.push(Segment::Placeholder(placeholder));
            rest = tail;
        }
        if segments.is_empty() {
            return Ok(Self(Parsed::Literal(text.into())));
        }
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.into()));
        }
        Ok(Self(Parsed::Segments(segments.into())))
    }

    /// The text when there is no placeholder in it.
    pub fn as_literal(&self) -> Option<&str> {
        match &self.0 {
            Parsed::Literal(text) => Some(text),
            Parsed::Segments(_) => None,
        }
    }

    /// The text before the first placeholder: every rendering begins with it.
    pub fn literal_prefix(&self) -> &str {
        match &self.0 {
            Parsed::Literal(text) => text,
            Parsed::Segments(segments) => match segments.first() {
                Some(Segment::Literal(text)) => text,
                _ => "",
            },
        }
    }

    /// Whether the placeholder occurs.
    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.segments()
            .iter()
            .any(|segment| matches!(segment, Segment::Placeholder(used) if *used == placeholder))
    }

    /// Whether the template is exactly this literal followed by this placeholder.
    pub fn is_exactly(&self, literal: &str, placeholder: Placeholder) -> bool {
        matches!(self.segments(), [Segment::Literal(text), Segment::Placeholder(used)] if **text == *literal && *used == placeholder)
    }

    /// Renders the template for a caller. `private_dns_name` is empty unless [`Placeholder::Ec2PrivateDnsName`] is used.
    pub fn render(&self, identity: &Identity, private_dns_name: &str) -> String {
        let mut out = String::new();
        match &self.0 {
            Parsed::Literal(text) => out.push_str(text),
            Parsed::Segments(segments) => {
                for segment in segments {
                    match segment {
                        Segment::Literal(text) => out.push_str(text),
                        Segment::Placeholder(used) => push_value(&mut out, *used, identity, private_dns_name),
                    }
                }
            }
        }
        out
    }

    fn segments(&self) -> &[Segment] {
        match &self.0 {
            Parsed::Literal(_) => &[],
            Parsed::Segments(segments) => segments,
        }
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

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Parsed::Literal(text) => f.write_str(text),
            Parsed::Segments(segments) => segments.iter().try_for_each(|segment| match segment {
                Segment::Literal(text) => f.write_str(text),
                Segment::Placeholder(placeholder) => write!(f, "{{{{{}}}}}", placeholder.name()),
            }),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
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
