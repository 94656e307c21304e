//! The table at the end, and medians.

/// One line: a figure of both programs, and what was hoped for.
#[derive(Debug)]
struct Line {
    figure: String,
    unit: &'static str,
    ours: f64,
    peer: Option<f64>,
    goal: Goal,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this part of the peer's.
    OfPeer(f64),
    /// At most this, in the figure's unit.
    AtMost(f64),
    /// Told for its own sake.
    None,
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    pub(crate) fn add(
        &mut self,
        figure: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: Option<f64>,
        goal: Goal,
    ) {
        let line = Line {
            figure: figure.into(),
            unit,
            ours,
            peer,
            goal,
        };
        eprintln!("  = {}", line.cells().join("  "));
        self.0.push(line);
    }

    /// A table in Markdown, as `docs/performance.md` has it.
    pub(crate) fn print(&self) {
        println!();
        println!("| figure | ours | Go 0.7.18 | ratio | goal | |");
        println!("| --- | ---: | ---: | ---: | --- | --- |");
        for line in &self.0 {
            println!("| {} |", line.cells().join(" | "));
        }
        let missed = self.0.iter().filter(|line| line.verdict() == "MISSED").count();
        println!();
        println!("{missed} goals missed");
    }
}

impl Line {
    fn cells(&self) -> [String; 6] {
        let value = |value: f64| format!("{} {}", digits(value), self.unit);
        let goal = match self.goal {
            Goal::OfPeer(part) => format!("≤ 1/{} of Go's", 1.0 / part),
            Goal::AtMost(most) => format!("≤ {most} {}", self.unit),
            Goal::None => String::new(),
        };
        let ratio = self
            .peer
            .map_or_else(String::new, |peer| format!("1/{:.1}", peer / self.ours));
        let peer = self.peer.map_or_else(|| "-".to_owned(), value);
        [
            self.figure.clone(),
            value(self.ours),
            peer,
            ratio,
            goal,
            self.verdict().to_owned(),
        ]
    }

    fn verdict(&self) -> &'static str {
        let most = match (self.goal, self.peer) {
            (Goal::OfPeer(part), Some(peer)) => part * peer,
            (Goal::AtMost(most), _) => most,
            (Goal::OfPeer(_), None) | (Goal::None, _) => return "",
        };
        if self.ours <= most { "ok" } else { "MISSED" }
    }
}

fn digits(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that this part of all values does not exceed.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let steps = (1..=sorted.len()).find(|count| *count as f64 >= part * sorted.len() as f64);
    steps.map_or(f64::NAN, |count| sorted[count - 1])
}
