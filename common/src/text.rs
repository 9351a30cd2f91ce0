//! Text that comes from outside (file names, pages, records) made safe to print, and URLs without their secrets.

use std::fmt::Display;
use std::io::Write;

use url::Url;

/// Whether a character is safe to print. Control characters other than a line break could command a terminal,
/// bidirectional overrides could reorder the text around them, and HTML forbids Unicode's noncharacters.
pub fn is_printable(c: char) -> bool {
    let is_bidi_control = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c == '\n' || !(c.is_control() || is_bidi_control || is_noncharacter)
}

/// Replaces every character that is not [printable](is_printable) with U+FFFD. Line breaks stay.
pub fn sanitize(text: impl Display) -> String {
    text.to_string().chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// As [`sanitize`], with line breaks replaced too: for names, which must not start a line of their own.
pub fn sanitize_line(text: impl Display) -> String {
    sanitize(text).replace('\n', "\u{fffd}")
}

/// JSON text with every character escaped that is not [printable](is_printable), or that ends a line for some readers:
/// the same value, safe to print. Line breaks between values stay.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) && !matches!(c, '\u{2028}' | '\u{2029}') {
            escaped.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// Prints sanitised text to standard error. Nobody can be told if that is closed.
pub fn eprint_sanitized(text: impl Display) {
    _ = writeln!(std::io::stderr().lock(), "{}", sanitize(text));
}

/// The URL without user name, password, query and fragment, any of which may hold a secret: for messages, logs and records.
pub fn redact_url(url: &Url) -> Url {
    let mut redacted = url.clone();
    redacted.set_query(None);
    redacted.set_fragment(None);
    // URLs that cannot have credentials, such as `data:`, refuse to have them removed.
    _ = redacted.set_username("");
    _ = redacted.set_password(None);
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidirectional_characters_are_replaced() {
        let text = "a\u{0}\u{b}\u{1b}\u{7f}\u{85}\u{202e}\u{2068}\u{ffff}\u{1fffe}é\n日";
        assert_eq!(sanitize(text), format!("a{}é\n日", "\u{fffd}".repeat(9)));
        assert_eq!(sanitize_line("a\nb"), "a\u{fffd}b");
    }

    #[test]
    fn escaped_json_is_printable_and_the_same_value() {
        let text = "a\u{1b}\u{9b}\u{202e}\u{2028}\u{1fffe}é\n🌍\"\\";
        let json = escape_json(&serde_json::to_string(text).unwrap());
        assert!(json.chars().all(is_printable) && json.contains("\\u009b\\u202e\\u2028\\ud83f\\udffeé"), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn redacted_urls_hold_no_secret() {
        let url = Url::parse("https://user:pass@example.org/game/5?token=abc#key").unwrap();
        assert_eq!(redact_url(&url).as_str(), "https://example.org/game/5");
        let data = Url::parse("data:text/plain,x").unwrap();
        assert_eq!(redact_url(&data), data);
    }
}
