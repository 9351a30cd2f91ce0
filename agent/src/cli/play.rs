//! `play`: games in a real browser.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use console::Term;
use landfall_common::exit::{check_failed, usage_error};
use landfall_common::text::{eprint_sanitized, redact_url};
use landfall_model::{Classifier, LatLng, MapScale};
use url::Url;

use crate::browser;
use crate::browser::BrowserOptions;
use crate::cli::args::{ArenaSourceArgs, DrawingArgs, ModelArgs, debugger, kilometres, points, scale, seconds};
use crate::cli::games::{disagreement, line, print_game, write_report};
use crate::cli::output::print_json;
use crate::cli::parallel;
use crate::cli::session::{close, profile_and_address};
use crate::error::describe;
use crate::inference::CellProbability;
use crate::inference::stopping::MIN_GAIN;
use crate::play::game;
use crate::play::game::{GameEvent, PlayOptions, SubmitMode};
use crate::record::{Area, Round};
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
    /// Address of the game; the local arena when none is given
    url: Option<Url>,
    /// Site profile: a name or a file [default: the one whose host the address has; for the arena the one that knows its
    /// --structure]
    #[arg(long)]
    site: Option<String>,
    /// Play the site's profile at this origin on this computer, in place of its hosts and its need for consent; begins
    /// where the profile says when no address is given
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    #[command(flatten)]
    model: ModelArgs,
    /// A running WebDriver server, such as a Selenium Grid, in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// Play in a new window of a browser that you have open, started with --remote-debugging-port; it stays open
    #[arg(long, value_name = "[HOST:]PORT", value_parser = debugger, conflicts_with_all = ["webdriver", "parallel"])]
    attach: Option<String>,
    /// Show the browser's window
    #[arg(long)]
    headed: bool,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Scale of the map in metres, where you know it better than the profile
    #[arg(long, value_name = "METRES", value_parser = scale)]
    scale: Option<MapScale>,
    /// The map's places are in this country, by its code of two letters, as in FR (repeat the option)
    #[arg(long, value_name = "CODE")]
    country: Vec<String>,
    /// Rounds to play at most; the arena's games have this many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// SequentialGames to play, one after another; more than one where the site's terms concern nobody else
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    games: u32,
    /// SequentialGames to play at the same time, each in a browser of its own, as many as --games and at least this many in all; on
    /// the arena and on sites of your own on this computer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "assist")]
    parallel: u32,
    /// Seconds between two games
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pause: f64,
    /// Set the pin and say why; you press the button, and may move the pin before. Shows the window
    #[arg(long)]
    assist: bool,
    /// Kilometres that the pin may be off from where it is wanted; else the round fails
    #[arg(long, value_name = "KM", default_value_t = 25.0, value_parser = kilometres)]
    max_pin_error: f64,
    /// Seconds that a round may take: rather fewer views than more time. A clock on the page counts too
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_budget: Option<f64>,
    /// Points that another view must promise to be taken: two to eight views where the view turns
    #[arg(long, value_name = "POINTS", default_value_t = MIN_GAIN, value_parser = points)]
    min_gain: f64,
    /// Folder for the record
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Print one JSON object a game; with --parallel one of all games
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    rounds_from: ArenaSourceArgs,
}

