//! The query of a presigned URL: an allow-list of parameters, each at most once.
//!
//! Two parsers that disagree about a repeated parameter is how tokens were once replayed with another identity (CVE-2022-2385). Here a
//! name counts after its escapes are resolved and without regard to letter case, and a second one of it refuses the token.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::TokenError;

/// What `SigV4` leaves unescaped: the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The parameters that a presigned `GetCallerIdentity` URL may have, in canonical (byte) order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parameter {
    Action,
    Version,
    Algorithm,
    Credential,
    Date,
    Expires,
    SecurityToken,
    Signature,
    SignedHeaders,
}

impl Parameter {
    const ALL: [Self; 9] = [
        Self::Action,
        Self::Version,
        Self::Algorithm,
        Self::Credential,
        Self::Date,
        Self::Expires,
        Self::SecurityToken,
        Self::Signature,
        Self::SignedHeaders,
    ];

    /// The name in the spelling that is sent.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::Version => "Version",
            Self::Algorithm => "X-Amz-Algorithm",
            Self::Credential => "X-Amz-Credential",
            Self::Date => "X-Amz-Date",
            Self::Expires => "X-Amz-Expires",
            Self::SecurityToken => "X-Amz-Security-Token",
            Self::Signature => "X-Amz-Signature",
            Self::SignedHeaders => "X-Amz-SignedHeaders",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|parameter| parameter.name().eq_ignore_ascii_case(name))
    }
}

/// The parameters of one URL, with their escapes resolved.
#[derive(Default)]
pub(super) struct Query<'a>([Option<Cow<'a, str>>; Parameter::ALL.len()]);

impl<'a> Query<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self, TokenError> {
        let mut query = Self::default();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let parameter = Parameter::from_name(&unescape(name)?).ok_or(TokenError::UnknownParameter)?;
            let slot = query
                .0
                .get_mut(parameter as usize)
                .ok_or(TokenError::UnknownParameter)?;
            if slot.is_some() {
                return Err(TokenError::DuplicateParameter(parameter.name()));
            }
            *slot = Some(unescape(value)?);
        }
        Ok(query)
    }

    pub(super) fn get(&self, parameter: Parameter) -> Option<&str> {
        self.0.get(parameter as usize)?.as_deref()
    }

    pub(super) fn require(&self, parameter: Parameter) -> Result<&str, TokenError> {
        self.get(parameter)
            .ok_or(TokenError::MissingParameter(parameter.name()))
    }
}

/// The parameters that can be read, whatever is wrong with the others: for telling what a token says, not for judging it.
pub(super) fn lenient(raw: &str) -> impl Iterator<Item = (Parameter, Cow<'_, str>)> {
    raw.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((Parameter::from_name(&unescape(name).ok()?)?, unescape(value).ok()?))
    })
}

/// Resolves `%XX`. Only visible ASCII may come out, because no parameter of ours holds anything else, and `+` and `;` may not stand
/// there bare, because servers read them in different ways.
fn unescape(text: &str) -> Result<Cow<'_, str>, TokenError> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+' | b';' | b'#' | b'\\');
    if text.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(text));
    }
    let mut resolved = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let high = bytes.next().and_then(nibble).ok_or(TokenError::Escape)?;
                let low = bytes.next().and_then(nibble).ok_or(TokenError::Escape)?;
                Some(high << 4 | low).filter(u8::is_ascii_graphic)
            }
            plain => Some(plain).filter(|byte| is_plain(*byte)),
        };
        resolved.push(char::from(byte.ok_or(TokenError::Escape)?));
    }
    Ok(Cow::Owned(resolved))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Appends `&name=value`, escaped as `SigV4` wants it (`?` instead of `&` at the start of a query).
pub(super) fn append(target: &mut String, parameter: Parameter, value: &str) {
    if !target.is_empty() && !target.ends_with('?') {
        target.push('&');
    }
    target.push_str(parameter.name());
    target.push('=');
    target.extend(utf8_percent_encode(value, ESCAPED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enum_is_in_canonical_order() {
        assert!(Parameter::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
        assert!(
            Parameter::ALL
                .iter()
                .enumerate()
                .all(|(index, parameter)| *parameter as usize == index)
        );
    }

    #[test]
    fn names_and_values_are_unescaped() {
        let query = Query::parse("%41ction=Get%43aller&x-amz-date=a%2Bb&&Version")
            .ok()
            .unwrap();
        assert_eq!(query.get(Parameter::Action), Some("GetCaller"));
        assert_eq!(query.get(Parameter::Date), Some("a+b"));
        assert_eq!(query.get(Parameter::Version), Some(""));
        assert_eq!(query.get(Parameter::Signature), None);
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let cases = [
            ("Action=a&Action=a", TokenError::DuplicateParameter("Action")),
            ("Action=a&action=b", TokenError::DuplicateParameter("Action")),
            ("Action=a&%61CTION=b", TokenError::DuplicateParameter("Action")),
            ("Action=a&Action", TokenError::DuplicateParameter("Action")),
            ("Action=a&Evil=b", TokenError::UnknownParameter),
            ("Action=a&=b", TokenError::UnknownParameter),
            ("Action%20=a", TokenError::Escape),
            ("Action=%", TokenError::Escape),
            ("Action=%4", TokenError::Escape),
            ("Action=%4g", TokenError::Escape),
            ("Action=%00", TokenError::Escape),
            ("Action=%C3%BC", TokenError::Escape),
            ("Action=a+b", TokenError::Escape),
            ("Action=a;Action=b", TokenError::Escape),
            ("Action=a b", TokenError::Escape),
            ("Action=a\r\nHost:x", TokenError::Escape),
            ("Action=ü", TokenError::Escape),
        ];
        for (raw, expected) in cases {
            assert_eq!(Query::parse(raw).err(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn escapes_all_but_the_unreserved() {
        let mut text = "/?".to_owned();
        append(&mut text, Parameter::Action, "aZ09-_.~");
        append(&mut text, Parameter::Version, "a/b=c+d;e%");
        assert_eq!(text, "/?Action=aZ09-_.~&Version=a%2Fb%3Dc%2Bd%3Be%25");
    }
}
