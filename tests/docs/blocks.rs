//! What a page holds besides prose: fenced blocks, each with a comment that says how it is checked, and directives.
//!
//! ````text
//! <!-- check: run -->
//! ```sh
//! kubectl get namespaces
//! ```
//! <!-- expect: default -->
//! ````

use std::fs;
use std::path::Path;

/// Where the repository is.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation.
pub(crate) struct Page {
    /// Relative to the repository.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) items: Vec<Item>,
}

/// One thing to do, in the order of the page.
#[derive(Debug)]
pub(crate) struct Item {
    /// The line it begins in, from 1.
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A fenced block.
    Block {
        /// The words of its `check:` comment; empty when there is none.
        check: Vec<String>,
        language: String,
        text: String,
    },
    /// `start:`, `rights:` or `expect:` with the rest of the comment.
    Directive { name: String, value: String },
}

/// README and everything below docs/.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let pages: Vec<_> = paths.iter().map(|path| read(path)).collect();
    assert!(pages.len() > 5, "the pages were not found");
    pages
}

fn read(path: &Path) -> Page {
    let text = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    Page {
        items: items(&text).unwrap_or_else(|error| panic!("{name}: {error}")),
        name,
        text,
    }
}

fn items(text: &str) -> Result<Vec<Item>, String> {
    let mut found = Vec::new();
    let mut check = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        if let Some((name, value)) = comment(line) {
            if name == "check" {
                check = value.split_whitespace().map(str::to_owned).collect();
            } else {
                let (name, value) = (name.to_owned(), value.to_owned());
                let what = What::Directive { name, value };
                found.push(Item { line: number, what });
            }
        } else if let Some((indent, language)) = fence(line) {
            let mut block = String::new();
            loop {
                let (_, line) = lines
                    .next()
                    .ok_or_else(|| format!("line {number}: the block has no end"))?;
                if line.trim() == "```" {
                    break;
                }
                block.push_str(line.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            let what = What::Block {
                check: std::mem::take(&mut check),
                language: language.to_owned(),
                text: block,
            };
            found.push(Item { line: number, what });
        } else if !line.trim().is_empty() && !check.is_empty() {
            return Err(format!(
                "line {number}: a `check:` comment belongs directly before its block"
            ));
        }
    }
    Ok(found)
}

/// `<!-- name: value -->` alone in a line, with a name that means something here.
fn comment(line: &str) -> Option<(&str, &str)> {
    let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    let (name, value) = inside.trim().split_once(':')?;
    ["check", "start", "rights", "expect"]
        .contains(&name)
        .then(|| (name, value.trim()))
}

fn fence(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start().len();
    line.trim_start()
        .strip_prefix("```")
        .map(|language| (indent, language.trim()))
}

#[test]
fn blocks_and_directives_are_read_in_order() {
    let text =
        "a\n<!-- check: file x.yaml -->\n```yaml\na: 1\n```\n<!-- expect: b -->\n- c\n  ```sh\n  d\n    e\n  ```\n";
    let items = items(text).unwrap();
    assert_eq!(items.len(), 3);
    assert!(matches!(&items[0].what, What::Block { check, language, text }
        if check == &["file", "x.yaml"] && language == "yaml" && text == "a: 1\n"));
    assert!(matches!(&items[1].what, What::Directive { name, value } if name == "expect" && value == "b"));
    assert!(matches!(&items[2].what, What::Block { check, text, .. } if check.is_empty() && text == "d\n  e\n"));
    assert!(super::blocks::items("```sh\n").is_err());
    assert!(super::blocks::items("<!-- check: run -->\ntext\n").is_err());
}
