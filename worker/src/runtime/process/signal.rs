//! Names and numbers of stop signals.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// Reads `SIGTERM`, `TERM`, `term` and `15`; empty is SIGTERM.
pub fn parse(text: &str) -> Result<Signal, String> {
    if text.is_empty() {
        return Ok(Signal::SIGTERM);
    }
    let unknown = || format!("'{text}' is not a signal that a process task can be stopped with");
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).map_err(|_| unknown());
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    Signal::from_str(&name).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        #[rustfmt::skip]
        let cases = [
            ("",        Some(Signal::SIGTERM)),
            ("SIGINT",  Some(Signal::SIGINT)),
            ("quit",    Some(Signal::SIGQUIT)),
            ("9",       Some(Signal::SIGKILL)),
            ("0",       None),
            ("-1",      None),
            ("99",      None),
            ("SIGRTMIN+3", None),
            ("SIGWISH", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
