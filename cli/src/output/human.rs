//! What lists show: how long ago and how long in words, labels on one line.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Timestamp;

/// `5 seconds`, `About an hour`, `3 months`: Docker's words.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1_800) / 3_600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3_600 / 24 / 365),
    }
}

/// `ready` to `Ready`.
pub fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `2 hours ago`; nothing of what is no time.
pub fn ago(rfc3339: &str, now: Timestamp) -> String {
    let since = Timestamp::from_rfc3339(rfc3339);
    since.map_or_else(String::new, |since| format!("{} ago", duration(now.since(since))))
}

/// `2026-11-20 08:00:00.123 +0000 utc`, as Docker writes a time.
pub fn as_go_prints(rfc3339: &str) -> String {
    match rfc3339.strip_suffix('Z').and_then(|time| time.split_once('T')) {
        Some((date, time)) => format!("{date} {time} +0000 utc"),
        None => rfc3339.into(),
    }
}

/// `a=1,bare=`, as Docker's lists show labels.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        const HOUR: u64 = 3_600;
        #[rustfmt::skip]
        let cases = [
            (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (150, "2 minutes"),
            (HOUR, "About an hour"), (2 * HOUR - 1, "2 hours"), (47 * HOUR, "47 hours"), (72 * HOUR, "3 days"),
            (24 * 20 * HOUR, "2 weeks"), (2160 * HOUR, "3 months"), (24 * 365 * 3 * HOUR, "3 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
