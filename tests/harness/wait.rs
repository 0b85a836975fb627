//! Waiting for a state with a deadline; never for a change, and never for a pause.

use std::time::Duration;

use common::time::{Clock, SystemClock};

/// Between two looks. Short against what is waited for, long against what a look costs.
const LOOK_PERIOD: Duration = Duration::from_millis(25);

/// Looks until `probe` gives a value. An `Err` says what is seen now; the last one is in the error.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let start = SystemClock.monotonic();
    let mut seen = String::from("nothing: the first look did not end");
    loop {
        let left = deadline.saturating_sub(SystemClock.monotonic().since(start));
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(now)) => seen = now,
            Err(_) => {}
        }
        if SystemClock.monotonic().since(start) >= deadline {
            anyhow::bail!("not within {deadline:?}: {what}; seen last: {seen}");
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_value_or_says_what_was_seen() {
        let mut looks = 0;
        let third = async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        };
        assert_eq!(wait_until("three", Duration::from_secs(9), third).await.unwrap(), 3);

        let never = async || Err::<(), _>("two nodes".into());
        let error =
            wait_until("three nodes", Duration::from_millis(200), never).await.unwrap_err().to_string();
        assert!(error.contains("three nodes") && error.contains("two nodes"), "{error}");

        let stuck = async || std::future::pending::<Result<(), String>>().await;
        wait_until("an answer", Duration::from_millis(200), stuck).await.unwrap_err();
    }
}
