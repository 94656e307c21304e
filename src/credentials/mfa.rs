//! Asking for the code of an MFA device: on the terminal itself, because stdin and stdout are kubectl's.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use super::CredentialsError;

const TERMINAL: &str = "/dev/tty";

/// A line with a code has six digits; what is longer is no code.
const MAX_LINE: u64 = 64;

/// How often a mistyped code is asked for again.
const TRIES: usize = 3;

/// The code that the person types.
pub(super) fn code(serial: &str) -> Result<String, CredentialsError> {
    ask(serial).map_err(|error| CredentialsError::Mfa {
        serial: serial.to_owned(),
        reason: error.to_string(),
    })
}

fn ask(serial: &str) -> io::Result<String> {
    let no_terminal = |_| io::Error::other("there is no terminal to ask on");
    let mut out = OpenOptions::new().write(true).open(TERMINAL).map_err(no_terminal)?;
    let mut lines = BufReader::new(OpenOptions::new().read(true).open(TERMINAL).map_err(no_terminal)?);
    for _ in 0..TRIES {
        write!(out, "MFA code for {serial}: ")?;
        out.flush()?;
        let mut line = String::new();
        if lines.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
            return Err(io::Error::other("the terminal was closed"));
        }
        if is_code(line.trim()) {
            return Ok(line.trim().to_owned());
        }
        writeln!(out, "A code has six digits.")?;
    }
    Err(io::Error::other("no code of six digits was typed"))
}

fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        assert!(is_code("012345"));
        assert!(!is_code("12345") && !is_code("1234567") && !is_code("12345a") && !is_code(""));
    }
}
