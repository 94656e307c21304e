//! Texts of the configuration, parsed. Every error is the end of the sentence "`place`: … is …".

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::SignedDuration;

/// The longest duration that can be set: more is a slip of the pen.
const MAX_DURATION: Duration = Duration::from_hours(1);

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| format!("{text:?} is not a boolean; write true or false"))
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{text:?} is not a port; write a number from 1 to 65535"))
}

pub(super) fn positive(text: &str) -> Result<u32, String> {
    let number = text.trim().parse().ok().filter(|number| *number != 0);
    number.ok_or_else(|| format!("{text:?} is not a whole number greater than 0"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let unreadable = || format!("{text:?} is not a duration; write a number and a unit, such as 20s or 1m30s");
    let parsed: SignedDuration = text.trim().parse().map_err(|_| unreadable())?;
    let duration = Duration::try_from(parsed).map_err(|_| unreadable())?;
    if duration > MAX_DURATION {
        return Err(format!(
            "{text:?} is longer than one hour, which is more than is of any use"
        ));
    }
    Ok(duration)
}

/// An address to listen on. Empty means all interfaces.
pub(super) fn address(text: &str) -> Result<Option<IpAddr>, String> {
    match bare(text) {
        "" => Ok(None),
        "localhost" => Ok(Some(Ipv4Addr::LOCALHOST.into())),
        ip => ip
            .parse()
            .map(Some)
            .map_err(|_| format!("{text:?} is not an IP address; the port is set by itself")),
    }
}

/// An address, a port, or both; an address of all interfaces is none.
pub(super) fn address_and_port(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    let text = text.trim();
    let specified = |ip: IpAddr| Some(ip).filter(|ip| !ip.is_unspecified());
    if let Ok(ip) = bare(text).parse() {
        return Ok((specified(ip), None));
    }
    let Some((ip, port_text)) = text.rsplit_once(':') else {
        return Err(format!(
            "{text:?} is neither an IP address nor one with a port; write such as 0.0.0.0, :9100 or 10.0.0.1:9100"
        ));
    };
    Ok((address(ip)?.and_then(specified), Some(port(port_text)?)))
}

fn bare(text: &str) -> &str {
    text.trim().trim_start_matches('[').trim_end_matches(']')
}

/// What clients call the server: an IP address or a host name.
pub(super) fn host(text: &str) -> Result<String, String> {
    let host = bare(text);
    if host.parse::<IpAddr>().is_ok() || is_host_name(host) {
        Ok(host.to_owned())
    } else {
        Err(format!("{text:?} is not a host name or IP address"))
    }
}

fn is_host_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// The name of a Kubernetes object or namespace.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let inner = bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'.' | b'-'));
    let ends = [bytes.first(), bytes.last()];
    if inner && bytes.len() <= 253 && ends.into_iter().all(|end| end.copied().is_some_and(is_plain)) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not the name of a Kubernetes object; use a-z, 0-9, - and ."
        ))
    }
}

/// The closest of some names, when it is close enough to be what was meant.
pub(super) fn closest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let squash = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let text = squash(text);
    names
        .into_iter()
        .map(|name| (distance(&text, &squash(name)), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 3 && distance * 3 <= name.len())
        .map(|(_, name)| name)
}

/// The number of characters to insert, delete or replace to get from one text to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let best = (*cell + 1).min(left + 1).min(diagonal + usize::from(a != b));
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["20", "-5s", "soon", "", "2h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("[::1]"), Ok(Some("::1".parse().unwrap())));
        assert_eq!(address(""), Ok(None));
        assert_eq!(address("localhost"), Ok(Some(Ipv4Addr::LOCALHOST.into())));
        assert!(address("127.0.0.1:21362").is_err());
        assert_eq!(host("[::1]").as_deref(), Ok("::1"));
        assert!(host("a b").is_err());
        assert!(host("").is_err());
    }

    #[test]
    fn names_of_objects() {
        assert_eq!(object_name("kube-system").as_deref(), Ok("kube-system"));
        for bad in ["", "Upper", "-a", "a-", "a/b", "a b"] {
            assert!(object_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn suggestions() {
        let names = ["mapRoles", "mapUsers", "stateDir"];
        assert_eq!(closest("mapRole", names), Some("mapRoles"));
        assert_eq!(closest("state-dir", names), Some("stateDir"));
        assert_eq!(closest("colour", names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