pub(super) async fn run(args: PlayArgs) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let site = args.site.as_deref().or_else(|| args.rounds_from.site());
    let (mut profile, url) = profile_and_address(site, args.url, args.base_url.as_ref())?;
    if let Some(url) = &url {
        guard::check(&profile, url, consent)?; // before anything is loaded or opened
        if args.rounds_from.any() {
            return Err(usage_error(
                "--fixtures, --photos, --seed, --dialogs, --structure and --slow-tiles are for the arena, not for an address",
            ));
        }
    }
    if let Some(url) = url.as_ref().filter(|_| args.parallel > 1) {
        profile = crate::play::parallel::restrict_to_origin(profile, url)?;
    }
    if profile.needs_consent && args.games > 1 {
        return Err(usage_error("--games is for the arena and for sites of your own: one game at a time here"));
    }
    let area = Area { countries: args.country, bounds: None };
    area.check()?;
    let pencil = args.drawing.on(Term::stderr(), args.json || args.parallel > 1)?;
    let classifier = Arc::new(args.model.load()?);
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
            "{shown}: playing by machine may be against this site's terms; that is between you and the site."
        ));
    }
    let headed = args.headed || args.assist;
    let browser =
        BrowserOptions { webdriver: args.webdriver, attach: args.attach, headed, ..BrowserOptions::default() };
    let options = PlayOptions {
        browser,
        runs: args.runs,
        scale: args.scale,
        area,
        rounds: args.rounds,
        max_pin_error_m: args.max_pin_error * 1000.0,
        sender: if args.assist { SubmitMode::Person } else { SubmitMode::Agent },
        time_budget: args.time_budget.map(Duration::from_secs_f64),
        min_gain: args.min_gain,
    };
    let pause = Duration::from_secs_f64(args.pause);
    if args.parallel > 1 {
        let (at_once, options) = (args.parallel, &options);
        let count = args.games.max(at_once);
        let games = crate::play::parallel::ParallelGames { profile, url, count, at_once, pause, classifier, options };
        let played = parallel::play(games, args.json).await;
        if let Some(arena) = arena {
            arena.stop().await;
        }
        return played;
    }
    let games = SequentialGames { url, count: args.games, pause, json: args.json, pencil };
    let driver = browser::open(&options.browser).await?;
    let (driver, played) = match Page::open(driver.clone(), profile, &games.url, consent).await {
        Ok(mut page) => {
            let played = games.play(&mut page, &classifier, &options).await;
            (page.driver, played) // which may be another by now
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

/// SequentialGames that are played one after another.
struct SequentialGames {
    url: Url,
    count: u32,
    pause: Duration,
    json: bool,
    pencil: TerminalRenderer,
}

/// What is known of the round that is played, until it is over.
#[derive(Default)]
struct PendingDrawing {
    heat: Vec<CellProbability>,
    pictures: Vec<PathBuf>,
}

impl SequentialGames {
    /// Plays them all and prints each. The first count that the page and we do not agree on, if there is one.
    async fn play(
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
            let mut drawn = PendingDrawing::default();
            let on_event = |event: GameEvent<'_>| self.report_event(event, &mut drawn);
            let game = game::play(page, Arc::clone(classifier), options, on_event).await?;
            // The game is played and recorded, whatever comes of this.
            if let Err(error) = write_report(&game, classifier).await {
                eprint_sanitized(format!("no report: {}", describe(&error)));
            }
            if self.json {
                print_json(&game)?;
            } else {
                print_game(&game)?;
            }
            first = first.or_else(|| disagreement(&game));
        }
        Ok(first)
    }

    fn report_event(&self, event: GameEvent<'_>, drawn: &mut PendingDrawing) {
        match event {
            GameEvent::Decided { heat, pictures } => *drawn = PendingDrawing { heat, pictures },
            GameEvent::Over(round) => {
                self.draw(round, drawn);
                eprint_sanitized(line(round));
            }
            GameEvent::Failed(failed) => {
                let then = if failed.sent { "its guess was sent, so the game goes on" } else { "once more" };
                eprint_sanitized(format!("round {} failed: {}; {then}", failed.n, failed.why));
            }
            GameEvent::Set(round) => {
                self.draw(round, drawn);
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
                eprintln!("  The pin promises {expected:.0} points. Move it if you know better, then send the guess.");
            }
        }
    }

    /// The views and the map, with the truth where it is known by now; views once a round.
    fn draw(&self, round: &Round, drawn: &mut PendingDrawing) {
        let guess = round.placed();
        let marks: Vec<(MapMark, LatLng)> = [(MapMark::Truth, round.truth), (MapMark::Guess, guess)]
            .into_iter()
            .filter_map(|(mark, at)| Some((mark, at?)))
            .collect();
        let pictures = std::mem::take(&mut drawn.pictures);
        // A terminal that fails is no reason to end a game.
        _ = self
            .pencil
            .files(pictures.iter().map(PathBuf::as_path))
            .and_then(|()| self.pencil.map(&drawn.heat, &marks));
    }
}
