//! Rounds on disk: `RUN/round_1/{round.json, view_000.jpg, view_000.f32, …}` and `RUN/game.json` above them.
//!
//! The same format is a fixture: what a recorder does not know is left out. Logits are little-endian `f32` in the
//! order of the bundle's cells.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_model::score::MAX_POINTS;
use landfall_model::{LatLng, MapScale};
use serde::{Deserialize, Serialize};

use crate::area::Area;
use crate::decide::TopCell;
use crate::failure::{surroundings, wrong};
use crate::game::Failed;
use crate::hands::Pixel;
use crate::site::distance::Distance;

/// The format's number; a reader refuses what is newer.
pub const FORMAT: u32 = 1;

/// The contents of `round.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Number of the format.
    pub format: u32,
    /// A name for people, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Country of the truth, ISO 3166-1 alpha-2, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Number of the round in its game, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Address of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Profile that was played with, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The map that is played.
    pub map: Map,
    /// The panorama's picture, on fixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pano: Option<String>,
    /// What was seen.
    pub views: Vec<View>,
    /// Bundle that made the logits, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The likeliest cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopCell>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<LatLng>,
    /// The answer in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Points the answer promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_score: Option<f64>,
    /// How the answer was put on the page's map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Where it was, once the page has told, or on fixtures; `null` while it is not known.
    #[serde(default)]
    pub truth: Option<LatLng>,
    /// How far the truth may be off, on fixtures whose place is not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth_within_m: Option<f64>,
    /// Metres between the placed pin and the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// Metres that `distance_m` may be off, where the page does not tell the truth and shows a rounded distance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_within_m: Option<f64>,
    /// Points by our own law. A rounded distance allows several: then the one that is nearest to what the page says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// Points as the page said; `null` while it has not.
    #[serde(default)]
    pub page_score: Option<u32>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<Seconds>,
}

/// The map a round is played on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// As the page names it.
    pub name: String,
    /// How quickly points fall.
    pub scale_m: MapScale,
    /// Most points a round can bring, where that is not the usual number.
    #[serde(default = "usual_points", skip_serializing_if = "is_usual")]
    pub max_points: f64,
    /// Where its places are, as far as that is known.
    #[serde(default, skip_serializing_if = "Area::is_unknown")]
    pub area: Area,
}

fn usual_points() -> f64 {
    MAX_POINTS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_usual(points: &f64) -> bool {
    *points == MAX_POINTS
}

impl Map {
    /// What points on the usual scale, to 5000, are worth here.
    pub fn worth(&self, points: f64) -> f64 {
        points * (self.max_points / MAX_POINTS)
    }

    /// What points here are worth on the usual scale, to 5000.
    pub fn usual(&self, points: f64) -> f64 {
        points * (MAX_POINTS / self.max_points)
    }

    /// Points for an error of so many metres: a whole number.
    pub fn points(&self, distance_m: f64) -> u32 {
        self.worth(self.scale_m.exact_points(distance_m)).round() as u32
    }
}

/// One picture of the place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// The picture, beside `round.json`.
    pub file: String,
    /// Degrees clockwise from where the round began looking.
    pub heading: f64,
    /// The logits, beside `round.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
}

/// How the answer was put on the page's map.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// The answer.
    pub wanted: LatLng,
    /// The pin: as the page took it where it says so, else as read back from the map.
    pub placed: LatLng,
    /// Metres between the two.
    pub error_m: f64,
    /// The pixel that was clicked.
    pub click: Pixel,
    /// Metres that a pixel spanned there.
    pub metres_per_pixel: f64,
}

/// How long a round took, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Looking around.
    pub look: f64,
    /// Classifying and deciding.
    pub think: f64,
    /// Putting the pin on the map.
    pub place: f64,
    /// From the round's first sight to its result.
    pub total: f64,
}

