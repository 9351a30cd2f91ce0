//! API keys in URLs: they are redacted in messages and do not follow redirects to other hosts.

use anyhow::{Context, Result};
use landfall_common::text::sanitize_line;
use reqwest::Url;
use reqwest::redirect::Policy;

/// URL query parameters whose values are secret, in lower case.
const SECRET_PARAMETERS: [&str; 8] =
    ["api_key", "key", "access_token", "signature", "token", "sig", "x-amz-signature", "x-amz-security-token"];
/// Maximum number of redirects per request.
const MAX_REDIRECTS: usize = 10;

/// Returns whether the value of a query parameter is secret.
fn is_secret(name: &str) -> bool {
    SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// The values of the secret parameters of a URL.
pub(super) fn secrets_in(url: &Url) -> impl Iterator<Item = String> {
    url.query_pairs().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.into_owned())
}

/// Follows redirects, but not with an API key in the URL to another host. The `Authorization` header is removed by
/// `reqwest` then.
pub(super) fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let Some(first) = attempt.previous().first() else { return attempt.follow() };
        let next = attempt.url();
        let is_upgrade =
            first.scheme() == "http" && next.scheme() == "https" && (first.port(), next.port()) == (None, None);
        let is_same_host = first.origin() == next.origin() || is_upgrade && first.host() == next.host();
        if !is_same_host && secrets_in(first).next().is_some() {
            let host = sanitize_line(next.host_str().unwrap_or_default());
            return attempt.error(format!("it redirects to another host, {host}, which must not receive the API key"));
        }
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        attempt.follow()
    })
}

/// Formats a URL with user name, password and the values of secret parameters redacted.
pub(super) fn redact_keys(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Only URLs without a host refuse this, and those have neither.
        _ = shown.set_username("HIDDEN").and_then(|()| shown.set_password(None));
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| is_secret(name)) {
        let redacted =
            pairs.iter().map(|(name, value)| (name.as_str(), if is_secret(name) { "HIDDEN" } else { value.as_str() }));
        shown.query_pairs_mut().clear().extend_pairs(redacted);
    }
    shown.to_string()
}

/// Parses a URL and appends query parameters to it.
///
/// # Errors
/// If `base` is not a valid URL.
pub(super) fn url_with_query<'a>(base: &str, query: impl IntoIterator<Item = (&'a str, String)>) -> Result<Url> {
    let mut url = Url::parse(base).with_context(|| format!("`{base}` is not a valid URL"))?;
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_redacted_in_urls() {
        let url =
            url_with_query("https://example.org/a?x=1", [("api_key", "abc".into()), ("text", "Paris -fun".into())]);
        let shown = redact_keys(&url.unwrap());
        assert_eq!(shown, "https://example.org/a?x=1&api_key=HIDDEN&text=Paris+-fun");
        let shown = redact_keys(&Url::parse("https://me:secret@example.org/a?X-Amz-Signature=abc").unwrap());
        assert_eq!(shown, "https://HIDDEN@example.org/a?X-Amz-Signature=HIDDEN");
    }
}
