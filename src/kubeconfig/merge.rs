//! Puts a login into a kubeconfig that has others: as text, so that comments, order and whatever else is there stay.
//!
//! What comes of it is read back and compared with what should be there. A file in a style that cannot be edited so (JSON,
//! lists in braces) is written anew from its content, without its comments.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Login, item};
use crate::mapping::yaml::{alias_limits, budget, scalar};

/// The key of the context that is used when none is named.
const CURRENT: &str = "current-context";

/// A kubeconfig with the login in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// The text.
    pub text: String,
    /// Whether everything else is as it was written; otherwise comments and style are lost.
    pub in_place: bool,
    /// Whether an entry of that name was there and said something else.
    pub replaces: bool,
    /// Whether the context is the current one now.
    pub is_current: bool,
}

/// Why nothing can be merged into a text.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MergeError {
    /// Not YAML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: u64,
        /// What is wrong there.
        message: String,
    },
    /// YAML, but no kubeconfig.
    #[error("{0}")]
    Shape(&'static str),
}

/// Adds the entries of a login to a kubeconfig, or replaces those of the same names. The current context is set when there
/// is none, or when `switch` says so.
///
/// # Errors
/// When the text is not a kubeconfig.
pub fn merge(old: &str, login: &Login, switch: bool) -> Result<Merged, MergeError> {
    let before = parse(old)?;
    let (after, replaces) = expected(&before, login, switch)?;
    let is_current = after.get(CURRENT).is_some_and(|name| *name == login.context);
    let in_place = edit(old, &before, login, is_current).filter(|text| parse(text).is_ok_and(|it| it == after));
    let merged = |text, in_place| Merged {
        text,
        in_place,
        replaces,
        is_current,
    };
    if let Some(text) = in_place {
        return Ok(merged(text, true));
    }
    let anew = if old.trim_start().starts_with('{') {
        serde_json::to_string_pretty(&after).ok().map(|text| text + "\n")
    } else {
        serde_saphyr::to_string(&after).ok()
    };
    let anew = anew.filter(|text| parse(text).is_ok_and(|it| it == after));
    anew.map(|text| merged(text, false)).ok_or(MergeError::Shape(
        "it is written in a way that cannot be kept when something is added",
    ))
}

fn parse(text: &str) -> Result<Map<String, Value>, MergeError> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: budget(text),
        alias_limits: alias_limits(),
    };
    let value = serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| MergeError::Syntax {
        line: error.location().map_or(1, |location| location.line()),
        message: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    })?;
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        _ => Err(MergeError::Shape(
            "it is not a kubeconfig: it has no keys such as clusters and users",
        )),
    }
}

/// The content as it shall be, and whether it replaces something.
fn expected(
    before: &Map<String, Value>,
    login: &Login,
    switch: bool,
) -> Result<(Map<String, Value>, bool), MergeError> {
    let mut after = before.clone();
    let mut replaces = false;
    for (list, entry) in login.entries() {
        let items = after.entry(list).or_insert(Value::Null);
        if items.is_null() {
            *items = json!([]);
        }
        let items = items.as_array_mut();
        let items = items.ok_or(MergeError::Shape(
            "it is not a kubeconfig: clusters, contexts and users must be lists",
        ))?;
        match items.iter_mut().find(|item| item.get("name") == entry.get("name")) {
            Some(item) if *item == entry => {}
            Some(item) => {
                *item = entry;
                replaces = true;
            }
            None => items.push(entry),
        }
    }
    let current = before.get(CURRENT).and_then(Value::as_str).unwrap_or_default();
    if switch || current.is_empty() {
        after.insert(CURRENT.to_owned(), json!(login.context));
    }
    if before.is_empty() {
        after.insert("apiVersion".to_owned(), json!("v1"));
        after.insert("kind".to_owned(), json!("Config"));
    }
    Ok((after, replaces))
}

