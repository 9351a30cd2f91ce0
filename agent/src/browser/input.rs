//! Mouse and keyboard as WebDriver actions, at whole CSS pixels of the viewport.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use thirtyfour::WebDriver;
use thirtyfour::common::command::{Actions, Command};

use crate::geometry::Pixel;

/// Moves the mouse to a point.
///
/// # Errors
/// When the session fails or the point is outside the viewport.
pub(crate) async fn hover(driver: &WebDriver, at: Pixel) -> Result<()> {
    mouse(driver, vec![travel(at, 0)]).await
}

/// Clicks a point.
///
/// # Errors
/// As [`hover`].
pub(crate) async fn click(driver: &WebDriver, at: Pixel) -> Result<()> {
    mouse(
        driver,
        vec![travel(at, 0), json!({"type": "pointerDown", "button": 0}), json!({"type": "pointerUp", "button": 0})],
    )
    .await
}

/// Drags from one point to another, pausing before the release so that no inertial scrolling follows.
///
/// # Errors
/// As [`hover`].
pub(crate) async fn drag(driver: &WebDriver, from: Pixel, to: Pixel) -> Result<()> {
    let rest = json!({"type": "pause", "duration": 90});
    let middle = Pixel { x: f64::midpoint(from.x, to.x), y: f64::midpoint(from.y, to.y) };
    mouse(
        driver,
        vec![
            travel(from, 0),
            json!({"type": "pointerDown", "button": 0}),
            travel(middle, 40),
            travel(to, 40),
            rest.clone(),
            travel(to, 0),
            rest,
            json!({"type": "pointerUp", "button": 0}),
        ],
    )
    .await
}

/// Scrolls the wheel over a point; negative values zoom in.
///
/// # Errors
/// As [`hover`].
pub(crate) async fn wheel(driver: &WebDriver, at: Pixel, delta_y: i32) -> Result<()> {
    let turn = json!({
        "type": "scroll", "x": at.x.round() as i64, "y": at.y.round() as i64, "deltaX": 0, "deltaY": delta_y,
        "duration": 0, "origin": "viewport",
    });
    perform(driver, json!([{"type": "wheel", "id": "wheel", "actions": [turn]}])).await
}

/// Scrolls the wheel over a point while the Ctrl key is held, as maps on scrolling pages ask for.
///
/// # Errors
/// As [`hover`].
pub(crate) async fn ctrl_wheel(driver: &WebDriver, at: Pixel, delta_y: i32) -> Result<()> {
    const CTRL: &str = "\u{e009}";
    let turn = json!({
        "type": "scroll", "x": at.x.round() as i64, "y": at.y.round() as i64, "deltaX": 0, "deltaY": delta_y,
        "duration": 0, "origin": "viewport",
    });
    let rest = json!({"type": "pause", "duration": 0});
    let keys = [json!({"type": "keyDown", "value": CTRL}), rest.clone(), json!({"type": "keyUp", "value": CTRL})];
    perform(
        driver,
        json!([
            {"type": "key", "id": "keyboard", "actions": keys},
            {"type": "wheel", "id": "wheel", "actions": [rest.clone(), turn, rest]},
        ]),
    )
    .await
}

/// Waits.
pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn travel(to: Pixel, duration_ms: u32) -> Value {
    let (x, y) = (to.x.round() as i64, to.y.round() as i64);
    json!({"type": "pointerMove", "duration": duration_ms, "x": x, "y": y, "origin": "viewport"})
}

async fn mouse(driver: &WebDriver, actions: Vec<Value>) -> Result<()> {
    let pointer = json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
    perform(driver, json!([pointer])).await
}

async fn perform(driver: &WebDriver, sources: Value) -> Result<()> {
    driver.handle().cmd(Command::PerformActions(Actions::from(sources))).await?;
    Ok(())
}
