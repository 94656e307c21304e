//! The file of `--config`: the YAML (or JSON) of the Go program. Keys in any letter case, values of any scalar type.
//!
//! The mappings in it (`server.mapRoles`, `mapUsers`, `mapAccounts`) are not read here but by their source, so that a bad entry
//! among them never keeps the server from starting.

mod node;

use std::path::Path;

use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;
use thiserror::Error;

use super::server::ReservedPrefixes;
use super::value::closest;
use super::{Layer, Place, Problem, Setting};
use crate::mapping::SourceId;
use crate::mapping::yaml;
use node::{Entry, Node};

/// Keys of the section `server` that belong to the sources.
const MAPPING_KEYS: [&str; 3] = ["mapRoles", "mapUsers", "mapAccounts"];

const RESERVED_PREFIX_KEY: &str = "reservedPrefixConfig";

/// Why a configuration file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}: {reason}; check --config")]
    Read {
        /// As given.
        path: String,
        /// Of the operating system.
        reason: String,
    },
    /// It is not YAML, or not a mapping of keys.
    #[error("line {line}: {message}")]
    Syntax {
        /// From 1; 0 when unknown.
        line: u64,
        /// What is wrong there.
        message: String,
    },
}

/// What the file says, besides mappings.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    pub(super) layer: Layer,
    pub(super) reserved_prefixes: Vec<ReservedPrefixes>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not YAML.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|error| FileError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::parse(&text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not YAML.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            leading_zero_numbers_as_strings: true,
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            budget: yaml::budget(text),
            alias_limits: yaml::alias_limits(),
        };
        let root: Spanned<Node> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| FileError::Syntax {
                line: error.location().map_or(0, |location| location.line()),
                message: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
            })?;
        let mut file = Self::default();
        match root.value {
            Node::Null => {}
            Node::Map(entries) => file.read_section("", entries),
            _ => {
                let message = "the configuration is not a mapping of keys".to_owned();
                return Err(FileError::Syntax {
                    line: root.referenced.line(),
                    message,
                });
            }
        }
        Ok(file)
    }

    fn read_section(&mut self, section: &str, entries: Vec<Entry>) {
        let mut seen: Vec<String> = Vec::new();
        for Entry { key, line, node } in entries {
            let key = format!("{section}{key}");
            if seen.iter().any(|earlier| earlier.eq_ignore_ascii_case(&key)) {
                self.problem(&key, line, "the key is given twice; keep one of them");
                continue;
            }
            seen.push(key.clone());
            self.read_entry(section, &key, line, node);
        }
    }

    fn read_entry(&mut self, section: &str, key: &str, line: u64, node: Node) {
        let is = |name: &str| key.eq_ignore_ascii_case(&format!("server.{name}"));
        if let Some(setting) = Setting::of_key(key) {
            match node.into_texts() {
                Some(values) => self.layer.put(
                    setting,
                    values,
                    Place::File {
                        key: key.to_owned(),
                        line,
                    },
                ),
                None => self.problem(
                    key,
                    line,
                    "a value or a list of values is expected, not a mapping of keys",
                ),
            }
        } else if key.eq_ignore_ascii_case("server") && section.is_empty() {
            match node {
                Node::Null => {}
                Node::Map(entries) => self.read_section("server.", entries),
                _ => self.problem(key, line, "a mapping of keys is expected"),
            }
        } else if is(RESERVED_PREFIX_KEY) {
            self.read_reserved_prefixes(key, line, node);
        } else if !MAPPING_KEYS.into_iter().any(is) && !key.eq_ignore_ascii_case("feature-gates") {
            self.warn_unknown(section, key, line);
        }
    }

    /// `[{backendMode: …, usernamePrefixReserveList: […]}]`; the last entry for a backend wins, as in Go.
    fn read_reserved_prefixes(&mut self, key: &str, line: u64, node: Node) {
        let items = match node {
            Node::Null => return,
            Node::List(items) => items,
            _ => {
                return self.problem(
                    key,
                    line,
                    "a list is expected, of backendMode and usernamePrefixReserveList",
                );
            }
        };
        for item in items {
            let line = item.referenced.line();
            match reserved_prefixes(item.value) {
                Ok((reserved, unknown)) => {
                    self.reserved_prefixes
                        .retain(|earlier| earlier.source != reserved.source);
                    self.reserved_prefixes.push(reserved);
                    for name in unknown {
                        self.warnings.push(format!(
                            "line {line} of the configuration file: unknown key {key}.{name}"
                        ));
                    }
                }
                Err(message) => self.problem(key, line, message),
            }
        }
    }

    fn warn_unknown(&mut self, section: &str, key: &str, line: u64) {
        let known = Setting::KEYS.into_iter().map(|(_, known)| known);
        let known: Vec<&str> = known
            .filter_map(|known| known.strip_prefix(section))
            .filter(|known| !known.contains('.'))
            .chain(
                MAPPING_KEYS
                    .into_iter()
                    .chain([RESERVED_PREFIX_KEY])
                    .filter(|_| !section.is_empty()),
            )
            .chain(["server"].into_iter().filter(|_| section.is_empty()))
            .collect();
        let name = key.strip_prefix(section).unwrap_or(key);
        let hint = match closest(name, known) {
            Some(meant) => format!("; did you mean {section}{meant}?"),
            None if MAPPING_KEYS
                .into_iter()
                .any(|mapping| mapping.eq_ignore_ascii_case(name)) =>
            {
                format!("; did you mean server.{name}?")
            }
            None => String::new(),
        };
        self.warnings.push(format!(
            "line {line} of the configuration file: unknown key {key}, which has no effect{hint}"
        ));
    }

    fn problem(&mut self, key: &str, line: u64, message: impl Into<String>) {
        let place = Some(Place::File {
            key: key.to_owned(),
            line,
        });
        self.problems.push(Problem {
            place,
            message: message.into(),
        });
    }
}

