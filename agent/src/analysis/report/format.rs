//! Formats numbers, distances and times.

use chrono::NaiveDateTime;

/// A whole number with commas, as in `14,916`.
pub(crate) fn group_thousands(number: impl Into<f64>) -> String {
    let digits = format!("{:.0}", number.into());
    let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Points, or a question mark if unknown.
pub(super) fn points(points: Option<u32>) -> String {
    points.map_or_else(|| "?".to_owned(), group_thousands)
}

/// A distance: metres below one kilometre, a decimal below ten.
pub(crate) fn distance(metres: f64) -> String {
    match metres {
        ..950.0 => format!("{metres:.0} m"),
        ..9_950.0 => format!("{:.1} km", metres / 1000.0),
        _ => format!("{} km", group_thousands(metres / 1000.0)),
    }
}

/// A fraction as a percentage, with a decimal if it is small.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// `1 round`, `2 rounds`.
pub(super) fn count_noun(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", group_thousands(n as f64), if n == 1 { "" } else { "s" })
}

/// The start time of a record, from the name of its directory.
pub(super) fn start_time(folder: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(folder.split('_').next()?, "%Y-%m-%dT%H-%M-%S").ok()
}

/// A heading in degrees clockwise from the initial one, with its side in words.
pub(super) fn heading(degrees: f64) -> String {
    let degrees = degrees.rem_euclid(360.0).round() as u32 % 360;
    let side = match degrees {
        0 => "ahead",
        90 => "to the right",
        180 => "behind",
        270 => "to the left",
        _ => return format!("{degrees}°"),
    };
    format!("{degrees}° {side}")
}

/// Replaces absolute paths and URLs in a message with an ellipsis, since they may be private. A path ends at a
/// punctuation mark or, since names of directories may have spaces, with the last word that has a separator. What
/// follows a space in a file name is therefore not removed.
pub(super) fn redact_paths_and_urls(message: &str) -> String {
    const SEPARATORS: [char; 2] = ['/', '\\'];
    let is_private = |word: &str| {
        let bare = word.trim_start_matches(['"', '\'', '`', '(', '[', '<']);
        let is_drive = bare.as_bytes().get(1..3).is_some_and(|after| after == b":\\" || after == b":/");
        let is_path = (bare.starts_with('/') || bare.starts_with("~/") || bare.starts_with("\\\\")) && bare.len() > 1;
        let is_within = ["/home/", "/root/", "/Users/", "://"].iter().any(|part| bare.contains(part));
        is_drive || is_path || is_within
    };
    let words: Vec<&str> = message.split(' ').collect();
    let mut redacted = Vec::new();
    let mut rest = words.as_slice();
    while let [word, after @ ..] = rest {
        rest = after;
        if !is_private(word) {
            redacted.push(*word);
            continue;
        }
        redacted.push("…");
        let ends = |word: &&str| word.ends_with([':', ',', ';', ')', '`', '"', '\'']);
        if !ends(word) {
            let within = after.iter().position(ends).map_or(after.len(), |end| end + 1);
            let last = after[..within].iter().rposition(|word| word.contains(SEPARATORS));
            rest = &after[last.map_or(0, |last| last + 1)..];
        }
    }
    redacted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_numbers_for_people() {
        assert_eq!(
            [group_thousands(0), group_thousands(999), group_thousands(14_916), group_thousands(-1_234_567)],
            ["0", "999", "14,916", "-1,234,567"]
        );
        assert_eq!(
            [42.0, 949.9, 1_234.0, 9_960.0, 1_870_200.0].map(distance),
            ["42 m", "950 m", "1.2 km", "10 km", "1,870 km"]
        );
        assert_eq!([0.004, 0.0994, 0.5].map(percent), ["0.4 %", "9.9 %", "50 %"]);
        assert_eq!([count_noun(1, "round"), count_noun(1200, "round")], ["1 round", "1,200 rounds"]);
        assert_eq!(
            [0.0, 90.0, 315.0, -90.0, 359.9].map(heading),
            ["0° ahead", "90° to the right", "315°", "270° to the left", "0° ahead"]
        );
    }

    #[test]
    fn directory_names_contain_the_start_time() {
        let time = start_time("2026-11-23T20-15-00_arena_landfall-arena").unwrap();
        assert_eq!(time.format("%-d %B %Y, %H:%M").to_string(), "23 November 2026, 20:15");
        assert!(start_time("fixtures").is_none());
    }

    #[test]
    fn paths_and_urls_are_redacted() {
        let said = redact_paths_and_urls(
            "cannot write /home/ada/runs/a.jpg: full (see `C:\\Users\\ada` or https://x.example/?token=1)",
        );
        assert_eq!(said, "cannot write … full (see … or …");
        assert_eq!(
            redact_paths_and_urls("cannot open /home/ada/Photos of Rome/a.jpg: no file"),
            "cannot open … no file"
        );
        assert_eq!(redact_paths_and_urls("C:\\Users\\Ada Lovelace\\runs: full at 3 km/h"), "… full at 3 km/h");
        assert_eq!(redact_paths_and_urls("the view / the map: 3 s"), "the view / the map: 3 s");
    }
}
