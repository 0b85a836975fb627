//! Progress as lines: on a terminal they change in place, elsewhere each change is a line of its own.

use std::io::Write;
use std::time::Duration;

use super::{Overall, Progress, Shown, Verdict};

/// A line under its name, like `1/3: running`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub text: String,
    /// Steps done, and how many there are.
    pub bar: Option<(u32, u32)>,
}

impl Line {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), bar: None }
    }
}

/// Longest name of a state that is shown.
const STATE_CHARS: usize = 9;
/// Error texts are cut, so that they stay on one line.
const ERROR_CHARS_MAX: usize = 75;

/// What one look says.
pub fn lines(progress: &Progress) -> Vec<Line> {
    let mut lines = overall(&progress.overall);
    for row in &progress.rows {
        let (text, bar) = match &row.shown {
            Shown::Nothing => (String::new(), None),
            Shown::Error(error) => (cut(error), None),
            Shown::State { state, step, steps } => (format!("{state:<STATE_CHARS$}"), Some((*step, *steps))),
        };
        lines.push(Line { name: row.label.clone(), text, bar });
    }
    lines
}

fn overall(overall: &Overall) -> Vec<Line> {
    match overall {
        Overall::Tasks { running, wanted, rolling_back } => {
            let what = if *rolling_back { "rolling back update: " } else { "" };
            vec![Line::new("overall progress", format!("{what}{running} out of {wanted} tasks"))]
        }
        Overall::WaitingForTasks => vec![Line::new("overall progress", "waiting for new tasks")],
        Overall::Job { complete, total, active } => {
            let digits = total.to_string().len();
            let mut job = Line::new("job progress", format!("{complete:>digits$} out of {total} complete"));
            // A bar has few steps; for more tasks than that its ends are what counts.
            let steps = u32::try_from(*total).ok().filter(|total| *total > 0);
            job.bar = steps.map(|steps| (u32::try_from(*complete).unwrap_or(steps).min(steps), steps));
            let mut lines = vec![job];
            if let Some((active, of)) = active {
                let digits = active.max(of).to_string().len();
                lines
                    .push(Line::new("active tasks", format!("{active:>digits$} out of {of:>digits$} tasks")));
            }
            lines
        }
    }
}

/// What is said below the tasks; none while there is nothing to say.
pub fn remark(verdict: &Verdict, service: &str) -> Vec<Line> {
    match verdict {
        Verdict::Working | Verdict::Failed { .. } => Vec::new(),
        Verdict::Blocked { reason } => vec![Line::new("waiting", cut(reason))],
        Verdict::Verifying { left } => {
            let text = format!("Waiting {} seconds to verify that tasks are stable...", whole_seconds(*left));
            vec![Line::new("verify", text)]
        }
        Verdict::Converged { note } => {
            let mut lines = vec![Line::new("verify", format!("Service {service} converged"))];
            lines.extend(note.as_ref().map(|note| Line::new("rollback", note.clone())));
            lines
        }
        Verdict::RolledBack { message } => vec![
            Line::new("verify", format!("Service {service} converged")),
            Line::new("rollback", message.clone()),
        ],
        Verdict::JobComplete => vec![Line::new("", "job complete")],
    }
}

fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

fn cut(error: &str) -> String {
    let line = error.replace(['\n', '\r'], " ");
    match line.chars().count() > ERROR_CHARS_MAX {
        true => line.chars().take(ERROR_CHARS_MAX - 1).chain(['…']).collect(),
        false => line,
    }
}

/// Where lines go.
pub struct Display<W> {
    out: W,
    /// Columns of the terminal; none when there is no terminal.
    width: Option<usize>,
    /// What is shown, by name, from top to bottom.
    shown: Vec<Line>,
}

impl<W: Write> Display<W> {
    pub fn new(out: W, width: Option<usize>) -> Self {
        Self { out, width, shown: Vec::new() }
    }

    /// Shows each line: in the place of the one with its name, or below all.
    ///
    /// A screen that is gone is no reason to stop waiting, so errors are not.
    pub fn show(&mut self, lines: Vec<Line>) {
        for line in lines {
            let place = self.shown.iter().position(|shown| shown.name == line.name);
            if place.is_some_and(|place| self.shown[place] == line) {
                continue;
            }
            match self.width {
                None => self.append(&line),
                Some(width) => self.draw(place, &line, width),
            }
            match place {
                Some(place) => self.shown[place] = line,
                None => self.shown.push(line),
            }
        }
        let _ = self.out.flush();
    }

    /// A line whose text has ended stays as it is: what comes under its name is a new line.
    pub fn close(&mut self, name: &str) {
        if let Some(line) = self.shown.iter_mut().find(|line| line.name == name) {
            line.name.push('\0');
        }
    }

    fn append(&mut self, line: &Line) {
        if !line.text.is_empty() {
            let _ = writeln!(self.out, "{}", plain(line).trim_end());
        }
    }

    fn draw(&mut self, place: Option<usize>, line: &Line, width: usize) {
        let text = on_terminal(line, width);
        let _ = match place {
            None => writeln!(self.out, "{text}"),
            Some(place) => {
                let up = self.shown.len() - place;
                write!(self.out, "\x1b[{up}A\x1b[2K\r{text}\x1b[{up}B\r")
            }
        };
    }
}

fn plain(line: &Line) -> String {
    if line.name.is_empty() { line.text.clone() } else { format!("{}: {}", line.name, line.text) }
}

/// Cut to the terminal's width: a line that wraps would put every later one in the wrong place.
fn on_terminal(line: &Line, width: usize) -> String {
    const BAR_WIDTHS: [u32; 2] = [50, 18];
    let mut text = plain(line);
    if let Some((step, steps)) = line.bar {
        let room = width.saturating_sub(text.chars().count() + 5);
        if let Some(bar_width) = BAR_WIDTHS.into_iter().find(|bar| *bar as usize <= room) {
            let done = u64::from(bar_width) * u64::from(step) / u64::from(steps.max(1));
            let done = usize::try_from(done).unwrap_or_default();
            let left = (bar_width as usize).saturating_sub(done);
            text = format!("{text} [{}>{}]", "=".repeat(done), " ".repeat(left));
        }
    }
    text.chars().filter(|letter| !letter.is_control()).take(width.saturating_sub(1)).collect()
}

#[cfg(test)]
#[path = "show_test.rs"]
mod tests;
