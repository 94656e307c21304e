//! The documentation does what it says: every block of every page is run, validated by the real API server, or checked
//! against what the tool it is for knows. A block that does not say how it is checked fails.
//!
//! | `<!-- check: … -->` | the block is |
//! | --- | --- |
//! | `run` | run by a shell, with our program and the real kubectl, step by step with the other blocks of its page |
//! | `background` | started, and left running until the page ends |
//! | `apiserver` | flags of kube-apiserver: known to it, and the API server is started with the page's webhook |
//! | `apply` | applied with `--dry-run=server` |
//! | `file NAME` | written to that file, for the steps after it |
//! | `kops`, `kubeadm`, `talos`, `k0s`, `eks-anywhere`, `cluster-api` | held against the fields of that tool |
//! | `included FILE` | that file of the repository as it is; the test of the file checks it |
//! | `cluster-api-commands`, `parse` | commands of tools that are not here: the shell can read them, `make` has the target |
//! | `quoted` | shown: a drawing, an output, a program in a language that nothing here runs |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a panic is how a test fails; what is skipped says so"
)]

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/foreign.rs"]
mod foreign;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/scenario.rs"]
mod scenario;

use std::collections::BTreeSet;
use std::process::Command;

use blocks::{Page, What, pages, root};
use scenario::Scenario;

const SHELLS: [&str; 3] = ["sh", "bash", "shell"];

/// `(where, check, language, text)` of every block.
fn blocks_of(pages: &[Page]) -> impl Iterator<Item = (String, &[String], &str, &str)> {
    let blocks = pages
        .iter()
        .flat_map(|page| page.items.iter().map(move |item| (page, item)));
    blocks.filter_map(|(page, item)| match &item.what {
        What::Block { check, language, text } => {
            let place = format!("{}:{}", page.name, item.line);
            Some((place, check.as_slice(), language.as_str(), text.as_str()))
        }
        What::Directive { .. } => None,
    })
}

