//! Text from elsewhere, such as names of files and what pages and records say, as it can be shown: it is no command to a
//! terminal, and does not turn around what stands beside it.

use std::fmt::Display;

/// Whether a character may be shown: no control character but the line's end, none that turns the direction of writing,
/// and none that Unicode says is none.
pub fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_no_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c == '\n' || !(c.is_control() || turns || is_no_character)
}

/// A text of some lines with `\u{fffd}` for every character that may not be shown.
pub fn plain(text: impl Display) -> String {
    text.to_string().chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// A name, as [`plain`]: it begins no line of its own.
pub fn name(name: impl Display) -> String {
    plain(name).replace('\n', "\u{fffd}")
}

/// Says something to people, on standard error.
pub fn say(text: impl Display) {
    eprintln!("{}", plain(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_forbids_what_terminals_obey_and_what_turns_text_around_is_not_shown() {
        let text = "a\u{0}\u{b}\u{1b}\u{7f}\u{85}\u{202e}\u{2068}\u{ffff}\u{1fffe}é\n日";
        assert_eq!(plain(text), format!("a{}é\n日", "\u{fffd}".repeat(9)));
        assert_eq!(name("a\nb"), "a\u{fffd}b");
    }
}
