//! Every dependency is compatible with Apache-2.0 and none is banned: `deny.toml`, held against `cargo tree`.
//! `cargo deny check` reads the same file and checks more; this needs nothing but cargo.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::process::Command;

/// Name and licence of every crate that is built. `cargo metadata` would also list crates that nothing switches on.
fn crates() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--offline", "--edges", "all"])
        .args([
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.split_once('|'));
    let crates: Vec<_> = lines
        .map(|(name, licence)| {
            let name = name.split(' ').next().unwrap_or_default();
            (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())
        })
        .collect();
    assert!(
        crates.iter().any(|(name, _)| name == "rustls"),
        "the list of crates was not read"
    );
    crates
}

fn deny() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).expect("deny.toml")
}

fn allowed_licences(deny: &str) -> Vec<String> {
    let (_, rest) = deny.split_once("\nallow = [").expect("a list of licences");
    let (list, _) = rest.split_once(']').expect("its end");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression is satisfied; `OR` binds weaker than `AND`, as SPDX says.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    let result = any_of(&mut tokens, allowed);
    result && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>, allowed: &[String]) -> bool {
    let mut result = all_of(tokens, allowed);
    while tokens.next_if_eq(&"OR").is_some() {
        result |= all_of(tokens, allowed);
    }
    result
}

fn all_of(tokens: &mut Tokens<'_>, allowed: &[String]) -> bool {
    let mut result = one(tokens, allowed);
    while tokens.next_if_eq(&"AND").is_some() {
        result &= one(tokens, allowed);
    }
    result
}

fn one(tokens: &mut Tokens<'_>, allowed: &[String]) -> bool {
    let Some(token) = tokens.next() else { return false };
    if token == "(" {
        let result = any_of(tokens, allowed);
        return tokens.next() == Some(")") && result;
    }
    let mut licence = token.to_owned();
    if tokens.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", tokens.next().unwrap_or_default());
    }
    allowed.contains(&licence)
}

#[test]
fn licences_are_compatible() {
    let allowed = allowed_licences(&deny());
    let bad: Vec<_> = crates()
        .into_iter()
        .filter(|(_, licence)| !is_allowed(licence, &allowed))
        .collect();
    assert!(bad.is_empty(), "not allowed by deny.toml: {bad:#?}");
}

#[test]
fn banned_crates_are_absent() {
    let deny = deny();
    let banned: Vec<_> = deny
        .split("{ crate = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(banned.contains(&"ring"), "the list of banned crates was not found");
    for (name, _) in crates() {
        assert!(
            !banned.contains(&name.as_str()),
            "{name} is banned: see deny.toml for the reason"
        );
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = [
        "MIT".to_owned(),
        "Apache-2.0 WITH LLVM-exception".to_owned(),
        "Zlib".to_owned(),
    ];
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND (GPL-2.0 OR Zlib)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), wanted, "{expression}");
    }
}