#[test]
fn every_block_says_how_it_is_checked() {
    let pages = pages();
    let mut faults = Vec::new();
    for (place, check, language, _) in blocks_of(&pages) {
        let is_shell = SHELLS.contains(&language);
        let is_yaml = language == "yaml";
        let fits = match check.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["run" | "background" | "apiserver" | "parse"] => is_shell,
            ["apply" | "cluster-api-commands"] | ["file" | "included", _] => is_yaml,
            ["quoted"] => !is_shell && !is_yaml && !language.is_empty(),
            [tool] => is_yaml && foreign::knows(tool),
            _ => false,
        };
        if !fits {
            faults.push(format!(
                "{place}: a block of `{language}` cannot be checked as {check:?}"
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "see the table in tests/docs.rs:\n{}",
        faults.join("\n")
    );
}

#[test]
fn included_files_are_shown_as_they_are() {
    let pages = pages();
    for (place, check, _, text) in blocks_of(&pages) {
        let [word, path] = check else { continue };
        if word == "included" {
            let file = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(text.trim_end(), file.trim_end(), "{place} is not {path}");
        }
    }
}

#[test]
fn manifests_of_other_tools_have_the_fields_of_those_tools() {
    let pages = pages();
    let mut faults = Vec::new();
    for (place, check, _, text) in blocks_of(&pages) {
        let Some(tool) = check.first().filter(|tool| foreign::knows(tool)) else {
            continue;
        };
        faults.extend(
            foreign::faults(tool, text)
                .into_iter()
                .map(|fault| format!("{place}: {fault}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn commands_of_other_tools_can_be_read() {
    let pages = pages();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    for (place, check, _, text) in blocks_of(&pages) {
        let script = match check.first().map(String::as_str) {
            Some("parse") => text.to_owned(),
            Some("cluster-api-commands") => {
                let parsed = foreign::documents(text).unwrap_or_else(|error| panic!("{place}: {error}"));
                let commands = parsed[0]
                    .as_object()
                    .unwrap()
                    .values()
                    .flat_map(|list| list.as_array().unwrap().clone());
                commands
                    .map(|command| command.as_str().unwrap().to_owned() + "\n")
                    .collect()
            }
            _ => continue,
        };
        let read = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
        assert!(
            read.status.success(),
            "{place}: {}",
            String::from_utf8_lossy(&read.stderr)
        );
        for line in script.lines() {
            // Words before `make` set variables; those after it with `=` too.
            let Some((_, targets)) = format!(" {line}")
                .split_once(" make ")
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
            else {
                continue;
            };
            let targets = targets.split('#').next().unwrap_or_default().to_owned();
            for target in targets.split_whitespace().filter(|word| !word.contains('=')) {
                assert!(
                    makefile.contains(&format!("\n{target}:")),
                    "{place}: make has no target {target}"
                );
            }
        }
        let all_ours = script
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let runnable = all_ours.clone().count() > 0
            && all_ours
                .into_iter()
                .all(|line| line.starts_with("aws-iam-authenticator ") && !line.contains("server"));
        assert!(!runnable, "{place}: only our own program: check it with `run`");
    }
}

/// The long flags that a program's help lists.
fn flags_of(program: &std::path::Path, arguments: &[&str]) -> BTreeSet<String> {
    let help = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    let words = text.split(|c: char| c.is_whitespace() || "[],=".contains(c));
    let flags: BTreeSet<_> = words
        .filter_map(|word| word.strip_prefix("--"))
        .map(str::to_owned)
        .collect();
    assert!(flags.len() > 5, "{}: {text}", program.display());
    flags
}

#[test]
fn manifests_give_our_program_only_flags_that_it_has() {
    let pages = pages();
    let known = flags_of(
        env!("CARGO_BIN_EXE_aws-iam-authenticator").as_ref(),
        &["server", "--help"],
    );
    let mut seen = 0;
    for (place, _, language, text) in blocks_of(&pages) {
        if language != "yaml" {
            continue;
        }
        for flag in foreign::arguments(text).remove("server").unwrap_or_default() {
            let name = flag
                .trim_start_matches("--")
                .split('=')
                .next()
                .unwrap_or_default()
                .to_owned();
            assert!(known.contains(&name), "{place}: `server` has no flag {flag}");
            seen += 1;
        }
    }
    assert!(seen > 0, "no manifest was found that starts the server");
}

#[test]
fn tools_give_the_api_server_only_flags_that_it_has() {
    let Some(parts) = kit::require_parts() else { return };
    let pages = pages();
    let known = flags_of(&parts.kube_apiserver, &["--help"]);
    let mut seen = 0;
    for (place, check, _, text) in blocks_of(&pages) {
        let flags: BTreeSet<String> = match check.first().map(String::as_str) {
            Some("apiserver") => {
                let words = text.split_whitespace().filter_map(|word| word.strip_prefix("--"));
                words
                    .map(|word| word.split('=').next().unwrap_or_default().to_owned())
                    .collect()
            }
            Some(tool) if foreign::knows(tool) => foreign::api_server_flags(text),
            _ => continue,
        };
        for flag in flags {
            assert!(known.contains(&flag), "{place}: kube-apiserver has no flag --{flag}");
            seen += 1;
        }
    }
    assert!(seen > 4, "the flags were not found");
}

#[test]
fn the_unit_is_one_that_systemd_accepts() {
    scenario::verify_units();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_be_walked_through() {
    let Some(parts) = kit::require_parts() else { return };
    let pages = pages();
    let rights = blocks_of(&pages)
        .find(|(_, check, ..)| check.len() == 2 && check[1] == "rbac.yaml")
        .map(|(_, _, _, text)| text.to_owned())
        .expect("the page with the rights");
    for page in pages.iter().filter(|page| scenario::has_steps(page)) {
        Scenario::walk(page, parts.clone(), &rights).await;
    }
}

#[test]
fn each_alert_has_a_section() {
    // One per alert of the chart, and no section for an alert that is gone.
    let path = root().join("charts/aws-iam-authenticator/files/alerts.yaml");
    let Ok(rules) = std::fs::read_to_string(&path) else {
        panic!("{} is missing", path.display())
    };
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<_> = alerts.collect();
    let page = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let sections = page.lines().filter_map(|line| line.strip_prefix("### "));
    let sections: BTreeSet<_> = sections.filter(|name| name.starts_with("IAMAuthenticator")).collect();
    assert!(!alerts.is_empty());
    assert_eq!(
        alerts, sections,
        "the alerts of the chart and the sections of docs/operating.md"
    );
}
