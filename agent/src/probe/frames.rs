//! Finds the game on the page: closes dialogs, starts a game, and finds the view and the guess map.

use std::time::{Duration, Instant};

use anyhow::Result;
use landfall_common::exit::check_failed;
use regex::Regex;
use serde_json::json;
use toml::{Table, Value};

use crate::browser::input;
use crate::geometry::Rect;
use crate::play::pin;
use crate::play::pin::projection::Projection;
use crate::play::pin::tile_projection::Tile;
use crate::probe::explore::Exploration;
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, FramePath, PictureElement, TileElement};
use crate::probe::turn;
use crate::probe::turn::RotationControl;
use crate::probe::{GameFrames, Probe, button_locators, matches_any};
use crate::site::StartView;
use crate::site::page::{DISMISS_AGAIN, PRESS_AGAIN, Press, is_outside_window, map_openers};
use crate::site::profile::locator::{Locator, Locators};

/// Minimum area of a view.
const MIN_VIEW_AREA_PX: f64 = 60_000.0;
/// What covers the map or the start button is closed after this time, and other buttons are tried after the next.
const CLEAR_AFTER: Duration = Duration::from_millis(1500);
const EXPLORE_AFTER: Duration = Duration::from_secs(4);
/// A map without tiles after this time is drawn on a canvas.
const TILE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for a map to slide into the window.
const SLIDE_TIMEOUT: Duration = Duration::from_secs(4);

