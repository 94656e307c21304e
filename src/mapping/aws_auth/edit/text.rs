//! The texts of entries and where they go: written by hand, because a serialiser would rewrite what is there.

use std::fmt::Write as _;

use super::super::List;
use super::super::yaml::{quoted, scalar};
use super::{NewEntry, SubjectText};

/// How a list in block style is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Style {
    /// Blanks before the dash of an entry.
    indent: usize,
    /// Blanks after it.
    gap: usize,
    /// By how much the dashes of `groups` stand deeper than `groups` itself.
    nesting: usize,
    /// The end of a line.
    newline: &'static str,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            indent: 0,
            gap: 1,
            nesting: 0,
            newline: "\n",
        }
    }
}

impl Style {
    fn of(text: &str, first: &str) -> Self {
        let indent = blanks(first);
        let after_dash = first.trim_start().strip_prefix('-').unwrap_or_default();
        let gap = blanks(after_dash);
        // An entry that begins below its dash, or in braces, says nothing of the blanks after it.
        let has_key = after_dash.trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
        Self {
            indent,
            gap: if has_key && (1..=8).contains(&gap) { gap } else { 1 },
            nesting: nesting(text).unwrap_or_default(),
            newline: newline(text),
        }
    }
}

/// The text with the new entry at its end; `None` when it is written in no style that we know.
pub(super) fn insert(text: &str, new: &NewEntry<'_>, is_empty: bool) -> Option<String> {
    if is_empty {
        return Some(begin(text, new));
    }
    let first = content_lines(text).next()?;
    let trimmed = first.trim_start();
    if trimmed.starts_with("- ") || trimmed.trim_end() == "-" {
        Some(append(text, &block(new, &Style::of(text, first)), newline(text)))
    } else if trimmed.starts_with('[') {
        insert_flow(text, new)
    } else {
        None
    }
}

/// A list that has no entries yet: what people write for "empty" goes, their comments stay.
fn begin(text: &str, new: &NewEntry<'_>) -> String {
    let style = Style {
        newline: newline(text),
        ..Style::default()
    };
    let mut kept = String::new();
    for line in text.lines() {
        let comment = line
            .find('#')
            .filter(|at| *at == 0 || line.get(..*at).is_some_and(|l| l.ends_with([' ', '\t'])));
        if let Some(comment) = comment.and_then(|at| line.get(at..)) {
            kept.push_str(comment);
            kept.push_str(style.newline);
        }
    }
    kept + &block(new, &style)
}

/// Puts the block after the last line that is not blank.
fn append(text: &str, block: &str, newline: &str) -> String {
    let end = text.trim_end();
    let tail = text.get(end.len()..).unwrap_or_default();
    let block = block.trim_end();
    let tail = if tail.contains('\n') { tail } else { newline };
    format!("{end}{newline}{block}{tail}")
}

/// The entry as a block, with a newline at its end.
pub(super) fn block(new: &NewEntry<'_>, style: &Style) -> String {
    let Style {
        indent,
        gap,
        nesting,
        newline,
    } = *style;
    let keys = " ".repeat(indent + 1 + gap);
    let mut lines = Vec::new();
    match new.subject {
        SubjectText::Arn(arn) => lines.push(format!("{}: {}", arn_key(new.list), scalar(arn))),
        SubjectText::PermissionSet {
            name,
            account,
            partition,
        } => {
            lines.push("sso:".to_owned());
            lines.push(format!("  permissionSetName: {}", scalar(name)));
            lines.push(format!("  accountID: {}", quoted(account)));
            lines.push(format!("  partition: {}", scalar(partition)));
        }
    }
    lines.push(format!("username: {}", scalar(new.username)));
    if !new.groups.is_empty() {
        lines.push("groups:".to_owned());
        let dash = " ".repeat(nesting);
        lines.extend(new.groups.iter().map(|group| format!("{dash}- {}", scalar(group))));
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if number == 0 {
            let _ = write!(text, "{}-{}{line}{newline}", " ".repeat(indent), " ".repeat(gap));
        } else {
            let _ = write!(text, "{keys}{line}{newline}");
        }
    }
    text
}

/// A list in brackets, JSON among them: the entry goes before the last bracket, on a line of its own if that has one.
fn insert_flow(text: &str, new: &NewEntry<'_>) -> Option<String> {
    let (before, after) = text.rsplit_once(']')?;
    let is_rest = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if !after.lines().all(is_rest) {
        return None;
    }
    let items = before.trim_end();
    let closing = before.get(items.len()..).unwrap_or_default();
    let comma = if items.ends_with(',') { "" } else { "," };
    let between = if closing.contains('\n') {
        let last = items.lines().next_back().unwrap_or_default();
        format!("{}{}", newline(text), " ".repeat(blanks(last)))
    } else {
        " ".to_owned()
    };
    Some(format!("{items}{comma}{between}{}{closing}]{after}", flow(new)))
}

/// The entry in braces: JSON, which is YAML too.
fn flow(new: &NewEntry<'_>) -> String {
    let subject = match new.subject {
        SubjectText::Arn(arn) => format!("{}: {}", quoted(arn_key(new.list)), quoted(arn)),
        SubjectText::PermissionSet {
            name,
            account,
            partition,
        } => format!(
            "\"sso\": {{\"permissionSetName\": {}, \"accountID\": {}, \"partition\": {}}}",
            quoted(name),
            quoted(account),
            quoted(partition)
        ),
    };
    let groups: Vec<_> = new.groups.iter().map(|group| quoted(group)).collect();
    format!(
        "{{{subject}, \"username\": {}, \"groups\": [{}]}}",
        quoted(new.username),
        groups.join(", ")
    )
}

fn arn_key(list: List) -> &'static str {
    match list {
        List::MapUsers => "userarn",
        List::MapRoles | List::MapAccounts => "rolearn",
    }
}

/// Lines that are neither blank nor comments nor the beginning of a document.
fn content_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---"
    })
}

/// By how much the dashes of the first `groups` stand deeper than `groups` itself.
fn nesting(text: &str) -> Option<usize> {
    let mut lines = content_lines(text);
    while let Some(line) = lines.next() {
        let key = line.trim_start_matches([' ', '-']);
        if key.trim_end().eq_ignore_ascii_case("groups:") {
            let column = line.len() - key.len();
            let dash = lines.next().filter(|line| line.trim_start().starts_with('-'))?;
            return blanks(dash).checked_sub(column).filter(|nesting| *nesting <= 8);
        }
    }
    None
}

fn blanks(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}
