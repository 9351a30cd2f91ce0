//! Parsing distances in the text of pages: "394 km", "1.034 km entfernt", "12,3 mi", "180 m", "1 234 yd".

use std::sync::LazyLock;

use regex::Regex;

use crate::record::Distance;

/// Units in metres with their symbols and names in several languages. "mil" is left out: it means a mile in some languages
/// and ten kilometres in others.
const UNITS: [(f64, &str); 5] = [
    (
        1000.0,
        "km|kms|kilomet(?:er|re)s?|kilomètres?|kilómetros?|quil[óô]metros?|chilometr[io]|kilometr(?:y|ů|ów)?|км\
         |kilometre|χλμ|χιλιόμετρα|キロ(?:メートル)?|公里|千米|킬로미터|كم|كيلومتر(?:ا|ات)?|کیلومتر|ק[\"״]מ|קילומטר(?:ים)?|किमी|किलोमीटर|กม\\.?",
    ),
    (
        1609.344,
        "mi|miles?|meilen?|millas?|milles?|migli[ao]|milhas?|mijl(?:en)?|mila|mile|mil(?:e|i)|миль?|マイル|英里|마일|ميل|מיל(?:ים)?|मील",
    ),
    (0.9144, "yd|yds|yards?|yardas?|jardas?|verges?|iarde?|ヤード|码"),
    (0.3048, "ft|foot|feet|pies?|pieds?|pés?|piedi|fuß|voet|フィート|英尺"),
    (
        1.0,
        "m|met(?:er|re)s?|mètres?|metros?|metr[io]|metr(?:y|ů|ów)?|метр(?:а|ов)?|м|メートル|米|公尺|미터|متر(?:ا)?|מטר(?:ים)?|मीटर",
    ),
];

/// A number, with or without thousands separators, followed by a unit. A letter after the unit makes it another word, except
/// in scripts without spaces between words.
static WRITTEN: LazyLock<Regex> = LazyLock::new(|| {
    let units = UNITS.map(|(_, names)| format!("({names})")).join("|");
    let number = r"\d{1,3}(?:[ \u{a0}\u{2009}\u{202f}.,'’]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?";
    Regex::new(&format!(
        r"(?i)({number})[\s\u{{a0}}]*(?:{units})(?:[^\p{{Latin}}\p{{Cyrillic}}\p{{Arabic}}\p{{Hebrew}}]|$)"
    ))
    .expect("is covered by the tests")
});

/// Zeros of the decimal digits of other scripts: Arabic, Persian, Devanagari, Bengali, Thai, and full width.
const ZEROS: [u32; 6] = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];

/// The text with the digits and separators of other scripts as in English, and without marks of the writing direction.
pub(crate) fn with_western_digits(text: &str) -> String {
    let digit = |c: char| {
        let zero = ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&u32::from(c)))?;
        char::from_digit(u32::from(c) - zero, 10)
    };
    let is_mark =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2066}'..='\u{2069}' | '\u{202a}'..='\u{202e}');
    let one = |c: char| match c {
        '٫' => '.',
        '٬' => ',',
        '．' => '.',
        '，' => ',',
        '\u{2007}' | '\u{2008}' | '\u{200a}' | '\u{2006}' | '\u{2005}' => '\u{2009}',
        c => digit(c).unwrap_or(c),
    };
    text.chars().filter(|c| !is_mark(*c)).map(one).collect()
}

/// The text without the distances in it.
pub(crate) fn without_distances(text: &str) -> String {
    WRITTEN.replace_all(text, " ").into_owned()
}

/// The first distance in a text.
pub(crate) fn read(text: &str) -> Option<Distance> {
    let text = with_western_digits(text);
    let found = WRITTEN.captures(&text)?;
    let (number, decimals) = number(&found[1])?;
    let (unit, _) = UNITS.iter().enumerate().find_map(|(i, unit)| found.get(i + 2).map(|_| unit))?;
    let metres = number * unit;
    metres.is_finite().then_some(Distance { metres, within_m: unit * 0.5 / 10_f64.powi(decimals) })
}

