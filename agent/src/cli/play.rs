//! `play`: games in a real browser.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use console::Term;
use landfall_common::exit::{check_failed, usage_error};
use landfall_common::text::{eprint_sanitized, redact_url};
use landfall_model::{Classifier, LatLng, MapScale};
use serde_json::json;
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::cli::args::{
    ArenaSourceArgs, BrowserArgs, DrawingArgs, ModelArgs, debugger, duration, kilometres, points, scale,
};
use crate::cli::games::{disagreement, line, print_game, write_report};
use crate::cli::output::print_json;
use crate::cli::parallel;
use crate::cli::session::{close, profile_and_address};
use crate::error::{describe, exit_code};
use crate::inference::CellProbability;
use crate::inference::stopping::MIN_GAIN;
use crate::play::game;
use crate::play::game::{GameEvent, PlayOptions, SubmitMode};
use crate::record::{Area, GameRecord, Round};
use crate::server::arena::Arena;
use crate::site::guard;
use crate::site::guard::Consent;
use crate::site::page::Page;
use crate::terminal::{MapMark, TerminalRenderer};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall play\n  landfall play --headed --photos ~/holiday\n  landfall play --site geoguessr --i-own-this-account --webdriver http://127.0.0.1:9515 https://www.geoguessr.com/maps/world\n  landfall play --attach 9222 --site mine.toml http://127.0.0.1:8000/game\n  landfall play --parallel 4 --games 20 --json\n  landfall arena --structure live & landfall play --site geoguessr --base-url http://127.0.0.1:8014"
)]
pub(super) struct PlayArgs {
    /// URL of the game [default: a game in the local arena]
    url: Option<Url>,
    /// Site profile, by name or file [default: the one for the URL's host, or for the arena's --structure]
    #[arg(long, help_heading = "Game")]
    site: Option<String>,
    /// Run the JavaScript of a profile that is not built in (its look.call)
    ///
    /// The script has full access to the page: review it first.
    #[arg(long, help_heading = "Game")]
    allow_profile_scripts: bool,
    /// Use the profile with a local copy of the site, at this origin
    ///
    /// Consent is not needed then. Without URL, the game begins at the profile's start page.
    #[arg(long, value_name = "URL", help_heading = "Game")]
    base_url: Option<Url>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    browser: BrowserArgs,
    /// Play in a new window of a running browser that was started with --remote-debugging-port and --user-data-dir
    ///
    /// Chrome 136 and newer ignore the port without a --user-data-dir of their own.
    #[arg(long, value_name = "[HOST:]PORT", value_parser = debugger, conflicts_with_all = ["webdriver", "parallel", "browser", "browser_arg"], help_heading = "Browser")]
    attach: Option<String>,
    /// Confirm that the account is yours and that no other player is affected
    #[arg(long, help_heading = "Game")]
    i_own_this_account: bool,
    /// Scale of the map in metres, in the score formula; overrides the profile's
    #[arg(long, value_name = "METRES", value_parser = scale, help_heading = "Game")]
    scale: Option<MapScale>,
    /// ISO code of a country that contains all places of the map, as in FR (repeatable)
    #[arg(long, value_name = "CODE", help_heading = "Game")]
    country: Vec<String>,
    /// Maximum number of rounds per game
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Game")]
    rounds: u32,
    /// Number of games, one after another; more than one only in the arena and on sites that need no consent
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Game")]
    games: u32,
    /// Number of games to play at the same time, each in its own browser
    ///
    /// At least this many games are played. Only in the arena and on sites on this computer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "assist", help_heading = "Game")]
    parallel: u32,
    /// Pause between two games, as in 90s or 2m
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, help_heading = "Game")]
    pause: Duration,
    /// Place the pin and explain it, but leave sending the guess to you; implies --headed
    #[arg(long, help_heading = "Game")]
    assist: bool,
    /// Maximum distance in km between the predicted and the placed pin; a round beyond it fails
    #[arg(long, value_name = "KM", default_value_t = 25.0, value_parser = kilometres, help_heading = "Game")]
    max_pin_error: f64,
    /// Time limit per round, as in 90s or 2m; fewer views are taken to meet it
    ///
    /// A timer that the page shows is taken into account as well.
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Game")]
    time_budget: Option<Duration>,
    /// Minimum expected gain, in points, for taking another view
    #[arg(long, value_name = "POINTS", default_value_t = MIN_GAIN, value_parser = points, help_heading = "Game")]
    min_gain: f64,
    /// Directory for records
    #[arg(long, default_value = "runs", help_heading = "Output")]
    runs: PathBuf,
    /// Print JSON: one object per game, or one object for all games with --parallel
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    rounds_from: ArenaSourceArgs,
}

