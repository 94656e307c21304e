//! The book: every page is in the summary, and every link leads somewhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::blocks::{Page, pages, root};

/// `(text, target)` of every Markdown link outside code.
fn links(page: &Page) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in page.text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // What stands between backticks is code, too.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        for rest in prose.split("](").skip(1) {
            found.extend(rest.split(')').next().map(str::to_owned));
        }
        for rest in prose
            .split(['"', ' '])
            .filter(|word| word.starts_with("docs/") && line.contains("<img"))
        {
            found.push(rest.to_owned());
        }
    }
    found
}

/// `a/b/../c` as `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The names that headings get, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

fn fault(page: &Page, link: &str) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (file, anchor) = link
        .split_once('#')
        .map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let folder = Path::new(&page.name).parent().unwrap();
    let path = if file.is_empty() {
        PathBuf::from(&page.name)
    } else {
        plain(&folder.join(file))
    };
    if !root().join(&path).exists() {
        return Some(format!("{}: {link} leads nowhere", page.name));
    }
    // A book has only what is below its folder.
    if page.name.starts_with("docs/") && !path.starts_with("docs") {
        return Some(format!(
            "{}: {link} leads out of the book: link to it with https://",
            page.name
        ));
    }
    let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
    let found = anchor.is_none_or(|anchor| anchors(&text).contains(anchor));
    (!found).then(|| {
        format!(
            "{}: {} has no heading {}",
            page.name,
            path.display(),
            anchor.unwrap_or_default()
        )
    })
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let faults: Vec<_> = pages
        .iter()
        .flat_map(|page| {
            links(page)
                .into_iter()
                .filter_map(|link| fault(page, &link))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let total: usize = pages.iter().map(|page| links(page).len()).sum();
    assert!(total > 20, "the links were not found");
}

#[test]
fn every_page_is_in_the_summary_once() {
    let pages = pages();
    let summary = pages
        .iter()
        .find(|page| page.name == "docs/SUMMARY.md")
        .expect("a summary");
    let mut listed: Vec<_> = links(summary).iter().map(|link| format!("docs/{link}")).collect();
    listed.sort();
    let mut there: Vec<_> = pages.iter().map(|page| page.name.clone()).collect();
    there.retain(|name| name.starts_with("docs/") && *name != summary.name);
    there.sort();
    assert_eq!(listed, there, "docs/SUMMARY.md and the pages of docs/");
}

#[test]
fn links_and_headings_are_found() {
    let page = Page {
        name: "docs/a/b.md".to_owned(),
        text: "see [x](../c.md#the-d) and `[no](code)`\n```text\n[no](block)\n```\n".to_owned(),
        items: Vec::new(),
    };
    assert_eq!(links(&page), ["../c.md#the-d"]);
    assert!(fault(&page, "../c.md").is_some());
    assert!(fault(&page, "../../README.md").unwrap().contains("out of the book"));
    assert!(anchors("# A\n## 4. The API server\n").contains("4-the-api-server"));
}
