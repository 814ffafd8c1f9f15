//! Which exposition format a client wants, by its `Accept` header (RFC 9110, 12.5.1).

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
}

/// An `Accept` header with more ranges than this is not read further.
const MOST_RANGES: usize = 32;

impl Format {
    /// The `Content-Type` of an answer in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that the client likes best; the earlier one of two that it likes equally. A client that
    /// takes neither, or says nothing, gets Prometheus text: it will rather have that than an error.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',').take(MOST_RANGES) {
            if let Some((format, quality)) = offer(range)
                && quality > best.1
            {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// The format that a media range asks for, and how much it is liked.
fn offer(range: &str) -> Option<(Format, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let format = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => Format::OpenMetrics,
        "text/plain" | "text/*" | "*/*" => Format::Prometheus,
        _ => return None,
    };
    let mut quality = 1.0;
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            "version" => {
                let ours = match format {
                    Format::Prometheus => ["0.0.4"].contains(&value),
                    Format::OpenMetrics => ["1.0.0", "0.0.1"].contains(&value),
                };
                if !ours {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some((format, quality))
}

#[cfg(test)]
mod tests {
    use super::Format::{self, OpenMetrics, Prometheus};

    /// What real clients send, and what odd ones may.
    #[test]
    fn accept_header_selects_the_format_by_quality() {
        for (accept, wanted) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0 ; Q=0.1", OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;q=0.5",
                Prometheus,
            ),
            ("text/plain;q=0.5,application/openmetrics-text;q=0.5", Prometheus),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.5", OpenMetrics),
            ("application/openmetrics-text;q=0,text/plain", Prometheus),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;version=9.9.9,*/*;q=0.1", Prometheus),
            ("application/openmetrics-text;q=NaN", Prometheus),
            ("application/openmetrics-text;q=7", Prometheus),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.1",
                OpenMetrics,
            ),
            (";;;,,,q=1", Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), wanted, "{accept}");
        }
    }
}
