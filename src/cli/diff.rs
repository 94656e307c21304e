//! Shows a change to a text, as `diff -u` does, when there is one place that changed.

use std::fmt::Write as _;

use super::output::Colours;

/// Unchanged lines around the change.
const CONTEXT: usize = 3;

/// The change from `old` to `new`; empty when there is none.
pub(super) fn unified(name: &str, old: &str, new: &str, colours: Colours) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let common = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let start = common(&mut old.iter().zip(&new));
    let rest = old.len().min(new.len()) - start;
    let end = common(&mut old.iter().rev().zip(new.iter().rev()).take(rest));
    if start + end == old.len() && old.len() == new.len() {
        return String::new();
    }
    let before = start.saturating_sub(CONTEXT);
    let after = end.min(CONTEXT);
    let slice = |lines: &[&str], from: usize, to: usize| -> Vec<String> {
        let lines = lines.iter().take(to).skip(from);
        lines.map(|line| (*line).to_owned()).collect()
    };
    let range = |length: usize| {
        let count = length - end + after - before;
        // As diff does: an empty range is named by the line before it.
        let first = if count == 0 { before } else { before + 1 };
        format!("{first},{count}")
    };
    let mut text = colours.bold(&format!("--- {name}\n+++ {name}")) + "\n";
    let place = format!("@@ -{} +{} @@", range(old.len()), range(new.len()));
    let _ = writeln!(text, "{}", colours.cyan(&place));
    let mut put = |lines: Vec<String>, sign: char| {
        for line in lines {
            let line = format!("{sign}{line}");
            let line = match sign {
                '+' => colours.green(&line),
                '-' => colours.red(&line),
                _ => line,
            };
            let _ = writeln!(text, "{line}");
        }
    };
    put(slice(&old, before, start), ' ');
    put(slice(&old, start, old.len() - end), '-');
    put(slice(&new, start, new.len() - end), '+');
    put(slice(&old, old.len() - end, old.len() - end + after), ' ');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        unified("x", old, new, Colours::None)
    }

    #[test]
    fn lines_at_the_end_in_the_middle_and_of_nothing() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("", "a\nb\n"), "--- x\n+++ x\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(
            diff("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n6\n"),
            "--- x\n+++ x\n@@ -3,3 +3,4 @@\n 3\n 4\n 5\n+6\n"
        );
        assert_eq!(
            diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
            "--- x\n+++ x\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(diff("a\na\n", "a\n"), "--- x\n+++ x\n@@ -1,2 +1,1 @@\n a\n-a\n");
    }

    #[test]
    fn colours_are_there_when_wanted() {
        assert!(unified("x", "", "a\n", Colours::Ansi).contains("\u{1b}[32m+a\u{1b}[0m"));
    }
}
