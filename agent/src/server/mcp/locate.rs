//! The tool `locate`.

use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::Deserialize;

use super::files::Picture;
use super::{McpServer, ToolResult, parse, structured};
use crate::server::api::{Images, Known, LocateResponse, LocateSettings, PriorName, check_count};

pub(super) const NAME: &str = "locate";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LocateArguments {
    /// Up to 64 pictures, each of a place of its own.
    images: Vec<Picture>,
    /// Whether all pictures are views of one place, which is then located once.
    #[serde(default)]
    one_place: bool,
    /// What is known of the place. All of it holds.
    #[serde(default)]
    hints: Known,
    /// Maximum number of distinct candidates per place, 1 to 100.
    top: Option<u16>,
    /// The prior: where people take photos (the default), where rounds of a game lie, or the same everywhere.
    #[serde(default)]
    prior: PriorName,
}

pub(super) fn tool() -> Tool {
    let description = "Predict where photographs were taken, from their pixels only. A result has coordinates, a description \
        of the place, and the radii that hold 50 % and 90 % of the probability; or says why there is none.";
    super::tool::<LocateArguments>(NAME, description, true).with_output_schema::<LocateResponse>()
}

impl McpServer {
    pub(super) async fn locate(&self, arguments: JsonObject) -> ToolResult {
        let LocateArguments { images, one_place, hints, top, prior } = parse(arguments)?;
        check_count(images.len())?;
        let locator = self.locator().await?;
        let dirs = self.0.dirs.clone();
        let files = super::blocking(move || dirs.read(images)).await??;
        let settings = LocateSettings { bundle: None, prior, one_place, top, known: hints };
        structured(&locator.locate(Images { files, settings }).await?)
    }
}
