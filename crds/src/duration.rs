//! Durations as Go and kubectl write them: `30s`, `1m30s`, `500ms`, `1.5h`.

use std::time::Duration;

/// The longest `timeout` a Task may have.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The `timeout` of what does not say its own.
pub(crate) fn default_timeout() -> String {
    "30s".to_owned()
}

/// What the API server checks of a `timeout`.
pub(crate) fn timeout_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches('^([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*$')",
                "message": "timeout must be a duration with units, such as 30s, 1m30s, 500ms or 1.5h",
            },
            {
                "rule": "!self.matches('^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') || (duration(self) > duration('0s') && duration(self) <= duration('24h'))",
                "message": "timeout must be greater than 0 and at most 24h",
            },
        ],
    })
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write a number and a unit (ns, us, ms, s, m or h), such as 30s, 1m30s or 500ms")]
pub struct InvalidDuration {
    text: String,
}

/// Reads a duration by the rules of Go's `time.ParseDuration`, without a sign: a timeout is never negative.
/// <https://pkg.go.dev/time#ParseDuration>
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration { text: text.to_owned() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let part = scaled(number, nanos_in(unit).ok_or_else(invalid)?).ok_or_else(invalid)?;
        nanos = nanos.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| invalid())
}

fn nanos_in(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `unit`, in integers: `1.5` x 1 h is exact.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let digits = &fraction[..fraction.len().min(18)];
    let part = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    let scale = 10u128.pow(u32::try_from(digits.len()).ok()?);
    u128::from(whole).checked_mul(unit)?.checked_add(part.checked_mul(unit)? / scale)
}

/// A length of time for people: `850ms`, `1.2s`, `3m5s`, `2h10m`.
pub fn display(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{}s", millis % 1000 / 100),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];

    /// A number, with a fraction of any length or none, and a unit; now and then neither is right.
    fn part() -> impl Strategy<Value = String> {
        let number = prop_oneof![9 => "[0-9]{1,4}(\\.[0-9]{0,60})?|\\.[0-9]{1,9}", 1 => "[0-9.]{1,25}"];
        let unit = prop::sample::select(&UNITS[..]).prop_map(str::to_owned);
        let unit = prop_oneof![9 => unit, 1 => "[a-zA-Z -]{1,3}"];
        (number, unit).prop_map(|(number, unit)| number + &unit)
    }

    /// As Go writes a duration.
    fn go(duration: Duration) -> String {
        let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
        format!("{}h{}m{}.{nanos:09}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    proptest! {
        #[test]
        fn fuzz_what_go_writes_is_read(nanos: u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&go(duration)), Ok(duration));
        }

        #[test]
        fn fuzz_a_unit_is_so_many_smaller_ones(count in 0..1_000_000_u64, at in 0..UNITS.len() - 1) {
            let times = if at < 5 { 1_000 } else { 60 };
            // The three ways to write a microsecond are one unit.
            let larger = UNITS[if at == 0 { 1 } else { at.max(3) + 1 }];
            let smaller = parse(&format!("{}{}", count * times, UNITS[at]));
            prop_assert_eq!(smaller, parse(&format!("{count}{larger}")));
        }

        #[test]
        fn fuzz_what_is_shown_can_be_read(
            nanos in prop_oneof![0..1_000_000_000_u64, 0..70_000_000_000_u64, any::<u64>()]
        ) {
            let duration = Duration::from_nanos(nanos);
            let step = match nanos / 1_000_000_000 {
                0 => 1_000_000,
                1..60 => 100_000_000,
                60..3_600 => 1_000_000_000,
                _ => 60_000_000_000,
            };
            prop_assert_eq!(parse(&display(duration)), Ok(Duration::from_nanos(nanos / step * step)));
        }

        /// Parts add up, in whichever order; where one cannot be read, neither can the whole.
        #[test]
        fn fuzz_parts_add_up(parts in vec(part(), 1..5)) {
            let read: Option<Vec<Duration>> = parts.iter().map(|part| parse(part).ok()).collect();
            let sum = read.and_then(|read| read.into_iter().try_fold(Duration::ZERO, Duration::checked_add));
            let sum = sum.filter(|sum| u64::try_from(sum.as_nanos()).is_ok());
            prop_assert_eq!(parse(&parts.concat()).ok(), sum, "{:?}", parts);
            let reversed: String = parts.iter().rev().map(String::as_str).collect();
            prop_assert_eq!(parse(&reversed).ok(), sum, "{}", reversed);
        }

        #[test]
        fn fuzz_no_text_makes_it_panic(text in "[0-9.nums\u{b5}h]{0,30}|.{0,30}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&go(duration)), Ok(duration));
            }
        }
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("30s", Duration::from_secs(30)),
            ("1m30s", Duration::from_secs(90)),
            ("500ms", Duration::from_millis(500)),
            ("1.5h", Duration::from_secs(5400)),
            (".5s", Duration::from_millis(500)),
            ("1.s", Duration::from_secs(1)),
            ("0.1s", Duration::from_millis(100)),
            ("2h45m10s5ms", Duration::from_millis(9_910_005)),
            ("7us", Duration::from_micros(7)),
            ("7\u{b5}s", Duration::from_micros(7)),
            ("24h", MAX_TIMEOUT),
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "30", "s", "1.5.1s", ".s", "-5s", "+5s", "1 s", "5d", "1e3s", "99999999999999999999s", "30S"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_lengths_for_people() {
        for (millis, expected) in
            [(0, "0ms"), (850, "850ms"), (1_250, "1.2s"), (59_999, "59.9s"), (185_000, "3m5s"), (7_800_000, "2h10m")]
        {
            assert_eq!(display(Duration::from_millis(millis)), expected);
        }
    }
}
