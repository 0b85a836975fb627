//! Figures of a measurement beside the limit they are held against, as a table for people.

use std::fmt::{self, Write as _};

/// What was measured, smallest first. Never empty.
#[derive(Clone, Debug)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// `None` where nothing was measured.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    pub fn one(value: f64) -> Self {
        Self(vec![value])
    }

    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// The upper one of the two in the middle where their number is even: not the flattering one of a duration.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Which of the figures a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Median,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

/// What a figure has to come to.
#[derive(Clone, Debug)]
pub struct Limit {
    take: Take,
    side: Side,
    share: f64,
    of: f64,
    /// What the limit is, where it was measured rather than set.
    name: &'static str,
}

impl Limit {
    pub fn at_most(take: Take, value: f64) -> Self {
        Self { take, side: Side::AtMost, share: 1.0, of: value, name: "" }
    }

    pub fn at_least(take: Take, value: f64) -> Self {
        Self { take, side: Side::AtLeast, share: 1.0, of: value, name: "" }
    }

    /// At least this share of something else that was measured in the same run.
    pub fn share_of(share: f64, name: &'static str, measured: f64) -> Self {
        Self { take: Take::Median, side: Side::AtLeast, share, of: measured, name }
    }

    /// At most this multiple of something else that was measured in the same run.
    pub fn multiple_of(share: f64, name: &'static str, measured: f64) -> Self {
        Self { take: Take::Median, side: Side::AtMost, share, of: measured, name }
    }

    fn taken(&self, figures: &Figures) -> f64 {
        match self.take {
            Take::Median => figures.median(),
            Take::Max => figures.max(),
        }
    }

    /// None where the limit is nothing at all, of which nothing is a multiple.
    fn ratio(&self, figures: &Figures) -> Option<f64> {
        (self.of != 0.0).then(|| self.taken(figures) / self.of)
    }

    fn is_met(&self, figures: &Figures) -> bool {
        let (taken, bound) = (self.taken(figures), self.share * self.of);
        match self.side {
            Side::AtMost => taken <= bound,
            Side::AtLeast => taken >= bound,
        }
    }

    fn text(&self, unit: &str) -> String {
        let take = match self.take {
            Take::Median => "median",
            Take::Max => "worst",
        };
        let side = match self.side {
            Side::AtMost => "≤",
            Side::AtLeast => "≥",
        };
        match self.name {
            "" => format!("{take} {side} {} {unit}", digits(self.of)),
            name => format!("{side} {} × {name} ({} {unit})", self.share, digits(self.of)),
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub figures: Figures,
    /// None where the line is there to explain others.
    pub limits: Vec<Limit>,
}

impl Row {
    /// Says by how much each limit that was not met was missed.
    pub fn misses(&self) -> Vec<String> {
        let missed = self.limits.iter().filter(|limit| !limit.is_met(&self.figures));
        missed
            .map(|limit| {
                let taken = digits(limit.taken(&self.figures));
                format!("{}: {taken} {}, wanted: {}", self.what, self.unit, limit.text(self.unit))
            })
            .collect()
    }

    fn cells(&self) -> [String; 8] {
        let each =
            |text: &dyn Fn(&Limit) -> String| self.limits.iter().map(text).collect::<Vec<_>>().join("; ");
        let ratio =
            |limit: &Limit| limit.ratio(&self.figures).map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let verdict = match (self.limits.is_empty(), self.misses().is_empty()) {
            (true, _) => "",
            (false, true) => "met",
            (false, false) => "MISSED",
        };
        [
            format!("{}, {}", self.what, self.unit),
            digits(self.figures.min()),
            digits(self.figures.median()),
            digits(self.figures.max()),
            self.figures.count().to_string(),
            each(&|limit| limit.text(self.unit)),
            each(&ratio),
            verdict.into(),
        ]
    }
}

const HEADINGS: [&str; 8] = ["what", "min", "median", "max", "n", "limit", "ratio", "verdict"];

/// Lines under common headings.
#[derive(Clone, Debug, Default)]
pub struct Table(pub Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADINGS.map(String::from)];
        lines.extend(self.0.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 8] = std::array::from_fn(width);
        for line in &lines {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                match column {
                    1..=4 | 6 => write!(text, "{cell:>width$}  ", width = widths[column])?,
                    _ => write!(text, "{cell:<width$}  ", width = widths[column])?,
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 0.1 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64], limits: Vec<Limit>) -> Row {
        let figures = Figures::of(values.to_vec()).unwrap();
        Row { what: "down".into(), unit: "ms", figures, limits }
    }

    #[test]
    fn figures_are_put_in_order() {
        assert!(Figures::of(vec![]).is_none());
        let figures = Figures::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((figures.min(), figures.median(), figures.max(), figures.count()), (1.0, 3.0, 4.0, 4));
        assert_eq!(Figures::one(5.0).median(), 5.0);
    }

    #[test]
    fn a_limit_is_about_the_median_or_the_worst() {
        let limits = || vec![Limit::at_most(Take::Median, 20.0), Limit::at_most(Take::Max, 25.0)];
        assert!(row(&[10.0, 20.0, 25.0], limits()).misses().is_empty());
        assert_eq!(row(&[10.0, 20.0, 30.0], limits()).misses(), ["down: 30.0 ms, wanted: worst ≤ 25.0 ms"]);
        assert_eq!(row(&[21.0, 21.0, 30.0], limits()).misses().len(), 2);
        assert!(row(&[1.0], vec![Limit::at_least(Take::Median, 2.0)]).misses().len() == 1);
        assert!(row(&[0.0], vec![Limit::at_most(Take::Max, 0.0)]).misses().is_empty());
        assert_eq!(row(&[1.0], vec![Limit::at_most(Take::Max, 0.0)]).misses().len(), 1);
    }

    #[test]
    fn a_share_is_of_what_was_measured() {
        let half = || vec![Limit::share_of(0.5, "the disk", 100.0)];
        assert!(row(&[50.0], half()).misses().is_empty());
        assert_eq!(row(&[49.0], half()).misses(), ["down: 49.0 ms, wanted: ≥ 0.5 × the disk (100 ms)"]);
        let tenth_more = || vec![Limit::multiple_of(1.1, "the engine", 100.0)];
        assert!(row(&[109.0], tenth_more()).misses().is_empty());
        assert_eq!(
            row(&[120.0], tenth_more()).misses(),
            ["down: 120 ms, wanted: ≤ 1.1 × the engine (100 ms)"]
        );
    }

    #[test]
    fn the_table_lines_up() {
        let table = Table(vec![
            row(&[1.0, 250.0], vec![Limit::at_most(Take::Median, 200.0)]),
            Row { what: "a longer name".into(), ..row(&[0.05], vec![]) },
        ]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "what                 min  median    max  n  limit            ratio  verdict");
        assert_eq!(lines[1], "down, ms            1.00     250    250  2  median ≤ 200 ms   1.25  MISSED");
        assert_eq!(lines[2], "a longer name, ms  0.050   0.050  0.050  1");
    }
}