impl Round {
    /// Reads a `round.json`.
    ///
    /// # Errors
    /// When it cannot be read, is no round, or is of a newer format.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| wrong(format!("cannot read {}", file.display())))?;
        let round: Self = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("{}: not a round's record: {error}", file.display())))?;
        if round.format > FORMAT {
            let why = format!("{}: format {} is newer than this program's {FORMAT}", file.display(), round.format);
            return Err(wrong(why));
        }
        Ok(round)
    }

    /// The recorded logits, beside the record in `folder`: a row a view; `None` when those of a view are not there.
    ///
    /// # Errors
    /// When a file cannot be read or is cut off.
    pub fn logits(&self, folder: &Path) -> Result<Option<Vec<Vec<f32>>>> {
        let files = self.views.iter().map(|view| beside(folder, view.logits.as_deref()?)).collect::<Option<Vec<_>>>();
        let files = files.filter(|files| !files.is_empty() && files.iter().all(|file| file.is_file()));
        files.map(|files| files.iter().map(|file| read_logits(file)).collect()).transpose()
    }

    /// Where the pin is: as it was placed, else where it was wanted.
    pub fn placed(&self) -> Option<LatLng> {
        self.pin.map(|pin| pin.placed).or(self.guess)
    }

    /// Fills in how far off the pin at `at` was and what that scores: by the truth where it is known, else by the
    /// distance that the page shows. What the page says of the points must be known by then.
    pub fn measure(&mut self, at: LatLng, shown: Option<Distance>) {
        let map = &self.map;
        if let Some(truth) = self.truth {
            let distance_m = truth.distance_m(at);
            (self.distance_m, self.distance_within_m) = (Some(distance_m), None);
            self.score = Some(map.points(distance_m));
        } else {
            let shown = shown.map(|Distance { metres, within_m }| (metres, within_m));
            (self.distance_m, self.distance_within_m) = shown.unzip();
            self.score = shown.map(|(metres, within_m)| {
                let (least, most) = (map.points(metres + within_m), map.points((metres - within_m).max(0.0)));
                self.page_score.map_or_else(|| map.points(metres), |page| page.clamp(least, most))
            });
        }
    }
}

/// A folder that a game is recorded in.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The folder.
    pub dir: PathBuf,
}

impl Recorder {
    /// A new folder under `runs`, named by time, site and map.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(runs: &Path, site: &str, map: &str) -> Result<Self> {
        let slug: String =
            map.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let stem = format!("{}_{site}_{slug}", chrono::Local::now().format("%Y-%m-%dT%H-%M-%S"));
        let names = std::iter::once(stem.clone()).chain((2..100).map(|n| format!("{stem}_{n}")));
        let made = |dir: &PathBuf| fs::create_dir_all(runs).and_then(|()| fs::create_dir(dir));
        for dir in names.map(|name| runs.join(name)) {
            match made(&dir) {
                Ok(()) => return Ok(Self { dir }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(surroundings(format!("cannot create {}: {error}", dir.display()))),
            }
        }
        Err(surroundings(format!("cannot create a folder for the record in {}", runs.display())))
    }

    /// Folder of a round, made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn round_dir(&self, n: u32) -> Result<PathBuf> {
        let dir = self.dir.join(format!("round_{n}"));
        fs::create_dir_all(&dir).with_context(|| surroundings(format!("cannot create {}", dir.display())))?;
        Ok(dir)
    }
}

impl Recorder {
    /// Puts what a try at a round left aside, with the reason that it failed, in `failed_N`: no round is read there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn failed(&self, failed: &Failed) -> Result<()> {
        let names =
            std::iter::once(format!("failed_{}", failed.n)).chain((2..).map(|i| format!("failed_{}_{i}", failed.n)));
        let mut free = names.map(|name| self.dir.join(name)).filter(|dir| !dir.exists());
        let (Some(dir), round) = (free.next(), self.round_dir(failed.n)?) else { return Ok(()) };
        let moved = fs::rename(&round, &dir).with_context(|| surroundings(format!("cannot create {}", dir.display())));
        moved.and_then(|()| write_json(&dir.join("failed.json"), failed))?;
        let half = dir.join("round.json");
        if half.exists() {
            fs::rename(&half, dir.join("unfinished.json")).context(surroundings("cannot rename round.json"))?;
        }
        Ok(())
    }
}

/// A file that a record names, beside it: a record from elsewhere must not reach out of its folder.
pub fn beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let is_name = matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None));
    is_name.then(|| folder.join(name))
}

/// What is said of a name that [`beside`] does not take.
pub fn not_beside(name: &str) -> anyhow::Error {
    wrong(format!("`{name}` is no file beside the record"))
}

/// File name of a view's picture, by its heading in whole degrees.
pub fn view_file(heading: f64) -> String {
    format!("view_{:03}.jpg", heading.round().rem_euclid(360.0) as u32)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || surroundings(format!("cannot write {}", file.display()));
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let whole = fs::File::create(&part).and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()));
    whole.and_then(|()| fs::rename(&part, file)).with_context(|| {
        _ = fs::remove_file(&part);
        failed()
    })
}

/// Writes a value as readable JSON, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    write(file, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// Logits as bytes.
pub fn logits_to_bytes(logits: &[f32]) -> Vec<u8> {
    logits.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Logits from a file.
///
/// # Errors
/// When it cannot be read or is cut off.
pub fn read_logits(file: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(file).with_context(|| wrong(format!("cannot read the logits {}", file.display())))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(wrong(format!("{}: cut off: {} bytes are no whole number of f32", file.display(), bytes.len())));
    }
    Ok(numbers.iter().map(|x| f32::from_le_bytes(*x)).collect())
}

#[cfg(test)]
mod tests;
