//! A server of the Model Context Protocol with a tool `locate`, as a child process.

use std::path::PathBuf;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::benchmark::player::Asked;
use crate::benchmark::player::process::{CommandLine, PlayerProcess};
use crate::benchmark::protocol::{MAX_ANSWER_BYTES, Reply, parse, reason};

/// The tool that is called.
const TOOL: &str = "locate";
/// Maximum length of all messages of a server, which the library reads without a limit of its own.
const MAX_OUTPUT_BYTES: u64 = 256 << 20;

/// A server that is started when it is first asked, and again after an error.
pub(crate) struct McpPlayer {
    command: CommandLine,
    running: Option<Running>,
}

struct Running {
    service: RunningService<RoleClient, ()>,
    _process: PlayerProcess,
}

impl McpPlayer {
    /// A command line, and the file that gets the server's standard error.
    ///
    /// # Errors
    /// When quotes are not closed, or it is empty.
    pub(crate) fn new(command_line: &str, log: PathBuf) -> Result<Self> {
        Ok(Self { command: CommandLine::parse(command_line, log)?, running: None })
    }

    /// Ends the server and all that it started.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    async fn start(&mut self) -> Result<(), String> {
        let (process, stdin, stdout) = self.command.start().map_err(|error| crate::error::describe(&error))?;
        let service = ().serve((stdout.take(MAX_OUTPUT_BYTES), stdin)).await;
        let service = service.map_err(|error| reason(&format!("the player is no MCP server: {error}")))?;
        self.running = Some(Running { service, _process: process });
        Ok(())
    }

    pub(super) async fn ask(&mut self, asked: &Asked) -> Result<Reply, String> {
        if self.running.as_ref().is_none_or(|running| running.service.is_closed()) {
            self.stop();
            self.start().await?;
        }
        let running = self.running.as_ref().ok_or("the player does not run")?;
        let images: Vec<Value> =
            asked.views.iter().map(|view| json!({ "base64": STANDARD.encode(&view.jpeg) })).collect();
        let Value::Object(arguments) = json!({ "images": images, "one_place": true }) else {
            return Err(String::new());
        };
        let called = running.service.call_tool(CallToolRequestParams::new(TOOL).with_arguments(arguments)).await;
        read(called.map_err(|error| reason(&format!("the tool `{TOOL}` cannot be called: {error}")))?)
    }
}

/// The answer in a tool's result: structured, or the JSON of its first text. It may be the first of `results`.
fn read(result: CallToolResult) -> Result<Reply, String> {
    let text = result.content.iter().find_map(|content| content.as_text()).map(|text| text.text.clone());
    if result.is_error == Some(true) {
        return Err(reason(&format!("the tool reports an error: {}", text.as_deref().unwrap_or("without a text"))));
    }
    let answer = match (result.structured_content, text) {
        (Some(Value::Object(mut answer)), _) => {
            let first = answer.get_mut("results").and_then(|results| Some(results.get_mut(0)?.take()));
            let mut answer = first.unwrap_or(Value::Object(answer));
            // A radius of several probabilities is none that can be compared.
            if answer["radius_km"].is_object() {
                answer["radius_km"] = answer["radius_km"]["p50"].take();
            }
            answer.to_string()
        }
        (_, Some(text)) => text,
        _ => return Err("the tool's result has neither structured content nor text".to_owned()),
    };
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
    }
    parse(answer.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::protocol::Guess;

    #[test]
    fn answers_are_structured_or_text() {
        let result = |value: Value| serde_json::from_value::<CallToolResult>(value).unwrap();
        let at = |reply: Result<Reply, String>| match reply.unwrap() {
            Reply::Guess(Guess { at, radius_km, .. }) => (at.lat, at.lng, radius_km),
            refused => panic!("{refused:?}"),
        };
        let flat =
            json!({ "content": [], "structuredContent": { "lat": 1.0, "lng": 2.0, "radius_km": { "p50": 3.0 } } });
        assert_eq!(at(read(result(flat))), (1.0, 2.0, Some(3.0)));
        let list = json!({ "content": [], "structuredContent": { "results": [{ "lat": 4.0, "lng": 5.0 }] } });
        assert_eq!(at(read(result(list))), (4.0, 5.0, None));
        let text = json!({ "content": [{ "type": "text", "text": "{\"lat\":6,\"lng\":7}" }] });
        assert_eq!(at(read(result(text))), (6.0, 7.0, None));
        let error = json!({ "content": [{ "type": "text", "text": "no image" }], "isError": true });
        assert_eq!(read(result(error)).unwrap_err(), "the tool reports an error: no image");
        assert!(read(result(json!({ "content": [] }))).unwrap_err().contains("neither structured"));
    }
}
