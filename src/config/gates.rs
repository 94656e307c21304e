//! Feature gates, as the Go program takes them: `--feature-gates=SSORoleMatch=true,ConfiguredInitDirectories=true`.

use super::value::{closest, parse_bool};

/// The gates that the Go program knows.
pub const KNOWN_GATES: [&str; 5] = [
    "AllAlpha",
    "AllBeta",
    "ConfiguredInitDirectories",
    "IAMIdentityMappingCRD",
    "SSORoleMatch",
];

/// The gates that change something here. The others are accepted: what they open is always open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeatureGates {
    /// `init` writes into the configured directories instead of the current one.
    pub configured_init_directories: bool,
}

impl FeatureGates {
    /// Reads comma-separated `gate=bool` pairs; later ones win over earlier ones.
    ///
    /// # Errors
    /// All that is wrong with them, a sentence each.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<String>> {
        let mut all_alpha = None;
        let mut own = None;
        let mut problems = Vec::new();
        let pairs = texts
            .into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        for pair in pairs {
            match parse_pair(pair) {
                Ok(("AllAlpha", value)) => all_alpha = Some(value),
                Ok(("ConfiguredInitDirectories", value)) => own = Some(value),
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(Self {
                configured_init_directories: own.or(all_alpha).unwrap_or_default(),
            })
        } else {
            Err(problems)
        }
    }
}

fn parse_pair(pair: &str) -> Result<(&str, bool), String> {
    let Some((gate, value)) = pair.split_once('=') else {
        return Err(format!("{pair:?} is not of the form <gate>=true or <gate>=false"));
    };
    let (gate, value) = (gate.trim(), value.trim());
    if !KNOWN_GATES.contains(&gate) {
        let meant = closest(gate, KNOWN_GATES)
            .map(|name| format!(" (did you mean {name}?)"))
            .unwrap_or_default();
        return Err(format!(
            "there is no feature gate {gate:?}{meant}; the gates are {}",
            KNOWN_GATES.join(", ")
        ));
    }
    let value =
        parse_bool(value).ok_or_else(|| format!("{value:?} is not a boolean; write {gate}=true or {gate}=false"))?;
    Ok((gate, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_go_reads_them() {
        let parse = |text| FeatureGates::parse([text]).unwrap().configured_init_directories;
        assert!(!parse(""));
        assert!(!parse("SSORoleMatch=true"));
        assert!(parse("SSORoleMatch=true,ConfiguredInitDirectories=true"));
        assert!(parse("AllAlpha=1"));
        assert!(!parse("AllAlpha=true, ConfiguredInitDirectories=false"));
    }

    #[test]
    fn all_problems_are_named() {
        let problems = FeatureGates::parse(["SSORolematch=true,Foo=true", "AllBeta=maybe,AllAlpha"]).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].contains("did you mean SSORoleMatch?"), "{problems:?}");
        assert!(problems[1].contains("AllAlpha, AllBeta"), "{problems:?}");
    }
}
