//! `mcp`: tools for programs that speak the Model Context Protocol, on standard input and output or over HTTP.
//!
//! A player never gets the truth of a round before its guess, nor names of files or EXIF data; nothing of a picture is
//! logged.

mod arena;
mod files;
mod locate;
mod resources;
mod serve;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use landfall_model::Classifier;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore};

use crate::error::describe;
use crate::server::api::{Locator, Problem};
use crate::server::arena::RoundSource;
use crate::server::arena::headless::{HeadlessGames, Refusal};
use files::AllowedDirs;
use resources::Records;
pub(crate) use serve::{HttpServer, serve_stdio};

/// Maximum number of calls that are answered at the same time.
const MAX_CALLS: usize = 32;
/// Maximum length of an error message about arguments, which quotes what it found.
const MAX_MESSAGE_CHARS: usize = 300;

const INSTRUCTIONS: &str = "\
`locate` predicts where photographs were taken, `verify` tests a claim. The arena is a game: arena_new_game starts one; in each \
round, look around with arena_look, place a pin on the earth with arena_pin and send it with arena_guess, which tells the truth \
and the points (up to 5000, by distance). arena_look then begins the next round.";

/// Options of the server.
pub(crate) struct McpOptions {
    /// Loads the bundle, for the first call that needs it.
    pub load: Box<dyn Fn() -> Result<Classifier> + Send + Sync>,
    /// Directories below which clients may name files.
    pub allowed_dirs: Vec<PathBuf>,
    /// Rounds of the arena.
    pub rounds: Option<RoundSource>,
    /// Directory of records, to write those of games and to show all.
    pub runs: Option<PathBuf>,
}

/// The server: clones share its games and its model.
#[derive(Clone)]
pub(crate) struct McpServer(Arc<Shared>);

struct Shared {
    load: Arc<dyn Fn() -> Result<Classifier> + Send + Sync>,
    locator: OnceCell<Locator>,
    dirs: AllowedDirs,
    games: HeadlessGames,
    records: Option<Records>,
    calls: Semaphore,
}

/// Why a call failed, for the model that made it.
#[derive(Debug)]
struct ToolError(String);

impl From<Refusal> for ToolError {
    fn from(Refusal(why): Refusal) -> Self {
        Self(why)
    }
}

impl From<Problem> for ToolError {
    fn from(problem: Problem) -> Self {
        Self(problem.detail)
    }
}

type ToolResult = std::result::Result<CallToolResult, ToolError>;

impl McpServer {
    /// # Errors
    /// When one of the directories does not exist.
    pub(crate) fn new(options: McpOptions) -> Result<Self> {
        let McpOptions { load, allowed_dirs, rounds, runs } = options;
        Ok(Self(Arc::new(Shared {
            load: load.into(),
            locator: OnceCell::new(),
            dirs: AllowedDirs::new(&allowed_dirs)?,
            games: HeadlessGames::new(rounds, runs.clone()),
            records: runs.map(Records::new),
            calls: Semaphore::new(MAX_CALLS),
        })))
    }

    /// The model, loaded by the first call that needs it.
    async fn locator(&self) -> std::result::Result<&Locator, ToolError> {
        let load = async || {
            let load = Arc::clone(&self.0.load);
            tokio::task::spawn_blocking(move || Locator::start(vec![load()?])).await?
        };
        self.0.locator.get_or_try_init(load).await.map_err(|error: anyhow::Error| {
            let hint = landfall_common::exit::hint(&error).map(|hint| format!(" ({hint})")).unwrap_or_default();
            ToolError(format!("The model cannot be loaded: {}{hint}.", describe(&error)))
        })
    }

    async fn call(&self, request: CallToolRequestParams, player: Option<String>) -> Option<ToolResult> {
        let Ok(_slot) = self.0.calls.try_acquire() else {
            return Some(Err(ToolError(format!("More than {MAX_CALLS} calls at the same time: try again later."))));
        };
        let arguments = request.arguments.unwrap_or_default();
        Some(match &*request.name {
            locate::NAME => self.locate(arguments).await,
            verify::NAME => self.verify(arguments).await,
            arena::NEW_GAME => self.new_game(arguments, player).await,
            arena::LOOK => self.look(arguments).await,
            arena::PIN => self.pin(arguments),
            arena::GUESS => self.guess(arguments).await,
            _ => return None,
        })
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = if self.0.records.is_some() {
            ServerCapabilities::builder().enable_tools().enable_resources().build()
        } else {
            ServerCapabilities::builder().enable_tools().build()
        };
        let name = Implementation::new("landfall", env!("CARGO_PKG_VERSION")).with_title("Landfall");
        ServerConfig::new(capabilities).with_server_info(name).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        let tools = [locate::tool(), verify::tool()].into_iter().chain(arena::tools());
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let player = context.client_info().map(|client| format!("{}@{}", client.name, client.version));
        let name = request.name.clone();
        match self.call(request, player).await {
            Some(Ok(result)) => Ok(result.into()),
            Some(Err(ToolError(why))) => Ok(CallToolResult::error(vec![ContentBlock::text(why)]).into()),
            None => Err(ErrorData::invalid_params(format!("there is no tool {:?}", shortened(&name)), None)),
        }
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListResourcesResult, ErrorData> {
        let Some(records) = self.0.records.clone() else { return Ok(ListResourcesResult::default()) };
        let cursor = request.and_then(|request| request.cursor);
        let listed = tokio::task::spawn_blocking(move || records.list(cursor.as_deref())).await;
        listed.map_err(|_| internal("the records cannot be listed"))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListResourceTemplatesResult, ErrorData> {
        let templates = self.0.records.iter().map(|_| resources::template()).collect();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ReadResourceResponse, ErrorData> {
        let Some(records) = self.0.records.clone() else { return Err(resources::not_found()) };
        let read = tokio::task::spawn_blocking(move || records.read(&request.uri)).await;
        let read = read.map_err(|_| internal("the record cannot be read"))?;
        read.map(Into::into).ok_or_else(resources::not_found)
    }
}

fn internal(why: &'static str) -> ErrorData {
    ErrorData::internal_error(why, None)
}

/// A tool whose arguments are of this type.
fn tool<A: JsonSchema + 'static>(name: &'static str, description: &'static str, is_read_only: bool) -> Tool {
    let hints = ToolAnnotations::new().read_only(is_read_only).destructive(false).open_world(false);
    Tool::new(name, description, JsonObject::new()).with_input_schema::<A>().annotate(hints)
}

/// Parses the arguments of a call.
fn parse<A: DeserializeOwned>(arguments: JsonObject) -> std::result::Result<A, ToolError> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|why| ToolError(format!("The arguments are not as described: {}.", shortened(&why.to_string()))))
}

/// Runs what reads files or computes.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> std::result::Result<T, ToolError> {
    let failed = |error: tokio::task::JoinError| {
        tracing::error!(%error, "a call failed");
        ToolError("The server failed; its standard error says why.".to_owned())
    };
    tokio::task::spawn_blocking(run).await.map_err(failed)
}

/// A result as JSON.
fn structured(result: &impl Serialize) -> ToolResult {
    let value = serde_json::to_value(result).map_err(|why| ToolError(format!("The result is not JSON: {why}.")))?;
    Ok(CallToolResult::structured(value))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
