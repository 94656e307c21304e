//! Reads settings out of the low configuration and collects the problems met on the way.

use super::{Given, Low, Place, Problem, Problems, Setting, value};

/// Reads one low configuration.
#[derive(Debug)]
pub struct Reader<'a> {
    low: &'a Low,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader that starts with what was already found wrong in the file.
    pub fn new(low: &'a Low) -> Self {
        Self {
            low,
            problems: low.file.problems.clone(),
            warnings: low.file.warnings.clone(),
        }
    }

    /// What was given, if anything.
    pub fn given(&self, setting: Setting) -> Option<&'a Given> {
        self.low.get(setting)
    }

    /// The text that was given; an empty one counts as absent.
    pub fn text(&mut self, setting: Setting) -> Option<String> {
        let given = self.given(setting)?;
        match given.values.as_slice() {
            [] => None,
            [value] => Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
            [..] => {
                self.problem(&given.place, "one value is expected, not a list");
                None
            }
        }
    }

    /// A parsed value; `default` when it is absent or wrong.
    pub fn parsed<T>(&mut self, setting: Setting, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        self.optional(setting, parse).unwrap_or(default)
    }

    /// A parsed value, if it was given and is right.
    pub fn optional<T>(&mut self, setting: Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(setting)?;
        let place = self.given(setting).map(|given| &given.place)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(place, message);
                None
            }
        }
    }

    /// A boolean; `default` when it is absent.
    pub fn flag(&mut self, setting: Setting, default: bool) -> bool {
        self.parsed(setting, default, value::boolean)
    }

    /// A list: several values, each of which may hold several, separated by commas or white space. `None` when it is absent.
    pub fn list(&mut self, setting: Setting) -> Option<(Vec<&'a str>, &'a Place)> {
        let given = self.given(setting)?;
        let separators = |c: char| c == ',' || c.is_whitespace();
        let items = given
            .values
            .iter()
            .flat_map(|value| value.split(separators))
            .filter(|item| !item.is_empty());
        Some((items.collect(), &given.place))
    }

    /// A list of parsed items. `None` when it is absent.
    pub fn parsed_list<T>(&mut self, setting: Setting, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let (items, place) = self.list(setting)?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match parse(item) {
                Ok(value) => values.push(value),
                Err(message) => self.problem(place, message),
            }
        }
        Some(values)
    }

    /// Notes a problem with what was given.
    pub fn problem(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(Problem {
            place: Some(place.clone()),
            message: message.into(),
        });
    }

    /// Notes a problem with what was not given.
    pub fn missing(&mut self, message: impl Into<String>) {
        self.problems.push(Problem {
            place: None,
            message: message.into(),
        });
    }

    /// Notes something that works but was hardly meant.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    /// The value with all warnings, or all problems.
    ///
    /// # Errors
    /// When there is any problem.
    pub fn finish<T>(self, value: T) -> Result<(T, Vec<String>), Problems> {
        if self.problems.is_empty() {
            Ok((value, self.warnings))
        } else {
            Err(Problems(self.problems))
        }
    }
}