fn reserved_prefixes(node: Node) -> Result<(ReservedPrefixes, Vec<String>), String> {
    let Node::Map(entries) = node else {
        return Err("each item is a mapping with backendMode and usernamePrefixReserveList".to_owned());
    };
    let (mut source, mut prefixes, mut unknown) = (None, Vec::new(), Vec::new());
    for Entry { key, node, .. } in entries {
        match key.to_ascii_lowercase().as_str() {
            "backendmode" => source = node.into_texts().and_then(|texts| texts.into_iter().next()),
            "usernameprefixreservelist" => {
                prefixes = node
                    .into_texts()
                    .ok_or("usernamePrefixReserveList is a list of prefixes")?;
            }
            _ => unknown.push(key),
        }
    }
    let name = source.ok_or("backendMode is missing; name the backend that the prefixes are for")?;
    let source = SourceId::parse(&name).ok_or_else(|| super::server::unknown_backend(&name))?;
    Ok((ReservedPrefixes { source, prefixes }, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConfigFile {
        ConfigFile::parse(text).unwrap()
    }

    fn values(file: &ConfigFile, setting: Setting) -> Vec<String> {
        file.layer
            .0
            .get(&setting)
            .map(|given| given.values.clone())
            .unwrap_or_default()
    }

    #[test]
    fn keys_in_any_case_and_values_of_any_type() {
        let file = parse(
            "clusterid: 0123\nSERVER:\n  Port: '21362'\n  backendMode: [MountedFile, CRD]\n  stateDir: /x\n  \
             kubeconfigPregenerated: true\n  scrubbedAccounts: [012345678901, \"123456789012\"]\n",
        );
        assert_eq!(values(&file, Setting::ClusterId), ["0123"]);
        assert_eq!(values(&file, Setting::Port), ["21362"]);
        assert_eq!(values(&file, Setting::BackendMode), ["MountedFile", "CRD"]);
        assert_eq!(values(&file, Setting::KubeconfigPregenerated), ["true"]);
        assert_eq!(
            values(&file, Setting::ScrubbedAccounts),
            ["012345678901", "123456789012"]
        );
        assert!(file.warnings.is_empty() && file.problems.is_empty(), "{file:?}");
    }

    #[test]
    fn json_is_yaml() {
        let file = parse(r#"{"clusterID": "c", "server": {"port": 8080}}"#);
        assert_eq!(values(&file, Setting::Port), ["8080"]);
    }

    #[test]
    fn bad_mappings_are_the_business_of_their_source() {
        let file = parse("clusterID: c\nserver:\n  mapRoles: {a: 1, a: 2}\n  mapUsers: nonsense\n  mapAccounts: 5\n");
        assert_eq!(values(&file, Setting::ClusterId), ["c"]);
        assert!(file.warnings.is_empty() && file.problems.is_empty(), "{file:?}");
    }

    #[test]
    fn unknown_keys_warn_with_line_and_what_was_meant() {
        let file = parse("clusterID: c\nmapRoles: []\nserver:\n  mapRole: []\n  state-dir: /x\n  colour: red\n");
        let expected = [
            "line 2 of the configuration file: unknown key mapRoles, which has no effect; did you mean server.mapRoles?",
            "line 4 of the configuration file: unknown key server.mapRole, which has no effect; did you mean server.mapRoles?",
            "line 5 of the configuration file: unknown key server.state-dir, which has no effect; did you mean server.stateDir?",
            "line 6 of the configuration file: unknown key server.colour, which has no effect",
        ];
        assert_eq!(file.warnings, expected);
    }

    #[test]
    fn problems_name_key_and_line() {
        let file = parse(
            "clusterID: a\nClusterID: b\nserver:\n  port: {a: b}\n  reservedPrefixConfig:\n  - backendMode: Foo\n",
        );
        let lines: Vec<String> = super::super::Problems(file.problems)
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("ClusterID in line 2 "), "{lines:?}");
        assert!(lines[1].starts_with("server.port in line 4 "), "{lines:?}");
        assert!(
            lines[2].contains("in line 6") && lines[2].contains("MountedFile"),
            "{lines:?}"
        );
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        let Err(FileError::Syntax { line, .. }) = ConfigFile::parse("clusterID: a\nserver: [\n") else {
            panic!()
        };
        assert!(line >= 2, "{line}");
        assert!(ConfigFile::parse("- a\n").is_err());
        assert!(ConfigFile::parse("# nothing\n").is_ok());
    }

    #[test]
    fn reserved_prefixes() {
        let file = parse(
            "server:\n  reservedPrefixConfig:\n  - backendMode: MountedFile\n    usernamePrefixReserveList: ['aws:', 'ops:']\n  \
             - backendmode: ConfigMap\n    usernameprefixreservelist: [x]\n",
        );
        let expected = [
            ReservedPrefixes {
                source: SourceId::MountedFile,
                prefixes: vec!["aws:".to_owned(), "ops:".to_owned()],
            },
            ReservedPrefixes {
                source: SourceId::EksConfigMap,
                prefixes: vec!["x".to_owned()],
            },
        ];
        assert_eq!(file.reserved_prefixes, expected);
    }
}
