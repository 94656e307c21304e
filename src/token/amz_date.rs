//! `X-Amz-Date`: ISO 8601 in its basic form, UTC, whole seconds: `20261124T015200Z`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads exactly that form; jiff's own parsers accept more (offsets, fractions), which would not round-trip.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let &[y1, y2, y3, y4, mo1, mo2, d1, d2, b'T', h1, h2, mi1, mi2, s1, s2, b'Z'] = text.as_bytes() else {
        return None;
    };
    let century = i16::from(pair(y1, y2)?);
    let year = century * 100 + i16::from(pair(y3, y4)?);
    let civil = DateTime::new(
        year,
        pair(mo1, mo2)?,
        pair(d1, d2)?,
        pair(h1, h2)?,
        pair(mi1, mi2)?,
        pair(s1, s2)?,
        0,
    );
    TimeZone::UTC.to_timestamp(civil.ok()?).ok()
}

/// Writes that form.
pub(super) fn format(time: Timestamp) -> String {
    let civil = TimeZone::UTC.to_datetime(time);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second()
    )
}

fn pair(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0').cast_signed());
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for text in ["20261124T015200Z", "20240229T235959Z", "19700101T000000Z"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("19700102T000001Z").unwrap().as_second(), 86_401);
    }

    #[test]
    fn refuses_every_other_form() {
        let bad = "20261124T015200 2026-11-24T01:52:00Z 20261124T015200+0000Z 20261324T015200Z 20260230T015200Z \
                   20261124T245200Z 20261124T015260Z 20261124t015200Z 20261124T015200z 2026112XT015200Z 20261124T01520Z";
        for text in bad.split_whitespace().chain([""]) {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
