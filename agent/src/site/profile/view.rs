//! The part of a profile that says how to look around.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::site::profile::locator::Locators;

/// Looking around.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookLocators {
    /// The view.
    pub view: Locators,
    /// A single photograph in place of a view that turns.
    pub photo: Locators,
    /// What lies over the view and is hidden for a picture.
    pub hide: Locators,
    /// Where the heading is shown, in degrees.
    pub heading: Locators,
    /// Where a timed round's clock shows how much time is left.
    #[serde(default)]
    pub clock: Locators,
    /// The view rests once two pictures this many milliseconds apart are the same.
    pub still_ms: u64,
    /// Horizontal field of view in degrees, which tells how far to drag.
    pub hfov: f64,
    /// Keys that turn by a known angle, in place of dragging.
    pub key: Option<TurnKey>,
    /// JavaScript by which the page itself turns its view, in place of dragging: `degrees` clockwise from where it looks.
    pub call: Option<String>,
}

/// Keys that turn the view once it has the focus.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TurnKey {
    /// Turns to the left, as a character.
    pub left: String,
    /// Turns to the right.
    pub right: String,
    /// Degrees that one stroke turns by.
    pub degrees: f64,
}
