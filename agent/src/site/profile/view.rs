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
    pub call: Option<String>,
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