pub(super) async fn run(args: PlayArgs) -> Result<()> {
    let (json, printed) = (args.json, Cell::new(false));
    let result = play(args, &printed).await;
    // Programs get a result in any case.
    if let Err(error) = &result
        && json
        && !printed.get()
    {
        print_failure(error, None)?;
    }
    result
}

/// Prints a failure as JSON: the game up to it, if there is one, and the error.
fn print_failure(error: &anyhow::Error, game: Option<&GameRecord>) -> Result<()> {
    let mut value = game.map_or_else(|| Ok(json!({ "rounds": [] })), serde_json::to_value)?;
    value["error"] = describe(error).into();
    value["exit_code"] = json!(exit_code(error) as u8);
    print_json(&value)
}

async fn play(args: PlayArgs, printed: &Cell<bool>) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let site = args.site.as_deref().or_else(|| args.rounds_from.site());
    let (profile, url) = profile_and_address(site, args.url, args.base_url.as_ref())?;
    let mut profile = profile.permit_scripts(args.allow_profile_scripts);
    if let Some(url) = &url {
        guard::check(&profile, url, consent)?; // before anything is loaded or opened
        if args.rounds_from.any() {
            return Err(usage_error(
                "--fixtures, --photos, --seed, --dialogs, --structure and --slow-tiles apply to the arena and cannot be combined with a URL",
            ));
        }
    }
    if url.is_none() && args.rounds_from.site().is_none() && profile.name != "arena" {
        return Err(usage_error(format!(
            "the profile `{0}` needs the URL of a game: landfall play --site {0} https://…",
            profile.name
        )));
    }
    profile.check_scripts()?;
    if let Some(url) = url.as_ref().filter(|_| args.parallel > 1) {
        profile = crate::play::parallel::restrict_to_origin(profile, url)?;
    }
    if profile.needs_consent && args.games > 1 {
        return Err(usage_error(
            "--games applies to the arena and to sites that need no consent; on this site, play one game at a time",
        ));
    }
    let area = Area { countries: args.country, bounds: None };
    area.check()?;
    let renderer = args.drawing.on(Term::stderr(), args.json || args.parallel > 1)?;
    let classifier = Arc::new(args.model.load_for_games(args.parallel as usize)?);
    let (arena, url) = match url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(args.rounds_from.options(args.rounds as usize, 0)?).await?;
            arena.notes().iter().for_each(|note| eprint_sanitized(format!("arena: {note}")));
            let base = Url::parse(arena.url())?;
            if args.rounds_from.site().is_some() {
                profile = profile.at(&base)?;
            }
            (Some(arena), profile.start(&base)?)
        }
    };
    if profile.needs_consent {
        let shown = redact_url(&url);
        eprint_sanitized(format!(
            "{shown}: automated play may violate the terms of this site. You are responsible for complying with them."
        ));
    }
    let browser = args.browser.into_options();
    let headed = browser.headed || args.assist;
    let browser = BrowserOptions { attach: args.attach, headed, ..browser };
    let options = PlayOptions {
        browser,
        runs: args.runs,
        scale: args.scale,
        area,
        rounds: args.rounds,
        max_pin_error_m: args.max_pin_error * 1000.0,
        submit_mode: if args.assist { SubmitMode::Person } else { SubmitMode::Agent },
        time_budget: args.time_budget,
        min_gain: args.min_gain,
    };
    let pause = args.pause;
    if args.parallel > 1 {
        let (at_once, options) = (args.parallel, &options);
        let count = args.games.max(at_once);
        let games = crate::play::parallel::ParallelGames { profile, url, count, at_once, pause, classifier, options };
        printed.set(true);
        let played = parallel::play(games, args.json).await;
        if let Some(arena) = arena {
            arena.stop().await;
        }
        return played;
    }
    let games = SequentialGames { url, count: args.games, pause, json: args.json, printed, renderer };
    let driver = browser::open(&options.browser).await?;
    let (driver, played) = match Page::open(driver.clone(), profile, &games.url, consent).await {
        Ok(mut page) => {
            let played = games.play_all(&mut page, &classifier, &options).await;
            (page.into_driver(), played) // recovery may have replaced the driver
        }
        Err(error) => (driver, Err(error)),
    };
    let closed = close(driver, &options.browser, arena).await;
    let disagreement = played?;
    closed?;
    match disagreement {
        Some(what) => Err(check_failed(what)),
        None => Ok(()),
    }
}

