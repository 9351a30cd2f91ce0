//! Why a request failed, and what follows from it: a retry, a note that the image is gone, or the end of the run.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;

/// Upper limit of waits between two tries, including those that servers request.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(600);

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// A retry may succeed.
    #[error("{why}")]
    Transient {
        /// The message.
        why: String,
        /// Wait requested by the server.
        wait: Option<Duration>,
    },
    /// A limit of the service is reached that a retry would not outlast. It ends the run; a later one continues.
    #[error("{0}")]
    LimitReached(String),
    /// The resource does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A retry would fail too.
    #[error("{0}")]
    Permanent(String),
}

impl FetchError {
    /// A transient failure without a requested wait.
    pub(super) fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), wait: None }
    }

    /// A failure that passes after the wait that the server requests, if any.
    pub(super) fn after(why: String, wait: Option<Duration>) -> Self {
        match wait {
            Some(wait) if wait > MAX_WAIT => {
                let minutes = wait.as_secs().div_ceil(60);
                Self::LimitReached(format!("{why}; run the same command again in {minutes} minutes"))
            }
            wait => Self::Transient { why, wait },
        }
    }

    /// Classifies the status of a failed request. Transient are timeouts, rate limits, errors of servers and of the
    /// proxies before them (520 to 530), and whatever comes with the time to try again; 404, 410 and 451 mean that the
    /// resource is gone.
    pub(super) fn from_status(status: StatusCode, why: String, wait: Option<Duration>) -> Self {
        match status.as_u16() {
            404 | 410 | 451 => Self::NotFound(why),
            501 | 505 => Self::Permanent(why), // not implemented
            408 | 425 | 429 | 500.. => Self::after(why, wait),
            403 if wait.is_some() => Self::after(why, wait),
            _ => Self::Permanent(why),
        }
    }
}

/// Parses a `Retry-After` value: seconds, or a date in one of the formats of HTTP.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok().or((seconds > 0.0).then_some(Duration::MAX));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after(" 0.5 "), Some(Duration::from_millis(500)));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        assert!(parse_retry_after(&soon).is_some_and(|wait| (85..=90).contains(&wait.as_secs())), "{soon}");
        for past in ["Wed, 21 Oct 2015 07:28:00 GMT", "Wednesday, 21-Oct-15 07:28:00 GMT", "Wed Oct 21 07:28:00 2015"] {
            assert_eq!(parse_retry_after(past), Some(Duration::ZERO), "{past}");
        }
        for invalid in ["later", "", "-5", "nan", "-inf"] {
            assert_eq!(parse_retry_after(invalid), None, "{invalid}");
        }
        assert!(parse_retry_after(&"9".repeat(400)).is_some_and(|wait| wait > MAX_WAIT));
    }

    #[test]
    fn statuses_are_classified() {
        let error = |status: u16, wait: Option<u64>| {
            let status = StatusCode::from_u16(status).unwrap();
            FetchError::from_status(status, "why".into(), wait.map(Duration::from_secs))
        };
        for status in [408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 598] {
            assert!(matches!(error(status, None), FetchError::Transient { wait: None, .. }), "{status}");
        }
        for status in [400, 401, 403, 405, 414, 501, 505] {
            assert!(matches!(error(status, None), FetchError::Permanent(_)), "{status}");
        }
        for status in [404, 410, 451] {
            assert!(matches!(error(status, None), FetchError::NotFound(_)), "{status}");
        }
        assert!(matches!(error(403, Some(5)), FetchError::Transient { wait: Some(_), .. }));
        let tomorrow = error(429, Some(86_400));
        assert!(matches!(&tomorrow, FetchError::LimitReached(why) if why.contains("in 1440 minutes")), "{tomorrow}");
    }
}