/// The text with the changes in it; `None` when it is in a style that is not edited.
fn edit(old: &str, before: &Map<String, Value>, login: &Login, is_current: bool) -> Option<String> {
    if before.is_empty() {
        return Some(format!("{old}{}", login.kubeconfig()));
    }
    let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
    for (list, entry) in login.entries() {
        put_item(&mut lines, list, &entry)?;
    }
    if is_current && before.get(CURRENT).is_none_or(|name| *name != login.context) {
        let line = format!("{CURRENT}: {}", scalar(&login.context));
        match section(&lines, CURRENT) {
            Some((at, _)) => *lines.get_mut(at)? = line,
            None => lines.push(line),
        }
    }
    let newline = if old.contains("\r\n") { "\r\n" } else { "\n" };
    Some(lines.join(newline) + newline)
}

/// The line of a key of the top level, and the line at which the next one begins.
fn section(lines: &[String], key: &str) -> Option<(usize, usize)> {
    let is_key = |line: &String| line.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '"' | '\''));
    let at = lines.iter().position(|line| {
        let name = line.split(':').next().unwrap_or_default().trim_end();
        is_key(line) && name.trim_matches(['"', '\'']) == key && line.contains(':')
    })?;
    let next = lines.iter().skip(at + 1).position(is_key);
    Some((at, next.map_or(lines.len(), |next| at + 1 + next)))
}

/// Puts an entry into a list in block style: in the place of the one that has its name, else at the end.
fn put_item(lines: &mut Vec<String>, list: &str, entry: &Value) -> Option<()> {
    let Some((at, end)) = section(lines, list) else {
        lines.push(format!("{list}:"));
        lines.extend(item(entry, 0).lines().map(str::to_owned));
        return Some(());
    };
    let value = lines.get(at)?.split_once(':')?.1.trim();
    if matches!(value, "[]" | "null" | "~") {
        *lines.get_mut(at)? = format!("{list}:");
    } else if !value.is_empty() && !value.starts_with('#') {
        return None;
    }
    let starts = items(lines, at + 1, end)?;
    let indent = starts
        .first()
        .and_then(|start| lines.get(*start))
        .map_or(0, |line| blanks(line));
    let new: Vec<String> = item(entry, indent).lines().map(str::to_owned).collect();
    for (number, start) in starts.iter().enumerate() {
        let next = starts.get(number + 1).copied().unwrap_or(end);
        let stop = content_end(lines, *start, next);
        let text = lines.get(*start..stop)?.join("\n");
        let found = parse_items(&text)?;
        if found.get("name") == entry.get("name") {
            // An entry that says the same may say it in its owner's words.
            if found != *entry {
                lines.splice(*start..stop, new);
            }
            return Some(());
        }
    }
    let place = starts.last().map_or(at + 1, |start| content_end(lines, *start, end));
    lines.splice(place..place, new);
    Some(())
}

/// Where the items of a list begin; `None` when it is not one in block style.
fn items(lines: &[String], from: usize, to: usize) -> Option<Vec<usize>> {
    let content = (from..to).filter(|at| lines.get(*at).is_some_and(|line| is_content(line)));
    let mut starts = Vec::new();
    let mut indent = None;
    for at in content {
        let line = lines.get(at)?;
        let is_item = line.trim_start().starts_with("- ") || line.trim() == "-";
        match indent {
            None if !is_item => return None,
            None => indent = Some(blanks(line)),
            Some(_) => {}
        }
        if is_item && indent == Some(blanks(line)) {
            starts.push(at);
        }
    }
    Some(starts)
}

/// Blank lines and comments at the end belong to what follows.
fn content_end(lines: &[String], from: usize, to: usize) -> usize {
    let last = (from..to).rfind(|at| lines.get(*at).is_some_and(|line| is_content(line)));
    last.map_or(from, |last| last + 1)
}

