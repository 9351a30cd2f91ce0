//! Records of games as resources, `landfall://records/GAME/FILE`.
//!
//! Only what a record consists of is shown: `game.json`, `round_N/round.json` and the images that this names. The JSON is
//! parsed and written again, and images are rid of metadata, since records may come from elsewhere.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_common::fs::{read_regular, sibling_file};
use landfall_common::text::sanitize_line;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rmcp::ErrorData;
use rmcp::model::{ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::Serialize;

use crate::record::{GameRecord, Round};
use crate::server::arena::picture::bare_jpeg;

const PREFIX: &str = "landfall://records/";
const JSON: &str = "application/json";
/// Maximum number of games per page of the list.
const PAGE: usize = 20;
/// Maximum size of an image in bytes.
const MAX_IMAGE_BYTES: u64 = 32 << 20;
/// Maximum width and height of an image in pixels.
const MAX_SIDE: u32 = 4096;
/// What a name may contain without being encoded.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The directory of records.
#[derive(Clone)]
pub(super) struct Records {
    runs: PathBuf,
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new(format!("{PREFIX}{{game}}/{{+file}}"), "record").with_description(
        "A file of a recorded game: game.json, round_N/round.json, or an image that round.json names, as in round_1/view_000.jpg",
    )
}

pub(super) fn not_found() -> ErrorData {
    ErrorData::resource_not_found("there is no such record", None)
}

impl Records {
    pub(super) fn new(runs: PathBuf) -> Self {
        Self { runs }
    }

    /// The URI of the game in a directory below `runs`.
    pub(super) fn uri_of(&self, dir: &Path) -> Option<String> {
        let name = dir.strip_prefix(&self.runs).ok()?.to_str()?;
        Some(uri(name, "game.json"))
    }

    /// A page of the games, the latest first, and their rounds.
    pub(super) fn list(&self, cursor: Option<&str>) -> ListResourcesResult {
        let entries = std::fs::read_dir(&self.runs).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> = directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        // Their names begin with the time.
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.retain(|name| cursor.is_none_or(|cursor| name.as_str() < cursor));
        let games = names.iter().filter_map(|name| Some((name, GameRecord::read(&self.runs.join(name)).ok()?)));
        let page: Vec<(&String, GameRecord)> = games.take(PAGE).collect();
        let mut listed =
            ListResourcesResult::with_all_items(page.iter().flat_map(|(name, game)| entries_of(name, game)).collect());
        listed.next_cursor = (page.len() == PAGE).then(|| page.last().map(|(name, _)| (*name).clone())).flatten();
        listed
    }

    /// The contents of a resource; `None` if there is none of this URI.
    pub(super) fn read(&self, uri: &str) -> Option<ReadResourceResult> {
        let path = uri.strip_prefix(PREFIX)?;
        let names = path.split('/').map(|name| percent_decode_str(name).decode_utf8().ok());
        let names: Vec<Cow<'_, str>> = names.collect::<Option<_>>()?;
        let contents = match &names[..] {
            [game, file] if file == "game.json" => {
                let record = GameRecord::read(&directory(&self.runs, game)?).ok()?;
                // Paths of this computer concern nobody.
                json(uri, &GameRecord { record: PathBuf::new(), ..record })?
            }
            [game, round, file] if round.starts_with("round_") => {
                let game = directory(&self.runs, game)?;
                GameRecord::read(&game).ok()?; // no game is left half done
                let dir = directory(&game, round)?;
                let record = Round::read(&dir.join("round.json")).ok()?;
                if file == "round.json" {
                    json(uri, &record)?
                } else {
                    record.views.iter().find(|view| view.file == *file)?;
                    let bytes = read_regular(&sibling_file(&dir, file)?, MAX_IMAGE_BYTES).ok()?;
                    let jpeg = bare_jpeg(bytes.into(), MAX_SIDE).ok()?;
                    ResourceContents::blob(STANDARD.encode(jpeg), uri).with_mime_type("image/jpeg")
                }
            }
            _ => return None,
        };
        Some(ReadResourceResult::new(vec![contents]))
    }
}

fn entries_of(name: &str, game: &GameRecord) -> Vec<Resource> {
    let points = game.score.map_or_else(String::new, |points| format!(", {points} points"));
    let player = sanitize_line(&game.bundle);
    let about = format!("{} rounds on {} by {player}{points}", game.rounds.len(), sanitize_line(&game.map.name));
    let resource = |file: &str| Resource::new(uri(name, file), format!("{name}/{file}")).with_mime_type(JSON);
    let rounds = game.rounds.iter().filter_map(|round| round.n).map(|n| resource(&format!("round_{n}/round.json")));
    std::iter::once(resource("game.json").with_description(about)).chain(rounds).collect()
}

fn uri(game: &str, file: &str) -> String {
    format!("{PREFIX}{}/{file}", utf8_percent_encode(game, &PLAIN))
}

/// A directory inside another one, not through a symbolic link.
fn directory(parent: &Path, name: &str) -> Option<PathBuf> {
    sibling_file(parent, name).filter(|dir| dir.symlink_metadata().is_ok_and(|found| found.is_dir()))
}

fn json(uri: &str, record: &impl Serialize) -> Option<ResourceContents> {
    let text = serde_json::to_string_pretty(record).ok()?;
    Some(ResourceContents::text(text, uri).with_mime_type(JSON))
}