/// Games played one after another.
struct SequentialGames<'a> {
    url: Url,
    count: u32,
    pause: Duration,
    json: bool,
    /// Set when a result was printed.
    printed: &'a Cell<bool>,
    renderer: TerminalRenderer,
}

/// What the terminal shows of the current round.
#[derive(Default)]
struct PendingDrawing {
    heat: Vec<CellProbability>,
    pictures: Vec<PathBuf>,
}

impl SequentialGames<'_> {
    /// Plays and prints all games. Returns the first disagreement about points between the arena and us.
    async fn play_all(
        &self,
        page: &mut Page,
        classifier: &Arc<Classifier>,
        options: &PlayOptions,
    ) -> Result<Option<String>> {
        let mut first = None;
        for n in 0..self.count {
            if n > 0 {
                tokio::time::sleep(self.pause).await;
                page.go(&self.url).await?;
            }
            let mut drawing = PendingDrawing::default();
            let on_event = |event: GameEvent<'_>| self.print_event(event, &mut drawing);
            let mut unfinished = None;
            let played = game::play_into(page, Arc::clone(classifier), options, on_event, &mut unfinished).await;
            self.printed.set(true);
            let game = match played {
                Ok(game) => game,
                Err(error) => {
                    if self.json {
                        print_failure(&error, unfinished.as_ref())?;
                    }
                    return Err(error);
                }
            };
            // A report that fails does not spoil a game that is already recorded.
            if let Err(error) = write_report(&game, classifier).await {
                eprint_sanitized(format!("no report was written: {}", describe(&error)));
            }
            if self.json {
                print_json(&game)?;
            } else {
                // On a terminal, each round has been shown when it was over.
                let shown = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
                print_game(&game, !shown)?;
            }
            if let Some(found) = disagreement(&game) {
                found.warn();
                first = first.or(found.failure());
            }
        }
        Ok(first)
    }

    fn print_event(&self, event: GameEvent<'_>, drawing: &mut PendingDrawing) {
        match event {
            GameEvent::Decided { heat, pictures } => *drawing = PendingDrawing { heat, pictures },
            GameEvent::RoundOver(round) => {
                self.draw(round, drawing);
                eprint_sanitized(line(round));
            }
            GameEvent::Failed(failed) => {
                let then = if failed.sent { "its guess was sent; continuing with the next round" } else { "retrying" };
                eprint_sanitized(format!("round {} failed: {}; {then}", failed.n, failed.why));
            }
            GameEvent::PinPlaced(round) => {
                self.draw(round, drawing);
                let expected = round.expected_score.unwrap_or_default();
                eprint_sanitized(format!(
                    "round {}  {}",
                    round.n.unwrap_or_default(),
                    round.place.as_deref().unwrap_or("?")
                ));
                for cell in round.top.iter().take(5) {
                    let country =
                        landfall_model::countries::at_or_near(cell.at, 20_000.0).map_or("at sea", |it| it.name);
                    eprintln!("  {:>5.1} %  {:<28} {}", 100.0 * cell.p, country, cell.at);
                }
                eprintln!(
                    "  Expected score: {expected:.0} points. Move the pin if you know better, then send the guess."
                );
            }
        }
    }

    /// Draws the views, once per round, and the map with the guess and, if known, the truth.
    fn draw(&self, round: &Round, drawing: &mut PendingDrawing) {
        let guess = round.placed();
        let marks: Vec<(MapMark, LatLng)> = [(MapMark::Truth, round.truth), (MapMark::Guess, guess)]
            .into_iter()
            .filter_map(|(mark, at)| Some((mark, at?)))
            .collect();
        let pictures = std::mem::take(&mut drawing.pictures);
        // A terminal error must not end a game.
        _ = self
            .renderer
            .files(pictures.iter().map(PathBuf::as_path))
            .and_then(|()| self.renderer.map(&drawing.heat, &marks));
    }
}
