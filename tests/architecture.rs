//! Who may know whom: the layer table of the crate documentation, held against the `use` lines and paths of the code.

#![allow(clippy::expect_used, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer: its rooms, the rooms of ours that it may know, and the outside crates that it may not.
struct Layer {
    name: &'static str,
    rooms: &'static [&'static str],
    may_know: &'static [&'static str],
    never: &'static [&'static str],
}

const DOMAIN: &[&str] = &["arn", "authn", "identity", "mapping", "partition", "token"];
const IO: &[&str] = &[
    "kube",
    "kube_runtime",
    "k8s_openapi",
    "tokio",
    "axum",
    "hyper",
    "hyper_util",
    "tracing",
    "rustls",
    "moka",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "SystemTime::now",
    "Timestamp::now",
    "Instant::now",
    "Zoned::now",
];

const LAYERS: &[Layer] = &[
    Layer {
        name: "domain",
        rooms: DOMAIN,
        may_know: DOMAIN,
        never: IO,
    },
    Layer {
        name: "wire",
        rooms: &["crd", "token_review", "kubeconfig"],
        may_know: DOMAIN,
        never: &[
            "kube::Client",
            "kube::Api",
            "kube::client",
            "kube::runtime",
            "tokio",
            "axum",
            "hyper",
        ],
    },
    Layer {
        name: "sts",
        rooms: &["sts"],
        may_know: DOMAIN,
        never: &["kube", "k8s_openapi", "axum", "clap"],
    },
    Layer {
        name: "credentials",
        rooms: &["credentials"],
        may_know: &["partition", "token"],
        never: &["kube", "k8s_openapi", "axum", "clap", "hyper", "prometheus_client"],
    },
    Layer {
        name: "token_cache",
        rooms: &["token_cache"],
        may_know: &[],
        never: &[
            "kube",
            "k8s_openapi",
            "axum",
            "clap",
            "tokio",
            "hyper",
            "std::net",
            "prometheus_client",
        ],
    },
    Layer {
        name: "sources",
        rooms: &["sources"],
        may_know: &["arn", "mapping", "crd"],
        never: &["axum", "clap", "prometheus_client"],
    },
    Layer {
        name: "live",
        rooms: &["live"],
        may_know: &["mapping"],
        never: &["kube", "k8s_openapi", "axum", "hyper", "clap", "prometheus_client"],
    },
    Layer {
        name: "webhook",
        rooms: &["webhook"],
        may_know: &[
            "arn",
            "authn",
            "identity",
            "mapping",
            "partition",
            "token",
            "token_review",
            "live",
            "listener",
            "metrics",
            "audit",
        ],
        never: &["kube", "k8s_openapi", "clap"],
    },
    Layer {
        name: "admin",
        rooms: &["admin"],
        may_know: &["mapping", "live", "listener", "metrics"],
        never: &["kube", "k8s_openapi", "clap", "rustls"],
    },
    Layer {
        name: "controller",
        rooms: &["controller"],
        may_know: &["mapping", "crd", "live", "metrics"],
        never: &["axum", "hyper", "clap", "rustls", "prometheus_client"],
    },
    Layer {
        name: "process",
        rooms: &["config", "lifecycle", "listener", "metrics", "audit"],
        may_know: &[
            "arn",
            "authn",
            "identity",
            "mapping",
            "partition",
            "token",
            "config",
            "metrics",
            "audit",
            "sts",
            "live",
        ],
        never: &["kube", "k8s_openapi"],
    },
];

/// The only places that may know everything.
const ENTRY: &[&str] = &["cli", "main", "lib"];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn sources(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(root().join("src")).expect("below src");
            let room = inside
                .components()
                .next()
                .expect("a name")
                .as_os_str()
                .to_string_lossy();
            let room = room.trim_end_matches(".rs").to_owned();
            let text = product_code(&fs::read_to_string(&path).expect("readable"));
            found.push(Source { path, room, text });
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code without comments and without the unit tests at its end.
fn product_code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether the code names this path, as a whole word.
fn names(code: &str, path: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].trim_start().chars().next();
        let begins = before.is_none_or(|c| !is_word(c));
        if path.contains("::now") || path.contains("::") {
            return begins || code[..at].ends_with("::");
        }
        begins && after == Some(':')
    })
}

fn all() -> Vec<Source> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    // Unit tests in a file of their own belong to no layer.
    found.retain(|source| source.path.file_name().is_none_or(|name| name != "tests.rs"));
    found
}

#[test]
fn every_room_has_a_layer() {
    for source in all() {
        let known = ENTRY.contains(&source.room.as_str()) || layer_of(&source.room).is_some();
        assert!(
            known,
            "{} is in no layer: give it one here and in the crate documentation",
            source.path.display()
        );
    }
}

fn layer_of(room: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.rooms.contains(&room))
}

#[test]
fn rooms_know_only_whom_they_may() {
    let sources = all();
    let mut rooms: Vec<_> = sources.iter().map(|source| source.room.as_str()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    let mut faults = Vec::new();
    for source in &sources {
        let Some(layer) = layer_of(&source.room) else { continue };
        for other in &rooms {
            let allowed = *other == source.room || layer.may_know.contains(other);
            let used =
                source.text.contains(&format!("crate::{other}::")) || source.text.contains(&format!("crate::{other};"));
            if used && !allowed {
                faults.push(format!(
                    "{}: the {} layer may not know `{other}`",
                    source.path.display(),
                    layer.name
                ));
            }
        }
        for outside in layer.never {
            if names(&source.text, outside) {
                faults.push(format!(
                    "{}: the {} layer may not use `{outside}`",
                    source.path.display(),
                    layer.name
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_token_and_the_mapping_never_see_each_other() {
    for source in all() {
        let stranger = match source.room.as_str() {
            "token" => "crate::mapping",
            "mapping" => "crate::token",
            _ => continue,
        };
        assert!(
            !source.text.contains(stranger),
            "{} knows {stranger}",
            source.path.display()
        );
    }
}

#[test]
fn tasks_are_spawned_where_they_are_supervised() {
    for source in all() {
        let supervised = ["src/cli/server.rs", "src/lifecycle.rs", "src/listener.rs"];
        let allowed = supervised.iter().any(|path| source.path.ends_with(path));
        let spawns = ["tokio::spawn(", "task::spawn(", ".spawn("]
            .iter()
            .any(|call| source.text.contains(call));
        assert!(allowed || !spawns, "{} spawns a task", source.path.display());
    }
}

#[test]
fn files_are_small_and_none_is_a_mod_rs() {
    for source in all() {
        let lines = source.text.lines().count();
        assert!(
            lines <= 600,
            "{}: {lines} lines without tests; look for the second concept",
            source.path.display()
        );
        assert!(
            !source.path.ends_with("mod.rs"),
            "{}: use foo.rs beside foo/",
            source.path.display()
        );
    }
}

#[test]
fn names_are_found_as_whole_words() {
    assert!(names("use kube::Api;", "kube"));
    assert!(!names("use my_kube::Api;", "kube"));
    assert!(!names("let kube = 1;", "kube"));
    assert!(names("std::fs::read(p)", "std::fs"));
    assert!(names("jiff::Timestamp::now()", "Timestamp::now"));
}
