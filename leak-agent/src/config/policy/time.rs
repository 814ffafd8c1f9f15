//! Durations and dates as the configuration file writes them.

use crate::config::parse_duration;
use serde::{Deserialize as _, Deserializer, de};
use std::time::Duration;

/// Reads a text like "5m".
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(de::Error::custom)
}

/// The end of a day, or the moment, as Unix time in seconds; without an offset it is in UTC. `None` = a time without a
/// date, or no such day.
pub(super) fn unix_seconds(of: &toml::value::Datetime) -> Option<f64> {
    let date = of.date?;
    let days = days_since_epoch(i64::from(date.year), u8::into(date.month), u8::into(date.day))?;
    let seconds = match of.time {
        Some(time) => {
            let minutes = i64::from(time.hour) * 60 + i64::from(time.minute);
            minutes * 60 + i64::from(time.second.unwrap_or(0))
        }
        None => 86_400,
    };
    let offset = match of.offset {
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes) * 60,
        Some(toml::value::Offset::Z) | None => 0,
    };
    Some((days * 86_400 + seconds - offset) as f64)
}

/// Days from 1970-01-01 to this day of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(days + (153 * month + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dates and moments become seconds since the epoch; a date alone means its end.
    #[test]
    fn date_becomes_the_end_of_its_day() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0.0)),
            ("1970-01-01", Some(86_400.0)),
            ("2024-02-29T12:00:00+01:00", Some(1_709_204_400.0)),
            ("2026-11-29T16:46:20Z", Some(1_795_970_780.0)),
            ("16:46:20", None),
        ] {
            assert_eq!(unix_seconds(&text.parse().unwrap()), seconds, "{text}");
        }
        assert_eq!(days_since_epoch(2025, 2, 29), None);
        assert_eq!(days_since_epoch(2025, 13, 1), None);
    }
}
