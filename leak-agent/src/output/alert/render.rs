//! A notification in the form that a receiver of each kind reads. The webhook's is the notification itself, as JSON.

pub(super) mod alertmanager;
pub(super) mod environment;
pub(super) mod line;

use crate::output::text::{capped, visible};

/// Longer texts are cut in labels, variables and lines: the JSON has them whole.
const TEXT_CHARS: usize = 1_000;

/// A text of another process, safe to show and of bounded length.
fn shown(text: &str) -> String {
    capped(&visible(text), TEXT_CHARS).into_owned()
}

/// Seconds since the epoch as RFC 3339, in UTC: `2026-11-29T17:03:05.250Z`. What lies outside the years 1970 to 9999 is cut to
/// them.
pub(super) fn rfc3339(unix: f64) -> String {
    let millis = if unix.is_finite() {
        (unix * 1_000.0).clamp(0.0, 253_402_300_799_999.0)
    } else {
        0.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that fits"
    )]
    let millis = millis as u64;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    // 400 years have as many days, wherever they begin.
    year += days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests;