impl Probe<'_> {
    /// Waits for a round and finds the frames of its view and map. Presses what words mark as consent, start or map button,
    /// and after that explores the other buttons.
    pub(super) async fn find_game(&mut self) -> Result<GameFrames> {
        let (start, mut last, mut explored) = (Instant::now(), None, Exploration::default());
        let limit = self.page.patience() * 3;
        loop {
            self.record_path().await?;
            let frames = observe::visible_frames(self.page).await?;
            let dismiss: Locators =
                frames.iter().flat_map(|frame| self.draft.generic_locators("page", "dismiss", frame)).collect();
            if self.page.press_when_ready(&dismiss, DISMISS_AGAIN).await? == Press::Done {
                explored.since = Instant::now();
                input::pause(200).await;
                continue;
            }
            let (map, view) = (self.find_map(&frames).await?, self.find_view(&frames).await?);
            let mut has_acted = false;
            if let (Some((map_frame, map)), Some((view_frame, view))) = (&map, &view) {
                let now = (map_frame.clone(), map.clone(), view_frame.clone(), view.clone());
                let locators: Locators = observe::css_locators(map, map_frame).into_iter().collect();
                let is_free = self.page.is_free(&locators).await? != Some(false);
                if is_free && last.as_ref() == Some(&now) {
                    self.learn_map_opener(&explored, &(view_frame.clone(), view.clone()));
                    return self.learn_frames(map_frame, map, view_frame, view, &dismiss).await;
                }
                last = Some(now);
                has_acted = is_free || self.start_game().await?;
                if !has_acted && explored.since.elapsed() > CLEAR_AFTER && self.page.clear_away(&locators).await? {
                    (self.on_step)("closed what covered the map");
                    has_acted = true;
                }
            } else if self.start_game().await? || view.is_some() && self.open_map().await? {
                has_acted = true;
            } else if explored.since.elapsed() > CLEAR_AFTER {
                let start: Locators = self.draft.locators("page", "start").into_iter().collect();
                has_acted = self.page.clear_away(&start).await?;
            }
            if has_acted {
                explored.since = Instant::now();
            } else if explored.since.elapsed() > EXPLORE_AFTER && start.elapsed() < limit && !self.has_given_start() {
                explored.since = Instant::now();
                let beside = view.as_ref().filter(|_| map.is_none());
                self.explore(&mut explored, beside).await?;
            }
            if start.elapsed() > limit || explored.is_over && explored.since.elapsed() > EXPLORE_AFTER {
                let given = [
                    ("page", "start", self.has_started || view.is_some()),
                    ("look", "view", view.is_some()),
                    ("map", "canvas", map.is_some()),
                ];
                for (section, key, is_found) in given {
                    let is_stated = self.draft.given_locators(section, key).is_some_and(|stated| !stated.is_empty());
                    if is_stated && !is_found {
                        return Err(self.dead(section, key, "before the first round"));
                    }
                }
                let what = match (&map, &view) {
                    (None, None) => "neither an image nor a map",
                    (None, _) => "no guess map of a known library (Leaflet, OpenLayers, MapLibre, Mapbox, Google)",
                    _ => "no image, or something covers the map",
                };
                let labels: Vec<(FramePath, ButtonElement)> =
                    observe::in_all_frames(self.page, "return buttons()").await?;
                let labels = labels.into_iter().take(12).map(|(_, button)| button.text.replace('\n', " "));
                let tried = match explored.tried.as_slice() {
                    [] => String::new(),
                    tried => format!("; pressed without effect: {}", tried.join(", ")),
                };
                return Err(check_failed(format!(
                    "the page shows {what}; check that a game is open at this URL, or name its buttons as in \
                     --hint start=\"Quick game\". Its buttons: {}{tried}",
                    labels.collect::<Vec<_>>().join(", ")
                )));
            }
            input::pause(250).await;
        }
    }

    /// Records the locators of view and map, and which optional elements are visible during a round.
    async fn learn_frames(
        &mut self,
        map_frame: &FramePath,
        map: &[String],
        view_frame: &FramePath,
        view: &[String],
        dismiss: &Locators,
    ) -> Result<GameFrames> {
        (self.on_step)(&format!("map: {}, view: {}", Locator::of(&map[0]), Locator::of(&view[0])));
        let mut frames = vec![FramePath::new()];
        frames.extend([map_frame, view_frame].into_iter().filter(|frame| !frame.is_empty()).cloned());
        frames.dedup();
        self.draft.set_locators("map", "canvas", &observe::css_locators(map, map_frame));
        self.draft.set_locators("look", "view", &observe::css_locators(view, view_frame));
        let dismiss: Vec<Locator> = dismiss.iter().filter(|locator| frames.contains(&locator.frame)).cloned().collect();
        self.draft.set_locators("page", "dismiss", &dismiss);
        // Elements visible during a round cannot indicate loading or an error.
        for (part, key) in [("page", "loading"), ("page", "problem"), ("look", "clock"), ("page", "map_name")] {
            let locators: Locators =
                frames.iter().flat_map(|frame| self.draft.generic_locators(part, key, frame)).collect();
            let counts = self.page.count(&locators).await?;
            let is_expected =
                |count: &usize| if part == "page" && key != "map_name" { *count == 0 } else { *count == 1 };
            let matching: Vec<Locator> = locators
                .iter()
                .zip(&counts)
                .filter(|(_, count)| is_expected(count))
                .map(|(locator, _)| locator.clone())
                .collect();
            self.draft.set_locators(part, key, &matching);
        }
        if self.draft.locators("page", "start") == self.draft.generic_locators("page", "start", &[]) {
            self.draft.set_locators("page", "start", &[]); // none was needed
        }
        let guess: Vec<Locator> = self.draft.generic_locators("map", "guess", map_frame);
        self.draft.set_locators("map", "guess", &guess);
        self.apply_draft()?;
        Ok(GameFrames { view_frame: view_frame.clone(), map_frame: map_frame.clone() })
    }

    /// Presses a start button: the stated one, else one that is found by its text. Returns whether a button was pressed or
    /// still reacts.
    async fn start_game(&mut self) -> Result<bool> {
        if self.page.set_up().await? {
            return Ok(true);
        }
        if let Some(start) = self.draft.given_locators("page", "start") {
            let pressed = self.page.press_when_ready(&start.into_iter().collect(), PRESS_AGAIN).await?;
            if pressed == Press::Done {
                self.has_started = true;
                (self.on_step)("start button of the partial profile");
            }
            return Ok(matches!(pressed, Press::Done | Press::Pending));
        }
        let words = self.draft.generic_texts("page", "start");
        let buttons: Vec<(FramePath, ButtonElement)> = observe::in_all_frames(self.page, "return buttons()").await?;
        let offers = buttons.into_iter().filter(|(_, button)| button.enabled && matches_any(&button.text, &words));
        let rank = |button: &ButtonElement| (!self.draft.is_hinted("start", &button.text), button.role.is_none());
        let Some((frame, button)) = offers.min_by_key(|(_, button)| rank(button)) else { return Ok(false) };
        let locators = button_locators(&button, &frame);
        let pressed = self.page.press_when_ready(&locators.iter().cloned().collect(), PRESS_AGAIN).await?;
        if pressed == Press::Done {
            (self.on_step)(&format!("start button: `{}`", button.text.replace('\n', " ")));
            self.add_start(locators);
        }
        Ok(matches!(pressed, Press::Done | Press::Pending))
    }

    /// Whether the user has stated how a game starts, so that no other buttons are tried.
    fn has_given_start(&self) -> bool {
        self.draft.given().has("page", "start")
    }

    /// Adds a button to those that start a game. The latest comes first: it is the one with an effect.
    pub(super) fn add_start(&mut self, locators: Vec<Locator>) {
        let generic = self.draft.generic_locators("page", "start", &[]);
        let before: Vec<Locator> =
            self.draft.locators("page", "start").into_iter().filter(|locator| !generic.contains(locator)).collect();
        self.draft.set_locators("page", "start", &locators.into_iter().chain(before).collect::<Vec<_>>());
    }

    /// Presses a button that opens the map, if one says so. Returns whether it was pressed or still reacts.
    async fn open_map(&mut self) -> Result<bool> {
        if let Some(open) = self.draft.given_locators("map", "open") {
            let pressed = self.page.press_when_ready(&open.into_iter().collect(), PRESS_AGAIN).await?;
            return Ok(matches!(pressed, Press::Done | Press::Pending));
        }
        let openers: Vec<String> = map_openers().iter().filter_map(|locator| locator.text.clone()).collect();
        let words = [openers, self.draft.generic_texts("map", "guess")].concat();
        let buttons: Vec<(FramePath, ButtonElement)> = observe::in_all_frames(self.page, "return buttons()").await?;
        let offer = buttons.into_iter().find(|(_, button)| button.enabled && matches_any(&button.text, &words));
        let Some((frame, button)) = offer else { return Ok(false) };
        let locators = button_locators(&button, &frame);
        let pressed = self.page.press_when_ready(&locators.iter().cloned().collect(), PRESS_AGAIN).await?;
        if pressed == Press::Done {
            (self.on_step)(&format!("button that opens the map: `{}`", button.text.replace('\n', " ")));
            self.draft.set_locators("map", "open", &locators);
        }
        Ok(matches!(pressed, Press::Done | Press::Pending))
    }

    /// The first element that the stated locators find: its frame and selectors.
    async fn locate_given(&self, locators: &[Locator]) -> Result<Option<(FramePath, Vec<String>)>> {
        for locator in locators {
            let script = "const [found] = findVisible([arguments[1]]); return found ? selectorsFor(found) : null";
            let found = observe::run_script(self.page, &locator.frame, script, vec![json!(locator)]).await?;
            if let Some((selectors, _)) = found {
                return Ok(Some((locator.frame.clone(), selectors)));
            }
        }
        Ok(None)
    }

    async fn find_map(&self, frames: &[FramePath]) -> Result<Option<(FramePath, Vec<String>)>> {
        if let Some(canvas) = self.draft.given_locators("map", "canvas") {
            return self.locate_given(&canvas).await;
        }
        let script = "const [box] = arguments[1].flatMap(locator => findAll(locator).filter(isVisible)).filter(e => { const r = rect(e); return r.width * r.height > 8000 }); \
            return box ? selectorsFor(box) : null";
        for frame in frames {
            let locators = json!(self.draft.generic_locators("map", "canvas", &[]));
            if let Some((selectors, _)) = observe::run_script(self.page, frame, script, vec![locators]).await? {
                return Ok(Some((frame.clone(), selectors)));
            }
        }
        Ok(None)
    }

    async fn find_view(&self, frames: &[FramePath]) -> Result<Option<(FramePath, Vec<String>)>> {
        if let Some(view) = self.draft.given_locators("look", "view") {
            return self.locate_given(&view).await;
        }
        let mut best: Option<(f64, (FramePath, Vec<String>))> = None;
        for frame in frames {
            let maps = self.draft.given_locators("map", "canvas").unwrap_or_default();
            let locators = json!([maps, self.draft.generic_locators("map", "canvas", &[])].concat());
            let script = "return pictures(arguments[1].flatMap(locator => findAll(locator).filter(isVisible)))";
            let found: Option<(Vec<PictureElement>, _)> =
                observe::run_script(self.page, frame, script, vec![locators]).await?;
            for picture in found.into_iter().flat_map(|(pictures, _)| pictures) {
                if picture.area > best.as_ref().map_or(MIN_VIEW_AREA_PX, |(area, _)| *area) {
                    best = Some((picture.area, (frame.clone(), picture.selectors)));
                }
            }
        }
        Ok(best.map(|(_, found)| found))
    }

    /// Detects how the view turns and which elements cover it.
    pub(super) async fn learn_view(&mut self, game: &GameFrames) -> Result<()> {
        let view = self.draft.locators("look", "view");
        let script = "const [view] = findVisible(arguments[1]); return view ? coveringElements(view) : []";
        let hide: Option<(Vec<String>, _)> =
            observe::run_script(self.page, &game.view_frame, script, vec![json!(view)]).await?;
        let hide = observe::css_locators(&hide.map_or_else(Vec::new, |(hide, _)| hide), &game.view_frame);
        self.draft.set_locators("look", "hide", &hide);
        let is_given = |key: &str| self.draft.given().has("look", key);
        let is_photo = self.draft.given_locators("look", "photo").is_some_and(|photo| !photo.is_empty());
        if is_photo || is_given("hfov") || is_given("key") {
            return self.apply_draft();
        }
        let turns = turn::detect(self.page).await?;
        (self.on_step)(&match &turns {
            RotationControl::Fixed => "the view is a static picture".to_owned(),
            RotationControl::Drag(None) => "the view turns by dragging".to_owned(),
            RotationControl::Drag(Some(degrees)) => format!("the view turns by dragging and is {degrees}° wide"),
            RotationControl::Keys { degrees, .. } => format!("the view turns by keys, {degrees}° per key press"),
        });
        match turns {
            RotationControl::Fixed => self.draft.set_locators("look", "photo", &view),
            RotationControl::Drag(hfov) => self.draft.set("look", "hfov", Some(hfov.unwrap_or(100.0))),
            RotationControl::Keys { left, right, degrees } => {
                let key = [("left", left.into()), ("right", right.into()), ("degrees", Value::from(degrees))];
                let key: Table = key.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                self.draft.set("look", "key", Some(key));
            }
        }
        self.apply_draft()
    }

    /// Detects the kind of the map and the initial view of a canvas map. Returns the buttons before a pin is placed.
    pub(super) async fn learn_map(&mut self, game: &GameFrames) -> Result<Vec<ButtonElement>> {
        let buttons = observe::run_list_script(self.page, &game.map_frame, "return buttons()").await?;
        self.hover_map().await?;
        self.settled_map_rect().await?;
        if self.draft.given().is_drawn() {
            self.learn_canvas_map().await?;
            return Ok(buttons);
        }
        if let Some(tiles) = self.draft.given_locators("map", "tiles")
            && self.page.count_hidden_too(&tiles.into_iter().collect()).await?.iter().all(|count| *count == 0)
        {
            return Err(self.dead("map", "tiles", "on the map"));
        }
        let (map, start) = (self.draft.locators("map", "canvas"), Instant::now());
        let mut sources = Vec::new();
        let script = "const [box] = findVisible(arguments[1]); return box ? mapTiles(box) : []";
        while start.elapsed() < TILE_TIMEOUT {
            let seen: Option<(Vec<TileElement>, _)> =
                observe::run_script(self.page, &game.map_frame, script, vec![json!(map)]).await?;
            let seen = seen.map_or_else(Vec::new, |(seen, _)| seen);
            let tiles: Vec<Tile> = seen.iter().map(|seen| seen.tile.clone()).collect();
            sources.extend(tiles.first().map(|tile| tile.src.clone()));
            let fits = |address: &String| {
                let pattern = Regex::new(address).ok()?;
                let several = tiles.iter().filter(|tile| pattern.is_match(&tile.src)).count() > 1;
                Projection::of(&tiles, &[pattern]).filter(|_| several)
            };
            if let Some(address) = self.draft.tile_addresses().into_iter().find(|address| fits(address).is_some()) {
                (self.on_step)(&format!("the map consists of tiles: {address}"));
                let class = seen[0].classes.iter().find(|class| seen.iter().all(|tile| tile.classes.contains(class)));
                let tile = format!(" img{}", class.map_or("", String::as_str));
                let css = |locator: &Locator| locator.css.as_ref().map(|css| format!("{css}{tile}"));
                let tiles: Vec<String> = map.iter().filter_map(css).collect();
                self.draft.set_locators("map", "tiles", &observe::css_locators(&tiles, &game.map_frame));
                self.draft.set("map", "tile_address", Some(vec![address]));
                self.apply_draft()?;
                return Ok(buttons);
            }
            if seen.is_empty() && start.elapsed() > TILE_TIMEOUT / 2 {
                break;
            }
            input::pause(150).await;
        }
        if self.draft.given().has("map", "tile_address") || self.draft.given().has("map", "tiles") {
            let source =
                sources.pop().map_or_else(|| "there are none".to_owned(), |source| format!("such as {source}"));
            return Err(check_failed(format!(
                "{}: map.tile_address does not match several images on the map, {source}",
                self.draft.given().file()
            )));
        }
        self.learn_canvas_map().await?;
        Ok(buttons)
    }

    /// Detects the initial view of a map that is drawn on a canvas.
    async fn learn_canvas_map(&mut self) -> Result<()> {
        if self.draft.given().has("map", "view") {
            (self.on_step)("the map is drawn on a canvas; its initial view is that of the partial profile");
            return self.apply_draft();
        }
        let shown = match pin::view::shown(self.page, StartView::TILE_SIZE).await? {
            Some(shown) => {
                (self.on_step)(&format!("the map is drawn on a canvas; initial view {shown}"));
                shown
            }
            None => {
                self.missing.push(
                    "map.view: the initial view of the map cannot be detected from its coastlines; give the latitude \
                     and longitude of its centre, and the zoom at which the world is 512 * 2^zoom pixels wide"
                        .to_owned(),
                );
                StartView { lat: 0.0, lng: 0.0, zoom: 1.0, tile_size: StartView::TILE_SIZE, repeats: true }
            }
        };
        let round = |value: f64| (value * 1e4).round() / 1e4;
        let view = [("lat", shown.lat), ("lng", shown.lng), ("zoom", shown.zoom)]
            .map(|(name, value)| (name.to_owned(), Value::from(round(value))));
        self.draft.set("map", "kind", Some("canvas"));
        self.draft.set("map", "view", Some(view.into_iter().collect::<Table>()));
        self.draft.set("map", "tiles", None::<Value>);
        self.draft.set("map", "tile_address", None::<Value>);
        self.apply_draft()
    }

    /// Moves the mouse over the map, which some pages enlarge then. A map that slides in is waited for.
    pub(super) async fn hover_map(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let canvas = self.page.reveal_map().await?;
            match self.page.hover(canvas.centre()).await {
                Err(error) if is_outside_window(&error) && start.elapsed() < SLIDE_TIMEOUT => input::pause(250).await,
                hovered => return hovered,
            }
        }
    }

    /// The box of the map when it is unchanged between two observations.
    pub(super) async fn settled_map_rect(&self) -> Result<Rect> {
        let mut last = self.page.reveal_map().await?;
        loop {
            input::pause(250).await;
            let now = self.page.rect(&self.page.profile().map.canvas, "guess map").await?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }
}
