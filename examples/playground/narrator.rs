//! The voice: what happens in plain lines, commands after `$`, their real output indented. Colour only for a person.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::Instant;

/// Commands of this width fit beside the margin of most terminals.
const WIDTH: usize = 110;

pub(crate) struct Narrator {
    started: Instant,
    colour: bool,
}

impl Narrator {
    pub(crate) fn new() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            started: Instant::now(),
            colour: std::io::stdout().is_terminal() && !no_colour,
        }
    }

    /// A chapter, with the time since the start.
    pub(crate) fn step(&self, title: impl Display) {
        let time = format!("{:6.1} s", self.started.elapsed().as_secs_f64());
        println!("\n{}  {}", self.paint("2", &time), self.paint("1", &title.to_string()));
    }

    /// A line or a few.
    #[expect(clippy::unused_self, reason = "all narration goes through the narrator")]
    pub(crate) fn say(&self, text: impl Display) {
        for line in text.to_string().lines() {
            println!("          {line}");
        }
    }

    /// What a person would type.
    pub(crate) fn command(&self, command: impl Display) {
        println!("          {}", self.paint("36", &format!("$ {command}")));
    }

    /// What came of it, or what is in a file.
    pub(crate) fn output(&self, text: impl Display) {
        for line in text.to_string().lines().filter(|line| !line.trim().is_empty()) {
            for piece in pieces(line.trim_end(), WIDTH) {
                println!("            {}", self.paint("2", &piece));
            }
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            return format!("\x1b[{code}m{text}\x1b[0m");
        }
        text.to_owned()
    }
}

/// Log lines are long: cut, and go on further in.
fn pieces(line: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = pieces
            .last_mut()
            .filter(|last| last.len() + word.trim_end().len() <= width || last.trim().is_empty());
        match last {
            Some(last) => last.push_str(word),
            None => pieces.push(format!("    {word}")),
        }
    }
    pieces
}
