//! Limits on the values of records. A record may come from somebody else, or be damaged: what it states must not make a
//! command draw maps of places that are not on earth, calculate with infinities or fill the memory.

use landfall_model::LatLng;
use serde::de::DeserializeOwned;

/// Maximum length of a text in bytes.
const MAX_TEXT: usize = 1 << 16;
/// Maximum length of an error message about JSON, which quotes what it found.
const MAX_MESSAGE: usize = 300;
/// Maximum number of metres, points or seconds.
const MAX_AMOUNT: f64 = 1e12;

/// Parses JSON; the error is short, whatever it quotes.
pub(super) fn parse_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| {
        let mut message = error.to_string();
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(cut);
            message.push('…');
        }
        message
    })
}

/// Checks the length of a list; `what` names its elements.
pub(super) fn check_count(count: usize, limit: usize, what: &str) -> Result<(), String> {
    if count <= limit { Ok(()) } else { Err(format!("{count} {what}; the limit is {limit}")) }
}

/// Checks the length of a text.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    check_count(text.len(), MAX_TEXT, "bytes of text")
}

/// Checks a location; `what` names it.
pub(super) fn check_location(at: LatLng, what: &str) -> Result<(), String> {
    match LatLng::new(at.lat, at.lng) {
        Ok(_) if at.lng.abs() <= 180.0 => Ok(()),
        _ => Err(format!("`{what}` is not a location on earth: latitude {}, longitude {}", at.lat, at.lng)),
    }
}

/// Checks a number of metres, points or seconds.
pub(super) fn check_amount(amount: f64) -> Result<(), String> {
    let is_possible = (0.0..=MAX_AMOUNT).contains(&amount);
    if is_possible { Ok(()) } else { Err(format!("{amount} is not a possible number of metres, points or seconds")) }
}
