//! Progress as people see it: one story, on a terminal and elsewhere.

use super::*;
use crate::progress::fixture::{look, replicated, service, updating};
use crate::progress::watch::Watch;
use serde_json::json;

/// A service of two tasks comes up, loses one, and stands in the end.
fn story(width: Option<usize>) -> String {
    let mut out = Vec::new();
    let mut display = Display::new(&mut out, width);
    let mut watch = Watch::default();
    let looks: [&[&str]; 5] = [
        &[],
        &[
            "a 1 running preparing 0",
            "b 2 running pending 0: no suitable node (scheduling constraints not satisfied on 12 nodes; insufficient resources)",
        ],
        &["a 1 running running 2", "b 2 running starting 2"],
        &["a 1 running running 2", "b 2 running running 3"],
        &["a 1 running running 2", "b 2 running running 3"],
    ];
    for (tasks, second) in looks.into_iter().zip([0, 1, 2, 3, 8]) {
        let progress = look(&mut watch, &replicated(2), tasks, &[], second);
        display.show(lines(&progress));
        display.show(remark(&progress.verdict, "web"));
    }
    String::from_utf8(out).expect("text")
}

#[test]
fn elsewhere_each_change_is_a_line() {
    let expected = "\
overall progress: 0 out of 2 tasks
1/2: preparing
2/2: no suitable node (scheduling constraints not satisfied on 12 nodes; insuff…
overall progress: 1 out of 2 tasks
1/2: running
2/2: starting
overall progress: 2 out of 2 tasks
2/2: running
verify: Waiting 5 seconds to verify that tasks are stable...
verify: Service web converged
";
    assert_eq!(story(None), expected);
}

/// What a terminal of this many columns shows in the end.
fn screen(written: &str) -> Vec<String> {
    let mut rows: Vec<String> = vec![String::new()];
    let (mut row, mut rest) = (0_usize, written);
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => {
                row += 1;
                if row == rows.len() {
                    rows.push(String::new());
                }
            }
            '\r' => {}
            '\x1b' => {
                let end = rest.find(|letter: char| letter.is_ascii_alphabetic()).expect("a command");
                let count: usize = rest[1..end].parse().expect("a number");
                match &rest[end..=end] {
                    "A" => row -= count,
                    "B" => row += count,
                    "K" => rows[row].clear(),
                    other => panic!("unknown command {other}"),
                }
                rest = &rest[end + 1..];
            }
            letter => rows[row].push(letter),
        }
    }
    rows
}

#[test]
fn on_a_terminal_lines_change_in_place() {
    let done = "=".repeat(50);
    let expected = [
        "overall progress: 2 out of 2 tasks".to_owned(),
        format!("1/2: running   [{done}>]"),
        format!("2/2: running   [{done}>]"),
        "verify: Service web converged".to_owned(),
        String::new(),
    ];
    assert_eq!(screen(&story(Some(120))), expected);

    let narrow = screen(&story(Some(40)));
    assert_eq!(narrow[1], format!("1/2: running   [{}>]", "=".repeat(18)));
    assert_eq!(narrow[3], "verify: Service web converged");
    assert_eq!(screen(&story(Some(20)))[1], "1/2: running  ");

    // The very bytes of one change: up, clear, text, and back down.
    let mut out = Vec::new();
    let mut display = Display::new(&mut out, Some(80));
    display.show(vec![Line::new("a", "1"), Line::new("b", "1")]);
    display.show(vec![Line::new("a", "2"), Line::new("b", "1")]);
    assert_eq!(String::from_utf8(out).expect("text"), "a: 1\nb: 1\n\x1b[2A\x1b[2K\ra: 2\x1b[2B\r");
}

#[test]
fn rollbacks_jobs_and_waiting_have_words_of_their_own() {
    let text = |service, tasks: &[&str]| {
        let progress = look(&mut Watch::default(), &service, tasks, &[], 9);
        let all = lines(&progress).into_iter().chain(remark(&progress.verdict, "web"));
        all.map(|line| plain(&line).trim_end().to_owned()).collect::<Vec<_>>()
    };
    #[rustfmt::skip]
    let cases: [(_, &[&str], &[&str]); 5] = [
        (updating(1, "rollback_started"), &["a 1 running starting 0"], &["overall progress: rolling back update: 0 out of 1 tasks", "1/1: starting"]),
        (updating(1, "rollback_completed"), &["a 1 running running 0"],
         &["overall progress: rolling back update: 1 out of 1 tasks", "1/1: running", "verify: Service web converged", "rollback: the message"]),
        (service(json!({"Global": {}})), &[], &["overall progress: waiting for new tasks", "waiting: no node takes a task of this service"]),
        (service(json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 12}})), &["a 0 complete complete 0", "b 1 complete running 0"],
         &["job progress:  1 out of 12 complete", "active tasks: 1 out of 2 tasks", "1/12: complete", "2/12: running"]),
        (service(json!({"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}})), &["a 0 complete complete 0"],
         &["job progress: 1 out of 1 complete", "active tasks: 0 out of 0 tasks", "1/1: complete", "job complete"]),
    ];
    for (service, tasks, expected) in cases {
        assert_eq!(text(service, tasks), expected);
    }
}

#[test]
fn errors_stay_on_one_line() {
    assert_eq!(cut("a\nb"), "a b");
    assert_eq!(cut(&"ä".repeat(75)), "ä".repeat(75));
    assert_eq!(cut(&"ä".repeat(76)), format!("{}…", "ä".repeat(74)));
}
