//! Columns as Docker's tables have them: cells end at tabs, columns are as wide as their widest cell plus 3.
//!
//! The rule is Go's `text/tabwriter` with minimal width 10 and padding 3: a column is a run of lines that have a
//! cell there, so a line without tabs (a wrapped text) ends the columns above it.

const WIDTH_MIN: usize = 10;
const PADDING: usize = 3;

/// Lays out lines whose cells are separated by tabs. What follows a line's last tab is no cell and has no width.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    // widths[line][column], filled column run by column run.
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut line = 0;
        while line < lines.len() {
            let run_end = (line..lines.len()).find(|at| widths[*at].len() <= column).unwrap_or(lines.len());
            let cells = lines[line..run_end].iter().map(|line| line[column].chars().count());
            let widest = cells.max().unwrap_or(0);
            for widths in &mut widths[line..run_end] {
                widths[column] = (widest + PADDING).max(WIDTH_MIN);
            }
            line = run_end.max(line) + 1;
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            aligned.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            aligned.push_str(cell);
            if let Some(width) = widths.get(column) {
                aligned.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
    }
    aligned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_line_up() {
        #[rustfmt::skip]
        let cases = [
            ("", ""),
            ("no cells\n", "no cells\n"),
            ("ID\tNAME\n1\tweb\n", "ID        NAME\n1         web\n"),
            ("ID\tNAME\tX\nlonger than ten\t\ty\n", "ID                NAME      X\nlonger than ten             y\n"),
            ("ü\tx\n", "ü         x\n"),
            // A line without the cell ends the column: what follows has a width of its own.
            ("long long long\tx\nno cell\na\tb\n", "long long long   x\nno cell\na         b\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(align(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_cell_is_there_in_order(cells in prop::collection::vec(prop::collection::vec("[a-zü ]{0,20}", 1..5), 0..8)) {
            let text: Vec<String> = cells.iter().map(|line| line.join("\t")).collect();
            let aligned = align(&text.join("\n"));
            let mut rest = aligned.as_str();
            for cell in cells.iter().flatten() {
                let at = rest.find(cell.as_str());
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap_or(0) + cell.len()..];
            }
        }

        #[test]
        fn no_text_panics(text in "[ab\t\n]{0,60}") {
            align(&text);
        }
    }
}