fn parse_items(text: &str) -> Option<Value> {
    let options = serde_saphyr::options! { with_snippet: false, budget: budget(text) };
    let mut items = serde_saphyr::from_str_with_options::<Vec<Value>>(text, options).ok()?;
    items.pop().filter(|_| items.is_empty())
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn blanks(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::super::tests::login;
    use super::*;

    const OTHERS: &str = "\
# mine
apiVersion: v1
kind: Config
clusters:   # two of them
  - name: home
    cluster: {server: 'https://home'}   # the one at home
  - cluster:
      server: https://old.example
    name: prod

# people
users:
- name: me
  user:
    client-key-data: c2VjcmV0
contexts: []
preferences: {}
current-context: home # always
";

    #[test]
    fn everything_else_stays_as_it_was_written() {
        let merged = merge(OTHERS, &login(), false).expect("merged");
        assert!(merged.in_place && merged.replaces && !merged.is_current);
        for line in OTHERS
            .lines()
            .filter(|line| !line.contains("old.example") && *line != "contexts: []")
        {
            assert!(merged.text.contains(line), "{line:?} is not in\n{}", merged.text);
        }
        assert!(!merged.text.contains("old.example"));
        let value = parse(&merged.text).expect("YAML");
        assert_eq!(value["clusters"].as_array().map(Vec::len), Some(2));
        assert_eq!(value["clusters"][1], login().cluster_entry());
        assert_eq!(value["contexts"][0], login().context_entry());
        assert_eq!(value["users"][1], login().user_entry());
        let again = merge(&merged.text, &login(), false).expect("merged");
        assert_eq!((again.text, again.replaces), (merged.text, false));
    }

    #[test]
    fn the_current_context_is_switched_only_when_asked() {
        let switched = merge(OTHERS, &login(), true).expect("merged");
        assert!(switched.is_current && switched.text.contains("\ncurrent-context: prod\n"));
        let without = OTHERS.replace("current-context: home # always\n", "");
        assert!(merge(&without, &login(), false).expect("merged").is_current);
    }

    #[test]
    fn into_nothing() {
        for empty in ["", "\n", "# soon\n"] {
            let merged = merge(empty, &login(), false).expect(empty);
            assert_eq!(merged.text, format!("{empty}{}", login().kubeconfig()));
            assert!(merged.in_place);
        }
    }

    #[test]
    fn other_styles_are_written_anew() {
        let json = r#"{"apiVersion":"v1","kind":"Config","clusters":[{"name":"x","cluster":{"server":"https://x"}}]}"#;
        let merged = merge(json, &login(), false).expect("merged");
        assert!(!merged.in_place && merged.text.starts_with('{'), "{}", merged.text);
        assert_eq!(parse(&merged.text).expect("JSON")["clusters"][0]["name"], "x");
        let flow = "apiVersion: v1\nclusters: [{name: x, cluster: {server: 'https://x'}}]\n";
        let merged = merge(flow, &login(), false).expect("merged");
        assert!(
            !merged.in_place && merged.text.contains("clusters:\n"),
            "{}",
            merged.text
        );
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused() {
        assert!(matches!(merge("a: [", &login(), false), Err(MergeError::Syntax { .. })));
        assert!(matches!(merge("- a\n", &login(), false), Err(MergeError::Shape(_))));
        assert!(matches!(
            merge("clusters: x\n", &login(), false),
            Err(MergeError::Shape(_))
        ));
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(text in "(clusters:|users:|- name: a\n|  cluster:\n|    server: x\n|contexts:|current-context: a|\n|  |#|\\[\\]|x: y\n){0,14}") {
            if let (Ok(before), Ok(merged)) = (parse(&text), merge(&text, &login(), false)) {
                let after = parse(&merged.text).expect("what was merged");
                for (key, value) in &before {
                    match value.as_array() {
                        Some(items) => proptest::prop_assert!(items.iter().all(|item| after[key].as_array().is_some_and(|all| all.contains(item)))),
                        None if value.is_null() => {}
                        None => proptest::prop_assert_eq!(value, &after[key]),
                    }
                }
            }
        }
    }
}