/// Parses a number; returns it with its number of decimals.
///
/// Pages show one or two decimals, so three digits after a single separator are thousands unless only 0 precedes it.
fn number(text: &str) -> Option<(f64, i32)> {
    let sign = text.char_indices().rev().find(|(_, c)| [',', '.'].contains(c));
    let point = sign.filter(|&(at, sign)| {
        let behind = text.len() - at - 1;
        let other_before = text[..at].contains(|c: char| !c.is_ascii_digit() && c != sign);
        let again_before = text[..at].contains(sign);
        !again_before && (behind != 3 || &text[..at] == "0" || other_before)
    });
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (whole, behind) = point.map_or((text, ""), |(at, _)| (&text[..at], &text[at + 1..]));
    let number = format!("{}.{}", digits(whole), digits(behind)).parse().ok()?;
    Some((number, i32::try_from(behind.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_m(text: &str) -> Option<(f64, f64)> {
        // To a tenth of a millimetre, to ignore rounding errors.
        let round = |x: f64| (x * 1e4).round() / 1e4;
        read(text).map(|distance| (round(distance.metres), round(distance.within_m)))
    }

    #[test]
    fn parses_units() {
        for (text, metres, within_m) in [
            ("394 km", 394_000.0, 500.0),
            ("3.8 km", 3_800.0, 50.0),
            ("0.25 km", 250.0, 5.0),
            ("180 m", 180.0, 0.5),
            ("12.3 mi", 19_794.931_2, 80.4672),
            ("1 mile", 1_609.344, 804.672),
            ("245 miles", 394_289.28, 804.672),
            ("100 yd", 91.44, 0.4572),
            ("250 yards", 228.6, 0.4572),
            ("30 ft", 9.144, 0.1524),
            ("8 feet", 2.4384, 0.1524),
            ("394km", 394_000.0, 500.0),
        ] {
            assert_eq!(read_m(text), Some((metres, within_m)), "{text}");
        }
    }

    #[test]
    fn parses_separators_of_several_languages() {
        for (text, metres, within_m) in [
            ("1,034 km", 1_034_000.0, 500.0),
            ("1.034 km", 1_034_000.0, 500.0),
            ("1 034 km", 1_034_000.0, 500.0),
            ("1\u{a0}034 km", 1_034_000.0, 500.0),
            ("12\u{202f}346\u{202f}km", 12_346_000.0, 500.0),
            ("12’346 km", 12_346_000.0, 500.0),
            ("12'346 km", 12_346_000.0, 500.0),
            ("1,034.5 km", 1_034_500.0, 50.0),
            ("1.034,5 km", 1_034_500.0, 50.0),
            ("1 034,56 km", 1_034_560.0, 5.0),
            ("20,015,086 m", 20_015_086.0, 0.5),
            ("1.034.567 m", 1_034_567.0, 0.5),
            ("1,034.567 km", 1_034_567.0, 0.5),
            ("3,8 km", 3_800.0, 50.0),
            ("0,125 km", 125.0, 0.5),
            ("1577 km", 1_577_000.0, 500.0),
            ("1577,4 km", 1_577_400.0, 50.0),
        ] {
            assert_eq!(read_m(text), Some((metres, within_m)), "{text}");
        }
    }

    #[test]
    fn finds_distances_in_sentences() {
        for (text, metres) in [
            ("Your guess was 394 km from the correct location.", 394_000.0),
            ("394\nKM\nFROM LOCATION", 394_000.0),
            ("Round 2\n394 km", 394_000.0),
            ("4,991 points, 3.6 km away", 3_600.0),
            ("Dein Tipp war 1.034,5 Kilometer vom Ort entfernt", 1_034_500.0),
            ("245 Meilen entfernt", 394_289.28),
            ("à 1 034 kilomètres du lieu", 1_034_000.0),
            ("à 52 mètres", 52.0),
            ("a 1.034 kilómetros del lugar", 1_034_000.0),
            ("a 52 metros", 52.0),
            ("a 12 milhas", 19_312.128),
            ("a 3,5 chilometri dal luogo", 3_500.0),
            ("12 mijl", 19_312.128),
            ("1 034 км от места", 1_034_000.0),
            ("正解から394キロメートル離れています", 394_000.0),
            ("距离 394 公里", 394_000.0),
            ("394 km (245 mi)", 394_000.0),
            ("المسافة ٣٩٤ كم", 394_000.0),
            ("١٬٢٣٤ كم", 1_234_000.0),
            ("\u{200f}٣٫٨ كم\u{200f}", 3_800.0),
            ("۳۹۴ کیلومتر", 394_000.0),
            ("394 ק\"מ מהמקום", 394_000.0),
            ("３９４ km", 394_000.0),
        ] {
            let read = read_m(text).unwrap_or_else(|| panic!("{text}: nothing is read"));
            assert_eq!(read.0, metres, "{text}");
        }
    }

    #[test]
    fn ignores_other_numbers() {
        for text in
            ["", "4,991 points", "Time ran out before a pin was placed.", "3 min 20 s", "km", "5 Mann", "12 mil"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
