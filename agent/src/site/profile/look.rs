//! The section of a profile on the view.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::site::profile::locator::Locators;

/// The view and how it turns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookLocators {
    /// The view.
    pub view: Locators,
    /// A static image in place of a view that turns.
    pub photo: Locators,
    /// Elements over the view, hidden for screenshots.
    pub hide: Locators,
    /// Element that shows the heading in degrees.
    pub heading: Locators,
    /// Timer with the remaining time of the round.
    #[serde(default)]
    pub clock: Locators,
    /// The view is still when two screenshots this many milliseconds apart are identical.
    pub still_ms: u64,
    /// Horizontal field of view in degrees, which determines the length of drags.
    pub hfov: f64,
    /// Keys that turn the view by a known angle, in place of dragging.
    pub key: Option<TurnKey>,
    /// JavaScript that turns the view by `degrees` clockwise, in place of dragging.
    pub(in crate::site) call: Option<String>,
}

/// Keys that turn the view when it has the focus.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TurnKey {
    /// Key that turns left, as a character.
    pub left: String,
    /// Key that turns right.
    pub right: String,
    /// Degrees per key press.
    pub degrees: f64,
}

impl LookLocators {
    /// An error message if a value is invalid.
    pub(super) fn validation_error(&self) -> Option<&'static str> {
        if self.key.is_some() && self.call.is_some() {
            return Some("look.key and look.call are mutually exclusive");
        }
        if !(1.0..=179.0).contains(&self.hfov) {
            return Some("look.hfov must be 1 to 179 degrees");
        }
        if self.still_ms > 60_000 {
            return Some("look.still_ms must be at most 60000 milliseconds");
        }
        self.key.as_ref().and_then(TurnKey::validation_error)
    }
}

impl TurnKey {
    fn validation_error(&self) -> Option<&'static str> {
        // One key: a longer text would be a file name for an input that takes files.
        let is_key = |text: &String| {
            let mut chars = text.chars();
            chars.next().is_some_and(is_harmless) && chars.next().is_none()
        };
        let is_valid = is_key(&self.left) && is_key(&self.right) && (0.01..=360.0).contains(&self.degrees);
        (!is_valid)
            .then_some("look.key needs left and right, each one character or arrow key, and degrees from 0.01 to 360")
    }
}

/// Characters, and of WebDriver's codes for other keys those that move: space, page, home, end and arrows, also of the
/// number pad.
fn is_harmless(key: char) -> bool {
    match key {
        '\u{e00d}'..='\u{e015}' | '\u{e01a}'..='\u{e029}' => true,
        '\u{e000}'..='\u{e05f}' => false,
        key => !key.is_control(),
    }
}
