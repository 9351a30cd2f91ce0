//! The tool `verify`.

use std::path::PathBuf;

use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::files::Picture;
use super::{McpServer, ToolError, ToolResult, parse, structured};
use crate::error::describe;
use crate::photos::verify::{Claim, ClaimedCells, DEFAULT_RADIUS_KM, parse_time, verify_bytes};

pub(super) const NAME: &str = "verify";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyArguments {
    image: Picture,
    /// Latitude of the claimed place in degrees.
    lat: f64,
    /// Its longitude in degrees.
    lng: f64,
    /// Radius of the claim in kilometres, 200 by default.
    km: Option<f64>,
    /// When the photo was taken, in UTC, as in 2024-06-01T10:30Z; by default by its EXIF data. With it, the position of the
    /// sun at the place is compared with the brightness of the photo.
    time: Option<String>,
}

pub(super) fn tool() -> Tool {
    let description = "Test the claim that a photograph was taken within some kilometres of a place. The result has a verdict, \
        the probability of the claim with and without the picture, and how reliable such a likelihood ratio was when measured.";
    super::tool::<VerifyArguments>(NAME, description, true)
}

impl McpServer {
    pub(super) async fn verify(&self, arguments: JsonObject) -> ToolResult {
        let VerifyArguments { image, lat, lng, km, time } = parse(arguments)?;
        let claim = Claim::parse(&format!("{lat},{lng},{}", km.unwrap_or(DEFAULT_RADIUS_KM)));
        let claim = claim.map_err(|why| ToolError(format!("{why}.")))?;
        let time = time.as_deref().map(parse_time).transpose().map_err(|why| ToolError(format!("`time`: {why}.")))?;
        let locator = self.locator().await?;
        let dirs = self.0.dirs.clone();
        let file = super::blocking(move || dirs.read(vec![image])).await??.pop();
        let file = file.ok_or_else(|| ToolError("There is no picture.".to_owned()))?;
        let verified = locator.with_classifier(move |classifier| {
            let claimed = ClaimedCells::new(claim, &classifier.bundle.cells);
            verify_bytes(classifier, PathBuf::from(file.name), &file.bytes, &claimed, time)
        });
        let verified = verified.await?.map_err(|error| ToolError(format!("{}.", describe(&error))))?;
        let mut result = json!(verified);
        result["warnings"] = json!(verified.warnings);
        structured(&result)
    }
}
